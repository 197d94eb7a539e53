"""Engines compute: an embedded Sail or any Spark Connect server."""

from proa.engine.errors import carried, translate
from proa.engine.session import Engine, Relation

__all__ = ["Engine", "Relation", "carried", "translate"]
