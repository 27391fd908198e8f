# SPDX-License-Identifier: Apache-2.0
"""Embeddings a second: ours on ONNX Runtime and on llama.cpp, against llama-server's embedding mode, fastembed (ONNX Runtime
and Hugging Face's tokenizers) and sentence-transformers (PyTorch), the two in one process without a server (peers.py). All compute
all-MiniLM-L6-v2 in 32-bit floats with the same number of threads, and take turns."""

import os
import random
import statistics
import subprocess
import time
from pathlib import Path

import peers
from load import text
from servers import LlamaServer, Roundhouse

ROOT = Path(__file__).resolve().parents[1]
MODEL = ROOT / "deps/models/all-minilm-l6-v2"
PYTHON = ROOT / "deps/venv/bin/python"
PATH = "/v1/embeddings"
CLIENTS = (1, 16)
PEERS = ("llama-server", "fastembed", "sentence-transformers")


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


FASTEMBED = """
import json, sys, time
from fastembed import TextEmbedding
from fastembed.common.model_description import ModelSource, PoolingType
TextEmbedding.add_custom_model(model="local/minilm", pooling=PoolingType.MEAN, normalization=True,
    sources=ModelSource(url="none"), dim=384, model_file="model.onnx")
model = TextEmbedding("local/minilm", specific_model_path=sys.argv[1], threads=int(sys.argv[2]))
def answer(work):
    texts, batch = work["texts"], work["batch"]
    list(model.embed(texts[:8], batch_size=batch))
    began = time.perf_counter()
    for at in range(0, len(texts), batch):
        list(model.embed(texts[at:at + batch], batch_size=batch))
    return {"seconds": time.perf_counter() - began}
"""

SENTENCE_TRANSFORMERS = """
import json, sys, time
import torch
from sentence_transformers import SentenceTransformer
torch.set_num_threads(int(sys.argv[2]))
model = SentenceTransformer(sys.argv[1], device="cpu")
def answer(work):
    texts, batch = work["texts"], work["batch"]
    model.encode(texts[:8], batch_size=batch, show_progress_bar=False)
    began = time.perf_counter()
    for at in range(0, len(texts), batch):
        model.encode(texts[at:at + batch], batch_size=batch, show_progress_bar=False)
    return {"seconds": time.perf_counter() - began}
"""


def package_scripts(folder):
    if peers.has("fastembed"):
        yield "fastembed", FASTEMBED, folder / "onnx"
    if peers.has("sentence_transformers"):
        yield "sentence-transformers", SENTENCE_TRANSFORMERS, MODEL


def package_peers(folder, threads):
    """Each gets batches of as many texts as there are clients: that many are under way at once."""
    return [peers.Peer(name, script, path, threads) for name, script, path in package_scripts(folder)]


# llama-server closes a connection after a hundred requests.
CONNECTION_REQUESTS = 80


def rate(setup, server, model, lines, clients):
    seconds = 0
    # By itself: requests that warm up beside those that are timed would be work that nobody counts.
    setup.client.run(server, PATH, [{"model": model, "input": lines[0]}], clients, connections=clients)
    for at in range(0, len(lines), CONNECTION_REQUESTS * clients):
        part = lines[at : at + CONNECTION_REQUESTS * clients]
        bodies = [{"model": model, "input": line, "encoding_format": "float"} for line in part]
        report = setup.client.run(server, PATH, bodies, len(part), connections=clients)
        seconds += report["seconds"]
    return len(lines) / seconds


def embeddings(setup):
    """(f) Embeddings a second for short, long and mixed texts, one text a request, from 1 and 16 clients."""
    rounds = 1 if setup.quick else 3
    counts = {"short": 200, "long": 40, "mixed": 100} if setup.quick else {"short": 400, "long": 64, "mixed": 160}
    folder = prepare(setup)
    ours = Roundhouse(
        setup.roundhouse, {"onnx": folder / "onnx", "gguf": folder / "minilm.gguf"},
        threads=setup.threads, preload=False, keep_alive="forever",
    )  # fmt: skip
    theirs = LlamaEmbeddings(setup.llama_server, folder / "minilm.gguf", setup.threads) if setup.llama_server else None
    packages = package_peers(folder, setup.threads)
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
                        for peer in packages:
                            seconds = peer.ask(texts=lines, batch=clients)["seconds"]
                            took.setdefault(peer.name, []).append(len(lines) / seconds)
                        setup.say(f"  {kind}, {clients} clients: {took}")
        finally:
            if theirs:
                theirs.__exit__()
            for peer in packages:
                peer.close()
    return {"rounds": rounds, "rows": [row_of(kind, clients, took) for (kind, clients), took in raw.items()]}


def resident_mib(pid):
    """Of a process and its children."""
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20 + sum(resident_mib(int(child)) for child in children)


def start_of(setup, make, work):
    """Milliseconds from the spawn to the first answer, and MiB after the work."""
    began = time.monotonic()
    one = make()
    try:
        first = work(one, texts("short", 1))
        took = 1000 * (time.monotonic() - began)
        work(one, texts("mixed", 64))
        return {"first_ms": took, "resident_mib": resident_mib(one.process.pid), "answer": first}
    finally:
        one.close() if isinstance(one, peers.Peer) else one.__exit__()


def embedding_start(setup):
    """(h) From nothing to the first embedding, and the memory of all processes after 64 texts."""
    rounds = 2 if setup.quick else 5
    folder = prepare(setup)

    def ours(path):
        server = Roundhouse(setup.roundhouse, {"x": path}, threads=setup.threads, keep_alive="forever").spawn()
        server.wait_ready()
        return server

    def theirs():
        server = LlamaEmbeddings(setup.llama_server, folder / "minilm.gguf", setup.threads).spawn()
        server.wait_ready()
        return server

    def ask(server, lines):
        bodies = [{"model": "x", "input": line, "encoding_format": "float"} for line in lines]
        return setup.client.run(server, PATH, bodies, len(bodies))["seconds"]

    def ask_peer(peer, lines):
        return peer.ask(texts=lines, batch=1)["seconds"]

    sides = {"ours, ONNX": (lambda: ours(folder / "onnx"), ask), "ours, GGUF": (lambda: ours(folder / "minilm.gguf"), ask)}
    if setup.llama_server:
        sides["llama-server"] = (theirs, ask)
    for name, script, path in package_scripts(folder):
        sides[name] = (lambda n=name, s=script, p=path: peers.Peer(n, s, p, setup.threads), ask_peer)
    raw = {name: [] for name in sides}
    for _ in range(rounds):
        for name, (make, work) in sides.items():
            raw[name].append(start_of(setup, make, work))
    rows = [{"server": name} | {key: statistics.median(run[key] for run in runs) for key in ("first_ms", "resident_mib")}
            for name, runs in raw.items()]  # fmt: skip
    return {"rounds": rounds, "rows": rows}


def row_of(kind, clients, took):
    row = {"texts": kind, "clients": clients}
    for name, rates in took.items():
        row[name] = statistics.median(rates)
    best = [took[name] for name in PEERS if name in took]
    if best:
        ours = [max(a, b) for a, b in zip(took["onnx"], took["gguf"])]
        row["ratio"] = statistics.median([mine / max(others) for mine, *others in zip(ours, *best)])
    return row
