"""The gRPC API from another language: Python, with stubs generated from the .proto files."""

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import ProtoReflectionDescriptorDatabase

PROMPT = "The capital of France is"


@pytest.fixture(scope="module")
def channel(server):
    with grpc.insecure_channel(server.grpc_address) as channel:
        yield channel


@pytest.fixture(scope="module")
def inference(channel, stubs):
    return stubs("inference_pb2_grpc").InferenceStub(channel)


@pytest.fixture(scope="module")
def control(channel, stubs):
    return stubs("control_pb2_grpc").ControlStub(channel)


def generate(inference, stubs, sampling=None, **fields):
    sampling = stubs("sampling_pb2").SamplingParams(**(sampling or {}))
    return list(inference.Generate(stubs("inference_pb2").GenerateRequest(sampling=sampling, **fields), timeout=120))


def test_a_stream_is_started_deltas_finished_usage(inference, stubs, server):
    events = generate(inference, stubs, {"temperature": 0, "max_tokens": 12}, text=PROMPT, request_id="my-request")
    kinds = [event.WhichOneof("event") for event in events]
    assert kinds[0] == "started" and kinds[-2:] == ["finished", "usage"]
    assert set(kinds[1:-2]) == {"delta"}
    assert [event.sequence_number for event in events] == list(range(1, len(events) + 1))
    assert events[0].started.request_id == "my-request"
    text = "".join(event.delta.text for event in events)
    assert text == server.text(PROMPT, temperature=0, max_tokens=12)
    usage = events[-1].usage
    assert usage.prompt_tokens == len(events[0].started.prompt_token_ids)
    assert usage.completion_tokens == sum(len(event.delta.token_ids) for event in events)


def test_the_seed_in_use_is_told_and_repeats_the_answer(inference, stubs):
    first = generate(inference, stubs, {"temperature": 1, "max_tokens": 12}, text=PROMPT)
    again = generate(inference, stubs, {"temperature": 1, "max_tokens": 12, "seed": first[0].started.seed}, text=PROMPT)
    ids = lambda events: [i for event in events for i in event.delta.token_ids]
    assert ids(first) == ids(again)


def test_chat_prompt(inference, stubs):
    chat = stubs("chat_pb2")
    prompt = chat.ChatPrompt(messages=[chat.ChatMessage(role="user", content="What is the capital of France?")])
    events = generate(inference, stubs, {"temperature": 0, "max_tokens": 40}, chat=prompt)
    assert "Paris" in "".join(event.delta.text for event in events)


def test_tokenize_and_back(control, stubs):
    pb = stubs("control_pb2")
    text = "Grüße, 世界! 1234\n"
    ids = control.Tokenize(pb.TokenizeRequest(text=text, add_special_tokens=False), timeout=10).ids
    assert control.Detokenize(pb.DetokenizeRequest(ids=ids), timeout=10).text == text
    chat = stubs("chat_pb2")
    rendered = control.ApplyChatTemplate(
        pb.ApplyChatTemplateRequest(chat=chat.ChatPrompt(messages=[chat.ChatMessage(role="user", content="hi")])), timeout=10)
    assert rendered.text.endswith("<|im_start|>user\nhi<|im_end|>\n<|im_start|>assistant\n")
    assert list(rendered.ids) == list(control.Tokenize(pb.TokenizeRequest(text=rendered.text, add_special_tokens=False), timeout=10).ids)


def test_facts_about_server_model_and_load(control, stubs):
    pb = stubs("control_pb2")
    server_info = control.GetServerInfo(pb.GetServerInfoRequest(), timeout=10)
    assert server_info.device == "cpu" and server_info.world_size == 1 and server_info.numerics_id
    assert server_info.ranks[0].weight_bytes > 200e6
    model = control.GetModelInfo(pb.GetModelInfoRequest(), timeout=10)
    assert (model.architecture, model.vocab_size, model.has_chat_template) == ("llama", 49152, True)
    load = control.GetLoad(pb.GetLoadRequest(), timeout=10)
    assert load.num_kv_blocks > 0 and load.kv_block_tokens == 16


@pytest.mark.parametrize(
    ("fields", "sampling", "named"),
    [
        ({}, {}, "prompt"),
        ({"text": PROMPT}, {"temperature": -1}, "temperature"),
        ({"text": PROMPT}, {"top_p": 1.5}, "top_p"),
        ({"text": PROMPT}, {"max_tokens": 0}, "max_tokens"),
        ({"text": PROMPT, "n": 0}, {}, "n"),
        ({"text": PROMPT, "stop": ["x"] * 17}, {}, "stop"),
    ],
)
def test_a_bad_request_names_its_field(inference, stubs, fields, sampling, named):
    with pytest.raises(grpc.RpcError) as error:
        generate(inference, stubs, sampling, **fields)
    assert error.value.code() == grpc.StatusCode.INVALID_ARGUMENT
    assert named in error.value.details()


def test_abort_ends_a_request(inference, control, stubs):
    pb = stubs("inference_pb2")
    sampling = stubs("sampling_pb2").SamplingParams(max_tokens=4000, ignore_eos=True)
    stream = inference.Generate(pb.GenerateRequest(text=PROMPT, request_id="to-abort", sampling=sampling), timeout=120)
    for event in stream:
        if event.WhichOneof("event") == "delta":
            break
    control.Abort(stubs("control_pb2").AbortRequest(request_id="to-abort"), timeout=10)
    finished = [event.finished for event in stream if event.WhichOneof("event") == "finished"]
    assert [f.reason for f in finished] == [stubs("sampling_pb2").FINISH_REASON_ABORT]
    with pytest.raises(grpc.RpcError) as error:
        control.Abort(stubs("control_pb2").AbortRequest(request_id="to-abort"), timeout=10)
    assert error.value.code() == grpc.StatusCode.NOT_FOUND


def text_of(events, index=0):
    return "".join(e.delta.text for e in events if e.WhichOneof("event") == "delta" and e.delta.index == index)


def test_best_of_reports_the_likeliest(inference, stubs):
    sampling = {"temperature": 1.5, "max_tokens": 6, "seed": 4, "logprobs": 0, "ignore_eos": True}

    def means(**fields):
        totals = {}
        for event in generate(inference, stubs, sampling, text=PROMPT, **fields):
            for position in event.delta.logprobs:
                totals[event.delta.index] = totals.get(event.delta.index, 0) + position.token.logprob / 6
        return [totals[i] for i in sorted(totals)]

    assert means(n=2, best_of=5) == pytest.approx(sorted(means(n=5), reverse=True)[:2])


def test_truncation_stops_and_bad_words(inference, stubs):
    greedy = {"temperature": 0, "max_tokens": 8}
    whole = generate(inference, stubs, greedy, text=PROMPT)
    cut = generate(inference, stubs, greedy, text=PROMPT, truncate_prompt_tokens=2)
    assert list(cut[0].started.prompt_token_ids) == list(whole[0].started.prompt_token_ids)[-2:]
    stopped = generate(inference, stubs, greedy, text=PROMPT, stop=["Par"], include_stop_in_output=True)
    assert "Paris" in text_of(whole) and text_of(stopped) == text_of(whole).split("Par")[0] + "Par"
    assert "Paris" not in text_of(generate(inference, stubs, greedy, text=PROMPT, bad_words=["Paris"]))
    with pytest.raises(grpc.RpcError) as error:
        generate(inference, stubs, greedy, text=PROMPT, suffix=".")
    assert error.value.code() == grpc.StatusCode.INVALID_ARGUMENT and "fill in the middle" in error.value.details()


def test_health_and_reflection(channel):
    health = health_pb2_grpc.HealthStub(channel)
    for service in ("", "quartet.v1.Inference", "quartet.v1.Control"):
        answer = health.Check(health_pb2.HealthCheckRequest(service=service), timeout=10)
        assert answer.status == health_pb2.HealthCheckResponse.SERVING, service
    services = set(ProtoReflectionDescriptorDatabase(channel).get_services())
    assert {"quartet.v1.Inference", "quartet.v1.Control", "grpc.health.v1.Health"} <= services
