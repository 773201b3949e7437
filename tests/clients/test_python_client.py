"""The Python client against a real server, and against one that fails on purpose."""

import asyncio
import concurrent.futures
import math
import subprocess
import threading

import grpc
import pytest

from cluster import wait_until

PROMPT = "The capital of France is"
MESSAGES = [{"role": "user", "content": "Name the capital of France."}]
COLOURS = {"type": "object", "properties": {"colours": {"type": "array", "items": {"type": "string"}, "maxItems": 3}}, "required": ["colours"]}


@pytest.fixture(scope="module")
def client(quartet_client, server):
    with quartet_client.QwenClient(address=server.grpc_address, timeout=120) as client:
        yield client


def running(server):
    return server.metric("quartet_num_requests_running")


def test_the_wheel_works_in_a_fresh_environment(client_python, server):
    script = "from quartet_client import QwenClient; print(QwenClient().generate('The capital of France is', max_tokens=4, temperature=0).text)"
    result = subprocess.run([client_python, "-c", script], env={"QUARTET_ADDRESS": server.grpc_address}, capture_output=True, text=True, timeout=60)
    assert result.returncode == 0, result.stderr
    assert "Paris" in result.stdout


def test_generate_tells_text_reason_ids_and_usage(client, server):
    result = client.generate(PROMPT, max_tokens=8, temperature=0)
    assert result.text == str(result) == server.text(PROMPT, max_tokens=8, temperature=0)
    assert result.finish_reason == "length"
    assert len(result.token_ids) == result.usage.completion_tokens == 8
    assert result.usage.prompt_tokens == len(result.prompt_token_ids) and result.usage.total_tokens == result.usage.prompt_tokens + 8
    assert client.detokenize(result.token_ids) == result.text
    assert client.generate(client.tokenize(PROMPT), max_tokens=8, temperature=0).text == result.text


def test_seed_n_and_stop(client):
    first = client.generate(PROMPT, n=2, seed=7, temperature=1, max_tokens=10)
    again = client.generate(PROMPT, n=2, seed=7, temperature=1, max_tokens=10)
    assert [c.text for c in first.choices] == [c.text for c in again.choices]
    assert first.choices[0].text != first.choices[1].text and first.seed == 7
    stopped = client.generate(PROMPT, temperature=0, max_tokens=40, stop=["Paris"])
    assert stopped.finish_reason == "stop" and stopped.choices[0].stop_string == "Paris" and "Paris" not in stopped.text


def test_logprobs_of_output_and_prompt(client):
    result = client.generate(PROMPT, temperature=0, max_tokens=5, logprobs=2, prompt_logprobs=0)
    assert [entry.token_id for entry in result.logprobs] == result.token_ids
    for entry in result.logprobs:
        assert entry.rank == 1 and len(entry.top) == 2 and entry.top[0].token_id == entry.token_id
        assert math.isclose(entry.top[0].logprob, entry.logprob) and entry.logprob >= entry.top[1].logprob
    assert [entry.token_id for entry in result.prompt_logprobs] == result.prompt_token_ids[1:]


def test_chat_takes_conversations_and_a_single_question(client):
    answer = client.chat(MESSAGES, max_tokens=40, temperature=0)
    assert "Paris" in answer.text
    assert client.chat(MESSAGES[0]["content"], max_tokens=40, temperature=0).text == answer.text
    parts = [{"role": "user", "content": [{"type": "text", "text": "Name the capital "}, {"type": "text", "text": "of France."}]}]
    assert client.chat(parts, max_tokens=40, temperature=0).text == answer.text


def test_a_stream_gives_the_same_in_pieces(client):
    whole = client.generate(PROMPT, max_tokens=20, temperature=0)
    stream = client.stream(PROMPT, max_tokens=20, temperature=0)
    deltas = list(stream)
    assert len(deltas) > 5
    assert "".join(delta.text for delta in deltas) == whole.text == stream.result().text
    assert stream.result().usage.completion_tokens == 20 and stream.result().finish_reason == "length"
    assert "".join(map(str, client.stream_chat(MESSAGES, max_tokens=20, temperature=0))) == client.chat(MESSAGES, max_tokens=20, temperature=0).text


@pytest.mark.parametrize("way", ["close", "with", "drop"])
def test_a_stream_that_is_left_frees_the_server(client, server, way):
    stream = client.stream(PROMPT, max_tokens=4000, ignore_eos=True)
    next(stream)
    wait_until(lambda: running(server) == 1, 10, "the request runs")
    if way == "close":
        stream.close()
        assert list(stream) == [] and stream.result().finish_reason is None
    elif way == "with":
        with stream:
            pass
    del stream
    wait_until(lambda: running(server) == 0, 10, "the request is freed")


def test_many_threads_share_a_client(client):
    alone = [client.generate(f"{i} is", max_tokens=8, temperature=0).text for i in range(8)]
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        assert list(pool.map(lambda i: client.generate(f"{i} is", max_tokens=8, temperature=0).text, range(8))) == alone


def test_asyncio(quartet_client, client, server):
    async def run():
        async with quartet_client.AsyncQwenClient(address=server.grpc_address, timeout=120) as twin:
            texts = await asyncio.gather(*(twin.generate(f"{i} is", max_tokens=8, temperature=0) for i in range(4)))
            deltas = [delta.text async for delta in twin.stream_chat(MESSAGES, max_tokens=20, temperature=0)]
            async with twin.stream(PROMPT, max_tokens=4000, ignore_eos=True) as stream:
                await anext(stream)
                wait_until(lambda: running(server) == 1, 10, "the request runs")
            task = asyncio.create_task(twin.generate(PROMPT, max_tokens=4000, ignore_eos=True))
            while running(server) != 1:
                await asyncio.sleep(0.02)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            with pytest.raises(quartet_client.InvalidRequest):
                await twin.generate(PROMPT, temperature=-1)
            assert await twin.detokenize(await twin.tokenize("Grüße")) == "Grüße"
            assert (await twin.model_info()).has_chat_template
            return [text.text for text in texts], "".join(deltas)

    texts, chat = asyncio.run(run())
    assert texts == [client.generate(f"{i} is", max_tokens=8, temperature=0).text for i in range(4)]
    assert chat == client.chat(MESSAGES, max_tokens=20, temperature=0).text
    wait_until(lambda: running(server) == 0, 10, "all requests are freed")


@pytest.mark.parametrize(
    ("field", "parameters"),
    [("temperature", {"temperature": -1}), ("top_p", {"top_p": 2.0}), ("n", {"n": 200}), ("stop", {"stop": ["x"] * 17}),
     ("max_tokens", {"max_tokens": -1}), ("max_tokens", {"max_tokens": "many"}), ("logit_bias", {"logit_bias": {"x": 1}}),
     ("response_format", {"response_format": "json"}), ("response_format", {"response_format": {"type": "json_schema"}}),
     ("choice", {"choice": []}), ("regex", {"choice": ["a"], "regex": "a"}), ("stop_token_ids", {"stop_token_ids": [10**6]})])
def test_a_bad_request_names_its_field(quartet_client, client, field, parameters):
    with pytest.raises(quartet_client.InvalidRequest) as error:
        client.generate(PROMPT, **{"max_tokens": 1, **parameters})
    assert field in (error.value.field, "regex") and field in str(error.value)


def test_a_misspelt_parameter_and_a_bad_message_are_named(quartet_client, client):
    with pytest.raises(TypeError, match="max_token.*max_tokens"):
        client.generate(PROMPT, max_token=3)
    with pytest.raises(TypeError, match="tools"):
        client.generate(PROMPT, tools=[])
    with pytest.raises(quartet_client.InvalidRequest, match=r"messages\[1\]"):
        client.chat([*MESSAGES, "hello"])


def test_a_context_that_is_too_long_is_refused_before_it_is_sent(quartet_client, client, server):
    limit = client.model_info().max_model_len
    before = server.metric("quartet_prompt_tokens_total")
    for call in (lambda: client.generate("word " * limit, max_tokens=5), lambda: client.generate([5] * limit, max_tokens=5),
                 lambda: client.chat("word " * limit, max_tokens=5), lambda: client.generate(PROMPT, max_tokens=limit)):
        with pytest.raises(quartet_client.ContextTooLong) as error:
            call()
        assert error.value.prompt_tokens + error.value.max_tokens > error.value.context_length == limit
    assert server.metric("quartet_prompt_tokens_total") == before
    with quartet_client.QwenClient(address=server.grpc_address, context_length=8) as small:
        assert small.generate(PROMPT, max_tokens=2).usage.completion_tokens == 2
        with pytest.raises(quartet_client.ContextTooLong, match="the context has 8"):
            small.generate(PROMPT, max_tokens=5)


def test_model_and_context_are_checked_against_the_server(quartet_client, client, server):
    info = client.model_info()
    with quartet_client.QwenClient(model=info.name, address=server.grpc_address) as named:
        assert named.generate(PROMPT, max_tokens=1).model == info.name
    with quartet_client.QwenClient(model="gpt-7", address=server.grpc_address) as wrong:
        with pytest.raises(quartet_client.ModelNotFound, match=f"gpt-7.*{info.name}"):
            wrong.generate(PROMPT, max_tokens=1)
    with quartet_client.QwenClient(context_length=131072, address=server.grpc_address) as larger:
        with pytest.raises(quartet_client.InvalidRequest, match=f"131072.*{info.max_model_len}.*--max_model_len"):
            larger.generate(PROMPT, max_tokens=1)


def test_a_full_server_is_tried_again_or_reported(quartet_client, start_server):
    full = start_server("--max_inflight_requests=1")
    with quartet_client.QwenClient(address=full.grpc_address, max_retries=0, timeout=60) as impatient:
        stream = impatient.stream(PROMPT, max_tokens=4000, ignore_eos=True)
        next(stream)
        with pytest.raises(quartet_client.ServerBusy) as error:
            impatient.generate(PROMPT, max_tokens=1)
        assert error.value.retry_after == 1.0
        with quartet_client.QwenClient(address=full.grpc_address, timeout=60) as patient:
            with concurrent.futures.ThreadPoolExecutor(1) as pool:
                waiting = pool.submit(patient.generate, PROMPT, max_tokens=1)
                threading.Timer(0.3, stream.close).start()
                assert waiting.result().usage.completion_tokens == 1
        with pytest.raises(quartet_client.RequestTimeout):
            impatient.generate(PROMPT, max_tokens=4000, ignore_eos=True, timeout=0.3)
    assert full.stop() == 0


def test_nobody_there(quartet_client):
    with quartet_client.QwenClient(address="127.0.0.1:1", max_retries=1) as client:
        with pytest.raises(quartet_client.ServerUnavailable, match="127.0.0.1:1.*QUARTET_ADDRESS"):
            client.generate(PROMPT)
    with pytest.raises(ValueError, match="HOST:PORT"):
        quartet_client.QwenClient(address="http://localhost:8080")


class Failing:
    """A server whose n-th Generate does what the n-th entry of a list says."""

    def __init__(self, quartet_client, script):
        from quartet.v1 import control_pb2, control_pb2_grpc, inference_pb2, inference_pb2_grpc

        class Control(control_pb2_grpc.ControlServicer):
            def GetModelInfo(self, request, context):
                return control_pb2.GetModelInfoResponse(name="toy", max_model_len=100)

        class Inference(inference_pb2_grpc.InferenceServicer):
            def Generate(_, request, context):
                self.calls += 1
                event = inference_pb2.GenerateEvent
                yield event(started=inference_pb2.Started(request_id="1"))
                what = script[min(self.calls, len(script)) - 1]
                if what == "refuse":
                    context.abort(grpc.StatusCode.UNAVAILABLE, "no worker")
                yield event(delta=inference_pb2.Delta(text="one"))
                if what == "break":
                    context.abort(grpc.StatusCode.UNAVAILABLE, "the workers did not come back")
                if what == "cut":
                    return
                yield event(finished=inference_pb2.Finished(reason=1))
                yield event(usage=inference_pb2.Usage(completion_tokens=1))

        self.calls = 0
        self.server = grpc.server(concurrent.futures.ThreadPoolExecutor(4))
        control_pb2_grpc.add_ControlServicer_to_server(Control(), self.server)
        inference_pb2_grpc.add_InferenceServicer_to_server(Inference(), self.server)
        self.address = f"127.0.0.1:{self.server.add_insecure_port('127.0.0.1:0')}"
        self.server.start()


@pytest.mark.parametrize("asynchronous", [False, True])
@pytest.mark.parametrize(("script", "calls", "error"), [(["refuse", "good"], 2, None), (["refuse"], 2, "ServerUnavailable"),
                                                        (["break", "good"], 1, "ServerUnavailable"), (["cut", "good"], 1, "ServerError")])
def test_a_request_is_tried_again_only_until_output_has_come(quartet_client, script, calls, error, asynchronous):
    failing = Failing(quartet_client, script)

    def generate():
        if not asynchronous:
            return quartet_client.QwenClient(address=failing.address, max_retries=1).generate("x")

        async def run():
            return await quartet_client.AsyncQwenClient(address=failing.address, max_retries=1).generate("x")

        return asyncio.run(run())

    if error is None:
        assert generate().text == "one"
    else:
        with pytest.raises(getattr(quartet_client, error)) as raised:
            generate()
        assert (raised.value.partial is not None and raised.value.partial.text == "one") == (script[0] != "refuse")
    assert failing.calls == calls
    failing.server.stop(None)


def test_json_object(client):
    result = client.generate("A JSON object that describes a cat:\n", max_tokens=200, temperature=0.7, seed=1, response_format={"type": "json_object"})
    if result.finish_reason == "length":
        with pytest.raises(ValueError, match="max_tokens cut it short"):
            result.json()
    else:
        assert isinstance(result.json(), dict)


def test_json_schema_chat(client):
    answer = client.chat("Name three colours.", max_tokens=200, temperature=0, response_format={"type": "json_schema", "json_schema": {"schema": COLOURS}})
    assert answer.finish_reason == "stop"
    assert all(isinstance(colour, str) for colour in answer.json()["colours"])


def test_regex_choice_and_grammar(client):
    assert client.generate("The year: ", regex="[0-9]{4}", max_tokens=20, temperature=1).text.isdigit()
    assert client.generate("Yes or no? ", choice=["yes", "no"], max_tokens=20, temperature=1).text in ("yes", "no")
    assert client.generate("A sum: ", grammar='root ::= [0-9] "+" [0-9]', max_tokens=20, temperature=1).text[1] == "+"


def test_a_bad_schema_is_refused(quartet_client, client):
    with pytest.raises(quartet_client.InvalidRequest):
        client.generate(PROMPT, response_format={"type": "json_schema", "json_schema": {"schema": {"type": "strange"}}})
