"""Object stores: local folders and buckets behind one set of verbs."""

from proa.storage.store import NotFoundError, ObjectInfo, Store, absolute, is_url

__all__ = ["NotFoundError", "ObjectInfo", "Store", "absolute", "is_url"]
