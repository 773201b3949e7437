"""Forty JSON Schemas of the kinds that applications send."""

STRING = {"type": "string", "maxLength": 24}
INTEGER = {"type": "integer", "minimum": 0, "maximum": 120}


def closed(properties, required=None, **more):
    return {"type": "object", "properties": properties, "required": list(properties) if required is None else required,
            "additionalProperties": False, **more}


NESTED = [
    closed({"name": STRING, "age": INTEGER}),
    closed({"person": closed({"name": STRING, "address": closed({"city": STRING, "zip": {"type": "string", "pattern": "^[0-9]{5}$"}})})}),
    closed({"a": closed({"b": closed({"c": closed({"d": {"type": "boolean"}})})})}),
    closed({"id": INTEGER, "note": STRING, "flag": {"type": "boolean"}}, required=["id"]),
    closed({"x": INTEGER, "y": INTEGER}, required=[]),
    closed({"left": {"$ref": "#/$defs/point"}, "right": {"$ref": "#/$defs/point"}}, **{"$defs": {"point": closed({"x": INTEGER, "y": INTEGER})}}),
    {"type": "object", "properties": {"name": STRING}, "required": ["name"], "maxProperties": 2},
    {"type": "object", "additionalProperties": INTEGER, "minProperties": 1, "maxProperties": 3},
]
ARRAYS = [
    {"type": "array", "items": INTEGER, "minItems": 1, "maxItems": 5},
    {"type": "array", "items": closed({"k": STRING, "v": INTEGER}), "maxItems": 3},
    {"type": "array", "prefixItems": [STRING, INTEGER, {"type": "boolean"}], "items": False, "minItems": 3},
    {"type": "array", "items": {"type": "array", "items": INTEGER, "maxItems": 2}, "maxItems": 3},
    {"type": "array", "items": {"enum": ["red", "green", "blue"]}, "minItems": 2, "maxItems": 4},
    closed({"tags": {"type": "array", "items": STRING, "maxItems": 3}}),
]
ENUMS = [
    {"enum": ["red", "green", "blue"]},
    {"enum": [1, 2.5, None, True, "x", {"a": [1]}]},
    {"const": {"kind": "fixed", "values": [1, 2]}},
    closed({"color": {"type": "string", "enum": ["red", "green"]}, "size": {"enum": [1, 2, 3]}}),
    closed({"status": {"const": "ok"}, "code": INTEGER}),
]
PATTERNS = [
    {"type": "string", "pattern": "^[A-Z]{2}-[0-9]{4}$"},
    {"type": "string", "pattern": "^(\\+[0-9]{2} )?[0-9]{3,5}/[0-9]{4,8}$"},
    closed({"id": {"type": "string", "format": "uuid"}, "when": {"type": "string", "format": "date-time"}}),
    closed({"mail": {"type": "string", "format": "email"}, "host": {"type": "string", "format": "ipv4"}}),
    {"type": "object", "patternProperties": {"^[a-z]{1,6}$": INTEGER}, "additionalProperties": False, "maxProperties": 3},
]
NUMBERS = [
    {"type": "integer", "minimum": -17, "maximum": 4242},
    {"type": "integer", "exclusiveMinimum": 99, "exclusiveMaximum": 1001},
    {"type": "number", "minimum": -1.5, "maximum": 2.25},
    {"type": "number", "exclusiveMinimum": 0, "exclusiveMaximum": 1},
    {"type": "integer", "multipleOf": 7, "minimum": 0, "maximum": 700},
    closed({"price": {"type": "number", "minimum": 0.01, "maximum": 9999.99}, "count": {"type": "integer", "minimum": 1, "maximum": 12}}),
]
UNIONS = [
    {"anyOf": [INTEGER, STRING, {"type": "null"}]},
    {"type": ["integer", "null"], "minimum": 5, "maximum": 50},
    {"oneOf": [closed({"kind": {"const": "circle"}, "r": INTEGER}), closed({"kind": {"const": "square"}, "a": INTEGER})]},
    closed({"value": {"anyOf": [{"type": "array", "items": INTEGER, "maxItems": 3}, {"type": "boolean"}]}}),
    {"allOf": [{"type": "object", "properties": {"a": INTEGER}, "required": ["a"]}, {"properties": {"b": STRING}, "required": ["b"]}],
     "maxProperties": 2},
    {"$ref": "#/$defs/tree", "$defs": {"tree": closed({"value": INTEGER, "children": {"type": "array", "items": {"$ref": "#/$defs/tree"}, "maxItems": 2}},
                                                      required=["value"])}},
]
UNICODE = [
    closed({"straße": STRING, "名前": {"enum": ["東京", "大阪", "😀"]}}),
    {"type": "string", "minLength": 1, "maxLength": 12, "description": "Grüße"},
    {"type": "string", "pattern": "^[äöüß]{1,4}( [一-龥]{1,3})?$"},
    closed({"quote\"d": {"const": "a\"b\\c\n"}, "tab\t": INTEGER}),
]
SCHEMAS = NESTED + ARRAYS + ENUMS + PATTERNS + NUMBERS + UNIONS + UNICODE
