"""What users pass to the decorators: checked at once, with the place of the mistake."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import Any, ParamSpec, TypeVar

from proa.errors import PipelineError
from proa.pipelines.environment import caller
from proa.text import suggestion

P = ParamSpec("P")
R = TypeVar("R")

NOT_EXPECTED_TYPE = "NOT_EXPECTED_TYPE"


def check_arguments(function: Callable[P, R]) -> Callable[P, R]:
    """Return `function`, which raises a PipelineError with the nearest parameter for a wrong one."""
    signature = inspect.signature(function)

    @functools.wraps(function)
    def call(*args: P.args, **kwargs: P.kwargs) -> R:
        unknown = [name for name in kwargs if name not in signature.parameters]
        if unknown:
            raise PipelineError(
                f"{function.__name__}() has no parameter {unknown[0]!r}"
                f"{suggestion(unknown[0], signature.parameters)};"
                f" it takes {', '.join(signature.parameters)}",
                condition="UNEXPECTED_ARGUMENT",
                location=caller(),
            )
        try:
            signature.bind(*args, **kwargs)
        except TypeError as error:
            raise PipelineError(
                f"{function.__name__}() was called wrongly: {error}",
                condition="UNEXPECTED_ARGUMENT",
                location=caller(),
            ) from error
        return function(*args, **kwargs)

    return call


def wrong_type(name: str, expected: str, value: object) -> PipelineError:
    """Spark's NOT_EXPECTED_TYPE; to be raised by the caller."""
    return PipelineError(
        f"the argument {name!r} must be {expected}, not {type(value).__name__}",
        condition=NOT_EXPECTED_TYPE,
        location=caller(),
    )


def text(name: str, value: Any) -> str | None:
    """A string or None."""
    if value is not None and not isinstance(value, str):
        raise wrong_type(name, "a string", value)
    return value


def required_name(name: str, value: Any) -> str:
    """A string that is not empty."""
    if not isinstance(value, str):
        raise wrong_type(name, "a string", value)
    if not value.strip():
        raise PipelineError(
            f"the argument {name!r} is empty; give the dataset's name",
            condition=NOT_EXPECTED_TYPE,
            location=caller(),
        )
    return value


def flag(name: str, value: Any) -> bool:
    """True or False; None is False."""
    if value is not None and not isinstance(value, bool):
        raise wrong_type(name, "True or False", value)
    return bool(value)


def names(name: str, value: Any) -> tuple[str, ...]:
    """A list of strings; None is an empty one."""
    if value is None:
        return ()
    if (
        isinstance(value, str)
        or not isinstance(value, Sequence)
        or not all(isinstance(item, str) for item in value)
    ):
        raise wrong_type(name, "a list of strings", value)
    return tuple(value)


def mapping(name: str, value: Any) -> dict[str, str]:
    """A dict of strings; numbers and booleans are spelled as Spark spells them."""
    if value is None:
        return {}
    if not isinstance(value, Mapping):
        raise wrong_type(name, "a dict", value)
    found: dict[str, str] = {}
    for key, item in value.items():
        if not isinstance(key, str):
            raise wrong_type(f"{name}'s key {key!r}", "a string", key)
        if isinstance(item, bool):
            found[key] = str(item).lower()
        elif isinstance(item, str | int | float):
            found[key] = str(item)
        else:
            raise wrong_type(f"{name}[{key!r}]", "a string", item)
    return found


def schema(value: Any) -> Any:
    """A DDL string, a StructType or None."""
    from pyspark.sql.types import StructType

    if value is not None and not isinstance(value, str | StructType):
        raise wrong_type("schema", "a StructType or a DDL string", value)
    return value
