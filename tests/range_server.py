"""An HTTP server on this machine that sends parts of files, and counts what it is asked for."""

from __future__ import annotations

import hashlib
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import unquote


@dataclass
class RangeServer:
    """What a server was asked for.

    Parameters
    ----------
    address
        ``http://…``, without a slash at the end.
    requests, nbytes
        Requests so far, of all kinds, and bytes of content that were sent.
    ranges
        (start, stop) of every part that was sent.
    fault
        Answer of all requests from now on: None, or an HTTP status.
    partial
        Whether parts are sent; else every answer is the whole file.
    """

    address: str = ""
    requests: int = 0
    nbytes: int = 0
    ranges: list[tuple[int, int]] = field(default_factory=list)
    fault: int | None = None
    partial: bool = True

    def reset(self) -> None:
        """Count from 0."""
        self.requests = self.nbytes = 0
        self.ranges.clear()


@contextmanager
def serving(folder: Path) -> Iterator[RangeServer]:
    """Serve the files of a folder while the context lasts."""
    counted = RangeServer()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *arguments: object) -> None:
            """Nothing is logged."""

        def do_HEAD(self) -> None:
            self.answer(with_content=False)

        def do_GET(self) -> None:
            self.answer(with_content=True)

        def answer(self, with_content: bool) -> None:
            counted.requests += 1
            path = folder / unquote(self.path.lstrip("/"))
            if counted.fault is not None or not path.is_file():
                self.head(counted.fault or 404, {"Content-Length": "0"})
                return
            status = path.stat()
            tag = f'"{hashlib.md5(f"{status.st_mtime_ns} {status.st_size}".encode()).hexdigest()}"'
            if self.headers.get("If-Match", tag) != tag:
                self.head(412, {"Content-Length": "0"})
                return
            start, stop, code = 0, status.st_size, 200
            said = {"ETag": tag}
            asked = re.fullmatch(r"bytes=(\d+)-(\d+)", self.headers.get("Range", ""))
            if counted.partial:
                said["Accept-Ranges"] = "bytes"
                if asked:
                    start, stop, code = int(asked[1]), min(int(asked[2]) + 1, stop), 206
                    said["Content-Range"] = f"bytes {start}-{stop - 1}/{status.st_size}"
            self.head(code, said | {"Content-Length": str(stop - start)})
            if with_content:
                with path.open("rb") as file:
                    file.seek(start)
                    self.send(file.read(stop - start))
                counted.ranges.append((start, stop))

        def head(self, code: int, said: dict[str, str]) -> None:
            self.send_response(code)
            for name, value in said.items():
                self.send_header(name, value)
            self.end_headers()

        def send(self, data: bytes) -> None:
            try:
                self.wfile.write(data)
                counted.nbytes += len(data)
            except (BrokenPipeError, ConnectionResetError):
                self.close_connection = True  # the client had enough

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    counted.address = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    try:
        yield counted
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
