"""Capture: what happens in a database becomes files of a source, which `proa ship` ships."""

from proa.capture.capture import Capture, CaptureReport, CaptureStatus

__all__ = ["Capture", "CaptureReport", "CaptureStatus"]
