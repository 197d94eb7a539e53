"""The witness's pages: what it sees, and the verbs with their explanation, for people at 3 a.m."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from proa.control.access import AccessRole, SignedIn
from proa.control.page_parts import Markup, chart, document, graph_line, lay_out, table, tag
from proa.control.region_details import DatasetDetails, RegionDetails
from proa.control.witness import ReadinessLook, Witness
from proa.recovery.advice import duration_text
from proa.recovery.control_record import Operation
from proa.recovery.controller import Request
from proa.recovery.driver import Role
from proa.recovery.proof_report import difference_lines
from proa.recovery.readiness import Level
from proa.times import utc_text

_SHOWN_EVENTS = 100


@dataclass(frozen=True)
class Visitor:
    """Who looks at a page."""

    user: SignedIn
    csrf: str
    """Stands in every form, so that no other site can send one."""

    @property
    def may_change(self) -> bool:
        """Whether buttons are shown to this visitor, and work."""
        return self.user.role is AccessRole.OPERATOR


def sign_in_page(problem: str | None = None) -> str:
    """The form that asks for a token."""
    return document(
        "Sign in",
        tag(
            "main",
            tag("h1", "Proa control"),
            None if problem is None else tag("p", problem, class_="alert", role="alert"),
            tag(
                "form",
                tag(
                    "label",
                    "Token",
                    tag("input", type="password", name="token", required=True, autocomplete="off"),
                ),
                tag("p", "`proa token create --control` makes one.", class_="quiet"),
                tag("button", "Sign in"),
                method="post",
                action="/ui/sign-in",
                enctype="multipart/form-data",
            ),
        ),
    )


def problem_page(visitor: Visitor | None, sentence: str) -> str:
    """One sentence that says what went wrong."""
    return _page(
        "That did not work",
        visitor,
        tag("p", sentence, class_="alert", role="alert"),
        tag("p", tag("a", "Back to the regions", href="/ui/")),
    )


def overview_page(witness: Witness, visitor: Visitor) -> str:
    """All regions, alerts, the change that runs, and the verbs."""
    record = witness.record
    running = witness.change is not None and not witness.change.done.is_set()
    return _page(
        f"{record.active} is active in epoch {record.epoch}",
        visitor,
        tag(
            "p",
            f"{record.sentence} ({utc_text(record.at, 'seconds')}, {record.who})",
            class_="quiet",
        ),
        *_alerts(witness),
        _change(witness, visitor),
        tag(
            "section",
            tag("h2", "Regions"),
            tag(
                "div",
                *(_card(witness, region) for region in witness.settings.regions),
                class_="regions",
            ),
        ),
        _verbs(witness) if visitor.may_change else None,
        refresh=3 if running else 30,
    )


def region_page(witness: Witness, region: str, visitor: Visitor) -> str:
    """One region: its datasets, updates, findings and events."""
    look = witness.looks.get(region)
    details = RegionDetails() if look is None else look.details
    return _page(
        f"Region {region}",
        visitor,
        _card(witness, region),
        None if details.error is None else tag("p", details.error, class_="alert"),
        tag("h2", "Datasets"),
        _graph(details, witness.clock.now()),
        tag("h2", "Findings and failures"),
        table(
            ("when", "level", "what"),
            [_finding_row(event) for event in details.findings[:_SHOWN_EVENTS]],
        ),
        tag("h2", "Updates"),
        table(
            ("update", "state", "when"),
            [
                (update[:8], state, at[:19].replace("T", " "))
                for update, state, at in details.updates
            ],
        ),
        tag("h2", "Events"),
        table(
            ("when", "type", "what"),
            [
                (event["timestamp"][:19].replace("T", " "), event["event_type"], event["message"])
                for event in details.events[:_SHOWN_EVENTS]
            ],
        ),
    )


def history_page(witness: Witness, reports: Sequence[Mapping[str, Any]], visitor: Visitor) -> str:
    """Who changed what, and the reports of drills and promotions; newest first."""
    return _page(
        "History",
        visitor,
        tag("h2", "Drills and promotions"),
        table(
            ("when", "what", "result", "took", "report"),
            [
                (
                    str(one.get("at", ""))[:19].replace("T", " "),
                    f"{one.get('operation')} of {' and '.join(map(str, one.get('regions', ())))}",
                    tag(
                        "span", one.get("sentence"), class_=_class_of_result(equal=one.get("equal"))
                    ),
                    duration_text(float(one.get("seconds") or 0)),
                    tag("a", "report", href=f"/ui/reports/{one['name']}"),
                )
                for one in reversed(reports)
            ],
        ),
        tag("h2", "Changes"),
        table(
            ("when", "epoch", "who", "what", "reason"),
            [
                (utc_text(one.at, "seconds"), one.epoch, one.who, one.sentence, one.reason)
                for one in reversed(witness.record_look.history)
            ],
        ),
    )


def _class_of_result(*, equal: bool | None) -> str:
    """How a report's result looks. None: nothing was compared."""
    return "warn" if equal is None else "ok" if equal else "bad"


def report_page(report: Mapping[str, Any], visitor: Visitor) -> str:
    """One report: which tables were compared, at which versions, with which result."""
    tables: Mapping[str, Mapping[str, Any]] = report.get("tables") or {}
    software = ", ".join(f"{name} {number}" for name, number in report.get("software", {}).items())
    return _page(
        f"{str(report['operation']).capitalize()} of {' and '.join(map(str, report['regions']))}",
        visitor,
        tag("p", report["sentence"], class_=_class_of_result(equal=report["equal"])),
        tag(
            "p",
            f"Begun {report['began']}, filed {report['at']} by {report['who']}, in epoch {report['epoch']};"
            f" it took {duration_text(float(report['seconds']))}. {report['loss']['sentence']}.",
        ),
        table(
            ("table", "verdict", "versions", "raw files", "rows", "result"),
            [
                (
                    name,
                    one["verdict"],
                    " / ".join(map(str, one["versions"])),
                    one["files"],
                    " / ".join(map(str, one["rows"] or ("-", "-"))),
                    one["sentence"],
                )
                for name, one in tables.items()
            ],
            numbers=("raw files",),
        ),
        *(
            tag(
                "section",
                tag("h2", f"{name}: the first differences"),
                tag("ul", *(tag("li", line) for line in lines)),
            )
            for name, one in tables.items()
            if (lines := difference_lines(one, *map(str, report["regions"])))
        ),
        tag("p", f"Software: {software}.", class_="quiet") if software else None,
    )


def checks_page(look: ReadinessLook, now: datetime, visitor: Visitor) -> str:
    """Would a failover work now? While a region is waited for, what is known, and what for."""
    classes = {Level.OK: "ok", Level.WARNING: "warn", Level.FAILURE: "bad"}
    waits = not look.done.is_set()
    age = duration_text(max(0.0, (now - (look.ended or look.began)).total_seconds() // 1))
    if waits:
        title = "Would a failover work now?"
        note = f"Begun {age} ago, and waiting for {look.waits_for}. This page shows what comes in."
    elif look.error is not None:
        title, note = "Nobody knows whether a failover would work", look.error
    else:
        title = "A failover would work now" if look.ready else "A failover would not work now"
        note = f"Looked at {age} ago."
    return _page(
        title,
        visitor,
        tag(
            "p",
            tag("span", note, class_="quiet" if look.error is None else "bad"),
            None if waits else tag("a", " Look again", href="/ui/validate?again=true"),
            role="status",
        ),
        table(
            ("check", "level", "what"),
            [
                (one.name, tag("span", one.level, class_=classes[one.level]), one.sentence)
                for one in list(look.answers)
            ],
        ),
        refresh="2;url=/ui/validate" if waits else None,
    )


def confirmation_page(
    request: Request, steps: Sequence[str], confirm: str, visitor: Visitor, max_loss: str
) -> str:
    """What a change would do, step by step, and the button that begins it."""
    fields = {"to": request.target, "confirm": confirm, "max_loss": max_loss}
    if request.force:
        fields["force"] = "on"
    return _page(
        f"{request.operation.capitalize()} to {request.target}?",
        visitor,
        tag("p", "Nothing is done yet. This is what would happen:"),
        tag("ol", *(tag("li", step) for step in steps)),
        _form(
            f"/ui/change/{request.operation}",
            visitor,
            tag("label", "Reason, for the history", tag("input", type="text", name="reason")),
            *(
                tag("input", type="hidden", name=name, value=value)
                for name, value in fields.items()
            ),
            tag("button", f"Begin the {request.operation} to {request.target}", class_="danger"),
        ),
        tag("p", tag("a", "No, back to the regions", href="/ui/")),
    )


def _page(title: str, visitor: Visitor | None, *body: Any, refresh: int | str | None = None) -> str:
    links = [("Regions", "/ui/"), ("History", "/ui/history"), ("Would it work?", "/ui/validate")]
    header = tag(
        "header",
        tag("strong", "Proa control"),
        None
        if visitor is None
        else tag(
            "nav", *(tag("a", text, href=target) for text, target in links), aria_label="Pages"
        ),
        None
        if visitor is None
        else tag("span", f"{visitor.user} ({visitor.user.role})", class_="quiet"),
        None
        if visitor is None
        else _form("/ui/sign-out", visitor, tag("button", "Sign out"), class_="inline"),
    )
    skip = tag("a", "Skip to the content", href="#content", class_="skip")
    return document(
        title, skip, header, tag("main", tag("h1", title), *body, id="content"), refresh=refresh
    )


def _form(action: str, visitor: Visitor, *children: Any, class_: str | None = None) -> Markup:
    return tag(
        "form",
        tag("input", type="hidden", name="csrf", value=visitor.csrf),
        *children,
        method="post",
        action=action,
        class_=class_,
        # The API takes what looks like a form for JSON, as Databricks' clients mean it.
        enctype="multipart/form-data",
    )


def _alerts(witness: Witness) -> list[Markup]:
    state = witness.alerts.state
    told = [
        tag(
            "p",
            f"{name}: {one.sentence} (since {utc_text(one.since, 'seconds')})",
            class_="alert",
            role="alert",
        )
        for name, one in state.raised.items()
    ]
    failing = [one for one in state.waiting if one.error]
    if failing:
        sentence = f"{len(failing)} notices could not be delivered yet: {failing[0].error}"
        told.append(tag("p", sentence, class_="alert"))
    return told


def _change(witness: Witness, visitor: Visitor) -> Markup | None:
    """The change that runs or has stopped half way. Returns None when there is none."""
    change, record = witness.change, witness.record
    if record.is_steady and (change is None or change.done.is_set()):
        return None
    lines = list(change.sentences) if change is not None else [record.sentence]
    error = None if change is None else change.error
    title = record.under_way.partition(" (")[0].partition(";")[0] or "a change ends"
    buttons = None
    if visitor.may_change and (change is None or change.done.is_set()):
        buttons = tag(
            "p",
            _form("/ui/resume", visitor, tag("button", "Resume"), class_="inline"),
            " ",
            _form("/ui/cancel", visitor, tag("button", "Take it back"), class_="inline"),
        )
    return tag(
        "section",
        tag("h2", f"{title[0].upper()}{title[1:]}"),
        tag("ol", *(tag("li", line) for line in lines), aria_live="polite"),
        None if error is None else tag("p", str(error), class_="bad"),
        buttons,
        class_="card",
    )


def _card(witness: Witness, region: str) -> Markup:
    look, silent = witness.looks.get(region), witness.silence(region)
    is_active = region == witness.record.active
    rows = []
    if look is not None and silent is None:
        waiting = look.status.waiting
        rpo = witness.recovery.rpo
        late = rpo is not None and waiting > rpo
        text = (
            "everything is processed"
            if not waiting
            else f"the oldest shipment waits for {duration_text(waiting)}"
        )
        rows.append(tag("p", text, class_="bad" if late else "ok" if not waiting else None))
        rows.append(tag("p", f"lag {duration_text(look.status.lag or 0.0)}", class_="quiet"))
        if look.status.latest_event is not None:
            rows.append(
                tag(
                    "p",
                    f"latest event {utc_text(look.status.latest_event, 'seconds')}",
                    class_="quiet",
                )
            )
        if isinstance(look.role, Role) and look.role is not Role.UNKNOWN:
            rows.append(tag("p", f"set to run as {look.role}", class_="quiet"))
        drawn = chart(list(witness.lags[region]), f"How long shipments waited in {region}")
        if drawn is not None:
            rows.append(drawn)
    role = "active" if is_active else "standby"
    return tag(
        "article",
        tag("h3", tag("a", region, href=f"/ui/regions/{region}"), f" · {role}"),
        tag("p", f"epoch {witness.record.epoch}", class_="quiet") if is_active else None,
        None if silent is None else tag("p", silent, class_="bad"),
        *rows,
        class_="card active" if is_active else "card",
    )


def _verbs(witness: Witness) -> Markup:
    """Forms that lead to an explanation; nothing is done by them."""
    active = witness.record.active
    forms = []
    for region in witness.settings.regions:
        if region == active:
            continue
        for verb in (Operation.DRILL, Operation.SWITCHOVER, Operation.FAILOVER):
            text = (
                f"Drill {region} …"
                if verb is Operation.DRILL
                else f"{verb.capitalize()} to {region} …"
            )
            extra = None
            if verb is Operation.FAILOVER:
                extra = tag(
                    "span",
                    tag(
                        "label", "May be lost, e.g. 5m", tag("input", type="text", name="max_loss")
                    ),
                    tag("label", tag("input", type="checkbox", name="force"), " whatever it takes"),
                )
            forms.append(
                tag(
                    "form",
                    tag("input", type="hidden", name="to", value=region),
                    extra,
                    tag("button", text),
                    method="get",
                    action=f"/ui/change/{verb}",
                    class_="card",
                )
            )
    return tag(
        "section",
        tag("h2", "Change roles"),
        tag("p", "Each is explained first.", class_="quiet"),
        tag("div", *forms, class_="verbs"),
    )


def _graph(details: RegionDetails, now: datetime) -> Markup:
    """The datasets as a list, each after those that it reads, and the lines between them."""
    datasets = details.ordered
    if not datasets:
        return tag("p", "nothing yet", class_="quiet")
    rows = lay_out([one.name for one in datasets], {one.name: one.reads for one in datasets})
    lanes = 1 + max(max((row.point, *row.passing, *row.joined)) for row in rows)
    return tag(
        "ol",
        *(
            tag("li", graph_line(row, lanes), _dataset(one, now))
            for row, one in zip(rows, datasets, strict=True)
        ),
        class_="graph",
    )


def _dataset(one: DatasetDetails, now: datetime) -> Markup:
    """What is known of a dataset, in words that need no drawing."""
    origins = [*one.reads, *(f"the files of {folder}" for folder in one.files)]
    facts = [one.kind, f"reads {', '.join(origins)}" if origins else None]
    if one.rows is None:
        state = tag("p", "not computed yet", class_="warn")
    else:
        written = None
        if one.updated is not None:
            moment = datetime.fromisoformat(one.updated)
            age = duration_text(max(0.0, (now - moment).total_seconds() // 1))
            written = tag(
                "span", f", written {age} ago", title=utc_text(moment, "seconds"), class_="quiet"
            )
        rows = f"{one.rows:,} row{'s' * (one.rows != 1)} in version {one.version}"
        state = tag("p", rows, written)
    expectations = [
        tag(
            "p",
            f"{name}: {failed:,} of {passed + failed:,} rows failed",
            class_="warn" if failed else "ok",
        )
        for name, passed, failed in one.expectations
    ]
    return tag(
        "div",
        tag("strong", one.name),
        tag("span", f" · {'; '.join(filter(None, facts))}", class_="quiet"),
        state,
        *expectations,
        class_="dataset",
    )


def _finding_row(event: Mapping[str, Any]) -> tuple[str, Markup, str]:
    level = tag("span", event["level"], class_="bad" if event["level"] == "ERROR" else "warn")
    return event["timestamp"][:19].replace("T", " "), level, event["message"]
