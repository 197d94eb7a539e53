"""Engines compute: an embedded Sail or any Spark Connect server."""

from typing import TYPE_CHECKING

from proa.lazy import exports

if TYPE_CHECKING:
    from proa.engine.carried_errors import carry_errors
    from proa.engine.engine_errors import PYTHON_FAILED, as_proa_error
    from proa.engine.session import Engine, Relation

__all__ = ["PYTHON_FAILED", "Engine", "Relation", "as_proa_error", "carry_errors"]

__getattr__ = exports(
    __name__,
    {
        "Engine": "session",
        "PYTHON_FAILED": "engine_errors",
        "Relation": "session",
        "carry_errors": "carried_errors",
        "as_proa_error": "engine_errors",
    },
)
