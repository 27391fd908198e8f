# SPDX-License-Identifier: Apache-2.0
"""The commands of the gateway, as a person and as scripts use them: keys (with and without a server), usage, route,
providers, experiments, feedback, cache, config check; and the key that every command sends."""

import json
import os
import stat

import pytest

from harness.terminal import roundhouse
from harness.upstream import Reply, Upstream
from harness.wait import poll

MAIN = "main-secret-0123456789"
KEYS = [{"name": "main", "key": MAIN, "scopes": ["inference", "admin", "metrics"]}]
NOWHERE = "http://127.0.0.1:9"  # the discard port: nobody listens


@pytest.fixture
def cli(tmp_path):
    """cli("keys", "list", server=...): the words' end, in a folder of its own."""
    folder = tmp_path / "cli"
    folder.mkdir()

    def run(*words, code=0, key=None, **options):
        if key is not None:
            options["ROUNDHOUSE_API_KEY"] = key
        done = roundhouse(*map(str, words), folder=folder, **options)
        assert done.returncode == code, f"{words}: {done.returncode}\n{done.stdout}\n{done.stderr}"
        return done

    run.folder = folder
    return run


@pytest.fixture
def server(daemon):
    one = daemon(config={"keys": KEYS})
    one.key = MAIN
    return one


def rows(done):
    """A table's rows as dictionaries, by where its headings begin; only for tables whose cells are set to the left."""
    head, *lines = done.stdout.splitlines()
    names = head.split()
    return [dict(zip(names, line.split())) for line in lines]


# --- keys ---


def test_the_first_key_before_any_server(cli, daemon, tmp_path):
    state = tmp_path / "state"
    made = cli("keys", "create", "me", "--scope", "inference,admin,metrics", "--state-dir", state)
    secret = made.stdout.strip()
    assert secret.startswith("rh-") and made.stdout == secret + "\n", "the secret alone, for $(...)"
    assert "me" in made.stderr and secret not in made.stderr
    assert stat.S_IMODE(os.stat(state / "state.db").st_mode) == 0o600
    assert secret.encode() not in (state / "state.db").read_bytes()
    # Now the server may listen to others.
    server = daemon(listen="0.0.0.0:0", state_dir=state)
    server.key = secret
    assert server.chat("hi", max_tokens=4).status == 401
    assert server.chat("hi", max_tokens=4, headers={"Authorization": f"Bearer {secret}"}).status == 200
    # A change behind the server's back is seen within a second or two.
    second = cli("keys", "create", "ci", "--offline", "--state-dir", state).stdout.strip()
    answer = lambda: server.chat("hi", max_tokens=4, headers={"Authorization": f"Bearer {second}"}).status  # noqa: E731
    poll(lambda: answer() == 200, 10, "the new key")
    cli("keys", "revoke", "ci", "--state-dir", state)
    poll(lambda: answer() == 401, 10, "its end")


def test_a_server_that_others_reach_needs_a_key_first(daemon):
    server = daemon(listen="0.0.0.0:0", wait=False)
    server.bad_end_expected = True
    server.expect_errors("keys create")
    assert server.wait_exit() != 0
    assert "keys create" in server.log_text()


def test_keys_over_http(cli, server):
    made = cli(
        *("keys", "create", "ann", "--models", "fake,other-*", "--rpm", 60, "--tpm", -1, "--concurrency", 2),
        *("--priority", 5, "--budget", 2.5, "--period", "month", "--expires", "30d", "--local-only", "--json"),
        server=server,
        key=MAIN,
    )
    key = json.loads(made.stdout)
    assert key["models"] == ["fake", "other-*"] and key["scopes"] == ["inference"] and key["local_only"]
    assert (key["requests_per_minute"], key["tokens_per_minute"], key["concurrency"]) == (60, -1, 2)
    assert (key["priority"], key["budget_usd"], key["budget_period"]) == (5, 2.5, "month")
    assert key["expires_at"] - key["created_at"] == 30 * 86400
    listed = {row["NAME"]: row for row in rows(cli("keys", "list", server=server, key=MAIN))}
    assert listed["ann"]["ID"] == key["id"] and listed["ann"]["STATUS"] == "active"
    assert listed["ann"]["MODELS"] == "fake,other-*" and listed["main"]["MODELS"] == "all"
    cli("keys", "update", "ann", "--models", "", "--expires", "never", "--rpm", 5, server=server, key=MAIN)
    shown = json.loads(cli("keys", "show", "ann", "--json", server=server, key=MAIN).stdout)
    assert shown["models"] is None and shown["expires_at"] is None and shown["requests_per_minute"] == 5
    assert shown["budget_usd"] == 2.5 and "key" not in shown, "what was not said stays, and nobody tells a secret again"
    assert "2.5" in cli("keys", "show", key["id"], server=server, key=MAIN).stdout
    assert "revoked the key" in cli("keys", "revoke", "ann", server=server, key=MAIN).stdout
    assert json.loads(cli("keys", "show", "ann", "--json", server=server, key=MAIN).stdout)["status"] == "revoked"


def test_the_key_comes_from_the_variable_or_the_flag(cli, server):
    refused = cli("keys", "list", server=server, code=1)
    assert "ROUNDHOUSE_API_KEY" in refused.stderr and "--offline" in refused.stderr
    assert "main" in cli("keys", "list", "--key", MAIN, server=server).stdout
    wrong = cli("keys", "list", "--key", "rh-wrong", server=server, key=MAIN, code=1)
    assert "rh-wrong" not in wrong.stderr, "the flag wins; and no secret is shown"
    assert "main" in cli("keys", "list", server=server, key=MAIN + "\n").stdout, "of a file with a line break"
    assert "not one" in cli("keys", "list", "--key", "a\r\nX-Other: b", server=server, code=2).stderr


def test_every_command_sends_the_key(cli, server):
    for words in (["run", "fake", "hi", "--max-tokens", 4], ["ps"], ["providers"], ["usage"], ["cache", "stats"]):
        cli(*words, server=server, code=1)
        cli(*words, server=server, key=MAIN)
    assert cli("bench", "fake", "--requests", 2, "--max-tokens", 2, server=server, key=MAIN).returncode == 0
    cli("stop", "fake", server=server, key=MAIN)


def test_a_private_server_needs_no_key(cli):
    """Keys guard the server of this machine; a command's own server is its own."""
    cli("keys", "create", "me", "--offline")
    assert "fake engine" in cli("run", "fake:", "hi").stdout


@pytest.mark.parametrize(
    "words, said",
    [
        (["keys"], "keys takes"),
        (["keys", "make", "x"], "keys takes"),
        (["keys", "list", "x"], "keys takes"),
        (["keys", "create"], "keys takes"),
        (["keys", "create", "x", "--priority", "101"], "priority"),
        (["route", "hi"], "route needs"),
        (["route", "explain"], "route needs"),
        (["experiments"], "experiments needs"),
        (["experiments", "report"], "experiments takes"),
        (["feedback", "req-1"], "feedback takes"),
        (["cache", "wipe"], "cache needs"),
        (["usage", "today"], "usage takes"),
    ],
)
def test_wrong_words_are_usage_errors(cli, words, said):
    assert said in cli(*words, server=None, ROUNDHOUSE_SERVER=NOWHERE, code=2).stderr


def test_nobody_at_home(cli):
    for words in (["usage"], ["providers"], ["route", "explain", "hi"], ["cache", "clear"], ["experiments", "list"]):
        assert NOWHERE in cli(*words, ROUNDHOUSE_SERVER=NOWHERE, code=3).stderr
    # A server that was named is asked, and nothing else.
    assert NOWHERE in cli("keys", "list", ROUNDHOUSE_SERVER=NOWHERE, code=3).stderr
    assert "there are no keys" in cli("keys", "list", "--offline").stderr


def test_keys_that_cannot_be_made(cli):
    assert "scope" in cli("keys", "create", "x", "--scope", "root", "--offline", code=1).stderr
    assert "expires" in cli("keys", "create", "x", "--expires", "soon", "--offline", code=1).stderr
    assert "no key" in cli("keys", "revoke", "nobody", "--offline", code=1).stderr


# --- what costs money, and where it goes ---


RULES = [
    {"name": "code", "condition": {"hasCode": True}, "action": {"provider": "paid"}, "reason": "code goes out"},
    {"name": "secrets", "condition": {"privacy": "high"}, "action": {"provider": "local"}, "reason": "secrets stay"},
]


@pytest.fixture
def paid(daemon):
    with Upstream() as upstream:
        upstream.answer = Reply("Hello.", prompt_tokens=1000, completion_tokens=100)
        config = {
            "providers": {
                "paid": {"type": "openai-compatible", "baseUrl": upstream.url, "models": {"default": "big"}},
                "bare": {"type": "anthropic", "models": {"default": "claude-x"}},
            },
            "prices": {"paid/big": {"input": 10, "output": 100}, "paid/huge": {"input": 100, "output": 1000}},
            "reference_model": "paid/huge",
            "routing": {"mode": "rules", "rules": RULES},
        }
        one = daemon(config=config)
        one.upstream = upstream
        yield one


def test_usage_is_a_table_with_cost_and_savings(cli, paid):
    assert "nothing was used" in cli("usage", server=paid).stderr
    for _ in range(2):
        assert paid.chat("hi", model="paid/big").status == 200
    assert paid.chat("hi", model="fake", max_tokens=4).status == 200
    lines = cli("usage", "--by", "provider,model", server=paid).stdout.splitlines()
    assert lines[0].split()[:3] == ["PROVIDER", "MODEL", "REQUESTS"] and lines[0].split()[-2:] == ["COST", "SAVED"]
    assert lines[1].split()[:3] == ["paid", "big", "2"] and lines[1].split()[-2:] == ["$0.0400", "$0.3600"]
    assert lines[2].split()[:3] == ["local", "fake", "1"] and "$0.00" in lines[2]
    assert lines[3].split()[:3] == ["total", "-", "3"] and "$0.0400" in lines[3]
    told = json.loads(cli("usage", "--by", "model", "--model", "big", "--json", server=paid).stdout)
    assert told["total"]["requests"] == 2 and told["groups"][0]["model"] == "big"
    assert "DAY" in cli("usage", server=paid).stdout, "by day and model, if nothing is said"
    assert "yesterday" in cli("usage", "--from", "yesterday", server=paid, code=1).stderr
    assert cli("usage", "--to", "2020-01-01", server=paid).stdout == ""


def test_a_decision_is_readable(cli, paid):
    code = "def f(x):\n    return x + 1\n\nfor i in range(3):\n    print(f(i))"
    shown = cli("route", "explain", code, server=paid).stdout
    assert "has_code" in shown and "code goes out" in shown
    assert "choice: paid/big" in shown
    rules = [line.split(None, 2) for line in shown.splitlines() if " code" in line or " secrets" in line][:2]
    assert rules[0][2] == "decides" and rules[1][2].startswith("no: "), shown
    headers = ["--header", "x-roundhouse-privacy=high", "--header=X-Other: 1"]
    secret = cli("route", "explain", "Hello", *headers, server=paid)
    assert "choice: local/fake" in secret.stdout and "secrets stay" in secret.stdout
    assert "choice: paid/big" in cli("route", "explain", "-", stdin=code, server=paid).stdout
    named = json.loads(cli("route", "explain", "Hello", "--model", "paid/big", "--json", server=paid).stdout)
    assert named["choice"] == {"provider": "paid", "model": "big"}
    assert "NAME=VALUE" in cli("route", "explain", "x", "--header", "nothing", server=paid, code=2).stderr
    assert "NAME=VALUE" in cli("route", "explain", "x", "--header", server=paid, code=2).stderr
    assert "nobody" in cli("route", "explain", "x", "--model", "nobody", server=paid, code=1).stderr
    assert not paid.upstream.requests, "nothing was run"


def test_providers_are_a_table(cli, paid):
    assert paid.chat("hi", model="paid/big").status == 200
    done = cli("providers", server=paid)
    assert paid.upstream.url in done.stdout and "has no key" in done.stdout
    assert "$10.00 / $100.00" in done.stdout and "closed" in done.stdout
    assert "bare: " in done.stderr, "what is missing, in words"
    told = json.loads(cli("providers", "--json", server=paid).stdout)
    assert {provider["name"] for provider in told["providers"]} == {"paid", "bare"}


def test_feedback(cli, paid):
    request = paid.chat("hi", model="paid/big").header("x-request-id")
    assert "Thank you" in cli("feedback", request, "up", "--comment", "fine", server=paid).stdout
    told = json.loads(cli("feedback", "--json", "--", request, "-0.5", server=paid, code=0).stdout)
    assert told["rating"] == -0.5
    assert "no request" in cli("feedback", "req-nobody", "down", server=paid, code=1).stderr
    assert "up" in cli("feedback", request, "fine", server=paid, code=1).stderr


# --- experiments and the cache ---


def test_experiments(cli, daemon):
    server = daemon({"alpha": "fake:", "beta": "fake:"}, config={"aliases": {"chat": "alpha"}})
    assert "no experiments" in cli("experiments", "list", server=server).stderr
    test = {"name": "which", "model": "chat", "sticky": "none", "arms": [{"name": "old", "model": "alpha"},
                                                                          {"name": "new", "model": "beta"}]}
    (cli.folder / "which.json").write_text(json.dumps(test))
    assert "which" in cli("experiments", "create", "which.json", server=server).stdout
    assert "which" in cli("experiments", "create", "-", stdin=json.dumps(test), server=server, code=1).stderr
    for i in range(8):
        assert server.chat(f"q{i}", model="chat", max_tokens=2).status == 200
    row = rows(cli("experiments", "list", server=server))[0]
    assert (row["NAME"], row["STATE"], row["MODEL"]) == ("which", "running", "chat")
    report = cli("experiments", "report", "which", server=server).stdout
    assert "which" in report and "old" in report and "new" in report
    arms = json.loads(cli("experiments", "report", "which", "--json", server=server).stdout)["arms"]
    assert sum(arm["requests"] for arm in arms) == 8
    for word, state in (("pause", "paused"), ("resume", "running"), ("stop", "stopped")):
        assert state in cli("experiments", word, "which", "--why", "a test", server=server).stdout
        assert rows(cli("experiments", "list", server=server))[0]["STATE"] == state
    assert "stopped" in cli("experiments", "resume", "which", server=server, code=1).stderr
    assert "removed" in cli("experiments", "rm", "which", server=server).stdout
    assert "no experiment" in cli("experiments", "rm", "which", server=server, code=1).stderr
    assert "nobody.json" in cli("experiments", "create", "nobody.json", server=server, code=1).stderr


def test_the_cache(cli, daemon):
    server = daemon(config={"cache": "on"})
    for _ in range(3):
        assert server.chat("same", temperature=0, max_tokens=4).status == 200
    assert "2 of 3 look-ups" in cli("cache", "stats", server=server).stdout
    assert json.loads(cli("cache", "stats", "--json", server=server).stdout)["entries"] == 1
    assert "removed 1" in cli("cache", "clear", server=server).stdout
    assert json.loads(cli("cache", "stats", "--json", server=server).stdout)["entries"] == 0


# --- config check ---


def check(cli, config=None, code=0, **environment):
    (cli.folder / "roundhouse.json").write_text(json.dumps(config or {}))
    return cli("config", "check", code=code, **environment)


def test_config_check_tells_what_providers_lack(cli):
    config = {"providers": {"claude": {"type": "anthropic", "models": {"default": "claude-x"}},
                            "off": {"type": "openai", "enabled": False, "models": {"default": "gpt-x"}}}}
    done = check(cli, config)
    assert "warning: the provider claude cannot be used" in done.stdout and "API_KEY" in done.stdout
    assert "the provider off is switched off" in done.stdout
    fine = check(cli, config, CLAUDE_API_KEY="sk-secret-123", ANTHROPIC_API_KEY="sk-secret-123")
    assert "warning" not in fine.stdout and "sk-secret" not in fine.stdout


def test_config_check_tells_who_could_use_the_server(cli):
    own = check(cli).stdout
    assert "only programs of this machine" in own and "need no API key" in own
    beyond = {"listen": "0.0.0.0:8080"}
    assert "keys create" in check(cli, beyond, code=1).stderr
    assert "anybody who reaches it" in check(cli, {**beyond, "allow_anonymous": True}).stdout
    assert "requests need an API key" in check(cli, {**beyond, "keys": KEYS}).stdout
    broken = [{"name": "main", "key_env": "NOT_SET_ANYWHERE"}]
    assert "NOT_SET_ANYWHERE" in check(cli, {"keys": broken}, code=1).stderr
    cli("keys", "create", "me", "--offline")
    assert "requests need an API key" in check(cli, beyond).stdout


def test_config_check_makes_no_state(cli):
    check(cli)
    assert not list(cli.folder.rglob("state.db"))


def test_the_variable_of_the_key_is_known(cli):
    assert "correct" in check(cli, ROUNDHOUSE_API_KEY="rh-anything").stdout
