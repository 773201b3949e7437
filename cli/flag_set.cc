#include "cli/flag_set.h"

#include <algorithm>
#include <fstream>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "common/status_macros.h"

namespace quartet::cli {
namespace {

absl::Status BadValue(absl::string_view name, absl::string_view value, absl::string_view expected) {
  return absl::InvalidArgumentError(absl::StrCat("--", name, "=", value, ": not ", expected));
}

bool LooksLikeFlag(absl::string_view argument) { return argument.size() > 1 && argument[0] == '-'; }

absl::string_view WithoutDashes(absl::string_view argument) {
  if (!absl::ConsumePrefix(&argument, "--")) absl::ConsumePrefix(&argument, "-");
  return argument;
}

}  // namespace

int EditDistance(absl::string_view a, absl::string_view b) {
  std::vector<int> row(b.size() + 1);
  for (size_t j = 0; j <= b.size(); ++j) row[j] = static_cast<int>(j);
  for (size_t i = 1; i <= a.size(); ++i) {
    int diagonal = row[0];
    row[0] = static_cast<int>(i);
    for (size_t j = 1; j <= b.size(); ++j) {
      const int substitute = diagonal + (a[i - 1] == b[j - 1] ? 0 : 1);
      diagonal = row[j];
      row[j] = std::min({row[j] + 1, row[j - 1] + 1, substitute});
    }
  }
  return row[b.size()];
}

FlagSet::FlagSet(absl::string_view command, absl::string_view usage, absl::string_view summary)
    : command_(command), usage_(usage), summary_(summary) {}

void FlagSet::Add(absl::string_view name, std::string* value, absl::string_view help) {
  Add(name, false, help, *value, [value](absl::string_view text) {
    *value = std::string(text);
    return absl::OkStatus();
  });
}

void FlagSet::Add(absl::string_view name, int64_t* value, absl::string_view help) {
  Add(name, false, help, absl::StrCat(*value),
      [value, name = std::string(name)](absl::string_view text) {
        if (absl::SimpleAtoi(text, value)) return absl::OkStatus();
        return BadValue(name, text, "a whole number");
      });
}

void FlagSet::Add(absl::string_view name, double* value, absl::string_view help) {
  Add(name, false, help, absl::StrCat(*value),
      [value, name = std::string(name)](absl::string_view text) {
        if (absl::SimpleAtod(text, value)) return absl::OkStatus();
        return BadValue(name, text, "a number");
      });
}

void FlagSet::Add(absl::string_view name, bool* value, absl::string_view help) {
  Add(name, true, help, *value ? "true" : "false",
      [value, name = std::string(name)](absl::string_view text) {
        if (absl::SimpleAtob(text, value)) return absl::OkStatus();
        return BadValue(name, text, "true or false");
      });
}

void FlagSet::Add(absl::string_view name, bool is_bool, absl::string_view help,
                  absl::string_view default_text, Setter setter) {
  QUARTET_CHECK(Find(name) == nullptr);
  flags_.push_back(Flag{std::string(name), is_bool, std::string(help), std::string(default_text),
                        "", std::move(setter)});
}

void FlagSet::Refuse(absl::string_view name, absl::string_view reason) {
  flags_.push_back(Flag{std::string(name), false, "", "", std::string(reason), nullptr});
}

const FlagSet::Flag* FlagSet::Find(absl::string_view name) const {
  for (const Flag& flag : flags_) {
    if (flag.name == name) return &flag;
  }
  return nullptr;
}

absl::Status FlagSet::UnknownFlag(absl::string_view name) const {
  const Flag* nearest = nullptr;
  int distance = 0;
  for (const Flag& flag : flags_) {
    if (!flag.refusal.empty()) continue;
    const int d = EditDistance(flag.name, name);
    if (nearest == nullptr || d < distance) {
      nearest = &flag;
      distance = d;
    }
  }
  std::string message = absl::StrCat("quartet ", command_, " knows no flag --", name);
  // A word that shares less than half of its letters is no help.
  if (nearest != nullptr && 2 * distance <= static_cast<int>(name.size())) {
    absl::StrAppend(&message, "; did you mean --", nearest->name, "?");
  } else {
    absl::StrAppend(&message, "; `quartet ", command_, " --help` lists all");
  }
  return absl::InvalidArgumentError(message);
}

absl::Status FlagSet::Apply(const Flag& flag, absl::string_view value) const {
  if (!flag.refusal.empty()) {
    return absl::InvalidArgumentError(absl::StrCat("--", flag.name, ": ", flag.refusal));
  }
  return flag.setter(value);
}

absl::Status FlagSet::ParseOne(const std::vector<std::string>& arguments, size_t* i) const {
  const absl::string_view body = WithoutDashes(arguments[*i]);
  const size_t equals = body.find('=');
  const absl::string_view name = body.substr(0, equals);
  if (name == "help") return absl::CancelledError(Help());
  const Flag* flag = Find(name);
  if (flag == nullptr && equals == absl::string_view::npos && absl::StartsWith(name, "no")) {
    flag = Find(name.substr(2));
    if (flag != nullptr && flag->is_bool) return Apply(*flag, "false");
    flag = nullptr;
  }
  if (flag == nullptr && name != "flagfile") return UnknownFlag(name);
  absl::string_view value;
  if (equals != absl::string_view::npos) {
    value = body.substr(equals + 1);
  } else if (flag != nullptr && flag->is_bool) {
    value = "true";
  } else if (*i + 1 < arguments.size()) {
    value = arguments[++*i];
  } else {
    return absl::InvalidArgumentError(absl::StrCat("--", name, " needs a value: --", name, "=..."));
  }
  return flag == nullptr ? ParseFile(value) : Apply(*flag, value);
}

absl::Status FlagSet::ParseFile(absl::string_view path) const {
  std::ifstream file{std::string(path)};
  if (!file) {
    return absl::InvalidArgumentError(absl::StrCat("--flagfile=", path, ": can't read it"));
  }
  std::string line;
  while (std::getline(file, line)) {
    const std::string text(absl::StripAsciiWhitespace(line));
    if (text.empty() || text[0] == '#') continue;
    const absl::string_view body = WithoutDashes(text);
    if (absl::StartsWith(body, "flagfile")) {
      return absl::InvalidArgumentError(
          absl::StrCat("--flagfile=", path, ": a flag file can't name another one"));
    }
    const std::vector<std::string> one = {LooksLikeFlag(text) ? text : absl::StrCat("--", text)};
    size_t i = 0;
    const absl::Status status = ParseOne(one, &i);
    if (!status.ok() && !absl::IsCancelled(status)) {
      return absl::InvalidArgumentError(absl::StrCat(path, ": ", status.message()));
    }
  }
  return absl::OkStatus();
}

absl::StatusOr<std::vector<std::string>> FlagSet::Parse(const std::vector<std::string>& arguments) {
  std::vector<std::string> rest;
  for (size_t i = 0; i < arguments.size(); ++i) {
    if (arguments[i] == "--") {
      rest.insert(rest.end(), arguments.begin() + static_cast<std::ptrdiff_t>(i) + 1,
                  arguments.end());
      break;
    }
    if (!LooksLikeFlag(arguments[i])) {
      rest.push_back(arguments[i]);
      continue;
    }
    RETURN_IF_ERROR(ParseOne(arguments, &i));
  }
  return rest;
}

std::string FlagSet::Help() const {
  std::string help = absl::StrCat("quartet ", command_, " ", usage_, "\n", summary_, "\n");
  for (const Flag& flag : flags_) {
    if (!flag.refusal.empty()) continue;
    absl::StrAppend(&help, "\n  --", flag.name, "  ", flag.help);
    if (!flag.default_text.empty()) absl::StrAppend(&help, " Default: ", flag.default_text, ".");
  }
  absl::StrAppend(&help, "\n  --flagfile  File with flags, one a line.\n");
  return help;
}

}  // namespace quartet::cli
