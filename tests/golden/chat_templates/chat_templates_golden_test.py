"""Prompts by our evaluator of chat templates against Jinja2. The bar is no difference at all: the same text, or both refuse."""
import json
import pathlib
import random
import subprocess

import conversations
import jinja_reference
import pytest
import snippets

SEED = 20241127
TOKENS = {"bos_token": "<s>", "eos_token": "</s>", "pad_token": "<pad>", "unk_token": "<unk>"}
# The templates that get every conversation, at least one of each family.
FAMILIES = {
    "Qwen2.5": ["Qwen-Qwen2.5-7B-Instruct", "Qwen-Qwen2.5-Math-1.5B-Instruct", "Qwen-Qwen2.5-VL-7B-Instruct", "Qwen-QwQ-32B"],
    "Qwen3": ["Qwen-Qwen3-0.6B", "Qwen-Qwen3-4B-Thinking-2507", "Qwen-Qwen3-Coder-30B-A3B-Instruct", "Qwen-Qwen3.5-0.8B"],
    "Llama": ["NousResearch-Meta-Llama-3-8B-Instruct", "meta-llama-Llama-3.1-8B-Instruct", "meta-llama-Llama-3.2-3B-Instruct"],
    "Mistral": ["mistralai-Mistral-7B-Instruct-v0.2", "mistralai-Mistral-7B-Instruct-v0.3", "mistralai-Mistral-Nemo-Instruct-2407",
                "mistralai-Mistral-Small-24B-Instruct-2501", "mistralai-Ministral-3-8B-Instruct-2512"],
    "Gemma": ["google-gemma-2-2b-it", "unsloth-gemma-3-270m-it", "google-gemma-4-E4B-it"],
    "Phi": ["microsoft-Phi-3-mini-4k-instruct", "microsoft-Phi-3.5-mini-instruct", "microsoft-phi-4", "microsoft-Phi-4-mini-reasoning"],
    "DeepSeek": ["deepseek-ai-DeepSeek-V2-Lite-Chat", "deepseek-ai-DeepSeek-V2.5", "deepseek-ai-DeepSeek-R1-Distill-Qwen-32B",
                 "deepseek-ai-DeepSeek-V3.1", "deepseek-ai-DeepSeek-V3.2"],
    "SmolLM": ["HuggingFaceTB-SmolLM2-135M-Instruct", "HuggingFaceTB-SmolLM3-3B"],
    "Granite": ["ibm-granite-granite-3.1-8b-instruct", "ibm-granite-granite-3.3-2B-Instruct", "ibm-granite-granite-4.0"],
    "Command": ["CohereForAI-c4ai-command-r-plus-tool_use", "CohereForAI-c4ai-command-r7b-12-2024-tool_use"],
    "Hermes": ["NousResearch-Hermes-2-Pro-Llama-3-8B-tool_use", "NousResearch-Hermes-4-14B"],
    "Yi": ["01-ai-Yi-1.5-9B-Chat", "01-ai-Yi-Coder-9B-Chat"],
    "OLMo": ["allenai-OLMoE-1B-7B-0125-Instruct", "allenai-Olmo-3-7B-Instruct"],
    "Falcon": ["tiiuae-Falcon3-7B-Instruct", "tiiuae-Falcon-H1-0.5B-Instruct"],
    "GLM": ["zai-org-GLM-4-9B-0414", "zai-org-GLM-4.5-Air"],
    "Kimi": ["moonshotai-Kimi-K2-Instruct-0905", "moonshotai-Kimi-K2.5"],
    "EXAONE": ["LGAI-EXAONE-EXAONE-3.5-7.8B-Instruct", "LGAI-EXAONE-EXAONE-4.0-32B"],
    "gpt-oss": ["openai-gpt-oss-120b"],
    "Nemotron": ["nvidia-Llama-3_3-Nemotron-Super-49B-v1_5", "nvidia-NVIDIA-Nemotron-Nano-9B-v2-Japanese"],
    "InternLM": ["internlm-internlm2_5-7b-chat"],
    "MiniCPM": ["openbmb-MiniCPM5-1B"],
}
# Jinja2 prints an address, a debugging text or nothing of use here, or calculates with numbers beyond 64 bits; we refuse.
ONLY_OURS_REFUSES = {"{{ d.items }}", "{{ big > 3 }}", "{{ list | select('odd') }}", "{{ n.real }}",
                     "{% for x in list %}{{ loop }}{% endfor %}", "{% block x %}{% endblock %}"}


def differences(requests: list[tuple[str, list[dict]]], labels: list[tuple[str, list[str]]]) -> tuple[list, int]:
    """Where ours is not Jinja2's, and how many texts were compared."""
    found, num_texts = [], 0
    for (template, variables), (_, answers), (name, cases) in zip(requests, jinja_reference.ours_all(requests), labels, strict=True):
        for case, expected, answer in zip(cases, jinja_reference.render_all(template, variables), answers, strict=True):
            assert ("error" in answer) != ("text" in answer)
            num_texts += expected is not None
            if answer.get("text") != expected:
                found.append((name, case, expected, answer))
    return found, num_texts


def test_single_constructs():
    templates = snippets.templates()
    requests = [(template, [snippets.VARIABLES]) for template in templates]
    found, num_texts = differences(requests, [(template, [""]) for template in templates])
    unexpected = [entry for entry in found if entry[0] not in ONLY_OURS_REFUSES]
    assert not unexpected, f"{len(unexpected)} differ; the first: {unexpected[0]}"
    assert {name for name, *_ in found} == ONLY_OURS_REFUSES
    assert all("error" in answer for *_, answer in found)
    assert num_texts > 500


def test_templates_of_many_models():
    """The named families with all conversations, and hundreds of other templates with a few each."""
    rng = random.Random(SEED)
    cases = [(name, {**variables, **TOKENS}) for name, variables in conversations.cases()]
    named = {name for names in FAMILIES.values() for name in names}
    requests, labels = [], []
    for name, template in jinja_reference.templates().items():
        chosen = cases if name in named else rng.sample(cases, 6)
        requests.append((template, [variables for _, variables in chosen]))
        labels.append((name, [case for case, _ in chosen]))
    found, num_texts = differences(requests, labels)
    assert not found, f"{len(found)} differ; the first: {found[0]}"
    assert num_texts > 5000


@pytest.mark.parametrize("family", FAMILIES)
def test_a_family_answers_a_user(family):
    """That the comparison above compares prompts and not refusals."""
    cases = dict(conversations.cases())
    variables = [{**cases[case], **TOKENS} for case in ("user", "tools/True")]
    requests = [(jinja_reference.templates()[name], variables) for name in FAMILIES[family]]
    for parsed, (plain, with_tools) in jinja_reference.ours_all(requests):
        assert parsed == {}
        # Some templates are for tools alone.
        assert "Hello" in plain.get("text", "") or "Zürich" in with_tools["text"]


def test_errors_name_line_and_construct():
    [(parsed, _)] = jinja_reference.ours_all([("a\n{% if x %}\n{{ y | rot13 }}{% endif %}\n{{ z | rot14 }}", [])])
    assert parsed["error"] == "line 4: the filter 'rot14' is not supported"
    [(_, [answer])] = jinja_reference.ours_all([("a\n{% if x %}\n{{ y | rot13 }}{% endif %}", [{"x": 1}])])
    assert answer["error"] == "line 3: the filter 'rot13' is not supported"


# The tokenizer as a whole: conversations as our service gets them.

CONTINUED = "CONTINUE_FINAL_MESSAGE_TAG "


def apply_chat_template(template: str, messages: list[dict], continue_final_message: bool, **variables) -> str | None:
    """As transformers' method of that name; None where it fails."""
    final = messages[-1]["content"]
    if continue_final_message:
        messages = [*messages[:-1], dict(messages[-1], content=final + CONTINUED)]
    text, = jinja_reference.render_all(template, [dict(variables, messages=messages, documents=None)])
    if text is None or not continue_final_message:
        return text
    if final.strip() not in text or CONTINUED.strip() not in text:
        return None
    at = text.rindex(CONTINUED.strip())
    return text[:at] if text[at:].startswith(CONTINUED) else text[:at].rstrip()


def as_service_request(messages: list[dict], tools: list[dict] | None, **more) -> dict:
    sent = []
    for message in messages:
        message = dict(message, content=message["content"] or "")
        if "tool_calls" in message:
            message["tool_calls"] = [{"id": c["id"], "name": c["function"]["name"], "arguments": json.dumps(c["function"]["arguments"])}
                                     for c in message["tool_calls"]]
        sent.append(message)
    return {"chat": {"messages": sent, "tools": [json.dumps(tool) for tool in tools or []], **more}}


CHATS = [("user", False), ("system_turns", False), ("ends_with_assistant", True), ("thought", True), ("tools/True", False), ("called/True", False),
         ("called_and_answered/True", False)]


@pytest.mark.parametrize("name", ["Qwen-Qwen2.5-7B-Instruct", "Qwen-Qwen3-0.6B", "meta-llama-Llama-3.1-8B-Instruct", "mistralai-Mistral-Nemo-Instruct-2407",
                                  "google-gemma-2-2b-it", "microsoft-phi-4", "deepseek-ai-DeepSeek-V2-Lite-Chat", "zai-org-GLM-4.5-Air",
                                  "ibm-granite-granite-3.0-8b-instruct", "NousResearch-Hermes-4-14B", "01-ai-Yi-1.5-9B-Chat", "allenai-Olmo-3-7B-Instruct"])
def test_conversations_of_a_model(name, tmp_path):
    template = jinja_reference.templates()[name]
    assert "strftime_now" not in template or "date_string" in template, "the service tells the real time"
    cases, requests, expected = dict(conversations.cases()), [], []
    kwargs = {"enable_thinking": False, "date_string": "26 Jul 2024"}
    for case, continues in CHATS:
        messages, tools = cases[case]["messages"], cases[case]["tools"]
        requests.append(as_service_request(messages, tools, continue_final_message=continues, add_generation_prompt=not continues,
                                           template_kwargs=json.dumps(kwargs)))
        expected.append(apply_chat_template(template, messages, continues, tools=tools, add_generation_prompt=not continues, bos_token="<s>",
                                            eos_token="</s>", **kwargs))
    answers = ask_model(tmp_path, template, requests)
    assert [answer.get("text") for answer in answers] == expected, answers
    assert any(text is not None for text in expected)


@pytest.mark.parametrize("name", ["deepseek-ai-DeepSeek-V2.5", "deepseek-ai-DeepSeek-R1-Distill-Llama-8B"])
def test_templates_that_want_calls_without_content_and_with_arguments_as_text(name, tmp_path):
    template = jinja_reference.templates()[name]
    request = as_service_request(conversations.CALLED, None)
    answer, = ask_model(tmp_path, template, [request])
    messages = json.loads(json.dumps(conversations.CALLED))
    messages[1]["content"] = None
    messages[1]["tool_calls"][0]["function"]["arguments"] = request["chat"]["messages"][1]["tool_calls"][0]["arguments"]
    assert "get_weather" in answer["text"]
    assert answer["text"] == apply_chat_template(template, messages, False, tools=None, add_generation_prompt=True, bos_token="<s>", eos_token="</s>")


def test_a_template_of_the_client(tmp_path):
    """It replaces the model's own, and knows its special tokens and the documents."""
    template = "{{ bos_token }}{% for d in documents %}{{ d.title }}{% endfor %}{{ messages[0].content }}"
    request = as_service_request([conversations.user("x")], None, chat_template=template, documents=['{"title": "T"}'])
    plain, bad = as_service_request([conversations.user("x")], None), as_service_request([conversations.user("x")], None, chat_template="{% if")
    answers = ask_model(tmp_path, "own {{ messages[0].content }}", [request, plain, bad])
    assert [answer.get("text") for answer in answers] == ["<s>Tx", "own x", None]
    assert "INVALID_ARGUMENT: chat_template: line 1" in answers[2]["error"]


def ask_model(folder: pathlib.Path, template: str, requests: list[dict]) -> list[dict]:
    """The answers of a small tokenizer with that template."""
    (folder / "tokenizer.json").write_text(SMALL_TOKENIZER)
    (folder / "tokenizer_config.json").write_text(json.dumps({"chat_template": template, "bos_token": "<s>", "eos_token": {"content": "</s>"}}))
    lines = "\n".join(json.dumps(request) for request in requests) + "\n"
    done = subprocess.run([jinja_reference.binary("tokenizer_tool"), str(folder)], input=lines.encode(), capture_output=True)
    assert done.returncode == 0, done.stderr.decode()
    return [json.loads(line) for line in done.stdout.decode().splitlines()]


SMALL_TOKENIZER = json.dumps({
    "model": {"type": "BPE", "vocab": {"a": 0, "b": 1}, "merges": []}, "added_tokens": [{"id": 2, "content": "<s>", "special": True}, {"id": 3, "content": "</s>", "special": True}],
    "pre_tokenizer": {"type": "ByteLevel", "add_prefix_space": False, "use_regex": True}, "decoder": {"type": "ByteLevel"}})
