#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Reference embeddings of all-MiniLM-L6-v2, computed from the safetensors with numpy and the tokenizers package alone.

Usage: reference_minilm.py MODEL_FOLDER [OUT.json]. Writes tests/e2e/data/minilm_reference.json, which test_convert.py
compares with what llama.cpp makes of the converted file. Source of the formulas: Devlin et al. 2018 (BERT); pooling and
normalising as the folder's modules.json says: the mean over all tokens, then length 1.
"""

import hashlib
import json
import math
import sys
from pathlib import Path

import numpy as np
from safetensors.numpy import load_file
from tokenizers import Tokenizer

TEXTS = [
    "The cat sits on the mat.",
    "A feline is resting on a rug.",
    "Quarterly revenue rose by 12.5 %, to $3,400,000.",
    "Ein Hund läuft durch den Wald, während es schneit.",
    "Où est la bibliothèque ? À côté de l'hôtel de ville.",
    "今日はとても良い天気ですね。",
    "Привет, как у тебя дела сегодня?",
    "🚀🔥 emojis & symbols: ©®™ ½ ¼ → ∞",
    "def add(a, b):\n    return a + b  # plain Python",
    "x",
    "   \t  ",
    "Café NAÏVE coöperate façade",
    "HTTP/1.1 404 Not Found (see RFC 9110, section 15.5.5)",
    "The quick brown fox jumps over the lazy dog. " * 20,
    "unbelievably antidisestablishmentarianism pneumonoultramicroscopicsilicovolcanoconiosis",
]

ERF = np.vectorize(math.erf)


def gelu(x):
    return 0.5 * x * (1.0 + ERF(x / math.sqrt(2.0)))


def layer_norm(x, weights, name, epsilon):
    mean = x.mean(-1, keepdims=True)
    variance = ((x - mean) ** 2).mean(-1, keepdims=True)
    return (x - mean) / np.sqrt(variance + epsilon) * weights[f"{name}.weight"] + weights[f"{name}.bias"]


def linear(x, weights, name):
    return x @ weights[f"{name}.weight"].T + weights[f"{name}.bias"]


def softmax(x):
    e = np.exp(x - x.max(-1, keepdims=True))
    return e / e.sum(-1, keepdims=True)


def hidden_states(ids, weights, config):
    epsilon, heads = config["layer_norm_eps"], config["num_attention_heads"]
    x = weights["embeddings.word_embeddings.weight"][ids]
    x = x + weights["embeddings.position_embeddings.weight"][: len(ids)]
    x = x + weights["embeddings.token_type_embeddings.weight"][0]
    x = layer_norm(x, weights, "embeddings.LayerNorm", epsilon)
    size = config["hidden_size"] // heads
    for layer in range(config["num_hidden_layers"]):
        at = f"encoder.layer.{layer}"
        q, k, v = (
            linear(x, weights, f"{at}.attention.self.{part}").reshape(len(ids), heads, size).transpose(1, 0, 2)
            for part in ("query", "key", "value")
        )
        mixed = softmax(q @ k.transpose(0, 2, 1) / math.sqrt(size)) @ v
        mixed = mixed.transpose(1, 0, 2).reshape(len(ids), -1)
        x = layer_norm(
            x + linear(mixed, weights, f"{at}.attention.output.dense"), weights, f"{at}.attention.output.LayerNorm", epsilon
        )
        wide = gelu(linear(x, weights, f"{at}.intermediate.dense"))
        x = layer_norm(x + linear(wide, weights, f"{at}.output.dense"), weights, f"{at}.output.LayerNorm", epsilon)
    return x


def main():
    folder = Path(sys.argv[1])
    out = Path(sys.argv[2]) if len(sys.argv) > 2 else Path(__file__).resolve().parents[1] / "e2e/data/minilm_reference.json"
    config = json.loads((folder / "config.json").read_text())
    weights = {name: value.astype(np.float64) for name, value in load_file(folder / "model.safetensors").items() if value.dtype != np.int64}
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    tokenizer.no_truncation()
    tokenizer.no_padding()
    cases = []
    for text in TEXTS:
        ids = tokenizer.encode(text).ids
        vector = hidden_states(ids, weights, config).mean(0)
        vector /= np.linalg.norm(vector)
        cases.append({"text": text, "tokens": ids, "embedding": [round(float(x), 6) for x in vector]})
    digest = hashlib.sha256((folder / "model.safetensors").read_bytes()).hexdigest()
    lines = ",\n".join(json.dumps(case, ensure_ascii=False) for case in cases)
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(f'{{"model_sha256": "{digest}", "cases": [\n{lines}\n]}}\n', encoding="utf-8")


if __name__ == "__main__":
    main()
