#include "tokenizer_service/utf8.h"

#include <cstring>

namespace quartet::tokenizer {
namespace {

// Bytes of the character that `lead` starts; 0 if none starts with it.
uint32_t CharacterBytes(unsigned char lead) {
  if (lead < 0x80) return 1;
  if (lead < 0xc2) return 0;
  if (lead < 0xe0) return 2;
  if (lead < 0xf0) return 3;
  return lead < 0xf5 ? 4 : 0;
}

// Whether `second` may follow `lead` (Unicode standard, table 3-7).
bool SecondByteFits(unsigned char lead, unsigned char second) {
  const unsigned char low = lead == 0xe0 ? 0xa0 : lead == 0xf0 ? 0x90 : 0x80;
  const unsigned char high = lead == 0xed ? 0x9f : lead == 0xf4 ? 0x8f : 0xbf;
  return second >= low && second <= high;
}

// Length of the ASCII at the start of `text`, found eight bytes at a time.
size_t AsciiPrefix(absl::string_view text, size_t from) {
  while (from + 8 <= text.size()) {
    uint64_t word;
    std::memcpy(&word, text.data() + from, 8);
    if ((word & 0x8080808080808080u) != 0) break;
    from += 8;
  }
  while (from < text.size() && static_cast<unsigned char>(text[from]) < 0x80) ++from;
  return from;
}

}  // namespace

void AppendCodePoint(uint32_t code_point, std::string* out) {
  char buffer[4];
  size_t size;
  if (code_point < 0x80) {
    buffer[0] = static_cast<char>(code_point);
    size = 1;
  } else if (code_point < 0x800) {
    buffer[0] = static_cast<char>(0xc0 | code_point >> 6);
    buffer[1] = static_cast<char>(0x80 | (code_point & 0x3f));
    size = 2;
  } else if (code_point < 0x10000) {
    buffer[0] = static_cast<char>(0xe0 | code_point >> 12);
    buffer[1] = static_cast<char>(0x80 | (code_point >> 6 & 0x3f));
    buffer[2] = static_cast<char>(0x80 | (code_point & 0x3f));
    size = 3;
  } else {
    buffer[0] = static_cast<char>(0xf0 | code_point >> 18);
    buffer[1] = static_cast<char>(0x80 | (code_point >> 12 & 0x3f));
    buffer[2] = static_cast<char>(0x80 | (code_point >> 6 & 0x3f));
    buffer[3] = static_cast<char>(0x80 | (code_point & 0x3f));
    size = 4;
  }
  out->append(buffer, size);
}

Utf8Unit ClassifyUtf8(absl::string_view bytes) {
  const auto* b = reinterpret_cast<const unsigned char*>(bytes.data());
  const uint32_t want = CharacterBytes(b[0]);
  if (want == 0) return {Utf8Form::kInvalid, 1};
  for (uint32_t i = 1; i < want; ++i) {
    if (i == bytes.size()) return {Utf8Form::kIncomplete, i};
    const bool fits = i == 1 ? SecondByteFits(b[0], b[1]) : (b[i] & 0xc0) == 0x80;
    if (!fits) return {Utf8Form::kInvalid, i};
  }
  return {Utf8Form::kCharacter, want};
}

size_t FindInvalidUtf8(absl::string_view text) {
  size_t at = 0;
  while (true) {
    at = AsciiPrefix(text, at);
    if (at == text.size()) return absl::string_view::npos;
    // Most text that leaves ASCII stays outside for a while.
    while (at < text.size() && static_cast<unsigned char>(text[at]) >= 0x80) {
      const Utf8Unit unit = ClassifyUtf8(text.substr(at));
      if (unit.form != Utf8Form::kCharacter) return at;
      at += unit.num_bytes;
    }
  }
}

size_t AppendLossyUtf8(absl::string_view bytes, std::string* text) {
  size_t at = 0;
  while (at < bytes.size()) {
    const size_t ascii_end = AsciiPrefix(bytes, at);
    text->append(bytes.data() + at, ascii_end - at);
    at = ascii_end;
    if (at == bytes.size()) break;
    const Utf8Unit unit = ClassifyUtf8(bytes.substr(at));
    if (unit.form == Utf8Form::kIncomplete) return unit.num_bytes;
    if (unit.form == Utf8Form::kCharacter) {
      text->append(bytes.data() + at, unit.num_bytes);
    } else {
      text->append(kReplacementCharacter.data(), kReplacementCharacter.size());
    }
    at += unit.num_bytes;
  }
  return 0;
}

}  // namespace quartet::tokenizer
