// Checks a schema while it is typed, and answers against it. The validator interprets schemas: one that compiles them to
// JavaScript (ajv) would need a Content-Security-Policy that allows eval.
import { Validator, type Schema } from "@cfworker/json-schema";

export interface Problem {
  /** JSON pointer into the text, or empty for all of it. */
  path: string;
  message: string;
}

const typeNames = ["null", "boolean", "object", "array", "number", "integer", "string"];
const isNumber = (value: unknown) => typeof value === "number";
const isCount = (value: unknown) => Number.isInteger(value) && (value as number) >= 0;
const isStrings = (value: unknown) => Array.isArray(value) && value.every((item) => typeof item === "string");
const isObject = (value: unknown): value is Record<string, unknown> =>
  typeof value === "object" && value !== null && !Array.isArray(value);

function isPattern(value: unknown): boolean {
  try {
    new RegExp(value as string, "u");
    return typeof value === "string";
  } catch {
    return false;
  }
}

// Keywords with a value that is easily got wrong, and what it must be.
const keywords: Record<string, [(value: unknown) => boolean, string]> = {
  type: [
    (value) => [value].flat().length > 0 && [value].flat().every((name) => typeNames.includes(name as string)),
    `one of ${typeNames.join(", ")}, or a list of them`,
  ],
  required: [isStrings, "a list of names"],
  enum: [Array.isArray, "a list"],
  pattern: [isPattern, "a regular expression"],
  minimum: [isNumber, "a number"],
  maximum: [isNumber, "a number"],
  exclusiveMinimum: [isNumber, "a number"],
  exclusiveMaximum: [isNumber, "a number"],
  multipleOf: [(value) => isNumber(value) && (value as number) > 0, "a number above 0"],
  minLength: [isCount, "a whole number"],
  maxLength: [isCount, "a whole number"],
  minItems: [isCount, "a whole number"],
  maxItems: [isCount, "a whole number"],
  minProperties: [isCount, "a whole number"],
  maxProperties: [isCount, "a whole number"],
  $ref: [(value) => typeof value === "string", "a string"],
};
const schemaMaps = ["properties", "patternProperties", "$defs", "definitions", "dependentSchemas"];
const schemaLists = ["allOf", "anyOf", "oneOf", "prefixItems"];
const schemas = ["items", "additionalProperties", "not", "if", "then", "else", "contains", "propertyNames"];

function walk(schema: unknown, path: string, problems: Problem[]): void {
  if (typeof schema === "boolean") return;
  if (!isObject(schema)) {
    problems.push({ path, message: "a schema must be an object, true or false" });
    return;
  }
  for (const [name, value] of Object.entries(schema)) {
    const at = `${path}/${name}`;
    const rule = keywords[name];
    if (rule && !rule[0](value)) problems.push({ path: at, message: `must be ${rule[1]}` });
    if (schemas.includes(name)) walk(value, at, problems);
    if (schemaMaps.includes(name)) {
      if (!isObject(value)) problems.push({ path: at, message: "must be an object of schemas" });
      else for (const [key, item] of Object.entries(value)) walk(item, `${at}/${key}`, problems);
    }
    if (schemaLists.includes(name)) {
      if (!Array.isArray(value) || value.length === 0) problems.push({ path: at, message: "must be a list of schemas" });
      else value.forEach((item, index) => walk(item, `${at}/${index}`, problems));
    }
  }
}

/** What is wrong with a schema's text; empty if nothing is. */
export function checkSchema(text: string): Problem[] {
  let schema: unknown;
  try {
    schema = JSON.parse(text);
  } catch (error) {
    return [{ path: "", message: (error as Error).message }];
  }
  const problems: Problem[] = [];
  walk(schema, "", problems);
  if (problems.length > 0) return problems;
  try {
    // A $ref that leads nowhere shows when it is followed.
    for (const sample of [null, {}, [], "", 0]) new Validator(schema as Schema, "2020-12", true).validate(sample);
  } catch (error) {
    return [{ path: "", message: (error as Error).message }];
  }
  return [];
}

/** What is wrong with an answer. Without a schema any JSON will do. */
export function checkAnswer(text: string, schemaText?: string): Problem[] {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch (error) {
    return [{ path: "", message: (error as Error).message }];
  }
  if (!schemaText) return [];
  const result = new Validator(JSON.parse(schemaText) as Schema, "2020-12", false).validate(value);
  return result.errors
    .filter(({ keyword }) => !["properties", "items", "$ref", "additionalProperties"].includes(keyword))
    .map(({ instanceLocation, error }) => ({ path: instanceLocation.replace(/^#/, ""), message: error }));
}
