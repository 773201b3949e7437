// Drives the template evaluator from a script: reads one JSON request a line, answers one JSON line
// each.
//   {"template": TEXT}     parses it; requests after it render it. Answers {} or {"error":
//   MESSAGE}.
//   {"variables": TEXT, "now": SECONDS}     renders with a JSON object of variables. Answers
//   {"text": TEXT} or {"error": MESSAGE}.
#include <iostream>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>

#include "common/status_macros.h"
#include "tokenizer_service/jinja/json_reader.h"
#include "tokenizer_service/jinja/template.h"

namespace quartet::tokenizer::jinja {
namespace {

using Json = nlohmann::json;

absl::StatusOr<std::string> Render(const Template& parsed, const Json& request) {
  Heap heap{Limits()};
  ASSIGN_OR_RETURN(const Value variables,
                   ReadJson(request["variables"].get_ref<const std::string&>(), &heap));
  return parsed.Render(variables.dict(), &heap, request.value("now", std::time_t{0}));
}

Json Failure(const absl::Status& status) { return {{"error", std::string(status.message())}}; }

int Run() {
  std::ios::sync_with_stdio(false);
  absl::StatusOr<Template> parsed = absl::InvalidArgumentError("no template");
  std::string line;
  while (std::getline(std::cin, line)) {
    const Json request = Json::parse(line);
    Json answer = Json::object();
    if (request.contains("template")) {
      parsed = Template::Parse(request["template"].get_ref<const std::string&>());
      if (!parsed.ok()) answer = Failure(parsed.status());
    } else if (!parsed.ok()) {
      answer = Failure(parsed.status());
    } else {
      const absl::StatusOr<std::string> text = Render(*parsed, request);
      answer = text.ok() ? Json{{"text", *text}} : Failure(text.status());
    }
    std::cout << answer.dump(-1, ' ', true, Json::error_handler_t::replace) << "\n";
  }
  return 0;
}

}  // namespace
}  // namespace quartet::tokenizer::jinja

int main() { return quartet::tokenizer::jinja::Run(); }
