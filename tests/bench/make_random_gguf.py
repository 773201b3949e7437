#!/usr/bin/env python3
"""Writes a bf16 GGUF of Qwen2.5-0.5B's shape (or a small one) with random weights, which Quartet and llama.cpp both load.

Run: make_random_gguf.py OUT.gguf [--shape 0.5b|small] [--tokenizer DIR]
Speed does not depend on the values, so the weights are noise of a fixed seed; the tokenizer is Qwen2.5's own, from
${QUARTET_CACHE}/models/qwen2.5-tokenizer, where `deploy/local/setup --tests` puts it.
"""
import argparse
import json
import os
import pathlib

import gguf
import numpy as np

SEED = 20240919
SHAPES = {
    "0.5b": dict(layers=24, hidden=896, heads=14, kv_heads=2, head_dim=64, intermediate=4864, vocab=151936, context=32768),
    # 32k tokens of context in seconds on a CPU.
    "small": dict(layers=2, hidden=256, heads=4, kv_heads=2, head_dim=64, intermediate=768, vocab=151936, context=32768),
}
SHAPE = dict(SHAPES["0.5b"])  # main may choose another


def cache_dir() -> pathlib.Path:
    return pathlib.Path(os.environ.get("QUARTET_CACHE", pathlib.Path.home() / ".cache/quartet"))


def add_tokenizer(writer: gguf.GGUFWriter, folder: pathlib.Path) -> None:
    tokenizer = json.loads((folder / "tokenizer.json").read_text())
    tokens = {index: token for token, index in tokenizer["model"]["vocab"].items()}
    types = {index: gguf.TokenType.NORMAL for index in tokens}
    for added in tokenizer["added_tokens"]:
        tokens[added["id"]] = added["content"]
        types[added["id"]] = gguf.TokenType.CONTROL if added["special"] else gguf.TokenType.USER_DEFINED
    for index in range(SHAPE["vocab"]):
        if index not in tokens:
            tokens[index], types[index] = f"[PAD{index}]", gguf.TokenType.UNUSED
    merges = [m if isinstance(m, str) else " ".join(m) for m in tokenizer["model"]["merges"]]
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("qwen2")
    writer.add_token_list([tokens[i] for i in range(SHAPE["vocab"])])
    writer.add_token_types([types[i] for i in range(SHAPE["vocab"])])
    writer.add_token_merges(merges)
    writer.add_eos_token_id(151645)
    writer.add_pad_token_id(151643)
    writer.add_add_bos_token(False)


def tensor_shapes():
    """(name, rows, cols); cols 0 means a vector of length rows."""
    s = SHAPE
    kv = s["kv_heads"] * s["head_dim"]
    yield "token_embd.weight", s["vocab"], s["hidden"]
    for i in range(s["layers"]):
        yield f"blk.{i}.attn_norm.weight", s["hidden"], 0
        for name, rows in (("q", s["hidden"]), ("k", kv), ("v", kv)):
            yield f"blk.{i}.attn_{name}.weight", rows, s["hidden"]
            yield f"blk.{i}.attn_{name}.bias", rows, 0
        yield f"blk.{i}.attn_output.weight", s["hidden"], s["hidden"]
        yield f"blk.{i}.ffn_norm.weight", s["hidden"], 0
        yield f"blk.{i}.ffn_gate.weight", s["intermediate"], s["hidden"]
        yield f"blk.{i}.ffn_up.weight", s["intermediate"], s["hidden"]
        yield f"blk.{i}.ffn_down.weight", s["hidden"], s["intermediate"]
    yield "output_norm.weight", s["hidden"], 0


def to_bfloat16(values: np.ndarray) -> np.ndarray:
    bits = values.astype(np.float32).view(np.uint32)
    return ((bits + 0x7FFF + ((bits >> 16) & 1)) >> 16).astype(np.uint16)


def add_tensors(writer: gguf.GGUFWriter) -> None:
    random = np.random.default_rng(SEED)
    for name, rows, cols in tensor_shapes():
        if cols == 0:
            norm = "norm" in name
            writer.add_tensor(name, np.full(rows, 1.0 if norm else 0.0, np.float32))
            continue
        values = random.standard_normal((rows, cols), dtype=np.float32) * np.float32(0.02)
        writer.add_tensor(name, to_bfloat16(values).view(np.uint8), raw_dtype=gguf.GGMLQuantizationType.BF16)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("out")
    parser.add_argument("--tokenizer", type=pathlib.Path, default=cache_dir() / "models/qwen2.5-tokenizer")
    parser.add_argument("--shape", choices=SHAPES, default="0.5b")
    arguments = parser.parse_args()
    SHAPE.update(SHAPES[arguments.shape])
    writer = gguf.GGUFWriter(arguments.out, "qwen2")
    writer.add_name(f"random-qwen2.5-{arguments.shape}")
    writer.add_block_count(SHAPE["layers"])
    writer.add_context_length(SHAPE["context"])
    writer.add_embedding_length(SHAPE["hidden"])
    writer.add_feed_forward_length(SHAPE["intermediate"])
    writer.add_head_count(SHAPE["heads"])
    writer.add_head_count_kv(SHAPE["kv_heads"])
    writer.add_rope_freq_base(1000000.0)
    writer.add_layer_norm_rms_eps(1e-6)
    writer.add_file_type(gguf.LlamaFileType.MOSTLY_BF16)
    add_tokenizer(writer, arguments.tokenizer)
    add_tensors(writer)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    print(f"{arguments.out}: {os.path.getsize(arguments.out) / 1e9:.2f} GB")


if __name__ == "__main__":
    main()
