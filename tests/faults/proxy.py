"""A server on loopback between an object store and its clients: it counts requests, and fails on command."""

import collections
import contextlib
import http.client
import http.server
import socket
import struct
import threading
import time
import urllib.parse

FAULTS = ("503", "reset", "slow", "gone")
# What both stores say of an account that may not: S3 in XML, which a client of Google's shows as it is.
REFUSAL = b"<Error><Code>AccessDenied</Code><Message>Access Denied</Message></Error>"
PAUSE = 1.0  # seconds that a slow request takes more


class Proxy(http.server.ThreadingHTTPServer):
    """Hands each request on to `upstream`, (host, port), and counts requests and bytes by what they are about.

    As a context it serves, at `url`. A request is about the first of `topics` that its address, or the
    beginning of what it sends, has in it.
    """

    daemon_threads = True
    request_queue_size = 100

    def __init__(self, upstream, topics=("metrics.jsonl", "tensorboard", "checkpoints")):
        super().__init__(("127.0.0.1", 0), _Handler)
        self.upstream, self.topics = upstream, topics
        self.url = f"http://127.0.0.1:{self.server_address[1]}"
        self.requests, self.bytes = collections.Counter(), collections.Counter()
        self.failed = 0  # requests that a fault has met
        self._lock, self._fault, self._topic, self._seconds = threading.Lock(), None, None, 0.0
        self._skip, self._until = 0, None

    def __enter__(self):
        threading.Thread(target=self.serve_forever, args=(0.05,), daemon=True).start()
        return self

    def __exit__(self, *_):
        self.shutdown()
        self.server_close()

    def plan(self, fault: str, topic: str, seconds: float, skip: int = 0) -> None:
        """From a request about `topic` on, all requests meet the fault for so many seconds.

        Args:
          fault: one of FAULTS, or a status of HTTP.
          topic: what its address, or the beginning of what it sends, has in it.
          seconds: how long.
          skip: how many such requests come before it.
        """
        with self._lock:
            self._fault, self._topic, self._seconds = fault, topic, seconds
            self._skip, self._until = skip, None

    def count(self, topic: str, method: str, sent: int, received: int) -> None:
        with self._lock:
            self.requests[topic, method] += 1
            self.bytes[topic, "sent"] += sent
            self.bytes[topic, "received"] += received

    def fault(self, about: bytes = b"") -> str | None:
        """Returns what a request about this meets now."""
        with self._lock:
            if self._fault is None:
                return None
            if self._until is None and self._topic.encode() in about:
                self._skip -= 1
                if self._skip < 0:
                    self._until = time.monotonic() + self._seconds
            if self._until is None or time.monotonic() > self._until:
                return None
            self.failed += 1
            return self._fault

    def verify_request(self, request, client_address):
        return not (self._until and self.fault() == "gone")

    def handle_error(self, request, client_address):
        pass  # a client that hung up


class _Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do(self):
        body = self._body()
        about = urllib.parse.unquote(self.path).encode() + b" " + body[:500]
        topic = next((t for t in self.server.topics if t.encode() in about), "other")
        fault = self.server.fault(about)
        if fault in ("reset", "gone"):
            # Without a farewell, as when a machine in between forgets the connection.
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self.close_connection = True
            self.connection.close()
            return
        if fault and fault.isdigit():
            self.server.count(topic, self.command, len(body), 0)
            self._answer(int(fault), [], REFUSAL if int(fault) < 500 else b"")
            return
        if fault == "slow":
            time.sleep(PAUSE)
        upstream = http.client.HTTPConnection(*self.server.upstream, timeout=60)
        with contextlib.closing(upstream):
            headers = dict(self.headers)
            headers.pop("Transfer-Encoding", None)
            if body or "Content-Length" in headers:
                headers["Content-Length"] = str(len(body))
            upstream.request(self.command, self.path, body, headers)
            found = upstream.getresponse()
            content = found.read()
        self.server.count(topic, self.command, len(body), len(content))
        self._answer(found.status, found.getheaders(), content)

    do_GET = do_HEAD = do_PUT = do_POST = do_DELETE = do_PATCH = do  # noqa: N815

    def _body(self) -> bytes:
        if "chunked" not in self.headers.get("Transfer-Encoding", ""):
            return self.rfile.read(int(self.headers.get("Content-Length", 0)))
        body = b""
        while size := int(self.rfile.readline().partition(b";")[0], 16):
            body += self.rfile.read(size)
            self.rfile.readline()
        self.rfile.readline()
        return body

    def _answer(self, status, headers, content: bytes) -> None:
        self.send_response_only(status)
        names = {name.lower() for name, _ in headers}
        for name, value in headers:
            if name.lower() not in ("connection", "transfer-encoding"):
                self.send_header(name, value)
        if "content-length" not in names and status != 204:
            self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)

    def log_message(self, *_):
        pass
