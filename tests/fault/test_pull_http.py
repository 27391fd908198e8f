# SPDX-License-Identifier: Apache-2.0
"""Pulls of one file by its address, where nobody promises anything but the server itself."""

import hashlib
import ssl
import subprocess
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from harness.hub import Hub, gguf
from harness.pulling import Pull, installed, partial_bytes
from harness.wait import poll

MIB = 1024 * 1024
SMALL = gguf(300_000)
LARGE = gguf(40 * MIB, seed=2)


@pytest.fixture
def pull(tmp_path):
    running = []

    def start(source, environment=None, **options):
        running.append(Pull(tmp_path, source, environment, **options))
        return running[-1]

    yield start
    for one in running:
        if one.process.poll() is None:
            one.kill()


def digest(content):
    return hashlib.sha256(content).hexdigest()


def only(store):
    models = installed(store)
    assert len(models) == 1, models
    return next(iter(models.values()))


def test_a_file(pull, hub):
    hub.add_file("/models/Some-Model-Q8_0.gguf", LARGE)
    one = pull(f"{hub.url}/models/Some-Model-Q8_0.gguf?token=hush")
    done = one.succeeds()
    assert (done["name"], done["version"]) == ("some-model", "q8_0")
    assert only(one.store)["files"][0]["sha256"] == digest(LARGE)
    assert hub.bytes_sent() - len(LARGE) <= 64 * 1024, "the probe took more than a piece"
    assert "hush" not in one.output.read_text() and "hush" not in str(installed(one.store))
    hub.forget()
    assert pull(f"{hub.url}/models/Some-Model-Q8_0.gguf").succeeds()["already"] is True


def test_right_and_wrong_digest(pull, hub):
    hub.add_file("/x.gguf", SMALL)
    wrong = "0" * 64
    one = pull(f"{hub.url}/x.gguf#sha256={wrong}")
    one.fails("invalid", wrong, digest(SMALL))
    assert partial_bytes(one.store) == 0
    pull(f"{hub.url}/x.gguf#sha256={digest(SMALL).upper()}").succeeds()


def test_content_changes_between_ranges(pull, hub):
    """Half of one version and half of another is no model: the ETag tells, and all of the new one is fetched."""
    new = gguf(40 * MIB, seed=4)
    served = hub.add_file("/x.gguf", LARGE)

    def change(served, first):
        if first >= 16 * MIB:
            served.content, served.etag = new, '"new"'

    served.hook = change
    one = pull(f"{hub.url}/x.gguf", ranges=1)
    one.succeeds()
    assert only(one.store)["files"][0]["sha256"] == digest(new)
    assert "changed" in one.of("retry")[0]["reason"]


def test_content_and_length_change_between_ranges(pull, hub):
    new = gguf(30 * MIB, seed=4)
    served = hub.add_file("/x.gguf", LARGE)

    def change(served, first):
        if first >= 16 * MIB:
            served.content, served.etag = new, '"new"'

    served.hook = change
    one = pull(f"{hub.url}/x.gguf", ranges=4)
    one.succeeds()
    assert only(one.store)["files"][0]["sha256"] == digest(new)


def test_content_that_never_stops_changing(pull, hub):
    served = hub.add_file("/x.gguf", LARGE)
    count = [0]

    def change(served, first):
        count[0] += 1
        served.etag = f'"{count[0]}"'

    served.hook = change
    pull(f"{hub.url}/x.gguf").fails("unavailable", "changed", "again and again")


def test_content_changes_between_two_pulls(pull, hub):
    served = hub.add_file("/x.gguf", LARGE)
    served.cut_always = 3 * MIB
    pull(f"{hub.url}/x.gguf", tries=1).fails("unavailable")
    new = gguf(40 * MIB, seed=4)
    served.content, served.etag, served.cut_always = new, '"new"', None
    one = pull(f"{hub.url}/x.gguf")
    one.succeeds()
    assert only(one.store)["files"][0]["sha256"] == digest(new)


def test_resumed_by_etag(pull, hub):
    served = hub.add_file("/x.gguf", LARGE)
    served.cut_always = 3 * MIB
    one = pull(f"{hub.url}/x.gguf", tries=1, ranges=1)
    one.fails("unavailable")
    served.cut_always = None
    hub.forget()
    two = pull(f"{hub.url}/x.gguf")
    two.succeeds()
    assert hub.bytes_sent() <= len(LARGE) - 3 * MIB + 64 * 1024


def test_empty_and_missing_and_no_model(pull, hub):
    hub.add_file("/empty.gguf", b"")
    one = pull(f"{hub.url}/empty.gguf")
    assert one.wait() == 1 and one.events[-1]["status"] in ("unsupported", "invalid")
    pull(f"{hub.url}/nothing.gguf").fails("not_found", "nothing.gguf")
    hub.add_file("/page.gguf", b"<html>Not found</html>" * 100)
    two = pull(f"{hub.url}/page.gguf")
    assert two.wait() == 1 and "HTML" in two.events[-1]["message"]
    assert installed(two.store) == {} and partial_bytes(two.store) == 0


def test_no_ranges_and_no_digest(pull, hub):
    served = hub.add_file("/x.gguf", LARGE)
    served.ranges = False
    one = pull(f"{hub.url}/x.gguf")
    one.succeeds()
    assert only(one.store)["files"][0]["sha256"] == digest(LARGE)


def test_stream_without_a_length(pull, tmp_path):
    class Handler(BaseHTTPRequestHandler):
        def log_message(self, *arguments):
            pass

        def do_GET(self):
            self.send_response(200)
            self.end_headers()
            try:
                self.wfile.write(SMALL)
            except OSError:
                pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        one = pull(f"http://127.0.0.1:{server.server_address[1]}/x.gguf")
        one.succeeds()
        assert one.of("resolved")[0]["bytes"] is None
        assert only(one.store)["files"][0]["sha256"] == digest(SMALL)
    finally:
        server.shutdown()
        server.server_close()


def test_https_is_not_left_for_http(pull, hub, tmp_path):
    hub.add_file("/x.gguf", SMALL)
    key, certificate = tmp_path / "key.pem", tmp_path / "cert.pem"
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=localhost",
         "-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1", "-keyout", key, "-out", certificate],
        check=True, capture_output=True,
    )  # fmt: skip
    downgrade = [True]

    class Handler(BaseHTTPRequestHandler):
        def log_message(self, *arguments):
            pass

        def do_GET(self):
            if downgrade[0]:
                self.send_response(302)
                self.send_header("Location", f"{hub.url}/x.gguf")
                self.send_header("Content-Length", "0")
                self.end_headers()
            else:
                self.send_response(200)
                self.send_header("Content-Length", str(len(SMALL)))
                self.end_headers()
                try:
                    self.wfile.write(SMALL)
                except OSError:
                    pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    server.socket = context.wrap_socket(server.socket, server_side=True)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    url = f"https://localhost:{server.server_address[1]}/x.gguf"
    trust = {"CURL_CA_BUNDLE": str(certificate)}
    try:
        pull(url, trust).fails("unavailable", "https to http://")
        assert hub.requests == []
        downgrade[0] = False
        pull(url, tries=1).fails("unavailable", "certificate")
        pull(url, trust).succeeds()
    finally:
        server.shutdown()
        server.server_close()


def test_proxy_is_for_others_only(pull, hub):
    """A proxy that nobody listens at: this machine is reached without it, another one is not."""
    hub.add_file("/x.gguf", SMALL)
    proxy = {"http_proxy": "http://127.0.0.1:9", "https_proxy": "http://127.0.0.1:9"}
    pull(f"{hub.url}/x.gguf", proxy).succeeds()
    other = pull("http://model.invalid/y.gguf", proxy, tries=1)
    assert other.wait() == 1
    assert "127.0.0.1" in other.events[-1]["message"] or "proxy" in other.events[-1]["message"].lower()


@pytest.mark.parametrize(
    "source, word",
    [
        ("http://user:secret@127.0.0.1/x.gguf", "password"),
        ("http://127.0.0.1/", "names no file"),
        ("https://127.0.0.1/x.gguf#sha256=12", "64"),
        ("ftp://127.0.0.1/x.gguf", "https://"),
        ("hf:", "ORG/REPO"),
        ("hf:a/b@:x", "revision"),
        ("s3://bucket", "s3://BUCKET/KEY"),
        ("/tmp/x.gguf", "file:"),
        ("pypi:--index-url", "package"),
        ("no-such-model-at-all", "catalogue"),
    ],
)
def test_sources_that_are_none(pull, source, word):
    one = pull(source)
    assert one.wait() == 1
    last = one.events[-1]
    assert last["param"] == "source" and word in last["message"] and "secret" not in last["message"], last


# --- files of this machine ---


def test_local_file_is_copied(pull, tmp_path):
    path = tmp_path / "Mine-Q4_0.gguf"
    path.write_bytes(LARGE)
    one = pull(f"file:{path}")
    done = one.succeeds()
    assert (done["name"], done["version"]) == ("mine", "q4_0")
    copy = next((one.store / "models").rglob("*.gguf"))
    assert copy.stat().st_ino != path.stat().st_ino
    path.write_bytes(b"changed")
    assert only(one.store)["files"][0]["sha256"] == digest(LARGE)


def test_local_split_model_needs_all_parts(pull, tmp_path):
    for i in (1, 3):
        (tmp_path / f"big-0000{i}-of-00003.gguf").write_bytes(SMALL)
    pull(f"file:{tmp_path}/big-00001-of-00003.gguf").fails("not_found", "part 2 of 3")
    pull(f"file:{tmp_path}/nothing").fails("not_found", "nothing")


def test_local_works_offline(pull, tmp_path):
    path = tmp_path / "mine.gguf"
    path.write_bytes(SMALL)
    pull(f"file:{path}", offline=1).succeeds()


# --- S3 without credentials ---


def test_anonymous_s3(pull, hub):
    hub.add_file("/bucket/x.gguf", SMALL)
    pull("s3://bucket/x.gguf", {"AWS_ENDPOINT_URL": f"{hub.url}/"}).succeeds()
    assert all("Authorization" not in headers for _, _, headers in hub.requests)


def test_s3_key_does_not_follow_a_redirect(pull, hub):
    """A server that sends us elsewhere gets no signature there."""
    other = Hub()
    try:
        hub.add_file("/bucket/x.gguf", SMALL).redirect = f"{other.url}/x"
        other.add_file("/x", SMALL)
        key = {"AWS_ACCESS_KEY_ID": "AKIAEXAMPLE", "AWS_SECRET_ACCESS_KEY": "s", "AWS_SESSION_TOKEN": "t"}
        pull("s3://bucket/x.gguf", {"AWS_ENDPOINT_URL": hub.url, **key}).succeeds()
        assert all("Signature=" in headers["Authorization"] for _, _, headers in hub.requests)
        names = {name.lower() for _, _, headers in other.requests for name in headers}
        assert other.requests and not names & {"authorization", "x-amz-security-token"}
    finally:
        other.stop()


# --- limits of the store ---


def test_store_limit(pull, hub):
    hub.add_file("/x.gguf", LARGE)
    pull(f"{hub.url}/x.gguf", limit=10 * MIB).fails("no_space", "40 MiB", "10 MiB")
    hub.forget()
    pull(f"{hub.url}/x.gguf", limit=60 * MIB).succeeds()
    two = pull(f"{hub.url}/x.gguf", limit=60 * MIB, name="again")
    assert two.wait() == 1 and two.events[-1]["status"] == "no_space"


def test_progress_has_a_rate_and_ends_whole(pull, hub):
    served = hub.add_file("/x.gguf", LARGE)
    served.delay = 0.004
    one = pull(f"{hub.url}/x.gguf")
    one.succeeds()
    events = one.of("progress")
    middle = [event for event in events if event["bytes_per_s"] and event["eta_s"]]
    assert middle, events[:3]
    assert all(a["completed"] <= b["completed"] for a, b in zip(events, events[1:]))
    seconds = one.of("done")[0]["seconds"]
    assert len(events) <= seconds * 10 + 3
    poll(lambda: not list((one.store / "partial").rglob("*.part")), 5, "an empty partial folder")
