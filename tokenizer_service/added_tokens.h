// Finds added tokens inside text: leftmost, then longest, in one pass, with the strip and
// single_word flags honoured.
#pragma once

#include <cstdint>
#include <vector>

#include "absl/strings/string_view.h"
#include "tokenizer_service/vocabulary.h"

namespace quartet::tokenizer {

// A stretch of a text: an added token, or what stands between two.
struct TextSegment {
  absl::string_view text;
  bool is_added;
  uint32_t id;  // if is_added
};

// A byte trie over the contents of added tokens. Immutable after the last Add, then thread-safe.
class AddedTokenMatcher {
 public:
  AddedTokenMatcher();

  // Looks for `pattern` and reports `added` (not owned). The first of two equal patterns wins.
  void Add(absl::string_view pattern, const AddedToken* added);

  bool empty() const { return tokens_.empty(); }

  // Calls sink(TextSegment) for the segments of `text` in order; empty stretches are left out.
  template <typename Sink>
  void Split(absl::string_view text, Sink&& sink) const {
    size_t done = 0;
    size_t from = 0;
    Found found;
    while (Next(text, done, &from, &found)) {
      if (done < found.begin) sink(TextSegment{text.substr(done, found.begin - done), false, 0});
      sink(TextSegment{text.substr(found.begin, found.end - found.begin), true, found.id});
      done = found.end;
    }
    if (done < text.size()) sink(TextSegment{text.substr(done), false, 0});
  }

 private:
  struct Found {
    size_t begin;
    size_t end;
    uint32_t id;
  };
  struct Node {
    int32_t token = -1;  // index in tokens_ of the pattern that ends here
    std::vector<std::pair<unsigned char, int32_t>> next;  // few: added tokens are a handful
  };

  // The next token at or after *from, which moves on; what was given out before `done` is never
  // stripped again.
  bool Next(absl::string_view text, size_t done, size_t* from, Found* found) const;
  // The longest pattern at `at`; -1 if none. Sets *end.
  int32_t LongestAt(absl::string_view text, size_t at, size_t* end) const;
  size_t FindCandidate(absl::string_view text, size_t from) const;

  std::vector<Node> nodes_;
  std::vector<const AddedToken*> tokens_;
  bool starts_[256] = {};
  int num_starts_ = 0;
  unsigned char only_start_ = 0;
};

}  // namespace quartet::tokenizer
