"""Where a pipeline keeps its things in the region's storage."""

from __future__ import annotations

import urllib.parse
from dataclasses import dataclass

EVENTS = "system/events"
DECLARED = "system/declared.json"
COLUMNS = "system/columns.json"
TABLES = "tables"
"""The folder that has one folder per table."""
SERVED = "dbfs/pipelines"
"""Below a region's storage: the storages of pipelines that its server was given without one."""


@dataclass(frozen=True)
class Layout:
    """The places below a storage location.

    tables/<dataset>/                                       a Delta table
    checkpoints/<dataset>/<flow>/<generation>/plans/        what each batch consists of
    checkpoints/<dataset>/<flow>/<generation>/cuts/         shorter plans of batches whose data are wrong
    checkpoints/<dataset>/<flow>/<generation>/settled/      those of the latter that were committed
    checkpoints/<dataset>/<flow>/<generation>/<leaf>/       what a leaf has seen
    sinks/<sink>/                                           what a sink was given, and when anew
    system/events/                                          the event log, a Delta table
    system/declared.json                                    the tables that the pipeline declares
    system/columns.json                                     what an engine said of its queries' columns
    """

    storage: str
    """Absolute path or URL."""

    def table(self, dataset: str) -> str:
        return f"{self.storage}/{TABLES}/{folder_of(dataset)}"

    def sink(self, sink: str) -> str:
        return f"{self.storage}/sinks/{folder_name(sink)}"

    def flows(self, dataset: str) -> str:
        """The folder that has one folder per flow."""
        return f"{self.storage}/checkpoints/{folder_name(dataset)}"

    def checkpoint(self, dataset: str, flow: str, generation: int) -> str:
        return f"{self.flows(dataset)}/{folder_name(flow)}/{generation}"

    @property
    def events(self) -> str:
        return f"{self.storage}/{EVENTS}"


def folder_name(name: str) -> str:
    """A name as one folder's name."""
    return urllib.parse.quote(name, safe="!$&()+,;@~.-_ ").replace(" ", "%20")


def folder_of(dataset: str) -> str:
    """A dataset's name as its table's folder. Readers of Delta tables undo `%20` and do not find
    the folder then, so `~` stands for `%`.
    """
    return folder_name(dataset).replace("~", "%7E").replace("%", "~")


def dataset_of(folder: str) -> str:
    """The dataset whose table is in the folder."""
    return urllib.parse.unquote(folder.replace("~", "%"))


def app_id(flow: str, generation: int) -> str:
    """The application of a flow's `txn` actions; their versions are its batches."""
    return f"proa:{flow}:{generation}"


def cut_app(app: str) -> str:
    """The application that tells how often a flow's last batch was cut; `app` counts its batches."""
    return f"{app}:cut"
