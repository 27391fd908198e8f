# SPDX-License-Identifier: Apache-2.0
"""A provider of models on 127.0.0.1 that answers, or fails, on command.

It speaks OpenAI's chat completions (and completions, embeddings), OpenAI's responses and Anthropic's messages, whole and as
streams; which one, the path of the request says. Server and test are two threads; all of it may be called from the test's.

    with Upstream() as upstream:
        upstream.url                            # "http://127.0.0.1:PORT/v1": a provider's base_url
        upstream.answer = Reply("Hello there")  # to each request for which nothing else was said
        upstream.then(Reply(status=429, headers={"Retry-After": "2"}), Reply("second try"))  # the next ones, in order
        upstream.choose = lambda seen: Reply("for b") if seen.body["model"] == "b" else None  # looked at before `answer`

What it got (POSTs only; what GETs asked for is in `upstream.probes`, and `upstream.well = False` makes those 503):

    seen = upstream.wait(1)[0]                  # the first request, as soon as one is there
    seen.path, seen.headers["authorization"], seen.key, seen.body["messages"], seen.raw, seen.protocol, seen.stream
    seen.left                                   # the client closed before the answer was over: cancellation got here
    seen.done                                   # the answer was sent (or ended as scripted)
    upstream.wait_left(seen)                    # until the client has left; AssertionError when it does not
    upstream.connections                        # how many were made; kept-alive ones count once

A Reply says what the model does (text, pieces, reasoning, tools, usage, finish, items) and what goes wrong:

    Reply(stall="headers")    nothing at all is sent | "first": head only | "middle": half the pieces | "end": all but the
                              last events. Until upstream.release() or the client leaves.
    Reply(cut="headers")      the connection is closed at that point ("connect" is upstream.close_next(n)): the same words
    Reply(unfinished=True)    the stream ends well in HTTP, but without its last events
    Reply(drip=0.05)          seconds before each piece
    Reply(status=500)         and 400, 401, 404, 429, 503, 529, ...: the protocol's own error; error=("type", "words") to
                              choose its text; headers={"Retry-After": "2"}
    Reply.overflow()          400, the prompt is too long, in the protocol's own words
    Reply(error_event=("overloaded_error", "words"))   an error inside the stream, after half the pieces
    Reply(raw=b"...")         these bytes as the body, in place of everything; content_type=, status=
    Reply.html(), Reply.garbage(), Reply.bad_json(), Reply.giant(megabytes)   made with raw
    Reply(content_type="text/plain")   the right body under a wrong name
    Reply(wire=b"...")        these bytes as they are in place of the answer, its head included; then the end
    Reply(split=1)            the body in TCP pieces of so many bytes
    Reply(close=True)         no keep-alive after this answer

    upstream.down(), upstream.up()   nobody listens; listens again on the same port
    Upstream(key="secret")           401 to every other key
    Upstream(tls=folder)             https with a self-signed certificate for localhost and 127.0.0.1, made in the folder:
                                     upstream.ca_file is it
"""

import asyncio
import ssl
import subprocess
import threading
from dataclasses import dataclass, field
from pathlib import Path

from harness.upstream_connection import Connection, Cut
from harness.wait import poll

STALLS = ("headers", "first", "middle", "end")


@dataclass
class Reply:
    text: str = "Hello from upstream."
    pieces: list = None  # the text's pieces; None: its words
    reasoning: str = ""
    signature: str = "c2lnbmF0dXJl"  # Anthropic's, of the reasoning
    tools: list = field(default_factory=list)  # of (name, arguments: dict or text); ids are call_0, call_1, ...
    tool_piece: int = 5  # characters of arguments in one event
    finish: str = None  # "stop", "length", "tools", "filter"; None: as the rest says
    prompt_tokens: int = 7
    completion_tokens: int = 5
    cached_tokens: int = 0
    written_tokens: int = 0
    reasoning_tokens: int = 0
    usage: bool = True
    model: str = None  # None: as asked for
    dimensions: int = 4  # of embeddings
    status: int = 200
    error: tuple = None
    headers: dict = field(default_factory=dict)
    stall: str = None
    cut: str = None
    unfinished: bool = False
    drip: float = 0.0
    error_event: tuple = None
    raw: bytes = None
    wire: bytes = None
    content_type: str = None
    split: int = 0
    close: bool = False
    too_long: bool = False  # see overflow()

    def __post_init__(self):
        assert self.stall in (None, *STALLS) and self.cut in (None, *STALLS), "not a point of an answer"
        if self.pieces is None:
            self.pieces = [word for word in self.text.replace(" ", "\0 ").split("\0") if word]
        else:
            self.text = "".join(self.pieces)

    @staticmethod
    def overflow():
        return Reply(status=400, too_long=True)

    @staticmethod
    def html(status=200):
        page = b"<!DOCTYPE html><html><head><title>Sign in</title></head><body><h1>Portal</h1></body></html>"
        return Reply(raw=page, content_type="text/html; charset=utf-8", status=status)

    @staticmethod
    def garbage():
        return Reply(raw=bytes(range(256)) * 8)

    @staticmethod
    def bad_json():
        return Reply(raw=b'data: {"choices": [{"delta": {"content": "x"\n\n')

    @staticmethod
    def giant(megabytes):
        """One event (or body) that never ends a line before that many megabytes."""
        return Reply(raw=b'data: {"choices":[{"delta":{"content":"' + b"x" * (megabytes << 20) + b'"}}]}\n\n')


class Upstream:
    def __init__(self, key=None, tls=None):
        self.key = key
        self.answer = Reply()
        self.choose = None
        self.well = True
        self.requests, self.probes = [], []
        self.connections = 0
        self.ca_file = None
        self._tls = self._make_tls(Path(tls)) if tls else None
        self._next, self._close_next = [], 0
        self._lock = threading.Lock()
        self._loop = asyncio.new_event_loop()
        self.released = asyncio.Event()
        self._server, self._port, self._clients = None, 0, set()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        self.up()

    # --- what tests call

    @property
    def origin(self):
        return f"http{'s' if self._tls else ''}://127.0.0.1:{self._port}"

    @property
    def url(self):
        return self.origin + "/v1"

    def then(self, *replies):
        with self._lock:
            self._next.extend(replies)

    def close_next(self, count):
        """Close the next connections as soon as they are made."""
        self._close_next = count

    def release(self):
        """The requests that have come so far stall no more."""

        def fire():
            self.released.set()
            self.released = asyncio.Event()

        self._loop.call_soon_threadsafe(fire)

    def wait(self, count, seconds=10):
        """The requests, once there are `count` of them."""
        return poll(lambda: len(self.requests) >= count and self.requests, seconds, f"{count} requests at the provider")

    def wait_left(self, seen, seconds=5):
        poll(lambda: seen.left, seconds, "the client left the provider")

    def wait_done(self, seen, seconds=10):
        poll(lambda: seen.done or seen.left, seconds, "the provider answered")

    def down(self):
        """Nobody listens any more, and open connections are closed."""
        self._call(self._close())

    def up(self):
        self._call(self._open())

    def stop(self):
        self.down()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)
        self._loop.close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.stop()

    # --- the server's thread

    def _make_tls(self, folder):
        certificate, key = folder / "upstream.crt", folder / "upstream.key"
        subprocess.run(
            ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=localhost",
             "-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1", "-keyout", str(key), "-out", str(certificate)],
            check=True, capture_output=True,
        )  # fmt: skip
        self.ca_file = str(certificate)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate, key)
        return context

    def _call(self, coroutine):
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop).result(20)

    async def _open(self):
        if self._server is None:
            self._server = await asyncio.start_server(
                self._serve, "127.0.0.1", self._port, ssl=self._tls, limit=1 << 20, backlog=1024
            )
            self._port = self._server.sockets[0].getsockname()[1]

    async def _close(self):
        if self._server is not None:
            self._server.close()
            self._server = None
        clients = list(self._clients)
        for task in clients:
            task.cancel()
        await asyncio.gather(*clients, return_exceptions=True)

    async def _serve(self, reader, writer):
        self._clients.add(asyncio.current_task())
        self.connections += 1
        whole = False  # all that was written may go out
        try:
            if self._close_next > 0:
                self._close_next -= 1
                return
            connection = Connection(self, reader, writer, self.connections)
            while await connection.exchange():
                pass
            whole = True
        except (Cut, ConnectionError, asyncio.IncompleteReadError, ssl.SSLError, asyncio.CancelledError):
            pass
        finally:
            self._clients.discard(asyncio.current_task())
            writer.close() if whole else writer.transport.abort()

    @staticmethod
    def reply(status):
        return Reply(status=status)

    def reply_for(self, seen):
        if self.key is not None and seen.key != self.key:
            return Reply(status=401)
        with self._lock:
            if self._next:
                return self._next.pop(0)
        return (self.choose and self.choose(seen)) or self.answer
