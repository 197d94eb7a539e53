"""What a region remembers: SQLite by default, PostgreSQL by URL, migrated by Alembic."""

from proa.region.store.database import (
    Database,
    Exclusive,
    LostError,
    StateUnavailableError,
)

__all__ = ["Database", "Exclusive", "LostError", "StateUnavailableError"]
