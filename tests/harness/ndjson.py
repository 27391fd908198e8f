# SPDX-License-Identifier: Apache-2.0
"""A streamed answer of JSON lines, read as it comes."""

import json

from harness import http


class Lines:
    """Iterating gives the values. An answer that is no stream gives none: look at `head`."""

    def __init__(self, server, method, path, body=None, **options):
        self.connection = http.Connection(server.address, **options)
        self.connection.send_request(method, path, body)
        self.head = None

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.connection.close()

    def start(self):
        """Wait for the headers, and for the whole body when it is no stream."""
        if self.head is None:
            self.head = self.connection.read_head()
            if self.head.header("content-type") != "application/x-ndjson":
                self.head.body = b"".join(self.connection.iter_body(self.head))
        return self.head

    def __iter__(self):
        if self.start().header("content-type") != "application/x-ndjson":
            return
        rest = b""
        for piece in self.connection.iter_body(self.head):
            rest += piece
            while b"\n" in rest:
                line, rest = rest.split(b"\n", 1)
                yield json.loads(line)
        assert rest == b"", f"the stream ends inside a line: {rest!r}"
