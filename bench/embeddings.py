# SPDX-License-Identifier: Apache-2.0
"""Embeddings a second: ours on ONNX Runtime and on llama.cpp, against llama-server's embedding mode and, where a Python that has
it is named, fastembed (ONNX Runtime and Hugging Face's tokenizers in one process, without a server). All compute
all-MiniLM-L6-v2 in 32-bit floats with the same number of threads, and take turns."""

import json
import os
import random
import statistics
import subprocess
from pathlib import Path

from load import text
from servers import LlamaServer, Roundhouse

ROOT = Path(__file__).resolve().parents[1]
MODEL = ROOT / "deps/models/all-minilm-l6-v2"
PYTHON = ROOT / "deps/venv/bin/python"
PATH = "/v1/embeddings"
CLIENTS = (1, 16)
# A Python with the package fastembed; without it that column stays empty.
PEER_PYTHON = os.environ.get("RH_BENCH_PEER_PYTHON")


def prepare(setup):
    """A folder with the ONNX graph and the GGUF file of one model."""
    folder = setup.build / "bench" / "embeddings"
    folder.mkdir(parents=True, exist_ok=True)
    if not (folder / "onnx" / "model.onnx").exists():
        command = [PYTHON, ROOT / "tests/tools/make_bert_onnx.py", MODEL, folder / "onnx"]
        subprocess.run([str(word) for word in command], check=True)
    if not (folder / "minilm.gguf").exists():
        converter = setup.roundhouse.with_name("roundhouse-convert")
        command = [converter, "convert", MODEL, folder / "minilm.gguf", "--type", "f32"]
        subprocess.run([str(word) for word in command], check=True, stdout=subprocess.DEVNULL)
    return folder


def texts(kind, count):
    """Each has other words; `mixed` is what questions and passages look like side by side."""
    chance = random.Random(5)
    words = {"short": lambda: 8, "long": lambda: 180, "mixed": lambda: chance.choice((4, 8, 12, 20, 40, 90, 180))}[kind]
    return [text(words(), seed) for seed in range(count)]


class LlamaEmbeddings(LlamaServer):
    def __init__(self, program, model, threads):
        super().__init__(program, model, threads, 16, 512)
        # A batch of whole texts: the model looks at all tokens of a text at once.
        self.command += ["--embedding", "--pooling", "mean", "-b", "2048", "-ub", "2048"]


class Peer:
    """fastembed in a process that reads texts from a file and says how long it took."""

    name = "fastembed"
    script = """
import json, sys, time
from fastembed import TextEmbedding
from fastembed.common.model_description import ModelSource, PoolingType
folder, threads, path, batch = sys.argv[1], int(sys.argv[2]), sys.argv[3], int(sys.argv[4])
TextEmbedding.add_custom_model(model="local/minilm", pooling=PoolingType.MEAN, normalization=True,
    sources=ModelSource(url="none"), dim=384, model_file="model.onnx")
model = TextEmbedding("local/minilm", specific_model_path=folder, threads=threads)
texts = json.load(open(path))
list(model.embed(texts[:8], batch_size=batch))
began = time.perf_counter()
if batch == 1:
    for text in texts: list(model.embed([text], batch_size=1))
else:
    list(model.embed(texts, batch_size=batch))
print(json.dumps({"seconds": time.perf_counter() - began}))
"""

    def __init__(self, folder, threads):
        self.folder, self.threads = folder, threads

    def rate(self, lines, clients):
        path = self.folder / "texts.json"
        path.write_text(json.dumps(lines))
        command = [PEER_PYTHON, "-c", self.script, self.folder / "onnx", self.threads, path, clients]
        done = subprocess.run([str(word) for word in command], capture_output=True, text=True)
        if done.returncode != 0:
            raise SystemExit(f"fastembed: {done.stderr[-2000:]}")
        return len(lines) / json.loads(done.stdout)["seconds"]


# llama-server closes a connection after a hundred requests.
CONNECTION_REQUESTS = 80


def rate(setup, server, model, lines, clients):
    seconds = 0
    for at in range(0, len(lines), CONNECTION_REQUESTS * clients):
        part = lines[at : at + CONNECTION_REQUESTS * clients]
        bodies = [{"model": model, "input": line, "encoding_format": "float"} for line in part]
        report = setup.client.run(server, PATH, bodies, len(part), connections=clients, warmup=clients)
        seconds += report["seconds"]
    return len(lines) / seconds


def embeddings(setup):
    """(f) Embeddings a second for short, long and mixed texts, one text a request, from 1 and 16 clients."""
    rounds = 1 if setup.quick else 5
    counts = {"short": 200, "long": 40, "mixed": 100} if setup.quick else {"short": 1000, "long": 150, "mixed": 400}
    folder = prepare(setup)
    ours = Roundhouse(
        setup.roundhouse, {"onnx": folder / "onnx", "gguf": folder / "minilm.gguf"},
        threads=setup.threads, preload=False, keep_alive="forever",
    )  # fmt: skip
    theirs = LlamaEmbeddings(setup.llama_server, folder / "minilm.gguf", setup.threads) if setup.llama_server else None
    peer = Peer(folder, setup.threads) if PEER_PYTHON else None
    raw = {}
    with ours:
        ours.wait_ready()
        if theirs:
            theirs.spawn()
            theirs.wait_ready()
        try:
            for _ in range(rounds):
                for kind, count in counts.items():
                    lines = texts(kind, count)
                    for clients in CLIENTS:
                        took = raw.setdefault((kind, clients), {})
                        for name in ("onnx", "gguf"):
                            took.setdefault(name, []).append(rate(setup, ours, name, lines, clients))
                        if theirs:
                            took.setdefault("llama-server", []).append(rate(setup, theirs, "x", lines, clients))
                        if peer:
                            took.setdefault("fastembed", []).append(peer.rate(lines, clients))
                        setup.say(f"  {kind}, {clients} clients: {took}")
        finally:
            if theirs:
                theirs.__exit__()
    return {"rounds": rounds, "rows": [row_of(kind, clients, took) for (kind, clients), took in raw.items()]}


def row_of(kind, clients, took):
    row = {"texts": kind, "clients": clients}
    for name, rates in took.items():
        row[name] = statistics.median(rates)
    best = [took[name] for name in ("llama-server", "fastembed") if name in took]
    if best:
        ours = [max(a, b) for a, b in zip(took["onnx"], took["gguf"])]
        row["ratio"] = statistics.median([mine / max(others) for mine, *others in zip(ours, *best)])
    return row
