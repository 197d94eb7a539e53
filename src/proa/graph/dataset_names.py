"""Which dataset a name means."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from proa.pipelines.identifiers import Namespace
from proa.text import quote_identifier, suggestion


class DatasetNames:
    """The datasets' names, and how they may be spelled.

    Case does not matter. The pipeline's own catalog and schema may stand before a name or not, and
    so may the old `LIVE.`.
    """

    def __init__(self, datasets: Iterable[str], namespace: Namespace) -> None:
        self._namespace = namespace
        self._names: dict[str, str] = {}
        for name in datasets:
            self._names.setdefault(namespace.key(name), name)

    def __iter__(self) -> Iterator[str]:
        return iter(self._names.values())

    def find(self, name: str | tuple[str, ...]) -> str | None:
        """The dataset's name as it was declared, or None when there is no such dataset."""
        text = name if isinstance(name, str) else ".".join(quote_identifier(part) for part in name)
        return self._names.get(self._namespace.key(text))

    def suggestion(self, name: str | tuple[str, ...]) -> str:
        """The end of a sentence that says which name may have been meant."""
        text = name if isinstance(name, str) else ".".join(name)
        near = suggestion(text, self) or suggestion(text.rpartition(".")[2], self)
        there = ", ".join(sorted(self)[:10])
        return near or (f"; it declares {there}" if there else "")
