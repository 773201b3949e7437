"""Every request parameter of /v1/completions and /v1/chat/completions has an effect, or is refused with a reason: one test for
each row of docs/api.md (tests/structure/check_parameters.py compares the two). Here: what is read,
what is told, and whose request it is."""

import json
import threading

import pytest
import requests

from cluster import CACHE, sse_events, stream_text
from parameters import FRANCE, GREEDY, REFUSED, USER, ask, narrow_server, prompt_of, refusal, stream, text, tokenize  # noqa: F401
from tiny_model import tensors, write_model


@pytest.mark.parametrize("name", REFUSED)
def test_refused(server, name):
    for path, what in (("/v1/completions", {"prompt": FRANCE}), ("/v1/chat/completions", {"messages": USER})):
        error = refusal(server, path, **what, **{name: REFUSED[name]})
        assert error["param"] == name and "not supported: " in error["message"], error


# What is read.


def test_model(server, ask):
    name = requests.get(server.url + "/v1/models", timeout=10).json()["data"][0]["id"]
    assert ask(model=name)["model"] == name
    assert server.post("/v1/completions", {"prompt": FRANCE, "model": "another"}).status_code == 404


def test_prompt(text, tokenize):
    assert text(tokenize(FRANCE)) == text(FRANCE) != text("Two plus two is")


def test_messages(text):
    assert "Paris" in text(USER, max_tokens=40)
    assert "Paris" not in text([{"role": "user", "content": "What is two plus two?"}], max_tokens=40)


def test_echo(text):
    assert text(echo=True) == FRANCE + text()
    start = USER + [{"role": "assistant", "content": "The capital is"}]
    assert text(start, echo=True).startswith("The capital is")
    assert not text(start).startswith("The capital is")


def test_suffix(server, start_server, tmp_path_factory):
    assert "fill in the middle" in refusal(server, prompt=FRANCE, suffix=".")["message"]
    filling = start_server("--max_model_len=128", model=qwen_model(tmp_path_factory.mktemp("fim")))
    answer = filling.complete("def f(", suffix="return x", max_tokens=1, return_token_ids=True)
    ids = answer["choices"][0]["prompt_token_ids"]
    before, after = (filling.post("/tokenize", {"prompt": p}).json()["tokens"] for p in ("def f(", "return x"))
    prefix, suffix, middle = (filling.post("/tokenize", {"prompt": f"<|fim_{m}|>"}).json()["tokens"]
                              for m in ("prefix", "suffix", "middle"))
    assert ids == prefix + before + suffix + after + middle and len(prefix) == 1
    assert filling.stop() == 0


def qwen_model(folder):
    """Qwen2.5's own tokenizer before a tiny model of zeros: what is asked about is the prompt."""
    files = CACHE / "models" / "qwen2.5-tokenizer"
    assert files.exists(), f"{files} is missing: run tests/run (or deploy/local/setup --tests), which fetches it"
    arrays = tensors()
    for name in ("model.embed_tokens.weight", "lm_head.weight"):
        arrays[name] = arrays[name].repeat(594, axis=0)
    write_model(folder, {"vocab_size": 256 * 594}, arrays)
    for file in ("tokenizer.json", "tokenizer_config.json"):
        (folder / file).write_bytes((files / file).read_bytes())
    return folder


def test_truncate_prompt_tokens(ask, tokenize, narrow_server):
    ids = tokenize(FRANCE)
    cut = ask(truncate_prompt_tokens=2, return_token_ids=True)
    assert cut["choices"][0]["prompt_token_ids"] == ids[-2:] and cut["usage"]["prompt_tokens"] == 2
    fitting = narrow_server.complete([5] * 5000, max_tokens=6, truncate_prompt_tokens=-1)
    assert fitting["usage"]["prompt_tokens"] == 4096 - 6


def test_truncation_side(ask, tokenize):
    cut = ask(truncate_prompt_tokens=2, truncation_side="right", return_token_ids=True)
    assert cut["choices"][0]["prompt_token_ids"] == tokenize(FRANCE)[:2]


def test_add_special_tokens(ask, tokenize):
    # This tokenizer adds none of its own, so both must read the same; a bad value is refused.
    for value in (False, True):
        answer = ask(add_special_tokens=value, return_token_ids=True)
        assert answer["choices"][0]["prompt_token_ids"] == tokenize(FRANCE, add_special_tokens=value)


def test_return_prompt_text(ask):
    answer = ask(USER, return_prompt_text=True)
    assert answer["prompt_text"].endswith("What is the capital of France?<|im_end|>\n<|im_start|>assistant\n")
    assert "prompt_text" not in ask(USER)


def test_add_generation_prompt(ask):
    whole = prompt_of(ask)
    assert whole == prompt_of(ask, add_generation_prompt=False) + "<|im_start|>assistant\n"


def test_continue_final_message(ask):
    messages = USER + [{"role": "assistant", "content": "The capital is"}]
    prompt = prompt_of(ask, messages, continue_final_message=True, add_generation_prompt=False)
    assert prompt.endswith("<|im_start|>assistant\nThe capital is")


def test_chat_template(ask):
    assert prompt_of(ask, chat_template="{{ messages[0]['content'] }}!") == USER[0]["content"] + "!"


def test_chat_template_kwargs(ask):
    template = "{{ greeting }} {{ messages[0]['content'] }}"
    assert prompt_of(ask, chat_template=template, chat_template_kwargs={"greeting": "Hi."}) == "Hi. " + USER[0]["content"]


def test_documents(ask):
    template = "{% for d in documents %}[{{ d['title'] }}]{% endfor %}"
    documents = [{"title": "a", "text": "x"}, {"title": "b", "text": "y"}]
    assert prompt_of(ask, chat_template=template, documents=documents) == "[a][b]"


def test_reasoning_effort(ask):
    template = "{{ reasoning_effort }} {{ enable_thinking }}"
    assert prompt_of(ask, chat_template=template, reasoning_effort="low") == "low True"
    assert prompt_of(ask, chat_template=template, reasoning_effort="none") == "none False"


def test_verbosity(ask):
    assert prompt_of(ask, chat_template="{{ verbosity }}.", verbosity="high") == "high."


def test_include_reasoning(ask):
    for value in (False, True):
        message = ask(USER, include_reasoning=value)["choices"][0]["message"]
        assert not message.get("reasoning") and not message.get("reasoning_content")


WEATHER = {"type": "function", "function": {"name": "get_weather", "description": "Weather of a city",
           "parameters": {"type": "object", "properties": {"city": {"enum": ["Paris", "Rome"]}}, "required": ["city"],
                          "additionalProperties": False}}}
TOOL_TEMPLATE = "{% for t in tools or [] %}{{ t['function']['name'] }} {% endfor %}{{ messages[0]['content'] }}"


def test_tools(ask):
    assert prompt_of(ask, chat_template=TOOL_TEMPLATE, tools=[WEATHER]).startswith("get_weather ")


def calls_of(ask, **parameters):
    answer = ask(USER, max_tokens=60, tools=[WEATHER], **parameters)
    return answer["choices"][0]["message"].get("tool_calls") or []


def test_tool_choice(ask):
    named = {"type": "function", "function": {"name": "get_weather"}}
    for choice in ("required", named):
        calls = calls_of(ask, tool_choice=choice)
        assert calls and json.loads(calls[0]["function"]["arguments"])["city"] in ("Paris", "Rome")
    assert "get_weather" not in prompt_of(ask, chat_template=TOOL_TEMPLATE, tools=[WEATHER], tool_choice="none")


def test_parallel_tool_calls(ask):
    assert len(calls_of(ask, tool_choice="required", parallel_tool_calls=False)) == 1


def test_functions(ask):
    # The older form of tools: the answer has one call, in the older form too.
    answer = ask(USER, max_tokens=60, functions=[WEATHER["function"]], function_call={"name": "get_weather"})
    call = answer["choices"][0]["message"]["function_call"]
    assert call["name"] == "get_weather" and json.loads(call["arguments"])["city"] in ("Paris", "Rome")


def test_function_call(ask):
    functions = [WEATHER["function"]]
    assert "get_weather" not in prompt_of(ask, chat_template=TOOL_TEMPLATE, functions=functions, function_call="none")
    assert "get_weather" in prompt_of(ask, chat_template=TOOL_TEMPLATE, functions=functions, function_call="auto")


def test_prediction(ask):
    answer = ask(USER, prediction={"type": "content", "content": "The capital of France is Paris."})
    assert answer["choices"] == ask(USER)["choices"], "a guess changes nothing but time"
    assert answer["usage"]["completion_tokens_details"]["rejected_prediction_tokens"] == 0


# What is told.


def test_n(ask):
    answer = ask(n=3, temperature=1, seed=5, max_tokens=12)
    assert [c["index"] for c in answer["choices"]] == [0, 1, 2] and len({c["text"] for c in answer["choices"]}) > 1


def test_best_of(ask, server):
    sample = dict(temperature=1.5, seed=4, max_tokens=8, logprobs=0, ignore_eos=True)

    def means(answer):
        return [sum(c["logprobs"]["token_logprobs"]) / 8 for c in answer["choices"]]

    every, best = means(ask(n=6, **sample)), means(ask(n=2, best_of=6, **sample))
    assert best == pytest.approx(sorted(every, reverse=True)[:2])
    assert refusal(server, prompt=FRANCE, best_of=2, stream=True)["param"] == "best_of"


def test_logprobs(ask):
    choice = ask(logprobs=2)["choices"][0]
    assert "".join(choice["logprobs"]["tokens"]) == choice["text"]
    assert all(len(top) >= 2 for top in choice["logprobs"]["top_logprobs"])
    choice = ask(USER, logprobs=True)["choices"][0]
    shown = "".join(entry["token"] for entry in choice["logprobs"]["content"])
    assert shown == choice["message"]["content"] and choice["logprobs"]["content"][0]["top_logprobs"] == []


def test_top_logprobs(ask):
    entry = ask(USER, logprobs=True, top_logprobs=4)["choices"][0]["logprobs"]["content"][0]
    assert len(entry["top_logprobs"]) == 4 and entry["top_logprobs"][0]["logprob"] == entry["logprob"]


def test_prompt_logprobs(ask, tokenize):
    ids = tokenize(FRANCE)
    for what in (FRANCE, USER):
        answer = ask(what, prompt_logprobs=1)
        positions = answer["choices"][0].get("prompt_logprobs") or answer["prompt_logprobs"]
        assert positions[0] is None and len(positions) == answer["usage"]["prompt_tokens"]
        first = next(iter(positions[1].values()))
        assert first["logprob"] < 0 and first["rank"] >= 1 and first["decoded_token"]
        assert what == USER or list(positions[1])[0] == str(ids[1])


def test_return_token_ids(ask, server, tokenize):
    choice = ask(return_token_ids=True)["choices"][0]
    assert choice["prompt_token_ids"] == tokenize(FRANCE)
    assert server.post("/detokenize", {"tokens": choice["token_ids"]}).json()["prompt"] == choice["text"]


def test_return_tokens_as_token_ids(ask):
    choice = ask(logprobs=1, return_tokens_as_token_ids=True, return_token_ids=True)["choices"][0]
    assert choice["logprobs"]["tokens"] == [f"token_id:{i}" for i in choice["token_ids"]]


def test_skip_special_tokens(text):
    shown = text(USER, max_tokens=64, skip_special_tokens=False, include_stop_str_in_output=True)
    assert shown == text(USER, max_tokens=64) + "<|im_end|>"


def test_spaces_between_special_tokens(text, tokenize):
    end = tokenize("<|im_end|>")
    told = dict(allowed_token_ids=end, ignore_eos=True, max_tokens=3, skip_special_tokens=False)
    # A byte-level tokenizer never has any.
    for value in (False, True):
        assert text(**told, spaces_between_special_tokens=value) == "<|im_end|>" * 3


def test_stream(server, text):
    assert stream_text(server, FRANCE, **GREEDY)[0] == text()


def test_stream_interval(server):
    def with_text(interval):
        events = stream(server, max_tokens=24, ignore_eos=True, stream_interval=interval)
        return sum(1 for e in events if e != "[DONE]" and e["choices"][0]["text"])

    assert with_text(12) < with_text(1)


def test_stream_options_include_usage(server):
    events = stream(server, stream_options={"include_usage": True})
    assert events[-2]["choices"] == [] and events[-2]["usage"]["completion_tokens"] > 0
    assert "usage" not in stream(server)[0]


def test_stream_options_continuous_usage_stats(server):
    events = stream(server, stream_options={"continuous_usage_stats": True})[:-1]
    counts = [event["usage"]["completion_tokens"] for event in events]
    assert counts == sorted(counts) and counts[-1] == 8


def test_stream_options_include_obfuscation(server):
    with server.post("/v1/completions", {"prompt": FRANCE, **GREEDY, "stream": True,
                                         "stream_options": {"include_obfuscation": True}}, stream=True) as response:
        lines = [line for line in response.iter_lines() if line.startswith(b"data: {")]
    assert len({len(line) for line in lines[:-1]}) == 1, "all chunks of text have one size"
    assert json.loads(lines[0][6:])["obfuscation"]


# Whose request it is, and how it is found.


def test_request_id(server, ask):
    assert ask(request_id="my-id-1")["id"] == "cmpl-my-id-1"
    assert refusal(server, prompt=FRANCE, request_id="a b")["param"] == "request_id"


def test_x_request_id(server):
    response = server.post("/v1/completions", {"prompt": FRANCE, **GREEDY}, headers={"X-Request-Id": "my-id-2"})
    assert response.headers["X-Request-Id"] == "my-id-2" and response.json()["id"] == "cmpl-my-id-2"


def test_metadata(ask):
    assert ask(USER, metadata={"job": "7"})["metadata"] == {"job": "7"}


def cached(ask, prompt, **parameters):
    return ask(prompt, max_tokens=1, **parameters)["usage"]["prompt_tokens_details"]["cached_tokens"]


def test_cache_salt(ask):
    prompt = "salted " * 60
    assert cached(ask, prompt, cache_salt="a") == 0
    assert cached(ask, prompt, cache_salt="a") > 0
    assert cached(ask, prompt, cache_salt="b") == 0


def finds_its_prefix(ask, name):
    prompt = f"{name} " * 60
    cached(ask, prompt, **{name: "k"})
    assert cached(ask, prompt, **{name: "k"}) > 0
    assert cached(ask, prompt, **{name: "other"}) > 0, "the prefix itself is the key"


def test_prompt_cache_key(ask):
    finds_its_prefix(ask, "prompt_cache_key")


def test_session_id(ask):
    finds_its_prefix(ask, "session_id")


def overtakes(server, crowd, late, size=64):
    """Whether a request `late` is done before half of a crowd that came before it is. A large crowd, of which the rest is given
    up once it is overtaken, leaves a slow client time; a small one shows that `late` really waits."""
    # Few chunks, so that reading them never falls behind what the server does.
    busy = {"prompt": [5] * 20, "max_tokens": 400, "ignore_eos": True, "n": size, "stream": True, "stream_interval": 1000}
    finished = []
    with server.post("/v1/completions", {**busy, **crowd}, stream=True) as response:
        assert response.status_code == 200, response.text
        events = sse_events(response)
        next(events)
        other = threading.Thread(target=lambda: finished.append(
            server.complete([6] * 20, max_tokens=1, ignore_eos=True, **late)))
        other.start()
        num_ended = 0
        for event in events:
            num_ended += event != "[DONE]" and event["choices"][0]["finish_reason"] is not None
            if finished:
                break
    other.join()
    return num_ended < size // 2


def waits(server, crowd, late):
    return not overtakes(server, crowd, late, size=12)


def test_priority(narrow_server):
    assert overtakes(narrow_server, {"priority": 5}, {"priority": 1})
    assert waits(narrow_server, {"priority": 1}, {"priority": 5})


def test_service_tier(narrow_server, ask):
    assert overtakes(narrow_server, {"service_tier": "flex"}, {"service_tier": "priority"})
    assert waits(narrow_server, {"service_tier": "priority"}, {"service_tier": "flex"})
    assert ask(service_tier="flex")["service_tier"] == "flex"


def test_user(narrow_server):
    assert overtakes(narrow_server, {"user": "ann"}, {"user": "bob"}), "tenants share equally"
    assert waits(narrow_server, {"user": "ann"}, {"user": "ann"})


def test_safety_identifier(narrow_server):
    assert overtakes(narrow_server, {"safety_identifier": "ann"}, {"safety_identifier": "bob", "user": "ann"})
