// Finds the longest token that a text starts with: a double-array trie. Immutable after Build, then
// thread-safe.
#pragma once

#include <cstdint>
#include <utility>
#include <vector>

#include "absl/strings/string_view.h"
#include "tokenizer_service/huge_pages.h"

namespace quartet::tokenizer {

inline constexpr uint32_t kNoToken = UINT32_MAX;

class TokenTrie {
 public:
  // Tokens as bytes and id, in any order; neither empty nor twice the same bytes.
  void Build(std::vector<std::pair<absl::string_view, uint32_t>> tokens);

  // The longest token at the start of `text`, kNoToken if there is none.
  uint32_t Longest(absl::string_view text) const {
    uint32_t node = kRoot;
    uint32_t longest = kNoToken;
    for (const char c : text) {
      const uint32_t child = nodes_[node].base + static_cast<unsigned char>(c);
      if (nodes_[child].parent != node) break;
      node = child;
      if (nodes_[node].token != kNoToken) longest = nodes_[node].token;
    }
    return longest;
  }

 private:
  struct Node {
    uint32_t base = 0;             // the child for a byte is at base + byte
    uint32_t parent = UINT32_MAX;  // UINT32_MAX: free
    uint32_t token = kNoToken;
  };
  static constexpr uint32_t kRoot = 0;
  // From here on a place suits any byte: its base is above 0, where the root is.
  static constexpr uint32_t kFirstPlace = 256;

  // Where children with these bytes fit.
  uint32_t FindBase(const std::vector<unsigned char>& bytes);

  HugeVector<Node> nodes_;
  uint32_t next_place_[3];
};

}  // namespace quartet::tokenizer
