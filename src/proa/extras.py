"""Libraries that are installed only when they are asked for: the extras of the package."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import PackageNotFoundError, requires

from proa.errors import SettingsError


@contextmanager
def needs(extra: str) -> Iterator[None]:
    """Run imports that need `extra`. Raises SettingsError, with the command that installs it."""
    try:
        yield
    except ModuleNotFoundError as error:
        if error.name is None or error.name.partition(".")[0] == "proa":
            raise
        raise SettingsError(missing_library(repr(error.name), extra)) from error


def missing_library(what: str, extra: str) -> str:
    """Say that a library is not installed, and what installs it wherever Proa itself came from."""
    requirements = " ".join(f"'{one}'" for one in extra_requirements(extra))
    return (
        f"{what} is needed and not installed; install the libraries of {extra!r} with:"
        f" python -m pip install {requirements}"
    )


def extra_requirements(extra: str) -> list[str]:
    """The requirements of an extra as pip takes them; the extra itself when Proa is not installed."""
    try:
        lines = requires("proa") or []
    except PackageNotFoundError:
        lines = []
    marker = re.compile(rf";\s*extra == ['\"]{re.escape(extra)}['\"]\s*$")
    return [marker.sub("", line) for line in lines if marker.search(line)] or [f"proa[{extra}]"]
