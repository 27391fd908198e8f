# SPDX-License-Identifier: Apache-2.0
"""A raw HTTP/1.1 client over one socket. It hides nothing: the tests see each byte, half a request can be sent, and a
connection can be dropped at any point. It also checks what a polite client would forgive (framing, headers given
twice)."""

import json
import re
import socket
import struct

from harness.wait import scaled

HEADER_MAX = 65536


class Closed(Exception):
    """The peer closed the connection where more was expected."""


class Response:
    def __init__(self, status, reason, headers, body=b""):
        self.status = status
        self.reason = reason
        self.headers = headers  # [(lower-case name, value)]
        self.body = body

    def header(self, name):
        values = [value for key, value in self.headers if key == name.lower()]
        assert len(values) <= 1, f"header {name} given {len(values)} times"
        return values[0] if values else None

    def json(self):
        return json.loads(self.body.decode("utf-8"))

    def error(self):
        """The OpenAI-shaped error object of the body."""
        return self.json()["error"]

    def __repr__(self):
        return f"<Response {self.status} {self.body[:300]!r}>"


class Connection:
    def __init__(self, address, timeout=30, receive_buffer=None, source=None):
        """address: (host, port). receive_buffer: bytes of SO_RCVBUF, set before connecting. source: own address."""
        family = socket.AF_INET6 if ":" in address[0] else socket.AF_INET
        self.socket = socket.socket(family, socket.SOCK_STREAM)
        self.socket.settimeout(scaled(timeout))
        if receive_buffer is not None:
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        if source is not None:
            self.socket.bind((source, 0))
        self.socket.connect(address)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.address = address
        self.buffer = b""

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def close(self):
        self.socket.close()

    def abort(self):
        """Close with a reset instead of a FIN."""
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.socket.close()

    # --- sending ---

    def send(self, data):
        self.socket.sendall(data)

    def send_request(self, method, path, body=None, headers=None):
        self.send(render_request(method, path, body, headers, self.address))

    # --- receiving ---

    def fill(self):
        piece = self.socket.recv(65536)
        if not piece:
            raise Closed(f"the peer closed; unread: {self.buffer[:200]!r}")
        self.buffer += piece

    def take(self, count):
        while len(self.buffer) < count:
            self.fill()
        piece, self.buffer = self.buffer[:count], self.buffer[count:]
        return piece

    def take_line(self):
        while b"\r\n" not in self.buffer:
            assert len(self.buffer) < HEADER_MAX, "endless line"
            self.fill()
        line, self.buffer = self.buffer.split(b"\r\n", 1)
        return line

    def read_head(self):
        """Status line and headers of the next answer; 1xx answers are skipped."""
        while True:
            line = self.take_line().decode("latin-1")
            match = re.fullmatch(r"HTTP/1\.1 (\d\d\d) ?(.*)", line)
            assert match, f"bad status line: {line!r}"
            headers = []
            while True:
                line = self.take_line().decode("latin-1")
                if not line:
                    break
                name, value = line.split(":", 1)
                headers.append((name.lower(), value.strip()))
            if not match.group(1).startswith("1"):
                return Response(int(match.group(1)), match.group(2), headers)

    def iter_body(self, head):
        """The body's pieces as they come, framing removed."""
        length, coding = head.header("content-length"), head.header("transfer-encoding")
        assert not (length and coding), "both content-length and transfer-encoding"
        if coding is not None:
            assert coding.lower() == "chunked"
            while True:
                size = int(self.take_line().split(b";")[0], 16)
                if size == 0:
                    while self.take_line():
                        pass
                    return
                yield self.take(size)
                assert self.take(2) == b"\r\n", "a chunk does not end where it should"
        elif length is not None:
            if int(length):
                yield self.take(int(length))
        else:
            try:
                while True:
                    if not self.buffer:
                        self.fill()
                    piece, self.buffer = self.buffer, b""
                    yield piece
            except Closed:
                return

    def read_response(self, method="GET"):
        head = self.read_head()
        if method != "HEAD" and head.status not in (204, 304):
            head.body = b"".join(self.iter_body(head))
        return head

    def is_closed_by_peer(self):
        """True once the peer has closed; polls, does not block."""
        self.socket.setblocking(False)
        try:
            return self.socket.recv(1, socket.MSG_PEEK) == b""
        except BlockingIOError:
            return False
        except ConnectionError:
            return True
        finally:
            self.socket.settimeout(scaled(30))


def render_request(method, path, body=None, headers=None, address=("localhost", 0)):
    """body: None, bytes, str, or anything else to be sent as JSON."""
    given = {name.lower(): value for name, value in (headers or {}).items()}
    lines = {"host": f"{address[0]}:{address[1]}"}
    if body is not None:
        if isinstance(body, str):
            body = body.encode()
        elif not isinstance(body, bytes):
            body = json.dumps(body).encode()
        lines["content-type"] = "application/json"
        if "transfer-encoding" not in given:
            lines["content-length"] = str(len(body))
    lines.update(given)
    text = f"{method} {path} HTTP/1.1\r\n"
    text += "".join(f"{name}: {value}\r\n" for name, value in lines.items() if value is not None)
    return text.encode("latin-1") + b"\r\n" + (body or b"")


class Event:
    """One server-sent event. A comment has neither event nor data."""

    def __init__(self, block):
        self.event = None
        self.data = None
        self.comment = None
        data = []
        for line in block.split("\n"):
            if line.startswith(":"):
                self.comment = line[1:].strip()
                continue
            name, _, value = line.partition(":")
            value = value.removeprefix(" ")
            if name == "data":
                data.append(value)
            elif name == "event":
                self.event = value
            else:
                raise AssertionError(f"unknown field in an event: {line!r}")
        if data:
            self.data = "\n".join(data)

    @property
    def is_comment(self):
        return self.data is None and self.event is None

    def json(self):
        return json.loads(self.data)

    def __repr__(self):
        return f"<Event {self.event or ''} {self.data!r}>"


def split_events(pieces):
    """Events of a body that comes in pieces. Each event must end; a rest without an end is an error."""
    rest = b""
    for piece in pieces:
        rest += piece
        while b"\n\n" in rest:
            block, rest = rest.split(b"\n\n", 1)
            yield Event(block.decode("utf-8"))
    assert rest == b"", f"the stream ends inside an event: {rest!r}"


class Stream:
    """A streamed answer that is being read. Iterating gives events, comments left out."""

    def __init__(self, address, method, path, body=None, headers=None, timeout=30, receive_buffer=None):
        self.connection = Connection(address, timeout, receive_buffer)
        self.connection.send_request(method, path, body, headers)
        self.head = None
        self.source = None

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.connection.close()

    def start(self):
        """Wait for the headers."""
        if self.head is None:
            self.head = self.connection.read_head()
            if (self.head.header("content-type") or "").startswith("text/event-stream"):
                self.source = split_events(self.connection.iter_body(self.head))
            else:
                self.head.body = b"".join(self.connection.iter_body(self.head))
        return self.head

    def all_events(self):
        self.start()
        assert self.source is not None, f"not a stream: {self.head!r}"
        return self.source

    def __iter__(self):
        return (event for event in self.all_events() if not event.is_comment)

    def next_event(self):
        for event in self.source if self.source is not None else self.all_events():
            if not event.is_comment:
                return event
        raise Closed("the stream is over")


    def next_text(self):
        """The next text that is not empty, in any dialect. The first event of a chat carries only the role."""
        while True:
            event = self.next_event()
            if event.data == "[DONE]":
                raise Closed("the stream is over")
            body = event.json()
            choice = body["choices"][0] if body.get("choices") else body
            text = choice.get("text") or choice.get("delta", {}).get("content")
            if text:
                return text


def fetch(address, method, path, body=None, headers=None, timeout=30):
    """One request on a connection of its own."""
    with Connection(address, timeout) as connection:
        connection.send_request(method, path, body, headers)
        return connection.read_response(method)
