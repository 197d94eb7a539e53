"""`proa demo`: real flights, two regions, one of them lost, and the proof that nothing else was."""

from proa.demo.proof import DemoReport
from proa.demo.story import Demo

__all__ = ["Demo", "DemoReport"]
