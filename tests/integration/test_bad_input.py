"""Bad model files, flags and requests: a clear error that names the culprit; never a crash; the server lives on."""

import json
import socket
import subprocess

import numpy as np
import pytest
import requests

import tiny_model
from cluster import MODEL, binary


def worker_error(model, *flags, tmp_path):
    """Starts a worker on a model that it must refuse; its last message."""
    result = subprocess.run(
        [binary("quartet-worker"), f"--model={model}", "--rank=0", "--world_size=1", f"--address=unix:{tmp_path}/w.sock", *flags],
        capture_output=True, text=True, timeout=60)
    assert result.returncode == 2, f"exit code {result.returncode}, stderr:\n{result.stderr}"
    return result.stderr.strip().splitlines()[-1]


@pytest.fixture
def model(tmp_path):
    return tiny_model.write_model(tmp_path / "model")


def test_the_tiny_model_itself_is_good(start_server, tmp_path):
    server = start_server(model=tiny_model.write_model(tmp_path / "model"))
    assert server.complete("abc", max_tokens=4, temperature=0, ignore_eos=True)["usage"]["completion_tokens"] == 4
    assert server.stop() == 0


def test_missing_shard(model, tmp_path):
    (model / "model-00002-of-00002.safetensors").unlink()
    assert "model-00002-of-00002.safetensors" in worker_error(model, tmp_path=tmp_path)


def test_truncated_safetensors(model, tmp_path):
    path = model / "model-00002-of-00002.safetensors"
    path.write_bytes(path.read_bytes()[:-1000])
    assert "model-00002-of-00002.safetensors" in worker_error(model, tmp_path=tmp_path)


@pytest.mark.parametrize("content", [b"", b"\x05", b"\xff" * 64, b"\x10\0\0\0\0\0\0\0{not json        "], ids=["empty", "short", "huge", "garbage"])
def test_broken_safetensors_header(model, tmp_path, content):
    (model / "model-00001-of-00002.safetensors").write_bytes(content)
    assert "model-00001-of-00002.safetensors" in worker_error(model, tmp_path=tmp_path)


def test_wrong_shape(tmp_path):
    arrays = tiny_model.tensors()
    arrays["model.layers.1.mlp.down_proj.weight"] = np.zeros((64, 120), np.float16)
    message = worker_error(tiny_model.write_model(tmp_path / "model", arrays=arrays), tmp_path=tmp_path)
    # A GGUF's and a checkpoint's names differ only before the last two words.
    assert "model.layers.1.mlp.down_proj.weight" in message and "120" in message and "128" in message


def test_missing_tensor(tmp_path):
    arrays = tiny_model.tensors()
    del arrays["model.layers.1.self_attn.k_proj.bias"]
    message = worker_error(tiny_model.write_model(tmp_path / "model", arrays=arrays), tmp_path=tmp_path)
    assert "model.layers.1.self_attn.k_proj.bias" in message


def test_unknown_architecture(tmp_path):
    config = {"architectures": ["GPT2LMHeadModel"], "model_type": "gpt2"}
    message = worker_error(tiny_model.write_model(tmp_path / "model", config=config), tmp_path=tmp_path)
    assert "GPT2LMHeadModel" in message or "gpt2" in message


def test_unknown_rope_scaling(tmp_path):
    config = {"rope_scaling": {"rope_type": "spiral", "factor": 2.0}}
    assert "spiral" in worker_error(tiny_model.write_model(tmp_path / "model", config=config), tmp_path=tmp_path)


@pytest.mark.parametrize("text", ["", "{", "[]", '{"hidden_size": "big"}', '{"hidden_size": -64}'])
def test_broken_config(model, tmp_path, text):
    (model / "config.json").write_text(text)
    assert "config.json" in worker_error(model, tmp_path=tmp_path)


def test_truncated_gguf(tmp_path):
    path = tmp_path / "cut.gguf"
    for size in (0, 3, 100, 5_000_000, 50_000_000):
        path.write_bytes(MODEL.read_bytes()[:size])
        assert "cut.gguf" in worker_error(path, tmp_path=tmp_path), size


def test_no_such_model(tmp_path):
    assert "/no/such/model" in worker_error("/no/such/model", tmp_path=tmp_path)


@pytest.mark.parametrize(
    ("flag", "named"),
    [("--instruction_set=avx1024", "avx1024"), ("--compute_dtype=int3", "int3"), ("--device=cuda", "cuda"),
     ("--max_model_len=-5", "-5"), ("--rope_scaling={", "rope_scaling"), ("--rank=1", "rank")],
)
def test_bad_worker_flags(model, tmp_path, flag, named):
    assert named in worker_error(model, flag, tmp_path=tmp_path)


@pytest.fixture
def alive(server):
    """Whatever the test sends, the server answers properly afterwards."""
    pids = sorted(server.processes())
    yield server
    assert server.complete("The capital of France is", max_tokens=2)["usage"]["completion_tokens"] > 0
    assert sorted(server.processes()) == pids, "a process was started again"


def error_of(response, status=400):
    assert response.status_code == status, f"{response.status_code}: {response.text[:500]}"
    error = response.json()["error"]
    assert set(error) >= {"message", "type", "param", "code"}
    return error


def post_raw(server, body, path="/v1/completions"):
    return requests.post(server.url + path, data=body, headers={"Content-Type": "application/json"}, timeout=60)


@pytest.mark.parametrize("body", [b"", b"{", b'{"prompt": "x"', b"[1]", b"null", b'{"prompt": "x"} trailing', b"\x00" * 100, b"[" * 100_000])
@pytest.mark.parametrize("path", ["/v1/completions", "/v1/chat/completions"])
def test_broken_json(alive, body, path):
    assert error_of(post_raw(alive, body, path))["type"] == "invalid_request_error"


@pytest.mark.parametrize("body", [b'{"prompt": "\xff\xfe", "max_tokens": 1}', b'{"prompt": "a\xc3", "max_tokens": 1}', b'{"prompt": "\xed\xa0\x80", "max_tokens": 1}'])
def test_invalid_utf8(alive, body):
    assert "UTF-8" in error_of(post_raw(alive, body))["message"]


@pytest.mark.parametrize("escape", ["\\ud800", "\\udc00 x"])
def test_half_a_surrogate_pair(alive, escape):
    error_of(post_raw(alive, b'{"prompt": "' + escape.encode() + b'", "max_tokens": 1}'))


def test_ten_megabytes_of_prompt(alive):
    for text in ("word " * 2_000_000, "a" * 10_000_000):
        response = alive.post("/v1/completions", {"prompt": text, "max_tokens": 1})
        assert response.status_code in (400, 413), response.text[:300]
        assert response.json()["error"]["message"]


BAD_FIELDS = [
    ("max_tokens", -1), ("max_tokens", "ten"), ("max_tokens", 1.5), ("temperature", -0.1), ("temperature", "hot"),
    ("top_p", 0), ("top_p", 1.1), ("top_k", -2), ("min_p", 2), ("presence_penalty", 3), ("frequency_penalty", -3),
    ("repetition_penalty", 0), ("n", 0), ("n", 1000), ("logprobs", -1), ("logprobs", 100), ("stop", 5), ("stop", ["x"] * 100),
    ("stream", "yes"), ("logit_bias", {"a": 1}), ("logit_bias", {"1": 1000}), ("logit_bias", [1]), ("prompt", None),
    ("prompt", 5), ("prompt", []), ("prompt", [[1], "x"]), ("prompt", [-1]), ("prompt", [10**9]), ("echo", 3), ("seed", "x"),
]


@pytest.mark.parametrize(("field", "value"), BAD_FIELDS, ids=lambda value: json.dumps(value)[:20])
def test_a_bad_field_is_named(alive, field, value):
    error = error_of(alive.post("/v1/completions", {"prompt": "x", "max_tokens": 1, field: value}))
    assert field in error["message"] or error["param"] == field, error


@pytest.mark.parametrize(
    "messages", [None, [], "hello", [{}], [{"role": "wizard", "content": "x"}], [{"role": "user"}], [{"role": "user", "content": 5}], [5]],
    ids=lambda value: json.dumps(value)[:30])
def test_bad_messages(alive, messages):
    assert "messages" in json.dumps(error_of(alive.post("/v1/chat/completions", {"messages": messages})))


def test_wrong_paths_and_methods(alive):
    assert requests.get(alive.url + "/nowhere", timeout=10).status_code == 404
    assert requests.get(alive.url + "/v1/completions", timeout=10).status_code == 405
    assert requests.post(alive.url + "/health", timeout=10).status_code == 405


@pytest.mark.parametrize("raw", [b"\r\n\r\n", b"GET\r\n\r\n", b"\x16\x03\x01\x02\x00" * 20, b"GET / HTTP/1.1\r\nA: " + b"x" * 200_000,
                                 b"POST /v1/completions HTTP/1.1\r\nContent-Length: 99999999999999999999\r\n\r\n",
                                 b"POST /v1/completions HTTP/1.1\r\nContent-Length: 100\r\n\r\nshort"])
def test_what_is_no_http(alive, raw):
    with socket.create_connection(("127.0.0.1", alive.http_port), timeout=20) as connection:
        try:
            connection.sendall(raw)
            connection.shutdown(socket.SHUT_WR)
            while connection.recv(65536):
                pass
        except (ConnectionResetError, BrokenPipeError):
            pass
