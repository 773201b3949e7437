#include "gateway/http/path_pattern.h"

#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_replace.h"
#include "absl/strings/str_split.h"

namespace quartet::gateway::http {
namespace {

// %XX stands for a byte.
std::string PercentDecode(absl::string_view text) {
  std::string out;
  for (size_t i = 0; i < text.size(); ++i) {
    const auto hex = [&](size_t at) {
      const char c = at < text.size() ? text[at] : '?';
      return c >= '0' && c <= '9'   ? c - '0'
             : c >= 'a' && c <= 'f' ? c - 'a' + 10
             : c >= 'A' && c <= 'F' ? c - 'A' + 10
                                    : -1;
    };
    if (text[i] == '%' && hex(i + 1) >= 0 && hex(i + 2) >= 0) {
      out.push_back(static_cast<char>(hex(i + 1) * 16 + hex(i + 2)));
      i += 2;
    } else {
      out.push_back(text[i]);
    }
  }
  return out;
}

// What stands before and after a pattern's parameter; before all of it if there is none.
std::pair<absl::string_view, absl::string_view> AroundParameter(absl::string_view pattern) {
  const size_t begin = pattern.find('{');
  if (begin == absl::string_view::npos) return {pattern, ""};
  return {pattern.substr(0, begin), pattern.substr(pattern.find('}') + 1)};
}

}  // namespace

bool PathFits(absl::string_view pattern, absl::string_view path) {
  const auto [before, after] = AroundParameter(pattern);
  if (before == pattern) return path == pattern;
  return path.size() > before.size() + after.size() && absl::StartsWith(path, before) &&
         absl::EndsWith(path, after);
}

std::string PathParameter(absl::string_view pattern, absl::string_view path) {
  const auto [before, after] = AroundParameter(pattern);
  return PercentDecode(path.substr(before.size(), path.size() - before.size() - after.size()));
}

std::map<std::string, std::string> ParseQuery(absl::string_view query) {
  std::map<std::string, std::string> fields;
  for (const absl::string_view field : absl::StrSplit(query, '&', absl::SkipEmpty())) {
    const std::pair<absl::string_view, absl::string_view> parts =
        absl::StrSplit(field, absl::MaxSplits('=', 1));
    const auto decode = [](absl::string_view text) {
      return PercentDecode(absl::StrReplaceAll(text, {{"+", " "}}));
    };
    fields[decode(parts.first)] = decode(parts.second);
  }
  return fields;
}

}  // namespace quartet::gateway::http
