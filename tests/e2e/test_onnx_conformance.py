# SPDX-License-Identifier: Apache-2.0
"""The graphs of the ONNX project's own backend tests through the ONNX engine: Debian's libonnx-testdata, 1,072 of them.

scripts/setup.sh --for test unpacks that package into deps/onnx-testdata. What does not pass is grouped by its reason, and
the groups are named below with their sizes: a graph that passes today and fails tomorrow is a failure here, and so is one that
fails for another reason.
"""

import collections
import os
import re
import struct
import subprocess
from pathlib import Path

import numpy
import onnx
import pytest
from onnx import numpy_helper

ROOT = Path(__file__).resolve().parent.parent.parent
DATA = ROOT / "deps" / "onnx-testdata"
RUNNER = Path(os.environ.get("RH_BUILD_DIR", ROOT / "build")) / "onnx_run"

# As in the ONNX project's runner of these tests.
RTOL, ATOL = 1e-3, 1e-7

KINDS = {
    onnx.TensorProto.FLOAT: "float32", onnx.TensorProto.DOUBLE: "float64", onnx.TensorProto.FLOAT16: "float16",
    onnx.TensorProto.BFLOAT16: "bfloat16", onnx.TensorProto.INT8: "int8", onnx.TensorProto.UINT8: "uint8",
    onnx.TensorProto.INT16: "int16", onnx.TensorProto.UINT16: "uint16", onnx.TensorProto.INT32: "int32",
    onnx.TensorProto.UINT32: "uint32", onnx.TensorProto.INT64: "int64", onnx.TensorProto.UINT64: "uint64",
    onnx.TensorProto.BOOL: "bool", onnx.TensorProto.STRING: "string",
}  # fmt: skip


class Unsupported(Exception):
    """The data is none that the engine's interface has."""


def pack_text(text):
    raw = text.encode()
    return struct.pack("<I", len(raw)) + raw


def raw_bytes(tensor):
    if tensor.data_type == onnx.TensorProto.STRING:
        return b"".join(struct.pack("<I", len(s)) + s for s in tensor.string_data)
    return numpy_helper.to_array(tensor).tobytes()


def pack(tensors):
    out = [struct.pack("<I", len(tensors))]
    for name, tensor, kind in tensors:
        dims, data = list(tensor.dims), raw_bytes(tensor)
        out += [pack_text(name), pack_text(kind), struct.pack(f"<I{len(dims)}q", len(dims), *dims)]
        out += [struct.pack("<Q", len(data)), data]
    return b"".join(out)


def unpack(data):
    """name -> (type, shape, bytes)"""
    at = 0

    def take(form):
        nonlocal at
        values = struct.unpack_from(form, data, at)
        at += struct.calcsize(form)
        return values

    def text():
        nonlocal at
        (length,) = take("<I")
        at += length
        return data[at - length : at].decode()

    tensors = {}
    for _ in range(take("<I")[0]):
        name, kind = text(), text()
        (rank,) = take("<I")
        shape = take(f"<{rank}q")
        (length,) = take("<Q")
        tensors[name] = (kind, shape, data[at : at + length])
        at += length
    return tensors


def load(path, value):
    """A file's tensor and its type."""
    kind = value.type.WhichOneof("value")
    if kind != "tensor_type":
        raise Unsupported(f"an input or output is {kind.replace('_type', '')}")
    tensor = onnx.TensorProto()
    tensor.ParseFromString(path.read_bytes())
    if tensor.data_type not in KINDS:
        raise Unsupported(f"an input or output is {onnx.TensorProto.DataType.Name(tensor.data_type).lower()}")
    # The files of this version hold bfloat16 as plain 16-bit numbers.
    bits = value.type.tensor_type.elem_type == onnx.TensorProto.BFLOAT16 and tensor.data_type == onnx.TensorProto.UINT16
    return tensor, "bfloat16" if bits else KINDS[tensor.data_type]


def numbers(kind, raw):
    if kind == "bfloat16":
        return (numpy.frombuffer(raw, "<u2").astype("<u4") << 16).view("<f4")
    return numpy.frombuffer(raw, kind)


def difference(wanted, wanted_kind, got):
    """None when they are equal as far as these tests ask."""
    kind, shape, raw = got
    if kind != wanted_kind:
        return f"the type is {kind}, not {wanted_kind}"
    if list(shape) != list(wanted.dims):
        return f"the shape is {list(shape)}, not {list(wanted.dims)}"
    if kind == "string":
        return None if raw == raw_bytes(wanted) else "the strings differ"
    a, b = numbers(kind, raw), numbers(kind, raw_bytes(wanted))
    if kind.startswith(("float", "bfloat")):
        # Half precision cannot keep what is asked of single precision; one step in the last place of it can.
        rtol = {"float16": 2e-3, "bfloat16": 1e-2}.get(kind, RTOL)
        return None if numpy.allclose(a.astype("f8"), b.astype("f8"), rtol, ATOL, equal_nan=True) else "the values differ"
    return None if numpy.array_equal(a, b) else "the values differ"


class Runner:
    """onnx_run, started anew when a graph has killed it."""

    def __init__(self, folder):
        self.folder = folder
        self.process = None

    def __call__(self, graph, tensors):
        inside, outside = self.folder / "in", self.folder / "out"
        inside.write_bytes(pack(tensors))
        if self.process is None:
            self.process = subprocess.Popen([RUNNER], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.process.stdin.write(f"{graph}\t{inside}\t{outside}\n")
        self.process.stdin.flush()
        answer = self.process.stdout.readline().strip()
        if not answer:
            code = self.process.wait()
            self.process = None
            return f"it ended the process with {code}", {}
        return answer, unpack(outside.read_bytes()) if answer == "ok" else {}

    def close(self):
        if self.process is not None:
            self.process.stdin.close()
            assert self.process.wait(30) == 0


def verdict(case, runner):
    """None when the graph gives what it should, else why not."""
    model = onnx.load(case / "model.onnx")
    constants = {tensor.name for tensor in model.graph.initializer}
    ports = [value for value in model.graph.input if value.name not in constants]
    sets = sorted(case.glob("test_data_set_*"))
    assert sets, case
    for data_set in sets:
        given = sorted(data_set.glob("input_*.pb"), key=lambda path: int(path.stem.split("_")[1]))
        tensors = [(value.name, *load(path, value)) for value, path in zip(ports, given, strict=False)]
        answer, got = runner(case / "model.onnx", tensors)
        if answer != "ok":
            return reason_of(answer)
        for index, value in enumerate(model.graph.output):
            reason = difference(*load(data_set / f"output_{index}.pb", value), got[value.name])
            if reason:
                return reason
    return None


LOCALE = "this machine lacks the locale en_US.UTF-8"
REASONS = [
    (r"Could not find an implementation for", "ONNX Runtime has no kernel for an operator's version or type"),
    (r"is not a registered function/op|No Op registered", "ONNX Runtime does not know an operator"),
    (r"cannot be (given|returned)|has no output that is a tensor", "an input or output is no tensor"),
    (r"Failed to construct locale", LOCALE),
    (r"Batchwise recurrent operations", "ONNX Runtime has no batchwise recurrent layers"),
    (r"the input like .* does not fit", "its data has another shape than the graph says"),
]


def reason_of(answer):
    for pattern, reason in REASONS:
        if re.search(pattern, answer):
            return reason
    return answer


# Why graphs of onnx 1.12's test data do not pass with ONNX Runtime 1.31 on a processor. The same graphs give the same values in
# its Python package. What differs in value is random (bernoulli, dropout), a choice of the operator's later definition (resize,
# maxunpool), or near zero (dft, stft). The interface has tensors only: no sequences, no optional values.
EXPECTED = {
    "ONNX Runtime has no kernel for an operator's version or type": 42,
    "the values differ": 18,
    "an input or output is sequence": 16,
    "ONNX Runtime does not know an operator": 9,
    "an input or output is optional": 6,
    "its data has another shape than the graph says": 4,
    "the strings differ": 3,
    "ONNX Runtime has no batchwise recurrent layers": 3,
    "an input or output is no tensor": 2,
}
# A matter of the machine: these pass where the locale is installed.
NEED_LOCALE = 8


@pytest.mark.timeout(240)
def test_graphs_of_the_onnx_project(tmp_path):
    if not DATA.is_dir():
        pytest.fail(f"{DATA} is not there; run scripts/setup.sh --for test")
    cases = sorted(path.parent for path in DATA.rglob("model.onnx"))
    assert len(cases) >= 1072
    runner = Runner(tmp_path)
    failed = collections.defaultdict(list)
    for case in cases:
        try:
            reason = verdict(case, runner)
        except Unsupported as limit:
            reason = str(limit)
        if reason:
            failed[reason].append(case.name)
    runner.close()
    print(f"\n{len(cases) - sum(map(len, failed.values()))} of {len(cases)} graphs pass")
    for reason, names in sorted(failed.items(), key=lambda item: -len(item[1])):
        print(f"{len(names):5}  {reason}\n       {' '.join(names)}")
    assert len(failed.pop(LOCALE, [])) in (0, NEED_LOCALE)
    assert {reason: len(names) for reason, names in failed.items()} == EXPECTED
