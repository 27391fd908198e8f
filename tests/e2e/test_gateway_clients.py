# SPDX-License-Identifier: Apache-2.0
"""The real openai and anthropic packages through the gateway to each kind of remote provider: every pair of what the client speaks
and what the provider speaks, whole and streamed. The provider is a fake on loopback; what it got is looked at too."""

import asyncio
import json

import anthropic
import openai
import pytest

from harness.clients import anthropic_client, openai_client
from harness.upstream import Reply, Upstream
from harness.wait import scaled

KINDS = ["chat", "responses", "anthropic"]
PNG = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR4nGNgYGBgAAAABQABh6FO1AAAAABJRU5ErkJggg=="
PICTURE = "https://pictures.example/cat.png"
SCHEMA = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
TOOLS = [("weather", "The weather in a city", SCHEMA), ("now", "The time", {"type": "object", "properties": {}})]
CALLS = [("weather", {"city": "Köln"}), ("now", {})]


def providers(upstream, **more):
    common = {"baseUrl": upstream.url, "apiKey": "provider-key", "maxRetries": 0, "local": False, **more}
    models = {"default": "m", "fast": "m-fast"}
    return {
        "chat": {"type": "openai-compatible", "models": models, **common},
        "responses": {"type": "openai-compatible", "protocol": "responses", "models": models, **common},
        "anthropic": {"type": "anthropic", "models": {"default": "claude-sonnet-4-5"}, **common},
    }


# --- the two packages, so that a test can be about both ---


class Answer:
    def __init__(self, text, tools, thoughts, stop, usage, raw):
        self.text, self.tools, self.thoughts, self.stop, self.usage, self.raw = text, tools, thoughts, stop, usage, raw


class Gpt:
    errors = openai
    stops = {"stop": "stop", "length": "length", "tools": "tool_calls", "filter": "content_filter"}
    choices = {
        "required": "required",
        "named": {"type": "function", "function": {"name": "now"}},
        "none": "none",
        "auto": "auto",
    }

    def __init__(self, daemon, **options):
        self.client = openai_client(daemon, **options)

    @staticmethod
    def image(source):
        url = source if source.startswith("http") else f"data:image/png;base64,{source}"
        return {"type": "image_url", "image_url": {"url": url}}

    @staticmethod
    def results(results):
        return [{"role": "tool", "tool_call_id": id, "content": text} for id, text in results]

    @staticmethod
    def said(answer):
        return answer.raw.choices[0].message.model_dump(exclude_none=True)

    @staticmethod
    def options(tools=None, choice=None, think=False, parallel=None):
        options = {"reasoning_effort": "low"} if think else {}
        if tools:
            options["tools"] = [
                {"type": "function", "function": {"name": name, "description": words, "parameters": schema}}
                for name, words, schema in tools
            ]
        if choice:
            options["tool_choice"] = Gpt.choices[choice]
        if parallel is not None:
            options["parallel_tool_calls"] = parallel
        return options

    def ask(self, model, messages, stream=False, **wanted):
        if isinstance(messages, str):
            messages = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": messages}]
        options = {"model": model, "messages": messages, "max_tokens": 2000, **self.options(**wanted)}
        if stream:
            with self.client.chat.completions.stream(stream_options={"include_usage": True}, **options) as events:
                seen = "".join(event.delta for event in events if event.type == "content.delta")
                raw = events.get_final_completion()
            assert seen == (raw.choices[0].message.content or "")
        else:
            raw = self.client.chat.completions.create(**options)
        choice, usage = raw.choices[0], raw.usage
        calls = [(c.id, c.function.name, json.loads(c.function.arguments)) for c in choice.message.tool_calls or []]
        cached = usage.prompt_tokens_details.cached_tokens if usage.prompt_tokens_details else 0
        thoughts = getattr(choice.message, "reasoning_content", None) or ""
        numbers = (usage.prompt_tokens, cached, usage.completion_tokens)
        return Answer(choice.message.content or "", calls, thoughts, choice.finish_reason, numbers, raw)


class Claude:
    errors = anthropic
    stops = {"stop": "end_turn", "length": "max_tokens", "tools": "tool_use", "filter": "refusal"}
    choices = {
        "required": {"type": "any"},
        "named": {"type": "tool", "name": "now"},
        "none": {"type": "none"},
        "auto": {"type": "auto"},
    }

    def __init__(self, daemon, **options):
        self.client = anthropic_client(daemon, **options)

    @staticmethod
    def image(source):
        if source.startswith("http"):
            return {"type": "image", "source": {"type": "url", "url": source}}
        return {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": source}}

    @staticmethod
    def results(results):
        blocks = [{"type": "tool_result", "tool_use_id": id, "content": text} for id, text in results]
        return [{"role": "user", "content": blocks}]

    @staticmethod
    def said(answer):
        return {"role": "assistant", "content": [block.model_dump(exclude_none=True) for block in answer.raw.content]}

    @staticmethod
    def options(tools=None, choice=None, think=False, parallel=None):
        options = {"thinking": {"type": "enabled", "budget_tokens": 1024}} if think else {}
        if tools:
            options["tools"] = [
                {"name": name, "description": words, "input_schema": schema} for name, words, schema in tools
            ]
        if choice or parallel is not None:
            options["tool_choice"] = dict(Claude.choices[choice or "auto"])
        if parallel is not None:
            options["tool_choice"]["disable_parallel_tool_use"] = not parallel
        return options

    def ask(self, model, messages, stream=False, **wanted):
        system = {}
        if isinstance(messages, str):
            system = {"system": "Be brief."}
            messages = [{"role": "user", "content": messages}]
        options = {"model": model, "messages": messages, "max_tokens": 2000, **system, **self.options(**wanted)}
        if stream:
            with self.client.messages.stream(**options) as events:
                seen = "".join(events.text_stream)
                raw = events.get_final_message()
            assert seen == "".join(block.text for block in raw.content if block.type == "text")
        else:
            raw = self.client.messages.create(**options)
        text = "".join(block.text for block in raw.content if block.type == "text")
        calls = [(block.id, block.name, block.input) for block in raw.content if block.type == "tool_use"]
        thoughts = "".join(block.thinking for block in raw.content if block.type == "thinking")
        cached = raw.usage.cache_read_input_tokens or 0
        numbers = (raw.usage.input_tokens + cached, cached, raw.usage.output_tokens)
        return Answer(text, calls, thoughts, raw.stop_reason, numbers, raw)


SPEAKERS = {"openai": Gpt, "anthropic": Claude}


# --- what the provider got, in one form ---


def blocks_of(seen):
    """(role, block) of each part of each message, as the provider's protocol has them."""
    messages = seen.body.get("messages", seen.body.get("input"))
    for message in messages:
        content = message.get("content")
        for block in content if isinstance(content, list) else [{"type": "text", "text": content}]:
            yield message.get("role"), block


def calls_sent(seen):
    if seen.protocol == "chat":
        calls = [call for message in seen.body["messages"] for call in message.get("tool_calls") or []]
        return [(c["id"], c["function"]["name"], json.loads(c["function"]["arguments"])) for c in calls]
    if seen.protocol == "responses":
        items = [item for item in seen.body["input"] if item.get("type") == "function_call"]
        return [(item["call_id"], item["name"], json.loads(item["arguments"])) for item in items]
    return [(b["id"], b["name"], b["input"]) for _, b in blocks_of(seen) if b["type"] == "tool_use"]


def plain(content):
    return content if isinstance(content, str) else "".join(part["text"] for part in content)


def results_sent(seen):
    if seen.protocol == "chat":
        messages = [message for message in seen.body["messages"] if message["role"] == "tool"]
        return [(message["tool_call_id"], plain(message["content"])) for message in messages]
    if seen.protocol == "responses":
        items = [item for item in seen.body["input"] if item.get("type") == "function_call_output"]
        return [(item["call_id"], plain(item["output"])) for item in items]
    return [(b["tool_use_id"], plain(b["content"])) for _, b in blocks_of(seen) if b["type"] == "tool_result"]


def tools_sent(seen):
    if seen.protocol == "chat":
        functions = [tool["function"] for tool in seen.body["tools"]]
        return [(f["name"], f["description"], f["parameters"]) for f in functions]
    schema = "parameters" if seen.protocol == "responses" else "input_schema"
    return [(tool["name"], tool["description"], tool[schema]) for tool in seen.body["tools"]]


CHOICES_SENT = {
    "chat": {"required": "required", "named": {"type": "function", "function": {"name": "now"}}, "none": "none"},
    "responses": {"required": "required", "named": {"type": "function", "name": "now"}, "none": "none"},
    "anthropic": {"required": {"type": "any"}, "named": {"type": "tool", "name": "now"}, "none": {"type": "none"}},
}


def image_sent(seen):
    for _, block in blocks_of(seen):
        if block["type"] == "image_url":
            return block["image_url"]["url"].removeprefix("data:image/png;base64,")
        if block["type"] == "input_image":
            return block["image_url"].removeprefix("data:image/png;base64,")
        if block["type"] == "image":
            return block["source"].get("url") or block["source"]["data"]
    return None


# --- one daemon, all pairs ---


@pytest.fixture(scope="module")
def remote():
    with Upstream(key="provider-key") as server:
        yield server


@pytest.fixture(scope="module")
def gateway(module_daemon, remote):
    return module_daemon(models={}, config={"providers": providers(remote)})


@pytest.fixture(params=SPEAKERS)
def speaker(request, gateway):
    return SPEAKERS[request.param](gateway)


@pytest.fixture(params=KINDS)
def kind(request, remote):
    remote.answer = Reply()
    del remote.requests[:]
    return request.param


def model_of(kind):
    return f"{kind}/claude-sonnet-4-5" if kind == "anthropic" else f"{kind}/m"


both_ways = pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])


@both_ways
def test_text_usage_and_names(speaker, kind, remote, stream):
    remote.answer = Reply('Hello "wörld" 🚂.', prompt_tokens=20, cached_tokens=8, completion_tokens=6)
    answer = speaker.ask(model_of(kind), "Say hello", stream)
    assert answer.text == 'Hello "wörld" 🚂.'
    assert answer.usage == (20, 8, 6)
    assert answer.stop == speaker.stops["stop"]
    assert answer.raw.model == model_of(kind).partition("/")[2]
    seen = remote.requests[0]
    assert (seen.protocol, seen.stream, seen.key) == (kind, stream, "provider-key")
    assert seen.body["model"] == model_of(kind).partition("/")[2]
    assert "Be brief." in json.dumps(seen.body) and "Say hello" in json.dumps(seen.body)
    note = answer.raw.model_extra.get("roundhouse") if not stream else None
    if not stream:
        assert (note["provider"], note["cache"]) == (kind, "off") and note["route_reason"]


@both_ways
@pytest.mark.parametrize("finish", ["stop", "length", "filter"])
def test_stop_reasons(speaker, kind, remote, stream, finish):
    remote.answer = Reply("So", finish=finish)
    if stream and speaker.errors is openai and finish != "stop":
        # The package's helper for streams makes an exception of these.
        expected = {"length": openai.LengthFinishReasonError, "filter": openai.ContentFilterFinishReasonError}[finish]
        with pytest.raises(expected):
            speaker.ask(model_of(kind), "hi", stream)
        return
    assert speaker.ask(model_of(kind), "hi", stream).stop == speaker.stops[finish]


@both_ways
def test_a_round_with_tools(speaker, kind, remote, stream):
    remote.answer = Reply("Let me look.", tools=CALLS)
    model = model_of(kind)
    first = speaker.ask(model, "Weather and time?", stream, tools=TOOLS)
    assert first.text == "Let me look."
    assert [(name, arguments) for _, name, arguments in first.tools] == CALLS
    assert len({id for id, _, _ in first.tools}) == 2
    assert first.stop == speaker.stops["tools"]
    assert tools_sent(remote.requests[0]) == TOOLS

    results = [(first.tools[0][0], "rain"), (first.tools[1][0], "12:00")]
    messages = [{"role": "user", "content": "Weather and time?"}, speaker.said(first), *speaker.results(results)]
    remote.answer = Reply("It rains at noon.")
    last = speaker.ask(model, messages, stream, tools=TOOLS)
    assert (last.text, last.tools, last.stop) == ("It rains at noon.", [], speaker.stops["stop"])
    seen = remote.requests[1]
    assert calls_sent(seen) == first.tools
    assert results_sent(seen) == results
    assert "Let me look." in json.dumps(seen.body)


@both_ways
def test_a_call_without_words(speaker, kind, remote, stream):
    remote.answer = Reply("", tools=[CALLS[0]])
    answer = speaker.ask(model_of(kind), "Weather?", stream, tools=TOOLS)
    assert (answer.text, answer.stop) == ("", speaker.stops["tools"])
    assert [(name, arguments) for _, name, arguments in answer.tools] == [CALLS[0]]


@pytest.mark.parametrize("choice", ["required", "named", "none"])
def test_tool_choice(speaker, kind, remote, choice):
    speaker.ask(model_of(kind), "Go", tools=TOOLS, choice=choice)
    assert remote.requests[0].body["tool_choice"] == CHOICES_SENT[kind][choice]


def test_one_tool_at_a_time(speaker, kind, remote):
    speaker.ask(model_of(kind), "Go", tools=TOOLS, parallel=False)
    body = remote.requests[0].body
    if kind == "anthropic":
        assert body["tool_choice"]["disable_parallel_tool_use"] is True
    else:
        assert body["parallel_tool_calls"] is False


@pytest.mark.parametrize("source", [PNG, PICTURE], ids=["base64", "url"])
def test_images(speaker, kind, remote, source):
    content = [{"type": "text", "text": "What is this?"}, speaker.image(source)]
    assert speaker.ask(model_of(kind), [{"role": "user", "content": content}]).text
    assert image_sent(remote.requests[0]) == source


@both_ways
def test_thoughts(speaker, kind, remote, stream):
    remote.answer = Reply("Four.", reasoning="Two and two, hm.", reasoning_tokens=3)
    answer = speaker.ask(model_of(kind), "2 + 2?", stream, think=True)
    assert (answer.text, answer.thoughts) == ("Four.", "Two and two, hm.")
    body = remote.requests[0].body
    asked = {"chat": "reasoning_effort", "responses": "reasoning", "anthropic": "thinking"}[kind]
    assert body.get(asked), body
    if kind == "anthropic":
        assert body["max_tokens"] > body["thinking"]["budget_tokens"]


@both_ways
def test_signed_thoughts_go_back(gateway, remote, stream):
    """Anthropic demands the thoughts of a call of a tool back, signed as they were."""
    claude = Claude(gateway)
    del remote.requests[:]
    remote.answer = Reply("", reasoning="Hm.", signature="c2lnbmVk", tools=[CALLS[0]])
    first = claude.ask(model_of("anthropic"), "Weather?", stream, tools=TOOLS, think=True)
    results = claude.results([(first.tools[0][0], "rain")])
    messages = [{"role": "user", "content": "Weather?"}, claude.said(first), *results]
    remote.answer = Reply("Rain.")
    assert claude.ask(model_of("anthropic"), messages, stream, tools=TOOLS, think=True).text == "Rain."
    assistant = [block for role, block in blocks_of(remote.requests[1]) if role == "assistant"]
    assert assistant[0] == {"type": "thinking", "thinking": "Hm.", "signature": "c2lnbmVk"}
    assert assistant[1]["type"] == "tool_use"


def test_json_answers(gateway, remote):
    gpt = openai_client(gateway)
    for kind in KINDS:
        del remote.requests[:]
        remote.answer = Reply('{"city": "Köln"}')
        wanted = {"type": "json_schema", "json_schema": {"name": "place", "schema": SCHEMA, "strict": True}}
        answer = gpt.chat.completions.create(
            model=model_of(kind), messages=[{"role": "user", "content": "Where?"}], response_format=wanted
        )
        assert json.loads(answer.choices[0].message.content) == {"city": "Köln"}
        assert '"city"' in json.dumps(remote.requests[0].body)


def test_parameters(gateway, remote):
    del remote.requests[:]
    remote.answer = Reply()
    openai_client(gateway).chat.completions.create(
        model="chat/m", messages=[{"role": "user", "content": "hi"}], temperature=0.5, top_p=0.9, seed=3, stop=["END"],
        presence_penalty=0.25, max_completion_tokens=9,
    )  # fmt: skip
    body = remote.requests[0].body
    assert (body["temperature"], body["top_p"], body["seed"], body["presence_penalty"]) == (0.5, 0.9, 3, 0.25)
    assert body["stop"] == ["END"] and body["max_tokens"] == 9
    # What was not said is the provider's own to choose.
    assert not {"top_k", "min_p", "frequency_penalty", "n"} & set(body)


def test_embeddings(gateway, remote):
    gpt = openai_client(gateway)
    answer = gpt.embeddings.create(model="chat/m", input=["one", "two"])
    assert [row.embedding for row in answer.data] == [[0.0, 1.0, 2.0, 3.0], [1.0, 2.0, 3.0, 4.0]]
    assert answer.usage.prompt_tokens == 7
    answer = gpt.embeddings.create(model="chat/m", input="one", encoding_format="float")
    assert answer.data[0].embedding == [0.0, 1.0, 2.0, 3.0]
    with pytest.raises(openai.BadRequestError):
        gpt.embeddings.create(model="anthropic/claude-sonnet-4-5", input="one")


def test_completions(gateway, remote):
    del remote.requests[:]
    remote.answer = Reply(" six")
    gpt = openai_client(gateway)
    assert gpt.completions.create(model="chat/m", prompt="five,", max_tokens=3).choices[0].text == " six"
    assert remote.requests[0].protocol == "completions" and remote.requests[0].body["prompt"] == "five,"
    pieces = gpt.completions.create(model="chat/m", prompt="five,", max_tokens=3, stream=True)
    assert "".join(piece.choices[0].text for piece in pieces if piece.choices) == " six"


def test_asynchronous_clients(gateway, remote):
    remote.answer = Reply("Together.")

    async def talk():
        gpt = openai.AsyncOpenAI(base_url=f"{gateway.url}/v1", api_key="none", max_retries=0, timeout=scaled(60))
        claude = anthropic.AsyncAnthropic(base_url=gateway.url, api_key="none", max_retries=0, timeout=scaled(60))
        messages = [{"role": "user", "content": "hi"}]

        async def one(kind):
            chunks = await gpt.chat.completions.create(model=model_of(kind), messages=messages, stream=True)
            return "".join([chunk.choices[0].delta.content or "" async for chunk in chunks if chunk.choices])

        async def other(kind):
            async with claude.messages.stream(model=model_of(kind), messages=messages, max_tokens=9) as events:
                return "".join([text async for text in events.text_stream])

        async with gpt, claude:
            return await asyncio.gather(*[ask(kind) for kind in KINDS for ask in (one, other) for _ in range(4)])

    assert asyncio.run(talk()) == ["Together."] * 24


# --- errors: each on a daemon of its own, because a provider that failed is remembered ---


def fresh(daemon, upstream, speaker, **settings):
    server = daemon(models={}, config={"providers": providers(upstream)}, **settings)
    return server, SPEAKERS[speaker](server)


@pytest.fixture(params=SPEAKERS)
def name(request):
    return request.param


@both_ways
@pytest.mark.parametrize("kind", KINDS)
def test_errors(daemon, upstream, name, kind, stream):
    server, speaker = fresh(daemon, upstream, name, breaker_failures=100)
    errors, model = speaker.errors, model_of(kind)
    upstream.then(Reply(status=400))
    with pytest.raises(errors.BadRequestError, match="That request is not right"):
        speaker.ask(model, "hi", stream)
    upstream.then(Reply.overflow())
    with pytest.raises(errors.BadRequestError) as caught:
        speaker.ask(model, "hi", stream)
    if name == "openai":
        assert caught.value.code == "context_length_exceeded"
    else:
        assert "prompt is too long" in caught.value.message
    upstream.then(Reply(status=404))
    with pytest.raises(errors.NotFoundError):
        speaker.ask(model, "hi", stream)
    for status in (401, 403, 500, 503):  # of our key, and of the provider itself: not the client's fault
        upstream.then(Reply(status=status))
        with pytest.raises(errors.APIStatusError) as caught:
            speaker.ask(model, "hi", stream)
        assert caught.value.status_code >= 500, caught.value
        assert "provider-key" not in str(caught.value)
    upstream.then(Reply(status=429, headers={"Retry-After": "3"}))
    with pytest.raises(errors.RateLimitError) as caught:
        speaker.ask(model, "hi", stream)
    assert 1 <= int(caught.value.response.headers["retry-after"]) <= 3
    assert caught.value.response.headers["x-request-id"]
    # It asked to be left alone: nobody goes there until then.
    before = len(upstream.requests)
    with pytest.raises(errors.RateLimitError):
        speaker.ask(model, "hi", stream)
    assert len(upstream.requests) == before
    assert server.running()


@pytest.mark.parametrize("kind", KINDS)
def test_overload_and_errors_in_a_stream(daemon, upstream, name, kind):
    _, speaker = fresh(daemon, upstream, name, breaker_failures=100)
    upstream.then(Reply(status=529))
    with pytest.raises(speaker.errors.APIStatusError) as caught:
        speaker.ask(model_of(kind), "hi")
    assert caught.value.status_code >= 500
    upstream.then(Reply("one two three four", error_event=("overloaded_error", "Too many people.")))
    with pytest.raises(speaker.errors.APIError, match="Too many people"):
        speaker.ask(model_of(kind), "hi", stream=True)
    upstream.then(Reply("one two three four", cut="middle"))
    with pytest.raises(speaker.errors.APIError):
        speaker.ask(model_of(kind), "hi", stream=True)
    upstream.down()
    with pytest.raises(speaker.errors.APIStatusError) as caught:
        speaker.ask(model_of(kind), "hi")
    assert caught.value.status_code >= 500
    upstream.up()
    assert speaker.ask(model_of(kind), "hi").text == "Hello from upstream."


def test_our_own_keys(daemon, upstream, name):
    keys = [{"name": "team", "key": "rh-test-0123456789abcdef0123456789abcdef", "models": ["chat/*", "m"]}]
    server = daemon(models={}, config={"providers": providers(upstream), "keys": keys})
    make = openai_client if name == "openai" else anthropic_client
    errors = SPEAKERS[name].errors

    def ask(key, model):
        client = make(server).with_options(api_key=key)
        message = {"role": "user", "content": "hi"}
        if name == "openai":
            return client.chat.completions.create(model=model, messages=[message])
        return client.messages.create(model=model, messages=[message], max_tokens=9)

    with pytest.raises(errors.AuthenticationError):
        ask("wrong", "chat/m")
    assert ask(keys[0]["key"], "chat/m").model == "m"
    assert upstream.requests[0].key == "provider-key"  # never the client's
    with pytest.raises(errors.PermissionDeniedError):
        ask(keys[0]["key"], "anthropic/claude-sonnet-4-5")
    assert len(upstream.requests) == 1


def test_unknown_models(daemon, upstream, name):
    _, speaker = fresh(daemon, upstream, name)
    with pytest.raises(speaker.errors.NotFoundError):
        speaker.ask("nope", "hi")
    assert not upstream.requests


# --- names ---


def test_names(daemon, upstream):
    entries = providers(upstream)
    config = {
        "providers": {"up": entries["chat"], "claude": entries["anthropic"]},
        "defaultProvider": "claude",
        "routing": {"groups": {"smart": {"strategy": "round-robin", "members": ["up/fast", "claude"]}}},
    }
    server = daemon(models={"own": "fake:"}, config=config)
    gpt = openai_client(server)

    def answered(model):
        raw = gpt.chat.completions.with_raw_response.create(model=model, messages=[{"role": "user", "content": "hi"}])
        return raw.headers["x-roundhouse-provider"], raw.parse().model

    assert answered("up/m") == ("up", "m")
    assert answered("up/fast") == ("up", "m-fast")
    assert answered("up/default") == ("up", "m")
    assert answered("up/not-listed") == ("up", "not-listed")
    assert answered("up/with/slash") == ("up", "with/slash")
    assert answered("m-fast") == ("up", "m-fast")
    assert answered("claude-sonnet-4-5") == ("claude", "claude-sonnet-4-5")
    assert answered("own") == ("local", "own")
    assert answered("local/own") == ("local", "own")
    assert answered("auto") == ("claude", "claude-sonnet-4-5")
    assert {answered("smart") for _ in range(4)} == {("up", "m-fast"), ("claude", "claude-sonnet-4-5")}
    assert {"own", "smart", "up/m"} <= {model.id for model in gpt.models.list()}


# --- another roundhouse ---


@pytest.mark.parametrize("protocol", ["chat", "anthropic"])
def test_another_roundhouse(daemon, name, protocol):
    far = daemon(models={"fake": "fake:slots=4", "vectors": "fake:task=embed,dims=8"})
    entry = {"type": "roundhouse", "baseUrl": f"{far.url}/v1", "protocol": protocol, "maxRetries": 0}
    near = daemon(models={}, config={"providers": {"far": entry}})
    speaker = SPEAKERS[name](near)
    for stream in (False, True):
        answer = speaker.ask("far/fake", "[[text=One two three.]]", stream)
        assert answer.text == "One two three." and answer.stop == speaker.stops["stop"]
        direct = SPEAKERS[name](far).ask("fake", "[[text=One two three.]]", stream)
        assert answer.usage == direct.usage
    with pytest.raises(speaker.errors.NotFoundError):
        speaker.ask("far/nope", "hi")
    if protocol == "chat":
        gpt = openai_client(near)
        remote = gpt.embeddings.create(model="far/vectors", input=["one two"]).data[0].embedding
        assert remote == openai_client(far).embeddings.create(model="vectors", input=["one two"]).data[0].embedding
