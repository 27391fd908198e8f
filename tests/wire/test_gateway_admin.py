# SPDX-License-Identifier: Apache-2.0
"""The gateway's own calls: keys and what they may do, usage, prices, feedback, experiments, the cache, routing.
Models are fakes; what costs money is a scripted provider on loopback with a price from the configuration."""

import json
import time

import pytest

from harness.upstream import Reply, Upstream
from harness.wait import poll

MAIN = "main-secret-0123456789"  # of a configured key that may do everything


def bearer(secret):
    return {"Authorization": f"Bearer {secret}"}


class Admin:
    """A daemon with a configured admin key, and short words for its calls."""

    def __init__(self, server):
        self.server = server
        server.key = MAIN

    def call(self, method, path, body=None, secret=MAIN, **headers):
        given = {**(bearer(secret) if secret else {}), **headers}
        return self.server.fetch(method, path, body, given)

    def ok(self, method, path, body=None, status=200, **options):
        answer = self.call(method, path, body, **options)
        assert answer.status == status, answer
        return answer.json()

    def make(self, name, **fields):
        made = self.ok("POST", "/api/keys", {"name": name, **fields}, status=201)
        return made["id"], made["key"]

    def chat(self, words, secret=MAIN, **fields):
        return self.server.chat(words, headers=bearer(secret) if secret else None, **{"max_tokens": 4, **fields})

    def usage(self, query="", secret=MAIN):
        return self.ok("GET", f"/api/usage{query}", secret=secret)


@pytest.fixture
def admin(daemon):
    def start(*args, config=None, **settings):
        keys = [{"name": "main", "key": MAIN, "scopes": ["inference", "admin", "metrics"]}]
        return Admin(daemon(*args, config={"keys": keys, **(config or {})}, **settings))

    return start


def refused(answer, status, word, param=None):
    assert answer.status == status, answer
    error = answer.json()["error"]
    assert error["message"] and word in (error["type"], error["code"]), error
    assert param is None or error["param"] == param, error
    return error["message"]


# --- keys ---


def test_a_key_from_its_making_to_its_end(admin):
    one = admin()
    made = one.ok(
        "POST", "/api/keys", {"name": "ann", "requests_per_minute": 100, "budget_usd": 5, "budget_period": "day"}, 201
    )
    secret = made["key"]
    assert secret.startswith("rh-") and made["id"].startswith("key_") and made["status"] == "active"
    assert made["scopes"] == ["inference"] and made["budget_usd"] == 5
    assert one.chat("hi", secret).status == 200
    shown = one.ok("GET", f"/api/keys/{made['id']}")
    assert shown == one.ok("GET", "/api/keys/ann"), "by id and by name"
    listed = one.ok("GET", "/api/keys")
    assert listed["required"] and {key["name"] for key in listed["keys"]} == {"main", "ann"}
    # The secret was in the answer that made it, and nowhere else.
    assert secret not in json.dumps([shown, listed]) + one.server.log_text()
    changed = one.ok("POST", "/api/keys/ann", {"name": "anna", "requests_per_minute": None, "local_only": True})
    assert (changed["name"], changed["requests_per_minute"], changed["local_only"]) == ("anna", 0, True)
    assert changed["budget_usd"] == 5, "what was not said stays"
    assert one.ok("DELETE", f"/api/keys/{made['id']}")["status"] == "revoked"
    assert "revoked" in refused(one.chat("hi", secret), 401, "invalid_api_key")
    assert one.ok("GET", "/api/keys/anna")["revoked_at"] is not None


def test_making_a_key_says_that_nobody_may_keep_the_answer(admin):
    answer = admin().call("POST", "/api/keys", {"name": "ann"})
    assert answer.status == 201 and answer.header("Cache-Control") == "no-store"


@pytest.mark.parametrize(
    "body, param",
    [
        ({}, "name"),
        ({"name": "ann", "scope": ["admin"]}, "scope"),
        ({"name": "ann", "scopes": ["root"]}, "scopes"),
        ({"name": "ann", "expires_in": "soon"}, "expires_in"),
    ],
)
def test_keys_that_cannot_be_made(admin, body, param):
    refused(admin().call("POST", "/api/keys", body), 400, "invalid_request_error", param)


def test_keys_that_are_not_there_or_not_to_be_changed(admin):
    one = admin()
    for method in ("GET", "POST", "DELETE"):
        refused(one.call(method, "/api/keys/nobody", {} if method == "POST" else None), 404, "not_found", "key")
    refused(one.call("DELETE", "/api/keys/main"), 409, "conflict")
    refused(one.call("POST", "/api/keys/main", {"budget_usd": 1}), 409, "conflict")
    one.make("ann")
    for taken in ("main", "ann"):
        refused(one.call("POST", "/api/keys", {"name": taken}), 409, "conflict", "name")


def test_what_each_scope_may_do(admin):
    one = admin()
    secrets = {scope: one.make(scope, scopes=[scope])[1] for scope in ("inference", "admin", "metrics")}
    calls = {
        "inference": [("POST", "/v1/chat/completions", {"messages": [{"role": "user", "content": "hi"}]}),
                      ("POST", "/api/route/explain", {"prompt": "hi"})],
        "metrics": [("GET", "/metrics", None)],
        "admin": [("GET", "/api/keys", None), ("DELETE", "/api/cache", None), ("POST", "/api/keys", {"name": "new"}),
                  ("POST", "/api/experiments", {}), ("DELETE", "/api/keys/nobody", None),
                  ("POST", "/api/models/unload", {"model": "fake"})],
        "any": [("GET", "/api/usage", None), ("GET", "/api/prices", None), ("GET", "/api/cache", None),
                ("GET", "/api/experiments", None), ("GET", "/v1/models", None), ("GET", "/api/providers", None)],
    }
    for needed, listed in calls.items():
        for method, path, body in listed:
            for scope, secret in secrets.items():
                status = one.call(method, path, body, secret).status
                may = needed in ("any", scope) or scope == "admin"
                assert (status != 403) == may, (scope, method, path, status)
            refused(one.call(method, path, body, secret=None), 401, "invalid_api_key")
            refused(one.call(method, path, body, secret="rh-wrong-key-0123456789"), 401, "invalid_api_key")


def test_a_refusal_has_the_shape_of_its_dialect(admin):
    one = admin()
    _, secret = one.make("metrics", scopes=["metrics"])
    body = {"model": "fake", "max_tokens": 4, "messages": [{"role": "user", "content": "hi"}]}
    openai = one.call("POST", "/v1/chat/completions", body, secret)
    refused(openai, 403, "permission_error")
    claude = one.server.post("/v1/messages", body, headers={"x-api-key": secret})
    assert claude.status == 403 and claude.json()["error"]["type"] == "permission_error", claude
    assert claude.json()["type"] == "error"
    nobody = one.server.post("/v1/messages", body)
    assert nobody.status == 401 and nobody.json()["error"]["type"] == "authentication_error", nobody
    assert nobody.header("WWW-Authenticate") == "Bearer"


def test_the_first_key_closes_the_server(daemon):
    server = daemon()
    assert server.chat("hi", max_tokens=4).status == 200
    assert server.get("/api/keys").json() == {"keys": [], "required": False}
    made = server.post("/api/keys", {"name": "first", "scopes": ["admin", "metrics"]})
    assert made.status == 201, made
    server.key = made.json()["key"]
    refused(server.chat("hi", max_tokens=4), 401, "invalid_api_key")
    refused(server.post("/api/keys", {"name": "second"}), 401, "invalid_api_key")
    assert server.chat("hi", max_tokens=4, headers=bearer(server.key)).status == 200


def test_admin_calls_need_a_key_where_requests_do_not(admin):
    one = admin(require_key="never")
    assert one.chat("hi", secret=None).status == 200
    for method, path in (("GET", "/api/keys"), ("DELETE", "/api/cache"), ("GET", "/api/usage")):
        refused(one.call(method, path, secret=None), 401, "invalid_api_key")


def test_models_a_key_may_use(admin):
    one = admin({"alpha": "fake:", "beta-small": "fake:", "beta-large": "fake:"})
    _, secret = one.make("ann", models=["beta-*"])
    assert one.chat("hi", secret, model="beta-small").status == 200
    assert one.chat("hi", secret, model="beta-large").status == 200
    refused(one.chat("hi", secret, model="alpha"), 403, "permission_error", "model")
    one.ok("POST", "/api/keys/ann", {"models": None})
    assert one.chat("hi", secret, model="alpha").status == 200


def test_a_key_expires(admin):
    one = admin()
    _, secret = one.make("ann", expires_at=int(time.time()) + 2)
    assert one.chat("hi", secret).status == 200
    poll(lambda: one.chat("hi", secret).status == 401, 10, "the key's end")
    assert "expired" in refused(one.chat("hi", secret), 401, "invalid_api_key")
    assert one.ok("GET", "/api/keys/ann")["status"] == "expired"


# --- what costs money ---


PRICES = {"paid/big": {"input": 10, "output": 100}, "reference/model": {"input": 100, "output": 1000}}
ANSWER = Reply("Hello there.", prompt_tokens=1000, completion_tokens=100)
COST = (1000 * 10 + 100 * 100) / 1e6
REFERENCE = 10 * COST


@pytest.fixture
def paid(admin):
    """A daemon with a fake model of its own and a provider whose answers cost COST."""
    with Upstream() as upstream:
        upstream.answer = ANSWER
        providers = {
            "paid": {"type": "openai-compatible", "baseUrl": upstream.url, "models": {"default": "big", "other": "odd"}}
        }
        one = admin(config={"providers": providers, "prices": PRICES, "reference_model": "reference/model"})
        one.upstream = upstream
        yield one


def test_a_budget_ends(paid):
    _, secret = paid.make("ann", budget_usd=1.5 * COST, budget_period="month")
    assert paid.chat("one", secret, model="paid/big").status == 200
    assert paid.chat("two", secret, model="paid/big").status == 200, "begun while something was left"
    message = refused(paid.chat("three", secret, model="paid/big"), 429, "insufficient_quota")
    assert "0.0" in message or "$" in message, message
    assert len(paid.upstream.requests) == 2
    assert paid.ok("GET", "/api/keys/ann")["spent_usd"] == pytest.approx(2 * COST)
    assert paid.chat("four", model="paid/big").status == 200, "another key's budget is its own"


def test_usage_adds_up(paid):
    ann, secret = paid.make("ann")
    for words in ("one", "two"):
        assert paid.chat(words, secret, model="paid/big").status == 200
    assert paid.chat("three", model="paid/big").status == 200
    local = paid.chat("four", model="fake")
    assert local.status == 200
    tokens = local.json()["usage"]
    total = paid.usage()["total"]
    assert (total["requests"], total["errors"]) == (4, 0)
    assert total["cost_usd"] == pytest.approx(3 * COST)
    assert total["prompt_tokens"] == 3000 + tokens["prompt_tokens"]
    assert total["completion_tokens"] == 300 + tokens["completion_tokens"]
    by_key = {group["key"]: group for group in paid.usage("?by=key,provider&provider=paid")["groups"]}
    assert by_key[ann]["requests"] == 2 and by_key[ann]["cost_usd"] == pytest.approx(2 * COST)
    assert by_key[ann]["key_name"] == "ann" and by_key[ann]["provider"] == "paid"
    assert by_key[ann]["reference_usd"] == pytest.approx(2 * REFERENCE)
    assert by_key[ann]["saved_usd"] == pytest.approx(2 * (REFERENCE - COST))
    assert sum(group["requests"] for group in by_key.values()) == 3
    models = {(g["provider"], g["model"]): g["cost_usd"] for g in paid.usage("?by=provider,model")["groups"]}
    assert models == {("paid", "big"): pytest.approx(3 * COST), ("local", "fake"): 0}
    assert paid.usage("?model=fake")["total"]["requests"] == 1
    assert len(paid.usage("?by=provider,model&limit=1")["groups"]) == 1
    metrics = paid.server.metrics()
    labels = {"gen_ai_provider_name": "paid", "gen_ai_response_model": "big"}
    assert metrics.sum("roundhouse_cost_usd_total", **labels) == pytest.approx(3 * COST)
    assert metrics.sum("roundhouse_breaker_state", **labels) == 0
    assert metrics.sum("roundhouse_keys") == 2
    # Neither a secret nor an id is a label.
    text = paid.server.get("/metrics", headers=bearer(MAIN)).body.decode()
    assert ann not in text and secret not in text and MAIN not in text


def test_who_was_left_for_the_next_is_counted(admin):
    with Upstream() as upstream:
        upstream.answer = Reply(status=500)
        paid = {"type": "openai-compatible", "baseUrl": upstream.url, "max_retries": 0, "models": {"default": "big"}}
        rule = {"condition": {"hasCode": False}, "action": {"provider": "paid"}, "reason": "all goes out"}
        one = admin(config={"providers": {"paid": paid}, "routing": {"rules": [rule]}, "fallbackChain": ["local"]})
        answer = one.chat("hi", model="auto")
        assert (answer.status, answer.header("x-roundhouse-provider")) == (200, "local"), answer
        labels = {"gen_ai_provider_name": "paid", "gen_ai_response_model": "big"}
        assert one.server.metric("roundhouse_fallbacks_total", **labels) == 1
        assert one.server.metric("roundhouse_fallbacks_total", error_type="upstream", **labels) == 1
        assert one.server.metric("roundhouse_cost_usd_total") == 0


def test_a_key_sees_its_own_usage_only(paid):
    ann, secret = paid.make("ann")
    paid.make("bob")
    assert paid.chat("one", secret, model="fake").status == 200
    assert paid.chat("two", model="fake").status == 200
    seen = paid.usage("?by=key", secret=secret)
    assert [group["key"] for group in seen["groups"]] == [ann] and seen["total"]["requests"] == 1
    assert paid.usage("?by=key&key=ann", secret=secret)["total"]["requests"] == 1
    refused(paid.call("GET", "/api/usage?key=bob", secret=secret), 403, "permission_error", "key")
    assert paid.usage("?key=ann")["total"]["requests"] == 1
    assert paid.usage()["total"]["requests"] == 2


def test_usage_of_a_time(paid):
    assert paid.chat("one", model="fake").status == 200
    now = int(time.time())
    today, tomorrow = (time.strftime("%Y-%m-%d", time.gmtime(at)) for at in (now, now + 86400))
    assert paid.usage("?by=day")["groups"][0]["day"] in (today, tomorrow)
    assert paid.usage(f"?from={today}&to={tomorrow}")["total"]["requests"] == 1, "the last day counts whole"
    assert paid.usage(f"?from={now - 60}&to={now + 60}")["total"]["requests"] == 1
    assert paid.usage(f"?from={now + 60}")["total"]["requests"] == 0
    assert paid.usage("?to=2020-01-01")["total"]["requests"] == 0


@pytest.mark.parametrize(
    "query, param",
    [
        ("?by=model,dya", "by"),
        ("?from=yesterday", "from"),
        ("?from=2026-02-30", "from"),
        ("?to=2026-13-01", "to"),
        ("?from=2026-01-02&to=2026-01-01", "to"),
        ("?limit=0", "limit"),
        ("?limit=many", "limit"),
    ],
)
def test_questions_about_usage_that_mean_nothing(paid, query, param):
    refused(paid.call("GET", f"/api/usage{query}"), 400, "invalid_request_error", param)


def test_usage_is_there_after_a_restart(daemon, tmp_path):
    state = tmp_path / "state"
    first = daemon(state_dir=state)
    assert first.chat("hi", max_tokens=4).status == 200
    assert first.stop() == 0
    second = daemon(state_dir=state)
    assert second.get("/api/usage").json()["total"]["requests"] == 1


def test_prices(paid):
    prices = paid.ok("GET", "/api/prices")
    assert prices["currency"] == "USD" and prices["models"]["paid/big"]["input"] == 10
    assert len(prices["models"]) > len(PRICES), "the built-in table is there too"


# --- feedback ---


@pytest.mark.parametrize("given, kept", [("up", 1), ("down", -1), (0.5, 0.5), (-1, -1), ("thumbs_up", 1), ("👎", -1)])
def test_feedback_is_learned_from(paid, given, kept):
    answer = paid.chat("one", model="paid/big")
    request = answer.header("x-request-id")
    body = {"request_id": request, "rating": given, "comment": "as I thought"}
    told = paid.ok("POST", "/api/feedback", body)
    assert told == {"request_id": request, "rating": kept, "provider": "paid", "model": "big"}
    member = next(m for m in paid.ok("GET", "/api/providers")["members"] if m["model"] == "big")
    assert 0 <= member["quality"] <= 1


def test_requests_are_their_own_keys_alone(admin):
    one = admin(models={"chat": "fake:"})
    (_, ann), (_, bob) = one.make("ann"), one.make("bob")
    rated = {"request_id": one.chat("one", ann).header("x-request-id"), "rating": "up"}
    refused(one.call("POST", "/api/feedback", rated, secret=bob), 404, "not_found", "request_id")
    one.ok("POST", "/api/feedback", rated, secret=ann)
    one.ok("POST", "/api/feedback", rated)  # an administrator may
    # The last request may be anybody's.
    assert one.call("GET", "/last_request_stats", secret=ann).status == 403
    assert one.ok("GET", "/last_request_stats")["request_id"] == rated["request_id"]
    body = {"model": "chat", "messages": [{"role": "user", "content": "[[tokens=100000 delay_ms=5]]"}], "stream": True}
    for secret in (ann, MAIN):
        with one.server.stream("/v1/chat/completions", body, headers=bearer(ann)) as stream:
            path = f"/api/inference/cancel/{stream.start().header('x-request-id')}"
            stream.next_event()
            refused(one.call("POST", path, secret=bob), 404, "not_found", "request_id")
            assert one.ok("POST", path, secret=secret)["cancelled"] is True
            last = [event for event in stream if event.data != "[DONE]"][-1].json()
        assert last["error"]["code"] == "request_cancelled"


@pytest.mark.parametrize(
    "body, status, param",
    [
        ({"rating": "up"}, 400, "request_id"),
        ({"request_id": "req-1"}, 400, "rating"),
        ({"request_id": "req-1", "rating": 2}, 400, "rating"),
        ({"request_id": "req-1", "rating": "fine"}, 400, "rating"),
        ({"request_id": "req-1", "rating": [1]}, 400, "rating"),
        ({"request_id": "req-1", "rating": "up", "comment": 7}, 400, "comment"),
        ({"request_id": "req-1", "rating": "up", "coment": "x"}, 400, "coment"),
        ({"request_id": "req-1", "rating": "up"}, 404, "request_id"),
        ({"request_id": "x" * 200, "rating": "up"}, 400, "request_id"),
    ],
)
def test_feedback_that_means_nothing(fake, body, status, param):
    answer = fake.post("/api/feedback", body)
    assert (answer.status, answer.json()["error"]["param"]) == (status, param), answer


def test_feedback_and_usage_of_clients_that_leave(fake):
    """Their questions are under way in another thread; nothing may be left behind or answered twice."""
    request = fake.chat("hi", max_tokens=4).header("x-request-id")
    for _ in range(20):
        for method, path, body in (("POST", "/api/feedback", {"request_id": request, "rating": "up"}),
                                   ("GET", "/api/usage?by=day,key,provider,model", None)):
            with fake.connect() as connection:
                connection.send_request(method, path, body)
    fake.wait_idle()
    assert fake.get("/api/usage").json()["total"]["requests"] == 1


# --- experiments ---


ARMS = [{"name": "old", "model": "alpha"}, {"name": "new", "model": "beta"}]
TEST = {"name": "which", "model": "chat", "arms": ARMS, "sticky": "none", "minimum": 10}
TWO = {"alpha": "fake:", "beta": "fake:"}


@pytest.fixture
def testing(admin):
    one = admin(TWO, config={"aliases": {"chat": "alpha"}})
    made = one.ok("POST", "/api/experiments", TEST, status=201)
    assert made["state"] == "running" and [arm["name"] for arm in made["arms"]] == ["old", "new"]
    return one


def arms_of(one):
    return {arm["name"]: arm for arm in one.ok("GET", "/api/experiments/which")["arms"]}


def test_an_experiment_is_reported_on(testing):
    answers = [testing.chat(f"question {i}", model="chat") for i in range(24)]
    assert {answer.status for answer in answers} == {200}
    used = [answer.json()["model"] for answer in answers]
    assert set(used) == {"alpha", "beta"}
    arms = arms_of(testing)
    assert arms["old"]["requests"] == used.count("alpha") and arms["new"]["requests"] == used.count("beta")
    report = testing.call("GET", "/api/experiments/which?format=markdown")
    assert report.header("Content-Type").startswith("text/markdown")
    text = report.body.decode()
    assert "which" in text and "old" in text and "new" in text
    same = testing.call("GET", "/api/experiments/which", Accept="text/markdown")
    assert same.header("Content-Type").startswith("text/markdown")
    by_arm = {group["model"]: group["requests"] for group in testing.usage("?by=model")["groups"]}
    assert by_arm == {"alpha": used.count("alpha"), "beta": used.count("beta")}


def test_feedback_counts_for_the_arm(testing):
    answer = testing.chat("hi", model="chat")
    body = {"request_id": answer.header("x-request-id"), "rating": "up"}
    testing.ok("POST", "/api/feedback", body)
    name = "old" if answer.json()["model"] == "alpha" else "new"
    other = "new" if name == "old" else "old"
    arms = arms_of(testing)
    assert arms[name]["feedback"]["count"] == 1 and arms[other]["feedback"]["count"] == 0, arms


def test_an_experiment_pauses_resumes_and_ends(testing):
    state = lambda: testing.ok("GET", "/api/experiments")["experiments"][0]["state"]  # noqa: E731
    assert testing.ok("POST", "/api/experiments/which/pause", {"why": "lunch"})["state"] == "paused"
    models = {testing.chat(f"q{i}", model="chat").json()["model"] for i in range(12)}
    assert models == {"alpha"} and state() == "paused"
    assert testing.ok("POST", "/api/experiments/which/resume")["state"] == "running"
    assert testing.ok("POST", "/api/experiments/which/stop")["state"] == "stopped"
    refused(testing.call("POST", "/api/experiments/which/resume"), 409, "conflict")
    assert testing.ok("DELETE", "/api/experiments/which") == {"name": "which", "removed": True}
    assert testing.ok("GET", "/api/experiments") == {"experiments": []}
    refused(testing.call("GET", "/api/experiments/which"), 404, "not_found", "experiment")


def test_an_experiment_is_removed_under_its_requests(testing):
    body = {"model": "chat", "stream": True, "messages": [{"role": "user", "content": "[[tokens=60 delay_ms=10]]"}]}
    with testing.server.stream("/v1/chat/completions", body, headers=bearer(MAIN)) as stream:
        stream.next_text()
        testing.ok("DELETE", "/api/experiments/which")
        again = {**TEST, "arms": [{"name": "other", "model": "beta"}, {"name": "same", "model": "beta"}]}
        testing.ok("POST", "/api/experiments", again, status=201)
        assert [event.data for event in stream][-1] == "[DONE]"
    testing.server.wait_idle()
    assert all(arm["requests"] == 0 for arm in arms_of(testing).values()), "another one of the same name"


def test_experiments_that_cannot_be(testing):
    refused(testing.call("POST", "/api/experiments", TEST), 409, "conflict")
    refused(testing.call("POST", "/api/experiments", {**TEST, "name": "x", "arm": []}), 400, "invalid_value")
    refused(testing.call("POST", "/api/experiments/which/jump"), 404, "not_found")
    refused(testing.call("GET", "/api/experiments/which/jump"), 404, "not_found")
    refused(testing.call("POST", "/api/experiments/" + "x" * 100 + "/stop"), 404, "not_found", "experiment")


def test_experiments_outlive_a_restart(daemon, tmp_path):
    settings = {"state_dir": tmp_path / "state", "config": {"aliases": {"chat": "alpha"}}}
    first = daemon(TWO, **settings)
    assert first.post("/api/experiments", TEST).status == 201
    for i in range(6):
        assert first.chat(f"q{i}", model="chat", max_tokens=2).status == 200
    assert first.stop() == 0
    report = daemon(TWO, **settings).get("/api/experiments/which").json()
    assert sum(arm["requests"] for arm in report["arms"]) == 6


# --- the cache ---


def test_the_cache_is_told_and_emptied(admin):
    one = admin(config={"cache": "on"})
    ask = {"temperature": 0, "max_tokens": 4}
    states = [one.chat("same", **ask).header("x-roundhouse-cache") for _ in range(3)]
    assert states[1:] == ["hit", "hit"], states
    told = one.ok("GET", "/api/cache")
    assert (told["on"], told["entries"], told["hits"]) == (True, 1, 2) and told["bytes"] > 0
    metrics = one.server.metrics()
    assert metrics.sum("roundhouse_cache_entries") == 1 and metrics.sum("roundhouse_cache_stored_total") == 1
    assert one.ok("DELETE", "/api/cache") == {"on": True, "removed": 1}
    assert one.ok("GET", "/api/cache")["entries"] == 0
    assert one.chat("same", **ask).header("x-roundhouse-cache") != "hit"


def test_a_cache_that_is_off(fake):
    assert fake.get("/api/cache").json() == {"on": False}
    assert fake.fetch("DELETE", "/api/cache").json() == {"on": False, "removed": 0}


# --- the routing explained ---


RULES = {
    "mode": "rules",
    "rules": [
        {"condition": {"hasCode": True}, "action": {"provider": "paid"}, "reason": "code goes out"},
        {"condition": {"privacy": "high"}, "action": {"provider": "local"}, "reason": "secrets stay"},
    ],
}


@pytest.fixture
def routed(admin):
    with Upstream() as upstream:
        providers = {"paid": {"type": "openai-compatible", "baseUrl": upstream.url, "models": {"default": "big"}}}
        one = admin(config={"providers": providers, "routing": RULES, "prices": PRICES})
        one.upstream = upstream
        yield one
        assert not upstream.requests, "explaining runs nothing"


def test_a_decision_is_explained(routed):
    code = "def f(x):\n    return x + 1\n\nfor i in range(3): print(i)"
    told = routed.ok("POST", "/api/route/explain", {"prompt": code})
    assert told["features"]["has_code"] and told["features"]["prompt_tokens"] > 5
    assert [rule["decided"] for rule in told["rules"]] == [True, False]
    assert told["choice"] == {"provider": "paid", "model": "big"} and "code goes out" in told["reason"]
    assert {"provider", "model", "score", "parts"} <= set(told["members"][0])
    other = routed.ok("POST", "/api/route/explain", {"messages": [{"role": "user", "content": "Hello"}]})
    assert other["rules"][0]["matched"] is False and other["rules"][0]["failed"]


def test_headers_count_in_an_explanation(routed):
    headers = {"x-roundhouse-privacy": "high"}
    told = routed.ok("POST", "/api/route/explain", {"prompt": "Hello"}, **headers)
    assert told["features"]["local_only"] and told["rules"][1]["decided"]
    assert told["choice"]["provider"] == "local"
    bad = routed.call("POST", "/api/route/explain", {"prompt": "Hello"}, **{"x-roundhouse-privacy": "very"})
    refused(bad, 400, "invalid_value", "x-roundhouse-privacy")


def test_a_model_that_is_named(routed):
    told = routed.ok("POST", "/api/route/explain", {"prompt": "Hello", "model": "paid/big"})
    assert told["choice"] == {"provider": "paid", "model": "big"}
    refused(routed.call("POST", "/api/route/explain", {"prompt": "Hello", "model": "nobody"}), 404, "model_not_found")


@pytest.mark.parametrize(
    "body, param",
    [
        ({}, "prompt"),
        ({"prompt": 7}, "prompt"),
        ({"prompt": "x", "messages": []}, "prompt"),
        ({"prompt": "x", "temperature": 9}, "temperature"),
    ],
)
def test_requests_that_cannot_be_explained(fake, body, param):
    refused(fake.post("/api/route/explain", body), 400, "invalid_request_error", param)
