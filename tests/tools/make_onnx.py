#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Write tiny ONNX graphs for tests into a folder:   make_onnx.py FOLDER

Good ones of every element type and shape, and broken ones. The same bytes each time, with Python's own library alone: the
few messages of onnx.proto that are needed are written here field by field. `graphs()` gives name -> bytes for other tests.
"""

import struct
import sys
from pathlib import Path

IR_VERSION = 8
OPSET = 17

# TensorProto.DataType
TYPES = {
    "float32": 1, "uint8": 2, "int8": 3, "uint16": 4, "int16": 5, "int32": 6, "int64": 7, "string": 8, "bool": 9,
    "float16": 10, "float64": 11, "uint32": 12, "uint64": 13, "bfloat16": 16,
}  # fmt: skip


def varint(value):
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes(out + bytes([value]))


def number(field, value):
    return varint(field << 3) + varint(value & 0xFFFFFFFFFFFFFFFF)


def data(field, value):
    if isinstance(value, str):
        value = value.encode()
    return varint(field << 3 | 2) + varint(len(value)) + value


def shape(dims):
    """Integers are sizes, words are names of dimensions, None is nothing known."""
    out = b""
    for dim in dims:
        out += data(1, number(1, dim) if isinstance(dim, int) else data(2, dim) if dim else b"")
    return out


def tensor_type(kind, dims):
    return data(1, number(1, TYPES[kind]) + data(2, shape(dims)))


def value(name, kind, dims):
    return data(1, name) + data(2, tensor_type(kind, dims))


def sequence_value(name, kind, dims):
    return data(1, name) + data(2, data(4, data(1, tensor_type(kind, dims))))


def tensor(name, kind, dims, raw):
    return b"".join(number(1, dim) for dim in dims) + number(2, TYPES[kind]) + data(8, name) + data(9, raw)


def external(name, kind, dims, location, offset=None, length=None):
    """A tensor whose bytes lie in another file."""
    pairs = {"location": location, "offset": offset, "length": length}
    out = b"".join(number(1, dim) for dim in dims) + number(2, TYPES[kind]) + data(8, name)
    for key, text in pairs.items():
        if text is not None:
            out += data(13, data(1, key) + data(2, str(text)))
    return out + number(14, 1)


def node(op, inputs, outputs, domain="", attributes=b""):
    out = b"".join(data(1, name) for name in inputs) + b"".join(data(2, name) for name in outputs) + data(4, op)
    return out + attributes + (data(7, domain) if domain else b"")


def int_attribute(name, number_value):
    return data(5, data(1, name) + number(3, number_value) + number(20, 2))


def model(nodes, inputs, outputs, initializers=(), name="tiny", domains=(), opset=OPSET):
    graph = b"".join(data(1, n) for n in nodes) + data(2, name) + b"".join(data(5, t) for t in initializers)
    graph += b"".join(data(11, v) for v in inputs) + b"".join(data(12, v) for v in outputs)
    sets = data(8, number(2, opset)) + b"".join(data(8, data(1, d) + number(2, 1)) for d in domains)
    return number(1, IR_VERSION) + data(2, "roundhouse tests") + data(7, graph) + sets


def graph_attribute(name, nodes, outputs, initializers=()):
    inner = b"".join(data(1, n) for n in nodes) + data(2, name) + b"".join(data(5, t) for t in initializers)
    return data(5, data(1, name) + data(6, inner + b"".join(data(12, v) for v in outputs)) + number(20, 5))


def floats(*values):
    return struct.pack(f"<{len(values)}f", *values)


WEIGHTS = floats(1, 2, 3, 4, 5, 6)  # 3 x 2


def times_weights(weights):
    return model(
        [node("MatMul", ["x", "w"], ["y"])],
        [value("x", "float32", ["batch", 3])],
        [value("y", "float32", ["batch", 2])],
        [weights],
        "times weights",
    )


def every_type():
    kinds = sorted(TYPES)
    return model(
        [node("Identity", [f"in_{kind}"], [f"out_{kind}"]) for kind in kinds],
        [value(f"in_{kind}", kind, ["rows", None]) for kind in kinds],
        [value(f"out_{kind}", kind, ["rows", None]) for kind in kinds],
        name="every type",
    )


def integer_matmul():
    """What dynamic quantization makes of a matrix product."""
    return model(
        [
            node("DynamicQuantizeLinear", ["x"], ["xq", "xs", "xz"]),
            node("MatMulInteger", ["xq", "w", "xz"], ["yi"]),
            node("Cast", ["yi"], ["yf"], attributes=int_attribute("to", 1)),
            node("Mul", ["yf", "xs"], ["y"]),
        ],
        [value("x", "float32", ["batch", 3])],
        [value("y", "float32", ["batch", 2])],
        [tensor("w", "int8", [3, 2], bytes([1, 2, 3, 4, 5, 6]))],
        "quantized",
    )


LETTERS = "abcdefghijklmnopqrstuvwxyz"
VOCABULARY = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", *LETTERS, *(f"##{letter}" for letter in LETTERS)]
WIDTH = 8


def encoder(integers=False, spoiled=False, labels=0, past=False):
    """Letters' vectors times a matrix, and with `labels` their mean as logits. With `integers` the product is what dynamic
    quantization makes of it; `spoiled`: with other weights."""
    numbers = [(7 * i * i + 3 * i) % 201 - 100 for i in range(len(VOCABULARY) * WIDTH)]
    columns = labels or WIDTH
    matrix = [(5 * i * i + 11 * i) % 255 - 127 for i in range(WIDTH * columns)]
    if spoiled:
        matrix = [(13 * i * i + i) % 255 - 127 for i in range(WIDTH * columns)]
    out = "logits" if labels else "last_hidden_state"
    nodes = [node("Gather", ["vectors", "input_ids"], ["rows" if labels else "x"])]
    if labels:
        axes = data(5, data(1, "axes") + number(8, 1) + number(20, 7))
        nodes.append(node("ReduceMean", ["rows"], ["x"], attributes=axes + int_attribute("keepdims", 0)))
    weights = [tensor("vectors", "float32", [len(VOCABULARY), WIDTH], floats(*(one / 50 for one in numbers)))]
    if integers:
        nodes += [
            node("DynamicQuantizeLinear", ["x"], ["xq", "xs", "xz"]),
            node("MatMulInteger", ["xq", "w", "xz"], ["yi"]),
            node("Cast", ["yi"], ["yf"], attributes=int_attribute("to", 1)),
            node("Mul", ["xs", "scale"], ["s"]),
            node("Mul", ["yf", "s"], [out]),
        ]
        weights.append(tensor("w", "int8", [WIDTH, columns], bytes(one & 255 for one in matrix)))
        weights.append(tensor("scale", "float32", [], floats(1 / 127)))
    else:
        nodes.append(node("MatMul", ["x", "w"], [out]))
        weights.append(tensor("w", "float32", [WIDTH, columns], floats(*(one / 127 for one in matrix))))
    inputs = [value(name, "int64", ["batch", "sequence"]) for name in ("input_ids", "attention_mask")]
    if past:
        inputs.append(value("past_key_values.0.key", "float32", ["batch", 1, "past", 4]))
    shape_out = ["batch", columns] if labels else ["batch", "sequence", columns]
    return model(nodes, inputs, [value(out, "float32", shape_out)], weights, "encoder")


def variants():
    """Folders with a graph and what may be its variant with int8 weights."""
    plain, eight = encoder(), encoder(integers=True)
    out = {
        "good/model.onnx": plain,
        "good/model_int8.onnx": eight,
        "good/model_uint8.onnx": encoder(integers=True, spoiled=True),  # comes later in the order
        "spoiled/model.onnx": plain,
        "spoiled/model_quantized.onnx": encoder(integers=True, spoiled=True),
        "labels/model.onnx": encoder(labels=3),
        "labels/model_int8.onnx": encoder(labels=3, integers=True),
        "mistaken/model.onnx": encoder(labels=3),
        "mistaken/model_int8.onnx": encoder(labels=3, integers=True, spoiled=True),
        "below/model.onnx": plain,
        "below/onnx/model_quint8_avx2.onnx": eight,
        "past/model.onnx": encoder(past=True),
        "past/model_int8.onnx": encoder(past=True, integers=True),
        "none/model.onnx": plain,
        "none/model_int8.onnx": plain,  # has the name only
        "none/model_quantized.onnx": encoder(past=True, integers=True),  # wants another input
        "none/model_uint8.onnx": eight[:-20],
        "mute/model.onnx": plain,  # has no tokenizer
        "mute/model_int8.onnx": eight,
    }
    # What ONNX Runtime says of it reads as if memory had run out.
    hungry = model([node("bad_alloc", ["x"], ["y"])], [value("x", "float32", ["n"])], [value("y", "float32", ["n"])])
    out |= {"hungry/model.onnx": plain, "hungry/model_int8.onnx": hungry}
    # As on the hubs: the tokenizer lies above the graphs.
    out |= {"hub/onnx/model.onnx": plain, "hub/onnx/model_int8.onnx": eight, "hub/config.json": b"{}"}
    for name in {name.split("/")[0] for name in out} - {"mute"}:
        out[f"{name}/vocab.txt"] = "".join(f"{word}\n" for word in VOCABULARY).encode()
    return {f"variants/{name}": content for name, content in out.items()}


def packed_matmul():
    """Weights of four bits, as exporters write them for ONNX Runtime: two columns of one block of 32."""
    attributes = b"".join(int_attribute(*pair) for pair in (("K", 32), ("N", 2), ("bits", 4), ("block_size", 32)))
    return model(
        [node("MatMulNBits", ["x", "w", "s"], ["y"], "com.microsoft", attributes)],
        [value("x", "float32", ["batch", 32])],
        [value("y", "float32", ["batch", 2])],
        [tensor("w", "uint8", [2, 1, 16], bytes(range(32))), tensor("s", "float16", [0], b"")],
        "packed",
        ["com.microsoft"],
    )


def branches():
    """If: one branch negates, the other multiplies with two weights."""
    out = [value("out", "float32", [None])]
    then = graph_attribute("then_branch", [node("Neg", ["x"], ["out"])], out)
    other = graph_attribute(
        "else_branch", [node("Mul", ["x", "w"], ["out"])], out, [tensor("w", "float32", [2], floats(2, 3))]
    )
    return model(
        [node("If", ["c"], ["y"], attributes=then + other)],
        [value("x", "float32", [2])],
        [value("y", "float32", [None])],
        [tensor("c", "bool", [1], b"\0")],
        "branches",
    )


def deep(levels):
    """Graphs in graphs in graphs."""
    attribute = b""
    for _ in range(levels):
        attribute = graph_attribute("then_branch", [node("If", ["c"], ["y"], attributes=attribute)], [])
    return model([node("If", ["c"], ["y"], attributes=attribute)], [], [value("y", "float32", [])], name="deep")


def graphs():
    x3 = [value("x", "float32", ["n"])]
    y3 = [value("y", "float32", ["n"])]
    add = model(
        [node("Add", ["a", "b"], ["sum"])],
        [value("a", "float32", ["n"]), value("b", "float32", ["n"])],
        [value("sum", "float32", ["n"])],
        name="add",
    )
    inside = tensor("w", "float32", [3, 2], WEIGHTS)
    big = bytes(range(256)) * 4096
    good = {
        "add.onnx": add,
        "weights.onnx": times_weights(inside),
        "external.onnx": times_weights(external("w", "float32", [3, 2], "external.bin", 8, 24)),
        "external.bin": bytes(8) + WEIGHTS,
        "types.onnx": every_type(),
        "scalar.onnx": model(
            [node("Neg", ["x"], ["y"])], [value("x", "float32", [])], [value("y", "float32", [])], name="scalar"
        ),
        "two.onnx": model(
            [node("Neg", ["x"], ["minus"]), node("Abs", ["x"], ["plus"])],
            x3,
            [value("minus", "float32", ["n"]), value("plus", "float32", ["n"])],
            name="two",
        ),
        "through.onnx": model([node("Neg", ["x"], ["y"])], x3, x3 + y3, name="through"),
        "sequence.onnx": model(
            [node("SequenceConstruct", ["x", "x"], ["all"]), node("Neg", ["x"], ["y"])],
            x3,
            [sequence_value("all", "float32", ["n"])] + y3,
            name="sequence",
        ),
        "quantized.onnx": integer_matmul(),
        "nibbles.onnx": packed_matmul(),
        "branches.onnx": branches(),
        "half.onnx": model(
            [node("MatMul", ["x", "w"], ["y"])],
            [value("x", "float16", ["batch", 3])],
            [value("y", "float16", ["batch", 2])],
            [tensor("w", "float16", [3, 2], bytes(12))],
            "half",
        ),
        # As exporters did before IR version 4.
        "inputs.onnx": model(
            [node("MatMul", ["x", "w"], ["y"])],
            [value("w", "float32", [3, 2]), value("x", "float32", ["batch", 3])],
            [value("y", "float32", ["batch", 2])],
            [inside],
            "weights among the inputs",
        ),
        "reshape.onnx": model(
            [node("Reshape", ["x", "to"], ["y"])],
            [value("x", "float32", ["n"]), value("to", "int64", ["rank"])],
            [value("y", "float32", [None, None])],
            name="reshape",
        ),
        "genai/genai_config.json": b'{"model": {"type": "tiny", "decoder": {"filename": "decoder.onnx"}}}\n',
        "genai/decoder.onnx": add,
        "hub/config.json": b'{"model_type": "tiny"}\n',
        "hub/onnx/model.onnx": add,
        "large.onnx": model(
            [node("Mul", ["x", "w"], ["y"])],
            [value("x", "float32", [None])],
            [value("y", "float32", [None])],
            [tensor("w", "float32", [len(big) // 4], big)],
            "large",
        ),
    }
    bad = {
        "bad/cut.onnx": add[: len(add) // 2],
        "bad/empty.onnx": b"",
        "bad/text.onnx": b"<!DOCTYPE html><html>not found</html>\n",
        "bad/operator.onnx": model([node("Frobnicate", ["x"], ["y"])], x3, y3, name="unknown operator"),
        "bad/domain.onnx": model(
            [node("Add", ["x", "x"], ["y"], domain="com.example")], x3, y3, name="domain", domains=["com.example"]
        ),
        "bad/opset.onnx": model([node("Neg", ["x"], ["y"])], x3, y3, name="future", opset=9999),
        "bad/cycle.onnx": model([node("Neg", ["y"], ["z"]), node("Neg", ["z"], ["y"])], x3, y3, name="cycle"),
        "bad/dangling.onnx": model([node("Add", ["x", "nowhere"], ["y"])], x3, y3, name="dangling"),
        "bad/types.onnx": model(
            [node("Add", ["x", "i"], ["y"])], x3 + [value("i", "int64", ["n"])], y3, name="types"
        ),
        "bad/short.onnx": times_weights(tensor("w", "float32", [3, 2], WEIGHTS[:-4])),
        "bad/deep.onnx": deep(40),
        "bad/missing.onnx": times_weights(external("w", "float32", [3, 2], "nowhere.bin", 0, 24)),
        "bad/shortfile.onnx": times_weights(external("w", "float32", [3, 2], "short.bin", 0, 24)),
        "bad/short.bin": WEIGHTS[:10],
        "bad/outside.onnx": times_weights(external("w", "float32", [3, 2], "../external.bin", 8, 24)),
        "bad/absolute.onnx": times_weights(external("w", "float32", [3, 2], "/etc/passwd", 0, 24)),
    }
    return good | bad | variants()


def write(folder):
    for name, content in graphs().items():
        path = Path(folder) / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    write(sys.argv[1])
