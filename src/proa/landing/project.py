"""The sources and landing zones that a project's settings name.

Apart because it alone of this package knows settings.
"""

from __future__ import annotations

from pathlib import Path

from proa.errors import SettingsError
from proa.landing.delivery import ShipSource, Zone
from proa.settings import ProjectSettings, SourceSettings
from proa.storage import Store, is_url


def open_source(name: str, settings: SourceSettings) -> ShipSource:
    """The source called `name`. SettingsError when its folder is missing: nothing is made there."""
    if not is_url(settings.path) and not Path(settings.path).is_dir():
        raise SettingsError(
            f"the source {name!r} has no folder {settings.path!r};"
            f" make it or correct sources.{name}.path"
        )
    store = Store.open(settings.path, settings.options)
    journal = Store.open(settings.journal, settings.options) if settings.journal else store
    return ShipSource(name, store, journal, settings.settle, settings.event_time)


def open_zones(settings: ProjectSettings) -> list[Zone]:
    """The landing zone of each region, named like it. Opening does not mean that it answers."""
    return [
        Zone(name, region.landing_zone, region.options) for name, region in settings.regions.items()
    ]
