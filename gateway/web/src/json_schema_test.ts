import assert from "node:assert/strict";
import { test } from "node:test";
import { checkAnswer, checkSchema } from "./json_schema";

test("good schemas have no problems", () => {
  for (const schema of [
    "{}",
    "true",
    '{"type":["object","null"],"properties":{"a":{"type":"string","pattern":"^a+$"}},"required":["a"]}',
    '{"$defs":{"node":{"type":"object","properties":{"next":{"$ref":"#/$defs/node"}}}},"$ref":"#/$defs/node"}',
  ]) {
    assert.deepEqual(checkSchema(schema), [], schema);
  }
});

test("what is wrong is named with its place", () => {
  const path = (schema: string) => checkSchema(schema)[0]?.path;
  assert.equal(path('{"type":"text"}'), "/type");
  assert.equal(path('{"properties":{"a":{"minLength":-1}}}'), "/properties/a/minLength");
  assert.equal(path('{"anyOf":[{"pattern":"("}]}'), "/anyOf/0/pattern");
  assert.equal(path('{"required":"a"}'), "/required");
  assert.equal(path('{"items":3}'), "/items");
  assert.equal(checkSchema('{"type":')[0]!.path, "");
  assert.match(checkSchema('{"$ref":"#/nowhere"}')[0]!.message, /nowhere/);
});

test("answers are held against the schema", () => {
  const schema = '{"type":"object","properties":{"age":{"type":"integer"}},"required":["age"],"additionalProperties":false}';
  assert.deepEqual(checkAnswer('{"age": 3}', schema), []);
  assert.equal(checkAnswer('{"age": "3"}', schema)[0]!.path, "/age");
  assert.equal(checkAnswer("{}", schema).length, 1);
  assert.notEqual(checkAnswer('{"age": 3, "name": 1}', schema).length, 0);
  assert.notEqual(checkAnswer('{"age": ', schema).length, 0);
  assert.deepEqual(checkAnswer("[1]"), []);
});
