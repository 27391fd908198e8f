#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Make the variant with int8 weights of an ONNX model that reads text:   quantize_onnx.py MODEL [OUT]

MODEL is a model.onnx or its folder; OUT is model_int8.onnx beside it, where the server finds it (docs/models.md). Dynamic
quantization: signed weights of 8 bits with a scale for each column, as the VNNI instructions want them, and scales of what flows
through made in each run. The same sample texts that the server compares with go through both graphs. Where the answers differ
too much, what hurts most stays in floating point, step by step: the products with wide inputs, which hold outliers, of the lower
half of the layers; the table of words; the wide products of all layers. Nothing is written when that is not enough, unless --force
is given, which takes the first and smallest one. Needs the packages onnx, onnxruntime,
numpy and tokenizers; the server needs none of this.
"""

import argparse
import sys
import tempfile
import time
from pathlib import Path

SAMPLES = Path(__file__).resolve().parents[1] / "src" / "engine" / "onnx" / "samples.txt"
TOKENS_MAX = 128
ROWS = 8


def arguments(args=None):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path, help="a .onnx file, or a folder with model.onnx or onnx/model.onnx")
    parser.add_argument("out", type=Path, nargs="?", help="default: NAME_int8.onnx beside the model")
    parser.add_argument("--cosine", type=float, default=0.99, help="how alike vectors must be at the least (default 0.99)")
    parser.add_argument("--gap", type=float, default=0.05, help="how much a probability may differ (default 0.05)")
    parser.add_argument("--weights", choices=["int8", "uint8"], default="int8", help="int8 suits VNNI (default)")
    parser.add_argument("--keep-embeddings", action="store_true", help="leave the table of words in floating point")
    parser.add_argument("--force", action="store_true", help="write the smallest one, however it answers")
    parser.add_argument("--threads", type=int, default=0, help="0 = the cores")
    return parser.parse_args(args)


def graph_of(path):
    if path.is_file():
        return path
    for name in ("model.onnx", "onnx/model.onnx"):
        if (path / name).is_file():
            return path / name
    sys.exit(f"{path} holds no model.onnx")


def tokenizer_of(graph):
    from tokenizers import Tokenizer

    for folder in (graph.parent, graph.parent.parent):
        if (folder / "tokenizer.json").is_file():
            tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
            tokenizer.enable_truncation(TOKENS_MAX)
            tokenizer.no_padding()
            return tokenizer
    sys.exit(f"there is no tokenizer.json beside {graph}: nothing could be compared")


def batches(tokenizer):
    """The sample texts, padded as the server pads them."""
    import numpy as np

    texts = SAMPLES.read_text(encoding="utf-8").splitlines()
    encodings = [tokenizer.encode(text) for text in texts]
    for first in range(0, len(encodings), ROWS):
        rows = encodings[first : first + ROWS]
        length = max(len(row.ids) for row in rows)
        feed = {name: np.zeros((len(rows), length), np.int64) for name in ("input_ids", "attention_mask", "token_type_ids")}
        feed["input_ids"][:] = tokenizer.token_to_id("[PAD]") or tokenizer.token_to_id("<pad>") or 0
        feed["position_ids"] = np.tile(np.arange(length), (len(rows), 1))
        for i, row in enumerate(rows):
            feed["input_ids"][i, : len(row.ids)] = row.ids
            feed["attention_mask"][i, : len(row.ids)] = 1
            feed["token_type_ids"][i, : len(row.ids)] = row.type_ids
        yield feed


def session(path, threads):
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.add_session_config_entry("session.x64quantprecision", "1")
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])


def run(one, feeds):
    """One output for each batch, and the seconds."""
    inputs = [port.name for port in one.get_inputs()]
    outputs = [port.name for port in one.get_outputs()]
    names = ("logits", "sentence_embedding", "text_embeds", "embeddings", "last_hidden_state", "token_embeddings")
    wanted = next((name for name in names if name in outputs), outputs[0])
    unknown = set(inputs) - set(feeds[0])
    if unknown:
        sys.exit(f"no text can give the input {', '.join(sorted(unknown))}: this is for graphs that read text")
    one.run([wanted], {name: feeds[0][name] for name in inputs})  # the first run plans its memory
    begin = time.perf_counter()
    return wanted, [one.run([wanted], {name: feed[name] for name in inputs})[0] for feed in feeds], time.perf_counter() - begin


def probabilities(x):
    import numpy as np

    e = np.exp(x - x.max(-1, keepdims=True))
    return np.stack([e / e.sum(-1, keepdims=True), 1 / (1 + np.exp(-x))])


def compare(wanted, feeds, plain, other):
    """The least cosine of vectors, or the largest difference of a probability (as a negative number: more is better)."""
    import numpy as np

    worst = 1.0 if wanted != "logits" else 0.0
    for feed, a, b in zip(feeds, plain, other):
        for row, mask in enumerate(feed["attention_mask"].astype(bool)):
            x, y = a[row].astype(np.float64), b[row].astype(np.float64)
            if wanted == "logits":
                x, y = (x[mask], y[mask]) if x.ndim == 2 else (x[None], y[None])
                gaps = np.abs(probabilities(x) - probabilities(y))
                worst = min(worst, -float((gaps[1:] if x.shape[-1] == 1 else gaps).max((0, -1)).mean()))
            else:
                x, y = (x[mask].mean(0), y[mask].mean(0)) if x.ndim == 2 else (x, y)
                worst = min(worst, float(x @ y / np.linalg.norm(x) / np.linalg.norm(y)))
    return worst


def named(graph, folder):
    """A copy whose nodes have names, and the steps: products that stay as they are, and whether the table of words does."""
    import onnx

    model = onnx.load(str(graph))
    sizes = {weight.name: list(weight.dims) for weight in model.graph.initializer}
    wide = []
    for i, node in enumerate(model.graph.node):
        node.name = node.name or f"node_{i}"
        shape = next((sizes[name] for name in node.input if len(sizes.get(name, [])) == 2), None)
        if node.op_type in ("MatMul", "Gemm") and shape and shape[0] > shape[1]:
            wide.append(node.name)
    path = Path(folder) / "named.onnx"
    onnx.save(model, str(path), save_as_external_data=sum(len(w.raw_data) for w in model.graph.initializer) > 1 << 30)
    lower = wide[: len(wide) // 2]
    return path, [([], False), (lower, False), (lower, True), (wide, True)]


def quantize(graph, out, weights, keep_embeddings, excluded):
    from onnxruntime.quantization import QuantType, quantize_dynamic

    quantize_dynamic(
        str(graph),
        str(out),
        weight_type=QuantType.QInt8 if weights == "int8" else QuantType.QUInt8,
        op_types_to_quantize=["MatMul", "Gemm", "Attention"] + ([] if keep_embeddings else ["Gather"]),
        per_channel=True,
        reduce_range=False,
        nodes_to_exclude=excluded,
    )


def make(args):
    graph = graph_of(args.model)
    out = args.out or graph.with_name(f"{graph.stem}_int8.onnx")
    feeds = list(batches(tokenizer_of(graph)))
    wanted, plain, seconds = run(session(graph, args.threads), feeds)
    least = -args.gap if wanted == "logits" else args.cosine
    word = "the largest difference of a probability" if wanted == "logits" else "the least cosine"
    print(f"{graph}: {graph.stat().st_size / 1e6:.1f} MB, the samples take {seconds * 1e3:.0f} ms")
    with tempfile.TemporaryDirectory(dir=out.parent, prefix=".quantize-") as folder:
        source, steps = named(graph, folder)
        for excluded, keep in steps:
            made, keep = Path(folder) / "made.onnx", keep or args.keep_embeddings
            quantize(source, made, args.weights, keep, excluded)
            _, other, seconds = run(session(made, args.threads), feeds)
            worst = compare(wanted, feeds, plain, other)
            left = f"{len(excluded)} products{' and the table of words' if keep else ''} left as they are"
            print(f"{args.weights}, {left}: {made.stat().st_size / 1e6:.1f} MB, "
                  f"the samples take {seconds * 1e3:.0f} ms, {word} is {abs(worst):.5f} (bound {abs(least):g})")  # fmt: skip
            if worst >= least or args.force:
                made.replace(out)
                print(f"{out}: written")
                return 0
    print(f"nothing written: no variant answers as {graph.name} does; --cosine and --gap set other bounds", file=sys.stderr)
    return 1


if __name__ == "__main__":
    sys.exit(make(arguments()))
