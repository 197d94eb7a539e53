"""Capture: what happens in a database becomes files of a source, which `proa ship` ships."""

from proa.capture.capture import Capture, CaptureReport, CaptureStatus
from proa.capture.heartbeat import Heartbeat, read_heartbeat

__all__ = ["Capture", "CaptureReport", "CaptureStatus", "Heartbeat", "read_heartbeat"]
