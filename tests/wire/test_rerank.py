# SPDX-License-Identifier: Apache-2.0
"""POST /v1/rerank, /rerank and /v2/rerank with the fake engine: a document scores by the words it shares with the query."""

import pytest

QUERY = "red apple"
DOCUMENTS = ["a green pear", "a red apple", "one apple", "red apple pie"]


@pytest.fixture(scope="module")
def server(module_daemon):
    return module_daemon(models={"rr": "fake:task=rerank", "cls": "fake:task=classify,labels=cat/dog"}, default_model="rr")


def rerank(server, path="/v1/rerank", **fields):
    return server.post(path, {"model": "rr", "query": QUERY, "documents": DOCUMENTS, **fields})


@pytest.mark.parametrize("path", ["/v1/rerank", "/rerank", "/v2/rerank"])
def test_best_first(server, path):
    answer = rerank(server, path)
    body = answer.json()
    assert (body["object"], body["model"]) == ("list", "rr")
    assert body["id"].removeprefix("rerank-") in answer.header("x-request-id")
    results = body["results"]
    assert sorted(result["index"] for result in results) == [0, 1, 2, 3]
    assert {result["index"] for result in results[:2]} == {1, 3}
    assert results[-1]["index"] == 0
    scores = [result["relevance_score"] for result in results]
    assert scores == sorted(scores, reverse=True) and all(0 < score < 1 for score in scores)
    assert set(results[0]) == {"index", "relevance_score"}
    assert body["usage"]["total_tokens"] == body["usage"]["prompt_tokens"] > 0
    assert body["acceleration"]["engine"] == "fake"


def test_equal_scores_keep_their_order(server):
    results = rerank(server, documents=["x"] * 5).json()["results"]
    assert [result["index"] for result in results] == [0, 1, 2, 3, 4]


def test_top_n_and_documents(server):
    results = rerank(server, top_n=2, return_documents=True, documents=[{"text": text} for text in DOCUMENTS]).json()["results"]
    assert len(results) == 2
    for result in results:
        assert result["document"] == {"text": DOCUMENTS[result["index"]]}
    assert len(rerank(server, top_n=99).json()["results"]) == 4


def test_raw_scores(server):
    scores = {result["index"]: result["relevance_score"] for result in rerank(server, raw_scores=True).json()["results"]}
    assert scores == {0: -1, 1: 3, 2: 1, 3: 3}


def test_many_documents(server):
    """The query goes to the worker once, so that a long one times many documents is no more than their sum."""
    query = "apple " * 2000
    documents = [f"document {i}" for i in range(2000)] + ["apple"]
    results = rerank(server, query=query, documents=documents).json()["results"]
    assert len(results) == 2001 and results[0]["index"] == 2000
    answer = rerank(server, documents=["x"] * 2049)
    assert answer.status == 400 and "2048" in answer.error()["message"], answer


def test_one_bad_document_is_named(server):
    answer = rerank(server, documents=["a", "[[fail_at=0]]"])
    assert answer.status == 500 and answer.error()["param"] == "documents[1]", answer


def test_wrong_requests(server):
    for fields, param in (
        ({"query": None}, "query"),
        ({"documents": None}, "documents"),
        ({"documents": []}, "documents"),
        ({"documents": ["a", 5]}, "documents[1]"),
        ({"top_n": 0}, "top_n"),
    ):
        answer = rerank(server, **fields)
        assert answer.status == 400 and answer.error()["param"] == param, answer


def test_counted_as_rerank(server):
    rerank(server)
    server.wait_metric("roundhouse_items_total", lambda value: value >= 4, gen_ai_operation_name="rerank")
    assert server.get("/last_request_stats").json()["task"] == "rerank"
