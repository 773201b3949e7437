"""Every request parameter of /v1/completions and /v1/chat/completions has an effect, or is refused with a reason: one test for
each row of docs/api.md (tests/structure/check_parameters.py compares the two). Here: how tokens are
chosen, where answers end, and their shape."""

import json

import jsonschema
import requests

from cluster import sse_events
from parameters import FRANCE, GREEDY, USER, ask, refusal, text, tokenize  # noqa: F401


# How tokens are chosen.

SAMPLED = {"temperature": 1.0, "max_tokens": 12, "seed": 3}


def test_temperature(text):
    assert text(temperature=0, seed=1) == text(temperature=0, seed=2)
    assert len({text(temperature=2, seed=seed) for seed in range(4)}) > 1


def test_seed(text):
    assert text(**SAMPLED) == text(**SAMPLED)
    assert len({text(**{**SAMPLED, "seed": seed}) for seed in range(4)}) > 1


def narrows_to_greedy(text, narrow):
    greedy = text(max_tokens=12)
    assert text(**SAMPLED, **narrow) == greedy
    assert any(text(**{**SAMPLED, "seed": seed}) != greedy for seed in range(4))


def test_top_p(text):
    narrows_to_greedy(text, {"top_p": 0.001})


def test_top_k(text):
    narrows_to_greedy(text, {"top_k": 1})


def test_min_p(text):
    narrows_to_greedy(text, {"min_p": 1.0})


def repeats_less(ask, **penalty):
    def distinct(**parameters):
        choice = ask("ha ha ha ha ha ha ha ha", max_tokens=30, ignore_eos=True, return_token_ids=True, **parameters)["choices"][0]
        return len(set(choice["token_ids"]))

    assert distinct(**penalty) > distinct()


def test_frequency_penalty(ask):
    repeats_less(ask, frequency_penalty=2)


def test_presence_penalty(ask):
    repeats_less(ask, presence_penalty=2)


def test_repetition_penalty(ask):
    repeats_less(ask, repetition_penalty=2)


def test_logit_bias(text, tokenize):
    (token,) = tokenize(" Rome")
    assert text(max_tokens=1, logit_bias={str(token): 100}) == " Rome"


def test_allowed_token_ids(text, tokenize):
    (one,), (two,) = tokenize(" Rome"), tokenize(" Milan")
    answer = text(temperature=1, max_tokens=6, allowed_token_ids=[one, two], ignore_eos=True)
    assert answer.replace(" Rome", "").replace(" Milan", "") == ""


def test_bad_words(text):
    assert "Paris" in text() and "Paris" not in text(bad_words=["Paris"])


def test_use_beam_search(ask):
    beams = ask(use_beam_search=True, n=4, logprobs=0, max_tokens=6)["choices"]
    sums = [sum(choice["logprobs"]["token_logprobs"]) for choice in beams]
    greedy = ask(logprobs=0, max_tokens=6)["choices"][0]
    assert len({choice["text"] for choice in beams}) == 4
    # Equal lengths, so the sums alone rank them; the best is at least as likely as the greedy answer.
    if len({len(choice["logprobs"]["tokens"]) for choice in beams}) == 1:
        assert sums == sorted(sums, reverse=True)
        assert sums[0] >= sum(greedy["logprobs"]["token_logprobs"]) - 1e-3


def test_length_penalty(ask):
    def lengths(penalty):
        choices = ask("Yes or no? Answer:", use_beam_search=True, n=4, max_tokens=12, length_penalty=penalty,
                      return_token_ids=True, stop_token_ids=NEWLINES)["choices"]
        return sum(len(choice["token_ids"]) for choice in choices)

    assert lengths(-3) < lengths(3)


NEWLINES = [198, 216, 30, 28]  # Newline, blank, full stop, comma in this vocabulary.


# Where answers end.


def test_max_tokens(ask):
    for limit in (1, 5):
        answer = ask(max_tokens=limit, ignore_eos=True)
        assert answer["usage"]["completion_tokens"] == limit and answer["choices"][0]["finish_reason"] == "length"


def test_max_completion_tokens(ask):
    assert ask(USER, max_tokens=None, max_completion_tokens=3)["usage"]["completion_tokens"] == 3


def test_min_tokens(ask):
    short = ask(USER, max_tokens=64)["usage"]["completion_tokens"]
    assert ask(USER, max_tokens=64, min_tokens=short + 5)["usage"]["completion_tokens"] >= short + 5


def test_ignore_eos(ask):
    assert ask(USER, max_tokens=64)["choices"][0]["finish_reason"] == "stop"
    answer = ask(USER, max_tokens=64, ignore_eos=True)
    assert answer["choices"][0]["finish_reason"] == "length" and answer["usage"]["completion_tokens"] == 64


def test_stop(ask, text):
    answer = ask(stop=["Par", "zzz"])["choices"][0]
    assert (answer["text"], answer["finish_reason"], answer["stop_reason"]) == (text().split("Par")[0], "stop", "Par")


def test_stop_token_ids(ask, tokenize):
    (token,) = tokenize(" Paris")
    answer = ask(stop_token_ids=[token])["choices"][0]
    assert "Paris" not in answer["text"] and answer["finish_reason"] == "stop" and answer["stop_reason"] == token


def test_include_stop_str_in_output(text, tokenize):
    assert text(stop="Par", include_stop_str_in_output=True) == text().split("Par")[0] + "Par"
    token = tokenize(" Paris")
    assert text(stop_token_ids=token, include_stop_str_in_output=True).endswith(" Paris")


def test_repetition_detection(ask):
    looping = dict(what="ha ha ha ha ha ha ha ha ha ha ha ha", max_tokens=60, ignore_eos=True)
    answer = ask(**looping, repetition_detection={"max_pattern_size": 4, "min_count": 3})
    assert answer["usage"]["completion_tokens"] < ask(**looping)["usage"]["completion_tokens"]
    assert answer["choices"][0]["stop_reason"] == "repetition_detected"


# The shape of answers. Without white space at will a small model comes to an end.

SCHEMA = {"type": "object", "properties": {"capital": {"type": "string", "maxLength": 12}, "size": {"enum": [1, 2]}},
          "required": ["capital", "size"], "additionalProperties": False}
FORMATS = {"max_tokens": 80}


def test_response_format(text):
    for what in (FRANCE, USER):
        given = {"type": "json_schema", "json_schema": {"name": "a", "strict": True, "schema": SCHEMA}}
        jsonschema.validate(json.loads(text(what, response_format=given, **FORMATS)), SCHEMA)
        anything = text(what, response_format={"type": "json_object"}, **FORMATS)
        assert anything.lstrip().startswith("{")
        assert not text(what, response_format={"type": "text"}).lstrip().startswith("{")


def test_structured_outputs_json(text):
    for schema in (SCHEMA, json.dumps(SCHEMA)):
        jsonschema.validate(json.loads(text(structured_outputs={"json": schema}, **FORMATS)), SCHEMA)


def test_a_shape_that_cannot_be_honoured_names_the_clients_field(server):
    schema = {"type": "object", "properties": {"a": {"not": {"type": "string"}}}}
    error = refusal(server, prompt=FRANCE, structured_outputs={"json": schema})
    assert error["param"] == "structured_outputs.json" and 'keyword "not" at #/properties/a' in error["message"], error


def test_structured_outputs_regex(text):
    assert text(structured_outputs={"regex": "[0-9]{4}-[0-9]{2}"}, **FORMATS)[4] == "-"


def test_structured_outputs_choice(text):
    assert text(structured_outputs={"choice": ["Rome", "Milan"]}, **FORMATS) in ("Rome", "Milan")


def test_structured_outputs_grammar(text):
    assert text(structured_outputs={"grammar": 'root ::= "<" [a-c] ">"'}, **FORMATS) in ("<a>", "<b>", "<c>")


def test_structured_outputs_json_object(text):
    assert text(structured_outputs={"json_object": True}, **FORMATS).lstrip().startswith("{")


def test_structured_outputs_structural_tag(text):
    tag = {"type": "structural_tag", "format": {"type": "const_string", "value": "exactly this"}}
    assert text(structured_outputs={"structural_tag": tag}, **FORMATS) == "exactly this"


def test_structured_outputs_disable_any_whitespace(text):
    compact = text(structured_outputs={"json": SCHEMA, "disable_any_whitespace": True}, **FORMATS)
    assert compact == json.dumps(json.loads(compact), separators=(",", ":"), ensure_ascii=False)


def test_structured_outputs_disable_additional_properties(text):
    schema = {"type": "object", "properties": {"a": {"enum": [1]}}, "required": ["a"]}
    closed = text(structured_outputs={"json": schema, "disable_additional_properties": True}, **FORMATS)
    assert json.loads(closed) == {"a": 1}


def test_structured_outputs_whitespace_pattern(server, text):
    compact = text(structured_outputs={"json": SCHEMA, "whitespace_pattern": ""}, **FORMATS)
    assert compact == json.dumps(json.loads(compact), separators=(",", ":"), ensure_ascii=False)
    error = refusal(server, prompt=FRANCE, structured_outputs={"json": SCHEMA, "whitespace_pattern": "[x]"})
    assert error["param"] == "structured_outputs.whitespace_pattern"


def test_guided_json(text):
    jsonschema.validate(json.loads(text(guided_json=SCHEMA, **FORMATS)), SCHEMA)


def test_guided_regex(text):
    assert text(guided_regex="x{3}", **FORMATS) == "xxx"


def test_guided_choice(text):
    assert text(guided_choice=["Rome"], **FORMATS) == "Rome"


def test_guided_grammar(text):
    assert text(guided_grammar='root ::= "yes" | "no"', **FORMATS) in ("yes", "no")


def test_guided_json_object(text):
    assert text(guided_json_object=True, **FORMATS).lstrip().startswith("{")


def test_guided_whitespace_pattern(text):
    assert json.loads(text(guided_json=SCHEMA, guided_whitespace_pattern="", **FORMATS))


def test_guided_decoding_backend(server, text):
    assert text(guided_choice=["Rome"], guided_decoding_backend="outlines", **FORMATS) == "Rome"
    error = refusal(server, prompt=FRANCE, guided_choice=["Rome"], guided_decoding_backend="magic")
    assert error["param"] == "guided_decoding_backend"


# Where answers are kept.


def test_store(server, ask):
    def get(path, status=200, **query):
        response = requests.get(f"{server.url}/v1/chat/completions{path}", params=query, headers={"X-Tenant": "keeper"}, timeout=10)
        assert response.status_code == status, response.text
        return response.json()

    def make(**parameters):
        body = {"messages": USER, **GREEDY, "store": True, **parameters}
        response = server.post("/v1/chat/completions", body, headers={"X-Tenant": "keeper"}, stream=parameters.get("stream", False))
        assert response.status_code == 200, response.text
        return response

    whole = make(metadata={"job": "7"}).json()
    assert get("/" + whole["id"]) == whole
    chunks = [e for e in sse_events(make(stream=True)) if e != "[DONE]"]
    streamed = get("/" + chunks[0]["id"])
    text = "".join(c["choices"][0]["delta"].get("content") or "" for c in chunks)
    assert streamed["choices"][0]["message"]["content"] == text == whole["choices"][0]["message"]["content"]
    assert streamed["usage"]["completion_tokens"] == whole["usage"]["completion_tokens"]

    assert [c["id"] for c in get("")["data"]] == [whole["id"], streamed["id"]]
    assert [c["id"] for c in get("", order="desc", limit=1)["data"]] == [streamed["id"]]
    assert get("", limit=1)["has_more"] and not get("", after=whole["id"])["has_more"]
    assert [c["id"] for c in get("", **{"metadata[job]": "7"})["data"]] == [whole["id"]]
    assert get("", model="another")["data"] == []
    for query in ({"limit": 0}, {"order": "up"}, {"after": "nobody"}):
        assert get("", 400, **query)["error"]["param"] == next(iter(query))
    assert [m["content"] for m in get(f"/{whole['id']}/messages")["data"]] == [USER[0]["content"]]

    url = f"{server.url}/v1/chat/completions/{whole['id']}"
    tenant = {"headers": {"X-Tenant": "keeper"}, "timeout": 10}
    assert requests.post(url, json={"metadata": {"job": "8"}}, **tenant).json()["metadata"] == {"job": "8"}
    assert get("/" + whole["id"])["metadata"] == {"job": "8"}
    assert requests.post(url, json={}, **tenant).json()["error"]["param"] == "metadata"
    assert requests.get(url, timeout=10).status_code == 404, "another tenant"
    assert requests.delete(url, **tenant).json() == {"object": "chat.completion.deleted", "id": whole["id"], "deleted": True}
    get("/" + whole["id"], 404)
    unstored = ask(USER)
    get("/" + unstored["id"], 404)
