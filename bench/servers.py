# SPDX-License-Identifier: Apache-2.0
"""The servers that are measured: started on a free port, ended for certain."""

import json
import os
import socket
import subprocess
import tempfile
import time
from pathlib import Path

START_TIMEOUT_S = 120


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class Server:
    """A process with a port. Use as a context manager."""

    def __init__(self, name, command, port=None):
        self.name = name
        self.command = [str(word) for word in command]
        self.port = port
        self.folder = tempfile.TemporaryDirectory(prefix="rh-bench-")
        self.log_path = Path(self.folder.name) / "log"
        # Nobody's own configuration may slip into the numbers.
        self.environment = {key: value for key, value in os.environ.items() if not key.startswith("ROUNDHOUSE_")}
        self.environment["HOME"] = self.environment["XDG_DATA_HOME"] = self.folder.name
        self.environment["XDG_CONFIG_HOME"] = self.folder.name
        self.process = None
        self.spawned_at = None

    def spawn(self):
        with open(self.log_path, "wb") as log:
            self.spawned_at = time.monotonic()
            self.process = subprocess.Popen(
                self.command, stdout=log, stderr=log, cwd=self.folder.name, env=self.environment
            )
        return self

    def __enter__(self):
        return self.spawn()

    def __exit__(self, *_):
        self.process.terminate()
        try:
            self.process.wait(30)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self.folder.cleanup()

    def check(self):
        if self.process.poll() is not None:
            tail = self.log_path.read_text(errors="replace")[-2000:]
            raise SystemExit(f"{self.name} ended with {self.process.returncode}:\n{tail}")

    def wait_until(self, condition, what):
        deadline = time.monotonic() + START_TIMEOUT_S
        while time.monotonic() < deadline:
            value = condition()
            if value:
                return value
            self.check()
            time.sleep(0.0005)
        raise SystemExit(f"{self.name}: {what} took more than {START_TIMEOUT_S} s")


class Roundhouse(Server):
    """Ours. `settings` are flags: slots=16 becomes --slots 16."""

    def __init__(self, program, models, **settings):
        command = [program, "serve", "--listen", "127.0.0.1:0", "--log-format", "json", "--idle-timeout", "1h"]
        for name, path in models.items():
            command += ["--model", f"{name}={path}"]
        for key, value in settings.items():
            flag = key.replace("_", "-")
            command += [f"--no-{flag}"] if value is False else [f"--{flag}", value]
        super().__init__("roundhouse", command)

    def listening(self):
        for line in self.log_path.read_text(errors="replace").split("\n")[:-1]:
            if '"listening"' in line:
                return json.loads(line)["address"]
        return None

    def wait_ready(self):
        """Until it listens; seconds since it was spawned. A request may be sent at once: it waits for the model."""
        address = self.wait_until(self.listening, "listening")
        took = time.monotonic() - self.spawned_at
        self.port = int(address.rsplit(":", 1)[1])
        return took


class LlamaServer(Server):
    """The reference: llama.cpp's own server."""

    def __init__(self, program, model, threads, slots, context):
        port = free_port()
        super().__init__(
            "llama-server",
            [
                program, "-m", model, "--host", "127.0.0.1", "--port", port, "-t", threads, "-np", slots,
                "-c", context * slots, "--no-webui",
            ],
            port,
        )  # fmt: skip

    def healthy(self):
        try:
            with socket.create_connection(("127.0.0.1", self.port), timeout=5) as connection:
                connection.sendall(b"GET /health HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n")
                return connection.recv(64).startswith(b"HTTP/1.1 200")
        except OSError:
            return False

    def wait_ready(self):
        self.wait_until(self.healthy, "getting healthy")
        return time.monotonic() - self.spawned_at


class LlamaRouter(LlamaServer):
    """llama.cpp's own server in router mode: a process for each model, one model in memory at a time."""

    def __init__(self, program, folder, threads, slots, context):
        port = free_port()
        Server.__init__(
            self,
            "llama-server",
            [
                program, "--models-dir", folder, "--models-max", 1, "--host", "127.0.0.1", "--port", port,
                "-t", threads, "-np", slots, "-c", context * slots, "--no-webui",
            ],
            port,
        )  # fmt: skip
