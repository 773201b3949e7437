#!/usr/bin/env python3
"""Speed of our tokenizer and of the reference library on the same texts in the same run, one thread each.

Run: tokenizer_bench.py [--repetitions 5] [--json FILE] [--check]   (QUARTET_BUILD_DIR names the build; default build/release)
Texts: English prose (Python's own documentation), code (Python's library) and Chinese and mixed text made from a seed. The
reference encodes documents of about 2 KB with encode_batch_fast, its quickest call; so do we. "cold" is our tokenizer made
anew for each repetition, so that no word is in its cache; the reference keeps its cache in all but its first pass.
Times are CPU times of the one thread, so that a busy machine matters less.
Then megabytes without a break: nanoseconds per byte, and how many times ordinary English that is (10 is the bound, which
--check enforces); and the worst of every ASCII character and of every two of some repeated.
"""
import argparse
import json
import os
import pathlib
import platform
import pydoc_data.topics
import random
import statistics
import subprocess
import sys
import sysconfig
import tempfile
import time

os.environ["TOKENIZERS_PARALLELISM"] = "false"
os.environ["RAYON_NUM_THREADS"] = "1"
sys.path.insert(0, str(pathlib.Path(__file__).parents[1] / "golden/tokenizer"))
import corpus  # noqa: E402
import reference  # noqa: E402

DOCUMENT_BYTES = 2048
SEED = 7
MOST_TIMES_ENGLISH = 10


def documents(text: str) -> list[str]:
    """`text` cut at line ends into pieces of about DOCUMENT_BYTES."""
    result, part, size = [], [], 0
    for line in text.replace("\0", " ").splitlines(keepends=True):
        part.append(line)
        size += len(line.encode())
        if size >= DOCUMENT_BYTES:
            result.append("".join(part))
            part, size = [], 0
    return result + ["".join(part)] * bool(part)


def code(limit: int) -> str:
    parts, size = [], 0
    for path in sorted(pathlib.Path(sysconfig.get_paths()["stdlib"]).glob("*.py")):
        parts.append(path.read_text(errors="replace"))
        size += len(parts[-1])
        if size > limit:
            break
    return "".join(parts)


def chinese(size: int) -> str:
    """Words of Chinese out of the vocabulary, the frequent ones more often, with punctuation and line ends."""
    rng = random.Random(SEED)
    words = [reference.qwen().decode([i]) for i in range(100_000)]
    words = [w for w in words if w and all("\u4e00" <= c <= "\u9fff" for c in w)]
    weights = [1 / (rank + 10) for rank in range(len(words))]
    picked = rng.choices(words, weights, k=size // 5)
    ends = rng.choices(("", "，", "。", "。\n", "、"), (12, 2, 1, 0.3, 0.3), k=len(picked))
    return "".join(w + e for w, e in zip(picked, ends))


def ordinary_texts() -> dict[str, list[str]]:
    prose = "\n".join(pydoc_data.topics.topics.values())
    mixed = "\n".join(corpus.lines(8_000, SEED, ["<|im_start|>", "<|im_end|>"]))
    return {"English": documents(prose), "code": documents(code(2_000_000)), "Chinese": documents(chinese(1_500_000)),
            "mixed, 32 languages": documents(mixed)}


def hard_texts() -> dict[str, list[str]]:
    rng = random.Random(SEED)

    def fill(unit: str) -> list[str]:
        return [unit * (1_000_000 // len(unit.encode()))]

    han = "".join(chr(rng.randrange(0x4e00, 0x9fa6)) for _ in range(333_333))
    prose = "".join(c for c in chinese(1_000_000) if "\u4e00" <= c <= "\u9fff")
    letters = "".join(rng.choice("etaoinshrdlucmfw") for _ in range(1_000_000))
    marks = "a" + "".join(rng.choice(("\u0345", "\u0334", "\u0301", "\u0323")) for _ in range(500_000))
    return {"one letter": fill("a"), "spaces": fill(" "), "newlines": fill("\n"), "one digit": fill("1"), "one emoji": fill("😀"),
            "families of emoji": fill("👨‍👩‍👧‍👦"), "one Chinese character": fill("中"), "Chinese prose, no spaces": [prose],
            "random Chinese": [han], "random letters": [letters], "dashes": fill("-"), "equals signs": fill("="), "added token's start": fill("<|im_"),
            "added tokens": fill("<|im_end|>"), "combining marks": [marks], "spaces and newlines": fill(" \n")}


def time_reference(tokenizer, texts: list[str], repetitions: int) -> list[float]:
    times = []
    for _ in range(repetitions):
        start = time.process_time()
        tokenizer.encode_batch_fast(texts)
        times.append(time.process_time() - start)
    return times


def repeated_texts() -> tuple[dict[str, list[str]], dict[str, list[str]]]:
    """Every ASCII character repeated, and every two of those that large vocabularies have long runs of."""
    runs = "-=_.*a0 \n\t#/<>e~"
    one = {repr(c): [c * 300_000] for c in map(chr, range(1, 127))}
    two = {repr(a + b): [(a + b) * 150_000] for a in runs for b in runs if a != b}
    return one, two


def time_ours(model: pathlib.Path, texts: dict[str, list[str]], repetitions: int, cold: bool) -> dict[str, dict]:
    with tempfile.TemporaryDirectory() as directory:
        paths = []
        for i, parts in enumerate(texts.values()):
            paths.append(pathlib.Path(directory) / str(i))
            paths[-1].write_bytes("\0".join(parts).encode())
        command = [reference.binary("tokenizer_bench"), str(model), str(repetitions), str(int(cold)), *map(str, paths)]
        lines = subprocess.run(command, check=True, capture_output=True, text=True).stdout.splitlines()
    return dict(zip(texts, map(json.loads, lines)))


def size_of(texts: list[str]) -> int:
    return sum(len(text.encode()) for text in texts)


def bench(name: str, model: pathlib.Path, tokenizer, repetitions: int) -> dict:
    texts, hard, (one, two) = ordinary_texts(), hard_texts(), repeated_texts()
    ours = time_ours(model, texts, repetitions, cold=True) | time_ours(model, hard | one | two, repetitions, cold=False)
    result = {"tokenizer": name, "ordinary": {}, "hard": {}}
    print(f"\n{name}\n{'text':24}{'MB':>6}{'ours MB/s':>11}{'cold MB/s':>11}{'reference':>11}{'ratio':>8}{'cold ratio':>12}")
    for text, parts in texts.items():
        megabytes = size_of(parts) / 1e6
        warm, cold = (megabytes / statistics.median(ours[text][key]) for key in ("warm", "cold"))
        theirs = megabytes / statistics.median(time_reference(tokenizer, parts, repetitions))
        result["ordinary"][text] = {"mb_per_s": warm, "cold_mb_per_s": cold, "reference_mb_per_s": theirs}
        print(f"{text:24}{megabytes:6.2f}{warm:11.1f}{cold:11.1f}{theirs:11.2f}{warm / theirs:8.1f}{cold / theirs:12.1f}")
    base = statistics.median(ours["English"]["warm"]) / size_of(texts["English"])
    print(f"\n{'one megabyte of':28}{'ns/byte':>9}{'x English':>11}")
    for text, parts in hard.items():
        per_byte = statistics.median(ours[text]["warm"]) / size_of(parts)
        result["hard"][text] = {"ns_per_byte": per_byte * 1e9, "times_english": per_byte / base}
        print(f"{text:28}{per_byte * 1e9:9.2f}{per_byte / base:11.2f}")
    for what, group in (("one character", one), ("two characters", two)):
        per_byte, text = max((statistics.median(ours[text]["warm"]) / size_of(parts), text) for text, parts in group.items())
        result["hard"][f"the worst {what} repeated"] = {"text": text, "ns_per_byte": per_byte * 1e9, "times_english": per_byte / base}
        print(f"{f'worst of {len(group)}: {text}':28}{per_byte * 1e9:9.2f}{per_byte / base:11.2f}")
    return result


def machine() -> str:
    model = [line for line in open("/proc/cpuinfo") if line.startswith("model name")]
    return f"{model[0].split(':')[1].strip() if model else platform.processor()}, {os.cpu_count()} cores, {platform.platform()}"


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--repetitions", type=int, default=5)
    parser.add_argument("--json", type=pathlib.Path)
    parser.add_argument("--check", action="store_true")
    options = parser.parse_args()
    print(f"machine: {machine()}\ncommand: {' '.join(sys.argv)}\nmedian of {options.repetitions} repetitions, CPU time of one thread; "
          f"reference: tokenizers {__import__('tokenizers').__version__}")
    results = [bench("Qwen2.5", reference.QWEN, reference.qwen(), options.repetitions),
               bench("SmolLM2", reference.SMOLLM, reference.smollm(), options.repetitions)]
    if options.json:
        options.json.write_text(json.dumps({"machine": machine(), "results": results}, indent=1))
    slow = [f"{text} ({result['tokenizer']})" for result in results for text, figures in result["hard"].items()
            if figures["times_english"] > MOST_TIMES_ENGLISH]
    if options.check and slow:
        sys.exit(f"more than {MOST_TIMES_ENGLISH} times as long per byte as English: {', '.join(slow)}")


main()
