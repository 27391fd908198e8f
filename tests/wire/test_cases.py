# SPDX-License-Identifier: Apache-2.0
"""Every file in cases/: request bytes -> exact answer, with the fake engine. The format: tests/harness/cases.py."""

import os
from pathlib import Path

import pytest

from harness import http
from harness.cases import Case, check, record

FILES = sorted(Path(__file__).with_name("cases").glob("*.txt"))

# The daemons that the cases' `daemon:` line names.
DAEMONS = {
    "default": {"models": {"fake": "fake:slots=4"}},
    "two": {"models": {"alpha": "fake:slots=4", "beta": "fake:slots=4"}, "default_model": "alpha"},
    "no-template": {"models": {"base": "fake:template=0"}},
    "small": {"models": {"small": "fake:context=16"}},
    "tasks": {
        "models": {
            "chat": "fake:slots=2",
            "cls": "fake:task=classify,labels=cat/dog",
            "cut": "fake:task=embed,dims=2,context=6",
            "emb": "fake:task=embed,dims=4",
            "ner": "fake:task=token-classify",
            "raw": "fake:task=tensor",
            "rr": "fake:task=rerank",
            "zs": "fake:task=zero-shot",
        },
        "default_model": "emb",
    },
}


@pytest.fixture(scope="module")
def daemons(module_daemon):
    started = {}

    def get(name):
        if name not in started:
            started[name] = module_daemon(**DAEMONS[name])
            started[name].expect_errors("told to fail")
        return started[name]

    return get


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_case(daemons, path):
    case = Case(path)
    assert case.exchanges, "a case without a request"
    daemon = daemons(case.settings.get("daemon", "default"))
    with daemon.connect() as connection:
        for exchange in case.exchanges:
            connection.send_request(exchange.method, exchange.path, exchange.body or None, exchange.headers)
            response = connection.read_response(exchange.method)
            if os.environ.get("RH_RECORD") or exchange.status is None:
                assert os.environ.get("RH_RECORD"), f"no answer stored: {response!r}"
                record(exchange, response)
            else:
                check(exchange, response)
            assert isinstance(response, http.Response)
    if os.environ.get("RH_RECORD"):
        case.write()
