"""The workspace: a tree of folders, notebooks and files, kept in the region's state.

`/Workspace/Users/...` and `/Users/...` are one tree. A path is a list of names: nothing a client
spells can lead out of it.
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from sqlalchemy import Connection, Row, delete, func, insert, or_, select, update

from proa.clock import Clock
from proa.http.api_errors import (
    AlreadyExistsError,
    ApiError,
    InvalidParameterError,
    MissingError,
    TakenError,
)
from proa.region.state import Database
from proa.region.state.state_tables import objects
from proa.region.workspace import notebooks
from proa.times import millis

_FOLDERS = ("/Shared", "/Users", "/Repos")
_MAX_PATH = 1000
_UNNAMEABLE = re.compile(r"[\x00-\x1f\x7f\\\ud800-\udfff]")


class ObjectKind(StrEnum):
    """What stands at a path."""

    DIRECTORY = "DIRECTORY"
    NOTEBOOK = "NOTEBOOK"
    FILE = "FILE"


@dataclass(frozen=True)
class WorkspaceObject:
    """One object of the workspace."""

    object_id: int
    path: str
    """Canonical: without `/Workspace`."""
    kind: ObjectKind
    language: str | None
    """PYTHON, SQL, SCALA or R; of notebooks only."""
    size: int
    created_at: int
    modified_at: int
    content: bytes = b""

    @property
    def file_name(self) -> str:
        """The last name, with the suffix that its language asks for."""
        name = posixpath.basename(self.path)
        suffix = next((s for s, of in notebooks.SUFFIXES.items() if of == self.language), "")
        return name if name.lower().endswith(suffix) else name + suffix


def canonical(path: str) -> str:
    """`path` as the tree spells it. InvalidParameterError when it is not an absolute path."""
    if not path.startswith("/"):
        raise InvalidParameterError(f"the path {path!r} must be absolute: begin it with '/'")
    if len(path) > _MAX_PATH:
        raise InvalidParameterError(f"the path is {len(path)} characters long, {_MAX_PATH} is most")
    names = [name for name in path.split("/") if name]
    if names[:1] == ["Workspace"]:
        names = names[1:]
    for name in names:
        if name in {".", ".."} or _UNNAMEABLE.search(name):
            raise InvalidParameterError(
                f"the path {path!r} holds {name!r}, which cannot be the name of an object"
            )
        if len(name.encode("utf-8", "surrogatepass")) > 255:
            raise InvalidParameterError(f"a name in the path {path[:60]!r}... is over 255 bytes")
    return "/" + "/".join(names)


class Workspace:
    """The objects of one region."""

    def __init__(self, database: Database, clock: Clock) -> None:
        self._database = database
        self._clock = clock

    def prepare(self) -> None:
        """Make the folders that every workspace has."""
        for folder in _FOLDERS:
            self.mkdirs(folder)

    def get(self, path: str, *, content: bool = False) -> WorkspaceObject:
        """The object at `path`, with its content when asked. MissingError when there is none."""
        with self._database.read() as connection:
            row = _find(connection, canonical(path), content=content)
        if row is None:
            raise MissingError(f"Path ({path}) doesn't exist.")
        return row

    def by_id(self, object_id: int) -> WorkspaceObject:
        """The object with that id. MissingError when there is none."""
        with self._database.read() as connection:
            row = connection.execute(
                select(*_columns(content=False)).where(objects.c.object_id == object_id)
            ).first()
        if row is None:
            raise MissingError(f"there is no workspace object with the id {object_id}")
        return _item(row)

    def children(self, path: str) -> list[WorkspaceObject]:
        """What lies directly in the folder, by name; a notebook or file is its own only child."""
        item = self.get(path)
        if item.kind is not ObjectKind.DIRECTORY:
            return [item]
        with self._database.read() as connection:
            rows = connection.execute(
                select(*_columns(content=False))
                .where(objects.c.parent == item.path)
                .order_by(objects.c.path)
            )
            return [_item(row) for row in rows]

    def below(self, path: str) -> list[WorkspaceObject]:
        """All notebooks and files below the folder, at any depth, with content, by path."""
        folder = canonical(path)
        with self._database.read() as connection:
            rows = connection.execute(
                select(*_columns(content=True))
                .where(_inside(folder), objects.c.object_type != ObjectKind.DIRECTORY)
                .order_by(objects.c.path)
            )
            return [_item(row) for row in rows]

    def mkdirs(self, path: str) -> WorkspaceObject:
        """Make the folder and those above it; no error when they are there."""
        with self._database.write() as connection:
            return self._mkdirs(connection, canonical(path))

    def put(  # noqa: PLR0913 - what an object is made of
        self,
        path: str,
        content: bytes,
        kind: ObjectKind,
        language: str | None = None,
        *,
        overwrite: bool = False,
        parents: bool = False,
    ) -> WorkspaceObject:
        """Write a notebook or file; its folder must be there, or is made with `parents`.

        One transaction: of two that create the same path without `overwrite`, one gets
        AlreadyExistsError. An object that is overwritten keeps its id.
        """
        target = canonical(path)
        now = millis(self._clock.now())
        values: dict[str, Any] = {
            "object_type": kind,
            "language": language,
            "content": content,
            "size": len(content),
            "modified_at": now,
        }
        with self._database.write() as connection:
            parent = _find(connection, posixpath.dirname(target))
            if parent is None and parents:
                parent = self._mkdirs(connection, posixpath.dirname(target))
            if parent is None:
                raise MissingError(f"The parent folder ({posixpath.dirname(path)}) does not exist.")
            if parent.kind is not ObjectKind.DIRECTORY:
                raise InvalidParameterError(
                    f"{parent.path!r} is a {parent.kind.lower()}; nothing can lie in it"
                )
            there = _find(connection, target)
            if there is not None and (not overwrite or there.kind is ObjectKind.DIRECTORY):
                raise AlreadyExistsError(f"Path ({path}) already exists.")
            if there is not None:
                connection.execute(
                    update(objects).where(objects.c.object_id == there.object_id).values(**values)
                )
            else:
                connection.execute(
                    insert(objects).values(
                        path=target, parent=parent.path, created_at=now, **values
                    )
                )
            found = _find(connection, target)
        assert found is not None
        return found

    def delete(self, path: str, *, recursive: bool = False) -> None:
        """Remove the object. A folder that is not empty needs `recursive`."""
        target = canonical(path)
        if target == "/":
            raise InvalidParameterError("the root of the workspace cannot be deleted")
        with self._database.write() as connection:
            item = _find(connection, target)
            if item is None:
                raise MissingError(f"Path ({path}) doesn't exist.")
            inside = connection.execute(select(objects.c.object_id).where(_inside(target)).limit(1))
            if inside.first() is not None and not recursive:
                raise ApiError(
                    f"Folder ({path}) is not empty; delete it with recursive=true",
                    condition="DIRECTORY_NOT_EMPTY",
                )
            connection.execute(
                delete(objects).where(or_(objects.c.path == target, _inside(target)))
            )

    def import_(
        self,
        path: str,
        content: bytes,
        *,
        format: str = "SOURCE",  # noqa: A002 - the API's own word
        language: str | None = None,
        overwrite: bool = False,
    ) -> WorkspaceObject:
        """Write `content` in one of the formats SOURCE, JUPYTER, AUTO and RAW; makes missing folders.

        Clients that write several notebooks at once into a folder that is not there must not race
        to make it.
        """
        if format == "RAW":
            return self.put(path, content, ObjectKind.FILE, overwrite=overwrite, parents=True)
        if format == "AUTO":
            return self.upload(path, content, overwrite=overwrite, parents=True)
        if format == "JUPYTER":
            language, content = notebooks.from_jupyter(content)
        elif format != "SOURCE":
            raise InvalidParameterError(
                f"the format {format!r} cannot be imported; use SOURCE, JUPYTER, RAW or AUTO"
            )
        elif language is None:
            raise InvalidParameterError(
                "language is needed to import a notebook with format SOURCE;"
                " set it, or use format AUTO"
            )
        return self.put(
            path, content, ObjectKind.NOTEBOOK, language, overwrite=overwrite, parents=True
        )

    def upload(
        self, path: str, content: bytes, *, overwrite: bool, parents: bool = False
    ) -> WorkspaceObject:
        """Write a file; one that begins as a notebook does becomes a notebook without suffix."""
        name = posixpath.basename(path)
        if name.lower().endswith(".ipynb"):
            language, text = notebooks.from_jupyter(content)
            return self.put(
                path[: -len(".ipynb")],
                text,
                ObjectKind.NOTEBOOK,
                language,
                overwrite=overwrite,
                parents=parents,
            )
        found = notebooks.language_of_source(name, content)
        if found is not None:
            bare = path[: path.rindex(".")]
            return self.put(
                bare, content, ObjectKind.NOTEBOOK, found, overwrite=overwrite, parents=parents
            )
        return self.put(path, content, ObjectKind.FILE, overwrite=overwrite, parents=parents)

    def export(self, path: str, format: str = "SOURCE") -> tuple[bytes, str]:  # noqa: A002
        """(content, file type) of the object in the format SOURCE, JUPYTER, AUTO or RAW."""
        item = self.get(path, content=True)
        if item.kind is ObjectKind.DIRECTORY:
            raise InvalidParameterError(f"{path!r} is a folder; export what lies in it")
        if item.kind is ObjectKind.FILE or item.language is None:
            return item.content, posixpath.splitext(path)[1].removeprefix(".") or "txt"
        if format == "JUPYTER":
            return notebooks.to_jupyter(item.language, item.content), "ipynb"
        if format not in {"SOURCE", "AUTO", "RAW"}:
            raise InvalidParameterError(
                f"the format {format!r} cannot be exported; use SOURCE, JUPYTER or AUTO"
            )
        suffix = next(s for s, of in notebooks.SUFFIXES.items() if of == item.language)
        return notebooks.source(item.language, item.content), suffix.removeprefix(".")

    def _mkdirs(self, connection: Connection, target: str) -> WorkspaceObject:
        item = _find(connection, target)
        if item is not None:
            if item.kind is not ObjectKind.DIRECTORY:
                raise AlreadyExistsError(f"{target!r} is a {item.kind.lower()}, not a folder")
            return item
        parent = self._mkdirs(connection, posixpath.dirname(target)) if target != "/" else None
        now = millis(self._clock.now())
        connection.execute(
            insert(objects).values(
                path=target,
                parent=parent.path if parent else "",
                object_type=ObjectKind.DIRECTORY,
                size=0,
                created_at=now,
                modified_at=now,
            )
        )
        made = _find(connection, target)
        if made is None:
            raise TakenError(f"{target!r} went away while it was being made")
        return made


def _inside(folder: str) -> Any:
    prefix = "/" if folder == "/" else f"{folder}/"
    # Not LIKE: SQLite's does not tell capitals from small letters.
    return (func.substr(objects.c.path, 1, len(prefix)) == prefix) & (objects.c.path != folder)


def _columns(*, content: bool) -> Sequence[Any]:
    columns = objects.c
    return [column for column in columns if content or column.name != "content"]


def _find(connection: Connection, path: str, *, content: bool = False) -> WorkspaceObject | None:
    row = connection.execute(
        select(*_columns(content=content)).where(objects.c.path == path)
    ).first()
    return None if row is None else _item(row)


def _item(row: Row[Any]) -> WorkspaceObject:
    return WorkspaceObject(
        row.object_id,
        row.path,
        ObjectKind(row.object_type),
        row.language,
        row.size,
        row.created_at,
        row.modified_at,
        getattr(row, "content", None) or b"",
    )
