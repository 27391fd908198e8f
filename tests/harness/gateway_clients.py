# SPDX-License-Identifier: Apache-2.0
"""Two dialects' clients in their plainest form, for tests that ask the same thing in both: one request, and what came of it."""

import json
from dataclasses import dataclass, field

CLIENTS = ("openai", "anthropic")

# The words of an error by HTTP status: (OpenAI's type, Anthropic's type).
ERROR_TYPES = {
    400: ("invalid_request_error", "invalid_request_error"),
    404: ("invalid_request_error", "not_found_error"),
    429: ("rate_limit_error", "rate_limit_error"),
    502: ("server_error", "api_error"),
    503: ("server_error", "overloaded_error"),
    504: ("server_error", "timeout_error"),
}


@dataclass
class Outcome:
    """What a client got: a text that is whole, or an error, or a beginning and then an error."""

    status: int
    headers: object
    text: str = ""
    finished: bool = False  # the dialect's own end came
    error_type: str = None
    error: str = None  # its message; None = none
    starts: int = 0  # how often the answer began
    usage: dict = field(default_factory=dict)

    def header(self, name):
        return self.headers.header(name)


def body_of(client, text, model, stream=False, **fields):
    body = {"model": model, "messages": [{"role": "user", "content": text}], **fields}
    if client == "anthropic":
        body.setdefault("max_tokens", 100)
    if stream:
        body["stream"] = True
    return body


def path_of(client):
    return "/v1/messages" if client == "anthropic" else "/v1/chat/completions"


def read_error(client, body, outcome):
    if client == "anthropic":
        assert body["type"] == "error", body
    outcome.error_type, outcome.error = body["error"]["type"], body["error"]["message"]
    assert outcome.error, "an error without words"


def read_whole(client, answer):
    outcome = Outcome(answer.status, answer)
    body = answer.json()
    if answer.status != 200:
        read_error(client, body, outcome)
        return outcome
    outcome.finished, outcome.starts, outcome.usage = True, 1, body["usage"]
    if client == "anthropic":
        outcome.text = "".join(block["text"] for block in body["content"] if block["type"] == "text")
    else:
        outcome.text = body["choices"][0]["message"]["content"]
    return outcome


def read_openai(event, outcome):
    if event.data == "[DONE]":
        assert outcome.finished or outcome.error, "a stream's end without the answer's"
        return
    body = json.loads(event.data)
    if "error" in body:
        assert outcome.error is None
        read_error("openai", body, outcome)
        return
    assert outcome.error is None, "an error is the last event"
    outcome.usage = body.get("usage") or outcome.usage
    for choice in body["choices"]:
        outcome.starts += "role" in choice["delta"]
        outcome.text += choice["delta"].get("content") or ""
        outcome.finished = outcome.finished or choice["finish_reason"] is not None


def read_anthropic(event, outcome):
    body = json.loads(event.data)
    assert event.event == body["type"], event
    assert outcome.error is None, "an error is the last event"
    if body["type"] == "error":
        read_error("anthropic", body, outcome)
    outcome.starts += body["type"] == "message_start"
    if body["type"] == "content_block_delta" and body["delta"]["type"] == "text_delta":
        outcome.text += body["delta"]["text"]
    if body["type"] == "message_delta":
        outcome.usage = body["usage"]
    outcome.finished = outcome.finished or body["type"] == "message_stop"


def ask(server, client, text, model, stream=False, wait=30, headers=None, **fields):
    """One request to its end."""
    body = body_of(client, text, model, stream, **fields)
    if not stream:
        return read_whole(client, server.post(path_of(client), body, headers=headers, timeout=wait))
    with server.stream(path_of(client), body, headers=headers, timeout=wait) as answer:
        head = answer.start()
        if answer.source is None:
            assert head.status != 200, head
            return read_whole(client, head)
        outcome = Outcome(head.status, head)
        for event in answer:
            (read_anthropic if client == "anthropic" else read_openai)(event, outcome)
        assert outcome.finished != (outcome.error is not None), "an answer ends well or with an error, once"
        return outcome
