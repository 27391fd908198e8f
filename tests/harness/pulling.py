# SPDX-License-Identifier: Apache-2.0
"""Pulls under test: a process, its events, and what it leaves in the store."""

import hashlib
import json
import subprocess
from pathlib import Path

from harness.daemon import BUILD, ROUNDHOUSE, clean_environment, flag, sanitizer_reports
from harness.wait import poll, scaled

PULL_ONCE = BUILD / "pull_once"


class Pull:
    """One running pull. Events are read as they come."""

    def __init__(self, folder, source, environment=None, prefix=(), store=None, **options):
        assert PULL_ONCE.exists(), f"{PULL_ONCE} is missing: build first (or set RH_BUILD_DIR)"
        self.folder = Path(folder)
        self.store = Path(store or self.folder / "store")
        words = [f"{key}={value}" for key, value in options.items()]
        names = ("CURL_CA_BUNDLE", "SSL_CERT_FILE", "HF_TOKEN", "HUGGING_FACE_HUB_TOKEN", "HF_ENDPOINT", "HF_HOME")
        clean = clean_environment(self.folder)
        clean = {key: value for key, value in clean.items() if key not in names and not key.startswith("AWS_")}
        clean.update(environment or {})
        self.output = self.folder / f"events-{id(self)}.ndjson"
        self.errors = self.folder / f"stderr-{id(self)}.txt"
        with open(self.output, "wb") as out, open(self.errors, "wb") as err:
            self.process = subprocess.Popen(
                [*prefix, *self.command(source, words)],
                stdin=subprocess.DEVNULL, stdout=out, stderr=err, env=clean, cwd=self.folder,
            )

    def command(self, source, words):
        return [str(PULL_ONCE), str(self.store), source, *words]

    @property
    def events(self):
        lines = self.output.read_text().split("\n")[:-1]
        return [json.loads(line) for line in lines]

    def of(self, kind):
        return [event for event in self.events if event["event"] == kind]

    def wait_event(self, kind, condition=lambda event: True, seconds=20):
        def found():
            return next((event for event in self.of(kind) if condition(event)), None)

        return poll(found, seconds, f"an event {kind}")

    def kill(self):
        self.process.kill()
        self.process.wait()

    def wait(self, seconds=60):
        code = self.process.wait(scaled(seconds))
        reports = sanitizer_reports(self.folder)
        assert not reports, "\n".join(reports)
        assert code in (0, 1), f"exit status {code}: {self.errors.read_text()}"
        return code

    # --- how it should end ---

    def succeeds(self, seconds=60):
        code = self.wait(seconds)
        assert code == 0, self.events[-3:]
        last = self.events[-1]
        assert last["event"] == "done", last
        check_progress(self.of("progress"))
        return last

    def fails(self, status, *words, seconds=60):
        assert self.wait(seconds) == 1, self.events[-3:]
        last = self.events[-1]
        assert last["event"] == "error" and last["status"] == status, last
        for word in words:
            assert str(word) in last["message"], f"{word!r} is not in: {last['message']}"
        assert installed(self.store) == {}, "a failed pull left a model"
        return last


class PullCommand(Pull):
    """The same by `roundhouse pull`, whose flags are the options: dry_run=True, name="x"."""

    def __init__(self, folder, source, environment=None, **options):
        self.flags = []
        for key, value in options.items():
            self.flags += flag(key, value)
        super().__init__(folder, source, environment)

    def command(self, source, words):
        return [str(ROUNDHOUSE), "pull", source, "--json", "--store-dir", str(self.store), *self.flags]


def check_progress(events):
    if events:
        assert events[-1]["completed"] == events[-1]["total"], events[-1]


def installed(store):
    """{"name:version": manifest} of all that stands in models/; every file it lists is there with its digest."""
    found = {}
    for path in sorted((Path(store) / "models").glob("*/*/manifest.json")):
        manifest = json.loads(path.read_text())
        for entry in manifest["files"]:
            content = (path.parent / entry["path"]).read_bytes()
            assert len(content) == entry["bytes"]
            assert hashlib.sha256(content).hexdigest() == entry["sha256"]
        listed = {entry["path"] for entry in manifest["files"]} | {"manifest.json"}
        there = {str(name.relative_to(path.parent)) for name in path.parent.rglob("*") if name.is_file()}
        assert there == listed, f"{path.parent} holds {there - listed} besides what its manifest lists"
        found[f"{path.parent.parent.name}:{path.parent.name}"] = manifest
    return found


def partial_bytes(store, ending=".part"):
    return sum(path.stat().st_blocks * 512 for path in (Path(store) / "partial").rglob(f"*{ending}"))
