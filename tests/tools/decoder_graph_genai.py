# SPDX-License-Identifier: Apache-2.0
"""A decoder as onnxruntime-genai's model builder writes it for the CPU, Phi-3-mini-4k-instruct-onnx among them.

No position_ids: GroupQueryAttention turns queries and keys itself (do_rotary), with each row's number of tokens less one
(seqlens_k) and the mask's width (total_sequence_length), both computed from attention_mask. Names of ports and nodes are the
builder's.
"""

import numpy as np
from onnx import TensorProto

from decoder_graph import Graph

OPSET = 14
MASK = "/model/attn_mask_reformat/attn_mask_subgraph"


class GenaiGraph(Graph):
    def __init__(self, config, weights, dtype="float32", bits=None, symmetric=True, accuracy=None, head_bits=None, packed=True,
                 rotary_op=False):  # fmt: skip
        super().__init__(config, weights, dtype)
        self.bits, self.head_bits, self.packed, self.rotary_op = bits, head_bits, packed, rotary_op
        self.packing = {"symmetric": symmetric, "accuracy": accuracy}

    def ports(self):
        past = ["batch_size", self.shared, "past_sequence_length", self.head]
        total = ["batch_size", self.shared, "total_sequence_length", self.head]
        self.takes("input_ids", TensorProto.INT64, ["batch_size", "sequence_length"])
        self.takes("attention_mask", TensorProto.INT64, ["batch_size", "total_sequence_length"])
        if self.rotary_op:
            self.takes("position_ids", TensorProto.INT64, ["batch_size", "sequence_length"])
        self.gives("logits", self.type, ["batch_size", "sequence_length", self.config["vocab_size"]])
        for layer in range(self.layers):
            for part in ("key", "value"):
                self.takes(f"past_key_values.{layer}.{part}", self.type, past)
                self.gives(f"present.{layer}.{part}", self.type, total)

    def lengths(self):
        count = self.add("ReduceSum", ["attention_mask", self.const([1])], f"{MASK}/ReduceSum")
        count = self.add("Sub", [count, self.const([1])], f"{MASK}/Sub")
        self.seqlens_k = self.add("Cast", [count], f"{MASK}/Sub/Cast", to=TensorProto.INT32)
        total = self.add("Shape", ["attention_mask"], f"{MASK}/Shape")
        total = self.add("Gather", [total, self.const(1)], f"{MASK}/Gather", axis=0)
        self.total = self.add("Cast", [total], f"{MASK}/Gather/Cast", to=TensorProto.INT32)

    def caches(self):
        steps = self.config["rope_theta"] ** (-np.arange(0, self.head, 2) / self.head)
        angles = np.arange(self.config["max_position_embeddings"])[:, None] * steps[None, :]
        self.store("cos_cache", np.cos(angles).astype(self.numpy))
        self.store("sin_cache", np.sin(angles).astype(self.numpy))

    def project(self, x, name, weight):
        return self.linear(x, name, weight, self.bits, **self.packing)

    def norm_weight(self, name):
        return self.store(f"{name}.weight", self.weights[f"{name}.weight"].astype(self.numpy))

    def norm(self, fed, name, weight, last=False):
        """The sum of both so far, and its norm. The first norm has nothing to add."""
        epsilon = float(self.config["rms_norm_eps"])
        if self.sum is None:
            self.sum = fed
            return self.add("SimplifiedLayerNormalization", [fed, self.norm_weight(weight)], f"{name}/LayerNorm", axis=-1,
                            epsilon=epsilon, stash_type=1)  # fmt: skip
        at = f"{name}/SkipLayerNorm"
        outputs = [f"{at}/output_0"] if last else [f"{at}/output_0", "", "", f"{at}/output_3"]
        self.add("SkipSimplifiedLayerNormalization", [self.sum, fed, self.norm_weight(weight)], at, outputs, "com.microsoft",
                 epsilon=epsilon)  # fmt: skip
        self.sum = f"{at}/output_3"
        return outputs[0]

    def rotary(self, x, name, heads):
        return self.add("RotaryEmbedding", [x, "position_ids", "cos_cache", "sin_cache"], name, domain="com.microsoft",
                        interleaved=0, num_heads=heads, rotary_embedding_dim=0)  # fmt: skip

    def queries(self, x, layer):
        """Queries, keys and values, of one product or of three."""
        at, own = f"/model/layers.{layer}/attn", f"model.layers.{layer}.self_attn"
        weights = [self.weights[f"{own}.{part}_proj.weight"] for part in "qkv"]
        if self.packed and not self.rotary_op:
            return [self.project(x, f"{at}/qkv_proj/MatMul", np.concatenate(weights)), "", ""]
        q, k, v = (self.project(x, f"{at}/{part}_proj/MatMul", weight) for part, weight in zip("qkv", weights))
        if self.rotary_op:
            q = self.rotary(q, f"{at}/q_rotary/RotaryEmbedding", self.heads)
            k = self.rotary(k, f"{at}/k_rotary/RotaryEmbedding", self.shared)
        return [q, k, v]

    def attention(self, x, layer):
        at = f"/model/layers.{layer}/attn"
        past = [f"past_key_values.{layer}.{part}" for part in ("key", "value")]
        inputs = [*self.queries(x, layer), *past, self.seqlens_k, self.total]
        if not self.rotary_op:
            inputs += ["cos_cache", "sin_cache"]
        name = f"{at}/GroupQueryAttention"
        outputs = [f"{name}/output_0", f"present.{layer}.key", f"present.{layer}.value"]
        mixed = self.add("GroupQueryAttention", inputs, name, outputs, "com.microsoft", num_heads=self.heads,
                         kv_num_heads=self.shared, scale=float(self.scale), do_rotary=int(not self.rotary_op),
                         rotary_interleaved=0, local_window_size=self.config.get("sliding_window") or -1)  # fmt: skip
        return self.project(mixed, f"{at}/o_proj/MatMul", self.weights[f"model.layers.{layer}.self_attn.o_proj.weight"])

    def feed(self, x, layer):
        at, own = f"/model/layers.{layer}/mlp", f"model.layers.{layer}.mlp"
        gate = self.project(x, f"{at}/gate_proj/MatMul", self.weights[f"{own}.gate_proj.weight"])
        up = self.project(x, f"{at}/up_proj/MatMul", self.weights[f"{own}.up_proj.weight"])
        gate = self.add("Mul", [gate, self.add("Sigmoid", [gate], f"{at}/act_fn/Sigmoid")], f"{at}/act_fn/Mul")
        gate = self.add("Mul", [gate, up], f"{at}/Mul")
        return self.project(gate, f"{at}/down_proj/MatMul", self.weights[f"{own}.down_proj.weight"])

    def logits(self, x):
        table = self.weights["model.embed_tokens.weight"]
        if self.head_bits is None and "lm_head.weight" not in self.weights:
            head = self.add("Transpose", ["model.embed_tokens.weight"], "/lm_head/Transpose", perm=[1, 0])
            self.add("MatMul", [x, head], "/lm_head/MatMul", ["logits"])
            return
        self.linear(x, "/lm_head/MatMul", self.weights.get("lm_head.weight", table), self.head_bits, **self.packing)
        self.nodes[-1].output[0] = "logits"

    def build(self):
        self.ports()
        self.lengths()
        self.caches()
        self.sum = None
        table = self.store("model.embed_tokens.weight", self.weights["model.embed_tokens.weight"].astype(self.numpy))
        fed = self.add("Gather", [table, "input_ids"], "/model/embed_tokens/Gather")
        for layer in range(self.layers):
            at, own = f"/model/layers.{layer}", f"model.layers.{layer}"
            mixed = self.attention(self.norm(fed, f"{at}/input_layernorm", f"{own}.input_layernorm"), layer)
            x = self.norm(mixed, f"{at}/post_attention_layernorm", f"{own}.post_attention_layernorm")
            fed = self.feed(x, layer)
        self.logits(self.norm(fed, f"/model/layers.{self.layers}/final_norm_layernorm", "model.norm", last=True))
        return self

    def write(self, folder):
        self.build().save(folder, OPSET, "onnxruntime-genai", ir_version=7)
