# SPDX-License-Identifier: Apache-2.0
"""Peers that are Python packages: each in a process of its own that answers a line of JSON with a line of JSON. They are no
servers: nothing is sent over HTTP, queued or streamed there, which is to their advantage.

RH_BENCH_PEER_PYTHON names a Python that has the packages (fastembed, sentence-transformers, onnxruntime-genai; LiteLLM's proxy, which
is a server, see servers.py); what it lacks is left out of the tables."""

import json
import os
import subprocess

PYTHON = os.environ.get("RH_BENCH_PEER_PYTHON")

LOOP = """
print("ready", flush=True)
for line in sys.stdin:
    print(json.dumps(answer(json.loads(line))), flush=True)
"""


class Peer:
    """`script` defines answer(work) and finds `arguments` in sys.argv[1:]."""

    def __init__(self, name, script, *arguments):
        self.name = name
        command = [PYTHON, "-c", script + LOOP, *arguments]
        self.process = subprocess.Popen(
            [str(word) for word in command], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        if self.process.stdout.readline().strip() != "ready":
            raise SystemExit(f"{name} did not start; is it installed for {PYTHON}?")

    def ask(self, **work):
        self.process.stdin.write(json.dumps(work) + "\n")
        self.process.stdin.flush()
        answer = self.process.stdout.readline()
        if not answer:
            raise SystemExit(f"{self.name} ended")
        return json.loads(answer)

    def close(self):
        self.process.stdin.close()
        self.process.wait(30)


def has(package):
    if PYTHON is None:
        return False
    check = f"import importlib.util as u, sys; sys.exit(u.find_spec({package!r}) is None)"
    return subprocess.run([PYTHON, "-c", check]).returncode == 0
