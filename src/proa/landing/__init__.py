"""Bytes into every landing zone: ship them, and list them in a manifest beside them."""

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
