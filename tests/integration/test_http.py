"""The HTTP API as a client sees it, with the small real model."""

import json

import pytest
import requests

from cluster import sse_events, stream_text

FRANCE = "The capital of France is"


def test_the_request_of_the_readme_answers_in_text(server):
    answer = requests.post(
        server.url + "/v1/completions",
        headers={"Content-Type": "application/json"},
        json={"prompt": "请解释牛顿第一定律，并举例说明。", "max_tokens": 200, "temperature": 0.7},
        timeout=180,
    ).json()
    text = answer["choices"][0]["text"]
    assert isinstance(text, str) and text
    assert 0 < answer["usage"]["completion_tokens"] <= 200


def test_a_completion_has_the_shape_of_openais(server):
    answer = server.complete(FRANCE, max_tokens=8, temperature=0)
    assert answer["object"] == "text_completion"
    assert answer["id"] and answer["model"] and isinstance(answer["created"], int)
    (choice,) = answer["choices"]
    assert "Paris" in choice["text"]
    assert choice["index"] == 0 and choice["finish_reason"] in ("length", "stop") and choice["logprobs"] is None
    usage = answer["usage"]
    assert usage["total_tokens"] == usage["prompt_tokens"] + usage["completion_tokens"]


def test_a_stream_carries_the_same_text_as_the_whole(server):
    whole = server.complete(FRANCE, max_tokens=40, temperature=0)
    text, reason, usage = stream_text(server, FRANCE, max_tokens=40, temperature=0,
                                      stream_options={"include_usage": True})
    assert text == whole["choices"][0]["text"]
    assert reason == whole["choices"][0]["finish_reason"]
    for key in ("prompt_tokens", "completion_tokens", "total_tokens"):
        assert usage[key] == whole["usage"][key]


def test_a_seed_gives_the_same_text_and_another_seed_another(server):
    sample = dict(max_tokens=30, temperature=1.0)
    first = server.text(FRANCE, seed=1, **sample)
    assert server.text(FRANCE, seed=1, **sample) == first
    assert any(server.text(FRANCE, seed=seed, **sample) != first for seed in (2, 3, 4))


def test_prompts_in_all_four_forms(server):
    # With temperature 0 each form must say the same about the same prompt.
    single = server.complete(FRANCE, max_tokens=8, temperature=0)
    logprobs = server.complete(FRANCE, max_tokens=1, temperature=0, echo=True, logprobs=0)["choices"][0]["logprobs"]
    assert "".join(logprobs["tokens"][:-1]) == FRANCE
    two = server.complete([FRANCE, "Two plus two is"], max_tokens=8, temperature=0)
    assert [c["index"] for c in two["choices"]] == [0, 1]
    assert two["choices"][0]["text"] == single["choices"][0]["text"]
    ids = tokenize(server, FRANCE)
    by_ids = server.complete(ids, max_tokens=8, temperature=0)
    assert by_ids["choices"][0]["text"] == single["choices"][0]["text"]
    assert by_ids["usage"] == single["usage"]
    by_lists = server.complete([ids, ids], max_tokens=8, temperature=0)
    assert [c["text"] for c in by_lists["choices"]] == [single["choices"][0]["text"]] * 2


def tokenize(server, text):
    """Ids through gRPC's reflection-free JSON is not to be had over HTTP; the tokenizer library reads the same vocabulary."""
    import gguf
    from cluster import MODEL
    import tokenizers
    reader = gguf.GGUFReader(str(MODEL))
    field = lambda name: [bytes(reader.fields[name].parts[i]).decode() for i in reader.fields[name].data]
    tokens, merges = field("tokenizer.ggml.tokens"), [tuple(m.split(" ")) for m in field("tokenizer.ggml.merges")]
    bpe = tokenizers.Tokenizer(tokenizers.models.BPE({t: i for i, t in enumerate(tokens)}, merges))
    bpe.pre_tokenizer = tokenizers.pre_tokenizers.Sequence(
        [tokenizers.pre_tokenizers.Digits(individual_digits=True), tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False)])
    return bpe.encode(text).ids


def test_n_answers_differ_and_are_counted(server):
    answer = server.complete(FRANCE, max_tokens=20, temperature=1.0, seed=5, n=3)
    assert sorted(c["index"] for c in answer["choices"]) == [0, 1, 2]
    assert len({c["text"] for c in answer["choices"]}) > 1
    assert answer["usage"]["completion_tokens"] > 20


def test_a_stop_string_ends_the_text_and_is_not_in_it(server):
    free = server.text("Once upon a time", max_tokens=60, temperature=0)
    # A piece from the middle, cut without regard to where tokens begin.
    stop = free[len(free) // 2 : len(free) // 2 + 5]
    answer = server.complete("Once upon a time", max_tokens=60, temperature=0, stop=[stop, "never to be seen"])
    assert answer["choices"][0]["text"] == free[: free.index(stop)]
    assert answer["choices"][0]["finish_reason"] == "stop"
    text, reason, _ = stream_text(server, "Once upon a time", max_tokens=60, temperature=0, stop=stop)
    assert (text, reason) == (free[: free.index(stop)], "stop")


def test_echo_repeats_the_prompt(server):
    free = server.text(FRANCE, max_tokens=8, temperature=0)
    assert server.text(FRANCE, max_tokens=8, temperature=0, echo=True) == FRANCE + free


def test_logprobs_of_a_greedy_answer_are_the_best(server):
    choice = server.complete(FRANCE, max_tokens=6, temperature=0, logprobs=3)["choices"][0]
    logprobs = choice["logprobs"]
    assert "".join(logprobs["tokens"]) == choice["text"]
    ends = [len("".join(logprobs["tokens"][:i])) for i in range(len(logprobs["tokens"]))]
    assert logprobs["text_offset"] == ends
    for token, value, top in zip(logprobs["tokens"], logprobs["token_logprobs"], logprobs["top_logprobs"]):
        assert value <= 0 and len(top) >= 3
        assert top[token] == pytest.approx(max(top.values()))
        assert top[token] == pytest.approx(value)


def test_max_tokens_and_the_default_of_sixteen(server):
    usage = server.complete(FRANCE, temperature=0, ignore_eos=True)["usage"]
    assert usage["completion_tokens"] == 16
    assert server.complete(FRANCE, temperature=0, max_tokens=5, ignore_eos=True)["usage"]["completion_tokens"] == 5


def chat_body(**parameters):
    return {"messages": [{"role": "user", "content": "What is the capital of France?"}], "temperature": 0, **parameters}


def test_chat_answers_and_streams_the_same(server):
    response = server.post("/v1/chat/completions", chat_body(max_tokens=40))
    assert response.status_code == 200, response.text
    answer = response.json()
    assert answer["object"] == "chat.completion"
    message = answer["choices"][0]["message"]
    assert message["role"] == "assistant" and "Paris" in message["content"]
    assert answer["choices"][0]["finish_reason"] == "stop"

    text, reasons, roles, done = "", [], [], False
    with server.post("/v1/chat/completions", chat_body(max_tokens=40, stream=True), stream=True) as response:
        for event in sse_events(response):
            if event == "[DONE]":
                done = True
                continue
            assert event["object"] == "chat.completion.chunk"
            delta = event["choices"][0]["delta"]
            roles += [delta["role"]] if "role" in delta else []
            text += delta.get("content") or ""
            reasons += [event["choices"][0]["finish_reason"]] if event["choices"][0]["finish_reason"] else []
    assert done and text == message["content"] and reasons == ["stop"] and roles == ["assistant"]


def test_text_in_many_scripts_comes_back_whole(server):
    prompt = "日本語とемодзи 🎉👩‍👩‍👧 и кириллица, العربية, हिन्दी:"
    answer = server.text(prompt, max_tokens=40, temperature=1.2, seed=3, echo=True)
    assert answer.startswith(prompt)
    text, _, _ = stream_text(server, prompt, max_tokens=40, temperature=1.2, seed=3, echo=True)
    assert text == answer


def test_models_health_version_metrics(server):
    models = requests.get(server.url + "/v1/models", timeout=10).json()
    assert models["object"] == "list" and len(models["data"]) == 1
    name = models["data"][0]["id"]
    assert requests.get(f"{server.url}/v1/models/{name}", timeout=10).json()["id"] == name
    assert requests.get(server.url + "/health", timeout=10).status_code == 200
    assert requests.get(server.url + "/version", timeout=10).json()["version"]
    metrics = requests.get(server.url + "/metrics", timeout=10).text
    for metric in ("quartet_num_requests_running", "quartet_time_to_first_token_seconds_bucket"):
        assert metric in metrics
    assert server.complete(FRANCE, model=name, max_tokens=1)["model"] == name
    assert server.post("/v1/completions", {"model": "no-such-model", "prompt": "x"}).status_code == 404


def test_too_long_a_prompt_is_refused_with_the_numbers(server):
    response = server.post("/v1/completions", {"prompt": [5] * 3000, "max_tokens": 6000})
    assert response.status_code == 400
    error = response.json()["error"]
    assert error["type"] == "invalid_request_error"
    assert "3000" in error["message"] and "6000" in error["message"], error


def test_unknown_fields_are_ignored_and_keep_alive_works(server):
    with requests.Session() as session:
        for _ in range(3):
            body = json.dumps({"prompt": FRANCE, "max_tokens": 1, "user": "me", "no_such_field": [1]})
            response = session.post(server.url + "/v1/completions", data=body,
                                    headers={"Content-Type": "application/json"}, timeout=60)
            assert response.status_code == 200, response.text
