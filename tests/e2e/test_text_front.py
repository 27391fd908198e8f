# SPDX-License-Identifier: Apache-2.0
"""Normalizers, pre-tokenizers and added tokens give what the `tokenizers` package gives: text and offsets, every kind.

Our side is tests/tools/text_front.c. Besides written examples, every assigned code point goes through the parts that look at
single ones, and random strings of all scripts through all of them.
"""

import base64
import json
import os
import pathlib
import random
import struct
import subprocess

import pytest

tokenizers = pytest.importorskip("tokenizers")
from tokenizers import Tokenizer  # noqa: E402

ROOT = pathlib.Path(__file__).resolve().parents[2]
FRONT = pathlib.Path(os.environ.get("RH_BUILD_DIR", ROOT / "build" / "release")) / "text_front"

GPT2 = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"
TAIL = r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
HEAD = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|"
LLAMA3, QWEN = HEAD + r"\p{N}{1,3}" + TAIL, HEAD + r"\p{N}" + TAIL
O200K = (
    r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?|"
    r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?|"
    r"\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
DEEPSEEK = (
    r"""[!"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+| ?[\p{P}\p{S}]+[\r\n]*|"""
    r"\s*[\r\n]+|\s+(?!\S)|\s+"
)
KIMI = r"[\p{Han}]+|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}&&[^\p{Han}]]*[\p{Ll}\p{Lm}\p{Lo}\p{M}&&[^\p{Han}]]+|\p{N}{1,3}+|\s+"
CLIP = r"<\|startoftext\|>|<\|endoftext\|>|'s|'t|'re|'ve|'m|'ll|'d|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+"

PROSE = [
    "",
    " ",
    "Hello, World! It's 2024; we'll see what THEY'RE up to.\r\n\r\n  Next\tline  ",
    "Ａｌｌ　ｗｉｄｅ １２３ ﬁne ﬀ ½ ㎏ ①②③ ℌ ™",
    "Élève, naïve, A\u030a, e\u0301\u0323 q\u0307\u0323 \u1e9b\u0323 \u0344 \u0958 ậ ǖ \u0f43",
    "한국어 텍스트 각각 \u1100\u1161\u11a8 \uac00\u11a8 \u1112\u1161\u11ab",
    "日本語のテキスト、カタカナー１２３。中文字符，混合English单词 㐀 豈 \U0002f800 \U00020000",
    "Привет, мир! Ёжик İSTANBUL ıI ΣΊΣΥΦΟΣ ŉ ǅ ß ẞ ſ K Å",
    "مرحبا بالعالم ١٢٣ שָׁלוֹם עוֹלָם नमस्ते दुनिया क्ष क्‍ष तमिழ் ไทย ภาษา ກາ ខ្មែរ မြန်မာ",
    "👨‍👩‍👧‍👦 🇩🇪🇫🇷🇯 ☎️ 👍🏽 e\u200d\u0301 \u200b\u200e\ufeff\u00ad\u2028x\u2029y\u180ez\x85w\u00a0v\u3000u",
    "▁a ▁▁b▁ ▁", "a▁b c", "  lead and trail  ", "\t\n x \r\n\r\n\n", "\x00\x01\x07\x7f\x8f\x9f\ufffd�",
    "it's IT'S it'ſ I'Ll 'tis 're've don''t ' 's", "1234567 12.5 ٣٤٥٦ ⅷ 𝟘𝟙 ³²¹", "a1b2_c3 --- ... !?! $€₿ <tag> [CLS][SEP]<s></s>",
    "x" * 300 + " " * 300 + "é" * 300, "a\u0301" * 50 + "\u0316\u0301" * 40,
]


def assigned():
    codes = []
    for line in (ROOT / "src/text/unicode.txt").read_text().splitlines():
        words = line.split()
        if not line.startswith(("#", "lower")) and words[2] not in ("Cn", "Co", "Cs"):
            codes.extend(range(int(words[0], 16), int(words[1], 16) + 1))
    return codes


ASSIGNED = assigned()
COMMON = [ord(c) for c in "  \t\n\r'ab cdABstSTlLvVeE019.,-_!▁\u0301\u0308\u0323\u200d\u1161\u11a8ſÉéßΣб中あア한👍\u00a0\u3000"]


def random_texts(count, seed):
    chance = random.Random(seed)
    small = [code for code in ASSIGNED if code < 0x3400]
    texts = []
    for _ in range(count):
        pools = [COMMON, COMMON, small, ASSIGNED]
        texts.append("".join(chr(chance.choice(chance.choice(pools))) for _ in range(chance.randint(1, 40))))
    return texts


def one_by_one():
    """Every assigned code point, with a letter before it and a space behind; of ideographs and Hangul every 61st."""
    codes = [c for c in ASSIGNED if not (0x3400 <= c <= 0x9FFF or 0xAC00 <= c <= 0xD7A3 or 0x17000 <= c <= 0x18CFF or c >= 0x20000) or c % 61 == 0]
    return ["".join("a%s " % chr(code) for code in codes[at : at + 64]) for at in range(0, len(codes), 64)]


TEXTS = PROSE + random_texts(600, 1)


def front(tmp_path, parts, texts, mode="pieces"):
    path = tmp_path / "part.json"
    path.write_text(json.dumps(parts))
    lines = "".join(json.dumps(text) + "\n" for text in texts)
    done = subprocess.run([FRONT, path, mode], input=lines, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.split("\n")[:-1]]


def ours(tmp_path, parts, texts, mode="pieces"):
    """(piece, start, end, token) with character offsets, turned from bytes by the package's rule."""
    result = []
    for text, pieces in zip(texts, front(tmp_path, parts, texts, mode), strict=True):
        place = [i for i, c in enumerate(text) for _ in c.encode()]
        line = []
        for piece, start, end, token in pieces:
            if start < len(place):
                end = place[end] if end < len(place) else place[end - 1] + 1
                start = place[start]
            line.append((piece, start, end, token))
        result.append(line)
    return result


def theirs(parts, texts, special=True):
    """The package's whole way, with a model that knows no word, so that each piece is one token."""
    whole = {
        "version": "1.0", "truncation": None, "padding": None, "added_tokens": [], "normalizer": None, "pre_tokenizer": None,
        "post_processor": None, "decoder": None, "model": {"type": "WordLevel", "vocab": {"[UNK]": 0}, "unk_token": "[UNK]"},
        **parts,
    }
    tokenizer = Tokenizer.from_str(json.dumps(whole))
    tokenizer.encode_special_tokens = not special
    return [[(s, e, i - 1 if i == 0 else i) for i, (s, e) in zip(x.ids, x.offsets)] for x in map(tokenizer.encode, texts)]


def assert_same(texts, expected, got):
    for text, want, have in zip(texts, expected, got, strict=True):
        if list(have) != list(want):  # not assert: its explanation of long lists takes minutes
            at = next((i for i, (a, b) in enumerate(zip(have, want)) if a != b), min(len(have), len(want)))
            codes = " ".join("%04X" % ord(c) for c in text)
            pytest.fail("piece %d: %r, not %r\n%s" % (at, have[at : at + 3], want[at : at + 3], codes), pytrace=False)


# --- normalizers ---------------------------------------------------------------------------------------------------


def charsmap(rules):
    """A precompiled map of SentencePiece's kind: a double array without any packing, and the replacements."""
    trie, values, blob = {}, {}, b""
    for key, value in rules.items():
        node = trie
        for byte in key.encode():
            node = node.setdefault(byte, {})
        node[None] = len(blob)
        blob += value.encode() + b"\0"
    units = {}
    free = [256]  # a block of 256 units for each node

    def place(node, base):
        for byte, child in node.items():
            if byte is None:
                units[base] = child | 1 << 31
                continue
            at = free[0]
            free[0] += 256
            offset = (base ^ byte) ^ at
            unit = (offset >> 8 << 10 | 1 << 9) if offset >= 1 << 21 or offset & 0xFF == 0 else offset << 10
            units[base ^ byte] = unit | byte | (1 << 8 if None in child else 0)
            place(child, at)

    units[0] = 256 << 10
    free[0] = 512
    place(trie, 256)
    size = max(units) + 256
    array = [units.get(i, 0) for i in range(size)]
    blob = struct.pack("<I", 4 * size) + struct.pack("<%dI" % size, *array) + blob
    return base64.b64encode(blob).decode()


RULES = {
    "\t": " ", "\n": " ", "\r": " ", "\r\n": " ", "\x00": "", "\x01": "", "\u200b": "", "\u00a0": " ", "\u3000": " ", "é": "e\u0301",
    "e\u0301": "é", "ﬁ": "fi", "ﬀ": "ff", "½": "1⁄2", "Ａ": "A", "１": "1", "\u0308": "", "A\u030a": "Å", "ſ": "s", "q": "", "ㅤ": "",
    "각": "가\u11a8", "👍": ":+1:", "\u0301": "", "б\u0301": "б", "한": "韓",
}


def bert(clean, chinese, accents, lower):
    return {"type": "BertNormalizer", "clean_text": clean, "handle_chinese_chars": chinese, "strip_accents": accents, "lowercase": lower}


def replace(content, **pattern):
    return {"type": "Replace", "pattern": pattern, "content": content}


def in_turn(*steps):
    return {"type": "Sequence", "normalizers": list(steps)}


NORMALIZERS = {
    **{name: {"type": name} for name in ("NFC", "NFD", "NFKC", "NFKD", "Lowercase", "StripAccents", "Nmt", "ByteLevel")},
    "strip": {"type": "Strip", "strip_left": True, "strip_right": True},
    "strip-left": {"type": "Strip", "strip_left": True, "strip_right": False},
    "strip-right": {"type": "Strip", "strip_left": False, "strip_right": True},
    "bert": bert(True, True, None, True),
    "bert-cased": bert(True, True, None, False),
    "bert-accents": bert(False, False, True, False),
    "bert-lower": bert(False, True, False, True),
    "replace": replace("▁", String=" "),
    "replace-gone": replace("", String="a"),
    "replace-empty": replace("-", String=""),
    "replace-regex": replace("<x>", Regex=r"\s+|[aé]+"),
    "replace-regex-empty": replace("é", Regex=r"b*"),
    "prepend": {"type": "Prepend", "prepend": "▁é"},
    "precompiled": {"type": "Precompiled", "precompiled_charsmap": charsmap(RULES)},
    "llama": in_turn({"type": "Prepend", "prepend": "▁"}, replace("▁", String=" ")),
    "xlm": in_turn({"type": "Precompiled", "precompiled_charsmap": charsmap(RULES)}, {"type": "Strip", "strip_left": False, "strip_right": True}, replace("▁", Regex=" {2,}")),
    "albert": in_turn(replace('"', String="``"), {"type": "NFKD"}, {"type": "StripAccents"}, {"type": "Lowercase"}, {"type": "NFC"}),
    "long": in_turn({"type": "NFKC"}, {"type": "Nmt"}, bert(True, True, True, True), {"type": "ByteLevel"}, {"type": "NFD"}),
}


@pytest.mark.parametrize("name", NORMALIZERS)
def test_normalizers(tmp_path, name):
    parts = {"normalizer": NORMALIZERS[name], "pre_tokenizer": {"type": "FixedLength", "length": 1}}
    texts = TEXTS + one_by_one()
    texts = [text for text in texts if text]
    got = ours(tmp_path, parts, texts)
    expected = theirs(parts, texts)
    assert_same(texts, expected, [[p[1:] for p in pieces] for pieces in got])
    whole = Tokenizer.from_str(json.dumps({"version": "1.0", "normalizer": NORMALIZERS[name], "model": {"type": "WordLevel", "vocab": {}, "unk_token": "x"}}))
    assert_same(texts, [whole.normalizer.normalize_str(text) for text in texts], ["".join(p[0] for p in pieces) for pieces in got])


# --- pre-tokenizers ------------------------------------------------------------------------------------------------


def split(behavior, invert=False, **pattern):
    return {"type": "Split", "pattern": pattern, "behavior": behavior, "invert": invert}


def meta(scheme="always", cut=True, replacement="▁"):
    return {"type": "Metaspace", "replacement": replacement, "prepend_scheme": scheme, "split": cut}


def bytes_level(prefix, regex=True):
    return {"type": "ByteLevel", "add_prefix_space": prefix, "trim_offsets": True, "use_regex": regex}


def row(*steps):
    return {"type": "Sequence", "pretokenizers": list(steps)}


BEHAVIORS = ("Removed", "Isolated", "MergedWithPrevious", "MergedWithNext", "Contiguous")
PATTERNS = {
    "gpt2": GPT2, "llama3": LLAMA3, "qwen": QWEN, "o200k": O200K, "deepseek": DEEPSEEK, "kimi": KIMI, "clip": CLIP, "words": r"\w+|[^\w\s]+",
    "not-words": r"\W+|\D\S", "digits": r"\d{1,2}?|\h+", "boundaries": r"\b\w|\B.", "lines": r"^.|.$|\A.|\n", "dot-all": r"(?m:a.)|(?i)É|st",
    "posix": r"[[:alpha:]]+|[[:punct:]]|[[:^space:]&&[^a-e]]", "scripts": r"\p{Han}+|\p{Hiragana}|[\p{Katakana}ー]+|\p{^Greek}", "marks": r"\p{M}+|\P{L}\p{Letter}",
    "behind": r"(?<=\s)\S|(?<!a)b", "repeats": r"[a-c]{2}+|x{,3}y|é{2}?|\p{Nd}++", "empty": r"a*|", "categories": r"\p{Lu}|\p{Nl}|\p{Sc}|\p{Sm}|\p{Zs}|\p{Cf}|\p{Pd}",
}
PRETOKENIZERS = {
    **{name: {"type": name} for name in ("BertPreTokenizer", "Whitespace", "WhitespaceSplit", "UnicodeScripts")},
    **{"punctuation-" + b: {"type": "Punctuation", "behavior": b} for b in BEHAVIORS},
    "digits": {"type": "Digits", "individual_digits": False},
    "single-digits": {"type": "Digits", "individual_digits": True},
    "delimiter": {"type": "CharDelimiterSplit", "delimiter": "é"},
    "fixed": {"type": "FixedLength", "length": 3},
    "byte-level": bytes_level(False),
    "byte-level-prefix": bytes_level(True),
    "byte-level-whole": bytes_level(True, False),
    **{"metaspace-%s-%s" % (s, c): meta(s, c) for s in ("always", "first", "never") for c in (True, False)},
    "metaspace-letter": meta("always", True, "a"),
    **{"split-" + b: split(b, String=" ") for b in BEHAVIORS},
    **{"split-long-" + b: split(b, String="a ") for b in BEHAVIORS},
    **{"split-inverted-" + b: split(b, True, Regex=r"\p{L}+") for b in BEHAVIORS},
    **{"split-empty-" + b: split(b, String="") for b in BEHAVIORS},
    **{"regex-" + name: split("Isolated", Regex=pattern) for name, pattern in PATTERNS.items()},
    **{"regex-removed-" + name: split("Removed", True, Regex=pattern) for name, pattern in PATTERNS.items()},
    "llama3": row(split("Isolated", Regex=LLAMA3), bytes_level(False, False)),
    "digits-bytes": row({"type": "Digits", "individual_digits": True}, bytes_level(True)),
    "scripts-meta": row({"type": "UnicodeScripts"}, {"type": "WhitespaceSplit"}, meta("first")),
    "twice": row(meta("always"), {"type": "Punctuation", "behavior": "Isolated"}, meta("always"), bytes_level(True)),
}


@pytest.mark.parametrize("name", PRETOKENIZERS)
def test_pre_tokenizers(tmp_path, name):
    texts = TEXTS + one_by_one()
    part = dict(PRETOKENIZERS[name])
    package = Tokenizer.from_str(json.dumps({"version": "1.0", "pre_tokenizer": part, "model": {"type": "WordLevel", "vocab": {}, "unk_token": "x"}})).pre_tokenizer
    # The package does not cut an empty text at all; we have no piece for it.
    expected = [[(p, s, e, -1) for p, (s, e) in package.pre_tokenize_str(text) if p] for text in texts]
    assert_same(texts, expected, ours(tmp_path, {"pre_tokenizer": part}, texts))


def test_hand_written_scanners_equal_the_regular_expression(tmp_path):
    """(?:...) around the pattern makes it one that is not known by heart."""
    texts = TEXTS + one_by_one() + random_texts(3000, 2)
    for pattern in (GPT2, LLAMA3, QWEN):
        by_hand = front(tmp_path, {"pre_tokenizer": split("Isolated", Regex=pattern)}, texts)
        assert_same(texts, front(tmp_path, {"pre_tokenizer": split("Isolated", Regex="(?:%s)" % pattern)}, texts), by_hand)


# --- added tokens --------------------------------------------------------------------------------------------------


def token(id, content, **flags):
    return {"id": id, "content": content, "single_word": False, "lstrip": False, "rstrip": False, "normalized": False, "special": False, **flags}


ADDED = {
    "special": [token(1, "[CLS]", special=True), token(2, "[SEP]", special=True), token(3, "<s>", special=True), token(4, "</s>", special=True)],
    "longest": [token(1, "a"), token(2, "ab"), token(3, "abc", special=True), token(4, "b c"), token(5, "éa"), token(6, "  "), token(7, "   ")],
    "strips": [token(1, "a", lstrip=True), token(2, "b", rstrip=True), token(3, "c", lstrip=True, rstrip=True), token(4, "é", lstrip=True, normalized=True), token(5, "<s>", rstrip=True, special=True)],
    "single": [token(1, "a", single_word=True), token(2, "é", single_word=True, normalized=True), token(3, "ab", single_word=True, lstrip=True), token(4, "中", single_word=True)],
    "normalized": [token(1, "AB", normalized=True), token(2, "É", normalized=True), token(3, "ſt", normalized=True, special=True), token(4, "[CLS]", special=True), token(5, "St")],
}
CONTEXTS = {
    "plain": {},
    "bert": {"normalizer": bert(True, True, None, True), "pre_tokenizer": {"type": "BertPreTokenizer"}},
    "llama": {"normalizer": NORMALIZERS["llama"]},
    "gpt2": {"normalizer": {"type": "NFC"}, "pre_tokenizer": bytes_level(True)},
    "meta": {"normalizer": {"type": "Strip", "strip_left": True, "strip_right": True}, "pre_tokenizer": meta("first")},
}


@pytest.mark.parametrize("special", [True, False])
@pytest.mark.parametrize("context", CONTEXTS)
@pytest.mark.parametrize("name", ADDED)
def test_added_tokens(tmp_path, name, context, special):
    chance = random.Random(7)
    pieces = [t["content"] for t in ADDED[name]] + [" ", "  ", "x", "ab", "É", "\t", "_", "\u3000", "ABc", "中", "<", "[CLS"]
    texts = PROSE + ["".join(chance.choice(pieces) for _ in range(chance.randint(1, 12))) for _ in range(800)]
    texts = [text for text in texts if text]
    parts = {"added_tokens": ADDED[name], **CONTEXTS[context]}
    got = ours(tmp_path, parts, texts, "pieces" if special else "nospecial")
    assert_same(texts, theirs(parts, texts, special), [[p[1:] for p in line] for line in got])


# --- refusals ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "parts, words",
    [
        ({"normalizer": {"type": "Shout"}}, "Shout"),
        ({"pre_tokenizer": row({"type": "Whitespace"}, {"type": "Guess"})}, "pre_tokenizer[1]: this build knows no pre-tokenizer 'Guess'"),
        ({"pre_tokenizer": split("Isolated", Regex=r"\p{Klingon}")}, "no such property"),
        ({"pre_tokenizer": split("Isolated", Regex=r"(a")}, "')' is missing"),
        ({"pre_tokenizer": split("Sideways", Regex="a")}, "Sideways"),
        ({"normalizer": {"type": "Precompiled", "precompiled_charsmap": "AAAA!"}}, "base64"),
        ({"normalizer": {"type": "Precompiled", "precompiled_charsmap": "/////w=="}}, "damaged"),
        ({"added_tokens": [{"content": "x"}]}, "added_tokens[0]"),
    ],
)
def test_what_is_not_known_is_named(tmp_path, parts, words):
    path = tmp_path / "part.json"
    path.write_text(json.dumps(parts))
    done = subprocess.run([FRONT, path, "pieces"], input="", capture_output=True, text=True, timeout=60)
    assert done.returncode == 1
    assert words in done.stderr


def test_a_pattern_that_would_take_for_ever_is_an_error(tmp_path):
    path = tmp_path / "part.json"
    path.write_text(json.dumps({"pre_tokenizer": split("Isolated", Regex=r"(?:a|aa)+[bc]$")}))
    line = json.dumps("a" * 4000) + "\n"
    done = subprocess.run([FRONT, path, "pieces"], input=line, capture_output=True, text=True, timeout=60)
    assert done.returncode == 1
    assert "invalid" in done.stderr
