# SPDX-License-Identifier: Apache-2.0
"""The response cache on the wire: what is answered from it and what is not, Cache-Control both ways, streams, tenants' and
dialects' keys, bounds, and one generation for many equal requests at once. With the fake engine."""

import json
import threading
import time

import pytest

from harness.upstream import Reply
from harness.wait import poll, scaled

GENERATED = {"kind": "generated"}


@pytest.fixture(scope="module")
def server(module_daemon):
    models = {"fake": "fake:slots=4", "emb": "fake:task=embed,dims=4"}
    return module_daemon(models=models, default_model="fake", cache="on")


def state(answer):
    assert answer.status == 200, answer
    return answer.header("x-roundhouse-cache")


def text(answer):
    return answer.json()["choices"][0]["message"]["content"]


def ask(server, words, headers=None, **fields):
    return server.chat(words, headers=headers, **{"temperature": 0, "max_tokens": 8, **fields})


def streamed(server, words, headers=None, **fields):
    body = {
        "model": "fake",
        "messages": [{"role": "user", "content": words}],
        "stream": True,
        "temperature": 0,
        "max_tokens": 8,
        **fields,
    }
    with server.stream("/v1/chat/completions", body, headers=headers) as stream:
        head = stream.start()
        assert head.status == 200, head
        events = [event.data for event in stream]
    assert events[-1] == "[DONE]"
    return head, [json.loads(event) for event in events[:-1]]


def said(chunks):
    return "".join(
        choice["delta"].get("content") or "" for chunk in chunks for choice in chunk["choices"] if "delta" in choice
    )


# --- hits and misses ---


def test_a_hit_is_the_same_answer(server):
    first = ask(server, "what is the same")
    second = ask(server, "what is the same")
    assert (state(first), state(second)) == ("miss", "hit")
    assert first.header("age") is None
    assert 0 <= int(second.header("age")) <= scaled(30)
    one, two = first.json(), second.json()
    assert one["choices"] == two["choices"]
    assert one["usage"]["completion_tokens"] == two["usage"]["completion_tokens"]
    assert one["id"] != two["id"]  # it is an answer of its own
    assert one["model"] == two["model"]
    assert first.header("x-roundhouse-model") == second.header("x-roundhouse-model")
    assert float(second.header("x-roundhouse-cost-usd")) == 0


def without_times(answer):
    """An answer's body without what is another thing each time."""
    body = answer.json()
    assert body.pop("id").removeprefix("chatcmpl-") == answer.header("x-request-id").removeprefix("req-")
    assert abs(body.pop("created") - time.time()) < scaled(60)
    ours = body["roundhouse"]
    times = [ours.pop(name) for name in ("latency_ms", "first_token_latency_ms")]
    assert all(0 < value < scaled(10_000) for value in times)
    return body, ours.pop("cache_age_s", None), ours.pop("tokens_per_second")


def test_many_hits_are_alike(server):
    """From the second hit on an answer is given again as it was written, but for its ids and times."""
    body, age, _ = without_times(ask(server, "again and again"))
    assert age is None
    hits = [ask(server, "again and again") for _ in range(4)]
    assert [state(hit) for hit in hits] == ["hit"] * 4
    assert len({hit.json()["id"] for hit in hits}) == 4
    told = [without_times(hit) for hit in hits]
    assert [of for of, _, _ in told] == [told[0][0]] * 4
    ages = [age for _, age, _ in told]
    assert ages == sorted(ages) and ages[-1] < scaled(60)
    assert told[0][0]["choices"] == body["choices"] and told[0][0]["usage"] == body["usage"]
    # The same words under a name of the client's own, in a stream, for a model that is told otherwise.
    named = ask(server, "again and again", headers={"X-Request-Id": "mine"})
    assert named.json()["id"] == "chatcmpl-mine" and named.header("x-request-id") == "mine"
    assert named.json()["choices"] == body["choices"]
    head, chunks = streamed(server, "again and again")
    assert state(head) == "hit"
    assert said(chunks) == body["choices"][0]["message"]["content"]


def test_a_name_that_the_answer_speaks_of(server):
    """A client's own id may stand in the answer's words too; only the id changes from one to the next."""
    digits = "0123456789abcdef" * 2
    words = f"[[text={digits}]] an id"
    name = {"X-Request-Id": f"req-{digits}"}
    first = ask(server, words, headers=name)
    assert digits in text(first)
    for _ in range(2):
        again = ask(server, words, headers=name)
        assert state(again) == "hit" and again.json()["id"] == f"chatcmpl-{digits}"
    for _ in range(3):
        other = ask(server, words)
        assert state(other) == "hit" and digits not in other.json()["id"]
        assert text(other) == text(first)


def test_a_hit_again_is_asked_for_anew(server):
    """What is remembered of a body is never asked before rights, wishes and the cache itself."""
    for _ in range(3):
        ask(server, "anew")
    assert state(ask(server, "anew", headers={"x-roundhouse-cache": "off"})) == "off"
    assert state(ask(server, "anew", headers={"Cache-Control": "no-cache"})) == "miss"
    assert ask(server, "anew", headers={"x-roundhouse-privacy": "unheard"}).status == 400
    assert state(ask(server, "anew", headers={"x-roundhouse-local-only": "true"})) == "miss"  # a share of its own
    assert state(ask(server, "anew")) == "hit"
    assert server.fetch("DELETE", "/api/cache").status == 200
    assert [state(ask(server, "anew")) for _ in range(4)] == ["miss", "hit", "hit", "hit"]


@pytest.mark.parametrize(
    "change",
    [
        {"max_tokens": 9},
        {"temperature": 0, "top_p": 0.5},
        {"stop": ["x"]},
        {"seed": 4},
        {"n": 2},
        {"logprobs": True},
        {"presence_penalty": 0.5},
    ],
    ids=lambda change: next(reversed(change)),
)
def test_another_parameter_is_another_answer(server, change):
    words = f"parameters {next(reversed(change))}"
    assert state(ask(server, words)) == "miss"
    assert state(ask(server, words, **change)) == "miss"
    assert state(ask(server, words, **change)) == "hit"
    assert state(ask(server, words)) == "hit"


@pytest.mark.parametrize("same", [{"stream": False}, {"user": "u"}, {"metadata": {"a": "b"}}], ids=lambda s: list(s)[0])
def test_what_does_not_shape_the_answer(server, same):
    words = f"unshaped {list(same)[0]}"
    assert state(ask(server, words)) == "miss"
    assert state(ask(server, words, **same)) == "hit"


def test_pieces_and_a_text_are_one_key(server):
    assert state(ask(server, "in pieces")) == "miss"
    body = {
        "messages": [{"role": "user", "content": [{"type": "text", "text": "in pieces"}]}],
        "temperature": 0,
        "max_tokens": 8,
    }
    assert state(server.post("/v1/chat/completions", body)) == "hit"


def test_chance_is_not_cached_unless_asked(server):
    for _ in range(2):
        assert state(ask(server, "by chance", temperature=0.8)) == "off"
    asked = {"x-roundhouse-cache": "on"}
    assert state(ask(server, "by chance", headers=asked, temperature=0.8)) == "miss"
    assert state(ask(server, "by chance", headers=asked, temperature=0.8)) == "hit"
    assert state(ask(server, "by chance", temperature=0.8)) == "off"
    # With a seed it would come again.
    assert state(ask(server, "by chance", temperature=0.8, seed=3)) == "miss"
    assert state(ask(server, "by chance", temperature=0.8, seed=3)) == "hit"


def test_embeddings_are_cached(server):
    body = {"model": "emb", "input": ["red apple", "green pear"]}
    first, second = server.post("/v1/embeddings", body), server.post("/v1/embeddings", body)
    assert (state(first), state(second)) == ("miss", "hit")
    assert first.json()["data"] == second.json()["data"]
    other = server.post("/v1/embeddings", {**body, "input": ["green pear", "red apple"]})
    assert state(other) == "miss"


def test_embeddings_again_and_again(server):
    """They have no first token, however often they are given."""
    told = []
    for _ in range(4):
        answer = server.post("/v1/embeddings", {"model": "emb", "input": ["often", "asked"]})
        body = answer.json()
        assert body["roundhouse"]["first_token_latency_ms"] is None
        told.append((state(answer), body["data"], body["usage"], body["acceleration"]))
    assert [row[0] for row in told] == ["miss", "hit", "hit", "hit"]
    assert all(row[1:] == told[0][1:] for row in told)
    assert server.metric("first_token_latency_seconds_count", model="emb") == 0


def test_errors_are_not_cached(server):
    server.expect_errors("told to fail")
    for _ in range(2):
        answer = ask(server, "[[fail_at=1]] failing")
        assert answer.status >= 400
        assert answer.header("x-roundhouse-cache") != "hit"


def test_another_models_answer_is_not_kept_as_the_first_ones(daemon, upstream):
    provider = {"type": "openai-compatible", "baseUrl": upstream.url, "maxRetries": 0, "models": ["m"]}
    config = {
        "providers": {"up": provider, "local": {"type": "local"}},
        "routing": {"groups": {"chain": {"members": ["up/m"], "fallback": ["local/fake"]}}},
    }
    server = daemon(config=config, cache="on")
    upstream.then(Reply(status=500))
    words = "[[text=In its place.]] who?"
    asked = [ask(server, words, model=model) for model in ("chain", "up/m", "chain")]
    assert [text(answer) for answer in asked] == ["In its place.", "Hello from upstream.", "Hello from upstream."]
    assert [state(answer) for answer in asked] == ["miss", "miss", "hit"]


def test_the_metric_counts_hits(server):
    before = server.metric("roundhouse_cache_hits_total")
    ask(server, "counted")
    ask(server, "counted")
    assert server.metric("roundhouse_cache_hits_total") == before + 1


# --- streams ---


def test_a_hit_streams_like_a_miss(server):
    words = "[[tokens=200]] streamed"
    head, chunks = streamed(server, words, max_tokens=300, stream_options={"include_usage": True})
    again, cached = streamed(server, words, max_tokens=300, stream_options={"include_usage": True})
    assert (head.header("x-roundhouse-cache"), again.header("x-roundhouse-cache")) == ("miss", "hit")
    assert head.header("content-type") == again.header("content-type")
    assert said(chunks) == said(cached) != ""
    assert sum(1 for chunk in cached if said([chunk])) > 3  # in several events, not in one
    assert chunks[-1]["usage"]["completion_tokens"] == cached[-1]["usage"]["completion_tokens"]
    assert [c["choices"][0]["finish_reason"] for c in chunks if c["choices"]][-1] == [
        c["choices"][0]["finish_reason"] for c in cached if c["choices"]
    ][-1]
    # And whole from what was streamed.
    whole = ask(server, words, max_tokens=300)
    assert state(whole) == "hit"
    assert text(whole) == said(chunks)


def test_logprobs_come_from_the_cache_too(server):
    first = ask(server, "with logprobs", logprobs=True, top_logprobs=2)
    second = ask(server, "with logprobs", logprobs=True, top_logprobs=2)
    assert (state(first), state(second)) == ("miss", "hit")
    assert first.json()["choices"][0]["logprobs"] == second.json()["choices"][0]["logprobs"]


def test_a_client_that_leaves_leaves_nothing_half(server):
    body = {
        "messages": [{"role": "user", "content": "[[tokens=50 delay_ms=20]] left"}],
        "stream": True,
        "temperature": 0,
        "max_tokens": 60,
    }
    with server.stream("/v1/chat/completions", body) as stream:
        assert stream.start().status == 200
        stream.next_event()
        stream.next_event()
    server.wait_idle()
    answer = ask(server, "[[tokens=50 delay_ms=20]] left", max_tokens=60)
    assert state(answer) == "miss"
    assert answer.json()["usage"]["completion_tokens"] == 50


# --- Cache-Control and the header of our own ---


def test_no_cache_makes_a_new_answer_and_keeps_it(server):
    ask(server, "fresh")
    fresh = ask(server, "fresh", headers={"Cache-Control": "no-cache"})
    assert state(fresh) == "miss"
    kept = ask(server, "fresh")
    assert state(kept) == "hit"
    assert state(ask(server, "fresh two", headers={"cache-control": "no-cache"})) == "miss"
    assert state(ask(server, "fresh two")) == "hit"


@pytest.mark.parametrize("headers", [{"Cache-Control": "no-store"}, {"x-roundhouse-cache": "off"}])
def test_no_store_neither_reads_nor_writes(server, headers):
    words = f"unstored {list(headers)[0]}"
    assert state(ask(server, words, headers=headers)) == "off"
    assert state(ask(server, words)) == "miss"
    assert state(ask(server, words, headers=headers)) == "off"


def test_max_age(server):
    assert state(ask(server, "aged")) == "miss"
    assert state(ask(server, "aged", headers={"Cache-Control": "max-age=3600"})) == "hit"
    assert state(ask(server, "aged", headers={"Cache-Control": "max-age=0"})) == "miss"
    poll(lambda: state(ask(server, "aged", headers={"Cache-Control": "max-age=1"})) == "miss", 10, "an age over a second")
    assert state(ask(server, "aged", headers={"Cache-Control": "max-age=60, must-understand"})) == "hit"


@pytest.mark.parametrize("headers", [{"Cache-Control": "only-if-cached"}, {"x-roundhouse-cache": "only"}])
def test_only_if_cached(server, headers):
    words = f"only {list(headers)[0]}"
    runs = server.metric("roundhouse_engine_tokens_total", **GENERATED)
    answer = ask(server, words, headers=headers)
    assert answer.status == 504
    assert "cache" in answer.error()["message"]
    assert server.metric("roundhouse_engine_tokens_total", **GENERATED) == runs
    assert state(ask(server, words)) == "miss"
    assert state(ask(server, words, headers=headers)) == "hit"


def test_an_unknown_wish_is_refused(server):
    answer = ask(server, "odd", headers={"x-roundhouse-cache": "sometimes"})
    assert answer.status == 400
    assert "x-roundhouse-cache" in answer.error()["message"]


# --- time, bytes, off ---


def test_time_to_live(daemon):
    server = daemon(cache="on", cache_ttl="1s")
    assert state(ask(server, "short")) == "miss"
    assert state(ask(server, "short")) == "hit"
    poll(lambda: state(ask(server, "short", headers={"Cache-Control": "no-cache, no-store"})) == "off", 5, "off")
    poll(lambda: ask(server, "short", headers={"x-roundhouse-cache": "only"}).status == 504, 10, "the entry's end")
    assert state(ask(server, "short")) == "miss"


def test_the_bound_by_bytes(daemon):
    server = daemon(cache="on", cache_bytes="64KiB")
    for i in range(300):
        assert state(ask(server, f"[[tokens=40]] number {i}", max_tokens=50)) == "miss"
    assert state(ask(server, "[[tokens=40]] number 299", max_tokens=50)) == "hit"
    assert state(ask(server, "[[tokens=40]] number 0", max_tokens=50)) == "miss"


def test_large_answers_are_not_kept(daemon):
    server = daemon(cache="on", cache_entry_bytes="1KiB")
    for _ in range(2):
        answer = ask(server, "[[tokens=1000]] large", max_tokens=1000)
        assert state(answer) == "miss"
        assert answer.json()["usage"]["completion_tokens"] == 1000


def test_off(daemon):
    server = daemon(cache="off")
    for _ in range(2):
        assert state(ask(server, "nothing")) == "off"
    assert ask(server, "nothing", headers={"Cache-Control": "only-if-cached"}).status == 504


# --- one generation for many ---


def at_once(count, work):
    """work(i) in `count` threads; the results in order."""
    results = [None] * count
    barrier = threading.Barrier(count)

    def run(i):
        barrier.wait()
        results[i] = work(i)

    threads = [threading.Thread(target=run, args=(i,)) for i in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return results


def generated(server, expected):
    """The engine's own count of tokens; its report comes about once a second."""
    server.wait_idle()
    server.wait_metric("roundhouse_engine_tokens_total", lambda value: value >= expected, **GENERATED)
    return server.metric("roundhouse_engine_tokens_total", **GENERATED)


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])
def test_a_hundred_at_once_cost_one_generation(daemon, stream):
    server = daemon(cache="on")
    words = "[[tokens=20 delay_ms=50]] together"

    def work(_):
        if stream:
            head, chunks = streamed(server, words, max_tokens=30)
            return head.header("x-roundhouse-cache"), said(chunks)
        answer = ask(server, words, max_tokens=30)
        return state(answer), text(answer)

    results = at_once(100, work)
    assert len({said_text for _, said_text in results}) == 1
    assert len(results[0][1].split()) == 20
    assert sorted(cache for cache, _ in results) == ["hit"] * 99 + ["miss"]
    assert generated(server, 20) == 20


def test_the_first_one_may_leave(daemon):
    server = daemon(cache="on")
    words = "[[tokens=30 delay_ms=50]] shared"
    body = {
        "messages": [{"role": "user", "content": words}],
        "stream": True,
        "temperature": 0,
        "max_tokens": 40,
    }
    results = []
    with server.stream("/v1/chat/completions", body) as first:
        first.start()
        first.next_event()
        other = threading.Thread(target=lambda: results.append(ask(server, words, max_tokens=40)))
        other.start()
        poll(lambda: server.health()["requests_in_flight"] >= 2, 10, "the second request")
    other.join()
    assert results[0].status == 200
    assert results[0].json()["usage"]["completion_tokens"] == 30
    assert generated(server, 30) == 30


def test_chance_is_not_shared(daemon):
    server = daemon(cache="on")
    results = at_once(5, lambda i: state(ask(server, "[[tokens=5 delay_ms=20]] apart", temperature=0.9)))
    assert results == ["off"] * 5
    assert generated(server, 25) == 25
