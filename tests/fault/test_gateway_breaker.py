# SPDX-License-Identifier: Apache-2.0
"""What spares a provider that is not well, and those who wait for it: circuit breaker, retry budget, Retry-After, patience,
queues; and the cascade, which leaves a member that is well but not sure."""

import threading
import time

import pytest

from harness.gateway_clients import CLIENTS, ask
from harness.upstream import Reply, Upstream
from harness.wait import SCALE, poll, scaled

LOCAL = {"type": "local"}


@pytest.fixture
def second():
    """Another provider."""
    with Upstream() as server:
        server.answer = Reply("From the second.")
        yield server


def provider(upstream, **fields):
    return {"type": "openai-compatible", "baseUrl": upstream.url, "maxRetries": 0, "models": ["m"], **fields}


def start(daemon, providers, members, model="fake:slots=8", groups=None, **settings):
    """A daemon whose group "chain" has the first member, and the others behind it."""
    groups = groups or {"chain": {"members": members[:1], "fallback": members[1:]}}
    config = {"providers": {**providers, "local": LOCAL}, "routing": {"groups": groups}}
    settings.setdefault("retry_budget", 10)
    return daemon(models={"fake": model}, config=config, **settings)


def state(server, name):
    """The breaker of a provider's only model, as GET /api/providers tells it."""
    members = server.get("/api/providers").json()["members"]
    return next(member["breaker"] for member in members if member["provider"] == name)


def together(count, action):
    """The results of action(number), all begun at once."""
    results = [None] * count
    gate = threading.Barrier(count)

    def run(number):
        gate.wait()
        results[number] = action(number)

    threads = [threading.Thread(target=run, args=(number,)) for number in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(scaled(60))
    assert None not in results
    return results


# --- the breaker ---


def test_breaker_opens_probes_and_closes(daemon, upstream):
    pause = 0.4 * SCALE
    server = start(
        daemon,
        {"up": provider(upstream)},
        ["up/m", "local/fake"],
        breaker_failures=3,
        breaker_open=f"{pause}s",
        breaker_open_max=f"{pause}s",
    )
    upstream.answer = Reply(status=500)
    for _ in range(3):
        assert ask(server, "openai", "x", "chain").header("x-roundhouse-provider") == "local"
    opened = time.monotonic()
    assert state(server, "up") == "open"
    # Open: it is not asked at all, and the answers come from the next at once.
    for _ in range(5):
        outcome = ask(server, "openai", "x", "chain")
        assert outcome.status == 200 and outcome.header("x-roundhouse-attempts") is None
    assert len(upstream.requests) == 3
    # Who insists on it is refused without being sent there, and told when to come again.
    outcome = ask(server, "openai", "x", "up/m")
    assert outcome.status == 503 and 1 <= int(outcome.header("retry-after")) <= max(1, round(pause))
    # Half open: one request goes there, however many come; while it is under way the others go elsewhere.
    poll(lambda: time.monotonic() - opened > pause, pause + 1, "the pause")
    upstream.answer = Reply("I am well again.", stall="headers")
    outcomes = []
    probe = threading.Thread(target=lambda: outcomes.append(ask(server, "openai", "x", "chain")))
    probe.start()
    upstream.wait(4)
    assert state(server, "up") == "half-open"
    for _ in range(5):
        assert ask(server, "openai", "x", "chain").header("x-roundhouse-provider") == "local"
    assert len(upstream.requests) == 4
    upstream.release()
    probe.join(scaled(10))
    assert outcomes[0].text == "I am well again."
    # Closed.
    assert state(server, "up") == "closed"
    upstream.answer = Reply("And still.")
    assert ask(server, "openai", "x", "chain").text == "And still."


def test_failed_probe_opens_again_for_longer(daemon, upstream):
    pause = 0.2 * SCALE
    server = start(
        daemon, {"up": provider(upstream)}, ["up/m", "local/fake"], breaker_failures=1, breaker_open=f"{pause}s"
    )
    upstream.answer = Reply(status=503)
    assert ask(server, "openai", "x", "chain").status == 200
    poll(lambda: ask(server, "openai", "x", "chain").status == 200 and len(upstream.requests) == 2, 5, "the probe")
    probed = time.monotonic()
    poll(lambda: ask(server, "openai", "x", "chain").status == 200 and len(upstream.requests) == 3, 5, "the next probe")
    assert time.monotonic() - probed > 1.5 * pause


@pytest.mark.parametrize("cause", ("left", "timeout"))
def test_what_a_client_does_opens_no_breaker(daemon, upstream, cause):
    """Clients that leave, or give it no time, say nothing of the provider."""
    server = start(daemon, {"up": provider(upstream)}, ["up/m"], breaker_failures=2)
    upstream.answer = Reply(stall="headers")
    for number in range(4):
        if cause == "timeout":
            outcome = ask(server, "openai", "x", "up/m", timeout=0.05)
            assert outcome.status == 504, outcome
        else:
            with server.chat_stream("x", "up/m"):
                seen = upstream.wait(number + 1)[number]
            upstream.wait_left(seen)
    assert state(server, "up") == "closed"
    upstream.answer = Reply("Well.")
    assert ask(server, "openai", "x", "up/m").text == "Well."


def test_requests_at_fault_open_no_breaker(daemon, upstream):
    server = start(daemon, {"up": provider(upstream)}, ["up/m"], breaker_failures=2)
    upstream.then(*[Reply(status=400)] * 3, *[Reply.overflow()] * 3)
    for _ in range(6):
        assert ask(server, "openai", "x", "up/m").status == 400
    assert state(server, "up") == "closed"


# --- the budget ---


@pytest.mark.parametrize("retries", (0, 2))
def test_a_storm_of_failures_is_not_multiplied(daemon, upstream, second, retries):
    """60 requests fail at two providers, of which each may be asked again: but 10 free further attempts and a tenth."""
    providers = {"up": provider(upstream, maxRetries=retries, retryDelay=1), "two": provider(second)}
    server = start(daemon, providers, ["up/m", "two/m"], breaker_failures=0, retry_budget=0.1)
    upstream.answer = second.answer = Reply(status=500)
    outcomes = together(60, lambda number: ask(server, "openai", "x", "chain"))
    assert {outcome.status for outcome in outcomes} == {502}
    assert 60 + 10 <= len(upstream.requests) + len(second.requests) <= 60 + 10 + 6
    # The budget comes back with requests that go well.
    upstream.answer = second.answer = Reply("Well.")
    for _ in range(12):
        assert ask(server, "openai", "x", "chain").status == 200
    upstream.answer = Reply(status=500)
    assert ask(server, "openai", "x", "chain").text == "Well."


def test_retries_at_one_provider_are_invisible(daemon, upstream):
    server = start(daemon, {"up": provider(upstream, maxRetries=2, retryDelay=1)}, ["up/m"])
    for client in CLIENTS:
        for stream in (False, True):
            upstream.then(Reply(status=500), Reply(cut="headers"))
            outcome = ask(server, client, "x", "up/m", stream=stream)
            assert outcome.text == "Hello from upstream." and outcome.finished
    upstream.close_next(1)  # a kept connection may be used; a new one breaks at once
    assert ask(server, "openai", "x", "up/m").status == 200
    assert len(upstream.requests) == 4 * 3 + 1


# --- queues ---


def test_full_queue_goes_to_the_next_whatever_the_budget(daemon, upstream, second):
    """Nothing was sent, so it costs no budget: all that find no place at the first get their answer from the second."""
    providers = {"up": provider(upstream, concurrency=1, queue=1), "two": provider(second)}
    server = start(daemon, providers, ["up/m", "two/m"], retry_budget=0)
    upstream.answer = Reply("From the first.", stall="headers")
    outcomes = []

    def hold():
        outcomes.append(ask(server, "openai", "x", "chain"))

    holders = [threading.Thread(target=hold) for _ in range(2)]
    holders[0].start()
    upstream.wait(1)
    holders[1].start()
    poll(lambda: provider_entry(server, "up")["queued"] == 1, 5, "one in the queue")
    for outcome in together(30, lambda number: ask(server, "openai", "x", "chain", stream=number % 2 == 0)):
        assert outcome.text == "From the second.", outcome
    refused = ask(server, "openai", "x", "up/m")
    assert refused.status in (429, 503) and refused.header("retry-after"), refused
    upstream.answer = Reply("From the first.")
    upstream.release()
    for thread in holders:
        thread.join(scaled(10))
    assert [outcome.text for outcome in outcomes] == ["From the first."] * 2
    assert state(server, "up") == "closed"


def provider_entry(server, name):
    return next(entry for entry in server.get("/api/providers").json()["providers"] if entry["name"] == name)


# --- Retry-After ---


@pytest.mark.parametrize("client", CLIENTS)
@pytest.mark.parametrize("status", (429, 503, 529))
def test_retry_after_is_told_and_kept(daemon, upstream, client, status):
    server = start(daemon, {"up": provider(upstream)}, ["up/m"])
    upstream.then(Reply(status=status, headers={"Retry-After": "30"}))
    first = ask(server, client, "x", "up/m")
    assert first.status == (429 if status == 429 else 502) and first.header("retry-after") == "30"
    # It rests: nobody is sent there, and everybody hears for how long.
    for stream in (False, True):
        later = ask(server, client, "x", "up/m", stream=stream)
        assert later.status in (429, 503) and 28 <= int(later.header("retry-after")) <= 30, later
    assert len(upstream.requests) == 1


def test_a_provider_rests_and_comes_back(daemon, upstream, second):
    """Those that waited for a place there, and all that come meanwhile, are answered by the next without the budget."""
    providers = {"up": provider(upstream, concurrency=1, queue=50), "two": provider(second)}
    server = start(daemon, providers, ["up/m", "two/m"], retry_budget=0)
    rest = 1 * SCALE
    upstream.answer = Reply(status=429, headers={"Retry-After": str(int(rest))}, stall="headers")
    outcomes = []
    threads = [
        threading.Thread(target=lambda: outcomes.append(ask(server, "openai", "x", "chain"))) for _ in range(20)
    ]
    for thread in threads:
        thread.start()
    upstream.wait(1)
    poll(lambda: provider_entry(server, "up")["queued"] == 19, 10, "nineteen in the queue")
    upstream.release()
    told = time.monotonic()
    for thread in threads:
        thread.join(scaled(20))
    assert [outcome.text for outcome in outcomes] == ["From the second."] * 20
    assert len(upstream.requests) == 1
    upstream.answer = Reply("Rested.")
    poll(lambda: ask(server, "openai", "x", "chain").text == "Rested.", 5 + rest, "the first again")
    assert time.monotonic() - told > 0.9 * rest
    assert len(upstream.requests) == 2


# --- patience ---


def test_hold_timeout_leaves_a_silent_member(daemon, upstream, second):
    providers = {"up": provider(upstream), "two": provider(second)}
    server = start(daemon, providers, ["up/m", "two/m"], hold_timeout=f"{0.2 * SCALE}s")
    upstream.answer = Reply("Late.", stall="first")
    for stream in (False, True):
        outcome = ask(server, "openai", "x", "chain", stream=stream)
        assert outcome.text == "From the second." and outcome.header("x-roundhouse-attempts") == "2"
    for seen in upstream.requests:
        upstream.wait_left(seen)


def test_slow_is_better_than_nothing(daemon, upstream, second):
    """Without a budget to go elsewhere, or with nobody else, the silent member is waited for."""
    providers = {"up": provider(upstream), "two": provider(second)}
    hold = 0.1 * SCALE
    server = start(daemon, providers, ["up/m", "two/m"], hold_timeout=f"{hold}s", retry_budget=0, breaker_failures=0)
    upstream.answer = Reply(status=500)
    for _ in range(10):  # the free attempts
        assert ask(server, "openai", "x", "chain").text == "From the second."
    assert ask(server, "openai", "x", "chain").status == 502  # the budget is gone
    upstream.answer = Reply("Late, but here.", drip=3 * hold)
    assert ask(server, "openai", "x", "chain").text == "Late, but here."
    assert ask(server, "openai", "x", "up/m").text == "Late, but here."


# --- the cascade ---


def cascade(*members, **fields):
    return {"chain": {"members": list(members), "confidence_min": 0.6, **fields}}


@pytest.mark.parametrize("stream", (False, True))
@pytest.mark.parametrize("client", CLIENTS)
def test_cascade(daemon, upstream, client, stream):
    """An unsure answer is never seen; a sure one comes from the first. The retry budget has no part in it."""
    server = start(
        daemon,
        {"up": provider(upstream)},
        [],
        model="fake:slots=4,confidence=0.9",
        groups=cascade("local/fake", "up/m"),
        retry_budget=0,
    )
    upstream.answer = Reply("Surely.")
    outcome = ask(server, client, "[[text=I know this.]]", "chain", stream=stream)
    assert outcome.text == "I know this." and len(upstream.requests) == 0
    for _ in range(15):
        outcome = ask(server, client, "[[confidence=0.3 text=Perhaps so, or not.]]", "chain", stream=stream)
        assert outcome.text == "Surely." and outcome.starts == 1, outcome
    assert len(upstream.requests) == 15


@pytest.mark.parametrize("attempts", (2, 4))
@pytest.mark.parametrize("stream", (False, True))
def test_cascade_last_resort(daemon, upstream, attempts, stream):
    """Nobody after it can answer: then the unsure answer is better than none."""
    server = start(
        daemon,
        {"up": provider(upstream)},
        [],
        model="fake:slots=4,confidence=0.2",
        groups=cascade("local/fake", "up/m"),
        attempts_max=attempts,
    )
    upstream.answer = Reply(status=500)
    outcome = ask(server, "openai", "[[text=It may be so.]]", "chain", stream=stream)
    assert outcome.text == "It may be so." and outcome.starts == 1, outcome
    assert len(upstream.requests) == 1
