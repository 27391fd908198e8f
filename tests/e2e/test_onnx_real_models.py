# SPDX-License-Identifier: Apache-2.0
"""Other makers' ONNX models through the whole server, beside Python's onnxruntime: Rampart (labels of words, 4-bit weights),
Magika (types of files, raw tensors), Silero VAD (raw tensors with a state that goes round)."""

import base64
import gzip
import io
import json
import math
import struct
import sys
import tarfile
import unicodedata
import wave
import zipfile
import zlib

import numpy as np
import onnxruntime
import pytest

from harness.daemon import ROOT
from harness.terminal import roundhouse

MODELS = ROOT / "deps" / "models"
RAMPART = MODELS / "rampart-ner"
GRAPH = "onnx/model_q4.onnx"
MAGIKA = MODELS / "magika" / "models" / "standard_v3_3" / "model.onnx"
SILERO = MODELS / "silero-vad" / "silero_vad.onnx"

sys.path.insert(0, str(ROOT / "tests" / "tools"))

from reference_ner import Ner  # noqa: E402

STRATEGIES = ("none", "simple", "first", "average", "max")

# Nobody of these exists. The model was made for English; the other languages are for the offsets.
SENTENCES = [
    "My name is Ada Marlowe and I live at 221 Walnut Street, Apt 5B, Springfield, IL 62704.",
    "Please wire it to account 000123456789, routing number 021000021, attention of Priya Raman.",
    "Call me at +1 (415) 555-0132 or write to jo.bloggs+test@example.com.",
    "His passport number is X12345678 and his SSN is 078-05-1120.",
    "Driver's license D1234567, issued to Maria-José O'Neill-Okafor in Sacramento, California.",
    "See https://example.com/u/ada?tab=1#top for Dr. Ibrahim al-Rashid's page.",
    "No personal data at all in this sentence about the weather.",
    "x",
    " ",
    "...!?",
    "Kim",
    "anna@example.org",
    "Tax ID 12-3456789 belongs to Nguyễn Văn An.",
    "Meine Name ist Jürgen Groß, wohnhaft Hauptstraße 12, 80331 München.",
    "Ich heiße Zoë Müller-Lüdenscheidt; Telefon 089 / 555 01 23.",
    "Je m'appelle Éloïse Lefèvre, j'habite au 14 rue de la Paix à Orléans.",
    "Me llamo José Ángel Núñez y vivo en Peñíscola, calle Mayor 3.",
    "O meu nome é João Conceição, moro na Avenida São João, 100, São Paulo.",
    "Mi chiamo Niccolò D'Angelo, via Garibaldi 7, 00153 Roma.",
    "Nazywam się Łukasz Żółć i mieszkam w Łodzi przy ulicy Piotrkowskiej 5.",
    "Jmenuji se Tomáš Dvořák, bydlím v Plzni.",
    "Benim adım İbrahim Çelik, Şişli, İstanbul'da oturuyorum.",
    "Меня зовут Анна Каренина, я живу в Москве на Тверской улице, дом 7.",
    "Με λένε Γιώργο Παπαδόπουλο και μένω στην Αθήνα.",
    "שמי דוד כהן ואני גר ברחוב הרצל 10, תל אביב.",
    "اسمي محمد علي وأسكن في القاهرة، شارع النيل ٢٢.",
    "मेरा नाम राजेश कुमार है और मैं दिल्ली में रहता हूँ।",
    "ฉันชื่อสมชาย ใจดี อยู่กรุงเทพฯ",
    "私の名前は山田太郎です。東京都千代田区1-2-3に住んでいます。",
    "我叫王小明，住在北京市朝阳区建国路88号。",
    "제 이름은 김민수이고 서울특별시 강남구에 삽니다.",
    "Tôi là Trần Thị Hồng, số điện thoại 0901 234 567.",
    "🚀 Ada Lovelace 🎉 lives in 🇬🇧 London 👩‍👩‍👧‍👦 with Bob 🧑🏽‍💻.",
    "email:bob@example.net,phone:555-0199;name=Bob Stone",
    '{"name": "Grace Hopper", "zip": "22201", "city": "Arlington", "phone": "703-555-0100"}',
    "name\tGrace\nsurname\tHopper\r\ncity\u00a0Arlington\u2003VA",
    "ＦＵＬＬ ｗｉｄｔｈ Ａｄａ Ｌｏｖｅｌａｃｅ ５５５－０１００",
    "ﬁrst name: Ofﬁce ½ Ada ² ™",
    "zero\u200bwidth\u200djoiner Ada\ufeff Lovelace",
    "Z̴̢a̷͝l̶͠g̸̛o̴ wrote to Ada at 12 Elm St.",
    "[CLS] Ada [SEP] Bob [MASK] [UNK] [PAD]",
    "##ing ##ed Ada##Lovelace",
    "Supercalifragilisticexpialidocious-Pneumonoultramicroscopicsilicovolcanoconiosis lives at 9 Oak Ave",
    "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa Ada",
]


def texts():
    """The sentences, and what is easily got wrong: other cases, other normal forms, neighbours, longer texts."""
    made = list(SENTENCES)
    made += [text.upper() for text in SENTENCES[:6]] + [text.lower() for text in SENTENCES[12:16]]
    made += [unicodedata.normalize("NFD", text) for text in SENTENCES[12:24]]
    made += [f"🙂{one} — {two}" for one, two in zip(SENTENCES[:20:2], SENTENCES[31:41])]
    made += [" ".join(SENTENCES[at : at + 5]) for at in range(0, 20, 5)]
    return made


def long_text(sentences):
    """Longer than the model takes; a window of it may end anywhere in a name."""
    parts = [f"{SENTENCES[i % 6]} Then {'filler ' * (i % 7)}came {SENTENCES[12 + i % 20]}" for i in range(sentences)]
    return "\n".join(parts)


@pytest.fixture(scope="module")
def server(module_daemon):
    models = {"rampart": str(RAMPART), "magika": str(MAGIKA), "silero": str(SILERO)}
    for path in models.values():
        assert (ROOT / path).exists(), f"{path} is missing: run 'make deps' to get it"
    return module_daemon(models=models, preload=False)


@pytest.fixture(scope="module")
def ner():
    return Ner(RAMPART, GRAPH)


def infer(server, model, inputs, **fields):
    answer = server.post("/api/inference", {"model": model, "inputs": inputs, **fields})
    assert answer.status == 200, answer
    return answer.json()


# --- Rampart ---------------------------------------------------------------------------------------------------------


def places(entities):
    return [(e.get("entity_group", e.get("entity")), e["start"], e["end"], e.get("index")) for e in entities]


def expect_entities(text, got, expected):
    assert places(got) == places(expected), text
    assert [e["score"] for e in got] == pytest.approx([e["score"] for e in expected], abs=2e-4), text
    assert [e["word"] for e in got] == [text[e["start"] : e["end"]] for e in expected]


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_names_in_texts(server, ner, strategy):
    """All texts in one request: the batches they come in must not be seen in what they give."""
    inputs = texts()
    assert len(inputs) >= 80
    answer = infer(server, "rampart", inputs, options={"aggregation": strategy})
    assert answer["task"] == "token-classify" and answer["meta"]["failed"] == 0
    found = 0
    for text, item in zip(inputs, answer["result"]["items"]):
        assert "truncated" not in item and "windows" not in item
        expect_entities(text, item["entities"], ner.entities(text, strategy))
        found += len(item["entities"])
    assert found > 200, "the model must have found something to compare"


def test_names_are_found(server):
    (item,) = infer(server, "rampart", SENTENCES[0], options={"aggregation": "first"})["result"]["items"]
    words = {(entity["entity_group"], entity["word"]) for entity in item["entities"]}
    assert {("STREET_NAME", "Walnut Street"), ("CITY", "Springfield"), ("STATE", "IL"), ("ZIP_CODE", "62704")} <= words


@pytest.mark.parametrize(("strategy", "stride"), (("simple", 0), ("simple", 200), *((one, 31) for one in STRATEGIES[1:])))
def test_long_texts_in_windows(server, ner, strategy, stride):
    text = long_text(18)
    options = {"aggregation": strategy, "stride": stride}
    (item,) = infer(server, "rampart", text, options=options)["result"]["items"]
    assert item["windows"] == len(ner.tokens(text, stride)) > 2
    expect_entities(text, item["entities"], ner.entities(text, strategy, stride))


def test_nothing_is_missed_at_the_end(server, ner):
    """Without any option the whole text is read; one can ask for the beginning alone, or for an error."""
    text = "It rains. " * 300 + "She lives at 221 Walnut Street in Springfield."
    (item,) = infer(server, "rampart", text, options={"aggregation": "first"})["result"]["items"]
    assert {"221", "Springfield"} <= {e["word"] for e in item["entities"] if e["start"] > 3000}
    assert item["windows"] > 1 and "truncated" not in item
    expect_entities(text, item["entities"], ner.entities(text, "first", 64))

    (item,) = infer(server, "rampart", text, options={"truncate": True})["result"]["items"]
    assert item["truncated"] is True and item["tokens"] == 512 and "windows" not in item
    assert not [e for e in item["entities"] if e["end"] > 2800]

    answer = infer(server, "rampart", [text, "I am Ada"], options={"truncate": False})
    refused, read = answer["result"]["items"]
    assert "512" in refused["error"]["message"] and answer["meta"]["failed"] == 1
    assert read["entities"]


def test_tokens_of_a_long_text_one_by_one(server, ner):
    """Each token once, numbered as in the whole text."""
    text = long_text(14)
    (item,) = infer(server, "rampart", text, options={"aggregation": "none"})["result"]["items"]
    indices = [entity["index"] for entity in item["entities"]]
    assert indices == sorted(set(indices)) and item["windows"] > 1
    ner.tokenizer.no_truncation()
    offsets = ner.tokenizer.encode(text).offsets
    for entity in item["entities"]:
        assert (entity["start"], entity["end"]) == offsets[entity["index"]]
        assert entity["word"] == text[entity["start"] : entity["end"]]


def test_strides_that_cannot_be(server):
    for options, text in (
        ({"stride": 510}, "510 tokens"),
        ({"stride": -1}, "stride"),
        ({"stride": 8, "truncate": True}, "truncate"),
    ):
        answer = server.post("/api/inference", {"model": "rampart", "inputs": "Ada", "options": options})
        assert answer.status == 400 and text in answer.error()["message"], answer
        assert "stride" in answer.error()["param"], answer


# --- Magika ----------------------------------------------------------------------------------------------------------


def png():
    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    rows = b"".join(b"\0" + bytes((x * y) & 255 for x in range(192)) for y in range(64))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", struct.pack(">IIBBBBB", 64, 64, 8, 2, 0, 0, 0)) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


def archive(kind):
    out, data = io.BytesIO(), b"some text in an archive\n" * 40
    if kind == "zip":
        with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as made:
            made.writestr("a.txt", data)
    else:
        with tarfile.open(fileobj=out, mode="w") as made:
            info = tarfile.TarInfo("a.txt")
            info.size = len(data)
            made.addfile(info, io.BytesIO(data))
    return out.getvalue()


def sound():
    out = io.BytesIO()
    with wave.open(out, "wb") as made:
        made.setparams((1, 2, 8000, 0, "NONE", ""))
        made.writeframes(b"".join(struct.pack("<h", int(9000 * math.sin(i / 9))) for i in range(8000)))
    return out.getvalue()


def files():
    """Contents of many kinds, by name: files of this project, and some made here."""
    found = {
        name: (ROOT / name).read_bytes()
        for name in (
            "README.md", "CMakeLists.txt", "Makefile", "LICENSE", "CMakePresets.json", "roundhouse.schema.json",
            "src/task/windows.c", "src/task/internal.h", "src/task/README.md", "scripts/setup.sh", "scripts/check_layers.py",
            "cmake/RoundhouseFlags.cmake", ".clang-format", ".gitignore",
        )
    }  # fmt: skip
    found["elf"] = (ROOT / "deps/onnxruntime/lib").glob("libonnxruntime.so.*").__next__().open("rb").read(1 << 20)
    found["onnx"] = SILERO.read_bytes()
    found["png"] = png()
    found["gzip"] = gzip.compress(b"some text " * 300, mtime=0)
    found["zip"], found["tar"], found["wav"] = archive("zip"), archive("tar"), sound()
    found["csv"] = "".join(f"{i},name{i},{i * i}\n" for i in range(200)).encode()
    found["html"] = b"<!DOCTYPE html>\n<html><head><title>x</title></head><body><p>Hello</p></body></html>\n" * 3
    found["sql"] = b"SELECT id, name FROM people WHERE name LIKE 'A%' ORDER BY id;\nDROP TABLE people;\n" * 4
    found["xml"] = b'<?xml version="1.0"?>\n<a><b c="1">text</b></a>\n' * 5
    found["blank around"] = b"\n\n   \t" + b"import os\nprint(os.getcwd())\n" * 4 + b"   \n\n"
    found["short"] = b"#!/bin/sh\necho hello\n"
    found["random"] = np.random.default_rng(7).bytes(6000)
    return found


@pytest.fixture(scope="module")
def magika():
    """The package itself, with its own onnxruntime session: its code is in the folder of its model."""
    sys.path.insert(0, str(MODELS))
    try:
        import magika
    finally:
        sys.path.remove(str(MODELS))
    return magika.Magika(prediction_mode=magika.PredictionMode.BEST_GUESS)


def test_types_of_files(server, magika):
    """The bytes as the package's documentation says: 1024 from the beginning, 1024 from the end, blanks around stripped."""
    config = json.loads((MAGIKA.parent / "config.min.json").read_text())
    contents = files()
    assert len(contents) >= 25
    rows = []
    for content in contents.values():
        start, end = content[: config["block_size"]].lstrip(), content[-config["block_size"] :].rstrip()
        begins, ends = list(start[: config["beg_size"]]), list(end[-config["end_size"] :])
        padding = config["padding_token"]
        rows.append(begins + [padding] * (1024 - len(begins)) + [padding] * (1024 - len(ends)) + ends)
    inputs = {"bytes": {"dtype": "int32", "data": rows}}
    answer = infer(server, "magika", inputs, task="tensor")
    assert answer["task"] == "tensor"
    (output,) = answer["result"]["outputs"].values()
    labels = config["target_labels_space"]
    assert output["dtype"] == "float32" and output["shape"] == [len(contents), len(labels)]
    # The same rows as the package's own session sees them, and its last word on each file.
    session = onnxruntime.InferenceSession(str(MAGIKA), providers=["CPUExecutionProvider"])
    expected = session.run(["target_label"], {"bytes": np.array(rows, np.int32)})[0]
    np.testing.assert_allclose(np.array(output["data"], np.float32), expected, atol=1e-6)
    seen = set()
    for (name, content), scores in zip(contents.items(), output["data"]):
        prediction = magika.identify_bytes(content).prediction
        assert labels[int(np.argmax(scores))] == prediction.dl.label, name
        assert max(scores) == pytest.approx(prediction.score, abs=1e-3), name  # computed alone, not in a batch
        seen.add(prediction.dl.label)
    assert {"python", "c", "markdown", "json", "cmake", "makefile", "shell", "elf", "png", "gzip", "zip", "onnx"} <= seen
    # As base64, both ways.
    packed = base64.b64encode(np.array(rows[:2], "<i4").tobytes()).decode()
    inputs = {"bytes": {"dtype": "int32", "shape": [2, 2048], "data": packed}}
    answer = infer(server, "magika", inputs, options={"encoding_format": "base64"})
    (output,) = answer["result"]["outputs"].values()
    got = np.frombuffer(base64.b64decode(output["data"]), "<f4").reshape(output["shape"])
    np.testing.assert_allclose(got, expected[:2], atol=1e-6)


def test_show_raw_models(server, tmp_path):
    """What a graph takes and gives, without running it."""
    shown = roundhouse("show", str(MAGIKA), folder=tmp_path, ROUNDHOUSE_LISTEN="127.0.0.1:1")
    assert shown.returncode == 0, shown.stderr
    for word in ("bytes", "target_label", "int32", "214"):
        assert word in shown.stdout, shown.stdout
    listed = {model["id"]: model for model in server.get("/v1/models").json()["data"]}
    assert set(listed) == {"rampart", "magika", "silero"}


# --- Silero VAD ------------------------------------------------------------------------------------------------------


def speech_like(samples, rate):
    """Silence, a buzz with formants that come and go, noise, silence: no speech, but enough to move the state."""
    random = np.random.default_rng(3)
    time = np.arange(samples) / rate
    buzz = sum(np.sin(2 * np.pi * 120 * k * time) / k for k in range(1, 20)) * (1 + np.sin(2 * np.pi * 4 * time))
    loud = np.where((time > 0.3) & (time < 1.2), 0.2, 0.0) * buzz + np.where(time > 1.4, 0.05, 0.001) * random.normal(size=samples)
    return loud.astype(np.float32)


@pytest.mark.parametrize(("rate", "chunk", "context"), ((16000, 512, 64), (8000, 256, 32)))
def test_a_state_that_goes_round(server, rate, chunk, context):
    """Voice activity chunk by chunk: the state comes out of each call and goes into the next, exactly."""
    session = onnxruntime.InferenceSession(str(SILERO), providers=["CPUExecutionProvider"])
    signal = speech_like(chunk * 40, rate)
    state, theirs = np.zeros((2, 1, 128), np.float32), np.zeros((2, 1, 128), np.float32)
    before, shares = np.zeros(context, np.float32), []
    for at in range(0, len(signal), chunk):
        window = np.concatenate([before, signal[at : at + chunk]])[None]
        before = window[0, -context:]
        inputs = {
            "input": {"dtype": "float32", "shape": list(window.shape), "data": base64.b64encode(window.tobytes()).decode()},
            "state": {"dtype": "float32", "shape": [2, 1, 128], "data": base64.b64encode(state.tobytes()).decode()},
            "sr": {"dtype": "int64", "shape": [], "data": rate},
        }
        outputs = infer(server, "silero", inputs, options={"encoding_format": "base64"})["result"]["outputs"]
        values = {name: np.frombuffer(base64.b64decode(one["data"]), "<f4").reshape(one["shape"]) for name, one in outputs.items()}
        share, theirs = session.run(None, {"input": window, "state": theirs, "sr": np.array(rate, np.int64)})
        np.testing.assert_allclose(values["output"], share, atol=1e-5)
        np.testing.assert_allclose(values["stateN"], theirs, atol=1e-4)
        state = values["stateN"].copy()
        shares.append(float(share[0, 0]))
    assert max(shares) - min(shares) > 0.02, "the signal must move the answer"
