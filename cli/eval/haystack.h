// Text to hide a sentence in: plain sentences from a seeded generator, or those of a user's file.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "absl/strings/string_view.h"

namespace quartet::cli::eval {

// A fact that nothing else in the text tells, and the question after it.
struct Needle {
  std::string sentence;
  std::string question;
  std::string answer;        // digits
  std::string answer_start;  // how a base model is made to continue
};

// `count` sentences about everyday things, without digits, so that no needle's answer is among
// them. The same seed gives the same sentences.
std::vector<std::string> PlainSentences(int count, uint64_t seed);

// The sentences of a text: split after '.', '!' or '?' before white space, after their CJK forms,
// and at empty lines.
std::vector<std::string> SplitSentences(absl::string_view text);

Needle MakeNeedle(uint64_t seed);

// The first `count` sentences (repeated from the start if there are fewer) with the needle after
// `depth` (0: before all, 1: after all) of them.
std::string BuildHaystack(const std::vector<std::string>& sentences, int count, double depth,
                          const Needle& needle);

}  // namespace quartet::cli::eval
