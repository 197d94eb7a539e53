"""Engines compute: an embedded Sail or any Spark Connect server."""

from typing import TYPE_CHECKING

from proa.lazy import exports

if TYPE_CHECKING:
    from proa.engine.carried_errors import carried
    from proa.engine.errors import PYTHON_FAILED, translate
    from proa.engine.session import Engine, Relation

__all__ = ["PYTHON_FAILED", "Engine", "Relation", "carried", "translate"]

__getattr__ = exports(
    __name__,
    {
        "Engine": "session",
        "PYTHON_FAILED": "errors",
        "Relation": "session",
        "carried": "carried_errors",
        "translate": "errors",
    },
)
