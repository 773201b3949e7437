"""Ids, texts and chat prompts against the reference library and Jinja2. The bar is no difference at all."""
import functools
import json
import random

import corpus
import gguf
import pytest
import reference

SEED = 20240917
NUM_LINES = 24_000
MODELS = {"qwen2.5": (reference.QWEN, reference.qwen), "smollm2": (reference.SMOLLM, reference.smollm)}
both = pytest.mark.parametrize("name", MODELS)


def added_tokens(tokenizer) -> list[str]:
    return [token.content for token in tokenizer.get_added_tokens_decoder().values()]


def assert_same_ids(name: str, texts: list[str]):
    model, make = MODELS[name]
    expected = make().encode_batch(texts)
    answers = reference.ask(model, [{"encode": text} for text in texts])
    assert len(answers) == len(texts)
    wrong = [(t, a, e.ids) for t, a, e in zip(texts, answers, expected) if a.get("ids") != e.ids]
    assert not wrong, f"{len(wrong)} of {len(texts)} texts differ; the first: {wrong[0]!r}"


@both
def test_mixed_text_in_thirty_languages(name):
    assert len(corpus.LANGUAGES) >= 30
    assert_same_ids(name, corpus.lines(NUM_LINES, SEED, added_tokens(MODELS[name][1]())))


@both
def test_random_unicode(name):
    assert_same_ids(name, corpus.random_unicode(20_000, SEED + 1))


@both
def test_every_code_point(name):
    assert_same_ids(name, corpus.every_code_point())


@both
def test_long_words(name):
    """Words far beyond what the fast path takes: runs, and random letters without a space."""
    rng = random.Random(SEED + 2)
    texts = [c * n for c in ("a", " ", "\n", "!", "中", "😀", "é", "1", "\t", "ab", "the", " \n", "=-") for n in (48, 49, 1000, 4097)]
    for alphabet in ("abcdefghij", "etaoinshrdlu", "的一是不了在人有我他这中大来上国个到说们", "=-+*/<>", "아가나다라마바사", " \t"):
        texts += ["".join(rng.choice(alphabet) for _ in range(rng.randint(40, 3000))) for _ in range(40)]
    assert_same_ids(name, texts)


@both
def test_decode(name):
    """Random ids, so that most bytes between them form no character."""
    model, make = MODELS[name]
    tokenizer = make()
    rng = random.Random(SEED + 3)
    known = sorted(tokenizer.get_vocab(with_added_tokens=True).values())
    short = [i for i in known if len(tokenizer.id_to_token(i)) <= 2]
    special = list(tokenizer.get_added_tokens_decoder())
    texts = corpus.lines(2_000, SEED + 4, added_tokens(tokenizer))
    id_lists = [encoding.ids for encoding in tokenizer.encode_batch(texts)]
    for _ in range(4_000):
        pool = rng.choice((known, short, short, short + special * 3))
        id_lists.append([rng.choice(pool) for _ in range(rng.randint(0, 40))])
    for skip in (False, True):
        expected = [tokenizer.decode(ids, skip_special_tokens=skip) for ids in id_lists]
        answers = reference.ask(model, [{"decode": ids, "skip": skip} for ids in id_lists])
        assert [a["text"] for a in answers] == expected
        requests = [{"increments": cut(rng, ids), "skip": skip} for ids in id_lists]
        answers = reference.ask(model, requests)
        assert ["".join(a["texts"]) for a in answers] == expected


@functools.cache
def byte_alphabet() -> dict[str, int]:
    """GPT-2's alphabet: the character that each byte is written as in vocabularies."""
    plain = [*range(ord("!"), ord("~") + 1), *range(ord("¡"), ord("¬") + 1), *range(ord("®"), ord("ÿ") + 1)]
    others = [byte for byte in range(256) if byte not in plain]
    return {chr(byte): byte for byte in plain} | {chr(256 + i): byte for i, byte in enumerate(others)}


def bytes_of(token: str) -> bytes:
    return bytes(byte_alphabet()[c] for c in token)


@both
def test_bytes_of_every_token(name):
    """What grammars are built on: the exact bytes of each id, and which ids no text contains."""
    model, make = MODELS[name]
    tokenizer = make()
    added = tokenizer.get_added_tokens_decoder()
    ids = sorted(tokenizer.get_vocab(with_added_tokens=True).values())
    expected = [[added[i].content.encode().hex(), added[i].special] if i in added else [bytes_of(tokenizer.id_to_token(i)).hex(), False]
                for i in ids]
    answer = reference.ask(model, [{"pieces": ids}])[0]
    assert answer["pieces"] == expected


def cut(rng: random.Random, ids: list[int]) -> list[list[int]]:
    """`ids` as a stream of steps, some of them empty."""
    steps, at = [], 0
    while at < len(ids):
        size = rng.choice((0, 1, 1, 1, 2, 5))
        steps.append(ids[at:at + size])
        at += size
    return steps + [[]]


def random_json(rng: random.Random, depth: int = 0):
    kind = rng.randrange(8 if depth < 3 else 6)
    if kind == 0:
        return rng.choice((0, -1, 7, 10**18, -10**30, rng.randint(-1000, 1000)))
    if kind == 1:
        return rng.choice((0.0, -0.0, 1.0, 0.1, 1e16, 1e15, 1.5e300, 1e-4, 1e-5, 1e22, 5e-324, 123456.789, rng.uniform(-1e9, 1e9),
                           rng.random() * 10.0 ** rng.randint(-30, 30)))
    if kind == 2:
        return rng.choice((True, False, None))
    if kind in (3, 4, 5):
        return random_text(rng)
    if kind == 6:
        return [random_json(rng, depth + 1) for _ in range(rng.randint(0, 4))]
    return {random_text(rng): random_json(rng, depth + 1) for _ in range(rng.randint(0, 4))}


def random_text(rng: random.Random) -> str:
    pieces = ["hello", "Wetter", "天气", "😀", "\n", "\t", "\"", "\\", "/", "<|im_end|>", "{", "}", "'", "\x01", "\x7f", "é", "<b>&amp;",
              "\u2028", " ", "{{ x }}", "{% raw %}", "\r\n", "\x1f", "\b\f"]
    return "".join(rng.choice(pieces) for _ in range(rng.randint(0, 5)))


def random_tool(rng: random.Random) -> dict:
    return {"type": "function", "function": {"name": rng.choice(("get_weather", "суммировать", "search")),
                                             "description": random_text(rng), "parameters": random_json(rng)}}


def random_chat(rng: random.Random) -> dict:
    messages = []
    if rng.random() < 0.5:
        messages.append({"role": "system", "content": random_text(rng)})
    for _ in range(rng.randint(0 if messages else 1, 8)):
        role = rng.choice(("user", "assistant", "assistant", "tool", "tool", "system"))
        message = {"role": role, "content": random_text(rng)}
        if role == "assistant" and rng.random() < 0.6:
            message["tool_calls"] = [{"name": rng.choice(("get_weather", "f")), "arguments": random_json(rng)}
                                     for _ in range(rng.randint(0, 3))]
        messages.append(message)
    return {"messages": messages, "tools": [random_tool(rng) for _ in range(rng.choice((0, 0, 1, 2, 3)))],
            "add_generation_prompt": rng.random() < 0.7}


def as_request(rng: random.Random, chat: dict) -> dict:
    """What our service gets: JSON values as texts, spelled in various ways."""
    def spell(value):
        return json.dumps(value, ensure_ascii=rng.random() < 0.5, indent=rng.choice((None, None, 2)))

    messages = [dict(message, tool_calls=[dict(call, arguments=spell(call["arguments"])) for call in message.get("tool_calls", [])])
                for message in chat["messages"]]
    return {"chat": dict(chat, messages=messages, tools=[spell(tool) for tool in chat["tools"]])}


@pytest.mark.parametrize("name,template", [("qwen2.5", reference.qwen_template), ("smollm2", reference.smollm_template)])
def test_chat_prompts(name, template):
    rng = random.Random(SEED + 5)
    chats = [random_chat(rng) for _ in range(3_000)]
    answers = reference.ask(MODELS[name][0], [as_request(rng, chat) for chat in chats])
    for chat, answer in zip(chats, answers):
        # The usual shape of a call in a conversation, one level deeper than the template's own.
        messages = [dict(m, tool_calls=[{"type": "function", "function": c} for c in m["tool_calls"]]) if m.get("tool_calls") else m
                    for m in chat["messages"]]
        assert answer.get("text") == reference.render(template(), messages=messages, tools=chat["tools"] or None,
                                                      add_generation_prompt=chat["add_generation_prompt"]), chat


def test_marks_of_the_middle():
    vocabulary = reference.qwen().get_vocab()
    expected = [vocabulary[f"<|fim_{part}|>"] for part in ("prefix", "suffix", "middle")]
    assert reference.ask(reference.QWEN, [{"info": True}])[0]["fill_in_middle"] == expected
    assert reference.ask(reference.SMOLLM, [{"info": True}])[0]["fill_in_middle"] is None


def test_chat_prompts_of_the_base_models(tmp_path):
    """Qwen2.5's base models have the same template with another default prompt."""
    default = "You are Qwen, created by Alibaba Cloud. You are a helpful assistant."
    template = reference.qwen_template().replace(default, "You are a helpful assistant.")
    (tmp_path / "tokenizer.json").symlink_to(reference.QWEN / "tokenizer.json")
    (tmp_path / "tokenizer_config.json").write_text(json.dumps({"chat_template": template}))
    rng = random.Random(SEED + 6)
    chats = [random_chat(rng) for _ in range(100)]
    answers = reference.ask(tmp_path, [as_request(rng, chat) for chat in chats])
    for chat, answer in zip(chats, answers):
        assert answer.get("text") == reference.render(template, **dict(chat, tools=chat["tools"] or None)), chat


def test_qwen_vocabulary_inside_a_gguf(tmp_path):
    """The same vocabulary as llama.cpp's converter writes it, padded to the size of the logits."""
    tokenizer = reference.qwen()
    added = tokenizer.get_added_tokens_decoder()
    tokens = {i: token for token, i in tokenizer.get_vocab(with_added_tokens=True).items()}
    writer = gguf.GGUFWriter(tmp_path / "qwen.gguf", "qwen2")
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("qwen2")
    writer.add_token_list([tokens.get(i, f"[PAD{i}]") for i in range(151_936)])
    writer.add_token_types([(3 if added[i].special else 4) if i in added else 1 if i in tokens else 5 for i in range(151_936)])
    writer.add_token_merges([" ".join(m) for m in json.loads(tokenizer.to_str())["model"]["merges"]])
    writer.add_eos_token_id(151_645)
    writer.add_chat_template(reference.qwen_template())
    for write in (writer.write_header_to_file, writer.write_kv_data_to_file, writer.write_tensors_to_file, writer.close):
        write()
    texts = corpus.lines(2_000, SEED + 7, added_tokens(tokenizer))
    answers = reference.ask(tmp_path / "qwen.gguf", [{"info": True}] + [{"encode": text} for text in texts])
    assert answers[0]["vocab_size"] == 151_665 and answers[0]["chat_template"] == "OK"
    assert [a["ids"] for a in answers[1:]] == [e.ids for e in tokenizer.encode_batch(texts)]
