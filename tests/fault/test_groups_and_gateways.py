"""Several worker groups behind several gateways on one machine, and what is left when one of them dies."""

import re

import pytest
import requests

from cluster import Server, wait_until
from faults import LiveStream, kill, num_loads, worker_pids

STORY = {"prompt": "Once upon a time", "max_tokens": 200, "temperature": 0.8, "seed": 5, "ignore_eos": True}


@pytest.fixture(scope="module")
def cluster(start_server):
    server = start_server("--groups=2", "--gateways=2", "--num_threads=1", "--kv_cache_bytes=100000000")
    wait_until(lambda: server.log().count("worker group serves") == 2, 60, "both groups serve")
    return server


class Gateway(Server):
    """One of the gateways of a running server."""

    def __init__(self, server, number):
        self.__dict__.update(server.__dict__)
        if number == 0:
            return
        (line,) = [line for line in server.lines if line.startswith(f"Gateway {number}: ")]
        match = re.fullmatch(r"Gateway \d+: HTTP port (\d+), gRPC port (\d+)", line)
        self.http_port, self.grpc_port = int(match[1]), int(match[2])

    def is_healthy(self):
        try:
            return requests.get(self.url + "/health", timeout=10).status_code == 200
        except requests.exceptions.RequestException:
            return False


def test_every_gateway_serves_every_group(cluster):
    gateways = [Gateway(cluster, number) for number in (0, 1)]
    assert gateways[0].http_port != gateways[1].http_port
    texts = {gateway.text(**STORY) for gateway in gateways}
    assert len(texts) == 1, "the same tokens through any gateway, from any group"


def test_a_killed_gateway_takes_only_its_own_streams_with_it(cluster):
    gateways = [Gateway(cluster, number) for number in (0, 1)]
    story = STORY | {"max_tokens": 500}  # Long enough to be cut while other tests share the machine.
    whole = gateways[0].text(**story)
    workers = [worker_pids(cluster, group) for group in (0, 1)]
    streams = [LiveStream(gateway, story) for gateway in gateways]
    for stream in streams:
        stream.wait_events(5)
    pids = cluster.pids_of("quartet-gateway")
    (killed,) = [pid for pid in pids if "--announce_file=" in " ".join(cluster.processes()[pid]) and
                 any(flag.endswith("/gateway-1.json") for flag in cluster.processes()[pid])]
    kill(killed)
    assert streams[0].whole_text() == whole
    wait_until(lambda: not streams[1].is_running(), 30, "the killed gateway's stream ends")
    assert not streams[1].done, "a stream that was cut must not look finished"
    # It comes back on the ports that it had, and nobody loads again.
    wait_until(gateways[1].is_healthy, 60, "gateway 1 is back on its port")
    assert gateways[1].text(**story) == whole
    assert [worker_pids(cluster, group) for group in (0, 1)] == workers
    assert num_loads(cluster, 0) == 2
    wait_until(lambda: gateways[0].metric("quartet_num_requests_running") == 0, 10, "no request is left over")


def test_a_killed_group_hurts_no_stream(cluster):
    gateway = Gateway(cluster, 0)
    whole = gateway.text(**STORY)
    streams = [LiveStream(gateway, STORY) for _ in range(4)]
    for stream in streams:
        stream.wait_events(5)
    workers = [worker_pids(cluster, group) for group in (0, 1)]
    kill(*workers[1])
    for stream in streams:
        assert stream.whole_text() == whole
    assert worker_pids(cluster, 0) == workers[0]
    wait_until(lambda: worker_pids(cluster, 1) != workers[1] and None not in worker_pids(cluster, 1), 30, "group 1 is back")


def test_all_end_together(cluster):
    assert cluster.stop() == 0
