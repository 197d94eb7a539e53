"""What a command's exit code means; 0 is that it worked."""

from __future__ import annotations

ANSWER_IS_NO = 1
"""It ran, and the answer is no: an update failed, regions differ, a region has not caught up."""
MISUSED = 2
"""The command, a setting or the pipeline is wrong."""
UNAVAILABLE = 3
"""Something did not answer; another try may succeed."""
SIGNALLED = 128
"""Added to the number of the signal that ended it."""
INTERRUPTED = 130
OUTPUT_CLOSED = 141
"""Whoever reads the output stopped reading, as `head` does."""
