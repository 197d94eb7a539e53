"""Object stores: local folders and buckets behind one set of verbs."""

from proa.storage.store import (
    QUICK_ANSWERS,
    NotFoundError,
    ObjectInfo,
    Store,
    absolute,
    is_url,
)

__all__ = ["QUICK_ANSWERS", "NotFoundError", "ObjectInfo", "Store", "absolute", "is_url"]
