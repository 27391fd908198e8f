# SPDX-License-Identifier: Apache-2.0
"""Generated tokens a second on ONNX: ours through its server, against onnxruntime-genai in a process of its own, without a
server. Both run the same folder (SmolLM2-135M, GroupQueryAttention, int4 or float32 weights) with the same number of threads, and take turns."""

import statistics
import subprocess
from pathlib import Path

import peers
from load import text
from peers import Peer
from sections import completion_body, decode_wave, median, prefill
from servers import Roundhouse

ROOT = Path(__file__).resolve().parents[1]
PYTHON = ROOT / "deps/venv/bin/python"
CONTEXT = 2048


def prepare(setup, weights):
    folder = setup.build / "bench" / f"smollm2-{weights}"
    if not (folder / "genai_config.json").exists():
        code = f"import sys; sys.path.insert(0, {str(ROOT / 'tests/tools')!r}); import make_decoder_onnx as m; "
        # As the published int4 models for CPUs are made: products of int8 activations.
        more = ", accuracy=4" if weights == "int4" else ""
        code += f"m.make_smollm2({str(folder)!r}, 'genai', weights={weights!r}{more})"
        subprocess.run([str(PYTHON), "-c", code], check=True)
    return folder


class Genai(Peer):
    script = """
import json, sys, time
import onnxruntime_genai as og
config = og.Config(sys.argv[1])
config.overlay(json.dumps({"model": {"decoder": {"session_options": {"intra_op_num_threads": int(sys.argv[2])}}}}))
model = og.Model(config)
tokenizer = og.Tokenizer(model)
def answer(work):
    began = time.perf_counter()
    prompts = work["prompts"]
    ids = tokenizer.encode_batch(prompts) if len(prompts) > 1 else tokenizer.encode(prompts[0])
    shape = ids.shape() if callable(ids.shape) else ids.shape
    length = int(shape[-1]) + work["tokens"]
    params = og.GeneratorParams(model)
    params.set_search_options(max_length=length, min_length=length, batch_size=len(prompts), do_sample=False)
    generator = og.Generator(model, params)
    generator.append_tokens(ids)
    first = None
    while not generator.is_done():
        generator.generate_next_token()
        first = first or time.perf_counter()
    return {"prompt_tokens": int(shape[-1]), "first": first - began, "seconds": time.perf_counter() - began}
"""

    def __init__(self, folder, threads):
        super().__init__("onnxruntime-genai", self.script, folder, threads)

    def prefill(self, seed, words):
        took = self.ask(prompts=[text(words, seed)], tokens=1)
        return {"tokens_per_second": took["prompt_tokens"] / took["first"]}

    def decode(self, streams, seed, tokens):
        took = self.ask(prompts=[text(24, seed * 1000 + index) for index in range(streams)], tokens=tokens)
        return {"tokens_per_second": tokens * streams / took["seconds"]}


def measure(setup, weights, rounds, tokens, streams, words):
    folder = prepare(setup, weights)
    peer = Genai(folder, setup.threads) if peers.has("onnxruntime_genai") else None
    ours = Roundhouse(
        setup.roundhouse, {"model": folder}, threads=setup.threads, slots=max(streams), context=CONTEXT,
        keep_alive="forever",
    )  # fmt: skip
    rows = {"prefill": [], **{f"decode_{count}": [] for count in streams}}
    with ours:
        ours.wait_ready()
        setup.client.run(ours, "/v1/completions", [completion_body(8, 1, 4)], 1)
        for repetition in range(rounds):
            seed = repetition + 2
            turns = [("prefill", lambda: prefill(setup, ours, 900000 + seed, words),
                      lambda: peer.prefill(900000 + seed, words))]  # fmt: skip
            for count in streams:
                turns.append((f"decode_{count}",
                              lambda n=count: decode_wave(setup, ours, n, seed * 100 + n, tokens),
                              lambda n=count: peer.decode(n, seed * 100 + n, tokens)))  # fmt: skip
            for name, mine, theirs in turns:
                pair = [mine()["tokens_per_second"]]
                if peer:
                    pair.append(theirs()["tokens_per_second"])
                rows[name].append(pair)
            setup.say(f"  {weights}, repetition {repetition + 1} of {rounds}")
    if peer:
        peer.close()
    return [row_of(weights, name, pairs) for name, pairs in rows.items()]


def row_of(weights, name, pairs):
    row = {"weights": weights, "work": name, "ours": median([pair[0] for pair in pairs])}
    if len(pairs[0]) > 1:
        row["genai"] = median([pair[1] for pair in pairs])
        row["ratio"] = statistics.median(mine / theirs for mine, theirs in pairs)
    return row


def generate_onnx(setup):
    """(g) Generated tokens a second of ONNX decoders."""
    rounds, tokens = (2, 32) if setup.quick else (7, 128)
    rows = []
    for weights in ("int4", "fp32"):
        rows += measure(setup, weights, rounds, tokens, (1, 4), 300 if setup.quick else 1000)
    return {"rounds": rounds, "tokens": tokens, "rows": rows}
