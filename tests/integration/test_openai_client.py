"""OpenAI's own client library, unchanged: what its documentation promises, feature by feature."""

import json

import openai
import pytest

PROMPT = "The capital of France is"
MESSAGES = [{"role": "user", "content": "Name the capital of France."}]
CITY = {"type": "object", "properties": {"name": {"type": "string", "maxLength": 30}, "inhabitants": {"type": "integer"},
                                         "continent": {"enum": ["Africa", "America", "Asia", "Australia", "Europe"]}},
        "required": ["name", "inhabitants", "continent"], "additionalProperties": False}
WEATHER = {"type": "function", "function": {
    "name": "get_weather", "description": "Tells the weather in a city",
    "parameters": {"type": "object", "properties": {"city": {"type": "string", "maxLength": 30}, "unit": {"enum": ["celsius", "fahrenheit"]}},
                   "required": ["city", "unit"], "additionalProperties": False}}}
TIME = {"type": "function", "function": {"name": "get_time", "parameters": {"type": "object", "properties": {}}}}


@pytest.fixture(scope="module")
def client(server):
    return openai.OpenAI(base_url=server.url + "/v1", api_key="unused", max_retries=0, timeout=180)


@pytest.fixture(scope="module")
def model(client):
    return client.models.list().data[0].id


def test_completion(client, model):
    answer = client.completions.create(model=model, prompt=PROMPT, max_tokens=8, temperature=0)
    assert "Paris" in answer.choices[0].text
    assert answer.usage.total_tokens == answer.usage.prompt_tokens + answer.usage.completion_tokens


def test_streamed_completion(client, model):
    whole = client.completions.create(model=model, prompt=PROMPT, max_tokens=24, temperature=0)
    chunks = list(client.completions.create(model=model, prompt=PROMPT, max_tokens=24, temperature=0, stream=True))
    assert "".join(chunk.choices[0].text for chunk in chunks) == whole.choices[0].text
    assert chunks[-1].choices[0].finish_reason == whole.choices[0].finish_reason


def test_chat(client, model):
    answer = client.chat.completions.create(model=model, messages=MESSAGES, max_tokens=40, temperature=0)
    assert answer.choices[0].message.role == "assistant"
    assert "Paris" in answer.choices[0].message.content


def test_streamed_chat_with_usage(client, model):
    whole = client.chat.completions.create(model=model, messages=MESSAGES, max_tokens=40, temperature=0)
    text, usage = "", None
    for chunk in client.chat.completions.create(model=model, messages=MESSAGES, max_tokens=40, temperature=0,
                                                stream=True, stream_options={"include_usage": True}):
        usage = chunk.usage or usage
        if chunk.choices:
            text += chunk.choices[0].delta.content or ""
    assert text == whole.choices[0].message.content
    assert usage.completion_tokens == whole.usage.completion_tokens


def test_chat_logprobs(client, model):
    answer = client.chat.completions.create(model=model, messages=MESSAGES, max_tokens=5, temperature=0,
                                            logprobs=True, top_logprobs=2)
    content = answer.choices[0].logprobs.content
    assert "".join(entry.token for entry in content) == answer.choices[0].message.content
    assert all(len(entry.top_logprobs) == 2 for entry in content)


def test_errors_become_the_librarys_exceptions(client, model):
    with pytest.raises(openai.BadRequestError) as error:
        client.completions.create(model=model, prompt=PROMPT, max_tokens=-1)
    assert "max_tokens" in str(error.value)
    with pytest.raises(openai.NotFoundError):
        client.completions.create(model="no-such-model", prompt=PROMPT)


def test_n_answers_repeat_with_their_seed(client, model):
    def ask():
        return client.chat.completions.create(model=model, messages=MESSAGES, n=3, seed=11, temperature=1, max_tokens=12)

    texts = [choice.message.content for choice in ask().choices]
    assert [choice.index for choice in ask().choices] == [0, 1, 2]
    assert texts == [choice.message.content for choice in ask().choices] and len(set(texts)) > 1


def test_stop_ends_the_text_before_the_string(client, model):
    answer = client.completions.create(model=model, prompt="1, 2, 3, 4, 5,", stop=[" 8", "never"], max_tokens=40, temperature=0)
    assert answer.choices[0].finish_reason == "stop" and answer.choices[0].text == " 6, 7,"


def test_completion_logprobs(client, model):
    answer = client.completions.create(model=model, prompt=PROMPT, max_tokens=5, temperature=0, logprobs=2)
    logprobs = answer.choices[0].logprobs
    assert "".join(logprobs.tokens) == answer.choices[0].text
    assert all(value <= 0 for value in logprobs.token_logprobs) and all(len(top) == 2 for top in logprobs.top_logprobs)


def test_json_object(client, model):
    answer = client.chat.completions.create(model=model, messages=[{"role": "user", "content": "Describe a cat as JSON."}],
                                            response_format={"type": "json_object"}, max_tokens=300, temperature=0)
    choice = answer.choices[0]
    assert choice.finish_reason == "length" or isinstance(json.loads(choice.message.content), dict)
    assert choice.message.content.lstrip().startswith("{")


def test_json_schema_also_streamed(client, model):
    request = {"model": model, "messages": [{"role": "user", "content": "Describe Paris."}], "max_tokens": 200, "temperature": 0,
               "response_format": {"type": "json_schema", "json_schema": {"name": "city", "schema": CITY, "strict": True}}}
    choice = client.chat.completions.create(**request).choices[0]
    city = json.loads(choice.message.content)
    assert choice.finish_reason == "stop" and set(city) == {"name", "inhabitants", "continent"}
    assert isinstance(city["inhabitants"], int) and city["continent"] in CITY["properties"]["continent"]["enum"]
    chunks = client.chat.completions.create(**request, stream=True)
    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices) == choice.message.content


def test_json_schema_for_a_completion(client, model):
    answer = client.completions.create(model=model, prompt="Paris as JSON: ", max_tokens=200, temperature=0, extra_body={
        "response_format": {"type": "json_schema", "json_schema": {"name": "city", "schema": CITY}}})
    assert answer.choices[0].finish_reason == "stop" and "continent" in json.loads(answer.choices[0].text)


def test_the_parse_helper_gives_a_pydantic_object(client, model):
    import pydantic

    class City(pydantic.BaseModel):
        name: str = pydantic.Field(max_length=30)
        inhabitants: int

    answer = client.chat.completions.parse(model=model, messages=[{"role": "user", "content": "Describe Paris."}], response_format=City,
                                           max_tokens=200, temperature=0)
    assert isinstance(answer.choices[0].message.parsed, City)


def check_weather_call(call):
    assert call.type == "function" and call.function.name == "get_weather" and call.id
    arguments = json.loads(call.function.arguments)
    assert set(arguments) == {"city", "unit"} and arguments["unit"] in ("celsius", "fahrenheit")


@pytest.mark.parametrize("choice", ["required", {"type": "function", "function": {"name": "get_weather"}}], ids=["required", "named"])
def test_a_tool_that_must_be_called_is(client, model, choice):
    tools = [WEATHER] if choice == "required" else [TIME, WEATHER]
    answer = client.chat.completions.create(model=model, messages=[{"role": "user", "content": "What is the weather in Paris?"}],
                                            tools=tools, tool_choice=choice, parallel_tool_calls=False, max_tokens=200, temperature=0)
    (call,) = answer.choices[0].message.tool_calls
    check_weather_call(call)
    assert answer.choices[0].finish_reason in ("tool_calls", "stop")


def test_streamed_tool_calls_add_up_to_the_whole(client, model):
    request = {"model": model, "messages": [{"role": "user", "content": "What is the weather in Paris?"}], "tools": [WEATHER],
               "tool_choice": "required", "parallel_tool_calls": False, "max_tokens": 200, "temperature": 0}
    whole = client.chat.completions.create(**request).choices[0].message.tool_calls
    calls, reason = {}, None
    for chunk in client.chat.completions.create(**request, stream=True):
        for choice in chunk.choices:
            reason = choice.finish_reason or reason
            for delta in choice.delta.tool_calls or []:
                call = calls.setdefault(delta.index, {"id": "", "name": "", "arguments": ""})
                call["id"] += delta.id or ""
                call["name"] += delta.function.name or ""
                call["arguments"] += delta.function.arguments or ""
    assert [(c["name"], c["arguments"]) for c in calls.values()] == [(c.function.name, c.function.arguments) for c in whole]
    assert all(call["id"] for call in calls.values()) and reason == "tool_calls"


def test_a_tools_answer_goes_back_into_the_conversation(client, model):
    messages = [{"role": "user", "content": "What is the weather in Paris?"}]
    answer = client.chat.completions.create(model=model, messages=messages, tools=[WEATHER], tool_choice="required",
                                            parallel_tool_calls=False, max_tokens=200, temperature=0)
    messages += [answer.choices[0].message.model_dump(exclude_none=True),
                 {"role": "tool", "tool_call_id": answer.choices[0].message.tool_calls[0].id, "content": '{"degrees": 21}'}]
    last = client.chat.completions.create(model=model, messages=messages, tools=[WEATHER], tool_choice="none", max_tokens=20, temperature=0)
    assert last.choices[0].message.content and not last.choices[0].message.tool_calls


def test_a_stored_completion_can_be_come_back_to(client, model):
    made = client.chat.completions.create(model=model, messages=MESSAGES, max_tokens=8, temperature=0, store=True, metadata={"run": "stored"})
    assert client.chat.completions.retrieve(made.id).choices[0].message.content == made.choices[0].message.content
    assert [c.id for c in client.chat.completions.list(metadata={"run": "stored"})] == [made.id]
    assert [m.content for m in client.chat.completions.messages.list(made.id)] == [m["content"] for m in MESSAGES]
    assert client.chat.completions.update(made.id, metadata={"run": "renamed"}).metadata == {"run": "renamed"}
    assert client.chat.completions.delete(made.id).deleted
    with pytest.raises(openai.NotFoundError):
        client.chat.completions.retrieve(made.id)


def test_a_response(client, model):
    answer = client.responses.create(model=model, input="Name the capital of France.", max_output_tokens=40, temperature=0)
    assert "Paris" in answer.output_text and answer.status == "completed"
    assert answer.usage.total_tokens == answer.usage.input_tokens + answer.usage.output_tokens
    same = client.responses.create(model=model, input=MESSAGES, max_output_tokens=40, temperature=0)
    assert same.output_text == answer.output_text


def test_a_streamed_response(client, model):
    whole = client.responses.create(model=model, input=MESSAGES, instructions="Answer in one word.", max_output_tokens=40, temperature=0)
    events = list(client.responses.create(model=model, input=MESSAGES, instructions="Answer in one word.", max_output_tokens=40, temperature=0,
                                          stream=True))
    assert "".join(event.delta for event in events if event.type == "response.output_text.delta") == whole.output_text
    assert events[0].type == "response.created" and events[-1].type == "response.completed"
    assert events[-1].response.output_text == whole.output_text
