// A character without NFC flags starts a segment, and segments normalise on their own (Unicode
// standard, UAX #15, "stable code points"). So plain text is only looked at, and utf8proc sees the
// few segments that hold something to sort or to join.
#include "tokenizer_service/nfc.h"

#include <utf8proc.h>

#include <algorithm>
#include <cstdint>
#include <vector>

#include "common/status_macros.h"
#include "tokenizer_service/unicode_tables.h"
#include "tokenizer_service/utf8.h"

namespace quartet::tokenizer {
namespace {

constexpr uint8_t kNfcFlags = kNfcReorder | kNfcCheck;

int CombiningClass(int32_t code_point) {
  return utf8proc_get_property(code_point)->combining_class;
}

// A code point with its combining class above it, so that sorting looks nothing up.
constexpr int kClassShift = 21;

int32_t WithClass(int32_t code_point) {
  return CombiningClass(code_point) << kClassShift | code_point;
}

// Canonical ordering: stable by combining class between starters; leaves plain code points.
// utf8proc's own sorting is quadratic.
void SortMarks(std::vector<int32_t>* code_points) {
  const auto is_starter = [](int32_t c) { return c >> kClassShift == 0; };
  const auto lower_class = [](int32_t a, int32_t b) { return a >> kClassShift < b >> kClassShift; };
  auto begin = code_points->begin();
  while (begin != code_points->end()) {
    const auto end = std::find_if(begin, code_points->end(), is_starter);
    if (!std::is_sorted(begin, end, lower_class)) std::stable_sort(begin, end, lower_class);
    begin = end == code_points->end() ? end : end + 1;
  }
  for (int32_t& c : *code_points) c &= (1 << kClassShift) - 1;
}

// Appends the NFC form of one segment to `out`.
void NormalizeSegment(absl::string_view segment, std::string* out) {
  std::vector<int32_t> code_points;
  const char* p = segment.data();
  const char* const end = p + segment.size();
  const CodePoint first = ReadCodePoint(p);
  const bool flagged = (CodePointTable::Get().Flags(first.value) & kNfcFlags) != 0;
  if (!flagged && CombiningClass(static_cast<int32_t>(first.value)) != 0) {
    // A mark that the reference does not know yet: nothing may pass it.
    out->append(p, first.num_bytes);
    p += first.num_bytes;
  }
  while (p < end) {
    const CodePoint c = ReadCodePoint(p);
    int32_t parts[8];
    int last_boundary_class = 0;
    const utf8proc_ssize_t num_parts = utf8proc_decompose_char(
        static_cast<int32_t>(c.value), parts, 8, UTF8PROC_DECOMPOSE, &last_boundary_class);
    QUARTET_CHECK(num_parts > 0 && num_parts <= 8);
    for (utf8proc_ssize_t i = 0; i < num_parts; ++i) code_points.push_back(WithClass(parts[i]));
    p += c.num_bytes;
  }
  SortMarks(&code_points);
  const auto option = static_cast<utf8proc_option_t>(UTF8PROC_COMPOSE | UTF8PROC_STABLE);
  const utf8proc_ssize_t size = utf8proc_normalize_utf32(
      code_points.data(), static_cast<utf8proc_ssize_t>(code_points.size()), option);
  QUARTET_CHECK(size >= 0);
  for (utf8proc_ssize_t i = 0; i < size; ++i) {
    AppendCodePoint(static_cast<uint32_t>(code_points[i]), out);
  }
}

// Where the next character at or above U+0300 may stand: all below is in NFC and starts a segment.
const char* SkipPlain(const char* p, const char* end) {
  while (p < end && static_cast<unsigned char>(*p) < 0xcc) ++p;
  return p;
}

// End of the run of flagged characters at `p`; *in_order turns false if the run needs work.
const char* ScanFlagged(const CodePointTable& table, const char* p, const char* end,
                        bool* in_order) {
  int last_class = 0;
  while (p < end) {
    const CodePoint c = ReadCodePoint(p);
    const uint8_t flags = table.Flags(c.value) & kNfcFlags;
    if (flags == 0) break;
    const int combining_class = CombiningClass(static_cast<int32_t>(c.value));
    if ((flags & kNfcCheck) != 0 || combining_class < last_class) *in_order = false;
    last_class = combining_class;
    p += c.num_bytes;
  }
  return p;
}

}  // namespace

absl::string_view NormalizeNfc(absl::string_view text, std::string* buffer) {
  const CodePointTable& table = CodePointTable::Get();
  const char* const end = text.data() + text.size();
  const char* copied = text.data();  // Everything before is in *buffer, if `changed`.
  bool changed = false;
  const char* p = SkipPlain(text.data(), end);
  while (p < end) {
    const CodePoint c = ReadCodePoint(p);
    if ((table.Flags(c.value) & kNfcFlags) == 0) {
      p = SkipPlain(p + c.num_bytes, end);
      continue;
    }
    bool in_order = true;
    const char* const segment_end = ScanFlagged(table, p, end, &in_order);
    if (!in_order) {
      const char* const segment = p > copied ? p - ReadCodePointBefore(p).num_bytes : p;
      if (!changed) buffer->clear();
      changed = true;
      buffer->append(copied, static_cast<size_t>(segment - copied));
      NormalizeSegment({segment, static_cast<size_t>(segment_end - segment)}, buffer);
      copied = segment_end;
    }
    p = SkipPlain(segment_end, end);
  }
  if (!changed) return text;
  buffer->append(copied, static_cast<size_t>(end - copied));
  return *buffer;
}

}  // namespace quartet::tokenizer
