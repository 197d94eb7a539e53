"""A server that answers the Delta Sharing protocol for one table and does nothing else: answers are bytes that it was
given, files are sent by the system. What a gateway takes beside it is what the gateway does.

python -m benchmarks.static_sharing ANSWER FILE..
"""

from __future__ import annotations

import json
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

_LINES = "application/x-ndjson; charset=utf-8"


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    answer: list[dict[str, Any]]
    """The lines of a query's answer, without links."""
    files: list[Path]
    version: str

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers.get("content-length") or 0))
        self._lines(self.answer)

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_GET(self) -> None:
        if not self.path.startswith("/files/"):
            self._lines(self.answer[:2])  # metadata, or a version in the headers
            return
        file = self.files[int(self.path.rpartition("/")[2].partition("?")[0])]
        size = file.stat().st_size
        first, last, partial = 0, size - 1, self.headers.get("range")
        if partial:
            begin, _, end = partial.removeprefix("bytes=").partition("-")
            first, last = int(begin), min(int(end or last), last)
        self.send_response(206 if partial else 200)
        if partial:
            self.send_header("content-range", f"bytes {first}-{last}/{size}")
        self.send_header("accept-ranges", "bytes")
        self.send_header("content-length", str(last - first + 1))
        self.end_headers()
        if self.command == "GET":
            self.wfile.flush()
            with file.open("rb") as data:
                self.connection.sendfile(data, first, last - first + 1)

    def _lines(self, lines: list[dict[str, Any]]) -> None:
        host = f"http://127.0.0.1:{self.server.server_port}"
        number, texts = 0, []
        for line in lines:
            if "file" in line:
                link = {"url": f"{host}/files/{number}?sp=r&sig=none"}
                texts.append(json.dumps({"file": {**line["file"], **link}}))
                number += 1
            else:
                texts.append(json.dumps(line))
        body = "".join(f"{text}\n" for text in texts).encode()
        self.send_response(200)
        self.send_header("content-type", _LINES)
        self.send_header("delta-table-version", self.version)
        self.send_header("delta-sharing-capabilities", "responseformat=parquet")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def log_message(self, *_arguments: object) -> None:
        """Say nothing."""


class _Server(ThreadingHTTPServer):
    request_queue_size = 256

    def handle_error(self, *_arguments: object) -> None:
        """Say nothing: the client opens links that it does not read to their end."""


def main() -> None:
    _Handler.answer = json.loads(Path(sys.argv[1]).read_text())
    _Handler.files = [Path(file) for file in sys.argv[2:]]
    _Handler.version = "0"
    server = _Server(("127.0.0.1", 0), _Handler)
    print(json.dumps({"address": f"http://127.0.0.1:{server.server_port}"}), flush=True)
    server.serve_forever()


if __name__ == "__main__":
    main()
