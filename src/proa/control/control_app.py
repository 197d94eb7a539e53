"""The HTTP application of the witness: the routes, the gate, the numbers for Prometheus."""

from __future__ import annotations

from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path

from fastapi import FastAPI, Request, Response
from fastapi.responses import JSONResponse
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from proa.clock import Clock, Ids
from proa.control import control_routes, official_routes, page_routes
from proa.control.access import ControlAccess, third_place
from proa.control.alerts import AlertBook, open_channels
from proa.control.witness import Witness
from proa.http.answer_cache import AnswerCache
from proa.http.api_errors import ApiError
from proa.http.client_habits import ClientHabits
from proa.http.error_answers import ERROR_SCHEMA, answer_errors, error_body
from proa.http.gate import Gate
from proa.http.metrics import RequestMetrics
from proa.recovery.control_record import ControlStore
from proa.recovery.controller import open_controller
from proa.recovery.driver import open_driver
from proa.recovery.region_view import open_view
from proa.settings import ProjectSettings


def open_witness(settings: ProjectSettings, folder: Path, clock: Clock, ids: Ids) -> Witness:
    """The witness of the project in `folder`. Raises SettingsError when it has no third place."""
    store, group = third_place(settings)
    assert settings.recovery is not None
    return Witness(
        settings,
        ControlStore.of(settings),
        open_view(settings, clock),
        lambda who, tell: open_controller(settings, folder, clock, who, tell),
        AlertBook(store, group, open_channels(settings.recovery.alerts), clock, ids),
        clock=clock,
        driver=open_driver(settings, folder),
    )


def create_control_app(witness: Witness, access: ControlAccess, ids: Ids) -> FastAPI:
    """The application that serves `witness`. Starting and stopping it is the caller's."""
    metrics = RequestMetrics("control")
    metrics.registry.register(WitnessNumbers(witness))
    app = FastAPI(
        title="Proa control",
        description="The witness: all regions of a group, and how their roles are changed.",
        version=version("proa"),
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
        responses={"4XX": dict(ERROR_SCHEMA)},
    )
    app.state.witness = witness
    app.state.access = access
    app.state.metrics = metrics
    app.state.sessions = page_routes.Sessions(access, witness.clock, ids)
    for part in (control_routes, official_routes, page_routes):
        app.include_router(part.router)
    answer_errors(app)
    app.add_exception_handler(ApiError, _answer_error)
    app.add_exception_handler(page_routes.NotSignedInError, page_routes.answer_stranger)
    app.add_middleware(ClientHabits)
    app.add_middleware(
        Gate,
        user_of=access.user_of,
        workspace_id="",
        clock=witness.clock,
        metrics=metrics,
        answers=AnswerCache(lambda: 0, ()),
        open_paths=(
            *control_routes.OPEN_PATHS,
            *page_routes.OPEN_PATHS,
            "/.well-known/databricks-config",
        ),
    )
    return app


async def _answer_error(request: Request, error: Exception) -> Response:
    """An error as who asked can read it: a page for people, JSON for programs."""
    assert isinstance(error, ApiError)
    if request.url.path.startswith("/ui/"):
        return page_routes.answer_page_error(request, error, error.status)
    return JSONResponse(error_body(error.condition, str(error)), error.status)


class WitnessNumbers(Collector):
    """What the witness sees, as Prometheus reads it."""

    def __init__(self, witness: Witness) -> None:
        self._witness = witness

    def collect(self) -> Iterator[Metric]:
        """Yield a family of numbers for each thing that is seen."""
        witness = self._witness
        record = witness.record
        yield GaugeMetricFamily("proa_epoch", "The epoch of the control record", record.epoch)
        known = int(witness.active() is not None)
        yield GaugeMetricFamily(
            "proa_record_known", "Whether the control record can be read", known
        )
        families = {
            "proa_region_active": "Whether the region is the active one",
            "proa_region_answers": "Whether the region answers",
            "proa_region_lag_seconds": "Age of the newest shipment in its tables",
            "proa_region_unnamed_files": "Files in its zone that no manifest names, when last checked",
            "proa_region_waiting_seconds": "How long the oldest shipment waits for its tables",
        }
        gauges = {
            name: GaugeMetricFamily(name, what, labels=("region",))
            for name, what in families.items()
        }
        for region in witness.settings.regions:
            answers = witness.silence(region) is None
            gauges["proa_region_active"].add_metric([region], int(region == record.active))
            gauges["proa_region_answers"].add_metric([region], int(answers))
            if answers:
                status = witness.looks[region].status
                gauges["proa_region_lag_seconds"].add_metric([region], status.lag or 0.0)
                gauges["proa_region_unnamed_files"].add_metric([region], status.unnamed)
                gauges["proa_region_waiting_seconds"].add_metric([region], status.waiting)
        yield from gauges.values()
        state = witness.alerts.state
        raised = GaugeMetricFamily("proa_alert", "Alerts that are raised", labels=("alert",))
        for name in state.raised:
            raised.add_metric([name], 1)
        yield raised
        waiting = len(state.waiting)
        yield GaugeMetricFamily(
            "proa_alerts_undelivered", "Notices that wait to be delivered", waiting
        )
