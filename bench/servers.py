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


def pinned(core, command):
    return command if core is None else ["taskset", "-c", str(core), *command]


class Server:
    """A process with a port. Use as a context manager. `core`: the only one that it and its children may run on."""

    def __init__(self, name, command, port=None, core=None):
        self.name = name
        self.command = pinned(core, [str(word) for word in command])
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

    def healthy(self, path="/health"):
        try:
            with socket.create_connection(("127.0.0.1", self.port), timeout=5) as connection:
                connection.sendall(b"GET %s HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n" % path.encode())
                return connection.recv(64).startswith(b"HTTP/1.1 200")
        except OSError:
            return False

    def wait_ready(self):
        """Until it answers; seconds since it was spawned."""
        self.wait_until(self.healthy, "getting healthy")
        return time.monotonic() - self.spawned_at

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
    """Ours. `settings` are flags: slots=16 becomes --slots 16. `config` becomes its roundhouse.json."""

    def __init__(self, program, models, config=None, core=None, **settings):
        # A daemon that logs less does not say where it listens.
        port = free_port() if "log_level" in settings else 0
        command = [program, "serve", "--listen", f"127.0.0.1:{port}", "--log-format", "json", "--idle-timeout", "1h"]
        for name, path in models.items():
            command += ["--model", f"{name}={path}"]
        for key, value in settings.items():
            flag = key.replace("_", "-")
            command.append(f"--no-{flag}" if value is False else f"--{flag}")
            if not isinstance(value, bool):
                command.append(value)
        super().__init__("roundhouse", command, port or None, core)
        if config is not None:
            file = Path(self.folder.name) / "roundhouse.json"
            file.write_text(json.dumps(config))
            self.command += ["--config", str(file)]

    def listening(self):
        for line in self.log_path.read_text(errors="replace").split("\n")[:-1]:
            if '"listening"' in line:
                return json.loads(line)["address"]
        return None

    def wait_ready(self):
        """Until it listens; seconds since it was spawned. A request may be sent at once: it waits for the model."""
        if self.port is not None:
            return super().wait_ready()
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


# --- around the gateway --------------------------------------------------------------------------------------------

NGINX = """
daemon off;
master_process off;
worker_processes 1;
pid {folder}/nginx.pid;
error_log {folder}/error.log;
events {{ worker_connections 1024; }}
http {{
  access_log {access_log};
  client_body_temp_path {folder}/body;
  proxy_temp_path {folder}/proxy;
  fastcgi_temp_path {folder}/fastcgi;
  uwsgi_temp_path {folder}/uwsgi;
  scgi_temp_path {folder}/scgi;
  keepalive_requests 1000000000;
  keepalive_timeout 1h;
  server {{
    listen 127.0.0.1:{port};
    default_type application/json;
    location / {{ return 200 "{text}"; }}
  }}
}}
"""


class Nginx(Server):
    """The fastest answer there is: `return 200` with `size` bytes, one worker. `logs`: with a line in a file for each request."""

    def __init__(self, program, size, logs, core):
        super().__init__("nginx", [], free_port())
        folder = self.folder.name
        configuration = Path(folder) / "nginx.conf"
        access_log = f"{folder}/access.log combined" if logs else "off"
        configuration.write_text(NGINX.format(folder=folder, port=self.port, text="x" * size, access_log=access_log))
        self.command = pinned(core, [program, "-p", folder, "-e", f"{folder}/error.log", "-c", str(configuration)])


class LiteLLM(Server):
    """LiteLLM's proxy with one worker, no database, and `upstream` as the model "fake"."""

    def __init__(self, python, upstream, core):
        port = free_port()
        program = Path(python).with_name("litellm")
        super().__init__("litellm", [program, "--host", "127.0.0.1", "--port", port, "--num_workers", 1], port, core)
        entry = {"model": "openai/fake", "api_base": upstream.base_url, "api_key": "none"}
        file = Path(self.folder.name) / "config.yaml"  # JSON is YAML
        file.write_text(json.dumps({"model_list": [{"model_name": "fake", "litellm_params": entry}]}))
        self.command += ["--config", str(file)]
        # Nothing of its own makes it slower: no key to be checked (ours checks none either), no list of prices from the network,
        # no words of its debug log.
        self.environment |= {
            "LITELLM_DANGEROUSLY_PERMIT_WEAK_OR_UNSET_MASTER_KEY": "true",
            "LITELLM_LOCAL_MODEL_COST_MAP": "True",
            "LITELLM_MODE": "PRODUCTION",
            "LITELLM_LOG": "ERROR",
        }

    def healthy(self, path="/health/liveliness"):
        return super().healthy(path)


class FakeUpstream(Server):
    """fake_upstream.c: a provider that answers at once, with `words` words in one piece or as many events."""

    def __init__(self, program, words, core=None):
        super().__init__("fake_upstream", [program, "--chunks", words, "--words", words], core=core)

    def spawn(self):
        # It serves until its standard input ends, and says its port first.
        self.spawned_at = time.monotonic()
        self.process = subprocess.Popen(self.command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        line = self.process.stdout.readline().strip()
        if not line.isdigit():
            raise SystemExit(f"{self.name} did not start")
        self.port = int(line)
        return self

    @property
    def base_url(self):
        return f"http://127.0.0.1:{self.port}/v1"
