"""A conversation through OpenAI's library: streamed text, an answer that fits a JSON Schema, a tool call.

pip install openai
"""

import json
import os

from openai import OpenAI

client = OpenAI(base_url=os.environ.get("QUARTET_HTTP", "http://localhost:8080") + "/v1", api_key="unused")
model = client.models.list().data[0].id

for chunk in client.chat.completions.create(
        model=model, messages=[{"role": "user", "content": "Name three primary colours."}], max_tokens=60, stream=True):
    print(chunk.choices[0].delta.content or "", end="", flush=True)
print()

schema = {
    "type": "object",
    "properties": {"name": {"type": "string", "maxLength": 40}, "inhabitants": {"type": "integer"}},
    "required": ["name", "inhabitants"],
    "additionalProperties": False,
}
answer = client.chat.completions.create(
    model=model, messages=[{"role": "user", "content": "Describe Paris."}], max_tokens=200,
    response_format={"type": "json_schema", "json_schema": {"name": "city", "schema": schema, "strict": True}})
if answer.choices[0].finish_reason == "stop":  # "length": max_tokens cut the JSON short
    print(json.loads(answer.choices[0].message.content))

weather = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": "Tells the weather in a city",
        "parameters": {"type": "object", "properties": {"city": {"type": "string", "maxLength": 40}}, "required": ["city"]},
    },
}
answer = client.chat.completions.create(
    model=model, messages=[{"role": "user", "content": "What is the weather in Paris?"}], tools=[weather], tool_choice="required",
    parallel_tool_calls=False, max_tokens=200)
for call in answer.choices[0].message.tool_calls or []:
    print(call.function.name, call.function.arguments)
