#!/usr/bin/env python3
"""Writes llama_cpp_greedy.json: what llama.cpp says greedily on SmolLM2 for ten prompts.

Run: make_reference.py   (needs the llama.cpp that tests/bench/peer_llama_cpp.py builds, and `pip install diskcache`)
It drives libllama through the bindings inside the llama-cpp-python sdist. For each position it also notes how far the best
logit was ahead of the second, in standard deviations of the logits, so that a parting can be told from a tie.
"""
import json
import os
import pathlib
import sys

CACHE = pathlib.Path(os.environ.get("QUARTET_CACHE", pathlib.Path.home() / ".cache/quartet"))
PEER = CACHE / "peers/llama_cpp"
MODEL = CACHE / "models/SmolLM2-135M-Instruct.Q4_1.gguf"
NUM_TOKENS = 32


def chat(question: str) -> str:
    return f"<|im_start|>user\n{question}<|im_end|>\n<|im_start|>assistant\n"


PROMPTS = [
    "The capital of France is",
    "Once upon a time, in a small village by the sea,",
    "def fibonacci(n):\n",
    "Water boils at",
    "The three primary colours are",
    chat("What is the capital of Italy?"),
    chat("Explain in one sentence why the sky is blue."),
    chat("List five fruits."),
    chat("Write a short poem about the moon."),
    chat("Add 12 and 30 and explain each step."),
]


def greedy(llama, prompt: str) -> dict:
    import numpy as np

    ids = llama.tokenize(prompt.encode(), add_bos=False, special=True)
    llama.reset()
    llama.eval(ids)
    output, gaps = [], []
    for _ in range(NUM_TOKENS):
        logits = np.array(llama.scores[llama.n_tokens - 1], dtype=np.float64)
        second, best = np.partition(logits, -2)[-2:]
        gaps.append(round(float((best - second) / logits.std()), 4))
        output.append(int(logits.argmax()))
        if output[-1] == llama.token_eos():
            break
        llama.eval(output[-1:])
    return {"prompt": prompt, "prompt_ids": ids, "output_ids": output, "gaps": gaps,
            "text": llama.detokenize(output, special=False).decode(errors="replace")}


def main() -> None:
    os.environ["LLAMA_CPP_LIB_PATH"] = str(PEER / "build/bin")
    sys.path.insert(0, str(next(PEER.rglob("llama_cpp/llama_cpp.py")).parents[1]))
    import llama_cpp

    llama = llama_cpp.Llama(str(MODEL), n_ctx=512, n_threads=2, logits_all=True, verbose=False)
    answers = [greedy(llama, prompt) for prompt in PROMPTS]
    out = pathlib.Path(__file__).with_name("llama_cpp_greedy.json")
    lines = ",\n".join(json.dumps(answer, ensure_ascii=False) for answer in answers)
    out.write_text(f'{{"llama_cpp_python": "{llama_cpp.__version__}", "answers": [\n{lines}\n]}}\n')
    for answer in answers:
        print(repr(answer["text"]), min(answer["gaps"][:16]))


if __name__ == "__main__":
    main()
