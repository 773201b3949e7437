"""Tool calls through OpenAI's own library. SmolLM2 knows nothing of tools, so that what it calls shows what the engine holds it to."""

import json
import re

import jsonschema
import openai
import pytest
import requests

from cluster import ROOT

WEATHER = {
    "type": "object",
    "properties": {
        "city": {"type": "string", "maxLength": 30},
        "days": {"type": "integer", "minimum": 1, "maximum": 7},
        "unit": {"enum": ["celsius", "fahrenheit"]},
    },
    "required": ["city", "days", "unit"],
    "additionalProperties": False,
}
ALARM = {
    "type": "object",
    "properties": {"time": {"type": "string", "pattern": "^[0-2][0-9]:[0-5][0-9]$"}, "repeat": {"type": "boolean"}},
    "required": ["time", "repeat"],
    "additionalProperties": False,
}
SCHEMAS = {"get_weather": WEATHER, "set_alarm": ALARM}
TOOLS = [{"type": "function", "function": {"name": name, "parameters": schema}} for name, schema in SCHEMAS.items()]
MESSAGES = [{"role": "user", "content": "What will the weather be in Paris, and wake me at seven."}]


@pytest.fixture(scope="module")
def client(server):
    return openai.OpenAI(base_url=server.url + "/v1", api_key="unused", max_retries=0, timeout=180)


def ask(client, **parameters):
    parameters = {"temperature": 1, "max_tokens": 160, "messages": MESSAGES, "tools": TOOLS, "model": ""} | parameters
    return client.chat.completions.create(**parameters)


def check_calls(calls, cut):
    """All calls fit their schemas; the last may be incomplete if max_tokens cut the answer."""
    for i, call in enumerate(calls):
        try:
            arguments = json.loads(call.function.arguments)
        except json.JSONDecodeError:
            assert cut and i == len(calls) - 1, call
            continue
        jsonschema.validate(arguments, SCHEMAS[call.function.name])


def test_required_calls_always_fit_their_schemas(client):
    for seed in range(8):
        choice = ask(client, tool_choice="required", seed=seed).choices[0]
        assert choice.message.tool_calls and not choice.message.content, choice
        assert choice.finish_reason in ("tool_calls", "length")
        check_calls(choice.message.tool_calls, choice.finish_reason == "length")
        assert len({call.id for call in choice.message.tool_calls}) == len(choice.message.tool_calls)


@pytest.mark.parametrize("name", SCHEMAS)
def test_a_named_function_is_called_once(client, name):
    choice = ask(client, tool_choice={"type": "function", "function": {"name": name}}, seed=3).choices[0]
    assert [call.function.name for call in choice.message.tool_calls] == [name]
    assert choice.finish_reason in ("stop", "length")
    check_calls(choice.message.tool_calls, choice.finish_reason == "length")


def test_one_call_if_they_may_not_be_parallel(client):
    for seed in range(3):
        choice = ask(client, tool_choice="required", parallel_tool_calls=False, seed=seed).choices[0]
        assert len(choice.message.tool_calls) == 1
        check_calls(choice.message.tool_calls, choice.finish_reason == "length")


def test_streamed_deltas_add_up_to_the_whole_answer(client):
    whole = ask(client, tool_choice="required", seed=5).choices[0]
    calls, reason = {}, None
    for chunk in ask(client, tool_choice="required", seed=5, stream=True):
        choice = chunk.choices[0]
        reason = choice.finish_reason or reason
        for delta in choice.delta.tool_calls or []:
            if delta.index not in calls:
                assert delta.id and delta.type == "function" and delta.function.name
                calls[delta.index] = [delta.function.name, ""]
            calls[delta.index][1] += delta.function.arguments
    assert reason == whole.finish_reason
    assert list(calls.values()) == [[call.function.name, call.function.arguments] for call in whole.message.tool_calls]


def test_strict_tools_hold_calls_but_not_text(client):
    tools = [{"type": "function", "function": tool["function"] | {"strict": True}} for tool in TOOLS]
    choice = ask(client, tools=tools, seed=1).choices[0]
    check_calls(choice.message.tool_calls or [], choice.finish_reason == "length")
    assert choice.message.content or choice.message.tool_calls


def test_the_template_shows_tools_calls_and_answers(simulated_server):
    """Qwen2.5's own template: the tools, the assistant's call and the tool's answer are in the prompt, as the model was taught them."""
    messages = MESSAGES + [
        {"role": "assistant", "content": None,
         "tool_calls": [{"id": "c1", "type": "function", "function": {"name": "get_weather", "arguments": '{"city": "Paris"}'}}]},
        {"role": "tool", "tool_call_id": "c1", "content": "sunny"},
    ]
    body = {"messages": messages, "tools": TOOLS}
    tokens = simulated_server.post("/tokenize", body).json()["tokens"]
    prompt = simulated_server.post("/detokenize", {"tokens": tokens}).json()["prompt"]
    assert '"name": "set_alarm"' in prompt
    assert '<tool_call>\n{"name": "get_weather", "arguments": {"city": "Paris"}}\n</tool_call>' in prompt
    assert "<tool_response>\nsunny\n</tool_response>" in prompt
    response = simulated_server.post("/v1/chat/completions", body | {"max_tokens": 8})
    assert response.status_code == 200, response.text


def test_errors_name_the_tool(server):
    def refusal(**fields):
        response = requests.post(server.url + "/v1/chat/completions", json={"messages": MESSAGES, **fields}, timeout=60)
        assert response.status_code == 400
        return response.json()["error"]

    assert refusal(tools=[{"type": "function", "function": {"name": "a b"}}])["param"] == "tools[0].function.name"
    assert refusal(tools=TOOLS, tool_choice={"type": "function", "function": {"name": "fly"}})["param"] == "tool_choice"
    assert "needs tools" in refusal(tool_choice="required")["message"]


def test_the_example_in_the_docs_runs(server, capsys):
    code = re.search(r"```python\n(.*?)```", (ROOT / "docs/tools.md").read_text(), re.S).group(1)
    exec(code.replace("http://localhost:8080", server.url), {})
    assert capsys.readouterr().out.startswith("get_weather {'city': ")
