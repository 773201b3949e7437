// Cuts text into the words that BPE works on, as the regular expressions of GPT-2 and Qwen2 do. The
// scanners are written by hand: one pass, no backtracking beyond one character, and Unicode classes
// as the reference's regex engine has them.
#pragma once

#include "absl/strings/string_view.h"
#include "tokenizer_service/vocabulary.h"

namespace quartet::tokenizer {

// Gives out the words of one text in order; together they are the text. REQUIRES: valid UTF-8 that
// outlives the scanner.
class WordScanner {
 public:
  WordScanner(absl::string_view text, SplitPattern pattern, bool individual_digits);

  // The next word; false at the end.
  bool Next(absl::string_view* word);

 private:
  // Sets section_end_ to the next digit at or after position_, or one past it if that is here.
  void FindSection();

  const char* position_;
  const char* section_end_;  // where the pattern sees the end of its text
  const char* const end_;
  const SplitPattern pattern_;
  const bool individual_digits_;
};

}  // namespace quartet::tokenizer
