# SPDX-License-Identifier: Apache-2.0
"""cases/errors.json: a wrong request -> status, error type, param, code, and a message that says what was wrong.

A row: name, method (POST), path, one of json | body | body_hex | body_repeat [text, times], request_headers; and the
expected status, headers, param (exact) or param_starts, code, and message (a regular expression).
"""

import re
from pathlib import Path

import pytest

from harness.cases import load_json

ROWS = load_json(Path(__file__).with_name("cases") / "errors.json")

TYPES = {400: "invalid_request_error", 404: "invalid_request_error", 405: "invalid_request_error"}


@pytest.fixture(scope="module")
def server(module_daemon):
    return module_daemon()


def body_of(row):
    if "json" in row:
        return row["json"]
    if "body_hex" in row:
        return bytes.fromhex(row["body_hex"])
    if "body_repeat" in row:
        text, times = row["body_repeat"]
        return (text * times).encode()
    if "json_long_stop" in row:
        return {"messages": [{"role": "user", "content": "x"}], "stop": "s" * row["json_long_stop"]}
    if "json_many_prompts" in row:
        return {"prompt": ["p"] * row["json_many_prompts"]}
    if "json_many_inputs" in row:
        return {"input": ["p"] * row["json_many_inputs"]}
    return row.get("body")


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row["name"])
def test_error(server, row):
    answer = server.fetch(row.get("method", "POST"), row["path"], body_of(row), row.get("request_headers"))
    assert answer.status == row["status"], answer
    assert answer.header("content-type").startswith("application/json")
    assert answer.header("x-request-id")
    for name, value in row.get("headers", {}).items():
        assert value in [word.strip() for word in (answer.header(name) or "").split(",")], answer.headers
    assert set(answer.json()) >= {"error"}
    error = answer.error()
    assert set(error) >= {"message", "type", "param", "code"}
    assert re.search(row["message"], error["message"]), error
    if row["status"] in TYPES:
        assert error["type"] == TYPES[row["status"]], error
    if "param" in row:
        assert error["param"] == row["param"], error
    if "param_starts" in row:
        assert (error["param"] or "").startswith(row["param_starts"]), error
    if "code" in row:
        assert error["code"] == row["code"], error
    # A client that sent a wrong request must not send it again.
    assert answer.header("x-should-retry") in (None, "false")


def test_error_messages_are_for_people(server):
    """One or two sentences, no C identifiers, no trailing blanks."""
    for row in ROWS:
        if row["status"] == 400:
            answer = server.fetch(row.get("method", "POST"), row["path"], body_of(row), row.get("request_headers"))
            message = answer.error()["message"]
            assert 10 <= len(message) <= 767, message
            assert message == message.strip(), message
            assert "rh_" not in message and "RH_" not in message, message


def test_errors_do_not_wear_the_daemon_out(server):
    """After all the wrong requests a right one is answered, and nothing is left in flight."""
    answer = server.chat("Hello")
    assert answer.status == 200
    server.wait_idle()
