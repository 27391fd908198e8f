#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""A worker whose answer stands in the question: the last message is a JSON list of events, as docs/wire-protocol.md has them.

{"event": "load"} says what the LOAD was, as JSON. Start, usage and end are added where the script has none; "tokens" are one for each event. So a test can have calls of tools
and thoughts without a model that makes them.
"""

import json
import os
import socket
import struct

HELLO, LOAD, LOADED, RUN, EVENT = 1, 2, 3, 5, 6
UNLOAD, PING, PONG, GOODBYE = 10, 11, 12, 13
HEADER = struct.Struct("<IBBHII")  # length, type, flags, reserved, stream, json_length

daemon = socket.socket(fileno=3)
load = {}


def send(kind, stream, body=None):
    text = json.dumps(body).encode() if body is not None else b""
    daemon.sendall(HEADER.pack(12 + len(text), kind, 0, 0, stream, len(text)) + text)


def read_exactly(count):
    data = b""
    while len(data) < count:
        piece = daemon.recv(count - len(data))
        if not piece:
            raise SystemExit(0)  # the daemon has gone
        data += piece
    return data


def read_frame():
    length, kind, _, _, stream, json_length = HEADER.unpack(read_exactly(HEADER.size))
    rest = read_exactly(length - 12)
    return kind, stream, json.loads(rest[:json_length] or b"{}")


def answer(stream, run):
    script = json.loads(run["messages"][-1]["content"])
    send(EVENT, stream, {"event": "start", "prompt_tokens": 7, "cached_tokens": 2})
    for event in script:
        if event["event"] == "load":
            event = {"event": "delta", "text": json.dumps(load)}
        send(EVENT, stream, {"tokens": 1, **event})
    if script[-1]["event"] in ("end", "error"):
        return
    send(EVENT, stream, {"event": "usage", "prompt_tokens": 7, "completion_tokens": len(script), "cached_tokens": 2,
                         "prompt_ms": 0, "decode_ms": 0})
    send(EVENT, stream, {"event": "end", "finish": "stop"})


def handle(kind, stream, body):
    if kind == LOAD:
        load.update(body)
        send(LOADED, 0, {"engine": "scripted", "description": "says what it is told", "device": "cpu", "context": 4096,
                         "slots": 8, "has_chat_template": True, "load_ms": 0})
    elif kind == RUN:
        answer(stream, body)
    elif kind == PING:
        send(PONG, 0, {"active_runs": 0, "steps": 0})
    elif kind == UNLOAD:
        send(GOODBYE, 0)
        raise SystemExit(0)


send(HELLO, 0, {"version": 1, "name": "scripted_worker.py", "engines": "scripted", "pid": os.getpid()})
while True:
    handle(*read_frame())
