"""What a region remembers: SQLite by default, PostgreSQL by URL, migrated by Alembic."""

from proa.region.state.database import (
    Database,
    LostError,
    StateUnavailableError,
    outlive_mistakes,
    state_url,
)
from proa.region.state.ownership import Exclusive

__all__ = [
    "Database",
    "Exclusive",
    "LostError",
    "StateUnavailableError",
    "outlive_mistakes",
    "state_url",
]
