# SPDX-License-Identifier: Apache-2.0
"""Our tokenizers against Hugging Face's: the same ids, offsets, types, words and special tokens, for real vocabularies of
every kind, 20,000 lines in many scripts and random Unicode each; truncation; decoding, all at once and one by one."""

import json
import os
import random
import subprocess
import sys
from pathlib import Path

import pytest
from tokenizers import Tokenizer


ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests/tools"))
from make_tokenizers import NAMES as MORE_NAMES  # noqa: E402
from make_tokenizers import make_tokenizer  # noqa: E402
from many_scripts import PHRASES, lines  # noqa: E402

BUILD = Path(os.environ.get("RH_BUILD_DIR", ROOT / "build"))
VOCABULARIES = ROOT / "deps/llama.cpp/models"
MINILM = ROOT / "deps/models/all-minilm-l6-v2"
COUNT = int(os.environ.get("RH_TOKENIZER_LINES", "20000"))

# WordPiece; byte-level BPE four times (trimmed offsets and RoBERTa's pairs; whole words before merges; normal form C; four
# steps that cut); BPE with bytes to fall back on, whose tokens swallow white space; Unigram. RH_TOKENIZERS=all takes the
# others of make_tokenizers.py too.
NAMES = ["minilm", "gpt-2-roberta", "llama-3", "qwen2", "falcon", "phi-3", "xlm-roberta"]
if os.environ.get("RH_TOKENIZERS") == "all":
    NAMES += [name for name in MORE_NAMES if name not in NAMES]
FIELDS = ("ids", "types", "special", "starts", "ends", "words")


class Ours:
    """tests/tools/tokenize.c with a file of requests."""

    def __init__(self, path, folder):
        self.path, self.folder = path, folder

    def run(self, requests):
        given = self.folder / "requests.jsonl"
        with given.open("w", encoding="utf-8") as file:
            for request in requests:
                file.write(json.dumps(request) + "\n")
        with given.open("rb") as file:
            done = subprocess.run([BUILD / "tokenize", self.path], stdin=file, capture_output=True, timeout=300)
        assert done.returncode == 0, done.stderr.decode()
        answers = [json.loads(line) for line in done.stdout.decode().split("\n")[:-1]]
        assert len(answers) == len(requests)
        return answers


@pytest.fixture(scope="module", params=NAMES)
def pair(request, tmp_path_factory):
    folder = tmp_path_factory.mktemp(request.param)
    path = MINILM if request.param == "minilm" else folder / "tokenizer.json"
    if request.param != "minilm":
        make_tokenizer(VOCABULARIES, request.param, path)
    theirs = Tokenizer.from_file(str(MINILM / "tokenizer.json" if path == MINILM else path))
    theirs.no_truncation()
    theirs.no_padding()
    return Ours(path, folder), theirs


@pytest.fixture(scope="module")
def texts():
    return lines(COUNT)


def as_ours(encoding, brief):
    offsets = encoding.offsets
    same = {
        "ids": encoding.ids,
        "starts": [start for start, _ in offsets],
        "ends": [end for _, end in offsets],
        "words": [-1 if word is None else word for word in encoding.word_ids],
    }
    if not brief:
        same.update(types=encoding.type_ids, special=encoding.special_tokens_mask)
    return same


def assert_same(requests, answers, encodings):
    different = [
        index
        for index, (request, answer) in enumerate(zip(requests, answers, strict=True))
        if answer != as_ours(encodings[index], "brief" in request)
    ]
    if not different:
        return
    first = different[0]
    expected = as_ours(encodings[first], False)
    fields = [field for field in FIELDS if answers[first].get(field) != expected[field]]
    pytest.fail(
        f"{len(different)} of {len(answers)} differ, first at {first}: {requests[first]!r}\n"
        + "\n".join(f"{field}\n  ours   {answers[first].get(field)}\n  theirs {expected[field]}" for field in fields)
        + f"\n{answers[first].get('error', '')}"
    )


def test_ids_and_offsets_are_the_same(pair, texts):
    ours, theirs = pair
    requests = [{"text": text, "special": True, "brief": True} for text in texts]
    assert_same(requests, ours.run(requests), theirs.encode_batch(texts, add_special_tokens=True))


def test_without_special_tokens_and_with_them_in_the_text(pair, texts):
    ours, theirs = pair
    some = texts[: COUNT // 20]
    plain = [text for text in some if not any(mark in text for mark in "<[＜［")]
    without = [{"text": text, "special": False} for text in some]
    unparsed = [{"text": text, "special": True, "parse": False} for text in plain]
    hidden = [{"text": text, "special": False, "parse": False} for text in some]
    answers = ours.run(without + unparsed + hidden)
    assert_same(without, answers[: len(without)], theirs.encode_batch(some, add_special_tokens=False))
    # Where no special token is written out, taking them as plain text changes nothing.
    theirs.encode_special_tokens = True
    expected = theirs.encode_batch(plain)
    theirs.encode_special_tokens = False
    assert_same(unparsed, answers[len(without) : len(without) + len(unparsed)], expected)
    # Where one is, it does not become that token: the promise that the package does not make.
    special = {index for index, token in theirs.get_added_tokens_decoder().items() if token.special}
    special -= {theirs.token_to_id(name) for name in ("[UNK]", "<unk>")}
    for request, answer in zip(hidden, answers[-len(hidden) :], strict=True):
        assert not set(answer["ids"]) & special, request


WAYS = {"longest_first": "longest", "only_first": "first", "only_second": "second"}


def cut_by_theirs(theirs, first, second):
    try:
        return theirs.encode(first, second)
    except BaseException as error:  # the package panics where nothing would be left
        return error


def test_pairs_are_cut_alike(pair, texts):
    ours, theirs = pair
    luck = random.Random(5)
    requests, expected = [], []
    for way, limit, left in [(way, *rest) for way in WAYS for rest in ((8, False), (17, True), (40, False))]:
        theirs.enable_truncation(limit, strategy=way, direction="left" if left else "right")
        for _ in range(COUNT // 200):
            first, second = luck.choice(texts), luck.choice(texts)
            options = {"special": True, "max": limit, "truncate": WAYS[way], "left": left}
            requests.append({"text": first, "pair": second, **options})
            expected.append(cut_by_theirs(theirs, first, second))
    theirs.no_truncation()
    answers = ours.run(requests)
    fits = [index for index, value in enumerate(expected) if not isinstance(value, BaseException)]
    assert len(fits) > len(expected) // 3
    for index in set(range(len(expected))) - set(fits):
        assert answers[index]["status"] == "context_overflow", (requests[index], answers[index], expected[index])
    assert_same([requests[i] for i in fits], [answers[i] for i in fits], [expected[i] for i in fits])


def test_decoding_is_the_same_and_so_is_streaming(pair, texts):
    ours, theirs = pair
    luck = random.Random(7)
    size = theirs.get_vocab_size()
    cases = [theirs.encode(text).ids for text in texts[: COUNT // 20]]
    cases += [[luck.randrange(size) for _ in range(luck.randrange(1, 30))] for _ in range(COUNT // 20)]
    # Bytes of characters that never become whole, and numbers beyond the vocabulary.
    low = min(size, 300)
    cases += [[luck.randrange(low) for _ in range(luck.randrange(1, 12))] for _ in range(COUNT // 20)]
    cases += [[size + 5, 7, size + 100000, 9]]
    requests = [{"ids": ids, "skip": skip} for ids in cases for skip in (False, True)]
    for request, answer in zip(requests, ours.run(requests), strict=True):
        assert answer["text"] == theirs.decode(request["ids"], skip_special_tokens=request["skip"]), request
        assert answer["stream"] == answer["text"], request


def test_broken_utf8_is_replaced(pair):
    ours, theirs = pair
    luck = random.Random(3)
    broken = []
    for _ in range(COUNT // 100):
        text = bytearray(luck.choice(PHRASES).encode())
        for _ in range(luck.randrange(1, 4)):
            text[luck.randrange(len(text))] = luck.choice((0x80, 0xC3, 0xE2, 0xF0, 0xFF, 0xED, 0xC0))
        broken.append(bytes(text))
    requests = [{"hex": text.hex(), "special": True} for text in broken]
    expected = theirs.encode_batch([text.decode(errors="replace") for text in broken])
    assert_same(requests, ours.run(requests), expected)
