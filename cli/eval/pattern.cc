#include "cli/eval/pattern.h"

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>

#include <utility>

#include "absl/strings/str_cat.h"

namespace quartet::cli::eval {

absl::StatusOr<Pattern> Pattern::Compile(const std::string& expression) {
  // As near to ECMA-262 as PCRE2 goes: \uXXXX, [] and [^], and $ only at the very end.
  constexpr uint32_t kOptions =
      PCRE2_UTF | PCRE2_ALT_BSUX | PCRE2_ALLOW_EMPTY_CLASS | PCRE2_DOLLAR_ENDONLY;
  int error = 0;
  PCRE2_SIZE offset = 0;
  pcre2_code* const code = pcre2_compile(reinterpret_cast<PCRE2_SPTR>(expression.data()),
                                         expression.size(), kOptions, &error, &offset, nullptr);
  if (code != nullptr)
    return Pattern(
        std::shared_ptr<void>(code, [](void* p) { pcre2_code_free(static_cast<pcre2_code*>(p)); }));
  PCRE2_UCHAR message[256] = {};
  pcre2_get_error_message(error, message, sizeof(message));
  return absl::InvalidArgumentError(absl::StrCat(
      "'", expression, "' is no regular expression: ", reinterpret_cast<char*>(message),
      " at byte ", offset));
}

bool Pattern::Matches(const std::string& text) const {
  const auto* const code = static_cast<const pcre2_code*>(code_.get());
  const std::unique_ptr<pcre2_match_data, decltype(&pcre2_match_data_free)> match(
      pcre2_match_data_create_from_pattern(code, nullptr), pcre2_match_data_free);
  return pcre2_match(code, reinterpret_cast<PCRE2_SPTR>(text.data()), text.size(), 0, 0,
                     match.get(), nullptr) >= 0;
}

}  // namespace quartet::cli::eval
