#!/usr/bin/env python3
"""Makes the reference data of the golden models: logits that `transformers` computes in float32 on the CPU.

    python3 -m venv /tmp/reference && /tmp/reference/bin/pip install numpy==2.4.6 torch==2.15.0 transformers==5.23.0
    /tmp/reference/bin/python tests/golden/model/make_reference.py [NAME ...]

Needed only when models.json changes; the tests themselves need no Python. For each model NAME.bin is written (little endian):

    char[8]     magic "QGOLDEN1"
    uint64      checksum of all weights (weights_checksum)
    int32[5]    num_prompts P, num_reference R, vocab_size V, num_samples S, num_projections J
    int32[P]    prompt lengths
    int32[...]  prompt ids, one prompt after another
    int32[P,R]  reference ids: drawn from the model's own distribution
    then for each of the P * R positions n (prompt p, token r: n = p * R + r), the logits after the prompt and r reference tokens:
    int32[2]    ids of the largest and the second largest logit
    float32[2]  their logits
    float32[1]  standard deviation of all V logits
    float32[S]  logits of the ids sample_ids(n): other ids at each position, so that each is seen many times
    float32[J]  projections sum_v sign(j, v) * logit_v: an error in any one logit stands in all J of them at full size, and
                errors in several logits cancel in all J with a probability of 2^-J a position

Weights: tests/golden/golden_weights.h has the generator in C++ and says how it works; this is its twin.
"""
import argparse
import json
import math
import pathlib
import struct

import numpy as np

FOLDER = pathlib.Path(__file__).parent
GOLDEN = np.uint64(0x9E3779B97F4A7C15)
NUM_REFERENCE = 64
NUM_SAMPLES = 16
NUM_PROJECTIONS = 8
CHUNK = 1 << 22


def fnv1a64(text: str) -> int:
    value = 14695981039346656037
    for byte in text.encode():
        value = ((value ^ byte) * 1099511628211) & 0xFFFFFFFFFFFFFFFF
    return value


def splitmix64(x: np.ndarray) -> np.ndarray:
    x = x + GOLDEN
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return x ^ (x >> np.uint64(31))


def counter_values(name: str, seed: int, first: int, count: int) -> np.ndarray:
    counters = np.arange(first, first + count, dtype=np.uint64)
    return splitmix64(np.uint64(fnv1a64(name) ^ seed) + counters * GOLDEN)


def golden_bits(name: str, seed: int, first: int, count: int, scale: float, offset: float) -> np.ndarray:
    """bf16 values as uint16."""
    unit = (counter_values(name, seed, first, count) >> np.uint64(40)).astype(np.float64) * 2.0**-24
    value = (unit - 0.5) * 2 * scale + offset
    bits = value.astype(np.float32).view(np.uint32)
    return ((bits + np.uint32(0x7FFF) + ((bits >> np.uint32(16)) & np.uint32(1))) >> np.uint32(16)).astype(np.uint16)


def golden_tensors(config: dict, gains: dict):
    """(name, shape, scale, offset) in the order of the file."""
    hidden = config["hidden_size"]
    q_rows = config["num_attention_heads"] * config["head_dim"]
    kv_rows = config["num_key_value_heads"] * config["head_dim"]
    inter = config["intermediate_size"]
    has_bias = config["model_type"] == "qwen2"

    def matrix(name, rows, cols, gain):
        return (name, (rows, cols), gain * math.sqrt(3.0 / cols), 0.0)

    def norm(name):
        return (name, (hidden,), gains["norm"], 1.0)

    yield ("model.embed_tokens.weight", (config["vocab_size"], hidden), gains["embed_tokens"] * math.sqrt(3.0), 0.0)
    for layer in range(config["num_hidden_layers"]):
        prefix = f"model.layers.{layer}."
        yield norm(prefix + "input_layernorm.weight")
        for part, rows in (("q", q_rows), ("k", kv_rows), ("v", kv_rows)):
            name = f"{prefix}self_attn.{part}_proj"
            yield matrix(name + ".weight", rows, hidden, gains[f"{part}_proj"])
            if has_bias:
                yield (name + ".bias", (rows,), gains["bias"], 0.0)
        yield matrix(prefix + "self_attn.o_proj.weight", hidden, q_rows, gains["o_proj"])
        yield norm(prefix + "post_attention_layernorm.weight")
        yield matrix(prefix + "mlp.gate_proj.weight", inter, hidden, gains["gate_proj"])
        yield matrix(prefix + "mlp.up_proj.weight", inter, hidden, gains["up_proj"])
        yield matrix(prefix + "mlp.down_proj.weight", hidden, inter, gains["down_proj"])
    yield norm("model.norm.weight")
    if not config["tie_word_embeddings"]:
        yield matrix("lm_head.weight", config["vocab_size"], hidden, gains["lm_head"])


def make_weights(spec: dict, torch) -> tuple[dict, int]:
    """State dict in float32 and the checksum of all weights."""
    weights, checksum = {}, 0
    for name, shape, scale, offset in golden_tensors(spec["config"], spec["gains"]):
        tensor = torch.empty(math.prod(shape), dtype=torch.float32)
        for first in range(0, tensor.numel(), CHUNK):
            count = min(CHUNK, tensor.numel() - first)
            bits = golden_bits(name, spec["seed"], first, count, scale, offset)
            odd = np.arange(first, first + count, dtype=np.uint64) * np.uint64(2) + np.uint64(1)
            checksum += int((bits.astype(np.uint64) * odd).sum(dtype=np.uint64))
            tensor[first : first + count] = torch.from_numpy((bits.astype(np.uint32) << np.uint32(16)).view(np.float32))
        # Each tensor counts with a factor of its own.
        checksum = (checksum * 1099511628211) & 0xFFFFFFFFFFFFFFFF
        weights[name] = tensor.reshape(shape)
    return weights, checksum


def make_model(spec: dict, weights: dict, torch, transformers):
    config = transformers.AutoConfig.for_model(**{k: v for k, v in spec["config"].items() if k != "architectures"})
    config._attn_implementation = "eager"
    with torch.device("meta"):
        model = transformers.AutoModelForCausalLM.from_config(config, dtype=torch.float32)
    if config.tie_word_embeddings:
        weights = dict(weights, **{"lm_head.weight": weights["model.embed_tokens.weight"]})
    missing, unexpected = model.load_state_dict(weights, strict=False, assign=True)
    assert not missing and not unexpected, (missing, unexpected)
    # The rotary table is no weight: computed anew, since on "meta" it has no values.
    model.model.rotary_emb = type(model.model.rotary_emb)(config=config)
    return model.eval()


def draw_reference(model, prompt: list[int], num_reference: int, random, torch) -> list[int]:
    tokens, past, feed = [], None, prompt
    for _ in range(num_reference):
        out = model(input_ids=torch.tensor([feed]), past_key_values=past, use_cache=True, logits_to_keep=1)
        past = out.past_key_values
        logits = out.logits[0, -1].double().numpy()
        gumbel = -np.log(-np.log(random.random(logits.shape)))
        tokens.append(int(np.argmax(logits + gumbel)))
        feed = tokens[-1:]
    return tokens


def sample_ids(num_positions: int, vocab_size: int) -> np.ndarray:
    values = counter_values("sample", 0, 0, num_positions * NUM_SAMPLES)
    return ((values >> np.uint64(32)) % np.uint64(vocab_size)).astype(np.int64).reshape(num_positions, NUM_SAMPLES)


def signs(vocab_size: int) -> np.ndarray:
    values = counter_values("sign", 0, 0, NUM_PROJECTIONS * vocab_size)
    return np.where(values >> np.uint64(63), -1.0, 1.0).reshape(NUM_PROJECTIONS, vocab_size)


def digest(logits: np.ndarray) -> np.ndarray:
    """logits [N, V] float32 -> records."""
    order = np.argsort(-logits, axis=1, kind="stable")[:, :2]
    record = np.dtype([("ids", "<i4", 2), ("top", "<f4", 2), ("deviation", "<f4"), ("samples", "<f4", NUM_SAMPLES),
                       ("projections", "<f4", NUM_PROJECTIONS)])
    out = np.zeros(len(logits), record)
    out["ids"] = order
    out["top"] = np.take_along_axis(logits, order, 1)
    out["deviation"] = logits.astype(np.float64).std(axis=1)
    out["samples"] = np.take_along_axis(logits, sample_ids(*logits.shape), 1)
    out["projections"] = logits.astype(np.float64) @ signs(logits.shape[1]).T
    return out


def make(spec: dict) -> None:
    import torch
    import transformers

    vocab_size = spec["config"]["vocab_size"]
    num_reference = spec.get("num_reference", NUM_REFERENCE)
    weights, checksum = make_weights(spec, torch)
    model = make_model(spec, weights, torch, transformers)
    del weights
    random = np.random.default_rng(spec["seed"])
    prompts, references, logits = [], [], []
    with torch.inference_mode():
        for length in spec["prompt_lengths"]:
            prompt = random.integers(0, vocab_size, length).tolist()
            reference = draw_reference(model, prompt, num_reference, random, torch)
            out = model(input_ids=torch.tensor([prompt + reference[:-1]]), logits_to_keep=num_reference).logits[0]
            prompts.append(prompt)
            references.append(reference)
            logits.append(out.float().numpy())
    records = digest(np.concatenate(logits))
    lengths = [len(prompt) for prompt in prompts]
    with open(FOLDER / f"{spec['name']}.bin", "wb") as file:
        file.write(b"QGOLDEN1" + struct.pack("<Q", checksum))
        file.write(struct.pack("<5i", len(prompts), num_reference, vocab_size, NUM_SAMPLES, NUM_PROJECTIONS))
        for numbers in (lengths, [token for prompt in prompts for token in prompt], references):
            file.write(np.array(numbers, dtype="<i4").tobytes())
        file.write(records.tobytes())
        size = file.tell()
    gaps = (records["top"][:, 0] - records["top"][:, 1]) / records["deviation"]
    own = np.mean([records["ids"][p * num_reference + r, 0] == (references[p][r - 1] if r else prompts[p][-1])
                   for p in range(len(prompts)) for r in range(num_reference)])
    print(f"{spec['name']}: {len(records)} positions, {size} bytes; top-two gap in standard deviations: 10% below "
          f"{np.quantile(gaps, 0.1):.3f}, median {np.median(gaps):.3f}; argmax is the input token at {own:.0%}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("names", nargs="*", help="models to make; all but the largest by default")
    names = parser.parse_args().names
    for spec in json.loads((FOLDER / "models.json").read_text())["models"]:
        if spec["name"] in names or (not names and not spec.get("large")):
            make(spec)


if __name__ == "__main__":
    main()
