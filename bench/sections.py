# SPDX-License-Identifier: Apache-2.0
"""The measurements. Each function gives a plain dictionary for results.json."""

import json
import socket
import statistics
import time

from load import text, worker_alone
from servers import LlamaServer, Roundhouse

SLOTS = 16
CONTEXT = 2048


def median(values):
    return statistics.median(values) if values else None


def fake_body(path, stream):
    """One word from the fake engine, in each dialect's own shape."""
    text_of_one_word = "[[tokens=1]]"
    if path == "/v1/chat/completions":
        return {"model": "fake", "messages": [{"role": "user", "content": text_of_one_word}], "stream": stream}
    return {"prompt": text_of_one_word, "stream": stream}


OVERHEAD_REQUESTS = (
    ("chat", "/v1/chat/completions", False),
    ("chat_stream", "/v1/chat/completions", True),
    ("generate", "/generate", False),
    ("generate_stream", "/generate", True),
)


def overhead(setup):
    """(a) What the daemon adds: a run through it, less the same run sent straight into a worker's socket. In turns, since
    a machine that wakes its cores slowly now may wake them fast a second later."""
    rounds, requests = (3, 1000) if setup.quick else (7, 3000)
    raw = {name: [] for name in ("worker alone", *(name for name, _, _ in OVERHEAD_REQUESTS))}
    with Roundhouse(setup.roundhouse, {"fake": "fake:"}) as server:
        server.wait_ready()
        for _ in range(rounds):
            alone = worker_alone(setup.build, setup.worker, requests, requests // 10)
            raw["worker alone"].append(alone)
            for name, path, stream in OVERHEAD_REQUESTS:
                report = setup.client.run(server, path, [fake_body(path, stream)], requests, warmup=requests // 10)
                took = {key: report["latency_us"][key] for key in ("p50", "p90", "p99", "mean")}
                took["added_p50"] = took["p50"] - alone["p50"]
                took["first_p50"] = report["first_us"]["p50"]
                raw[name].append(took)
    return {
        name: {key: median([run[key] for run in runs]) for key in runs[0] if key != "count"}
        for name, runs in raw.items()
    }


def memory(setup):
    """(d) The daemon's memory over many requests: bytes a request, by least squares over the second half."""
    requests = 10000 if setup.quick else 100000
    with Roundhouse(setup.roundhouse, {"fake": "fake:slots=8"}) as server:
        server.wait_ready()
        body = fake_body("/v1/chat/completions", False)
        result = setup.client.run(
            server, "/v1/chat/completions", [body], requests, connections=8, warmup=100, sample_every=requests // 100
        )
    samples = result["rss_kib"]
    half = samples[len(samples) // 2 :]
    mean_x = statistics.mean(x for x, _ in half)
    mean_y = statistics.mean(y for _, y in half)
    spread = sum((x - mean_x) ** 2 for x, _ in half)
    slope = sum((x - mean_x) * (y - mean_y) for x, y in half) / spread if spread else 0.0
    return {
        "requests": requests,
        "requests_per_second": requests / result["seconds"],
        "rss_kib_first": samples[0][1],
        "rss_kib_last": samples[-1][1],
        "rss_kib_max": max(y for _, y in samples),
        "slope_bytes_per_request": slope * 1024,
        "latency_us": result["latency_us"],
        "samples": samples,
    }


# --- against llama-server ------------------------------------------------------------------------------------------


def sides(setup):
    """The servers to compare, ours first; both hold the same file with the same threads, slots and context."""
    ours = Roundhouse(
        setup.roundhouse, {"model": setup.model}, threads=setup.threads, slots=SLOTS, context=CONTEXT
    )
    if setup.llama_server is None:
        return [ours]
    return [ours, LlamaServer(setup.llama_server, setup.model, setup.threads, SLOTS, CONTEXT)]


def completion_body(words, seed, tokens):
    """A completion that shares no prefix with another and does not end early. Fields that only one of the two servers
    knows are harmless to the other."""
    return {
        "model": "model",
        "prompt": text(words, seed),
        "max_tokens": tokens,
        "temperature": 0,
        "ignore_eos": True,
        "cache_prompt": False,
        "stream": True,
        "stream_options": {"include_usage": True},
    }


def decode_wave(setup, server, streams, seed, tokens):
    """`streams` streams at once, one request each."""
    bodies = [completion_body(24, seed * 1000 + index, tokens) for index in range(streams)]
    detail = setup.client.run(server, "/v1/completions", bodies, streams, connections=streams, detail=True)["detail"]
    for request in detail:
        if request["completion_tokens"] != tokens or request["first_us"] < 0:
            raise SystemExit(f"{server.name}: a stream gave {request}; wanted {tokens} tokens")
    window = max(r["end_us"] for r in detail) - min(r["start_us"] for r in detail)
    return {
        "tokens_per_second": 1e6 * tokens * streams / window,
        "stream_tokens_per_second": median([1e6 * (tokens - 1) / (r["end_us"] - r["first_us"]) for r in detail]),
        "first_token_ms": median([(r["first_us"] - r["start_us"]) / 1000 for r in detail]),
    }


def prefill(setup, server, seed, words):
    """One long prompt, one token: how fast the prompt is read."""
    body = completion_body(words, seed, 1)
    detail = setup.client.run(server, "/v1/completions", [body], 1, detail=True)["detail"][0]
    took = detail["first_us"] - detail["start_us"]
    return {"prompt_tokens": detail["prompt_tokens"], "tokens_per_second": 1e6 * detail["prompt_tokens"] / took}


def throughput(setup):
    """(b) Decode and prefill, the servers in turn in one run, so that a slow minute of the machine hits both."""
    repetitions = 2 if setup.quick else 5
    tokens = 32 if setup.quick else 128
    stream_counts = (1, 4, 16) if setup.quick else (1, 2, 4, 8, 16)
    prompt_words = 300 if setup.quick else 1000
    servers = sides(setup)
    raw = {server.name: {"prefill": [], **{f"decode_{n}": [] for n in stream_counts}} for server in servers}
    for server in servers:
        server.spawn()
    try:
        for server in servers:
            server.wait_ready()
            setup.client.run(server, "/v1/completions", [completion_body(8, 1, 4)], 1)
        for repetition in range(repetitions):
            for server in servers:
                seed = repetition + 2
                raw[server.name]["prefill"].append(prefill(setup, server, 900000 + seed, prompt_words))
                for streams in stream_counts:
                    wave = decode_wave(setup, server, streams, seed * 100 + streams, tokens)
                    raw[server.name][f"decode_{streams}"].append(wave)
                setup.say(f"  {server.name}, repetition {repetition + 1} of {repetitions}")
    finally:
        for server in servers:
            server.__exit__()
    return {"repetitions": repetitions, "tokens": tokens, "rows": rows_of(raw), "raw": raw}


def rows_of(raw):
    """Medians and the ratio ours / theirs of every measured number."""
    rows = []
    ours = raw["roundhouse"]
    theirs = raw.get("llama-server")
    for section, waves in ours.items():
        for field in waves[0]:
            if field == "prompt_tokens":
                continue
            row = {"what": section, "number": field, "ours": median([wave[field] for wave in waves])}
            if theirs:
                row["theirs"] = median([wave[field] for wave in theirs[section]])
                # The median of the ratios of neighbours in time, not the ratio of the medians.
                row["ratio"] = median([a[field] / b[field] for a, b in zip(waves, theirs[section])])
            rows.append(row)
    return rows


# --- cold start ----------------------------------------------------------------------------------------------------


def first_token_after_spawn(server):
    """Seconds from the spawn to the first streamed text, asking again as long as the server is not there yet."""
    body = json.dumps(completion_body(8, 7, 4)).encode()
    request = (
        b"POST /v1/completions HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\nconnection: close\r\n"
        b"content-length: %d\r\n\r\n" % len(body)
    ) + body

    def attempt():
        try:
            with socket.create_connection(("127.0.0.1", server.port), timeout=60) as connection:
                connection.sendall(request)
                got = b""
                while b'"text":"' not in got.replace(b'"text":""', b""):
                    piece = connection.recv(65536)
                    if not piece:
                        return None
                    got += piece
                return time.monotonic()
        except OSError:
            return None

    return server.wait_until(attempt, "the first token") - server.spawned_at


def cold_start(setup):
    """(c) From spawn to the first token through HTTP, the file in the page cache; and from spawn to listening."""
    repetitions = 2 if setup.quick else 5
    raw = {"listening_s": [], "roundhouse": [], "llama-server": []}
    with open(setup.model, "rb") as file:
        while file.read(1 << 24):
            pass
    for _ in range(repetitions):
        for server in sides(setup):
            with server:
                if server.name == "roundhouse":
                    raw["listening_s"].append(server.wait_ready())
                raw[server.name].append(first_token_after_spawn(server))
    with_fake = []
    for _ in range(repetitions * 2):
        with Roundhouse(setup.roundhouse, {"fake": "fake:"}, preload=False) as server:
            with_fake.append(server.wait_ready())
    return {
        "listening_ms": 1000 * median(raw["listening_s"]),
        "listening_without_model_ms": 1000 * median(with_fake),
        "ours_s": median(raw["roundhouse"]),
        "theirs_s": median(raw["llama-server"]),
        "ratio": median([a / b for a, b in zip(raw["roundhouse"], raw["llama-server"])]),
        "raw": raw,
    }
