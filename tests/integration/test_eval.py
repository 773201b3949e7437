"""`quartet eval` on the small model, its perplexity against the same number computed from the HTTP API."""

import json
import math
import subprocess
import xml.etree.ElementTree

import jsonschema
import pytest

from cluster import binary

ENGLISH = ("The river rises in the hills behind the town and runs, slow and brown, past the old mill and the school. In spring it floods the "
           "meadows; in summer children swim under the bridge. Nobody remembers who built the bridge, but everybody has carved a name into it. ") * 3
GERMAN = ("Der Fluss entspringt in den Hügeln hinter der Stadt und fließt langsam an der alten Mühle vorbei. Im Frühling tritt er über die Ufer, "
          "im Sommer baden die Kinder unter der Brücke. ") * 3
SCHEMAS = [
    {"name": "city", "prompt": "Describe Paris.",
     "schema": {"type": "object", "properties": {"name": {"type": "string", "maxLength": 20}, "size": {"enum": ["small", "large"]}},
                "required": ["name", "size"], "additionalProperties": False}},
    {"name": "numbers", "prompt": "Give three numbers.",
     "schema": {"type": "array", "items": {"type": "integer", "minimum": 0, "maximum": 9}, "minItems": 3, "maxItems": 3}},
]


@pytest.fixture
def evaluate(server, tmp_path):
    """evaluate(kind, *arguments): standard output, the JSON and the root of the plot."""

    def run(kind, *arguments):
        command = [binary("quartet"), "eval", kind, f"--address={server.grpc_address}", f"--output={tmp_path}/out.json",
                   f"--plot={tmp_path}/plot.svg", *arguments]
        result = subprocess.run(command, capture_output=True, text=True, timeout=180)
        assert result.returncode == 0, result.stderr
        return result.stdout, json.loads((tmp_path / "out.json").read_text()), xml.etree.ElementTree.parse(tmp_path / "plot.svg").getroot()

    return run


def refused(*arguments):
    result = subprocess.run([binary("quartet"), "eval", *arguments], capture_output=True, text=True, timeout=60)
    assert result.returncode in (1, 2), result
    return result.stderr


def test_needle(evaluate):
    text, report, plot = evaluate("needle", "--lengths=256,512", "--depths=0,50,100", "--repeats=2", "--max_tokens=24")
    assert "greedy decoding" in text and "depth" in text
    assert len(report["cases"]) == 12 and len(report["recall"]) == 6
    for case in report["cases"]:
        assert case["length"] - 40 <= case["prompt_tokens"] <= case["length"]
        assert case["found"] == (case["expected"] in case["answer"].replace(",", ""))
    # The model is small, but not blind.
    assert sum(case["found"] for case in report["cases"]) >= 4
    assert plot.tag.endswith("svg") and sum(element.tag.endswith("rect") for element in plot) == 1 + 6


def test_needle_in_a_users_text(evaluate, tmp_path):
    (tmp_path / "text").write_text(GERMAN)
    text, report, _ = evaluate("needle", "--lengths=256", "--depths=50", "--repeats=1", f"--haystack={tmp_path}/text", "--format=text")
    assert str(tmp_path / "text") in text and report["cases"][0]["prompt_tokens"] > 200


def test_json_without_help_from_the_server(evaluate, tmp_path):
    (tmp_path / "schemas.jsonl").write_text("\n".join(map(json.dumps, SCHEMAS)))
    text, report, _ = evaluate("json", f"--schemas={tmp_path}/schemas.jsonl", "--repeats=2", "--max_tokens=60", "--noconstrained")
    assert "unconstrained" in text and len(report["cases"]) == 4
    assert [sum(entry[outcome] for outcome in ("valid", "misfit", "not JSON", "length", "refused")) for entry in report["schemas"]] == [2, 2]


def test_json_with_the_schema(evaluate, tmp_path):
    (tmp_path / "schemas.jsonl").write_text("\n".join(map(json.dumps, SCHEMAS)))
    text, report, _ = evaluate("json", f"--schemas={tmp_path}/schemas.jsonl", "--repeats=3", "--max_tokens=100")
    assert "constrained to the schema by the server" in text
    assert {case["outcome"] for case in report["cases"]} <= {"valid", "length"}
    schemas = {entry["name"]: entry["schema"] for entry in SCHEMAS}
    for case in report["cases"]:
        if case["outcome"] == "valid":
            jsonschema.Draft202012Validator(schemas[case["name"]]).validate(json.loads(case["answer"]))
    assert sum(entry["valid"] for entry in report["schemas"]) >= 3


def nats_over_http(server, ids, begin, end, first_scored):
    answer = server.complete(ids[begin:end], max_tokens=0, echo=True, logprobs=0)
    logprobs = answer["choices"][0]["logprobs"]["token_logprobs"]
    assert len(logprobs) == end - begin and logprobs[0] is None
    return -sum(logprobs[first_scored - begin:])


def test_perplexity_is_what_the_http_api_says(evaluate, server, stubs, tmp_path):
    import grpc

    (tmp_path / "en.txt").write_text(ENGLISH)
    (tmp_path / "de.txt").write_text(GERMAN)
    text, report, plot = evaluate("perplexity", str(tmp_path / "en.txt"), str(tmp_path / "de.txt"), "--context=96", "--stride=40")
    assert "bits/byte" in text and "windows of 96 tokens" in text
    assert any(element.text == "de.txt" for element in plot)
    control = stubs("control_pb2_grpc").ControlStub(grpc.insecure_channel(server.grpc_address))
    for entry, whole in zip(report["files"], (ENGLISH, GERMAN)):
        ids = list(control.Tokenize(stubs("control_pb2").TokenizeRequest(text=whole, add_special_tokens=False), timeout=10).ids)
        nats, scored, begin = 0.0, 1, 0
        while scored < len(ids):
            end = min(begin + 96, len(ids))
            nats += nats_over_http(server, ids, begin, end, scored)
            scored, begin = end, begin + 40
        assert entry["tokens_scored"] == len(ids) - 1
        assert entry["total_nats"] == pytest.approx(nats, rel=1e-6)
        assert entry["perplexity"] == pytest.approx(math.exp(nats / (len(ids) - 1)), rel=1e-6)
        assert entry["bits_per_byte"] == pytest.approx(nats / math.log(2) / entry["bytes_scored"], rel=1e-6)
        assert 0 < len(whole.encode()) - entry["bytes_scored"] < 10  # the first token
    # The model was made from English.
    assert report["files"][0]["bits_per_byte"] < report["files"][1]["bits_per_byte"]


def test_mistakes_are_named(server, tmp_path):
    address = f"--address={server.grpc_address}"
    assert "needle" in refused() and "'nedle'" in refused("nedle")
    assert "--lengths: 99999999" in refused("needle", address, "--lengths=99999999")
    assert "--lengths=1,x" in refused("needle", address, "--lengths=1,x")
    assert "--depths: 101" in refused("needle", address, "--depths=101")
    assert "--schemas=FILE is missing" in refused("json", address)
    assert "/no/such/file" in refused("json", address, "--schemas=/no/such/file")
    (tmp_path / "bad.jsonl").write_text('{"name": "x"}')
    assert "line 1" in refused("json", address, f"--schemas={tmp_path}/bad.jsonl")
    assert "no file" in refused("perplexity", address)
    assert str(tmp_path) in refused("perplexity", address, str(tmp_path))
    assert "--stride=7" in refused("perplexity", address, "--context=5", "--stride=7", str(tmp_path / "bad.jsonl"))
    assert "/no/such/folder" in refused("perplexity", address, "--output=/no/such/folder/x", str(tmp_path / "bad.jsonl"))
    assert "127.0.0.1:1" in refused("needle", "--address=127.0.0.1:1")
