"""Structured output through the real binaries: what comes out fits the shape that was asked for, whatever the model would say."""

import concurrent.futures
import json
import os
import re
import signal
import threading

import grpc
import jsonschema
import pytest
import requests
from structured_schemas import SCHEMAS

PROMPT = "Write an example."
CONCURRENCY = 16


@pytest.fixture(scope="module")
def structured_server(start_server):
    return start_server("--kv_cache_bytes=300000000")


@pytest.fixture(scope="module")
def generate(structured_server, stubs):
    """generate(format, **sampling) -> (text, ids, reason, events)."""
    with grpc.insecure_channel(structured_server.grpc_address) as channel:
        inference = stubs("inference_pb2_grpc").InferenceStub(channel)

        def call(format, text=PROMPT, on_event=None, n=1, **sampling):
            sampling = stubs("sampling_pb2").SamplingParams(**{"max_tokens": 120, "temperature": 1, **sampling})
            request = stubs("inference_pb2").GenerateRequest(
                text=text, sampling=sampling, n=n, structured_output=stubs("structured_output_pb2").StructuredOutput(**format))
            texts, ids, reasons = [""] * n, [[] for _ in range(n)], [None] * n
            for event in inference.Generate(request, timeout=120):
                kind = event.WhichOneof("event")
                if kind == "delta":
                    texts[event.delta.index] += event.delta.text
                    ids[event.delta.index].extend(event.delta.token_ids)
                elif kind == "finished":
                    reasons[event.finished.index] = event.finished.reason
                if on_event:
                    on_event(event)
            names = stubs("sampling_pb2").FinishReason
            return list(zip(texts, ids, (names.Name(r).removeprefix("FINISH_REASON_").lower() for r in reasons)))

        yield call


def schema_format(schema, **more):
    return {"json_schema": json.dumps(schema, ensure_ascii=False), **more}


def test_two_hundred_answers_fit_forty_schemas(generate):
    assert len(SCHEMAS) == 40
    jobs = [(schema, seed) for seed in range(5) for schema in SCHEMAS]

    def run(job):
        schema, seed = job
        (text, _, reason), = generate(schema_format(schema), seed=seed, text="An example of such JSON:")
        return schema, text, reason

    with concurrent.futures.ThreadPoolExecutor(CONCURRENCY) as pool:
        answers = list(pool.map(run, jobs))
    stopped = 0
    for schema, text, reason in answers:
        assert reason in ("stop", "length"), reason
        if reason == "stop":
            stopped += 1
            jsonschema.validate(json.loads(text), schema, cls=jsonschema.Draft202012Validator)
    print(f"{len(answers)} answers: {stopped} valid, {len(answers) - stopped} cut by max_tokens")
    assert len(answers) == 200 and stopped > 120


@pytest.mark.parametrize(
    ("format", "fits"),
    [
        ({"json_object": {}}, lambda text: isinstance(json.loads(text), dict)),
        ({"regex": "(yes|no), [0-9]{3}\\.?"}, lambda text: re.fullmatch(r"(yes|no), [0-9]{3}\.?", text)),
        ({"choice": {"texts": ["Paris", "London", "東京"]}}, lambda text: text in ("Paris", "London", "東京")),
        ({"ebnf_grammar": 'root ::= "<" [a-z]{1,8} ">" number\nnumber ::= [0-9]{1,3}'}, lambda text: re.fullmatch("<[a-z]{1,8}>[0-9]{1,3}", text)),
        ({"json_schema": json.dumps(SCHEMAS[0]), "compact_json": True}, lambda text: text == json.dumps(json.loads(text), separators=(",", ":"), ensure_ascii=False)),
        ({"structural_tag": json.dumps({"type": "structural_tag", "format": {"type": "tag", "begin": "<call>", "content": {
            "type": "json_schema", "json_schema": SCHEMAS[24]}, "end": "</call>"}})},
         lambda text: -17 <= int(re.fullmatch("<call>(.*)</call>", text, re.S)[1]) <= 4242),
    ],
)
def test_every_kind_of_format(generate, format, fits):
    for seed in range(4):
        (text, _, reason), = generate(format, seed=seed, max_tokens=300)
        assert reason == "length" or fits(text), text


@pytest.mark.parametrize(
    ("format", "words"),
    [
        ({"json_schema": "{"}, ["json_schema", "not JSON"]),
        ({"json_schema": '{"type": "object", "properties": {"a": {"not": {}}}}'}, ["json_schema", '"not"', "#/properties/a"]),
        ({"json_schema": '{"type": "array", "uniqueItems": true}'}, ['"uniqueItems"', "#"]),
        ({"json_schema": '{"$ref": "https://example.com/x"}'}, ["$ref", "example.com"]),
        ({"json_schema": "[" * 60000}, ["json_schema"]),
        ({"json_schema": '{"enum": ["' + "x" * 140000 + '"]}'}, ["structured_output", "bytes"]),
        ({"regex": "a(?=b)"}, ["regex", "look-ahead"]),
        ({"regex": "(a{1000}){1000}"}, ["regex", "multiply"]),
        ({"ebnf_grammar": 'root ::= "a" missing'}, ["ebnf_grammar", "missing"]),
        ({"structural_tag": "{}"}, ["structural_tag", "format"]),
        ({"choice": {"texts": []}}, ["choice"]),
    ],
)
def test_a_format_that_cannot_be_honoured_is_refused_by_name(generate, format, words):
    with pytest.raises(grpc.RpcError) as error:
        generate(format)
    assert error.value.code() == grpc.StatusCode.INVALID_ARGUMENT, error.value.details()
    for word in words:
        assert word in error.value.details()


def test_it_goes_with_logprobs_penalties_bias_and_n(generate):
    format = schema_format(SCHEMAS[0])
    seen = []
    answers = generate(format, n=3, seed=5, logprobs=2, repetition_penalty=1.3, frequency_penalty=0.5, logit_bias={5: 10.0}, on_event=seen.append)
    for text, ids, reason in answers:
        if reason == "stop":
            jsonschema.validate(json.loads(text), SCHEMAS[0])
    logprobs = [p for event in seen if event.WhichOneof("event") == "delta" for p in event.delta.logprobs]
    assert len(logprobs) == sum(len(ids) for _, ids, _ in answers)
    assert len({text for text, _, _ in answers}) > 1


def test_allowed_and_banned_ids(generate):
    (_, ids, _), = generate({"regex": "[a-z ]{20}"}, seed=1)
    banned = ids[0]
    (_, without, _), = generate({"regex": "[a-z ]{20}"}, seed=1, banned_sequences=[{"ids": [banned]}, {"ids": ids[1:3]}])
    assert banned not in without and ids[1:3] not in [without[i:i + 2] for i in range(len(without))]
    (_, only, _), = generate({"regex": "[a-z ]{20}"}, seed=1, allowed_token_ids=ids)
    assert set(only) <= set(ids)


def test_contradictory_restrictions_fail_that_request_alone(generate):
    with pytest.raises(grpc.RpcError) as error:
        generate({"choice": {"texts": ["alpha"]}}, allowed_token_ids=[0])
    assert error.value.code() == grpc.StatusCode.INVALID_ARGUMENT and "contradict" in error.value.details()
    (text, _, _), = generate({"choice": {"texts": ["alpha"]}})
    assert text == "alpha"


def test_a_finished_shape_ends_without_an_end_token_and_before_min_tokens(generate):
    (text, _, reason), = generate({"choice": {"texts": ["alpha"]}}, ignore_eos=True)
    assert (text, reason) == ("alpha", "stop")
    (text, _, reason), = generate({"choice": {"texts": ["alpha"]}}, min_tokens=50)
    assert (text, reason) == ("alpha", "stop")
    (_, _, reason), = generate({"regex": "[a-z]{400}"}, max_tokens=5)
    assert reason == "length"


def test_a_worker_that_dies_changes_nothing(structured_server, generate):
    schema = {"type": "array", "items": SCHEMAS[1], "minItems": 3, "maxItems": 8}
    whole, = generate(schema_format(schema), seed=11, max_tokens=150)
    killed = threading.Event()

    def kill(event):
        if event.WhichOneof("event") == "delta" and event.sequence_number > 40 and not killed.is_set():
            killed.set()
            worker, = structured_server.pids_of("quartet-worker")
            os.kill(worker, signal.SIGKILL)

    again, = generate(schema_format(schema), seed=11, max_tokens=150, on_event=kill)
    assert killed.is_set()
    assert again == whole


def test_metrics_tell_of_grammars(structured_server):
    text = requests.get(structured_server.url + "/metrics", timeout=10).text
    assert "quartet_" in text
    log = structured_server.log()
    port = re.findall(r'"metrics are served".*?"port":\s*"?(\d+)|metrics are served.*?port=(\d+)', log)
    ports = [a or b for a, b in port]
    assert ports, "the leader says where its metrics are"
    text = requests.get(f"http://127.0.0.1:{ports[-1]}/metrics", timeout=10).text
    for name in ("quartet_grammar_compile_seconds_count", "quartet_step_grammar_mask_seconds_count", "quartet_grammar_cache_hits_total"):
        assert name in text
