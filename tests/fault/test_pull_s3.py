# SPDX-License-Identifier: Apache-2.0
"""Pulls from S3, from a server that checks signatures, session tokens and policies."""

import hashlib

import pytest

from harness.hub import gguf
from harness.pulling import Pull, installed
from harness.s3 import S3

MIB = 1024 * 1024
SMALL = gguf(300_000)
LARGE = gguf(24 * MIB, seed=2)
ODD = "odd names/a b+c=d&e~ü (1).gguf"
BUCKET = "models"


@pytest.fixture(scope="module")
def s3(tmp_path_factory):
    server = S3(tmp_path_factory.mktemp("moto"))
    try:
        server.put(BUCKET, {"chat/small-q8_0.gguf": SMALL, ODD: SMALL, "folder/": b"", "other/readme.txt": b"hello"})
        for number in (1, 2):
            server.s3.put_object(Bucket=BUCKET, Key=f"folder/split/m-q4_0-0000{number}-of-00002.gguf", Body=SMALL)
        server.put_in_parts(BUCKET, "large/x.gguf", LARGE, 5 * MIB)
        # More keys than one page of a list holds.
        for number in range(1005):
            server.s3.put_object(Bucket=BUCKET, Key=f"many/{number:04}.txt", Body=b"x")
        server.check_signatures()
        yield server
    finally:
        server.stop()


@pytest.fixture
def pull(tmp_path, s3):
    def start(source, credentials, **options):
        return Pull(tmp_path, source, {"AWS_ENDPOINT_URL_S3": s3.url, **credentials}, **options)

    return start


def digest(content):
    return hashlib.sha256(content).hexdigest()


def test_one_object(pull, s3):
    one = pull(f"s3://{BUCKET}/chat/small-q8_0.gguf", s3.key)
    done = one.succeeds()
    assert (done["name"], done["version"]) == ("small", "q8_0")
    assert installed(one.store)["small:q8_0"]["files"][0]["sha256"] == digest(SMALL)
    texts = one.output.read_text() + one.errors.read_text() + str(installed(one.store))
    assert s3.key["AWS_SECRET_ACCESS_KEY"] not in texts and s3.key["AWS_ACCESS_KEY_ID"] not in texts


def test_object_of_many_parts_in_ranges(pull, s3):
    one = pull(f"s3://{BUCKET}/large/x.gguf", s3.key)
    one.succeeds()
    assert installed(one.store)["x:latest"]["files"][0]["sha256"] == digest(LARGE)


def test_session_token(pull, s3):
    pull(f"s3://{BUCKET}/large/x.gguf", s3.session).succeeds()
    wrong = {**s3.session, "AWS_SESSION_TOKEN": "wrong"}
    last = pull(f"s3://{BUCKET}/chat/small-q8_0.gguf", wrong, name="y")
    assert last.wait() == 1 and last.events[-1]["status"] in ("invalid", "unavailable"), last.events[-1]
    assert s3.session["AWS_SESSION_TOKEN"] not in last.output.read_text()


def test_key_with_odd_characters(pull, s3):
    one = pull(f"s3://{BUCKET}/{ODD}", s3.key, name="odd")
    one.succeeds()
    assert installed(one.store)["odd:latest"]["files"][0]["path"] == ODD.split("/")[1]


def test_all_below_a_prefix(pull, s3):
    one = pull(f"s3://{BUCKET}/folder/", s3.key, dry_run=1)
    assert one.wait() == 0, one.events
    files = one.events[0]["files"]
    assert [entry["path"] for entry in files] == [f"split/m-q4_0-0000{n}-of-00002.gguf" for n in (1, 2)]
    assert one.events[0]["bytes"] == 2 * len(SMALL)


def test_list_of_more_than_one_page(pull, s3):
    """1005 keys come on two pages; the second is asked for with a signed continuation token."""
    one = pull(f"s3://{BUCKET}/many/", s3.key, dry_run=1)
    assert one.wait() == 0, one.events
    assert len(one.events[0]["files"]) == 1005


@pytest.mark.parametrize("key", ["chat/small-q8_0.gguf", "folder/"])
def test_wrong_secret(pull, s3, key):
    wrong = {**s3.key, "AWS_SECRET_ACCESS_KEY": "wrong/secret+key"}
    last = pull(f"s3://{BUCKET}/{key}", wrong).fails("invalid", "AWS_SECRET_ACCESS_KEY", "signature")
    assert "wrong/secret" not in last["message"]


def test_unknown_key_and_no_rights(pull, s3):
    unknown = {"AWS_ACCESS_KEY_ID": "AKIANOBODYKNOWSME000", "AWS_SECRET_ACCESS_KEY": "x"}
    pull(f"s3://{BUCKET}/chat/small-q8_0.gguf", unknown).fails("invalid", "AWS_ACCESS_KEY_ID")
    pull(f"s3://{BUCKET}/chat/small-q8_0.gguf", s3.powerless).fails("unavailable", "denied", "403")


def test_missing_object_prefix_and_bucket(pull, s3):
    pull(f"s3://{BUCKET}/nothing.gguf", s3.key).fails("not_found", "nothing.gguf")
    pull(f"s3://{BUCKET}/nothing/", s3.key).fails("not_found", "nothing/")
    pull("s3://no-such-bucket/x.gguf", s3.key).fails("not_found", "NoSuchBucket")


def test_half_of_the_credentials(pull, s3):
    half = {"AWS_ACCESS_KEY_ID": "AKIA"}
    pull(f"s3://{BUCKET}/chat/small-q8_0.gguf", half).fails("invalid", "only one is set")


def test_what_is_no_model(pull, s3):
    one = pull(f"s3://{BUCKET}/other/readme.txt", s3.key)
    assert one.wait() == 1 and one.events[-1]["status"] in ("unsupported", "invalid")
    assert installed(one.store) == {}
