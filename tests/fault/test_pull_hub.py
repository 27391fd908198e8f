# SPDX-License-Identifier: Apache-2.0
"""Pulls from a hub that misbehaves: each ends whole and verified, or leaves nothing half-made and says why."""

import hashlib
import json
import threading
import time

import pytest

from harness.hub import COMMIT, Hub, gguf
from harness.pulling import Pull, installed, partial_bytes
from harness.wait import poll, scaled

MIB = 1024 * 1024
SMALL = gguf(300_000)
LARGE = gguf(40 * MIB, seed=2)
REPOSITORY = "org/Noise-GGUF"
FILE = "Noise-Q4_K_M.gguf"
SOURCE = f"hf:{REPOSITORY}:Q4_K_M"


@pytest.fixture
def pull(tmp_path, hub):
    running = []

    def start(source=SOURCE, environment=None, **options):
        environment = {"HF_ENDPOINT": hub.url, **(environment or {})}
        running.append(Pull(tmp_path, source, environment, **options))
        return running[-1]

    yield start
    for one in running:
        if one.process.poll() is None:
            one.kill()


@pytest.fixture
def small(hub):
    return hub.add_repository(REPOSITORY, {FILE: SMALL, "Noise-Q8_0.gguf": gguf(400_000, 5)})[FILE]


@pytest.fixture
def large(hub):
    return hub.add_repository(REPOSITORY, {FILE: LARGE})[FILE]


def stored(pull, name="noise:q4_k_m"):
    models = installed(pull.store)
    assert name in models, models.keys()
    return models[name]


# --- all is well ---


def test_whole_and_verified(pull, hub, large):
    one = pull()
    done = one.succeeds()
    assert (done["name"], done["version"], done["format"]) == ("noise", "q4_k_m", "gguf")
    manifest = stored(one)
    assert manifest["files"][0]["sha256"] == hashlib.sha256(LARGE).hexdigest()
    assert manifest["license"] == "apache-2.0" and manifest["revision"] == COMMIT
    resolved = one.of("resolved")[0]
    assert resolved["bytes"] == resolved["missing_bytes"] == len(LARGE)
    # Several ranges at once, nothing twice.
    assert hub.bytes_sent(FILE) == len(LARGE)
    assert len(hub.requests_for(FILE)) > 3
    assert not partial_bytes(one.store), "something was left in partial/"


def test_already_there(pull, hub, small):
    pull().succeeds()
    hub.forget()
    again = pull()
    assert again.succeeds()["already"] is True
    assert hub.bytes_sent(FILE) == 0
    assert pull(force=1).succeeds()["already"] is False
    assert hub.bytes_sent(FILE) == len(SMALL)


def test_dry_run_fetches_nothing(pull, hub, small):
    one = pull(dry_run=1)
    assert one.wait() == 0
    assert [event["event"] for event in one.events] == ["resolved"]
    assert one.events[0]["licence"] == "apache-2.0"
    assert one.events[0]["files"] == [{"path": FILE, "bytes": len(SMALL), "sha256": small.sha256}]
    assert hub.bytes_sent() == 0 and installed(one.store) == {}


def test_split_model_and_choice(pull, hub):
    # Only the choosing is looked at: these parts do not belong together.
    names = [f"x/Big-Q4_K_M-0000{i}-of-00003.gguf" for i in (1, 2, 3)]
    hub.add_repository("org/big", {**{name: gguf(50_000, i) for i, name in enumerate(names)}, "Big-Q8_0.gguf": SMALL,
                                   "mmproj-Big-F16.gguf": SMALL, "README.md": b"hello"})
    one = pull("hf:org/big", dry_run=1)
    assert one.wait() == 0
    resolved = one.events[0]
    assert [entry["path"] for entry in resolved["files"]] == [name.removeprefix("x/") for name in names]
    assert resolved["version"] == "q4_k_m" and "Q8_0" in resolved["choice"]


def test_unknown_quantization_lists_what_there_is(pull, hub, small):
    pull(f"hf:{REPOSITORY}:Q2_K").fails("not_found", "Q2_K", "Q4_K_M", "Q8_0", "KiB")


def test_small_files_are_checked_by_git_digest(pull, hub):
    files = hub.add_repository(REPOSITORY, {FILE: SMALL})
    files[FILE].lfs = False
    pull().succeeds()
    files[FILE].content = gguf(300_000, seed=9)
    # The listing goes on to promise the old one.
    files[FILE].git_sha1 = lambda: hashlib.sha1(b"blob %d\0" % len(SMALL) + SMALL).hexdigest()
    two = pull(name="other", force=1)
    assert two.wait() == 1
    assert two.events[-1]["status"] == "invalid" and "git digest" in two.events[-1]["message"]
    assert list(installed(two.store)) == ["noise:q4_k_m"]


# --- connections ---


def test_cut_connections(pull, hub, large):
    large.cut_after = [3 * MIB, 100_000, 5 * MIB, 1, 0, 2 * MIB]
    one = pull()
    one.succeeds()
    stored(one)
    assert len(one.of("retry")) >= 5
    # Each byte once, but for what was on its way when the connection broke.
    assert hub.bytes_sent(FILE) <= len(LARGE) + 6 * 64 * 1024


def test_cut_always_but_with_progress(pull, hub, small):
    """As long as it goes forward no number of cuts ends it."""
    small.cut_always = 70_000
    one = pull(tries=3)
    one.succeeds()
    assert len(one.of("retry")) >= 4
    assert hub.bytes_sent(FILE) == len(SMALL)


def test_cut_always_at_once(pull, hub, small):
    small.cut_always = 0
    one = pull(tries=3)
    one.fails("unavailable", FILE, "3 tries")
    assert len(one.of("retry")) == 2


def test_connection_refused(pull, hub, small):
    hub.stop()
    pull(tries=2).fails("unavailable", "2 tries")


def test_silent_server(pull, hub, small):
    small.hang_after = [100_000]
    one = pull(stall_ms=400)
    one.succeeds()
    assert "no byte" in one.of("retry")[0]["reason"]
    assert hub.bytes_sent(FILE) == len(SMALL)


def test_slow_server_is_not_a_dead_one(pull, hub, small):
    small.delay = 0.2
    one = pull(stall_ms=3000)
    one.succeeds()
    assert one.of("retry") == []
    rates = [event["bytes_per_s"] for event in one.of("progress") if event["bytes_per_s"]]
    assert rates and max(rates) < 5 * MIB


# --- answers ---


def test_obeys_retry_after(pull, hub, small):
    small.fail = [(429, {"Retry-After": "2"})]
    began = time.monotonic()
    one = pull()
    one.succeeds()
    retry = one.of("retry")[0]
    assert retry["wait_s"] >= 2 and "429" in retry["reason"]
    assert time.monotonic() - began >= 2


def test_obeys_retry_after_as_a_date(pull, hub, small):
    when = time.strftime("%a, %d %b %Y %H:%M:%S GMT", time.gmtime(time.time() + 3))
    small.fail = [(503, {"Retry-After": when})]
    one = pull()
    one.succeeds()
    assert 1 <= one.of("retry")[0]["wait_s"] <= 4


def test_retry_after_of_the_listing(pull, hub, small):
    hub.api_fail = [(429, {"Retry-After": "1"}, b"slow down"), (502, {}, b"<html>")]
    one = pull()
    one.succeeds()
    assert [event["file"] for event in one.of("retry")] == ["the repository"] * 2


def test_server_errors_pass(pull, hub, large):
    large.fail = [(500, {}), (502, {}), (503, {}), (504, {})]
    one = pull()
    one.succeeds()
    assert len(one.of("retry")) == 4


def test_server_errors_stay(pull, hub, small):
    small.fail_always = (500, {})
    pull(tries=3).fails("unavailable", "HTTP 500", "3 tries")


def test_missing_file(pull, hub, small):
    del hub.files[f"/{REPOSITORY}/resolve/{COMMIT}/{FILE}"]
    pull().fails("not_found", "not there any more")


def test_missing_repository_and_revision(pull, hub, small):
    pull("hf:org/nothing").fails("not_found", "org/nothing", "HF_TOKEN")
    pull(f"hf:{REPOSITORY}@gone:Q4_K_M").fails("not_found", "gone")


def test_listing_that_is_none(pull, hub, small):
    hub.api_fail = [(200, {}, b"<html>Sign in to the hotel's network</html>")]
    pull().fails("unavailable", "does not answer like")


# --- lies ---


@pytest.mark.parametrize("lie", [-1000, 1000], ids=["shorter", "longer"])
@pytest.mark.parametrize("size", [SMALL, LARGE], ids=["small", "large"])
def test_length_lies(pull, hub, lie, size):
    served = hub.add_repository(REPOSITORY, {FILE: size})[FILE]
    served.length_lie = lie
    one = pull(tries=3)
    assert one.wait() == 1
    assert one.events[-1]["status"] in ("invalid", "unavailable"), one.events[-1]
    assert str(len(size)) in one.events[-1]["message"]
    assert installed(one.store) == {}


@pytest.mark.parametrize("lie", [-1000, 1000], ids=["shorter", "longer"])
def test_listing_lies_about_length(pull, hub, large, lie):
    large.size += lie
    pull(tries=3).fails("invalid", len(LARGE), len(LARGE) + lie)


def test_wrong_bytes_once(pull, hub, large):
    """An accident on the way: fetched again, then good."""
    broken = bytearray(LARGE)
    broken[20 * MIB] ^= 1
    large.content = bytes(broken)

    def repair(served, first):
        if hub.bytes_sent(FILE) >= len(LARGE):
            served.content = LARGE

    large.hook = repair
    one = pull()
    one.succeeds()
    stored(one)
    assert "SHA-256" in one.of("retry")[0]["reason"]


def test_wrong_bytes_always(pull, hub, large):
    promised = large.sha256
    large.content = gguf(40 * MIB, seed=3)
    one = pull()
    one.fails("invalid", promised, hashlib.sha256(large.content).hexdigest())
    assert hub.bytes_sent(FILE) == 2 * len(LARGE)
    assert partial_bytes(one.store) == 0, "wrong bytes were kept"


def test_html_instead_of_a_model(pull, hub):
    page = b"<!DOCTYPE html><html><body>Please sign in</body></html>"
    hub.add_repository(REPOSITORY, {FILE: page})
    one = pull()
    assert one.wait() == 1
    assert one.events[-1]["status"] in ("unsupported", "invalid")
    assert installed(one.store) == {} and partial_bytes(one.store) == 0


# --- servers without ranges ---


def test_no_ranges(pull, hub, large):
    large.ranges = False
    one = pull()
    one.succeeds()
    stored(one)


def test_no_ranges_and_a_cut(pull, hub, large):
    large.ranges = False
    large.cut_after = [5 * MIB]
    one = pull()
    one.succeeds()
    stored(one)


def test_ranges_are_lost_in_the_middle(pull, hub, large):
    """Another machine behind the same name: it ignores ranges."""

    def forget_ranges(served, first):
        served.ranges = first < 16 * MIB and served.ranges

    large.hook = forget_ranges
    one = pull(ranges=1)
    one.succeeds()
    stored(one)


# --- redirects and secrets ---


def test_token_stays_with_the_hub(pull, hub):
    other = Hub()
    try:
        served = hub.add_repository(REPOSITORY, {FILE: LARGE}, token="hf_secret", gated="manual")[FILE]
        other.add_file("/cdn/blob", LARGE)
        served.redirect = f"http://127.0.0.1:{other.port}/cdn/blob?X-Amz-Signature=hush"
        one = pull(environment={"HF_TOKEN": "hf_secret"})
        one.succeeds()
        told = [headers for _, _, headers in hub.requests if headers.get("Authorization")]
        assert len(told) == len(hub.requests), "the hub itself was not told the token"
        assert other.requests_for("/cdn/blob")
        assert all("Authorization" not in headers for _, _, headers in other.requests)
        texts = one.output.read_text() + one.errors.read_text()
        for path in one.store.rglob("*.json"):
            texts += path.read_text()
        assert "hf_secret" not in texts and "hush" not in texts
    finally:
        other.stop()


def test_token_does_not_go_to_another_name_of_the_same_machine(pull, hub):
    served = hub.add_repository(REPOSITORY, {FILE: SMALL}, token="hf_secret")[FILE]
    hub.add_file("/elsewhere", SMALL)
    served.redirect = f"http://localhost:{hub.port}/elsewhere"
    pull(environment={"HF_TOKEN": "hf_secret"}).succeeds()
    assert all("Authorization" not in headers for _, _, headers in hub.requests_for("/elsewhere"))
    assert all("Authorization" in headers for _, _, headers in hub.requests_for(FILE))


def test_token_follows_within_the_hub(pull, hub):
    """A renamed repository: the hub redirects to itself."""
    served = hub.add_repository(REPOSITORY, {FILE: SMALL}, token="hf_secret")[FILE]
    moved = hub.add_repository("org/moved", {FILE: SMALL}, token="hf_secret")[FILE]
    assert moved.content == served.content
    served.redirect = f"/org/moved/resolve/{COMMIT}/{FILE}"
    pull(environment={"HF_TOKEN": "hf_secret"}).succeeds()


def test_direct_address_that_runs_out(pull, hub, large):
    """Signed addresses end; the way through the hub makes a new one."""
    other = Hub()
    try:
        blob = other.add_file("/blob", LARGE)
        large.redirect = f"{other.url}/blob"
        refused = []

        def expire(served, first):
            if first >= 16 * MIB and not refused:
                refused.append(first)
                served.fail = [(403, {})]

        blob.hook = expire
        one = pull(ranges=1)
        one.succeeds()
        assert refused and "403" in one.of("retry")[0]["reason"]
        assert len(hub.requests_for(FILE)) == 2
    finally:
        other.stop()


def test_redirect_loop(pull, hub, small):
    small.redirect = f"/{REPOSITORY}/resolve/{COMMIT}/{FILE}"
    pull().fails("unavailable", "loop")
    assert len(hub.requests_for(FILE)) < 12


@pytest.mark.parametrize("target", ["file:///etc/passwd", "ftp://127.0.0.1/x", "gopher://127.0.0.1/x"])
def test_redirect_to_another_scheme(pull, hub, small, target):
    small.redirect = target
    pull().fails("unavailable", "neither http nor https")


def test_gated(pull, hub):
    hub.add_repository(REPOSITORY, {FILE: SMALL}, gated="auto", token="right")
    pull().fails("unavailable", "gated", "HF_TOKEN", REPOSITORY, "401")
    last = pull(environment={"HF_TOKEN": "wrong-token"}).fails("unavailable", "gated", "may not read", "403")
    assert "wrong-token" not in last["message"]
    pull(environment={"HUGGING_FACE_HUB_TOKEN": "right"}).succeeds()


def test_token_from_file(pull, hub, tmp_path):
    hub.add_repository(REPOSITORY, {FILE: SMALL}, gated="auto", token="from-file")
    (tmp_path / ".cache" / "huggingface").mkdir(parents=True)
    (tmp_path / ".cache" / "huggingface" / "token").write_text("from-file\n")
    pull().succeeds()


def test_hostile_paths(pull, hub):
    for path in ("../../evil.gguf", "/etc/evil.gguf", ".pull/x.gguf", "a/../../b.gguf"):
        hub.add_repository("org/evil", {path: SMALL})
        one = pull("hf:org/evil", dry_run=1)
        assert one.wait() == 0
        # A GGUF is stored under its own name alone, whatever folder the listing claims.
        assert all("/" not in entry["path"] for entry in one.of("resolved")[0]["files"])
    hub.add_repository("org/worse", {"..": b"x", "config.json": b"{}", "a\n.safetensors": SMALL})
    one = pull("hf:org/worse")
    assert one.wait() == 1 and one.events[-1]["status"] == "invalid"


# --- interruption ---


def test_killed_and_resumed(pull, hub, large):
    """What is noted is not fetched again."""
    large.gate = gate = threading.Event()
    large.gate_after = 6 * MIB
    one = pull()
    # Stand still with 24 MiB here, long enough for the note to be written.
    poll(lambda: hub.bytes_sent(FILE) >= 20 * MIB, 20, "bytes before the gate")
    states = poll(lambda: list((one.store / "partial").rglob("*.state")), 20, "a state file")
    poll(lambda: noted_bytes(states[0]) >= 20 * MIB, 20, "the note of what is here")
    one.kill()
    noted = noted_bytes(states[0])
    # The old connections stay behind the gate, so that they add nothing to the count.
    large.gate = None
    hub.forget()
    two = pull()
    two.succeeds()
    stored(two)
    assert two.of("resolved")[0]["missing_bytes"] == len(LARGE) - noted
    assert hub.bytes_sent(FILE) == len(LARGE) - noted
    gate.set()


def noted_bytes(path):
    try:
        return sum(end - first for first, end in json.loads(path.read_text())["done"])
    except FileNotFoundError:
        return 0


def test_killed_many_times(pull, hub, large):
    large.delay = 0.002
    for _ in range(6):
        one = pull()
        poll(lambda: len(one.of("progress")) > 2 or one.process.poll() is not None, 20, "progress")
        one.kill()
    large.delay = 0
    last = pull()
    last.succeeds()
    stored(last)


def test_damaged_note_and_partial_file(pull, hub, large):
    large.cut_always = 3 * MIB
    one = pull(tries=1)
    one.fails("unavailable")
    large.cut_always = None
    state = next((one.store / "partial").rglob("*.state"))
    part = next((one.store / "partial").rglob("*.part"))
    state.write_text('{"version":1,"total":5,"done":[[0,99999999]]}')
    pull().succeeds()
    # A partial file whose bytes are not those that the note tells of: the digest finds out.
    two = pull(force=1, tries=1)
    two.succeeds()
    assert not part.exists()


def test_source_moves_on_between_two_pulls(pull, hub, large):
    large.cut_always = 3 * MIB
    pull(tries=1).fails("unavailable")
    new = gguf(40 * MIB, seed=8)
    large.content, large.sha256, large.cut_always = new, hashlib.sha256(new).hexdigest(), None
    hub.forget()
    one = pull()
    one.succeeds()
    assert stored(one)["files"][0]["sha256"] == large.sha256
    assert hub.bytes_sent(FILE) == len(new)


# --- two at once ---


def test_two_pulls_of_one_model(pull, hub, large):
    large.delay = 0.002
    one = pull()
    one.wait_event("progress")
    two = pull()
    two.wait_event("waiting")
    assert str(one.process.pid) in two.of("waiting")[0]["for"]
    assert one.succeeds()["already"] is False
    assert two.succeeds()["already"] is True
    assert hub.bytes_sent(FILE) == len(LARGE)


def test_second_pull_that_does_not_wait(pull, hub, large):
    large.delay = 0.002
    one = pull()
    one.wait_event("progress")
    two = pull(wait=0)
    assert two.wait() == 1 and two.events[-1]["status"] == "conflict"
    one.succeeds()


def test_many_pulls_of_many_models(pull, hub):
    for i in range(4):
        hub.add_repository(f"org/m{i}", {"x-Q4_0.gguf": gguf(3_000_000, i)})
    running = [pull(f"hf:org/m{i}") for i in range(4)]
    for one in running:
        one.succeeds(seconds=scaled(60))
    assert len(installed(running[0].store)) == 4


def test_name_that_is_taken(pull, hub, small):
    pull(name="mine:v1").succeeds()
    two = pull(f"hf:{REPOSITORY}:Q8_0", name="mine:v1")
    assert two.wait() == 1 and two.events[-1]["status"] == "conflict" and "--name" in two.events[-1]["message"]
    pull(f"hf:{REPOSITORY}:Q8_0", name="mine:v1", force=1).succeeds()
