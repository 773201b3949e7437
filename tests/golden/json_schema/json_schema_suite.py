"""The official JSON-Schema-Test-Suite (draft 2020-12) against our grammars.

Run: json_schema_suite.py SUITE, where SUITE is the folder tests/draft2020-12 of the suite; the sdist of PyPI's jsonschema carries it
(pip download --no-deps --no-binary jsonschema jsonschema==4.25.1). Prints how many schemas are honoured and how many are refused and
by which keyword; of the honoured ones, how many valid instances the grammar lets through, why not the others, and how many invalid
ones it keeps out. Exits 1 if an invalid instance gets through: no schema may be loosened in silence.
"""

import collections
import json
import os
import pathlib
import re
import subprocess
import sys

BUILD = pathlib.Path(os.environ.get("QUARTET_BUILD_DIR", pathlib.Path(__file__).parents[3] / "build/release"))
# What a schema without "type" is taken to speak of.
IMPLIED = {
    "object": {"properties", "required", "additionalProperties", "patternProperties", "propertyNames", "minProperties", "maxProperties",
               "unevaluatedProperties"},
    "array": {"items", "prefixItems", "minItems", "maxItems", "uniqueItems", "unevaluatedItems"},
    "string": {"pattern", "minLength", "maxLength", "format"},
    "number": {"minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf"},
}


def type_name(value):
    if value is None or isinstance(value, bool):
        return "null or boolean"
    return {dict: "object", list: "array", str: "string"}.get(type(value), "number")


def spellings(value):
    """The instance as a model may write it."""
    return [json.dumps(value, ensure_ascii=False), json.dumps(value, ensure_ascii=False, separators=(",", ":"))]


def has_implied_type(schema, value):
    """Whether some part of the schema has no "type" and the instance, or a part of it, is of a type that it doesn't speak of."""
    text = json.dumps(schema)
    kinds = {kind for kind, keywords in IMPLIED.items() if any(f'"{k}"' in text for k in keywords)}

    def types(v):
        yield type_name(v)
        for part in v.values() if isinstance(v, dict) else v if isinstance(v, list) else ():
            yield from types(part)

    names_type = isinstance(schema, dict) and "type" in schema
    return not names_type and any(t not in kinds for t in types(value))


def why_refused(schema, value):
    """Which of the documented narrowings it is."""
    text = json.dumps(schema)
    if has_implied_type(schema, value):
        return "no type named: the one that the keywords speak of is taken"
    if '"format"' in text:
        return "a format is honoured, although the standard doesn't ask for it"
    if isinstance(value, (int, float)) or re.search(r"\d\.0|e[+-]?\d", json.dumps(value)):
        return "another spelling of a number"
    if "attern" in text:
        return "a pattern matches as a whole"
    if '"properties"' in text or '"required"' in text:
        return "properties come in the schema's order"
    return "other"


def main():
    suite = pathlib.Path(sys.argv[1])
    tool = subprocess.Popen([BUILD / "tests/grammar_tool"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    counts, refused, narrowed = (collections.Counter() for _ in range(3))
    loosened, others = [], []
    for path in sorted(suite.glob("*.json")):
        for group in json.loads(path.read_text()):
            tests = group["tests"]
            question = {"schema": json.dumps(group["schema"], ensure_ascii=False), "texts": [t for test in tests for t in spellings(test["data"])]}
            tool.stdin.write(json.dumps(question) + "\n")
            tool.stdin.flush()
            answer = json.loads(tool.stdout.readline())
            counts["schemas"] += 1
            if "error" in answer:
                message = answer["error"]
                name = re.search(r'keyword "([^"]+)"', message) or re.search(r"(no JSON value fits|properties or items|oneOf|enum|nested|\$ref)", message)
                refused[name.group(1) if name else message[:80]] += 1
                continue
            counts["honoured"] += 1
            fits = [any(answer["fits"][2 * i:2 * i + 2]) for i in range(len(tests))]
            for test, fit in zip(tests, fits):
                kind = "valid" if test["valid"] else "invalid"
                counts[kind] += 1
                counts[kind + " let through"] += fit
                where = f'{path.name}: {group["description"]}: {test["description"]}'
                if test["valid"] and not fit:
                    reason = why_refused(group["schema"], test["data"])
                    narrowed[reason] += 1
                    if reason == "other":
                        others.append(where)
                if not test["valid"] and fit:
                    loosened.append(where)
    tool.stdin.close()
    print(f'{counts["schemas"]} schemas: {counts["honoured"]} honoured, {counts["schemas"] - counts["honoured"]} refused by name')
    print("refused: " + ", ".join(f"{name} {count}" for name, count in refused.most_common()))
    print(f'valid instances of the honoured: {counts["valid"]}, let through {counts["valid let through"]}')
    for reason, count in narrowed.most_common():
        print(f"  not let through, {reason}: {count}")
    print(f'invalid instances of the honoured: {counts["invalid"]}, kept out {counts["invalid"] - counts["invalid let through"]}')
    for where in others:
        print("not explained: " + where)
    for where in loosened:
        print("LET THROUGH: " + where)
    return 1 if loosened or not counts["honoured"] else 0


if __name__ == "__main__":
    sys.exit(main())
