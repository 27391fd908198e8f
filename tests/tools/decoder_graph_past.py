# SPDX-License-Identifier: Apache-2.0
"""A decoder as Hugging Face's exporter writes it: plain ONNX operators, past_key_values in, present out.

Masked keys get the lowest number of the type and not minus infinity, as in such exports: the row of a padding token, which may
see nothing, then holds some numbers and no NaN, which would reach the other rows through the caches.
"""

import numpy as np
from onnx import TensorProto, helper

from decoder_graph import FLOATS, Graph

OPSET = 17


class PastGraph(Graph):
    def __init__(self, config, weights, dtype="float32", kv=None, position_ids=True, use_cache_branch=False, ids="int64",
                 kept_logits=False, rows="batch_size"):  # fmt: skip
        super().__init__(config, weights, dtype)
        self.kv, self.rows = FLOATS[kv or dtype], rows
        self.ids = {"int64": TensorProto.INT64, "int32": TensorProto.INT32}[ids]
        self.position_ids, self.use_cache_branch, self.kept_logits = position_ids, use_cache_branch, kept_logits

    def whole(self, name, dims):
        """An input of whole numbers, as int64 in the graph."""
        self.takes(name, self.ids, [self.rows, *dims])
        if self.ids == TensorProto.INT64:
            return name
        return self.add("Cast", [name], f"/model/{name}/Cast", to=TensorProto.INT64)

    def ports(self):
        past = [self.rows, self.shared, "past_sequence_length", self.head]
        total = [self.rows, self.shared, "past_sequence_length + sequence_length", self.head]
        self.input_ids = self.whole("input_ids", ["sequence_length"])
        self.attention_mask = self.whole("attention_mask", ["past_sequence_length + sequence_length"])
        if self.position_ids:
            self.given_positions = self.whole("position_ids", ["sequence_length"])
        places = "kept_length" if self.kept_logits else "sequence_length"
        self.gives("logits", self.type, [self.rows, places, self.config["vocab_size"]])
        for layer in range(self.layers):
            for part in ("key", "value"):
                self.takes(f"past_key_values.{layer}.{part}", self.kv, past)
                self.gives(f"present.{layer}.{part}", self.kv, total)
        if self.use_cache_branch:
            self.takes("use_cache_branch", TensorProto.BOOL, [1])
        if self.kept_logits:
            self.takes("num_logits_to_keep", TensorProto.INT64, [])

    # --- masks and positions ---

    def length(self, of, axis, name):
        return self.add("Gather", [self.add("Shape", [of], f"{name}/Shape"), self.const([axis])], f"{name}/Gather")

    def scalar(self, one, name):
        return self.add("Squeeze", [one], name)

    def mask(self):
        """[batch, 1, sequence, total]: 0 where a token is seen, the lowest number elsewhere."""
        at = "/model/mask"
        self.sequence = self.length(self.input_ids, 1, f"{at}/sequence")
        total = self.length(self.attention_mask, 1, f"{at}/total")
        zero, one = self.const(0), self.const(1)
        keys = self.add("Range", [zero, self.scalar(total, f"{at}/Squeeze"), one], f"{at}/Range")
        first = self.add("Sub", [total, self.sequence], f"{at}/Sub")
        queries = self.add("Slice", [keys, first, total], f"{at}/Slice")
        queries = self.add("Unsqueeze", [queries, self.const([1])], f"{at}/Unsqueeze")
        later = self.add("Greater", [keys, queries], f"{at}/Greater")
        padding = self.add("Equal", [self.attention_mask, zero], f"{at}/Equal")
        padding = self.add("Unsqueeze", [padding, self.const([1, 2])], f"{at}/Unsqueeze_1")
        hidden = self.add("Or", [padding, later], f"{at}/Or")
        lowest = self.const(np.finfo(self.numpy).min, self.numpy)
        return self.add("Where", [hidden, lowest, self.const(0.0, self.numpy)], f"{at}/Where")

    def positions(self):
        """Given, or what the mask's ones count up to."""
        if self.position_ids:
            return self.given_positions
        at = "/model/positions"
        count = self.add("CumSum", [self.attention_mask, self.const(1)], f"{at}/CumSum")
        count = self.add("Max", [self.add("Sub", [count, self.const(1)], f"{at}/Sub"), self.const(0)], f"{at}/Max")
        first = self.add("Neg", [self.sequence], f"{at}/Neg")
        last = self.const([np.iinfo(np.int64).max])
        return self.add("Slice", [count, first, last, self.const([1])], f"{at}/Slice")

    def rotations(self):
        """cos and sin, [batch, 1, sequence, head]."""
        at = "/model/rotary_emb"
        steps = (self.config["rope_theta"] ** (-np.arange(0, self.head, 2) / self.head)).astype(np.float32)
        place = self.add("Cast", [self.positions()], f"{at}/Cast", to=TensorProto.FLOAT)
        place = self.add("Unsqueeze", [place, self.const([2])], f"{at}/Unsqueeze")
        angles = self.add("MatMul", [place, self.store("model.rotary_emb.inv_freq", steps[None, :])], f"{at}/MatMul")
        angles = self.add("Concat", [angles, angles], f"{at}/Concat", axis=-1)
        angles = self.add("Unsqueeze", [angles, self.const([1])], f"{at}/Unsqueeze_1")
        return tuple(self.like(self.add(op, [angles], f"{at}/{op}"), f"{at}/{op}_Cast") for op in ("Cos", "Sin"))

    def like(self, x, name, to=None):
        """From float32 to the graph's type, where it is another."""
        return x if self.dtype == "float32" and to is None else self.add("Cast", [x], name, to=to or self.type)

    # --- layers ---

    def norm(self, x, name):
        at = f"/model/{name}"
        if self.dtype != "float32":
            x = self.add("Cast", [x], f"{at}/Cast", to=TensorProto.FLOAT)
        square = self.add("Pow", [x, self.const(2.0, np.float32)], f"{at}/Pow")
        mean = self.add("ReduceMean", [square], f"{at}/ReduceMean", axes=[-1])
        mean = self.add("Add", [mean, self.const(self.config["rms_norm_eps"], np.float32)], f"{at}/Add")
        x = self.add("Div", [x, self.add("Sqrt", [mean], f"{at}/Sqrt")], f"{at}/Div")
        own = f"model.{name.replace('/', '.')}.weight"
        weight = self.store(own, self.weights[own].astype(self.numpy))
        return self.add("Mul", [weight, self.like(x, f"{at}/Cast_1")], f"{at}/Mul")

    def project(self, x, name):
        return self.linear(x, f"/model/{name}", self.weights[f"model.{name.replace('/', '.')}.weight"])

    def split(self, x, heads, name):
        x = self.add("Reshape", [x, self.const([0, 0, heads, self.head])], f"{name}/Reshape")
        return self.add("Transpose", [x], f"{name}/Transpose", perm=[0, 2, 1, 3])

    def rotate(self, x, name):
        half, end = self.const([self.head // 2]), self.const([np.iinfo(np.int64).max])
        first = self.add("Slice", [x, self.const([0]), half, self.const([3])], f"{name}/Slice")
        second = self.add("Slice", [x, half, end, self.const([3])], f"{name}/Slice_1")
        turned = self.add("Concat", [self.add("Neg", [second], f"{name}/Neg"), first], f"{name}/Concat", axis=-1)
        straight = self.add("Mul", [x, self.cos], f"{name}/Mul")
        return self.add("Add", [straight, self.add("Mul", [turned, self.sin], f"{name}/Mul_1")], f"{name}/Add")

    def grown(self, x, layer, part, name):
        """The cache with the new tokens behind it: the output `present`; in the graph's type again."""
        cast = self.kv != self.type
        x = self.add("Cast", [x], f"{name}/to_cache", to=self.kv) if cast else x
        past, present = f"past_key_values.{layer}.{part}", f"present.{layer}.{part}"
        if self.use_cache_branch:
            branches = {}
            for branch, op, inputs, more in (("then", "Concat", [past, x], {"axis": 2}), ("else", "Identity", [x], {})):
                out = f"{name}/{branch}"
                info = helper.make_tensor_value_info(out, self.kv, [self.rows, self.shared, None, self.head])
                made = helper.make_node(op, inputs, [out], f"{name}/{branch}/{op}", **more)
                branches[f"{branch}_branch"] = helper.make_graph([made], f"{name}/{branch}_graph", [], [info])
            self.add("If", ["use_cache_branch"], f"{name}/If", [present], **branches)
        else:
            self.add("Concat", [past, x], f"{name}/Concat", [present], axis=2)
        return self.add("Cast", [present], f"{name}/from_cache", to=self.type) if cast else present

    def repeated(self, x, name):
        """Every key head as often as query heads share it."""
        times = self.heads // self.shared
        if times == 1:
            return x
        x = self.add("Unsqueeze", [x, self.const([2])], f"{name}/Unsqueeze")
        x = self.add("Expand", [x, self.const([1, 1, times, 1, 1])], f"{name}/Expand")
        return self.add("Reshape", [x, self.const([0, self.heads, -1, self.head])], f"{name}/Reshape_repeated")

    def attention(self, x, layer):
        at = f"/model/layers.{layer}/self_attn"
        names = {part: f"layers.{layer}/self_attn/{part}_proj" for part in "qkvo"}
        query = self.rotate(self.split(self.project(x, names["q"]), self.heads, f"{at}/q"), f"{at}/q_rotary")
        key = self.rotate(self.split(self.project(x, names["k"]), self.shared, f"{at}/k"), f"{at}/k_rotary")
        value = self.split(self.project(x, names["v"]), self.shared, f"{at}/v")
        key = self.repeated(self.grown(key, layer, "key", f"{at}/k_cache"), f"{at}/k")
        value = self.repeated(self.grown(value, layer, "value", f"{at}/v_cache"), f"{at}/v")
        key = self.add("Transpose", [key], f"{at}/Transpose", perm=[0, 1, 3, 2])
        scores = self.add("MatMul", [query, key], f"{at}/MatMul")
        scores = self.add("Mul", [scores, self.const(self.scale, self.numpy)], f"{at}/Mul")
        shares = self.add("Softmax", [self.add("Add", [scores, self.visible], f"{at}/Add")], f"{at}/Softmax", axis=-1)
        mixed = self.add("MatMul", [shares, value], f"{at}/MatMul_1")
        mixed = self.add("Transpose", [mixed], f"{at}/Transpose_1", perm=[0, 2, 1, 3])
        mixed = self.add("Reshape", [mixed, self.const([0, 0, self.heads * self.head])], f"{at}/Reshape")
        return self.project(mixed, names["o"])

    def feed(self, x, layer):
        at = f"layers.{layer}/mlp"
        gate, up = self.project(x, f"{at}/gate_proj"), self.project(x, f"{at}/up_proj")
        gate = self.add("Mul", [gate, self.add("Sigmoid", [gate], f"/model/{at}/Sigmoid")], f"/model/{at}/Mul")
        return self.project(self.add("Mul", [gate, up], f"/model/{at}/Mul_1"), f"{at}/down_proj")

    def build(self):
        self.ports()
        self.visible = self.mask()
        self.cos, self.sin = self.rotations()
        table = self.store("model.embed_tokens.weight", self.weights["model.embed_tokens.weight"].astype(self.numpy))
        x = self.add("Gather", [table, self.input_ids], "/model/embed_tokens/Gather")
        for layer in range(self.layers):
            at = f"layers.{layer}"
            mixed = self.attention(self.norm(x, f"{at}/input_layernorm"), layer)
            x = self.add("Add", [x, mixed], f"/model/{at}/Add")
            fed = self.feed(self.norm(x, f"{at}/post_attention_layernorm"), layer)
            x = self.add("Add", [x, fed], f"/model/{at}/Add_1")
        x = self.norm(x, "norm")
        if self.kept_logits:  # 0 keeps all
            first = self.add("Neg", ["num_logits_to_keep"], "/lm_head/Neg")
            first = self.add("Unsqueeze", [first, self.const([0])], "/lm_head/Unsqueeze")
            end = self.const([np.iinfo(np.int64).max])
            x = self.add("Slice", [x, first, end, self.const([1])], "/lm_head/Slice")
        if "lm_head.weight" in self.weights:
            head = self.store("lm_head.weight", self.weights["lm_head.weight"].T.astype(self.numpy))
        else:
            head = self.add("Transpose", [table], "/lm_head/Transpose", perm=[1, 0])
        self.add("MatMul", [x, head], "/lm_head/MatMul", ["logits"])
        return self

    def write(self, folder):
        self.build().save(folder, OPSET, "pytorch")
