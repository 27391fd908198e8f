# SPDX-License-Identifier: Apache-2.0
"""How long a model stays in memory when nobody uses it: the server's setting, the model's, the request's."""

import pytest

from harness import procs
from harness.wait import holds_for, poll


def status(server, name="fake"):
    return server.get(f"/api/models/status/{name}").json()


def ask(server, path, **fields):
    body = {"messages": [{"role": "user", "content": "hi [[tokens=2]]"}]}
    if path != "/v1/chat/completions":
        body = {"prompt": "hi [[tokens=2]]"}
    return server.post(path, {**body, **fields})


ENDPOINTS = ["/v1/chat/completions", "/v1/completions", "/generate"]


@pytest.mark.parametrize("path", ENDPOINTS)
def test_zero_leaves_when_idle(daemon, path):
    """And the memory is back: the process is gone."""
    server = daemon()
    pid = server.worker_pid()
    assert procs.rss_bytes(pid) > 0
    answer = ask(server, path, keep_alive=0)
    assert answer.status == 200, answer
    poll(lambda: status(server)["state"] == "cold", 5, "the model's leaving")
    assert not procs.alive(pid)
    assert server.metric("roundhouse_model_evictions_total", reason="idle") == 1
    assert ask(server, path).status == 200  # the next request loads it again
    # The wish was that request's; the next one goes by the server's setting.
    assert status(server)["state"] == "ready"


@pytest.mark.parametrize("path", ENDPOINTS)
def test_a_time(daemon, path):
    server = daemon()
    assert ask(server, path, keep_alive="1h30m").status == 200
    found = poll(lambda: status(server) if "expires_in_s" in status(server) else None, 5, "an idle time")
    assert found["keep_alive_s"] == 5400
    assert 5300 < found["expires_in_s"] <= 5400
    assert ask(server, path, keep_alive=60).status == 200
    poll(lambda: status(server)["keep_alive_s"] == 60, 5, "the newer wish")


@pytest.mark.parametrize("wish", [-1, "-1m", "forever"])
def test_for_ever(daemon, wish):
    server = daemon(keep_alive="200ms")
    assert ask(server, "/generate", keep_alive=wish).status == 200
    server.wait_idle()
    pid = server.worker_pid()
    holds_for(lambda: procs.alive(pid), 0.5, "a model that stays for ever")
    assert "expires_in_s" not in status(server)


def test_the_servers_setting(daemon):
    server = daemon(keep_alive="200ms", preload=False)
    assert ask(server, "/generate").status == 200
    pid = server.worker_pid()
    poll(lambda: not procs.alive(pid), 5, "the idle model's end")
    # The process is gone a moment before the daemon has heard of it.
    poll(lambda: status(server)["state"] == "cold", 5, "the model's leaving")
    assert server.metric("roundhouse_models_loaded") == 0


def test_the_models_own_setting(daemon):
    config = {
        "keep_alive": "forever",
        "models": {"brief": {"path": "fake:", "keep_alive": "200ms"}, "long": {"path": "fake:"}},
    }
    server = daemon(models={}, config=config, preload=False)
    for name in ("brief", "long"):
        assert ask(server, "/generate", model=name).status == 200
    poll(lambda: status(server, "brief")["state"] == "cold", 5, "the brief model's end")
    assert status(server, "long")["state"] == "ready"


def test_load_with_a_time(daemon):
    server = daemon(preload=False)
    server.post("/api/models/load", {"model": "fake", "keep_alive": "200ms"})
    pid = server.worker_pid()
    poll(lambda: not procs.alive(pid), 5, "the idle model's end")


def test_a_running_request_is_not_cut(daemon):
    server = daemon(models={"fake": "fake:slots=2"}, keep_alive="100ms")
    with server.chat_stream("[[tokens=40 delay_ms=20]]") as stream:
        stream.next_text()
        assert ask(server, "/generate", keep_alive=0).status == 200
        events = list(stream)
        assert events[-1].data == "[DONE]"
        assert not any('"error"' in event.data for event in events)


def test_a_pinned_model_stays(daemon):
    server = daemon(keep_alive="100ms")
    server.post("/api/models/pin", {"model": "fake"})
    assert ask(server, "/generate").status == 200
    pid = server.worker_pid()
    holds_for(lambda: procs.alive(pid), 0.4, "a pinned model")
    server.post("/api/models/pin", {"model": "fake", "pinned": False})
    poll(lambda: not procs.alive(pid), 5, "the end of a model that is no longer pinned")


@pytest.mark.parametrize("path", ENDPOINTS)
@pytest.mark.parametrize("wish", ["soon", "5 m", "", True, [5]])
def test_no_time(fake, path, wish):
    answer = ask(fake, path, keep_alive=wish)
    assert answer.status == 400, answer
    assert answer.error()["param"] == "keep_alive"
