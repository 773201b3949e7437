#include "tokenizer_service/jinja/template.h"

#include <utility>

#include "common/status_macros.h"
#include "tokenizer_service/jinja/evaluator.h"
#include "tokenizer_service/jinja/parser.h"

namespace quartet::tokenizer::jinja {

absl::StatusOr<Template> Template::Parse(absl::string_view source, const Limits& limits) {
  ASSIGN_OR_RETURN(Program program, ParseProgram(source, limits));
  return Template(std::move(program));
}

absl::StatusOr<std::string> Template::Render(const Dict& variables, Heap* heap,
                                             std::time_t now) const {
  return Evaluator(*program_, heap, now).Run(variables);
}

}  // namespace quartet::tokenizer::jinja
