# SPDX-License-Identifier: Apache-2.0
"""The decoders that other tests serve, run by onnxruntime's Python package: they compute what numpy does, at once and token by
token, with caches, padding and shared buffers. What fails here is the tools' fault, not the server's."""

import subprocess
import sys

import numpy as np
import onnx
import onnxruntime
import pytest

from harness.daemon import ROOT

sys.path.insert(0, str(ROOT / "tests" / "tools"))

import make_decoder_onnx  # noqa: E402
from decoder_run import Decoder  # noqa: E402
from decoder_weights import quantize, rounded  # noqa: E402
from reference_lm import Model  # noqa: E402

PAST = {
    "past": {}, "counted": {"position_ids": False}, "merged": {"use_cache_branch": True}, "half": {"kv": "float16"},
    "kept": {"ids": "int32", "kept_logits": True}, "fp16": {"weights": "fp16"}, "phi3": {"shape": "phi3"},
}  # fmt: skip
GENAI = {
    "genai": {}, "separate": {"packed": False}, "positions": {"rotary_op": True}, "int4": {"weights": "int4"},
    "zeros": {"weights": "int4", "symmetric": False}, "float-head": {"weights": "int4", "head_bits": None},
    "fp16": {"weights": "fp16"}, "phi3": {"shape": "phi3"},
}  # fmt: skip
IDS = np.random.default_rng(1).integers(4, 500, 40)
SHORT, LONG = 12, 17


def near(options):
    return 0.05 if options.get("weights") == "fp16" or "kv" in options else 1e-4


def made(folder, style, options):
    """(the graph to run, numpy's logits of IDS, those of IDS from the sixth on)."""
    config, weights, _ = make_decoder_onnx.make_tiny(folder, style, **options)
    if style == "past":  # the other style's norms are operators of ONNX Runtime in ONNX's own domain
        onnx.checker.check_model(str(folder / "model.onnx"))
    model = Model({**config, "architectures": ["LlamaForCausalLM"]}, weights)
    return Decoder(folder), model.logits(IDS), model.logits(IDS[5:])


def differ(a, b):
    return np.abs(a.astype(np.float64) - b).max()


@pytest.mark.parametrize("options", PAST.values(), ids=PAST)
def test_past(tmp_path, options):
    decoder, whole, other = made(tmp_path, "past", options)
    bound = near(options)
    assert differ(decoder.logits(IDS), whole) < bound
    # A prompt, then token by token; beside it a row that is shorter and padded on the left.
    rows = np.array([[7] * (LONG - SHORT) + IDS[:SHORT].tolist(), IDS[5 : 5 + LONG]])
    mask = np.ones((2, LONG))
    mask[0, : LONG - SHORT] = 0
    logits, caches = decoder.run(rows, mask, decoder.caches(2, 0))
    assert differ(logits[0, LONG - SHORT :], whole[:SHORT]) < bound and differ(logits[1], other[:LONG]) < bound
    for step in range(15):
        mask = np.pad(mask, ((0, 0), (0, 1)), constant_values=1)
        logits, caches = decoder.run([[IDS[SHORT + step]], [IDS[5 + LONG + step]]], mask, caches)
        assert differ(logits[0, 0], whole[SHORT + step]) < bound and differ(logits[1, 0], other[LONG + step]) < bound
    if "use_cache_branch" in options:
        junk = {name: np.ones_like(array) for name, array in decoder.caches(1, 1).items()}
        logits, caches = decoder.run([IDS], np.ones((1, len(IDS))), junk, cached=False)
        assert differ(logits[0], whole) < bound
        assert all(array.shape[2] == len(IDS) for array in caches.values())


@pytest.mark.parametrize("options", GENAI.values(), ids=GENAI)
def test_genai(tmp_path, options):
    decoder, whole, other = made(tmp_path, "genai", options)
    bound = near(options)
    assert differ(decoder.logits(IDS), whole) < bound
    # Past and present are one buffer. The shorter row is padded on the right, and overwrites the padding as it grows.
    buffers = {name: onnxruntime.OrtValue.ortvalue_from_numpy(array) for name, array in decoder.caches(2, 64).items()}
    rows = np.array([IDS[:SHORT].tolist() + [0] * (LONG - SHORT), IDS[5 : 5 + LONG]])
    mask = np.ones((2, LONG))
    mask[0, SHORT:] = 0
    logits = decoder.bind(rows, mask, buffers, [range(LONG)] * 2)
    assert differ(logits[0, :SHORT], whole[:SHORT]) < bound and differ(logits[1], other[:LONG]) < bound
    for step in range(15):
        counts = [SHORT + step + 1, LONG + step + 1]
        mask = np.array([[place < count for place in range(max(counts))] for count in counts])
        ids = [[IDS[SHORT + step]], [IDS[5 + LONG + step]]]
        logits = decoder.bind(ids, mask, buffers, [[count - 1] for count in counts])
        assert differ(logits[0, 0], whole[SHORT + step]) < bound and differ(logits[1, 0], other[LONG + step]) < bound


def test_phi3_has_its_ports(tmp_path):
    """Those of Phi-3-mini-4k-instruct-onnx, but for the number of layers and the sizes of hidden states and vocabulary."""
    made(tmp_path, "genai", {"shape": "phi3", "weights": "int4"})
    graph = onnx.load(tmp_path / "model.onnx", load_external_data=False).graph
    caches = [f"past_key_values.{layer}.{part}" for layer in range(2) for part in ("key", "value")]
    assert [port.name for port in graph.input] == ["input_ids", "attention_mask", *caches]
    assert [port.name for port in graph.output] == ["logits", *(name.replace("past_key_values", "present") for name in caches)]
    cache = graph.input[2].type.tensor_type
    assert cache.elem_type == onnx.TensorProto.FLOAT
    assert [one.dim_param or one.dim_value for one in cache.shape.dim] == ["batch_size", 32, "past_sequence_length", 96]
    kinds = {node.op_type for node in graph.node if node.domain == "com.microsoft"}
    assert kinds == {"GroupQueryAttention", "MatMulNBits", "SkipSimplifiedLayerNormalization"}


@pytest.mark.parametrize("symmetric", [True, False])
def test_four_bits_lose_little(symmetric):
    weight = np.random.default_rng(3).normal(0, 1, (48, 80)).astype(np.float32)
    packed, scales, zeros = quantize(weight, symmetric)
    assert packed.shape == (48, 3, 16) and scales.shape == (48, 3) and (zeros is None) == symmetric
    assert np.abs(rounded(weight, symmetric) - weight).max() <= np.abs(scales).max() * (1.01 if symmetric else 0.51)


def test_the_same_bytes_each_time(tmp_path):
    tool = ROOT / "tests" / "tools" / "make_decoder_onnx.py"
    for name in ("first", "second"):
        subprocess.run([sys.executable, tool, "phi3", "genai", tmp_path / name, "--weights", "int4"], check=True)
    names = sorted(path.name for path in (tmp_path / "first").iterdir())
    assert "model.onnx.data" in names and "genai_config.json" in names and "tokenizer.json" in names
    for name in names:
        assert (tmp_path / "first" / name).read_bytes() == (tmp_path / "second" / name).read_bytes(), name
