# SPDX-License-Identifier: Apache-2.0
"""Our matrix kernels in whole models: prefill, decode, start and memory, ours against llama-server and llama-bench with the
same file and threads, and against our own worker with llama.cpp's kernels (ROUNDHOUSE_KERNELS=stock). All take turns.

Prompts are lists of token numbers, so that they have the wanted length in every vocabulary."""

import hashlib
import json
import os
import random
import statistics
import subprocess
import sys
import time
from pathlib import Path

import sections
from servers import LlamaServer, Roundhouse

ROOT = Path(__file__).resolve().parents[1]
BIN = ROOT / "deps/bin"
MODELS = ("smollm2-135m", "gemma-270m", "0.85b", "3b")
FORMATS = ("q4_0", "q4_k_m", "q8_0")
SIDES = ("ours", "stock", "llama-server", "llama-bench")
PATH = "/v1/completions"

# The second model comes in four packages, a part in each (a base model; Gemma's terms). It is measured where they are.
GEMMA_PARTS = "gemma-3-270m-q4_k_m.gguf.part0"
GEMMA_SHA256 = "a5fd3b62230aa5ec60212297dc9d20eaa70578ac519e00d93a17e44c087a6818"


class Plan:
    def __init__(self, setup):
        quick = setup.quick
        self.repetitions = 1 if quick else 5
        self.prompts = (512,) if quick else (512, 2048)
        self.streams = (1, 16) if quick else (1, 4, 16)
        self.tokens = 16 if quick else 64
        self.models = setup.kernel_models or (("smollm2-135m",) if quick else MODELS)
        self.formats = setup.kernel_formats or (("q4_0",) if quick else FORMATS)
        self.sides = setup.kernel_sides or SIDES
        self.end = time.monotonic() + 60 * setup.kernel_minutes

    @property
    def context(self):
        """One prompt, one token, and room for what a chat template or a first token adds."""
        return max(self.prompts) + 64


# --- files ---------------------------------------------------------------------------------------------------------


def gemma_source():
    """The four parts' file joined, or None: RH_BENCH_GEMMA names a folder that holds them, at any depth."""
    folder = os.environ.get("RH_BENCH_GEMMA")
    parts = sorted(Path(folder).rglob(GEMMA_PARTS + "*"), key=lambda part: part.name) if folder else []
    if len(parts) != 4:
        return None
    joined = Path(folder) / "gemma-3-270m-q4_k_m.gguf"
    if not joined.exists():
        with open(joined.with_suffix(".part"), "wb") as out:
            for part in parts:
                out.write(part.read_bytes())
        if hashlib.sha256(joined.with_suffix(".part").read_bytes()).hexdigest() != GEMMA_SHA256:
            raise SystemExit(f"the parts in {folder} do not make the file that was expected")
        joined.with_suffix(".part").rename(joined)
    return joined


def requantized(source, out, kind):
    command = [BIN / "llama-quantize", "--allow-requantize", source, out, kind.upper()]
    done = subprocess.run([str(word) for word in command], capture_output=True, text=True)
    if done.returncode != 0:
        raise SystemExit(f"llama-quantize: {done.stderr[-2000:]}")


def model_file(setup, model, kind):
    """The file, made when it is missing; None when the model is not here."""
    folder = setup.build / "bench" / "kernels-models"
    folder.mkdir(parents=True, exist_ok=True)
    out = folder / f"{model}-{kind}.gguf"
    if out.exists():
        return out
    part = out.with_suffix(".part")
    if model in ("0.85b", "3b"):
        # It draws with numpy, which the tests' environment has.
        python = ROOT / "deps/venv/bin/python"
        command = [python if python.exists() else sys.executable, ROOT / "bench/make_model.py"]
        command += ["--shape", model, "--format", kind, part]
        subprocess.run([str(word) for word in command], check=True, stdout=subprocess.DEVNULL)
    else:
        source = gemma_source() if model == "gemma-270m" else ROOT / "deps/models/smollm2-135m-instruct.gguf"
        if source is None:
            return None
        if model == "gemma-270m" and kind == "q4_k_m":
            return source
        requantized(source, part, kind)
    part.rename(out)
    return out


# --- sides ---------------------------------------------------------------------------------------------------------


def server_of(setup, side, file, slots, context):
    if side == "llama-server":
        return LlamaServer(setup.llama_server, file, setup.threads, slots, context)
    server = Roundhouse(setup.roundhouse, {"model": file}, threads=setup.threads, slots=slots, context=context)
    server.name = side
    if side == "stock":
        server.environment["ROUNDHOUSE_KERNELS"] = "stock"
    return server


def servers_of(setup, plan, file, slots, context):
    return [server_of(setup, side, file, slots, context) for side in plan.sides if side != "llama-bench"]


def body_of(count, seed, tokens):
    chance = random.Random(seed)
    body = sections.completion_body(1, seed, tokens)
    # Numbers that are words, not controls, in every vocabulary here.
    body["prompt"] = [chance.randrange(300, 30000) for _ in range(count)]
    return body


def prefill(setup, server, count, seed):
    body = body_of(count, seed, 1)
    detail = setup.client.run(server, PATH, [body], 1, detail=True)["detail"][0]
    if not count <= detail["prompt_tokens"] <= count + 1:
        raise SystemExit(f"{server.name}: read {detail['prompt_tokens']} tokens, not {count}")
    # To the end and not to the first text: a token that is half a character shows none.
    return 1e6 * detail["prompt_tokens"] / (detail["end_us"] - detail["start_us"])


def decode(setup, server, streams, seed, tokens):
    """Tokens a second of all streams; four tokens to read are next to nothing."""
    bodies = [body_of(4, seed * 1000 + index, tokens) for index in range(streams)]
    detail = setup.client.run(server, PATH, bodies, streams, connections=streams, detail=True)["detail"]
    for request in detail:
        if request["completion_tokens"] != tokens:
            raise SystemExit(f"{server.name}: a stream gave {request}; wanted {tokens} tokens")
    window = max(r["end_us"] for r in detail) - min(r["start_us"] for r in detail)
    return 1e6 * tokens * streams / window


def llama_bench(setup, plan, file):
    """llama.cpp without a server: {"prefill_512": tokens/s, ..., "decode_1": tokens/s} of one run."""
    command = [BIN / "llama-bench", "-m", file, "-t", setup.threads, "-r", 1, "-o", "json", "-n", plan.tokens]
    command += ["-p", ",".join(str(count) for count in plan.prompts)]
    done = subprocess.run([str(word) for word in command], capture_output=True, text=True)
    if done.returncode != 0:
        raise SystemExit(f"llama-bench: {done.stderr[-2000:]}")
    rates = {}
    for test in json.loads(done.stdout):
        name = f"prefill_{test['n_prompt']}" if test["n_prompt"] else "decode_1"
        rates[name] = test["avg_ts"]
    return rates


def peak_mib(pid):
    """The most memory that a process and its children ever had, each for itself."""
    kib = 0
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            kib = int(line.split()[1])
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return kib / 1024 + sum(peak_mib(int(child)) for child in children)


# --- measuring -----------------------------------------------------------------------------------------------------


class Spawned:
    """Servers that are all up and have answered once."""

    def __init__(self, setup, servers):
        self.setup = setup
        self.servers = servers

    def __enter__(self):
        for server in self.servers:
            server.spawn()
        try:
            for server in self.servers:
                server.wait_ready()
                self.setup.client.run(server, PATH, [body_of(8, 1, 4)], 1)
        except BaseException:
            self.__exit__()
            raise
        return self.servers

    def __exit__(self, *_):
        for server in self.servers:
            server.__exit__()


def measure_start(setup, plan, file, raw):
    """Spawn to first token, the file in the page cache; and the most memory, after one prompt."""
    with open(file, "rb") as data:
        while data.read(1 << 24):
            pass
    for _ in range(plan.repetitions):
        for server in servers_of(setup, plan, file, 1, plan.context):
            with server:
                if server.name != "llama-server":
                    server.wait_ready()
                raw[server.name]["start_s"].append(sections.first_token_after_spawn(server))
                prefill(setup, server, plan.prompts[0], 3)
                raw[server.name]["peak_mib"].append(peak_mib(server.process.pid))


def measure_prefill(setup, plan, file, raw):
    with Spawned(setup, servers_of(setup, plan, file, 1, plan.context)) as servers:
        for repetition in range(plan.repetitions):
            if "llama-bench" in plan.sides:
                for name, rate in llama_bench(setup, plan, file).items():
                    raw["llama-bench"][name].append(rate)
            for count in plan.prompts:
                for server in servers:
                    rate = prefill(setup, server, count, 100 * count + repetition)
                    raw[server.name][f"prefill_{count}"].append(rate)


def measure_decode(setup, plan, file, raw):
    # A context of 256 tokens for each stream: three billion weights and sixteen long contexts do not fit everywhere.
    with Spawned(setup, servers_of(setup, plan, file, max(plan.streams), 256)) as servers:
        for repetition in range(plan.repetitions):
            for streams in plan.streams:
                for server in servers:
                    rate = decode(setup, server, streams, 50 + repetition * 20 + streams, plan.tokens)
                    raw[server.name][f"decode_{streams}"].append(rate)


def rows_of(plan, model, kind, raw):
    """A row for each work: medians of all sides, and ours over each: the median of the ratios of neighbours."""
    names = [f"prefill_{count}" for count in plan.prompts] + [f"decode_{count}" for count in plan.streams]
    rows = []
    for name in [*names, "start_s", "peak_mib"]:
        row = {"model": model, "format": kind, "work": name}
        for side in plan.sides:
            values = raw[side][name]
            if not values:
                continue
            row[side] = statistics.median(values)
            if side != "ours" and len(raw["ours"][name] if "ours" in raw else []) == len(values):
                ratios = [a / b for a, b in zip(raw["ours"][name], values)]
                row[f"over {side}"] = statistics.median(ratios)
        rows.append(row)
    return rows


def measure(setup, plan, model, kind, file):
    works = [f"prefill_{count}" for count in plan.prompts] + [f"decode_{count}" for count in (1, *plan.streams)]
    raw = {side: {work: [] for work in [*works, "start_s", "peak_mib"]} for side in plan.sides}
    for step in (measure_start, measure_prefill, measure_decode):
        began = time.monotonic()
        step(setup, plan, file, raw)
        setup.say(f"  {model} {kind}: {step.__name__[8:]}, {time.monotonic() - began:.0f} s")
    return rows_of(plan, model, kind, raw), raw


def kernels(setup):
    plan = Plan(setup)
    if setup.llama_server is None:
        plan.sides = [side for side in plan.sides if side != "llama-server"]
    if not (BIN / "llama-bench").exists():
        setup.say("no deps/bin/llama-bench (scripts/setup.sh --for bench): measuring without it")
        plan.sides = [side for side in plan.sides if side != "llama-bench"]
    result = {"repetitions": plan.repetitions, "tokens": plan.tokens, "sides": list(plan.sides), "rows": [], "raw": {}}
    result["left_out"] = []
    for model in plan.models:
        for kind in plan.formats:
            file = model_file(setup, model, kind) if time.monotonic() < plan.end else None
            if file is None:
                result["left_out"].append(f"{model} {kind}")
                continue
            rows, raw = measure(setup, plan, model, kind, file)
            result["rows"] += rows
            result["raw"][f"{model} {kind}"] = raw
    return result


# --- words ---------------------------------------------------------------------------------------------------------


def work_words(work):
    name, _, count = work.partition("_")
    return {
        "prefill": f"prefill of {count} tokens, tokens/s",
        "decode": f"decode, streams: {count}, tokens/s",
        "start": "spawn to first token, s",
        "peak": "most memory, MiB",
    }[name]


def table(result):
    peers = [side for side in result["sides"] if side != "ours"]
    titles = {"stock": "ours, stock kernels"}
    heads = ["model", "format", "work", "ours", *(titles.get(side, side) for side in peers)]
    heads += [f"ours / {titles.get(side, side)}" for side in peers]
    lines = [f"| {' | '.join(heads)} |", "|---|---|---|" + "--:|" * (len(heads) - 3)]
    for row in result["rows"]:
        digits = 2 if row["work"] == "start_s" else 1
        numbers = [(row.get(side), digits) for side in ("ours", *peers)] + [(row.get(f"over {side}"), 2) for side in peers]
        words = ["–" if value is None else f"{value:,.{places}f}" for value, places in numbers]
        lines.append(f"| {row['model']} | {row['format']} | {work_words(row['work'])} | {' | '.join(words)} |")
    if result["left_out"]:
        lines += ["", f"Not measured (no file, or no time left): {', '.join(result['left_out'])}."]
    return lines
