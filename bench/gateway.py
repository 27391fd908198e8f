# SPDX-License-Identifier: Apache-2.0
"""The gateway: cached answers beside nginx's `return 200`, proxied ones beside LiteLLM's proxy, the time of a routing decision,
memory over many different requests, and what it costs to be there. The server has one core, whoever loads it another."""

import http.client
import json
import os
import shutil
import statistics
import subprocess
import time
from pathlib import Path

import peers
from load import Client, build_program, wrk
from servers import FakeUpstream, LiteLLM, Nginx, Roundhouse

CHAT = "/v1/chat/completions"
CONNECTIONS = 16
WORDS = 16  # of each answer


def median(values):
    return statistics.median(values) if values else None


def cores():
    """Of the server and of the load; two Nones where there is but one, and then the numbers mean less."""
    usable = sorted(os.sched_getaffinity(0))
    return (usable[0], usable[-1]) if len(usable) > 1 else (None, None)


def chat_body(model, text, **more):
    return {"model": model, "messages": [{"role": "user", "content": text}], **more}


def answer_of(server, body):
    """One answer: its body and headers."""
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=60)
    try:
        connection.request("POST", CHAT, json.dumps(body), {"Content-Type": "application/json"})
        answer = connection.getresponse()
        data = answer.read()
        if answer.status != 200:
            raise SystemExit(f"{server.name}: {answer.status} {data[:500]}")
        return data, answer.headers
    finally:
        connection.close()


def upstream_program(setup):
    return build_program(setup.build, "fake_upstream", "-lmicrohttpd")


def provider(upstream, **more):
    return {"type": "openai-compatible", "baseUrl": upstream.base_url, "models": {"default": "fake"}, **more}


# --- cached answers ------------------------------------------------------------------------------------------------


def cached(setup):
    """Answers from the cache in a second and nginx's `return 200` of a body of the same size, in turns: both with a line of log a
    request, and both without."""
    rounds, seconds = (1, 1) if setup.quick else (5, 4)
    core, load_core = cores()
    load, nginx = shutil.which("wrk"), shutil.which("nginx")
    body = chat_body("fake", f"[[tokens={WORDS}]]", temperature=0)
    client = Client(setup.client.program, load_core)

    def measure(server):
        if load is not None:
            report = wrk(load, server, CHAT, body, seconds, CONNECTIONS, load_core)
        else:
            report = client.run(server, CHAT, [body], (5000 if setup.quick else 100000), CONNECTIONS)
        return report["requests"] / report["seconds"]

    result = {"rounds": rounds, "load": "wrk" if load else "bench_http_latency", "rows": []}
    for logs in (True, False):
        level = {} if logs else {"log_level": "warn"}
        with Roundhouse(setup.roundhouse, {"fake": "fake:"}, core=core, **level) as ours:
            ours.wait_ready()
            answer_of(ours, body)
            data, headers = answer_of(ours, body)
            if headers["x-roundhouse-cache"] != "hit":
                raise SystemExit("the answer to be measured does not come from the cache")
            rates = {"ours": [], "nginx": []}
            if nginx is None:
                rates["ours"] = [measure(ours) for _ in range(rounds)]
            else:
                with Nginx(nginx, len(data), logs, core) as theirs:
                    theirs.wait_ready()
                    for _ in range(rounds):
                        rates["ours"].append(measure(ours))
                        rates["nginx"].append(measure(theirs))
        result["answer_bytes"] = len(data)
        ratios = [a / b for a, b in zip(rates["ours"], rates["nginx"])]
        result["rows"].append(
            {"logs": logs, **{name: median(list_) for name, list_ in rates.items()}, "ratio": median(ratios), "raw": rates}
        )
    return result


# --- proxied requests ----------------------------------------------------------------------------------------------


def measure_proxied(setup, client, server, model, stream, connections):
    """As many requests as take about two seconds, found out with a few first."""
    body = chat_body(model, "Say something.", stream=stream)
    probe = client.run(server, CHAT, [body], 8 * connections, connections, warmup=connections)
    seconds = 0.1 if setup.quick else 2
    requests = int(min(max(seconds * probe["requests"] / probe["seconds"], 2 * connections), 50000))
    report = client.run(server, CHAT, [body], requests, connections, warmup=connections)
    return {
        "requests_per_second": report["requests"] / report["seconds"],
        "p50": report["latency_us"]["p50"],
        "p99": report["latency_us"]["p99"],
        "first_p50": report["first_us"]["p50"] if stream else None,
    }


def proxied_row(raw, stream, connections):
    """Medians over the rounds; what was added is the round's own difference to the upstream asked directly."""
    row = {"stream": stream, "connections": connections}
    for name, runs in raw.items():
        key = name.replace("fake_upstream", "straight")
        row[f"{key}_per_second"] = median([run["requests_per_second"] for run in runs])
        row[f"{key}_p50"] = median([run["p50"] for run in runs])
        row[f"{key}_p99"] = median([run["p99"] for run in runs])
        if name != "fake_upstream":
            added = [run["p50"] - direct["p50"] for run, direct in zip(runs, raw["fake_upstream"])]
            row[f"{key}_added_p50"] = median(added)
    if "litellm" in raw:
        row["ratio_per_second"] = row["roundhouse_per_second"] / row["litellm_per_second"]
        row["ratio_added"] = row["roundhouse_added_p50"] / row["litellm_added_p50"]
    return row


def proxied(setup):
    """Requests through the gateway to one provider, whole and streamed, beside LiteLLM's proxy, in turns."""
    rounds = 1 if setup.quick else 5
    core, load_core = cores()
    client = Client(setup.client.program, load_core)
    with FakeUpstream(upstream_program(setup), WORDS, load_core) as upstream:
        models = {upstream: "fake"}
        ours = Roundhouse(setup.roundhouse, {}, config={"providers": {"up": provider(upstream)}}, core=core)
        models[ours] = "up/fake"
        servers = [ours]
        if peers.has("litellm"):
            servers.append(LiteLLM(peers.PYTHON, upstream, core))
            models[servers[-1]] = "fake"
        else:
            setup.say("  no litellm in RH_BENCH_PEER_PYTHON: measuring ours alone")
        raw = {}
        try:
            for server in servers:
                server.spawn()
                server.wait_ready()
                answer_of(server, chat_body(models[server], "Say something."))
            for round_ in range(rounds):
                for stream in (False, True):
                    for connections in (1, CONNECTIONS):
                        of = raw.setdefault((stream, connections), {server.name: [] for server in models})
                        for server, model in models.items():
                            of[server.name].append(measure_proxied(setup, client, server, model, stream, connections))
                setup.say(f"  proxied, round {round_ + 1} of {rounds}")
        finally:
            for server in servers:
                if server.process is not None:
                    server.__exit__()
    rows = [proxied_row(of, *key) for key, of in raw.items()]
    return {"rounds": rounds, "rows": rows, "raw": {f"{key[0]},{key[1]}": of for key, of in raw.items()}}


# --- routing decisions ---------------------------------------------------------------------------------------------


def route(setup):
    """What bench_route_speed says: features and decision with 100 rules and 20 members."""
    program = setup.build / "bench" / "route_speed"
    if not program.exists():
        setup.say(f"  {program} is missing (build the target bench_route_speed)")
        return None
    rounds = 1000 if setup.quick else 100000
    done = subprocess.run([program, str(rounds)], capture_output=True, text=True, check=True)
    return [json.loads(line) for line in done.stdout.splitlines()]


# --- memory --------------------------------------------------------------------------------------------------------

# Distinct in the number that the client puts in place of '#': addresses, sessions, users and prompts, so that the buckets of the
# limits, the sticky sessions and the cache all turn over within their bounds.
MANY_HEADERS = ("X-Forwarded-For: 10.######", "x-roundhouse-session: session-#####")
MANY_BODIES = (
    chat_body("fake", f"[[tokens={WORDS}]]", temperature=0, user="user-######"),
    chat_body("auto", "Question number ########, which nobody has asked before.", temperature=0, user="user-######"),
    chat_body("fake", f"[[tokens={WORDS}]]", temperature=0, stream=True),
    chat_body("auto", "Question number ########, with chance in its answer.", stream=True),
)
MEMORY_SECONDS_MAX = 1800


def resident_kib(pid):
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1])
    raise SystemExit(f"no VmRSS of {pid}")


def slope(samples):
    """Bytes a request over the second half, by least squares."""
    half = samples[len(samples) // 2 :]
    mean_x = statistics.mean(x for x, _ in half)
    mean_y = statistics.mean(y for _, y in half)
    spread = sum((x - mean_x) ** 2 for x, _ in half)
    return 1024 * sum((x - mean_x) * (y - mean_y) for x, y in half) / spread if spread else 0.0


def memory(setup):
    """The daemon's memory over a million requests that differ in all that it remembers."""
    total = 50_000 if setup.quick else 1_000_000
    step = total // 10
    began = time.monotonic()
    samples = []
    with FakeUpstream(upstream_program(setup), WORDS) as upstream:
        config = {
            "providers": {"up": provider(upstream)},
            "routing": {"rules": [{"condition": {"task": "chat"}, "action": {"provider": "up"}}]},
        }
        server = Roundhouse(
            setup.roundhouse, {"fake": "fake:slots=8"}, config=config,
            # A bucket lives half a minute, so that their number reaches its bound; the cache is full after 30,000 answers.
            trust_proxy=True, limit_ip_requests=2, cache_bytes="16MiB",
        )  # fmt: skip
        with server:
            server.wait_ready()
            answer_of(server, chat_body("fake", f"[[tokens={WORDS}]]", temperature=0))
            samples.append((0, resident_kib(server.process.pid)))
            while samples[-1][0] < total and time.monotonic() - began < MEMORY_SECONDS_MAX:
                done = samples[-1][0]
                setup.client.run(server, CHAT, MANY_BODIES, step, CONNECTIONS, headers=MANY_HEADERS, number=done)
                samples.append((done + step, resident_kib(server.process.pid)))
                setup.say(f"  memory: {done + step:,} requests, {samples[-1][1] / 1024:.1f} MiB")
    return {
        "requests": samples[-1][0],
        "requests_per_second": samples[-1][0] / (time.monotonic() - began),
        "rss_kib_first": samples[1][1],  # after a tenth: what is filled at first is no leak
        "rss_kib_last": samples[-1][1],
        "slope_bytes_per_request": slope(samples[1:]),
        "samples": samples,
    }


# --- being there ---------------------------------------------------------------------------------------------------


def full_configuration():
    """Everything a gateway can be told, larger than most will have it."""
    providers = {
        f"p{i}": {
            "type": "openai-compatible",
            "baseUrl": f"http://127.0.0.1:{9 + i}/v1",
            "apiKey": "none",
            "models": {"default": f"m{i}", "fast": f"s{i}"},
        }
        for i in range(10)
    }
    rules = [
        {
            "condition": {"agentType": [f"agent-{i}"], "promptTokens": {"min": i}},
            "action": {"provider": f"p{i % 10}", "fallback": ["fake"]},
            "reason": f"rule {i}",
        }
        for i in range(100)
    ]
    return {
        "providers": providers,
        "defaultProvider": "p0",
        "fallbackChain": ["p0", "p1"],
        "routing": {"mode": "latency-optimized", "rules": rules},
        "keys": [{"name": f"k{i}", "key": f"a-long-secret-of-key-number-{i}", "requests_per_minute": 60} for i in range(20)],
        "experiments": [
            {"name": "trial", "model": "p1/m1", "arms": [{"name": "a", "model": "p1/m1"}, {"name": "b", "model": "p2/m2"}]}
        ],
    }


def idle(setup):
    """Start and memory of a daemon with a full configuration that does nothing."""
    rounds = 3 if setup.quick else 15
    listening, resident = [], []
    for _ in range(rounds):
        server = Roundhouse(setup.roundhouse, {"fake": "fake:"}, config=full_configuration(), preload=False)
        with server:
            listening.append(1000 * server.wait_ready())
            time.sleep(0.5)  # what it does after its start is over
            resident.append(resident_kib(server.process.pid) / 1024)
    return {"listening_ms": median(listening), "resident_mib": median(resident)}


def gateway(setup):
    result = {}
    for part in (cached, proxied, route, memory, idle):
        setup.say(f"  {part.__name__}")
        result[part.__name__] = part(setup)
    return result
