# SPDX-License-Identifier: Apache-2.0
"""The real daemon with the real default model, shared by the files of this suite that do not harm it."""

import pytest

from harness.clients import openai_client
from harness.daemon import Factory


@pytest.hookimpl(tryfirst=True)  # before tests are chosen by their marks
def pytest_collection_modifyitems(items):
    """The real model computes on all cores, and its threads wait for each other: beside other work it is ten times slower."""
    for item in items:
        if "smollm2" in item.fixturenames:
            item.add_marker(pytest.mark.alone)


@pytest.fixture(scope="session")
def server(smollm2, tmp_path_factory):
    factory = Factory(tmp_path_factory.mktemp("e2e"))
    daemon = factory(models={"smollm2": smollm2}, slots=8, context=2048)
    yield daemon
    problems = factory.judge()
    if problems:
        pytest.fail("\n".join(problems), pytrace=False)


@pytest.fixture(scope="session")
def client(server):
    return openai_client(server)
