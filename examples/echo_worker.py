#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""A worker in Python: it answers every prompt with the prompt's own words.

It shows all that docs/wire-protocol.md asks of a worker. Try it:

    roundhouse serve --worker examples/echo_worker.py --model echo=fake:
"""
import collections
import json
import os
import select
import socket
import struct
import time

HELLO, LOAD, LOADED, RUN, EVENT, CANCEL, CREDIT = 1, 2, 3, 5, 6, 7, 8
UNLOAD, PING, PONG, GOODBYE = 10, 11, 12, 13
HEADER = struct.Struct("<IBBHII")  # length, type, flags, reserved, stream, json_length

daemon = socket.socket(fileno=3)
runs = collections.OrderedDict()  # stream -> {"words": [...], "at": n, "credit": n, "sent": n, "limit": n}
steps = 0


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


def begin(stream, run):
    text = run.get("text") or " ".join(m["content"] for m in run.get("messages", []))
    words = text.split()
    limit = run["generate"].get("max_tokens") or len(words)
    begun = run.get("prefix", "").split()  # another worker said so much of the answer
    at = len(begun) if words[:len(begun)] == begun else 0
    runs[stream] = {"words": words, "at": at, "credit": run["credit"], "sent": 0, "limit": limit}
    send(EVENT, stream, {"event": "start", "prompt_tokens": len(words), "cached_tokens": 0})


def end(stream, finish):
    run = runs.pop(stream)
    send(EVENT, stream, {"event": "usage", "prompt_tokens": len(run["words"]), "completion_tokens": run["sent"],
                         "cached_tokens": 0, "prompt_ms": 0, "decode_ms": 0})
    send(EVENT, stream, {"event": "end", "finish": finish})


def step():
    """One word for every run that has credit: many requests advance side by side."""
    global steps
    steps += 1
    for stream, run in list(runs.items()):
        if run["at"] >= len(run["words"]):
            end(stream, "stop")
        elif run["sent"] >= run["limit"]:
            end(stream, "length")
        elif run["credit"] > 0:
            word = run["words"][run["at"]]
            text = word if run["at"] == 0 else " " + word
            run["at"] += 1
            run["sent"] += 1
            run["credit"] -= 1
            send(EVENT, stream, {"event": "delta", "text": text, "tokens": 1})


def handle(kind, stream, body):
    if kind == LOAD:
        send(LOADED, 0, {"engine": "echo", "description": "says what it hears", "device": "cpu",
                         "context": 4096, "slots": 8, "has_chat_template": True, "load_ms": 0})
    elif kind == RUN:
        begin(stream, body)
    elif kind == CANCEL and runs.pop(stream, None) is not None:
        send(EVENT, stream, {"event": "error", "status": "cancelled", "message": "cancelled"})
    elif kind == CREDIT and stream in runs:
        runs[stream]["credit"] += body["credit"]
    elif kind == PING:
        send(PONG, 0, {"active_runs": len(runs), "steps": steps})
    elif kind == UNLOAD:
        send(GOODBYE, 0)
        raise SystemExit(0)


send(HELLO, 0, {"version": 1, "name": "echo_worker.py", "engines": "echo", "pid": os.getpid()})
while True:
    working = any(run["credit"] > 0 or run["at"] >= len(run["words"]) for run in runs.values())
    while select.select([daemon], [], [], 0 if working else None)[0]:
        handle(*read_frame())
        working = True
    step()
    time.sleep(0.001)
