# SPDX-License-Identifier: Apache-2.0
"""The semantic cache: questions that are alike share an answer, from the threshold on and within the same surroundings; an
embedding model that fails costs no request. The fake engine's vector of a text is the mean of its words' vectors."""

import pytest

BASE = "tell me how many people live in the city of Paris today"
ALIKE = BASE + " please"
OTHER = "write a poem about winter rain and old steam trains"


@pytest.fixture
def server(daemon):
    def start(emb="fake:task=embed,dims=64", **settings):
        settings = {"cache": "on", "semantic_cache": "emb", "semantic_threshold": 0.8, **settings}
        return daemon(models={"fake": "fake:slots=4", "emb": emb}, default_model="fake", **settings)

    return start


def ask(server, words, headers=None, **fields):
    answer = server.chat(words, headers=headers, **{"model": "fake", "temperature": 0, "max_tokens": 8, **fields})
    assert answer.status == 200, answer
    return answer


def state(answer):
    return answer.header("x-roundhouse-cache")


def cosine(server, one, two):
    answer = server.post("/v1/embeddings", {"model": "emb", "input": [one, two]})
    vectors = [item["embedding"] for item in answer.json()["data"]]
    dot = sum(a * b for a, b in zip(*vectors, strict=True))
    return dot / (sum(a * a for a in vectors[0]) ** 0.5 * sum(b * b for b in vectors[1]) ** 0.5)


def test_alike_questions_share_an_answer(server):
    up = server()
    assert cosine(up, BASE, ALIKE) > 0.8 > cosine(up, BASE, OTHER)
    first = ask(up, BASE)
    assert state(first) == "miss"
    like = ask(up, ALIKE)
    assert state(like) == "hit"
    assert "like question" in like.header("x-roundhouse-route")
    assert like.json()["choices"] == first.json()["choices"]
    assert float(like.header("x-roundhouse-cost-usd")) == 0
    assert "like question" not in ask(up, BASE).header("x-roundhouse-route")  # word for word: the exact cache
    assert state(ask(up, OTHER)) == "miss"
    body = {
        "model": "fake",
        "messages": [{"role": "user", "content": ALIKE + " now"}],
        "temperature": 0,
        "max_tokens": 8,
        "stream": True,
    }
    with up.stream("/v1/chat/completions", body) as stream:
        assert stream.start().header("x-roundhouse-cache") == "hit"
        assert [event.data for event in stream][-1] == "[DONE]"


def test_the_threshold_decides(server):
    near = server(semantic_threshold=0.999)
    assert cosine(near, BASE, ALIKE) < 0.999
    assert [state(ask(near, words)) for words in (BASE, ALIKE, BASE)] == ["miss", "miss", "hit"]
    far = server(semantic_threshold=0)
    assert [state(ask(far, words)) for words in (BASE, ALIKE)] == ["miss", "hit"]


@pytest.mark.parametrize(
    "change",
    [
        {"max_tokens": 9},
        {"seed": 3},
        {"local_only": True},
        {"messages": [{"role": "system", "content": "Be brief."}, {"role": "user", "content": ALIKE}]},
        {"temperature": 0.9},
        {"cache": False},
    ],
    ids=lambda change: next(iter(change)),
)
def test_other_surroundings_share_nothing(server, change):
    up = server()
    assert state(ask(up, BASE)) == "miss"
    assert state(ask(up, ALIKE, **change)) != "hit"


def test_keys_share_nothing(daemon):
    secrets = ["ann-secret-0123456789", "bob-secret-0123456789"]
    up = daemon(
        models={"fake": "fake:slots=4", "emb": "fake:task=embed,dims=64"},
        config={"keys": [{"name": f"k{i}", "key": secret} for i, secret in enumerate(secrets)]},
        cache="on",
        semantic_cache="emb",
        semantic_threshold=0.8,
    )
    headers = [{"Authorization": f"Bearer {secret}"} for secret in secrets]
    assert state(ask(up, BASE, headers=headers[0])) == "miss"
    assert state(ask(up, ALIKE, headers=headers[1])) == "miss"
    assert state(ask(up, ALIKE, headers=headers[0])) == "hit"


@pytest.mark.parametrize("emb", ["fake:task=embed,load_fail=1", "fake:slots=1"])
def test_an_embedding_model_that_fails_is_a_miss(server, emb):
    up = server(emb=emb)
    up.expect_errors("emb", "told to fail")
    assert [state(ask(up, words)) for words in (BASE, ALIKE, BASE)] == ["miss", "miss", "hit"]


def test_an_embedding_model_that_is_not_here(server):
    up = server(semantic_cache="nowhere")
    assert [state(ask(up, words)) for words in (BASE, ALIKE, BASE)] == ["miss", "miss", "hit"]


def test_who_leaves_while_it_is_looked_up(server):
    up = server(emb="fake:task=embed,dims=64,step_ms=300")
    body = {"model": "fake", "messages": [{"role": "user", "content": BASE}], "temperature": 0, "max_tokens": 8}
    for _ in range(3):
        stream = up.stream("/v1/chat/completions", {**body, "stream": True})
        stream.connection.close()
    up.wait_idle(20)
    assert state(ask(up, BASE)) == "miss"


def test_the_metric_of_the_cache(server):
    up = server()
    ask(up, BASE)
    ask(up, ALIKE)
    assert up.metric("roundhouse_cache_hits_total") == 1
