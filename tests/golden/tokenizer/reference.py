"""The reference tokenizers, the models' own templates and our binary, for the golden tests and the benchmark."""
import functools
import json
import os
import pathlib
import subprocess

import jinja2
from gguf import GGUFReader
from jinja2.sandbox import ImmutableSandboxedEnvironment
from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers, pre_tokenizers

MODELS = pathlib.Path(os.environ.get("QUARTET_CACHE", pathlib.Path.home() / ".cache/quartet")) / "models"
QWEN = MODELS / "qwen2.5-tokenizer"
SMOLLM = MODELS / "SmolLM2-135M-Instruct.Q4_1.gguf"


def require(path: pathlib.Path) -> pathlib.Path:
    assert path.exists(), f"{path} is missing: run tests/run (or deploy/local/setup --tests), which fetches it"
    return path


@functools.cache
def gguf_fields() -> dict:
    fields = GGUFReader(require(SMOLLM)).fields
    return {name: field.contents() for name, field in fields.items() if name.startswith("tokenizer.")}


@functools.cache
def qwen() -> Tokenizer:
    return Tokenizer.from_file(str(require(QWEN / "tokenizer.json")))


@functools.cache
def smollm() -> Tokenizer:
    """SmolLM2's tokenizer.json put together again from the vocabulary inside the GGUF."""
    fields = gguf_fields()
    tokens, types = fields["tokenizer.ggml.tokens"], fields["tokenizer.ggml.token_type"]
    vocab = {token: i for i, token in enumerate(tokens)}
    merges = [tuple(merge.split(" ")) for merge in fields["tokenizer.ggml.merges"]]
    tokenizer = Tokenizer(models.BPE(vocab=vocab, merges=merges))
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([
        pre_tokenizers.Digits(individual_digits=True),
        pre_tokenizers.ByteLevel(add_prefix_space=False, trim_offsets=True, use_regex=True)])
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens(
        [AddedToken(t, normalized=False, special=True) for t, kind in zip(tokens, types) if kind == 3])
    return tokenizer


def smollm_with_nfc() -> Tokenizer:
    """For tests that need a normaliser on another vocabulary."""
    tokenizer = Tokenizer.from_str(smollm().to_str())
    tokenizer.normalizer = normalizers.NFC()
    return tokenizer


def qwen_template() -> str:
    return json.loads(require(QWEN / "tokenizer_config.json").read_text())["chat_template"]


def smollm_template() -> str:
    return gguf_fields()["tokenizer.chat_template"]


@functools.cache
def compiled(template: str) -> jinja2.Template:
    """As transformers sets Jinja2 up for chat templates."""
    environment = ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True,
                                                extensions=["jinja2.ext.loopcontrols"])
    environment.filters["tojson"] = lambda x: json.dumps(x, ensure_ascii=False)

    def raise_exception(message):
        raise jinja2.exceptions.TemplateError(message)

    environment.globals["raise_exception"] = raise_exception
    return environment.from_string(template)


def render(template: str, **values) -> str:
    return compiled(template).render(**values)


def binary(name: str) -> str:
    build = os.environ.get("QUARTET_BUILD_DIR", pathlib.Path(__file__).parents[3] / "build/release")
    path = pathlib.Path(build) / "tests" / name
    assert path.exists(), f"{path} is missing: build the target {name}, or set QUARTET_BUILD_DIR"
    return str(path)


def ask(model: pathlib.Path, requests: list[dict]) -> list[dict]:
    """Our answers to `requests`, from one run of tokenizer_tool."""
    text = "\n".join(json.dumps(request) for request in requests) + "\n"
    done = subprocess.run([binary("tokenizer_tool"), str(model)], input=text.encode(), capture_output=True)
    assert done.returncode == 0, done.stderr.decode()
    return [json.loads(line) for line in done.stdout.decode().split("\n") if line]
