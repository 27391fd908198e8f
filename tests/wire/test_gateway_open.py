# SPDX-License-Identifier: Apache-2.0
"""Who may reach a daemon: beyond this machine only with keys, or when it is said that nobody needs one; and secrets of
keys and providers stand nowhere but where they were given."""

import sqlite3

import pytest

from harness.wait import poll

ANN = "ann-secret-0123456789"
BEARER = {"Authorization": f"Bearer {ANN}"}
KEYS = {"keys": [{"name": "ann", "key": ANN}]}


def refused(server, *words):
    server.bad_end_expected = True
    server.expect_errors("listen")
    assert server.wait_exit() != 0
    assert server.log(message="listening") == []
    for word in words:
        assert word in server.log_text()


@pytest.mark.parametrize("address", ["0.0.0.0:0", "[::]:0", "127.evil.example:0"])
def test_beyond_this_machine_needs_a_key(daemon, address):
    refused(daemon(listen=address, wait=False), "--allow-anonymous", "roundhouse keys create", address)


def test_keys_that_are_not_asked_for_do_not_help(daemon):
    refused(daemon(listen="0.0.0.0:0", require_key="never", config=KEYS, wait=False), "--allow-anonymous")


def test_a_state_that_cannot_be_read_does_not_help(daemon, tmp_path):
    (tmp_path / "state.db").write_bytes(b"not a database " * 1000)
    server = daemon(listen="0.0.0.0:0", state_dir=str(tmp_path), wait=False)
    refused(server, "--allow-anonymous")


def test_with_a_key(daemon):
    server = daemon(listen="0.0.0.0:0", config=KEYS)
    assert server.chat("hi").status == 401
    assert server.chat("hi").header("www-authenticate") == "Bearer"
    assert server.chat("hi", headers=BEARER).status == 200
    assert server.chat("hi", headers={"x-api-key": ANN}).status == 200
    assert server.get("/health").status == 200


def test_when_it_is_meant(daemon):
    server = daemon(listen="0.0.0.0:0", allow_anonymous=True)
    assert server.chat("hi").status == 200


@pytest.mark.parametrize("address", ["127.0.0.1:0", "localhost:0", "[::1]:0"])
def test_this_machine_needs_none(daemon, address):
    assert daemon(listen=address).chat("hi").status == 200


# --- secrets ---

PROVIDER, OPS = "provider-s3cret-0123456789", "ops-s3cret-0123456789"
WRONG, REDIS = "wrong-s3cret-0123456789", "redis-s3cret-0123"


def test_secrets_stand_nowhere(daemon, upstream, tmp_path):
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "ops.key").write_text(OPS + "\n")
    (outside / "ops.key").chmod(0o600)
    provider = {"type": "openai-compatible", "baseUrl": upstream.url, "models": {"default": "m"}, "apiKeyEnv": "UP_KEY"}
    server = daemon(
        config={
            "providers": {"up": provider},
            "keys": [
                {"name": "ann", "key_env": "ANN_KEY"},
                {"name": "ops", "key_file": str(outside / "ops.key"), "scopes": ["admin"]},
            ],
        },
        environment={"UP_KEY": PROVIDER, "ANN_KEY": ANN},
        log_level="debug",
        decision_log="decisions.jsonl",
        redis=f"redis://:{REDIS}@127.0.0.1:1",
    )
    server.key = OPS
    ops = {"Authorization": f"Bearer {OPS}"}
    made = server.post("/api/keys", {"name": "bob"}, headers=ops).json()
    bob = next(value for value in flat(made) if isinstance(value, str) and value.startswith("rh-"))
    answers = [
        server.chat("hi", headers=BEARER, model="up/m"),
        server.chat("hi", headers={"Authorization": f"Bearer {bob}"}),
        server.chat("hi", headers={"x-api-key": WRONG}),
        server.chat("hi", headers=BEARER, model="nobody"),
        server.post("/v1/chat/completions", b"{", headers=BEARER),
    ]
    assert [answer.status for answer in answers] == [200, 200, 401, 404, 400]
    assert upstream.requests[0].key == PROVIDER
    # A client's own key is ours to check and nobody else's to see.
    assert ANN not in str(upstream.requests[0].headers)
    pages = ["/health", "/metrics", "/v1/models", "/api/providers", "/api/usage", "/api/keys", "/last_request_stats"]
    answers += [server.get(page, headers=ops) for page in pages]
    assert [answer.status for answer in answers[5:]] == [200] * len(pages)
    upstream.then(*[upstream.reply(401)] * 3)
    answers.append(server.chat("hi", headers=BEARER, model="up/m"))
    assert answers[-1].status >= 400
    for answer in answers:
        shown = answer.body.decode() + str(answer.headers)
        for secret in (PROVIDER, ANN, OPS, bob, WRONG, REDIS):
            assert secret not in shown
    poll(lambda: (server.folder / "decisions.jsonl").exists(), 10, "the decision log")
    assert server.stop() == 0
    looked = 0
    for file in server.folder.rglob("*"):
        if not file.is_file() or file.name == "roundhouse.json":
            continue
        looked += 1
        content = file.read_bytes()
        for secret in (PROVIDER, ANN, OPS, bob, WRONG, REDIS):
            assert secret.encode() not in content, f"a secret in {file}"
    assert looked >= 3
    with sqlite3.connect(server.folder / ".local/share/roundhouse/state/state.db") as database:
        names = [name for (name,) in database.execute("SELECT name FROM keys")]
    assert names == ["bob"]  # those of the configuration are not written down


def flat(value):
    if isinstance(value, dict):
        for inner in value.values():
            yield from flat(inner)
    else:
        yield value
