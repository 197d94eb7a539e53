"""Bytes into every landing zone: ship them, and list them in a manifest beside them."""

from typing import TYPE_CHECKING

from proa.lazy import exports

if TYPE_CHECKING:
    from proa.landing.delivery import ShipSource, Zone, ZoneReport
    from proa.landing.manifest import Manifest, Shipment, ShippedFile
    from proa.landing.project import open_source, open_zones
    from proa.landing.shipper import Refusal, Shipper, ShipReport

__all__ = [
    "Manifest",
    "Refusal",
    "ShipReport",
    "ShipSource",
    "Shipment",
    "ShippedFile",
    "Shipper",
    "Zone",
    "ZoneReport",
    "open_source",
    "open_zones",
]
__getattr__ = exports(
    __name__,
    {
        "Manifest": "manifest",
        "Refusal": "shipper",
        "ShipReport": "shipper",
        "ShipSource": "delivery",
        "Shipment": "manifest",
        "ShippedFile": "manifest",
        "Shipper": "shipper",
        "Zone": "delivery",
        "ZoneReport": "delivery",
        "open_source": "project",
        "open_zones": "project",
    },
)
