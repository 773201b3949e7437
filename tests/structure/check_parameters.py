#!/usr/bin/env python3
"""docs/api.md, the parser of requests and the tests of parameters speak of the same parameters.

Every field that the HTTP face reads has a row; every row names a test that exists; every refused row is among those that the
test of refusals sends, and among those that the parser refuses.

Run: check_parameters.py ROOT
"""
import ast
import pathlib
import re
import sys

# Files that read fields of a request's own object, and names in them that belong to objects inside it.
PARSER = ("account_fields", "common_fields", "openai_request", "refused_fields", "structured_output_fields")
INNER = {"json_schema", "schema", "name", "description", "strict", "type", "max_pattern_size", "min_pattern_size", "min_count"}
STREAM_OPTIONS = {"include_usage", "continuous_usage_stats", "include_obfuscation"}
STRUCTURED = {"json", "regex", "choice", "grammar", "json_object", "structural_tag", "disable_any_whitespace",
              "disable_additional_properties", "whitespace_pattern"}
WHOLE = {"stream_options", "structured_outputs"}  # Their rows are those of their fields.
READ = re.compile(r'(?:Read|ReadOneOf|Find|AddJson|AddText|AddChoice|AddJsonObject|ReadWhitespacePattern)'
                  r'\(\s*(?:\w+,\s*)?"(\w+)"')
REFUSED = re.compile(r'^    \{"(\w+)", "', re.MULTILINE)


def full_name(field: str) -> str:
    if field in STREAM_OPTIONS:
        return "stream_options." + field
    return "structured_outputs." + field if field in STRUCTURED else field


def problems(root: pathlib.Path) -> list:
    sources = {name: (root / f"gateway/http/{name}.cc").read_text() for name in PARSER}
    refused_by_parser = set(REFUSED.findall(sources["refused_fields"]))
    read = {full_name(field) for text in sources.values() for field in READ.findall(text) if field not in INNER | WHOLE}
    rows = re.findall(r"^\| `([\w.-]+)` \|.*?\| (works|refused) \|.*\| `(test_\w+)` \|$", (root / "docs/api.md").read_text(), re.MULTILINE)
    folder = root / "tests/integration"
    tests = {node.name for file in folder.glob("test_parameters*.py") for node in ast.parse(file.read_text()).body
             if isinstance(node, ast.FunctionDef)}
    sent = next(ast.literal_eval(node.value) for node in ast.parse((folder / "parameters.py").read_text()).body
                if isinstance(node, ast.Assign) and node.targets[0].id == "REFUSED")
    documented = {name for name, _, _ in rows}
    refused = {name for name, state, _ in rows if state == "refused"}
    found = [f"docs/api.md has no row for {name}, which the parser reads" for name in sorted((read | refused_by_parser) - documented)]
    found += [f"docs/api.md has two rows for {name}" for name in sorted(documented) if sum(row[0] == name for row in rows) > 1]
    found += [f"the row of {name} names {test}, which tests/integration/test_parameters*.py lack" for name, _, test in rows if test not in tests]
    for name, state, test in rows:
        expected = "test_refused" if state == "refused" else "test_" + re.sub(r"[.-]", "_", name.lower())
        if test != expected:
            found.append(f"the row of {name} names {test}, not {expected}")
    found += [f"{name} is refused in one of docs/api.md, refused_fields.cc and REFUSED of the tests, but not in all"
              for name in sorted((refused | refused_by_parser | set(sent)) - (refused & refused_by_parser & set(sent)))]
    return found if len(rows) > 50 else found + [f"docs/api.md has only {len(rows)} rows that can be read"]


def main() -> int:
    found = problems(pathlib.Path(sys.argv[1]))
    print("\n".join(found) or "docs/api.md, parser and tests agree")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
