// What one template and one rendering of it may cost, so that a template that a client sends can
// neither hang nor fill the process.
#pragma once

#include <cstddef>
#include <cstdint>

namespace quartet::tokenizer::jinja {

struct Limits {
  size_t max_template_bytes = 1 << 20;
  // Levels of nesting in the template's source.
  int max_syntax_depth = 200;
  // Expressions and statements evaluated; work on long texts and lists counts as more. About 0.3 s.
  int64_t max_steps = 5'000'000;
  // Bytes of all values that a rendering makes, including those it drops again.
  size_t max_value_bytes = size_t{64} << 20;
  size_t max_output_bytes = size_t{16} << 20;
  // Levels of macros, blocks and expressions inside each other while evaluating.
  int max_depth = 1000;
};

// Values (lists in lists) are read, compared and printed down to this depth.
inline constexpr int kMaxValueDepth = 250;

}  // namespace quartet::tokenizer::jinja
