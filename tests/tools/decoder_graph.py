# SPDX-License-Identifier: Apache-2.0
"""What the graphs of decoders have in common: nodes, weights, their file beside the graph, and the ports."""

import numpy as np
from onnx import TensorProto, external_data_helper, helper, numpy_helper

from decoder_weights import BLOCK, quantize

FLOATS = {"float32": TensorProto.FLOAT, "float16": TensorProto.FLOAT16}
# Larger than this together, the weights go into a file of their own; in it lie those of at least 1 KiB.
INLINE_MAX, EXTERNAL_MIN, ALIGN = 1 << 20, 1 << 10, 4096


class Graph:
    """Nodes and weights on their way; every method gives the name of what it computes."""

    def __init__(self, config, weights, dtype="float32"):
        self.config, self.weights, self.dtype = config, weights, dtype
        self.type, self.numpy = FLOATS[dtype], np.dtype(dtype)
        self.nodes, self.stored, self.inputs, self.outputs = [], {}, [], []
        self.heads, self.shared = config["num_attention_heads"], config["num_key_value_heads"]
        self.head, self.layers = config["head_dim"], config["num_hidden_layers"]
        self.scale = 1.0 / np.sqrt(self.head)

    # --- building ---

    def add(self, op, inputs, name, outputs=None, domain=None, **attributes):
        """One node; its outputs are NAME/output_0 unless they are given."""
        outputs = outputs or [f"{name}/output_0"]
        self.nodes.append(helper.make_node(op, inputs, outputs, name, domain=domain, **attributes))
        return outputs[0]

    def store(self, name, array):
        if name not in self.stored:
            self.stored[name] = np.asarray(array, order="C")
        return name

    def const(self, values, dtype=np.int64):
        """A small constant: a number or a list."""
        array = np.array(values, dtype)
        words = "_".join(str(one) for one in array.ravel())
        return self.store(f"/model/constants/{array.dtype}/{array.ndim}D/{words}", array)

    def port(self, list_, name, kind, dims):
        list_.append(helper.make_tensor_value_info(name, kind, dims))
        return name

    def takes(self, name, kind, dims):
        return self.port(self.inputs, name, kind, dims)

    def gives(self, name, kind, dims):
        return self.port(self.outputs, name, kind, dims)

    def linear(self, x, name, weight, bits=None, symmetric=True, accuracy=None):
        """x times an [out, in] matrix, in floats or packed into four bits."""
        stem = f"{name[1:].replace('/', '.')}.weight"
        if bits is None:
            return self.add("MatMul", [x, self.store(stem, weight.T.astype(self.numpy))], name)
        packed, scales, zeros = quantize(weight, symmetric)
        inputs = [x, self.store(f"{stem}_Q4", packed), self.store(f"{stem}_scales", scales.astype(self.numpy))]
        if zeros is not None:
            inputs.append(self.store(f"{stem}_zp", zeros))
        more = {} if accuracy is None else {"accuracy_level": accuracy}
        return self.add("MatMulNBits", inputs, f"{name}_Q4", domain="com.microsoft", K=weight.shape[1], N=weight.shape[0],
                        bits=4, block_size=BLOCK, **more)  # fmt: skip

    # --- writing ---

    def save(self, folder, opset, producer, ir_version=8):
        """model.onnx, and model.onnx.data when the weights are large."""
        for old in ("model.onnx", "model.onnx.data"):
            (folder / old).unlink(missing_ok=True)
        large = sum(array.nbytes for array in self.stored.values()) > INLINE_MAX
        tensors = self.external(folder) if large else [numpy_helper.from_array(a, n) for n, a in self.stored.items()]
        graph = helper.make_graph(self.nodes, "main_graph", self.inputs, self.outputs, tensors)
        sets = [helper.make_opsetid("", opset)]
        if any(node.domain == "com.microsoft" for node in self.nodes):
            sets.append(helper.make_opsetid("com.microsoft", 1))
        made = helper.make_model(graph, opset_imports=sets, ir_version=ir_version, producer_name=producer)
        (folder / "model.onnx").write_bytes(made.SerializeToString(deterministic=True))

    def external(self, folder):
        tensors, at = [], 0
        with open(folder / "model.onnx.data", "wb") as file:
            for name, array in self.stored.items():
                if array.nbytes < EXTERNAL_MIN:
                    tensors.append(numpy_helper.from_array(array, name))
                    continue
                at = -(-at // ALIGN) * ALIGN
                file.seek(at)
                file.write(array.tobytes())
                tensor = TensorProto(name=name, data_type=helper.np_dtype_to_tensor_dtype(array.dtype), dims=array.shape)
                tensor.raw_data = b"x"  # for set_external_data, which wants some
                external_data_helper.set_external_data(tensor, "model.onnx.data", at, array.nbytes)
                tensor.ClearField("raw_data")
                tensors.append(tensor)
                at += array.nbytes
        return tensors
