# SPDX-License-Identifier: Apache-2.0
"""A hub on loopback that misbehaves on command.

It speaks the part of a Hugging Face hub that a pull needs (the listing of a repository, files with ranges, ETags) and
counts what it was asked and what it sent. How a file is served, its `Served` object says; a test may change that at any
time, also from a hook that sees each request for it.
"""

import hashlib
import json
import random
import re
import struct
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, unquote, urlsplit

PIECE = 64 * 1024
COMMIT = "0123456789abcdef0123456789abcdef01234567"


def gguf(size, seed=1, architecture="llama"):
    """A GGUF file of about `size` bytes: one F32 tensor of noise."""

    def text(value):
        return struct.pack("<Q", len(value)) + value.encode()

    elements = max(32, size // 4 // 32 * 32)
    head = b"GGUF" + struct.pack("<IQQ", 3, 1, 2)
    head += text("general.architecture") + struct.pack("<I", 8) + text(architecture)
    head += text("general.name") + struct.pack("<I", 8) + text("noise")
    head += text("token_embd.weight") + struct.pack("<IQIQ", 1, elements, 0, 0)
    head += b"\0" * (-len(head) % 32)
    return head + random.Random(seed).randbytes(elements * 4)


class Served:
    """One file and its manners."""

    def __init__(self, content, lfs=True):
        self.content = content
        self.lfs = lfs
        self.etag = f'"{hashlib.sha256(content).hexdigest()[:32]}"'
        self.sha256 = hashlib.sha256(content).hexdigest()  # what the listing promises
        self.size = len(content)  # what the listing promises
        self.ranges = True  # knows ranges
        self.cut_after = []  # bytes after which the next answers break off
        self.cut_always = None  # ... and each answer
        self.length_lie = 0  # added to Content-Length and to the total of Content-Range
        self.fail = []  # (status, headers) of the next answers
        self.fail_always = None
        self.redirect = None  # the URL to go to
        self.delay = 0.0  # seconds before each piece
        self.hang_after = []  # bytes after which the next answers fall silent
        self.gate = None  # a threading.Event that pieces wait for, from `gate_after` bytes of an answer on
        self.gate_after = 0
        self.hook = None  # called with (served, first byte asked for) before each answer

    def git_sha1(self):
        return hashlib.sha1(b"blob %d\0" % len(self.content) + self.content).hexdigest()


class Hub:
    def __init__(self):
        self.lock = threading.Lock()
        self.repositories = {}
        self.files = {}  # path of a URL -> Served
        self.connections = 0
        self.requests = []  # (method, path, headers)
        self.sent = {}  # path -> bytes of bodies
        self.api_fail = []
        self.stopping = threading.Event()
        hub = self

        class Handler(_Handler):
            pass

        Handler.hub = hub

        class Server(ThreadingHTTPServer):
            daemon_threads = True
            request_queue_size = 128

            def process_request(self, request, client_address):
                with hub.lock:
                    hub.connections += 1
                super().process_request(request, client_address)

            def handle_error(self, request, client_address):
                pass  # a client that left

        self.server = Server(("127.0.0.1", 0), Handler)
        self.port = self.server.server_address[1]
        self.url = f"http://127.0.0.1:{self.port}"
        self.thread = threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
        self.thread.start()

    def stop(self):
        self.stopping.set()
        self.server.shutdown()
        self.server.server_close()

    # --- what there is ---

    def add_repository(self, name, files, licence="apache-2.0", gated=False, token=None):
        """files: {path: bytes}. Gives {path: Served}."""
        served = {path: Served(content, lfs=len(content) > 10000) for path, content in files.items()}
        self.repositories[name] = {"files": served, "licence": licence, "gated": gated, "token": token}
        for path, one in served.items():
            self.files[f"/{name}/resolve/{COMMIT}/{path}"] = one
        return served

    def add_file(self, path, content):
        """A plain file at a path of this server."""
        self.files[path] = Served(content)
        return self.files[path]

    def listing(self, name):
        repository = self.repositories[name]
        siblings = []
        for path, one in repository["files"].items():
            entry = {"rfilename": path, "size": one.size, "blobId": one.git_sha1()}
            if one.lfs:
                entry["lfs"] = {"sha256": one.sha256, "size": one.size, "pointerSize": 135}
            siblings.append(entry)
        return {
            "id": name,
            "sha": COMMIT,
            "gated": repository["gated"],
            "pipeline_tag": "text-generation",
            "cardData": {"license": repository["licence"]},
            "siblings": siblings,
        }

    # --- what happened ---

    def bytes_sent(self, ending=""):
        with self.lock:
            return sum(count for path, count in self.sent.items() if path.endswith(ending))

    def requests_for(self, ending):
        with self.lock:
            return [entry for entry in self.requests if entry[1].split("?")[0].endswith(ending)]

    def forget(self):
        with self.lock:
            self.requests.clear()
            self.sent.clear()
            self.connections = 0


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    hub = None

    def log_message(self, *arguments):
        pass

    def do_GET(self):
        hub = self.hub
        parts = urlsplit(self.path)
        with hub.lock:
            hub.requests.append((self.command, self.path, dict(self.headers.items())))
        if parts.path.startswith("/api/models/"):
            return self.api(parts)
        served = hub.files.get(unquote(parts.path))
        if served is None:
            return self.plain(404, {"X-Error-Code": "EntryNotFound"}, b"not here")
        repository = next(
            (one for name, one in hub.repositories.items() if parts.path.startswith(f"/{name}/")), None
        )
        if repository is not None and not self.may_read(repository):
            return self.plain(403 if self.headers.get("Authorization") else 401, {"X-Error-Code": "GatedRepo"}, b"gated")
        return self.serve(served, parts.path)

    def may_read(self, repository):
        return repository["token"] is None or self.headers.get("Authorization") == f"Bearer {repository['token']}"

    def api(self, parts):
        hub = self.hub
        with hub.lock:
            failure = hub.api_fail.pop(0) if hub.api_fail else None
        if failure is not None:
            return self.plain(*failure)
        match = re.fullmatch(r"/api/models/(.+?)/revision/([^/]+)", parts.path)
        if match is None or match.group(1) not in hub.repositories:
            return self.plain(401, {"X-Error-Code": "RepoNotFound"}, b'{"error":"Repository not found"}')
        if unquote(match.group(2)) not in ("main", COMMIT):
            return self.plain(404, {"X-Error-Code": "RevisionNotFound"}, b"{}")
        assert parse_qs(parts.query).get("blobs") == ["true"]
        body = json.dumps(hub.listing(match.group(1))).encode()
        return self.plain(200, {"Content-Type": "application/json"}, body)

    def plain(self, status, headers=None, body=b""):
        self.send_response(status)
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def wanted_range(self, served, total):
        match = re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range", ""))
        if match is None or not served.ranges:
            return None
        condition = self.headers.get("If-Range")
        if condition is not None and condition != served.etag:
            return None
        return int(match.group(1)), min(int(match.group(2) or total - 1), total - 1)

    def serve(self, served, path):
        hub = self.hub
        asked = re.match(r"bytes=(\d+)-", self.headers.get("Range", ""))
        if served.hook is not None:
            served.hook(served, int(asked.group(1)) if asked else 0)
        with hub.lock:
            failure = served.fail.pop(0) if served.fail else served.fail_always
            cut = served.cut_after.pop(0) if served.cut_after else served.cut_always
            hang = served.hang_after.pop(0) if served.hang_after else None
            content, lie, etag = served.content, served.length_lie, served.etag
        if failure is not None:
            return self.plain(failure[0], failure[1], b"no")
        if served.redirect is not None:
            return self.plain(302, {"Location": served.redirect})
        total = len(content) + lie
        wanted = self.wanted_range(served, total)
        if wanted is not None and wanted[0] >= total:
            return self.plain(416, {"Content-Range": f"bytes */{total}"})
        first, last = wanted if wanted is not None else (0, total - 1)
        self.send_response(206 if wanted is not None else 200)
        if wanted is not None:
            self.send_header("Content-Range", f"bytes {first}-{last}/{total}")
        if served.ranges:
            self.send_header("Accept-Ranges", "bytes")
        self.send_header("ETag", etag)
        self.send_header("Content-Length", str(last - first + 1))
        self.end_headers()
        self.body(served, path, content[first : last + 1], last - first + 1, cut, hang)

    def body(self, served, path, content, promised, cut, hang):
        sent = 0
        while sent < len(content):
            if cut is not None and sent >= cut or self.hub.stopping.is_set():
                break
            if hang is not None and sent >= hang:
                self.hub.stopping.wait(60)
                break
            if served.gate is not None and sent >= served.gate_after:
                served.gate.wait(60)
            if served.delay:
                time.sleep(served.delay)
            limits = [edge - sent for edge in (cut, hang) if edge is not None]
            piece = content[sent : sent + min([PIECE, *limits])]
            try:
                self.wfile.write(piece)
            except OSError:
                self.close_connection = True
                return
            sent += len(piece)
            with self.hub.lock:
                self.hub.sent[path] = self.hub.sent.get(path, 0) + len(piece)
        if sent < promised:
            self.close_connection = True
