"""A real Chromium without a window, told what to do over its debugging pipe."""

from __future__ import annotations

import json
import os
import select
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

CHROMIUM = shutil.which("chromium")
needs_chromium = pytest.mark.skipif(CHROMIUM is None, reason="there is no chromium here")
_ANSWER_S = 120
_OPTIONS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--no-first-run",
    "--disable-extensions",
    "--disable-background-networking",
    "--remote-debugging-pipe",
)


class Browser:
    """One page of one browser."""

    def __init__(self, writes: int, reads: int) -> None:
        self._writes, self._reads = writes, reads
        self._buffer = b""
        self._number = 0
        self._session: str | None = None
        self._loads = 0
        self.complaints: list[str] = []
        """What the browser's console has said: errors, and what the page's policy forbids."""
        (target,) = [
            one for one in self._call("Target.getTargets")["targetInfos"] if one["type"] == "page"
        ]
        attached = self._call("Target.attachToTarget", targetId=target["targetId"], flatten=True)
        self._session = attached["sessionId"]
        for domain in ("Page", "Log", "Runtime"):
            self._call(f"{domain}.enable")

    @classmethod
    @contextmanager
    def started(cls, folder: Path) -> Iterator[Browser]:
        """A browser whose profile lies in a folder."""
        theirs_in, ours_out = os.pipe()
        ours_in, theirs_out = os.pipe()
        pipes = f'exec "$0" "$@" 3<&{theirs_in} 4>&{theirs_out}'
        command = [str(CHROMIUM), *_OPTIONS, f"--user-data-dir={folder}", "about:blank"]
        process = subprocess.Popen(
            ["/bin/bash", "-c", pipes, *command],
            pass_fds=(theirs_in, theirs_out),
            stderr=subprocess.DEVNULL,
        )
        for descriptor in (theirs_in, theirs_out):
            os.close(descriptor)
        try:
            yield cls(ours_out, ours_in)
        finally:
            process.terminate()
            process.wait(60)
            for descriptor in (ours_in, ours_out):
                os.close(descriptor)

    def show(self, *, width: int, dark: bool) -> None:
        """Be a screen of a width in CSS pixels, light or dark."""
        self._call(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=800,
            deviceScaleFactor=1,
            mobile=width < 600,
        )
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self._call("Emulation.setEmulatedMedia", features=[scheme])

    def open(self, url: str) -> None:
        """Go to an address; returns when the page is there."""
        self._await_load(lambda: self._call("Page.navigate", url=url))

    def click(self, selector: str) -> None:
        """Press what leads to another page; returns when that is there."""
        self._await_load(lambda: self.ask(f"document.querySelector({selector!r}).click()"))

    def fill(self, selector: str, text: str) -> None:
        """Type into a field."""
        self.ask(f"document.querySelector({selector!r}).focus()")
        self._call("Input.insertText", text=text)

    def ask(self, expression: str) -> Any:
        """The value of an expression in the page."""
        answer = self._call("Runtime.evaluate", expression=expression, returnByValue=True)
        assert "exceptionDetails" not in answer, answer
        return answer["result"].get("value")

    def _await_load(self, act: Any) -> None:
        before = self._loads
        act()
        while self._loads == before:
            self._hear(self._receive())

    def _call(self, method: str, **parameters: Any) -> Any:
        self._number += 1
        message = {"id": self._number, "method": method, "params": parameters}
        if self._session is not None:
            message["sessionId"] = self._session
        os.write(self._writes, json.dumps(message).encode() + b"\0")
        while True:
            answer = self._receive()
            if answer.get("id") == self._number:
                assert "error" not in answer, answer
                return answer["result"]
            self._hear(answer)

    def _hear(self, event: dict[str, Any]) -> None:
        if event.get("method") == "Page.loadEventFired":
            self._loads += 1
        elif event.get("method") == "Log.entryAdded":
            entry = event["params"]["entry"]
            if entry["level"] in {"error", "warning"}:
                self.complaints.append(f"{entry['text']} ({entry.get('url', '')})")

    def _receive(self) -> dict[str, Any]:
        while b"\0" not in self._buffer:
            ready, _, _ = select.select([self._reads], [], [], _ANSWER_S)
            assert ready, "the browser does not answer"
            data = os.read(self._reads, 1 << 16)
            assert data, "the browser has ended"
            self._buffer += data
        message, _, self._buffer = self._buffer.partition(b"\0")
        found: dict[str, Any] = json.loads(message)
        return found
