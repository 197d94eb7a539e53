"""What is installed only when it is asked for: `pip install 'proa[extra]'`."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from proa.errors import SettingsError


@contextmanager
def needs(extra: str) -> Iterator[None]:
    """For imports that need `extra`: raises SettingsError, which says so, when it is not there."""
    try:
        yield
    except ModuleNotFoundError as error:
        if error.name is None or error.name.partition(".")[0] == "proa":
            raise
        raise SettingsError(
            f"this command needs {error.name!r}, which is not installed; install it with:"
            f" pip install 'proa[{extra}]'"
        ) from error
