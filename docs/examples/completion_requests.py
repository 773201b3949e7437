"""A completion over HTTP with nothing but `requests`: whole, then streamed.

pip install requests
"""

import json
import os

import requests

URL = os.environ.get("QUARTET_HTTP", "http://localhost:8080")

answer = requests.post(f"{URL}/v1/completions", json={"prompt": "The capital of France is", "max_tokens": 16, "temperature": 0}, timeout=60)
answer.raise_for_status()
print(answer.json()["choices"][0]["text"])

# Server-sent events: lines that begin with "data: ", the last of them [DONE]. A stream that broke ends with an error and without [DONE].
with requests.post(f"{URL}/v1/completions", json={"prompt": "Once upon a time", "max_tokens": 32, "stream": True}, stream=True, timeout=60) as stream:
    stream.raise_for_status()
    for line in stream.iter_lines():
        data = line.removeprefix(b"data: ")
        if data and data != b"[DONE]":
            event = json.loads(data)
            if "error" in event:
                raise RuntimeError(event["error"]["message"])
            for choice in event["choices"]:
                print(choice["text"], end="", flush=True)
print()
