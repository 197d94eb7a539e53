"""Engines compute: an embedded Sail or any Spark Connect server."""

from proa.engine.errors import PYTHON_FAILED, carried, translate
from proa.engine.session import Engine, Relation

__all__ = ["PYTHON_FAILED", "Engine", "Relation", "carried", "translate"]
