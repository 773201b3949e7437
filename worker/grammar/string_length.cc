#include "worker/grammar/string_length.h"

#include <algorithm>

#include "absl/strings/numbers.h"

namespace quartet::grammar {
namespace {

constexpr int64_t kNoMaximum = kMaxMaxLength + 1;
constexpr absl::string_view kMark = "[temperature=";

void Clear(int32_t id, std::span<uint32_t> mask) {
  mask[static_cast<size_t>(id) / 32] &= ~(uint32_t{1} << (id % 32));
}

bool BeginsCharacter(char byte) { return (static_cast<unsigned char>(byte) & 0xc0) != 0x80; }

}  // namespace

int EncodeLength(const StringLength& length) {
  const int64_t max = std::min(length.max.value_or(kNoMaximum), kNoMaximum - 1);
  return static_cast<int>((length.max.has_value() ? max : kNoMaximum) * (kMaxMinLength + 1) +
                          std::min(length.min, kMaxMinLength));
}

StringLength DecodeLength(int code) {
  StringLength length;
  length.min = code % (kMaxMinLength + 1);
  const int64_t max = code / (kMaxMinLength + 1);
  if (max < kNoMaximum) length.max = max;
  return length;
}

std::optional<int64_t> SmallestMaximum(absl::string_view source) {
  std::optional<int64_t> smallest;
  for (size_t at = source.find(kMark); at != absl::string_view::npos; at = source.find(kMark, at)) {
    at += kMark.size();
    int code = 0;
    if (!absl::SimpleAtoi(source.substr(at, source.find(']', at) - at), &code)) continue;
    const StringLength length = DecodeLength(code);
    // A string that would be too short must not begin and end in one token.
    const int64_t max = length.min > 0 ? -1 : length.max.value_or(kNoMaximum);
    if (max < kNoMaximum) smallest = std::min(smallest.value_or(max), max);
  }
  return smallest;
}

TokenTexts::TokenTexts(const Vocabulary& vocabulary) {
  for (size_t id = 0; id < vocabulary.tokens.size(); ++id) {
    Text text = {static_cast<int32_t>(id), 0, -1, 0, 0};
    for (const char byte : vocabulary.tokens[id]) {
      if (byte == '"') {
        text.after_quote = 0;
        ++text.num_quotes;
        continue;
      }
      if (!BeginsCharacter(byte)) continue;
      int32_t& part = text.after_quote < 0 ? text.before_quote : text.after_quote;
      ++part;
      text.longest_part = std::max(text.longest_part, text.after_quote);
    }
    by_id_.push_back(text);
    texts_.push_back(text);
    if (text.after_quote >= 0) with_quote_.push_back(text);
  }
  std::stable_sort(texts_.begin(), texts_.end(),
                   [](const Text& a, const Text& b) { return a.before_quote > b.before_quote; });
}

void TokenTexts::ForbidLongBeginnings(int64_t max, std::span<uint32_t> mask) const {
  for (const Text& text : with_quote_) {
    const bool is_whole = max < 0 && text.num_quotes > 1;
    if (is_whole || text.longest_part > std::max<int64_t>(max, 0)) Clear(text.id, mask);
  }
}

void TokenTexts::KeepLength(const StringLength& length, int64_t count,
                            std::span<uint32_t> mask) const {
  if (length.max.has_value()) {
    const int64_t left = *length.max - count;
    for (const Text& text : texts_) {
      if (text.before_quote <= left) break;
      Clear(text.id, mask);
    }
  }
  if (count >= length.min) return;
  for (const Text& text : with_quote_) {
    if (count + text.before_quote < length.min) Clear(text.id, mask);
  }
}

int64_t TokenTexts::CountAfter(int32_t token_id, bool was_open, int64_t count) const {
  if (token_id < 0 || token_id >= static_cast<int32_t>(by_id_.size())) return count;
  const Text& text = by_id_[static_cast<size_t>(token_id)];
  if (text.after_quote >= 0) return text.after_quote;
  return (was_open ? count : 0) + text.before_quote;
}

}  // namespace quartet::grammar
