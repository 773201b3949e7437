"""What the tests of request parameters share: how to ask, and what is refused."""

import pytest

from cluster import sse_events
from tiny_model import write_model

FRANCE = "The capital of France is"
GREEDY = {"temperature": 0, "max_tokens": 8}
USER = [{"role": "user", "content": "What is the capital of France?"}]

# Parameters that are known and refused, each with a value that asks for what the server doesn't do.
REFUSED = {
    "audio": {"voice": "alloy", "format": "wav"},
    "modalities": ["text", "audio"],
    "mm_processor_kwargs": {"num_crops": 4},
    "media_io_kwargs": {"video": {"num_frames": 4}},
    "return_mm_kwargs": False,
    "prompt_embeds": "AAAA",
    "web_search_options": {"search_context_size": "low"},
    "moderation": {"model": "omni-moderation-latest"},
    "prompt_cache_retention": "24h",
    "prompt_cache_options": {"mode": "explicit"},
    "logits_processors": ["my_package.Processor"],
    "logprob_token_ids": [1, 2],
    "watermarking": True,
    "thinking_token_budget": 100,
    "routed_experts_prompt_start": 5,
    "return_token_offsets": True,
    "kv_transfer_params": {"do_remote_decode": True},
    "ec_transfer_params": {"a": 1},
    "vllm_xargs": {"a": 1},
}


@pytest.fixture(scope="module")
def ask(server):
    """ask(prompt or messages, **parameters): the body of an answer that must be 200."""

    def ask(what=FRANCE, path=None, **parameters):
        chat = isinstance(what, list) and what and isinstance(what[0], dict)
        path = "/v1/chat/completions" if chat else "/v1/completions"
        body = {"messages" if chat else "prompt": what, **GREEDY, **parameters}
        response = server.post(path, body)
        assert response.status_code == 200, response.text
        return response.json()

    return ask


@pytest.fixture(scope="module")
def text(ask):
    def text(what=FRANCE, **parameters):
        choice = ask(what, **parameters)["choices"][0]
        return choice["text"] if "text" in choice else choice["message"]["content"]

    return text


@pytest.fixture(scope="module")
def tokenize(server):
    def tokenize(what, **parameters):
        field = "prompt" if isinstance(what, str) else "messages"
        response = server.post("/tokenize", {field: what, **parameters})
        assert response.status_code == 200, response.text
        return response.json()["tokens"]

    return tokenize


def refusal(server, path="/v1/completions", **body):
    response = server.post(path, body)
    assert response.status_code == 400, (body, response.text)
    return response.json()["error"]


def prompt_of(ask, messages=USER, **parameters):
    return ask(messages, return_prompt_text=True, **parameters)["prompt_text"]


def stream(server, **parameters):
    with server.post("/v1/completions", {"prompt": FRANCE, **GREEDY, "stream": True, **parameters}, stream=True) as response:
        assert response.status_code == 200, response.text
        return list(sse_events(response))


@pytest.fixture(scope="module")
def narrow_server(start_server, tmp_path_factory):
    """A server that runs one sequence at a time, so that the order in which requests wait can be seen."""
    model = write_model(tmp_path_factory.mktemp("narrow") / "model", {"max_position_embeddings": 4096})
    yield start_server("--max_num_seqs=1", model=model)
