"""A wire: a TCP address on loopback whose other end a test chooses, cuts, or lets swallow everything."""

from __future__ import annotations

import contextlib
import socket
import threading
from enum import Enum, auto


class WireState(Enum):
    """What a wire does with what it gets."""

    PASSES = auto()
    SWALLOWS = auto()
    """Connections are taken, and nothing is ever answered: a black hole."""
    REFUSES = auto()
    """Connections are closed at once."""


class Wire:
    """Listens on an address that never changes, and passes bytes to `target`, which may."""

    def __init__(self, target: tuple[str, int] | None = None) -> None:
        self.target = target
        self.calls = 0
        """Connections since the last `set`."""
        self.answered = 0
        """Bytes that came back from `target`."""
        self._state = WireState.PASSES
        self._open: set[socket.socket] = set()
        self._lost: set[socket.socket] = set()
        self._lock = threading.Lock()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = int(self._listener.getsockname()[1])
        threading.Thread(target=self._listen, daemon=True).start()

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def set(self, state: WireState) -> None:
        """Change what it does; also with connections that are open, unless they pass again."""
        with self._lock:
            self._state, self.calls = state, 0
            ended = [] if state is WireState.SWALLOWS else list(self._open)
        for one in ended:
            with contextlib.suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)

    def lose(self) -> None:
        """Carry nothing more for the connections that are open, and say so to nobody; others pass."""
        with self._lock:
            self._lost |= self._open

    def close(self) -> None:
        self.set(WireState.REFUSES)
        self._listener.close()

    def _listen(self) -> None:
        while True:
            try:
                near, _ = self._listener.accept()
            except OSError:
                return
            self.calls += 1
            if self._state is WireState.REFUSES:
                near.close()
                continue
            with self._lock:
                self._open.add(near)
            threading.Thread(target=self._carry, args=(near,), daemon=True).start()

    def _carry(self, near: socket.socket) -> None:
        far = None
        try:
            if self._state is WireState.PASSES and self.target is not None:
                far = socket.create_connection(self.target)
                with self._lock:
                    self._open.add(far)
                threading.Thread(
                    target=self._pump, args=(far, near), kwargs={"back": True}, daemon=True
                ).start()
            self._pump(near, far)
        except OSError:
            pass
        finally:
            self._end(near, far)

    def _pump(
        self, source: socket.socket, sink: socket.socket | None, *, back: bool = False
    ) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(65536):
                if sink is None or self._state is not WireState.PASSES or sink in self._lost:
                    continue
                if back:
                    self.answered += len(data)
                sink.sendall(data)
        if sink is not None and self._state is not WireState.SWALLOWS:
            with contextlib.suppress(OSError):
                sink.shutdown(socket.SHUT_WR)

    def _end(self, *ends: socket.socket | None) -> None:
        for one in ends:
            if one is None:
                continue
            with self._lock:
                self._open.discard(one)
                self._lost.discard(one)
            one.close()
