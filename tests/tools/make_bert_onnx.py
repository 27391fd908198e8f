#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""An ONNX graph of a BERT model, from its safetensors:   make_bert_onnx.py MODEL_FOLDER OUT_FOLDER [--head KIND LABELS]

OUT_FOLDER becomes a model folder: model.onnx with the weights, and copies of the tokenizer and configuration. Inputs are
input_ids, attention_mask and token_type_ids (int64, [batch, sequence]); the output is last_hidden_state, or logits when a head is
asked for: `sequence` (pooler and classifier), `token` or `cross` (a sequence head with one label). Heads have weights from a fixed
seed. The operators are chained as PyTorch's exporter chains them, which is what ONNX Runtime's fusions look for. Formulas: Devlin
et al. 2018; operators: the ONNX operator set 17.
"""

import argparse
import json
import shutil
import struct
import sys
from pathlib import Path

import numpy as np
from safetensors.numpy import load_file

sys.path.insert(0, str(Path(__file__).parent))
from make_onnx import data, int_attribute, model, node, number, tensor, value  # noqa: E402

COPIED = ("*.json", "*.txt", "1_Pooling", "2_Normalize", "README.md")


def ints_attribute(name, numbers):
    return data(5, data(1, name) + b"".join(number(8, one) for one in numbers) + number(20, 7))


def float_attribute(name, one):
    return data(5, data(1, name) + b"\x15" + struct.pack("<f", one) + number(20, 1))


class Graph:
    """Nodes and weights on their way; every method gives the name of what it computes."""

    def __init__(self):
        self.nodes = []
        self.weights = {}

    def weight(self, name, array):
        if name not in self.weights:
            kind = {"float32": "float32", "int64": "int64"}[str(array.dtype)]
            self.weights[name] = tensor(name, kind, array.shape, np.ascontiguousarray(array).tobytes())
        return name

    def constant(self, *numbers):
        name = "i_" + "_".join(str(one) for one in numbers)
        return self.weight(name, np.array(numbers, np.int64))

    def scalar(self, one):
        return self.weight(f"f_{one}", np.array(one, np.float32))

    def add(self, op, inputs, output=None, attributes=b""):
        output = output or f"t{len(self.nodes)}"
        self.nodes.append(node(op, inputs, [output], attributes=attributes))
        return output


class Bert:
    def __init__(self, folder):
        self.config = json.loads((folder / "config.json").read_text())
        self.arrays = {name: array.astype(np.float32) for name, array in load_file(folder / "model.safetensors").items()
                       if array.dtype.kind == "f"}  # fmt: skip
        prefix = "bert." if any(name.startswith("bert.") for name in self.arrays) else ""
        self.prefix = prefix
        self.graph = Graph()
        self.heads = self.config["num_attention_heads"]
        self.width = self.config["hidden_size"]

    def array(self, name):
        return self.arrays[self.prefix + name]

    def linear(self, x, name, output=None):
        g = self.graph
        product = g.add("MatMul", [x, g.weight(f"{name}.weight_t", self.array(f"{name}.weight").T)])
        return g.add("Add", [g.weight(f"{name}.bias", self.array(f"{name}.bias")), product], output)

    def norm(self, x, name, output=None):
        g = self.graph
        scale = g.weight(f"{name}.scale", self.array(f"{name}.weight"))
        bias = g.weight(f"{name}.bias", self.array(f"{name}.bias"))
        epsilon = float_attribute("epsilon", self.config.get("layer_norm_eps", 1e-12))
        return g.add("LayerNormalization", [x, scale, bias], output, epsilon + int_attribute("axis", -1))

    def embeddings(self):
        g = self.graph
        words = g.add("Gather", [g.weight("words", self.array("embeddings.word_embeddings.weight")), "input_ids"])
        types = g.add("Gather", [g.weight("types", self.array("embeddings.token_type_embeddings.weight")),
                                 "token_type_ids"])  # fmt: skip
        length = g.add("Gather", [g.add("Shape", ["input_ids"]), g.weight("one", np.array(1, np.int64))])
        length = g.add("Unsqueeze", [length, g.constant(0)])
        limit = self.config["max_position_embeddings"]
        ids = g.weight("all_positions", np.arange(limit, dtype=np.int64)[None, :])
        ids = g.add("Slice", [ids, g.constant(0), length, g.constant(1)])
        positions = g.add("Gather", [g.weight("positions", self.array("embeddings.position_embeddings.weight")), ids])
        return self.norm(g.add("Add", [g.add("Add", [words, types]), positions]), "embeddings.LayerNorm")

    def mask(self):
        g = self.graph
        row = g.add("Unsqueeze", [g.add("Unsqueeze", ["attention_mask", g.constant(1)]), g.constant(2)])
        row = g.add("Cast", [row], attributes=int_attribute("to", 1))
        return g.add("Mul", [g.add("Sub", [g.scalar(1.0), row]), g.scalar(-10000.0)])

    def split(self, x, order):
        g = self.graph
        x = g.add("Reshape", [x, g.constant(0, 0, self.heads, self.width // self.heads)])
        return g.add("Transpose", [x], attributes=ints_attribute("perm", order))

    def attention(self, x, name, mask):
        g = self.graph
        query = self.split(self.linear(x, f"{name}.self.query"), [0, 2, 1, 3])
        key = self.split(self.linear(x, f"{name}.self.key"), [0, 2, 3, 1])
        values = self.split(self.linear(x, f"{name}.self.value"), [0, 2, 1, 3])
        scores = g.add("Div", [g.add("MatMul", [query, key]), g.scalar(float((self.width // self.heads) ** 0.5))])
        shares = g.add("Softmax", [g.add("Add", [scores, mask])], attributes=int_attribute("axis", -1))
        mixed = g.add("Transpose", [g.add("MatMul", [shares, values])], attributes=ints_attribute("perm", [0, 2, 1, 3]))
        mixed = g.add("Reshape", [mixed, g.constant(0, 0, self.width)])
        return self.norm(g.add("Add", [self.linear(mixed, f"{name}.output.dense"), x]), f"{name}.output.LayerNorm")

    def gelu(self, x):
        g = self.graph
        curve = g.add("Add", [g.add("Erf", [g.add("Div", [x, g.scalar(float(2**0.5))])]), g.scalar(1.0)])
        return g.add("Mul", [g.add("Mul", [x, curve]), g.scalar(0.5)])

    def layer(self, x, number_, mask, output=None):
        name = f"encoder.layer.{number_}"
        x = self.attention(x, f"{name}.attention", mask)
        inner = self.gelu(self.linear(x, f"{name}.intermediate.dense"))
        total = self.graph.add("Add", [self.linear(inner, f"{name}.output.dense"), x])
        return self.norm(total, f"{name}.output.LayerNorm", output)

    def head(self, x, kind, labels):
        """A classifier with weights from a fixed seed, after BERT's pooler where the whole text is classified."""
        g = self.graph
        random = np.random.default_rng(11)
        if kind != "token":
            first = g.add("Gather", [x, g.weight("zero", np.array(0, np.int64))], attributes=int_attribute("axis", 1))
            x = g.add("Tanh", [self.linear(first, "pooler.dense")])
        weights = random.normal(0, 0.5, (self.width, labels)).astype(np.float32)
        product = g.add("MatMul", [x, g.weight("classifier", weights)])
        bias = random.normal(0, 0.1, labels).astype(np.float32)
        return g.add("Add", [product, g.weight("classifier_bias", bias)], "logits")

    def bytes(self, kind, labels):
        assert self.config["hidden_act"] == "gelu" and self.config["position_embedding_type"] == "absolute"
        mask = self.mask()
        x = self.embeddings()
        layers = self.config["num_hidden_layers"]
        for index in range(layers):
            last = index + 1 == layers and kind is None
            x = self.layer(x, index, mask, "last_hidden_state" if last else None)
        output = value("last_hidden_state", "float32", ["batch", "sequence", self.width])
        if kind is not None:
            self.head(x, kind, labels)
            output = value("logits", "float32", ["batch", "sequence", labels] if kind == "token" else ["batch", labels])
        names = ("input_ids", "attention_mask", "token_type_ids")
        inputs = [value(name, "int64", ["batch", "sequence"]) for name in names]
        return model(self.graph.nodes, inputs, [output], list(self.graph.weights.values()), "bert")


ARCHITECTURES = {
    None: "BertModel",
    "sequence": "BertForSequenceClassification",
    "cross": "BertForSequenceClassification",
    "token": "BertForTokenClassification",
}


def make(source, target, head=None, labels=()):
    """`labels` are the head's words."""
    source, target = Path(source), Path(target)
    target.mkdir(parents=True, exist_ok=True)
    for pattern in COPIED:
        for path in source.glob(pattern):
            if head is not None and path.name in ("modules.json", "1_Pooling", "config_sentence_transformers.json"):
                continue
            if path.is_dir():
                shutil.copytree(path, target / path.name, dirs_exist_ok=True)
            else:
                shutil.copyfile(path, target / path.name)
    bert = Bert(source)
    config = {**bert.config, "architectures": [ARCHITECTURES[head]]}
    if head is not None:
        config["id2label"] = {str(index): label for index, label in enumerate(labels)}
        config["label2id"] = {label: index for index, label in enumerate(labels)}
    (target / "config.json").write_text(json.dumps(config, indent=1))
    (target / "model.onnx").write_bytes(bert.bytes(head, len(labels)))
    return target


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("source", type=Path)
    parser.add_argument("target", type=Path)
    parser.add_argument("--head", nargs="+", metavar=("KIND", "LABEL"), help="sequence, cross or token, and its labels")
    arguments = parser.parse_args()
    head, *labels = arguments.head or [None]
    make(arguments.source, arguments.target, head, labels)


if __name__ == "__main__":
    main()
