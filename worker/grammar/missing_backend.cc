// Stands in for xgrammar_backend.cc in a build without xgrammar.
#include "worker/grammar/grammar.h"

namespace quartet::grammar {

bool HasBackend() { return false; }

absl::Status CheckBackend() {
  return absl::UnimplementedError(
      "structured_output: this worker was built without xgrammar, which structured output needs; "
      "run deploy/local/build_libraries and build again");
}

absl::StatusOr<std::shared_ptr<const Backend>> MakeBackend(const Vocabulary&, int64_t) {
  return CheckBackend();
}

}  // namespace quartet::grammar
