"""An object store on a socket: the part of S3 that s3fs needs to read and write objects, which to
plain HTTP is a server that takes GET, HEAD and POST; or that of Google's that gcsfs needs. It can
be told to fail."""

from __future__ import annotations

import json
import threading
import urllib.parse
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from hashlib import md5
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Literal
from xml.sax.saxutils import escape

Fault = Literal["403", "503", "half", "short", "drop", "hang"]
"""403: not allowed. 503: busy. half: the connection ends in the middle of the content. short: half
of the content, as if it were all. drop: the connection ends without an answer. hang: nothing comes
for 3 s."""

MODIFIED = "Mon, 30 Nov 2026 12:00:00 GMT"


@dataclass
class ObjectStore:
    """A running store.

    Attributes:
        address: http://host:port, S3's endpoint.
        objects: content by bucket/key.
        faults: (method, end of the path, fault): each is taken by the next request that it fits.
        requests: (method, path) of all requests so far.
        gone: whether connections are refused an answer altogether.
    """

    address: str = ""
    objects: dict[str, bytes] = field(default_factory=dict)
    faults: list[tuple[str, str, Fault]] = field(default_factory=list)
    requests: list[tuple[str, str]] = field(default_factory=list)
    gone: bool = False
    lock: threading.Lock = field(default_factory=threading.Lock)
    stopped: threading.Event = field(default_factory=threading.Event)

    def fetched(self, name: str) -> int:
        """How often the content of objects with this end of their path was asked for."""
        return sum(method == "GET" and path.endswith(name) for method, path in self.requests)

    def fault_of(self, method: str, path: str) -> Fault | None:
        with self.lock:
            self.requests.append((method, path))
            for number, (of, end, fault) in enumerate(self.faults):
                if of == method and path.endswith(end):
                    del self.faults[number]
                    return fault
        return "drop" if self.gone else None


@contextmanager
def object_store(*, of_google: bool = False) -> Iterator[ObjectStore]:
    """A store with nothing in it, on a port of its own."""
    store = ObjectStore()
    kind = _GoogleHandler if of_google else _Handler
    handler = type("Handler", (kind,), {"store": store})
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        server.daemon_threads = True
        store.address = f"http://127.0.0.1:{server.server_port}"
        thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
        thread.start()
        try:
            yield store
        finally:
            store.stopped.set()
            server.shutdown()
            thread.join()


class _Handler(BaseHTTPRequestHandler):
    store: ObjectStore
    protocol_version = "HTTP/1.1"

    def log_message(self, *_: Any) -> None:
        pass

    def do_GET(self) -> None:
        self._read()

    def do_HEAD(self) -> None:
        self._read()

    def do_PUT(self) -> None:
        self._write()

    def do_POST(self) -> None:
        self._write()

    def _read(self) -> None:
        path, query = self._asked()
        fault = self.store.fault_of(self.command, path)
        if self._failed(fault):
            return
        if "list-type" in query:
            self._answer(200, self._listing(path, query), {"Content-Type": "application/xml"})
            return
        content = self.store.objects.get(path)
        if content is None:
            self._answer(404, b"<Error><Code>NoSuchKey</Code></Error>")
            return
        headers = {"ETag": f'"{md5(content).hexdigest()}"', "Last-Modified": MODIFIED}
        asked, status = self.headers.get("Range"), 200
        if asked:
            first, _, last = asked.removeprefix("bytes=").partition("-")
            end = min(int(last) + 1 if last else len(content), len(content))
            headers["Content-Range"] = f"bytes {first}-{end - 1}/{len(content)}"
            content, status = content[int(first) : end], 206
        if fault == "short":
            content = content[: len(content) // 2]
        self._answer(status, content, headers, half=fault == "half")

    def _write(self) -> None:
        path, _ = self._asked()
        fault = self.store.fault_of(self.command, path)
        content = self._body()
        if self._failed(fault):
            return
        self.store.objects[path] = content
        self._answer(200, b"", {"ETag": f'"{md5(content).hexdigest()}"'})

    def _asked(self) -> tuple[str, dict[str, str]]:
        parts = urllib.parse.urlsplit(self.path)
        query = urllib.parse.parse_qsl(parts.query, keep_blank_values=True)
        return urllib.parse.unquote(parts.path).strip("/"), dict(query)

    def _body(self) -> bytes:
        if self.headers.get("Transfer-Encoding", "").lower() == "chunked":
            body = b""
            while size := int(self.rfile.readline().split(b";")[0], 16):
                body += self.rfile.read(size)
                self.rfile.readline()
            while self.rfile.readline().strip():  # trailers
                pass
        else:
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        if "aws-chunked" in self.headers.get("Content-Encoding", ""):
            plain = b""
            while body:
                head, _, body = body.partition(b"\r\n")
                size = int(head.split(b";")[0], 16)
                if not size:
                    break
                plain, body = plain + body[:size], body[size + 2 :]
            return plain
        return body

    def _failed(self, fault: Fault | None) -> bool:
        """Whether there is no other answer than the fault."""
        if fault == "403":
            self._answer(403, b"<Error><Code>AccessDenied</Code></Error>")
        elif fault == "503":
            self._answer(503, b"<Error><Code>ServiceUnavailable</Code></Error>")
        elif fault in ("drop", "hang"):
            if fault == "hang":
                self.store.stopped.wait(3)
            self.close_connection = True
        return fault in ("403", "503", "drop", "hang")

    def _listing(self, bucket: str, query: dict[str, str]) -> bytes:
        prefix, delimiter = query.get("prefix", ""), query.get("delimiter", "")
        keys, folders = [], set()
        for path, content in sorted(self.store.objects.items()):
            of, _, key = path.partition("/")
            if of != bucket or not key.startswith(prefix):
                continue
            rest = key[len(prefix) :]
            if delimiter and delimiter in rest:
                folders.add(prefix + rest.partition(delimiter)[0] + delimiter)
                continue
            keys.append(
                f"<Contents><Key>{escape(key)}</Key><Size>{len(content)}</Size><ETag>"
                f'"{md5(content).hexdigest()}"</ETag><LastModified>2026-11-30T12:00:00.000Z'
                "</LastModified><StorageClass>STANDARD</StorageClass></Contents>"
            )
        common = "".join(
            f"<CommonPrefixes><Prefix>{escape(each)}</Prefix></CommonPrefixes>"
            for each in sorted(folders)
        )
        return (
            f"<ListBucketResult><Name>{escape(bucket)}</Name><Prefix>{escape(prefix)}</Prefix>"
            f"<KeyCount>{len(keys) + len(folders)}</KeyCount><MaxKeys>1000</MaxKeys><IsTruncated>"
            f"false</IsTruncated>{''.join(keys)}{common}</ListBucketResult>"
        ).encode()

    def _answer(
        self, status: int, content: bytes, headers: dict[str, str] | None = None, half: bool = False
    ) -> None:
        self.send_response(status)
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content[: len(content) // 2] if half else content)
        if half:
            self.close_connection = True


class _GoogleHandler(_Handler):
    """Objects by JSON: `storage/v1/b/BUCKET/o/KEY` describes one, and before that `download` reads
    and `upload` writes it."""

    def _read(self) -> None:
        way, query = self._asked()
        bucket, _, key = way.partition("/b/")[2].partition("/o")
        path = bucket + key
        fault = self.store.fault_of("GET" if way.startswith("download") else "HEAD", path)
        if self._failed(fault):
            return
        content = self.store.objects.get(path)
        if not key:
            self._answer_json(self._entries(bucket, query["prefix"]))
        elif content is None:
            self._answer(404, b"")
        elif way.startswith("download"):
            self._answer(200, content, half=fault == "half")
        else:
            self._answer_json(_described(path, content))

    def _write(self) -> None:
        way, _ = self._asked()
        # Parts of multipart/related: a description, and the content, which may hold anything.
        edge = b"\n--" + self.headers.get_param("boundary").encode()
        _, described, content = (b"\n" + self._body()).split(edge, 2)
        key = json.loads(described.partition(b"\n\n")[2])["name"]
        path = f"{way.partition('/b/')[2].removesuffix('/o')}/{key}"
        if self._failed(self.store.fault_of("POST", path)):
            return
        content = content.partition(b"\n\n")[2].removesuffix(edge + b"--")
        self.store.objects[path] = content
        self._answer_json(_described(path, content))

    def _entries(self, bucket: str, prefix: str) -> dict[str, Any]:
        """What lies in a folder, without that of folders in it."""
        start = f"{bucket}/{prefix}"
        found = [path for path in sorted(self.store.objects) if path.startswith(start)]
        items = [path for path in found if "/" not in path[len(start) :]]
        folders = {path[len(start) :].partition("/")[0] for path in found if path not in items}
        return {
            "items": [_described(path, self.store.objects[path]) for path in items],
            "prefixes": [f"{prefix}{name}/" for name in sorted(folders)],
        }

    def _answer_json(self, answer: dict[str, Any]) -> None:
        self._answer(200, json.dumps(answer).encode(), {"Content-Type": "application/json"})


def _described(path: str, content: bytes) -> dict[str, Any]:
    bucket, _, key = path.partition("/")
    return {"bucket": bucket, "name": key, "size": str(len(content))}
