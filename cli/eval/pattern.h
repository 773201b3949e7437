// A regular expression of a JSON Schema: ECMA-262's syntax, found anywhere in the text.
#pragma once

#include <memory>
#include <string>

#include "absl/status/statusor.h"

namespace quartet::cli::eval {

class Pattern {
 public:
  // INVALID_ARGUMENT if `expression` is none.
  static absl::StatusOr<Pattern> Compile(const std::string& expression);

  // False too for a search that takes too many steps. May be called from several threads.
  bool Matches(const std::string& text) const;

 private:
  explicit Pattern(std::shared_ptr<void> code) : code_(std::move(code)) {}

  std::shared_ptr<void> code_;  // pcre2_code
};

}  // namespace quartet::cli::eval
