# SPDX-License-Identifier: Apache-2.0
"""The real daemon with the real default model, shared by the files of this suite that do not harm it."""

import pytest

from harness.clients import openai_client
from harness.daemon import Factory


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
