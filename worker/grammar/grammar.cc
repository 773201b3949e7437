#include "worker/grammar/grammar.h"

namespace quartet::grammar {

const char* OutputFormat::field() const {
  switch (kind) {
    case Kind::kNone:
      return "structured_output";
    case Kind::kJsonObject:
      return "structured_output.json_object";
    case Kind::kJsonSchema:
      return "structured_output.json_schema";
    case Kind::kRegex:
      return "structured_output.regex";
    case Kind::kChoice:
      return "structured_output.choice";
    case Kind::kEbnf:
      return "structured_output.ebnf_grammar";
    case Kind::kStructuralTag:
      return "structured_output.structural_tag";
  }
  return "structured_output";
}

size_t OutputFormat::size_bytes() const {
  size_t size = text.size();
  for (const std::string& choice : choices) size += choice.size();
  return size;
}

}  // namespace quartet::grammar
