# SPDX-License-Identifier: Apache-2.0
"""The openai package as its users use it, against the default model."""

import threading

import openai
import pytest

from harness.clients import openai_client
from harness.wait import poll, scaled

MODEL = "smollm2"
SYSTEM = {"role": "system", "content": "You are a helpful assistant."}


def ask(client, text, **options):
    options.setdefault("temperature", 0)
    options.setdefault("max_tokens", 32)
    return client.chat.completions.create(
        model=MODEL, messages=[SYSTEM, {"role": "user", "content": text}], **options
    )


def text_of(completion):
    return completion.choices[0].message.content


def joined(stream):
    """(text, the chunks) of a streamed chat."""
    chunks = list(stream)
    return "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices), chunks


def test_models(client):
    assert MODEL in [model.id for model in client.models.list()]
    assert client.models.retrieve(MODEL).id == MODEL
    with pytest.raises(openai.NotFoundError):
        client.models.retrieve("nope")


def test_chat(client):
    completion = ask(client, "What is the capital of France?")
    assert "Paris" in text_of(completion)
    assert completion.object == "chat.completion"
    assert completion.choices[0].message.role == "assistant"
    assert completion.choices[0].finish_reason in ("stop", "length")
    usage = completion.usage
    assert usage.prompt_tokens > 10
    assert 0 < usage.completion_tokens <= 32
    assert usage.total_tokens == usage.prompt_tokens + usage.completion_tokens


def test_streamed_chat_is_the_same_text(client):
    whole = text_of(ask(client, "What is the capital of France?"))
    text, chunks = joined(
        ask(client, "What is the capital of France?", stream=True, stream_options={"include_usage": True})
    )
    assert text == whole
    assert len({chunk.id for chunk in chunks}) == 1
    assert chunks[0].choices[0].delta.role == "assistant"
    assert chunks[-1].choices == [] and chunks[-1].usage.completion_tokens > 0
    assert sum(bool(chunk.choices and chunk.choices[0].finish_reason) for chunk in chunks) == 1
    # One chunk a token or nearly so: a stream that comes in one piece is none.
    assert len(chunks) > chunks[-1].usage.completion_tokens / 2


def test_chat_without_a_system_message(client):
    completion = client.chat.completions.create(
        model=MODEL, messages=[{"role": "user", "content": "Say hello."}], max_tokens=8, temperature=0
    )
    assert text_of(completion)


def test_completion(client):
    completion = client.completions.create(model=MODEL, prompt="1, 2, 3, 4, 5, 6,", max_tokens=12, temperature=0)
    assert completion.object == "text_completion"
    assert completion.choices[0].text.startswith(" 7, 8")
    assert completion.choices[0].finish_reason == "length"
    assert completion.usage.completion_tokens == 12


def test_completion_stream_and_several_prompts(client):
    prompts = ["1, 2, 3, 4, 5, 6,", "Monday, Tuesday,"]
    whole = client.completions.create(model=MODEL, prompt=prompts, max_tokens=8, temperature=0)
    assert [choice.index for choice in whole.choices] == [0, 1]
    texts = ["", ""]
    for chunk in client.completions.create(model=MODEL, prompt=prompts, max_tokens=8, temperature=0, stream=True):
        for choice in chunk.choices:
            texts[choice.index] += choice.text
    assert texts == [choice.text for choice in whole.choices]


def test_completion_from_token_ids(client):
    logged = client.completions.create(model=MODEL, prompt="1, 2, 3,", max_tokens=1, temperature=0, logprobs=0)
    assert logged.choices[0].logprobs.tokens == [logged.choices[0].text]
    completion = client.completions.create(model=MODEL, prompt=[504, 808, 7522], max_tokens=4, temperature=0)
    assert completion.usage.prompt_tokens == 3


def test_with_raw_response_has_the_request_id(client):
    raw = client.chat.completions.with_raw_response.create(
        model=MODEL, messages=[{"role": "user", "content": "hi"}], max_tokens=1
    )
    assert raw.headers["x-request-id"]
    # The package reads the header into this field.
    assert raw.parse()._request_id == raw.headers["x-request-id"]


# --- many at once ---


def test_eight_at_once_answer_as_they_would_alone(client):
    """Prompts of different lengths share each batch. Rounding may differ from batch to batch, so only facts that the
    model is sure of are compared to the letter (see reference/make_greedy.py)."""
    prompts = ["10, 20, 30, 40, 50, 60, 70, 80, 90,", "1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12,"] * 4
    prompts = [f"{prompt}"[offset:] for offset, prompt in zip([0, 0, 4, 3, 8, 6, 12, 9], prompts)]

    def complete(prompt):
        return client.completions.create(model=MODEL, prompt=prompt, max_tokens=24, temperature=0).choices[0].text

    alone = [complete(prompt) for prompt in prompts]
    together = [None] * len(prompts)

    def work(index):
        together[index] = complete(prompts[index])

    threads = [threading.Thread(target=work, args=(index,)) for index in range(len(prompts))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert together == alone


def test_streams_run_side_by_side(client):
    """Eight streams: the last one's first token comes before the first one's end."""
    streams = [ask(client, f"Tell me a story about the number {n}.", max_tokens=48, stream=True) for n in range(8)]
    iterators = [iter(stream) for stream in streams]
    for iterator in iterators:
        while not next(iterator).choices[0].delta.content:
            pass
    for iterator in iterators:
        list(iterator)


# --- sampling ---


def test_seed_repeats_and_other_seeds_differ(client):
    def tell(seed):
        return text_of(ask(client, "Invent a name for a dragon.", temperature=1.0, seed=seed, max_tokens=24))

    first = [tell(seed) for seed in (1, 2, 3, 4)]
    assert [tell(seed) for seed in (1, 2, 3, 4)] == first
    assert len(set(first)) > 1


def test_choices_differ(client):
    completion = ask(client, "Invent a name for a dragon.", temperature=1.2, seed=7, n=4, max_tokens=24)
    assert [choice.index for choice in completion.choices] == [0, 1, 2, 3]
    assert len({choice.message.content for choice in completion.choices}) > 1


def test_logit_bias_forbids_a_token(client):
    prompt = "1, 2, 3, 4, 5, 6,"
    first = client.completions.create(model=MODEL, prompt=prompt, max_tokens=3, temperature=0)
    # Ids come from the stored reference: 216 is the space of this vocabulary that stands before a digit.
    other = client.completions.create(model=MODEL, prompt=prompt, max_tokens=3, temperature=0, logit_bias={"216": -100})
    assert first.choices[0].text != other.choices[0].text


def test_logprobs(client):
    completion = ask(client, "What is the capital of France?", logprobs=True, top_logprobs=3, max_tokens=6)
    tokens = completion.choices[0].logprobs.content
    assert "".join(token.token for token in tokens) == text_of(completion)
    for token in tokens:
        assert token.logprob <= 0
        assert len(token.top_logprobs) == 3
        values = [top.logprob for top in token.top_logprobs]
        assert values == sorted(values, reverse=True)
        # Greedy takes the likeliest.
        assert token.token == token.top_logprobs[0].token
        assert bytes(token.bytes).decode() == token.token


# --- stopping ---


def test_stop_string(client):
    free = client.completions.create(model=MODEL, prompt="1, 2, 3, 4, 5, 6,", max_tokens=24, temperature=0)
    stopped = client.completions.create(
        model=MODEL, prompt="1, 2, 3, 4, 5, 6,", max_tokens=24, temperature=0, stop=[" 9,"]
    )
    assert stopped.choices[0].finish_reason == "stop"
    assert stopped.choices[0].text == free.choices[0].text.split(" 9,")[0]
    text = "".join(
        chunk.choices[0].text
        for chunk in client.completions.create(
            model=MODEL, prompt="1, 2, 3, 4, 5, 6,", max_tokens=24, temperature=0, stop=[" 9,"], stream=True
        )
        if chunk.choices
    )
    assert text == stopped.choices[0].text


def test_max_tokens(client):
    completion = ask(client, "Tell me a long story.", max_tokens=5)
    assert completion.choices[0].finish_reason == "length"
    assert completion.usage.completion_tokens == 5


def test_client_that_stops_reading_frees_the_slot(client, server):
    before = server.metric("roundhouse_runs_cancelled_total")
    stream = ask(client, "Tell me a very long story.", max_tokens=1500, stream=True, extra_body={"ignore_eos": True})
    next(iter(stream))
    stream.close()
    server.wait_metric("roundhouse_runs_cancelled_total", lambda value: value == before + 1)
    server.wait_idle()


# --- UTF-8 ---


def test_every_chunk_decodes(client, server):
    """Emoji are several tokens each: no chunk may end inside one. The raw bytes are looked at, because a client package
    would hide a broken character."""
    body = {
        "model": MODEL,
        "messages": [{"role": "user", "content": "Repeat these emoji exactly: 🚂🚃🚄🚅🚆🚇🚈🚉"}],
        "max_tokens": 48,
        "temperature": 0.9,
        "seed": 11,
        "stream": True,
        # Byte-level tokens are made likelier, so that parts of characters are certain to appear.
        "logit_bias": {str(token): 6 for token in range(150, 260)},
    }
    with server.stream("/v1/chat/completions", body) as stream:
        contents = []
        for event in stream:  # the reader decodes each event as strict UTF-8
            if event.data != "[DONE]":
                choice = event.json()["choices"][0]
                contents.append(choice["delta"].get("content") or "")
    text = "".join(contents)
    assert text
    text.encode("utf-8")  # a lone surrogate would fail here
    assert all(not content or not 0xDC00 <= ord(content[0]) <= 0xDFFF for content in contents)


def test_umlauts_in_and_out(client):
    completion = client.completions.create(
        model=MODEL, prompt="ä ö ü ä ö ü ä ö ü ä ö ü ä ö ü", max_tokens=12, temperature=0
    )
    assert "ä" in completion.choices[0].text and "�" not in completion.choices[0].text


# --- limits ---


def test_context_overflow_names_both_numbers(client):
    with pytest.raises(openai.BadRequestError) as caught:
        ask(client, "word " * 3000)
    assert caught.value.code == "context_length_exceeded"
    assert "2048" in caught.value.message
    numbers = [int(word) for word in caught.value.message.replace(",", "").split() if word.isdigit()]
    assert any(number > 2048 for number in numbers), caught.value.message


def test_answer_that_cannot_fit_is_refused_before_it_begins(client):
    """max_tokens is a promise: where prompt and max_tokens together pass the context, the error says what would fit."""
    with pytest.raises(openai.BadRequestError) as caught:
        client.completions.create(model=MODEL, prompt="word " * 1990, max_tokens=500)
    assert caught.value.code == "context_length_exceeded"
    assert "2048" in caught.value.message and "500" in caught.value.message


def test_answer_ends_where_the_context_ends(client):
    """Without max_tokens a chat goes on until the context is full."""
    completion = client.chat.completions.create(
        model=MODEL,
        messages=[{"role": "user", "content": "word " * 1950}],
        temperature=0,
        extra_body={"ignore_eos": True},
    )
    assert completion.choices[0].finish_reason == "length"
    assert 2040 <= completion.usage.total_tokens <= 2048
    assert completion.usage.completion_tokens > 10


def test_errors_are_the_packages_own(client):
    with pytest.raises(openai.NotFoundError) as caught:
        client.chat.completions.create(model="gpt-9", messages=[{"role": "user", "content": "hi"}])
    assert caught.value.code == "model_not_found"
    assert caught.value.request_id
    with pytest.raises(openai.BadRequestError) as caught:
        ask(client, "hi", temperature=9)
    assert caught.value.param == "temperature"


# --- conversations ---


def test_second_turn_reuses_the_first(client):
    """The second turn's prompt begins with the first: its tokens come from the KV cache."""
    story = "Here is a long text to remember. " + "The train leaves the station at noon. " * 20
    messages = [SYSTEM, {"role": "user", "content": story}]
    first = client.chat.completions.create(model=MODEL, messages=messages, max_tokens=16, temperature=0)
    messages += [
        {"role": "assistant", "content": text_of(first)},
        {"role": "user", "content": "When does the train leave?"},
    ]
    second = client.chat.completions.create(model=MODEL, messages=messages, max_tokens=16, temperature=0)
    cached = second.usage.prompt_tokens_details.cached_tokens
    assert cached > first.usage.prompt_tokens * 0.8, second.usage
    assert cached < second.usage.prompt_tokens


def test_cached_prompt_gives_the_same_answer(client):
    prompt = "Some words that nobody sent before, to begin with: 100, 99, 98, 97, 96, 95, 94, 93,"
    answers = [
        client.completions.create(model=MODEL, prompt=prompt, max_tokens=24, temperature=0) for _ in range(3)
    ]
    assert len({answer.choices[0].text for answer in answers}) == 1
    assert answers[0].choices[0].text.startswith(" 92, 91")


def test_requests_are_counted(client, server):
    def count():
        return server.metric("roundhouse_requests_total", gen_ai_operation_name="chat", status="200")

    before = count()
    ask(client, "hi", max_tokens=2)
    poll(lambda: count() == before + 1, 5, "one more chat in the metrics")


def test_retry_after_is_obeyed_by_the_package(daemon):
    """A full queue answers 429; the package waits as told and gets its answer in the end."""
    server = daemon(models={"fake": "fake:slots=1"}, queue_max=1)
    client = openai_client(server, max_retries=8, timeout=scaled(60))
    results = []

    def work():
        completion = client.chat.completions.create(
            model="fake", messages=[{"role": "user", "content": "[[tokens=10 delay_ms=20]]"}]
        )
        results.append(completion.choices[0].finish_reason)

    threads = [threading.Thread(target=work) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert results == ["stop"] * 6
