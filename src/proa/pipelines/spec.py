"""`spark-pipeline.yml`: Apache's description of a pipeline, by Apache's rules."""

from __future__ import annotations

import glob
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from proa.errors import SettingsError, one_line
from proa.pipelines.nearest import suggestion

FILE_NAMES = ("spark-pipeline.yaml", "spark-pipeline.yml")

_FIELDS = ("name", "storage", "catalog", "database", "schema", "configuration", "libraries")


@dataclass(frozen=True)
class PipelineSpec:
    """A pipeline: its name, where it keeps its state, and which files declare it."""

    name: str
    storage: str
    """Path or URL of the folder for tables and checkpoints; relative to the file's folder."""
    catalog: str | None = None
    database: str | None = None
    configuration: Mapping[str, str] = field(default_factory=dict)
    libraries: tuple[str, ...] = ()
    """A file, or a folder followed by `/**`; relative to the file's folder."""

    def __post_init__(self) -> None:
        for include in self.libraries:
            _check_glob(include)


def find(start: Path) -> Path:
    """The specification in `start` or the nearest folder above that has one.

    Raises SettingsError when there is none, or when one folder has both spellings.
    """
    for folder in (start.absolute(), *start.absolute().parents):
        found = [folder / name for name in FILE_NAMES if _is_file(folder / name, start)]
        if len(found) > 1:
            raise SettingsError(
                f"{folder} has both {' and '.join(FILE_NAMES)}; remove one of them",
                condition="MULTIPLE_PIPELINE_SPEC_FILES_FOUND",
            )
        if found:
            return found[0]
    raise _not_found(start)


def load_spec(path: Path) -> PipelineSpec:
    """Read a specification. Raises SettingsError that names the file and the key."""
    try:
        data = yaml.safe_load(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise SettingsError(
            f"there is no pipeline specification {str(path)!r}; `proa init NAME` writes a project",
            condition="PIPELINE_SPEC_FILE_DOES_NOT_EXIST",
        ) from error
    except OSError as error:
        raise SettingsError(f"cannot read {path}: {error.strerror}") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise SettingsError(f"{path} is not valid YAML: {one_line(error)}") from error
    try:
        return parse_spec(data)
    except SettingsError as error:
        raise SettingsError(f"{path}: {error}", condition=error.condition) from error


def parse_spec(data: Any) -> PipelineSpec:
    """A specification from what YAML says. Raises SettingsError under Apache's names."""
    if not isinstance(data, Mapping):
        raise SettingsError("a specification is a mapping with the keys 'name' and 'storage'")
    for key in data:
        if key not in _FIELDS:
            raise SettingsError(
                f"there is no field {key!r}{suggestion(str(key), _FIELDS)};"
                f" there are {', '.join(_FIELDS)}",
                condition="PIPELINE_SPEC_UNEXPECTED_FIELD",
            )
    for key in ("name", "storage"):
        if data.get(key) is None:
            raise SettingsError(
                f"the field {key!r} is missing", condition="PIPELINE_SPEC_MISSING_REQUIRED_FIELD"
            )
    texts = {key: _text(data.get(key), key) for key in _FIELDS[:5]}
    return PipelineSpec(
        name=texts["name"] or "",
        storage=texts["storage"] or "",
        catalog=texts["catalog"],
        database=texts["database"] if texts["database"] is not None else texts["schema"],
        configuration=_configuration(data.get("configuration")),
        libraries=_libraries(data.get("libraries")),
    )


def _text(value: Any, key: str) -> str | None:
    if value is not None and not isinstance(value, str):
        raise SettingsError(f"the field {key!r} must be a string, not {value!r}; put it in quotes")
    return value


def _configuration(value: Any) -> dict[str, str]:
    if value is None:
        return {}
    if not isinstance(value, Mapping):
        raise SettingsError(
            f"the field 'configuration' must be a mapping, not {type(value).__name__}",
            condition="PIPELINE_SPEC_FIELD_NOT_DICT",
        )
    for key, item in value.items():
        if not isinstance(key, str):
            raise SettingsError(
                f"the key {key!r} of 'configuration' must be a string; put it in quotes",
                condition="PIPELINE_SPEC_DICT_KEY_NOT_STRING",
            )
        if not isinstance(item, str):
            raise SettingsError(
                f"the value {item!r} of 'configuration' key {key!r} must be a string;"
                " put it in quotes",
                condition="PIPELINE_SPEC_DICT_VALUE_NOT_STRING",
            )
    return dict(value)


def _libraries(value: Any) -> tuple[str, ...]:
    if value is None:
        return ()
    if not isinstance(value, list):
        raise SettingsError("the field 'libraries' must be a list of '- glob: {include: ...}'")
    found = []
    for entry in value:
        match entry:
            case {"glob": {"include": str(include), **rest}, **others} if not rest and not others:
                found.append(include)
            case _:
                raise SettingsError(
                    f"an entry of 'libraries' must be 'glob: {{include: ...}}', not {entry!r}"
                )
    return tuple(found)


def _check_glob(include: str) -> None:
    plain = include.removesuffix("/**")
    if not plain or glob.has_magic(plain):
        raise SettingsError(
            f"the glob {include!r} is neither a file nor a folder followed by '/**'",
            condition="PIPELINE_SPEC_INVALID_GLOB_PATTERN",
        )


def _is_file(path: Path, start: Path) -> bool:
    try:
        return path.is_file()
    except PermissionError as error:
        raise _not_found(start) from error


def _not_found(start: Path) -> SettingsError:
    return SettingsError(
        f"there is no {' or '.join(FILE_NAMES)} in {start.absolute()} or above;"
        " `proa init NAME` writes a project",
        condition="PIPELINE_SPEC_FILE_NOT_FOUND",
    )
