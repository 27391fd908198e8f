# SPDX-License-Identifier: Apache-2.0
"""ONNX models through the whole server: a real embedding model, and heads on it, against numpy's own computation."""

import json
import sys

import numpy as np
import openai
import pytest
from safetensors.numpy import load_file
from tokenizers import Tokenizer

from harness.clients import openai_client
from harness.daemon import ROOT

sys.path.insert(0, str(ROOT / "tests" / "tools"))

import make_bert_onnx  # noqa: E402
import reference_minilm as reference  # noqa: E402

MINILM = ROOT / "deps" / "models" / "all-minilm-l6-v2"
CASES = json.loads((ROOT / "tests" / "e2e" / "data" / "minilm_reference.json").read_text(encoding="utf-8"))["cases"]
TEXTS = [case["text"] for case in CASES]
MOODS = ["sad", "happy", "neither"]
TAGS = ["O", "B-PER", "I-PER", "B-LOC", "I-LOC"]


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    base = tmp_path_factory.mktemp("onnx")
    make_bert_onnx.make(MINILM, base / "minilm")
    make_bert_onnx.make(MINILM, base / "mood", "sequence", MOODS)
    make_bert_onnx.make(MINILM, base / "cross", "cross", ["relevance"])
    make_bert_onnx.make(MINILM, base / "tags", "token", TAGS)
    return base


@pytest.fixture(scope="module")
def server(module_daemon, folders):
    models = {name: str(folders / name) for name in ("minilm", "mood", "cross", "tags")}
    return module_daemon(models=models, preload=False)


@pytest.fixture(scope="module")
def bert():
    """The same computations with numpy: the weights, the tokenizer, and the heads' numbers."""

    class Bert:
        config = json.loads((MINILM / "config.json").read_text())
        weights = {
            name: array.astype(np.float64)
            for name, array in load_file(MINILM / "model.safetensors").items()
            if array.dtype.kind == "f"
        }
        tokenizer = Tokenizer.from_file(str(MINILM / "tokenizer.json"))

        def states(self, ids):
            return reference.hidden_states(ids, self.weights, self.config)

        def head(self, labels, pooled):
            """What make_bert_onnx.Bert.head makes of its seed."""
            random = np.random.default_rng(11)
            weights = random.normal(0, 0.5, (self.config["hidden_size"], labels)).astype(np.float32)
            return pooled @ weights + random.normal(0, 0.1, labels).astype(np.float32)

        def pooled(self, states):
            return np.tanh(reference.linear(states[0], self.weights, "pooler.dense"))

    Bert.tokenizer.no_padding()
    Bert.tokenizer.no_truncation()
    return Bert()


def infer(server, model, inputs, **fields):
    answer = server.post("/api/inference", {"model": model, "inputs": inputs, **fields})
    assert answer.status == 200, answer
    return answer.json()


def cosine(a, b):
    a, b = np.asarray(a, np.float64), np.asarray(b, np.float64)
    return float(a @ b / np.linalg.norm(a) / np.linalg.norm(b))


def test_embeddings_equal_the_reference(server):
    client = openai_client(server)
    answer = client.embeddings.create(model="minilm", input=TEXTS)
    worst = min(cosine(item.embedding, case["embedding"]) for item, case in zip(answer.data, CASES))
    assert worst >= 0.9999, worst
    assert all(abs(np.linalg.norm(item.embedding) - 1) < 1e-5 for item in answer.data)
    # The text that is longer than the model takes (256) counts what was read of it.
    assert answer.usage.prompt_tokens == sum(min(len(case["tokens"]), 256) for case in CASES)


def test_one_by_one_and_together(server):
    """What stands beside a text in a batch, padding above all, must not be seen in its vector."""
    client = openai_client(server)
    together = client.embeddings.create(model="minilm", input=TEXTS, encoding_format="float").data
    for text, item in zip(TEXTS, together):
        alone = client.embeddings.create(model="minilm", input=text, encoding_format="float").data[0]
        assert cosine(alone.embedding, item.embedding) > 0.999999


def test_token_ids_and_dimensions(server):
    client = openai_client(server)
    tokens = [case["tokens"] for case in CASES if len(case["tokens"]) <= 256]
    texts = [case["text"] for case in CASES if len(case["tokens"]) <= 256]
    by_ids = client.embeddings.create(model="minilm", input=tokens).data
    by_text = client.embeddings.create(model="minilm", input=texts, dimensions=64).data
    for ids, text in zip(by_ids, by_text):
        assert len(text.embedding) == 64 and abs(np.linalg.norm(text.embedding) - 1) < 1e-5
        assert cosine(ids.embedding[:64], text.embedding) > 0.99999


def test_classification(server, bert):
    got = infer(server, "mood", TEXTS)
    assert got["task"] == "classify"
    for case, item in zip(CASES, got["result"]["items"]):
        if len(case["tokens"]) > 256:
            continue
        logits = bert.head(len(MOODS), bert.pooled(bert.states(case["tokens"])))
        expected = np.exp(logits - logits.max())
        expected /= expected.sum()
        scores = {label["label"]: label["score"] for label in item["labels"]}
        assert [scores[mood] for mood in MOODS] == pytest.approx(expected.tolist(), abs=1e-4)
        ordered = [label["score"] for label in item["labels"]]
        assert ordered == sorted(ordered, reverse=True)


def test_reranking(server, bert):
    query, documents = "Who lives in the woods?", ["A dog runs through the wood.", "Revenue rose.", "Bears live in forests."]
    answer = server.post("/v1/rerank", {"model": "cross", "query": query, "documents": documents, "return_documents": True})
    assert answer.status == 200, answer
    scores = {}
    for index, document in enumerate(documents):
        encoding = bert.tokenizer.encode(query, document)
        x = hidden_states_of_pair(bert, encoding)
        scores[index] = 1 / (1 + np.exp(-float(bert.head(1, bert.pooled(x))[0])))
    results = answer.json()["results"]
    assert [one["index"] for one in results] == sorted(scores, key=scores.get, reverse=True)
    for one in results:
        assert one["relevance_score"] == pytest.approx(scores[one["index"]], abs=1e-4)


def hidden_states_of_pair(bert, encoding):
    """The reference knows one type of token; the other's embedding is added to the words'."""
    weights = dict(bert.weights)
    types = weights["embeddings.token_type_embeddings.weight"]
    words = weights["embeddings.word_embeddings.weight"][encoding.ids] + (types[encoding.type_ids] - types[0])
    weights["embeddings.word_embeddings.weight"] = words
    return reference.hidden_states(np.arange(len(encoding.ids)), weights, bert.config)


def test_labels_of_words(server, bert):
    texts = ["Ada Lovelace visits São Paulo – twice.", "größe 🚀 x"]
    got = infer(server, "tags", texts, options={"aggregation": "none"})
    assert got["task"] == "token-classify"
    for text, item in zip(texts, got["result"]["items"]):
        encoding = bert.tokenizer.encode(text)
        logits = bert.head(len(TAGS), bert.states(encoding.ids))
        shares = np.exp(logits - logits.max(-1, keepdims=True))
        shares /= shares.sum(-1, keepdims=True)
        expected = [
            (TAGS[row.argmax()], text[start:end], start, end, index, row.max())
            for index, (row, (start, end)) in enumerate(zip(shares, encoding.offsets))
            if end > start and TAGS[row.argmax()] != "O"
        ]
        entities = item["entities"]
        assert [(e["entity"], e["start"], e["end"], e["index"]) for e in entities] == [
            (label, start, end, index) for label, _, start, end, index, _ in expected
        ]
        assert [e["score"] for e in entities] == pytest.approx([float(row[5]) for row in expected], abs=1e-4)


def test_what_a_model_is_not_for(server):
    with pytest.raises(openai.BadRequestError, match="embed"):
        openai_client(server).chat.completions.create(model="minilm", messages=[{"role": "user", "content": "hi"}])
    answer = server.post("/v1/rerank", {"model": "minilm", "query": "a", "documents": ["b"]})
    assert answer.status == 400 and "embed" in answer.error()["message"], answer


def test_how_it_was_done(server):
    meta = infer(server, "minilm", "hi")["meta"]
    assert meta["engine"] == "onnx" and meta["device"] == "cpu"
    assert meta["acceleration"]["execution_provider"].lower().startswith("cpu"), meta
    listed = {model["id"]: model for model in server.get("/v1/models").json()["data"]}
    assert set(listed) == {"minilm", "mood", "cross", "tags"}
