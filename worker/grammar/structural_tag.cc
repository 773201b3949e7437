#include "worker/grammar/structural_tag.h"

#include "absl/strings/str_cat.h"
#include "common/status_macros.h"
#include "worker/grammar/regex_grammar.h"

namespace quartet::grammar {
namespace {

Schema GrammarFormat(std::string ebnf) {
  return Schema{{"type", "grammar"}, {"grammar", std::move(ebnf)}};
}

absl::Status Annotate(const absl::Status& status, const std::string& path) {
  return absl::Status(status.code(), absl::StrCat("in ", path, ": ", status.message()));
}

absl::StatusOr<Schema> ResolveSchema(const Schema& schema, const JsonGrammarOptions& options,
                                     const std::string& path) {
  absl::StatusOr<std::string> ebnf = JsonSchemaToEbnf(schema, options);
  if (!ebnf.ok()) return Annotate(ebnf.status(), path);
  return GrammarFormat(*std::move(ebnf));
}

// Depth is bounded by ParseJson.
absl::Status Resolve(const JsonGrammarOptions& options, const std::string& path, Schema* format) {
  if (format->is_array()) {
    for (size_t i = 0; i < format->size(); ++i) {
      RETURN_IF_ERROR(Resolve(options, absl::StrCat(path, "/", i), &(*format)[i]));
    }
    return absl::OkStatus();
  }
  if (!format->is_object()) return absl::OkStatus();
  std::string type;
  if (format->contains("type") && (*format)["type"].is_string()) {
    type = (*format)["type"].get<std::string>();
  }
  if (type == "json_schema") {
    const bool is_plain = !format->contains("style") || (*format)["style"] == "json";
    if (!format->contains("json_schema") || !is_plain) {
      return SchemaError(path, "a json_schema needs \"json_schema\" and no \"style\" but json");
    }
    ASSIGN_OR_RETURN(*format, ResolveSchema((*format)["json_schema"], options, path));
    return absl::OkStatus();
  }
  if (type == "regex") {
    if (!format->contains("pattern") || !(*format)["pattern"].is_string()) {
      return SchemaError(path, "a regex needs \"pattern\"");
    }
    const auto expression =
        RegexExpression((*format)["pattern"].get<std::string>(), RegexContext::kText);
    if (!expression.ok()) return Annotate(expression.status(), path);
    *format = GrammarFormat(absl::StrCat("root ::= ", *expression, "\n"));
    return absl::OkStatus();
  }
  if (type == "qwen_xml_parameter") {
    return SchemaError(path, "type qwen_xml_parameter is not supported; use json_schema");
  }
  for (const auto& [key, value] : format->items()) {
    RETURN_IF_ERROR(Resolve(options, absl::StrCat(path, "/", key), &value));
  }
  return absl::OkStatus();
}

// The form of vLLM's first version: the same tags for one set of triggers.
absl::StatusOr<Schema> FromStructures(const Schema& old) {
  if (!old["structures"].is_array() || !old.contains("triggers")) {
    return SchemaError("#", "\"structures\" must be a list and stand beside \"triggers\"");
  }
  Schema tags = Schema::array();
  for (const Schema& structure : old["structures"]) {
    if (!structure.is_object() || !structure.contains("begin") || !structure.contains("end")) {
      return SchemaError("#/structures", "each needs begin, end and schema");
    }
    const Schema schema = structure.contains("schema") ? structure["schema"] : Schema(true);
    tags.push_back({{"type", "tag"},
                    {"begin", structure["begin"]},
                    {"content", {{"type", "json_schema"}, {"json_schema", schema}}},
                    {"end", structure["end"]}});
  }
  return Schema{
      {"type", "structural_tag"},
      {"format", {{"type", "triggered_tags"}, {"triggers", old["triggers"]}, {"tags", tags}}}};
}

}  // namespace

absl::StatusOr<std::string> ResolveStructuralTag(absl::string_view text,
                                                 const JsonGrammarOptions& options) {
  ASSIGN_OR_RETURN(Schema tag, ParseJson(text));
  if (!tag.is_object()) return SchemaError("#", "a structural tag is a JSON object");
  if (tag.contains("structures")) {
    ASSIGN_OR_RETURN(tag, FromStructures(tag));
  }
  if (!tag.contains("format")) return SchemaError("#", "a structural tag needs \"format\"");
  RETURN_IF_ERROR(Resolve(options, "#/format", &tag["format"]));
  return tag.dump();
}

}  // namespace quartet::grammar
