// A Jinja template as chat templates use the language: the public face of this folder. What the
// language means is Jinja2 3.1's business, in the environment that transformers sets up:
// ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True, loop controls), its tojson,
// raise_exception, strftime_now and {% generation %}. What is not there is refused by name.
#pragma once

#include <ctime>
#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "tokenizer_service/jinja/ast.h"
#include "tokenizer_service/jinja/heap.h"
#include "tokenizer_service/jinja/limits.h"

namespace quartet::tokenizer::jinja {

// Immutable, thread-safe.
class Template {
 public:
  // Returns INVALID_ARGUMENT naming the line and what is wrong or not supported there.
  static absl::StatusOr<Template> Parse(absl::string_view source, const Limits& limits = Limits());

  // The text. `variables` may point into `heap`, whose budget this uses up; `now` is what
  // strftime_now() tells. Returns INVALID_ARGUMENT naming the line if the template fails or
  // refuses, RESOURCE_EXHAUSTED naming the line if it reaches a limit.
  // REQUIRES: all texts are UTF-8.
  absl::StatusOr<std::string> Render(const Dict& variables, Heap* heap, std::time_t now) const;

 private:
  explicit Template(Program program)
      : program_(std::make_shared<const Program>(std::move(program))) {}

  std::shared_ptr<const Program> program_;
};

}  // namespace quartet::tokenizer::jinja
