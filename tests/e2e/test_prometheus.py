# SPDX-License-Identifier: Apache-2.0
"""A real Prometheus scrapes the daemon and answers a query about it."""

import json
import shutil
import socket
import subprocess
import urllib.parse
import urllib.request

import pytest

from harness.wait import poll

SCRAPE = """
global:
  scrape_interval: 1s
scrape_configs:
  - job_name: roundhouse
    static_configs:
      - targets: ["{target}"]
"""


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@pytest.fixture
def prometheus(tmp_path):
    """prometheus(target) starts one; gives its URL."""
    program = shutil.which("prometheus")
    assert program, "prometheus is missing: apt-get install prometheus"
    running = []

    def start(target):
        (tmp_path / "prometheus.yml").write_text(SCRAPE.format(target=target))
        port = free_port()
        with open(tmp_path / "prometheus.log", "wb") as log:
            process = subprocess.Popen(
                [
                    program,
                    f"--config.file={tmp_path}/prometheus.yml",
                    f"--storage.tsdb.path={tmp_path}/data",
                    f"--web.listen-address=127.0.0.1:{port}",
                ],
                stdout=log,
                stderr=log,
            )
        running.append(process)
        return f"http://127.0.0.1:{port}"

    yield start
    for process in running:
        process.terminate()
        process.wait(30)
    print((tmp_path / "prometheus.log").read_text()[-2000:] if running else "")


def query(base, expression):
    """The values of an instant query, or None while Prometheus does not answer yet."""
    url = f"{base}/api/v1/query?" + urllib.parse.urlencode({"query": expression})
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(url, timeout=5) as answer:
            body = json.load(answer)
    except OSError:
        return None
    assert body["status"] == "success", body
    return [float(result["value"][1]) for result in body["data"]["result"]]


def test_prometheus_counts_our_requests(daemon, prometheus):
    server = daemon(models={"alpha": "fake:", "beta": "fake:"}, default_model="alpha")
    base = prometheus(f"127.0.0.1:{server.address[1]}")
    poll(lambda: query(base, 'up{job="roundhouse"}') == [1.0], 40, "a successful scrape")
    for _ in range(7):
        assert server.chat("[[tokens=3]]").status == 200
    for _ in range(2):
        assert server.chat("[[tokens=3]]", model="beta").status == 200
    chats = 'sum(roundhouse_requests_total{gen_ai_operation_name="chat",status="200"})'
    poll(lambda: query(base, chats) == [9.0], 30, "nine chats in Prometheus")
    alpha = 'sum(roundhouse_requests_total{gen_ai_response_model="alpha",status="200"})'
    assert query(base, alpha) == [7.0]
    assert query(base, "sum(roundhouse_request_latency_seconds_count)")[0] >= 9
    quantile = "histogram_quantile(0.5, sum by (le) (roundhouse_first_token_latency_seconds_bucket))"
    assert 0 < query(base, quantile)[0] < 10
