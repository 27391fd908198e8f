# SPDX-License-Identifier: Apache-2.0
"""Decoders' graphs run by onnxruntime's own Python package: what a server has to answer. Both styles, one row or several.

Past style: caches grow by joining, rows are padded on the left. Genai style: past and present are one buffer of a fixed
length, in which each row has its own count of tokens.
"""

import json
from pathlib import Path

import jinja2
import numpy as np
import onnxruntime
from tokenizers import Tokenizer

PROMPTS = [
    "The quick brown fox", "def main(argc, argv):", "It's 12 o'clock and", "The dog was not amused;", "Don't you think",
    "for i in range(10):\n", "The lazy dog jumps over 345 people and 67890 numbers.", "spaces and", "I'm sure they're",
    "The fox is quick, and the dog is not. " * 4,
]  # fmt: skip
COUNT = 24  # tokens of an answer


class Decoder:
    def __init__(self, folder, provider="CPUExecutionProvider"):
        self.config = json.loads((Path(folder) / "config.json").read_text())
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 3
        self.session = onnxruntime.InferenceSession(str(Path(folder) / "model.onnx"), options, providers=[provider])
        self.inputs = {one.name: one for one in self.session.get_inputs()}
        self.outputs = [one.name for one in self.session.get_outputs()]
        self.pasts = [name for name in self.inputs if name.startswith("past_key_values.")]
        self.shared = (Path(folder) / "genai_config.json").exists()

    def dtype(self, name):
        return np.float16 if "float16" in self.inputs[name].type else np.float32

    def caches(self, rows, length):
        heads, size = self.config["num_key_value_heads"], self.config["head_dim"]
        return {name: np.zeros((rows, heads, length, size), self.dtype(name)) for name in self.pasts}

    def whole(self, feed):
        """Whole numbers as the graph wants them."""
        kinds = {name: np.int32 if "int32" in self.inputs[name].type else np.int64 for name in feed}
        return {name: np.asarray(one, kinds[name], order="C") for name, one in feed.items()}

    def run(self, ids, mask, caches, positions=None, cached=True):
        """(logits, caches after it), everything copied."""
        feed = {"input_ids": ids, "attention_mask": mask}
        if "position_ids" in self.inputs:
            if positions is None:
                positions = np.maximum(np.cumsum(mask, 1) - 1, 0)[:, -len(ids[0]) :]
            feed["position_ids"] = positions
        if "num_logits_to_keep" in self.inputs:
            feed["num_logits_to_keep"] = 0
        feed = {**self.whole(feed), **caches}
        if "use_cache_branch" in self.inputs:
            feed["use_cache_branch"] = np.array([cached])
        found = dict(zip(self.outputs, self.session.run(None, feed)))
        return found.pop("logits"), {name.replace("present", "past_key_values"): array for name, array in found.items()}

    def bind(self, ids, mask, buffers, positions=None):
        """The logits; past and present are the same memory."""
        binding = self.session.io_binding()
        feed = {"input_ids": ids, "attention_mask": mask}
        if "position_ids" in self.inputs:
            feed["position_ids"] = positions
        for name, array in self.whole(feed).items():
            binding.bind_cpu_input(name, array)
        for name, value in buffers.items():
            for bind, port in ((binding.bind_input, name), (binding.bind_output, name.replace("past_key_values", "present"))):
                bind(port, "cpu", 0, self.dtype(name), value.shape(), value.data_ptr())
        binding.bind_output("logits")
        self.session.run_with_iobinding(binding)
        return binding.get_outputs()[-1].numpy()

    # --- whole answers ---

    def logits(self, ids):
        """Of every place of one text."""
        return self.run([ids], np.ones((1, len(ids))), self.caches(1, 0))[0][0]

    def steps(self, ids, count, pick=np.argmax):
        """(token, its place's logits) `count` times; `pick` chooses from logits."""
        if self.shared:
            yield from self.steps_shared(ids, count, pick)
            return
        caches, total = self.caches(1, 0), len(ids)
        ids = list(ids)
        for _ in range(count):
            logits, caches = self.run([ids], np.ones((1, total)), caches)
            token = int(pick(logits[0, -1]))
            yield token, logits[0, -1].astype(np.float32)
            ids, total = [token], total + 1

    def steps_shared(self, ids, count, pick):
        length = min(len(ids) + count, self.config["max_position_embeddings"])
        buffers = {name: onnxruntime.OrtValue.ortvalue_from_numpy(array) for name, array in self.caches(1, length).items()}
        ids, total = list(ids), len(ids)
        for _ in range(count):
            places = [range(total - len(ids), total)]
            logits = self.bind([ids], np.ones((1, total)), buffers, places)
            token = int(pick(logits[0, -1]))
            yield token, logits[0, -1].astype(np.float32)
            ids, total = [token], total + 1

    def greedy(self, ids, count):
        """Tokens until the model's end, which is not among them, or `count`."""
        ends = self.config["eos_token_id"]
        ends = ends if isinstance(ends, list) else [ends]
        out = []
        for token, _ in self.steps(ids, count):
            if token in ends:
                break
            out.append(token)
        return out


class Reference:
    """A folder's model, tokenizer and chat template, run by others."""

    def __init__(self, folder, made=None):
        self.folder, self.made = folder, made
        self.decoder = Decoder(folder)
        self.tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
        self.settings = json.loads((folder / "tokenizer_config.json").read_text(encoding="utf-8"))

    def ids(self, prompt):
        return self.tokenizer.encode(prompt).ids

    def chat_ids(self, messages):
        template = jinja2.Environment(trim_blocks=True, lstrip_blocks=True).from_string(self.settings["chat_template"])
        text = template.render(messages=messages, add_generation_prompt=True, bos_token=self.settings["bos_token"])
        return self.tokenizer.encode(text, add_special_tokens=False).ids

    def text(self, ids, tokens):
        """What the tokens add to the text before them."""
        before, after = self.tokenizer.decode(ids), self.tokenizer.decode(ids + tokens)
        assert after.startswith(before)
        return after[len(before) :]

    def greedy(self, prompt, count=COUNT):
        ids = prompt if isinstance(prompt, list) else self.ids(prompt)
        return self.text(ids, self.decoder.greedy(ids, count))

    def sure(self, count=COUNT, margin=1e-3, prompts=PROMPTS):
        """{prompt: text} of prompts whose likeliest tokens are far enough from the next."""
        out = {}
        for prompt in prompts:
            ids, tokens, least = self.ids(prompt), [], np.inf
            for token, logits in self.decoder.steps(ids, count):
                tokens.append(token)
                best = np.partition(logits, -2)[-2:]
                least = min(least, best[1] - best[0])
            if least > margin:
                out[prompt] = self.text(ids, tokens)
        assert len(out) >= 3, f"only {len(out)} prompts have a clear answer"
        return out
