#include "gateway/http/structured_output_fields.h"

#include <nlohmann/json.hpp>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "common/status_macros.h"
#include "gateway/http/json_body.h"
#include "gateway/request_error.h"

namespace quartet::gateway::http {
namespace {

using nlohmann::json;
using nlohmann::ordered_json;
using Kind = StructuredOutput::Kind;

constexpr size_t kMaxNameBytes = 64;

// A shape and the field that asked for it.
struct Found {
  std::string field;
  StructuredOutput output;
};

class ShapeReader {
 public:
  ShapeReader(const json& body, absl::string_view text) : body_(body), text_(text) {}

  absl::Status ReadResponseFormat();
  absl::Status ReadStructuredOutputs();
  absl::Status ReadGuided();

  std::vector<Found>& found() { return found_; }

 private:
  void Add(std::string field, Kind kind, std::string text = "") {
    StructuredOutput output;
    output.kind = kind;
    output.text = std::move(text);
    found_.push_back({std::move(field), std::move(output)});
  }
  absl::Status AddJsonSchema(const FieldReader& fields);
  // A JSON value that may also be given as text: a schema or a structural tag.
  absl::Status AddJson(const FieldReader& fields, const char* name, std::vector<std::string> path,
                       Kind kind);
  absl::Status AddText(const FieldReader& fields, const char* name, const std::string& where,
                       Kind kind);
  absl::Status AddChoice(const FieldReader& fields, const char* name, const std::string& where);
  absl::Status AddJsonObject(const FieldReader& fields, const char* name, const std::string& where);

  const json& body_;
  const absl::string_view text_;
  std::vector<Found> found_;
};

absl::Status ShapeReader::AddJson(const FieldReader& fields, const char* name,
                                  std::vector<std::string> path, Kind kind) {
  const json* const value = fields.Find(name);
  if (value == nullptr) return absl::OkStatus();
  path.push_back(name);
  const std::string field = absl::StrJoin(path, ".");
  std::string text;
  if (value->is_string()) {
    text = value->get<std::string>();
    const absl::Status parsed = ParseJsonObject(text).status();
    if (!parsed.ok()) {
      return InvalidField(field, absl::StrCat(field, " is not a JSON object: ", parsed.message()));
    }
  } else if (value->is_object() || (value->is_boolean() && kind == Kind::kJsonSchema)) {
    ASSIGN_OR_RETURN(text, OrderedText(text_, path));
  } else {
    return fields.Wrong(name, "an object, or a JSON text");
  }
  Add(field, kind, std::move(text));
  return absl::OkStatus();
}

absl::Status ShapeReader::AddText(const FieldReader& fields, const char* name,
                                  const std::string& where, Kind kind) {
  std::string text;
  RETURN_IF_ERROR(fields.Read(name, &text));
  if (fields.Find(name) != nullptr) Add(where + name, kind, std::move(text));
  return absl::OkStatus();
}

absl::Status ShapeReader::AddChoice(const FieldReader& fields, const char* name,
                                    const std::string& where) {
  std::vector<std::string> choices;
  RETURN_IF_ERROR(fields.Read(name, &choices));
  if (fields.Find(name) == nullptr) return absl::OkStatus();
  Add(where + name, Kind::kChoice);
  found_.back().output.choices = std::move(choices);
  return absl::OkStatus();
}

absl::Status ShapeReader::AddJsonObject(const FieldReader& fields, const char* name,
                                        const std::string& where) {
  bool wanted = false;
  RETURN_IF_ERROR(fields.Read(name, &wanted));
  if (wanted) Add(where + name, Kind::kJsonObject);
  return absl::OkStatus();
}

// {"type": "json_schema", "json_schema": {"name", "schema", "strict", "description"}}. All schemas
// are kept to, strict or not.
absl::Status ShapeReader::AddJsonSchema(const FieldReader& fields) {
  const json* const given = fields.Find("json_schema");
  if (given == nullptr || !given->is_object()) {
    return fields.Wrong("json_schema", "an object with name and schema");
  }
  const FieldReader schema(*given, "response_format.json_schema.");
  std::string name;
  std::string description;
  bool strict = false;
  RETURN_IF_ERROR(schema.Read("name", &name));
  RETURN_IF_ERROR(schema.Read("description", &description));
  RETURN_IF_ERROR(schema.Read("strict", &strict));
  const bool name_fits =
      !name.empty() && name.size() <= kMaxNameBytes &&
      name.find_first_not_of("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-") ==
          std::string::npos;
  if (!name_fits) return schema.Wrong("name", "1 to 64 letters, digits, - or _");
  const size_t num_before = found_.size();
  RETURN_IF_ERROR(AddJson(schema, "schema", {"response_format", "json_schema"}, Kind::kJsonSchema));
  // OpenAI lets the schema be left out: any object.
  if (found_.size() == num_before) Add("response_format", Kind::kJsonObject);
  return absl::OkStatus();
}

absl::Status ShapeReader::ReadResponseFormat() {
  const FieldReader fields(body_);
  const json* const format = fields.Find("response_format");
  if (format == nullptr) return absl::OkStatus();
  if (!format->is_object()) return fields.Wrong("response_format", "an object with a type");
  const FieldReader format_fields(*format, "response_format.");
  std::string type;
  RETURN_IF_ERROR(format_fields.ReadOneOf(
      "type", {"text", "json_object", "json_schema", "structural_tag"}, &type));
  if (type == "text") return absl::OkStatus();
  if (type == "json_object") {
    Add("response_format", Kind::kJsonObject);
    return absl::OkStatus();
  }
  if (type == "json_schema") return AddJsonSchema(format_fields);
  if (type == "structural_tag") {
    ASSIGN_OR_RETURN(std::string tag, OrderedText(text_, {"response_format"}));
    Add("response_format", Kind::kStructuralTag, std::move(tag));
    return absl::OkStatus();
  }
  return format_fields.Wrong("type", "text, json_object, json_schema or structural_tag");
}

// White space between JSON's tokens is either free or absent; a pattern of a client's own would
// need an engine that writes white space by regular expression.
absl::Status ReadWhitespacePattern(const FieldReader& fields, const char* name, bool* compact) {
  std::string pattern;
  RETURN_IF_ERROR(fields.Read(name, &pattern));
  if (fields.Find(name) == nullptr) return absl::OkStatus();
  if (pattern.empty()) *compact = true;
  if (pattern.empty() || pattern == "\\s*" || pattern == "[\\s]*" || pattern == "[ \\t\\n]*" ||
      pattern == "[\\n\\t ]*" || pattern == "[ \t\n]*" || pattern == "[\n\t ]*") {
    return absl::OkStatus();
  }
  return fields.Wrong(name,
                      "\"\" for no white space at all, or \"\\s*\" for any; other patterns are not "
                      "supported");
}

void ForbidFurtherProperties(ordered_json* schema) {
  if (schema->is_object() && schema->contains("properties") &&
      !schema->contains("additionalProperties")) {
    (*schema)["additionalProperties"] = false;
  }
  if (!schema->is_structured()) return;
  for (ordered_json& part : *schema) ForbidFurtherProperties(&part);
}

absl::Status ShapeReader::ReadStructuredOutputs() {
  const FieldReader top(body_);
  const json* const given = top.Find("structured_outputs");
  if (given == nullptr) return absl::OkStatus();
  if (!given->is_object()) {
    return top.Wrong("structured_outputs",
                     "an object with one of json, regex, choice, grammar, json_object, "
                     "structural_tag");
  }
  const std::string where = "structured_outputs.";
  const FieldReader fields(*given, where);
  const size_t num_before = found_.size();
  RETURN_IF_ERROR(AddJson(fields, "json", {"structured_outputs"}, Kind::kJsonSchema));
  RETURN_IF_ERROR(AddText(fields, "regex", where, Kind::kRegex));
  RETURN_IF_ERROR(AddChoice(fields, "choice", where));
  RETURN_IF_ERROR(AddText(fields, "grammar", where, Kind::kEbnfGrammar));
  RETURN_IF_ERROR(AddJsonObject(fields, "json_object", where));
  RETURN_IF_ERROR(AddJson(fields, "structural_tag", {"structured_outputs"}, Kind::kStructuralTag));
  if (found_.size() == num_before) {
    return top.Wrong("structured_outputs",
                     "an object with one of json, regex, choice, grammar, json_object, "
                     "structural_tag");
  }
  StructuredOutput& output = found_.back().output;
  bool closed = false;
  RETURN_IF_ERROR(fields.Read("disable_any_whitespace", &output.compact_json));
  RETURN_IF_ERROR(fields.Read("disable_additional_properties", &closed));
  RETURN_IF_ERROR(ReadWhitespacePattern(fields, "whitespace_pattern", &output.compact_json));
  if (closed && output.kind == Kind::kJsonSchema) {
    ordered_json schema = ordered_json::parse(output.text, nullptr, false);
    ForbidFurtherProperties(&schema);
    output.text = schema.dump();
  }
  return absl::OkStatus();
}

absl::Status ShapeReader::ReadGuided() {
  const FieldReader fields(body_);
  const size_t num_before = found_.size();
  RETURN_IF_ERROR(AddJson(fields, "guided_json", {}, Kind::kJsonSchema));
  RETURN_IF_ERROR(AddText(fields, "guided_regex", "", Kind::kRegex));
  RETURN_IF_ERROR(AddChoice(fields, "guided_choice", ""));
  RETURN_IF_ERROR(AddText(fields, "guided_grammar", "", Kind::kEbnfGrammar));
  RETURN_IF_ERROR(AddJsonObject(fields, "guided_json_object", ""));
  bool compact = false;
  RETURN_IF_ERROR(ReadWhitespacePattern(fields, "guided_whitespace_pattern", &compact));
  if (found_.size() > num_before) found_.back().output.compact_json = compact;
  std::string backend;
  RETURN_IF_ERROR(fields.Read("guided_decoding_backend", &backend));
  // There is one engine, and what it lets through is what the others would.
  const std::string name = backend.substr(0, backend.find(':'));
  for (const char* known : {"", "auto", "xgrammar", "guidance", "outlines", "lm-format-enforcer"}) {
    if (name == known) return absl::OkStatus();
  }
  return fields.Wrong("guided_decoding_backend",
                      "auto, xgrammar, guidance, outlines or lm-format-enforcer (all mean the "
                      "server's one engine)");
}

}  // namespace

absl::Status ReadStructuredOutput(const json& body, absl::string_view text,
                                  std::optional<StructuredOutput>* output) {
  ShapeReader reader(body, text);
  RETURN_IF_ERROR(reader.ReadResponseFormat());
  RETURN_IF_ERROR(reader.ReadStructuredOutputs());
  RETURN_IF_ERROR(reader.ReadGuided());
  std::vector<Found>& found = reader.found();
  if (found.size() > 1) {
    return InvalidField(found[1].field,
                        absl::StrCat("an answer has one shape, but both ", found[0].field, " and ",
                                     found[1].field, " are given; leave one out"));
  }
  if (found.empty()) return absl::OkStatus();
  const StructuredOutput& shape = found[0].output;
  const bool says_nothing = shape.kind == Kind::kChoice
                                ? shape.choices.empty()
                                : shape.kind != Kind::kJsonObject && shape.text.empty();
  if (says_nothing) {
    return InvalidField(found[0].field, absl::StrCat(found[0].field, " must not be empty"));
  }
  *output = std::move(found[0].output);
  (*output)->field = std::move(found[0].field);
  return absl::OkStatus();
}

}  // namespace quartet::gateway::http
