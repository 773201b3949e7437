// Python's string operations on UTF-8. Lengths and positions count characters (code points).
// REQUIRES of all: valid UTF-8.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "absl/strings/string_view.h"

namespace quartet::tokenizer::jinja {

// As str.isspace().
bool IsSpace(uint32_t code_point);

size_t NumCharacters(absl::string_view text);

// Byte offset of character number `index`, the text's size if it is shorter.
size_t CharacterOffset(absl::string_view text, size_t index);

std::vector<absl::string_view> Characters(absl::string_view text);

// Without white space, or the characters of `chars` if that is not null, at one end or both.
absl::string_view StripLeft(absl::string_view text, const absl::string_view* chars = nullptr);
absl::string_view StripRight(absl::string_view text, const absl::string_view* chars = nullptr);
inline absl::string_view Strip(absl::string_view text, const absl::string_view* chars = nullptr) {
  return StripLeft(StripRight(text, chars), chars);
}

// Byte offset of `part` in `text`, npos if it is not there. Linear in the size of both.
size_t FindFirst(absl::string_view text, absl::string_view part);

// As str.split(separator, max_splits): at most so many splits, all if it is negative.
// REQUIRES: separator is not empty.
std::vector<absl::string_view> Split(absl::string_view text, absl::string_view separator,
                                     int64_t max_splits);
// The same from the right.
std::vector<absl::string_view> SplitFromRight(absl::string_view text, absl::string_view separator,
                                              int64_t max_splits);
// As str.split(None, max_splits): by runs of white space.
std::vector<absl::string_view> SplitBySpace(absl::string_view text, int64_t max_splits);
std::vector<absl::string_view> SplitLines(absl::string_view text, bool keep_ends);
// At least as many as SplitLines gives.
size_t MaxLines(absl::string_view text);

// How often `part` is in `text`, not overlapping. REQUIRES: part is not empty.
size_t CountParts(absl::string_view text, absl::string_view part);
// As str.replace(from, to, count); all if count is negative.
std::string Replace(absl::string_view text, absl::string_view from, absl::string_view to,
                    int64_t count);

std::string Upper(absl::string_view text);
std::string Lower(absl::string_view text);
// The first character in upper case, the others in lower case.
std::string Capitalize(absl::string_view text);
// As Jinja's filter: words start after white space and any of -({[<.
std::string TitleFilter(absl::string_view text);
// As str.title(): words start after what is no letter.
std::string TitleMethod(absl::string_view text);

// HTML's five characters as markupsafe.escape writes them.
std::string EscapeHtml(absl::string_view text);

// Appends repr(text).
void AppendRepr(absl::string_view text, std::string* out);

}  // namespace quartet::tokenizer::jinja
