"""The Responses API through OpenAI's own library, with the small model."""

import openai
import pydantic
import pytest

INPUT = "Name the capital of France."
TOOL = {"type": "function", "name": "get_weather", "strict": True,
        "parameters": {"type": "object", "properties": {"city": {"type": "string", "maxLength": 20}}, "required": ["city"],
                       "additionalProperties": False}}


@pytest.fixture(scope="module")
def client(server):
    return openai.OpenAI(base_url=server.url + "/v1", api_key="unused", max_retries=0, timeout=180)


@pytest.fixture(scope="module")
def model(client):
    return client.models.list().data[0].id


def test_a_schema_that_cannot_be_honoured_names_text_format(server):
    schema = {"type": "object", "properties": {"a": {"not": {"type": "string"}}}, "required": ["a"], "additionalProperties": False}
    response = server.post("/v1/responses", {"input": "x", "text": {"format": {"type": "json_schema", "name": "s", "schema": schema}}})
    assert response.status_code == 400 and response.json()["error"]["param"] == "text.format", response.text


def test_create(client, model):
    response = client.responses.create(model=model, input=INPUT, temperature=0, max_output_tokens=40)
    assert "Paris" in response.output_text
    assert response.status == "completed" and response.model == model
    assert response.usage.total_tokens == response.usage.input_tokens + response.usage.output_tokens
    chat = client.chat.completions.create(model=model, messages=[{"role": "user", "content": INPUT}], temperature=0, max_tokens=40)
    assert response.output_text == chat.choices[0].message.content


def test_an_answer_that_is_cut_is_incomplete(client, model):
    response = client.responses.create(model=model, input=INPUT, temperature=0, max_output_tokens=2)
    assert response.status == "incomplete" and response.incomplete_details.reason == "max_output_tokens"


def test_stream(client, model):
    whole = client.responses.create(model=model, input=INPUT, temperature=0, max_output_tokens=40)
    events = list(client.responses.create(model=model, input=INPUT, temperature=0, max_output_tokens=40, stream=True))
    assert [event.sequence_number for event in events] == list(range(len(events)))
    assert "".join(event.delta for event in events if event.type == "response.output_text.delta") == whole.output_text
    assert events[0].type == "response.created" and events[-1].type == "response.completed"
    assert events[-1].response.output_text == whole.output_text


def test_the_librarys_stream_helper(client, model):
    with client.responses.stream(model=model, input=INPUT, temperature=0, max_output_tokens=40) as stream:
        text = "".join(event.delta for event in stream if event.type == "response.output_text.delta")
        assert stream.get_final_response().output_text == text


def test_a_conversation_goes_on(client, model):
    first = client.responses.create(model=model, input="My name is Ada.", temperature=0, max_output_tokens=30)
    second = client.responses.create(model=model, input="What is my name?", previous_response_id=first.id, temperature=0, max_output_tokens=30)
    assert second.usage.input_tokens > first.usage.total_tokens
    assert client.responses.retrieve(first.id).output_text == first.output_text
    client.responses.delete(first.id)
    with pytest.raises(openai.NotFoundError):
        client.responses.retrieve(first.id)
    with pytest.raises(openai.NotFoundError) as error:
        client.responses.create(model=model, input="x", previous_response_id=first.id)
    assert error.value.param == "previous_response_id"


def test_a_required_call(client, model):
    response = client.responses.create(model=model, input="Weather in Paris?", tools=[TOOL], tool_choice="required",
                                       parallel_tool_calls=False, max_output_tokens=100)
    call = response.output[0]
    assert call.type == "function_call" and call.name == "get_weather"
    answer = {"type": "function_call_output", "call_id": call.call_id, "output": "sunny"}
    after = client.responses.create(model=model, input=[answer], previous_response_id=response.id, max_output_tokens=20)
    assert after.output_text


def test_parse_into_a_class(client, model):
    class City(pydantic.BaseModel):
        name: str
        is_capital: bool

    response = client.responses.parse(model=model, input=INPUT, text_format=City, temperature=0, max_output_tokens=100)
    if response.status == "completed":
        assert isinstance(response.output_parsed, City)


def test_errors_become_the_librarys_exceptions(client, model):
    with pytest.raises(openai.BadRequestError) as error:
        client.responses.create(model=model, input=INPUT, truncation="auto")
    assert error.value.param == "truncation"
