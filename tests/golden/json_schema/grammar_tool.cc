// Asks grammars about texts, one JSON line in, one out, for json_schema_suite.py: {"schema": TEXT,
// "texts": [...]} gives
// {"error": MESSAGE} or {"fits": [...]}.
#include <iostream>
#include <string>

#include "worker/grammar/json_schema_grammar.h"
#include "worker/grammar/testing/text_grammar.h"

int main() {
  using quartet::grammar::Schema;
  std::string line;
  while (std::getline(std::cin, line)) {
    const Schema question = Schema::parse(line);
    const auto grammar = quartet::grammar::CompileFormat(
        quartet::grammar::OutputFormat::Kind::kJsonSchema, question["schema"].get<std::string>());
    Schema answer;
    if (!grammar.ok()) {
      answer["error"] = std::string(grammar.status().message());
    } else {
      answer["fits"] = Schema::array();
      for (const Schema& text : question["texts"]) {
        answer["fits"].push_back(quartet::grammar::Fits(**grammar, text.get<std::string>()));
      }
    }
    std::cout << answer.dump() << std::endl;
  }
}
