#!/usr/bin/env python3
"""Prints the digests in gguf_quantization_test.cc: what the reference library makes of random blocks.

Needs the packages gguf and numpy. Bytes come from splitmix64, and the half-precision scales are kept finite by clearing
the highest bit of their exponents, as in the test.
"""
import hashlib

import gguf
import numpy as np

NUM_BLOCKS = 64
MASK = (1 << 64) - 1
# type -> bytes in a block, offsets of the half-precision numbers in it
TYPES = {
    "F16": (2, [0]),
    "BF16": (2, []),
    "Q4_0": (18, [0]),
    "Q4_1": (20, [0, 2]),
    "Q5_0": (22, [0]),
    "Q5_1": (24, [0, 2]),
    "Q8_0": (34, [0]),
    "Q4_K": (144, [0, 2]),
    "Q5_K": (176, [0, 2]),
    "Q6_K": (210, [208]),
}


def splitmix64(x: int) -> int:
    x = (x + 0x9E3779B97F4A7C15) & MASK
    x = ((x ^ x >> 30) * 0xBF58476D1CE4E5B9) & MASK
    x = ((x ^ x >> 27) * 0x94D049BB133111EB) & MASK
    return x ^ x >> 31


for seed, (name, (block_bytes, halves)) in enumerate(TYPES.items()):
    data = bytearray(splitmix64(seed * 1_000_000 + i) & 0xFF for i in range(NUM_BLOCKS * block_bytes))
    for block in range(NUM_BLOCKS):
        for offset in halves:
            data[block * block_bytes + offset + 1] &= 0xBF
    if name == "BF16":  # no NaN: its payload isn't the point here
        for i in range(1, len(data), 2):
            data[i] &= 0xBF
    kind = gguf.GGMLQuantizationType[name]
    values = gguf.quants.dequantize(np.frombuffer(bytes(data), dtype=np.uint8).reshape(1, -1), kind)
    values = np.ascontiguousarray(values, dtype=np.float32)
    print(f'{{"{name}", {len(values.reshape(-1))}, "{hashlib.sha256(values.tobytes()).hexdigest()}"}},')
