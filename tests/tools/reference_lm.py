# SPDX-License-Identifier: Apache-2.0
"""Forward passes of small language models in numpy, float64: what a converted file has to compute.

Written from the papers and model cards: Llama (Touvron et al. 2023; Llama 3.1's frequencies from its release), Qwen 2 and 3,
Gemma 1, 2 and 3, Phi-3 (with LongRoPE, Ding et al. 2024), YaRN (Peng et al. 2023), RoPE (Su et al. 2021) in the layout of
Hugging Face's files: number i of a head turns with number i + half.
"""

import math

import numpy as np


def rms_norm(x, weight, epsilon):
    return x / np.sqrt((x * x).mean(-1, keepdims=True) + epsilon) * weight


def softmax(x):
    e = np.exp(x - x.max(-1, keepdims=True))
    return e / e.sum(-1, keepdims=True)


def silu(x):
    return x / (1.0 + np.exp(-x))


def gelu_tanh(x):
    return 0.5 * x * (1.0 + np.tanh(math.sqrt(2.0 / math.pi) * (x + 0.044715 * x**3)))


def llama3(frequencies, scaling):
    factor, low, high = scaling["factor"], scaling["low_freq_factor"], scaling["high_freq_factor"]
    original = scaling["original_max_position_embeddings"]
    out = []
    for frequency in frequencies:
        wave = 2 * math.pi / frequency
        smooth = min(1.0, max(0.0, (original / wave - low) / (high - low)))
        out.append((1 - smooth) * frequency / factor + smooth * frequency)
    return np.array(out)


def yarn(frequencies, scaling, theta):
    """Beta 32 and 1, as the paper has them."""
    half, factor, original = len(frequencies), scaling["factor"], scaling["original_max_position_embeddings"]

    def place(rotations):
        return 2 * half * math.log(original / (rotations * 2 * math.pi)) / (2 * math.log(theta))

    low, high = max(math.floor(place(32)), 0), min(math.ceil(place(1)), 2 * half - 1)
    ramp = np.clip((np.arange(half) - low) / max(high - low, 0.001), 0, 1)
    return frequencies / factor * ramp + frequencies * (1 - ramp), 0.1 * math.log(factor) + 1.0


def rotations(config, count, head, local):
    """cos and sin for each position, and what they are multiplied with."""
    theta = config["rope_local_base_freq"] if local and "rope_local_base_freq" in config else config["rope_theta"]
    frequencies = theta ** (-np.arange(0, head, 2) / head)
    scaling, scale = config.get("rope_scaling"), 1.0
    kind = (scaling.get("rope_type") or scaling.get("type")) if scaling else None
    if kind == "linear":
        frequencies = frequencies / scaling["factor"]
    elif kind == "llama3":
        frequencies = llama3(frequencies, scaling)
    elif kind == "yarn":
        frequencies, scale = yarn(frequencies, scaling, theta)
    elif kind == "longrope":
        # Which list counts is a matter of the context that there is room for; the test asks for all of it.
        frequencies = frequencies / np.array(scaling["long_factor"])
        original = config["original_max_position_embeddings"]
        scale = math.sqrt(1 + math.log(config["max_position_embeddings"] / original) / math.log(original))
    angles = np.arange(count)[:, None] * frequencies[None, :]
    return np.cos(angles) * scale, np.sin(angles) * scale


def rotate(x, cos, sin):
    half = x.shape[-1] // 2
    a, b = x[..., :half], x[..., half:]
    return np.concatenate([a * cos - b * sin, b * cos + a * sin], -1)


class Model:
    def __init__(self, config, weights):
        self.config = config
        self.weights = {name: value.astype(np.float64) for name, value in weights.items()}
        self.name = config["architectures"][0]
        self.gemma = self.name.startswith("Gemma")
        self.head = config.get("head_dim", config["hidden_size"] // config["num_attention_heads"])

    def norm(self, x, name):
        weight = self.weights[f"{name}.weight"]
        return rms_norm(x, weight + 1.0 if self.gemma else weight, self.config["rms_norm_eps"])

    def linear(self, x, name):
        bias = self.weights.get(f"{name}.bias")
        y = x @ self.weights[f"{name}.weight"].T
        return y if bias is None else y + bias

    def is_local(self, layer):
        if self.name == "Gemma2ForCausalLM":
            return layer % 2 == 0
        return self.name == "Gemma3ForCausalLM" and (layer + 1) % self.config["sliding_window_pattern"] != 0

    def project(self, x, at):
        heads, shared = self.config["num_attention_heads"], self.config["num_key_value_heads"]
        if self.name == "Phi3ForCausalLM":
            q, k, v = np.split(self.linear(x, f"{at}.qkv_proj"), [heads * self.head, (heads + shared) * self.head], -1)
        else:
            q, k, v = (self.linear(x, f"{at}.{part}_proj") for part in "qkv")
        q, k, v = (y.reshape(len(x), -1, self.head).transpose(1, 0, 2) for y in (q, k, v))
        if f"{at}.q_norm.weight" in self.weights:
            q, k = self.norm(q, f"{at}.q_norm"), self.norm(k, f"{at}.k_norm")
        return q, k, v

    def attend(self, x, layer):
        at, config, local = f"model.layers.{layer}.self_attn", self.config, self.is_local(layer)
        q, k, v = self.project(x, at)
        cos, sin = rotations(config, len(x), self.head, local)
        q, k = rotate(q, cos, sin), rotate(k, cos, sin)
        k, v = (np.repeat(y, len(q) // len(y), axis=0) for y in (k, v))
        scores = q @ k.transpose(0, 2, 1) / math.sqrt(config.get("query_pre_attn_scalar", self.head))
        cap = config.get("attn_logit_softcapping")
        if cap:
            scores = cap * np.tanh(scores / cap)
        distance = np.arange(len(x))[:, None] - np.arange(len(x))[None, :]
        hidden = (distance < 0) | (distance >= config["sliding_window"] if local else False)
        scores = np.where(hidden, -np.inf, scores)
        mixed = (softmax(scores) @ v).transpose(1, 0, 2).reshape(len(x), -1)
        return self.linear(mixed, f"{at}.o_proj")

    def feed(self, x, layer):
        at, activate = f"model.layers.{layer}.mlp", gelu_tanh if self.gemma else silu
        if self.name == "Phi3ForCausalLM":
            gate, up = np.split(self.linear(x, f"{at}.gate_up_proj"), 2, -1)
        else:
            gate, up = self.linear(x, f"{at}.gate_proj"), self.linear(x, f"{at}.up_proj")
        return self.linear(activate(gate) * up, f"{at}.down_proj")

    def logits(self, ids):
        embedding = self.weights["model.embed_tokens.weight"]
        x = embedding[ids]
        if self.gemma:
            x = x * math.sqrt(self.config["hidden_size"])
        for layer in range(self.config["num_hidden_layers"]):
            at = f"model.layers.{layer}"
            mixed = self.attend(self.norm(x, f"{at}.input_layernorm"), layer)
            if f"{at}.pre_feedforward_layernorm.weight" in self.weights:
                x = x + self.norm(mixed, f"{at}.post_attention_layernorm")
                fed = self.feed(self.norm(x, f"{at}.pre_feedforward_layernorm"), layer)
                x = x + self.norm(fed, f"{at}.post_feedforward_layernorm")
            else:
                x = x + mixed
                x = x + self.feed(self.norm(x, f"{at}.post_attention_layernorm"), layer)
        x = self.norm(x, "model.norm")
        out = x @ self.weights.get("lm_head.weight", embedding).T
        cap = self.config.get("final_logit_softcapping")
        return cap * np.tanh(out / cap) if cap else out
