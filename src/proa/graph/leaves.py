"""The leaves of a flow's plan: what it reads. They are the edges of the graph."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True)
class DatasetLeaf:
    """A dataset of this pipeline, read complete or as a stream."""

    key: str
    """Names the leaf within its flow; the same on every run of the same source ("table:bronze:0")."""
    dataset: str
    """The dataset's canonical name."""
    streaming: bool
    options: Mapping[str, str] = field(default_factory=dict, hash=False)


@dataclass(frozen=True)
class FilesLeaf:
    """Files that the Auto Loader reads (`cloudFiles`, `read_files`, `cloud_files`)."""

    key: str
    path: str
    options: Mapping[str, str] = field(default_factory=dict, hash=False)
    """As written, `cloudFiles.` prefix included where the user wrote it; `read_files` and
    `cloud_files` are spelled the same way here, format under `cloudFiles.format`."""
    schema: str | None = None
    """DDL, when the user gave one."""
    streaming: bool = True

    @property
    def is_plain_read(self) -> bool:
        """Whether Spark's own reader of a batch (`spark.read`) is what the user wrote."""
        return not self.streaming and self.options.get("proa.rescue") == "false"


@dataclass(frozen=True)
class TableLeaf:
    """A Delta table that the pipeline does not make, read complete or as a stream of new rows."""

    key: str
    path: str
    """Path or URL of the table's folder."""
    streaming: bool
    options: Mapping[str, str] = field(default_factory=dict, hash=False)


Leaf = DatasetLeaf | FilesLeaf | TableLeaf
