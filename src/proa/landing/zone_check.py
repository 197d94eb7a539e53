"""Compare a landing zone with its manifest, and fetch what it lost."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, replace

from proa.landing.delivery import Zone, hash_of
from proa.landing.manifest import Manifest, ShippedFile
from proa.storage import NotFoundError, Store
from proa.storage.visible import is_hidden


@dataclass(frozen=True)
class ZoneCheck:
    """What one zone holds of one source. Paths are relative to the source."""

    zone: str
    source: str
    files: int
    """Files that the manifest names."""
    missing: tuple[ShippedFile, ...] = ()
    """Named by the manifest, and not there."""
    differing: tuple[str, ...] = ()
    """There with another size, or other bytes, than were shipped."""
    unknown: tuple[str, ...] = ()
    """There, and not named by the manifest: flows do not read them."""
    left_out: tuple[str, ...] = ()
    """There under names that nobody reads or ships."""
    repaired: tuple[str, ...] = ()
    """Were missing, and are there again."""

    @property
    def is_right(self) -> bool:
        """Whether the zone holds what was shipped and nothing else."""
        return not (self.missing or self.differing or self.unknown)


def check_zone(zone: Zone, source: str, *, deep: bool = False) -> ZoneCheck:
    """Compare names and sizes, and with `deep` the hashes; UnavailableError if the zone is down."""
    store = zone.open()
    manifest = Manifest(store, source)
    manifest.refresh()
    rows = manifest.table().select(["path", "size", "sha256", "modified"]).to_pylist()
    files = {row["path"]: ShippedFile(**row) for row in rows}
    sizes = {info.path.removeprefix(f"{source}/"): info.size for info in store.walk(source)}
    there = {path: size for path, size in sizes.items() if not is_hidden(path)}
    common = [file for path, file in files.items() if path in there]
    return ZoneCheck(
        zone.name,
        source,
        len(files),
        missing=tuple(file for path, file in files.items() if path not in there),
        differing=tuple(f.path for f in common if _differs(store, source, f, there[f.path], deep)),
        unknown=tuple(sorted(set(there) - set(files))),
        left_out=tuple(sorted(set(sizes) - set(there) - set(files))),
    )


def keep_check(store: Store, check: ZoneCheck) -> None:
    """Keep in the zone how many files its manifest does not name, for who only looks."""
    facts = {"format": 1, "unnamed": len(check.unknown), "first": check.unknown[:1]}
    store.put(_kept_path(check.source), json.dumps(facts).encode())


def unnamed_files(store: Store, source: str) -> int:
    """How many files of a source its manifest did not name when the zone was checked last.

    Returns 0 if it was never checked. Costs one request.
    """
    try:
        return int(json.loads(store.get(_kept_path(source)))["unnamed"])
    except NotFoundError:
        return 0


def _kept_path(source: str) -> str:
    return f"_proa/zone-check/{source}.json"


def repair_zone(check: ZoneCheck, restore: Callable[[ShippedFile], None]) -> ZoneCheck:
    """Fetch each missing file again; what the check says afterwards."""
    for file in check.missing:
        restore(file)
    return replace(check, missing=(), repaired=tuple(file.path for file in check.missing))


def _differs(store: Store, source: str, file: ShippedFile, size: int, deep: bool) -> bool:  # noqa: FBT001 - one of check_zone's options
    if size != file.size:
        return True
    return deep and hash_of(store, f"{source}/{file.path}") != file.sha256
