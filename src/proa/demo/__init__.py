"""`proa demo`: real records, two regions, one of them lost, and the proof that nothing else was."""

from proa.demo.proof import DemoReport
from proa.demo.shop_story import ShopDemo, ShopReport
from proa.demo.story import Demo

__all__ = ["Demo", "DemoReport", "ShopDemo", "ShopReport"]
