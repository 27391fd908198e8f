# SPDX-License-Identifier: Apache-2.0
"""Providers that stall, break off, talk nonsense, refuse or are slow: alone, and with somebody behind them who can answer.

The rule for every row: a right answer, or an error in the client's own dialect with the right status, within the time that
was given. One daemon serves all rows; each has providers of its own, so that no row's breaker or rest is another's."""

import re
import time
from dataclasses import dataclass

import pytest

from harness.gateway_clients import CLIENTS, ERROR_TYPES, ask
from harness.upstream import Reply, Upstream
from harness.wait import SCALE, poll, scaled

SILENCE = 0.3 * SCALE**0.5  # seconds: firstTokenTimeout and idleTimeout of all providers here; many rows wait for it
BOUND = 10 * SILENCE + scaled(2)  # no row takes longer
TEXT = "Hello from upstream."



def prompt(name):
    """The provider looks for the row's name, and the fake engine is told to say the same text, or the rest of it."""
    return f"Say it (row {name}). [[text={TEXT}]]"



PROTOCOLS = {
    "chat": {"type": "openai-compatible"},
    "responses": {"type": "openai-compatible", "protocol": "responses"},
    "anthropic": {"type": "anthropic", "apiKey": "sk-ant-test-key"},
}


@dataclass
class Fault:
    reply: Reply
    whole: int = 502  # status of a whole answer; None: not tried, 200: the answer
    stream: int = 502  # likewise of a stream that has not begun
    begun: bool = False  # the stream has begun: status 200, then the error
    words: str = ""  # in the error's message


FAULTS = {
    "stall-headers": Fault(Reply(stall="headers"), 504, 504, words="nothing within"),
    "stall-first": Fault(Reply(stall="first"), 504, 504, words="nothing within"),
    "stall-middle": Fault(Reply(stall="middle"), 504, 504, begun=True, words="silent"),
    "stall-end": Fault(Reply(stall="end"), 504, 504, begun=True, words="silent"),
    "cut-headers": Fault(Reply(cut="headers"), words="connection"),
    "cut-first": Fault(Reply(cut="first")),
    "cut-middle": Fault(Reply(cut="middle"), begun=True),
    "cut-end": Fault(Reply(cut="end"), begun=True),
    "unfinished": Fault(Reply(unfinished=True), None, begun=True, words="broke off"),
    "half-head": Fault(Reply(wire=b"HTTP/1.1 200 OK\r\nContent-Ty"), words="empty"),
    "no-http": Fault(Reply(wire=b"SSH-2.0-OpenSSH_9.6\r\n")),
    "empty": Fault(Reply(raw=b""), words="empty"),
    "garbage": Fault(Reply.garbage()),
    "bad-json": Fault(Reply.bad_json()),
    "other-json": Fault(Reply(raw=b'{"hello": ["world", 1, null]}', content_type="application/json")),
    "array": Fault(Reply(raw=b"[1, 2, 3]", content_type="application/json")),
    "html": Fault(Reply.html(), words="text/html"),
    "html-503": Fault(Reply.html(503), words="503"),
    "giant-event": Fault(Reply.giant(9), words="MiB"),
    "redirect": Fault(Reply(status=302, headers={"Location": "http://127.0.0.1:9/v1"}), words="302"),
    "400": Fault(Reply(status=400), 400, 400, words="not right"),
    "401": Fault(Reply(status=401), words="key"),
    "403": Fault(Reply(status=403), words="403"),
    "404": Fault(Reply(status=404), 404, 404, words="no such model"),
    "429": Fault(Reply(status=429), 429, 429, words="Slow down"),
    "500": Fault(Reply(status=500), words="broke inside"),
    "503": Fault(Reply(status=503), words="503"),
    "529": Fault(Reply(status=529), words="Overloaded"),
    "overflow": Fault(Reply.overflow(), 400, 400, words="too long|context"),
    "error-event": Fault(Reply(error_event=("overloaded_error", "Overloaded.")), None, begun=True, words="Overloaded"),
}

# What looks wrong and is not.
WELL = {
    "wrong-type": Reply(content_type="text/plain"),
    "drip": Reply(drip=0.02),
    "byte-by-byte": Reply(split=1),
    "closes": Reply(close=True),
}

ROWS = [(protocol, name) for protocol in ("chat", "anthropic") for name in FAULTS]
ROWS += [("responses", name) for name in ("stall-middle", "cut-middle", "unfinished", "error-event", "500", "bad-json")]


def reply_for(seen):
    """The model "bad" does what the row says; "good" goes on with what the last message begins."""
    name = re.search(rb"\(row ([a-z0-9-]+)\)", seen.raw).group(1).decode()
    if seen.body["model"] == "bad":
        return FAULTS[name].reply if name in FAULTS else WELL[name]
    if seen.body["model"] == "good":
        last = seen.body["messages"][-1]
        said = last["content"] if last["role"] == "assistant" else ""
        said = said if isinstance(said, str) else said[0]["text"]
        assert TEXT.startswith(said)
        return Reply(TEXT[len(said) :])
    return None


def provider(upstream, protocol, **fields):
    return {
        **PROTOCOLS[protocol],
        "baseUrl": upstream.url,
        "maxRetries": 0,
        "firstTokenTimeout": f"{SILENCE}s",
        "idleTimeout": f"{SILENCE}s",
        **fields,
    }


def group(*members):
    return {"members": [members[0]], "fallback": list(members[1:])}


@pytest.fixture(scope="module")
def faulty():
    with Upstream() as server:
        server.choose = reply_for
        yield server


@pytest.fixture(scope="module")
def server(module_daemon, faulty):
    providers = {protocol: provider(faulty, protocol, models={"default": "bad"}) for protocol in PROTOCOLS}
    providers["goes-on"] = provider(faulty, "chat", prefill=True, models={"default": "good"})
    providers["goes-on-anthropic"] = provider(faulty, "anthropic", models={"default": "good"})
    providers["goes-not-on"] = provider(faulty, "chat", models={"default": "good"})
    providers["local"] = {"type": "local"}
    groups = {}
    for protocol in PROTOCOLS:
        for second in ("local/fake", "goes-on/good", "goes-on-anthropic/good", "goes-not-on/good"):
            groups[f"{protocol}:{second.split('/')[0]}"] = group(f"{protocol}/bad", second)
    server = module_daemon(
        models={"fake": "fake:slots=8"},
        config={"providers": providers, "routing": {"groups": groups}},
        breaker_failures=0,
        retry_budget=10,
    )
    ask(server, "openai", prompt("drip"), "chat/bad")
    before = server.fds()
    yield server
    # After all of it nothing is left: no request, and no connection but idle ones that may be used again.
    server.wait_idle()
    poll(lambda: server.fds() <= before + 8, 5, "the descriptors")


def check_error(client, outcome, status, fault):
    kinds = ERROR_TYPES[status]
    assert outcome.error_type == kinds[client == "anthropic"], outcome
    assert any(word.lower() in outcome.error.lower() for word in fault.words.split("|")), outcome
    assert "sk-ant-test-key" not in outcome.error


@pytest.mark.parametrize("client", CLIENTS)
@pytest.mark.parametrize("protocol,name", ROWS)
def test_alone_whole(server, client, protocol, name):
    fault = FAULTS[name]
    if fault.whole is None:
        fault = Fault(fault.reply, 200)
    began = time.monotonic()
    outcome = ask(server, client, prompt(name), f"{protocol}/bad")
    assert time.monotonic() - began < BOUND
    assert outcome.status == fault.whole, outcome
    if fault.whole == 200:
        assert outcome.text == TEXT
    else:
        check_error(client, outcome, fault.whole, fault)


@pytest.mark.parametrize("client", CLIENTS)
@pytest.mark.parametrize("protocol,name", ROWS)
def test_alone_streamed(server, client, protocol, name):
    fault = FAULTS[name]
    began = time.monotonic()
    outcome = ask(server, client, prompt(name), f"{protocol}/bad", stream=True)
    assert time.monotonic() - began < BOUND
    assert outcome.status == (200 if fault.begun else fault.stream), outcome
    check_error(client, outcome, fault.stream, fault)
    assert TEXT.startswith(outcome.text) and bool(outcome.text) == fault.begun


BEHIND = [(*row, "local", stream) for row in ROWS for stream in (False, True)]
BEHIND += [(*row, "goes-on", False) for row in ROWS if row[0] == "chat"]
BEHIND += [(*row, second, True) for row in ROWS if FAULTS[row[1]].begun for second in ("goes-on", "goes-on-anthropic")]


@pytest.mark.parametrize("protocol,name,second,stream", BEHIND)
def test_somebody_behind(server, protocol, name, second, stream):
    """The answer is right, whole, and begins once; nothing in it tells of the fault but what says who answered."""
    client = CLIENTS[len(name + second) % 2]
    began = time.monotonic()
    outcome = ask(server, client, prompt(name), f"{protocol}:{second}", stream=stream)
    assert time.monotonic() - began < BOUND
    assert outcome.status == 200 and outcome.finished and outcome.error is None, outcome
    assert outcome.text == TEXT
    assert outcome.starts == 1
    fault = FAULTS[name]
    if (fault.begun and stream) or fault.whole is None:
        return  # the headers went out before it failed, or it did not fail
    assert outcome.header("x-roundhouse-provider") == second
    assert outcome.header("x-roundhouse-attempts") == "2"
    assert f"{protocol}/bad failed" in outcome.header("x-roundhouse-route")


@pytest.mark.parametrize("client", CLIENTS)
@pytest.mark.parametrize("name", [name for name in FAULTS if FAULTS[name].begun])
def test_nobody_behind_who_can_go_on(server, client, name):
    """A server that answers a last message of the assistant, in place of going on with it, is no help in mid-answer."""
    fault = FAULTS[name]
    outcome = ask(server, client, prompt(name), "chat:goes-not-on", stream=True)
    assert outcome.status == 200 and outcome.text and TEXT.startswith(outcome.text)
    check_error(client, outcome, fault.stream, fault)


@pytest.mark.parametrize("stream", (False, True))
@pytest.mark.parametrize("name", WELL)
@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_what_is_well_stays(server, protocol, name, stream):
    client = CLIENTS[len(protocol) % 2]
    outcome = ask(server, client, prompt(name), f"{protocol}/bad", stream=stream)
    assert outcome.text == TEXT and outcome.finished, outcome
    assert outcome.header("x-roundhouse-attempts") is None
