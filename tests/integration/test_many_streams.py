"""Many requests at once: each gets what it gets alone."""

import concurrent.futures
import threading

import requests

from cluster import stream_text, wait_until

PROMPTS = ["The capital of France is", "Once upon a time", "def fibonacci(n):", "请解释牛顿第一定律，并举例说明。",
           "Roses are red,", "In 1969,", "The three laws of", "My favourite food is"]


def test_sixteen_streams_at_once_equal_each_alone(server):
    requests_ = []
    for i in range(16):
        sampling = {"temperature": 0} if i % 2 == 0 else {"temperature": 0.9, "seed": i}
        # Different lengths, so that they join and leave while others run.
        requests_.append((PROMPTS[i % len(PROMPTS)] + " and" * (i * 5), {"max_tokens": 24 + 4 * i, **sampling}))
    alone = [stream_text(server, prompt, **parameters) for prompt, parameters in requests_]
    barrier = threading.Barrier(16)

    def run(request):
        barrier.wait()
        return stream_text(server, request[0], **request[1])

    with concurrent.futures.ThreadPoolExecutor(16) as pool:
        together = list(pool.map(run, requests_))
    assert together == alone


def test_a_client_that_goes_away_frees_its_sequence(server):
    # The gateway asks the worker for its load about once a second.
    wait_until(lambda: server.metric("quartet_num_requests_running") == 0, 5, "earlier requests are gone")
    response = server.post("/v1/completions",
                           {"prompt": "Once upon a time", "max_tokens": 4000, "ignore_eos": True, "stream": True}, stream=True)
    lines = response.iter_lines()
    next(lines)
    wait_until(lambda: server.metric("quartet_num_requests_running") == 1, 10, "the request runs")
    response.close()
    wait_until(lambda: server.metric("quartet_num_requests_running") == 0, 3, "its sequence is free")


def test_a_plain_request_whose_client_goes_away_is_freed_too(server):
    try:
        server.post("/v1/completions", {"prompt": "Once upon a time", "max_tokens": 4000, "ignore_eos": True}, timeout=1)
    except requests.exceptions.Timeout:
        pass
    wait_until(lambda: server.metric("quartet_num_requests_running") == 0, 3, "its sequence is free")
