// The flags of one subcommand. absl's flags are one list for a whole binary; `quartet` has a list
// for each subcommand and passes on flags of other binaries, so it reads them itself, by the same
// syntax: --name=value, --name value, --name and
// --noname for booleans, --flagfile=FILE, and -- before arguments that are no flags.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace quartet::cli {

class FlagSet {
 public:
  using Setter = std::function<absl::Status(absl::string_view value)>;

  // `usage`: what stands after "quartet NAME", and `summary`: a sentence or two, both for --help.
  FlagSet(absl::string_view command, absl::string_view usage, absl::string_view summary);

  // Each `value` holds the default and must outlive the set.
  void Add(absl::string_view name, std::string* value, absl::string_view help);
  void Add(absl::string_view name, int64_t* value, absl::string_view help);
  void Add(absl::string_view name, double* value, absl::string_view help);
  void Add(absl::string_view name, bool* value, absl::string_view help);
  void Add(absl::string_view name, bool is_bool, absl::string_view help,
           absl::string_view default_text, Setter setter);
  // Refused with `reason` if given.
  void Refuse(absl::string_view name, absl::string_view reason);

  // Sets the values and returns the arguments that are no flags. INVALID_ARGUMENT names the flag,
  // the value and, for an unknown flag, the nearest known one. CANCELLED with the help text if
  // --help is among the flags.
  absl::StatusOr<std::vector<std::string>> Parse(const std::vector<std::string>& arguments);

  std::string Help() const;

 private:
  struct Flag {
    std::string name;
    bool is_bool = false;
    std::string help;
    std::string default_text;
    std::string refusal;
    Setter setter;
  };

  const Flag* Find(absl::string_view name) const;
  absl::Status UnknownFlag(absl::string_view name) const;
  absl::Status Apply(const Flag& flag, absl::string_view value) const;
  absl::Status ParseOne(const std::vector<std::string>& arguments, size_t* i) const;
  absl::Status ParseFile(absl::string_view path) const;

  std::string command_;
  std::string usage_;
  std::string summary_;
  std::vector<Flag> flags_;
};

// Number of single-character edits between two words (Levenshtein distance).
int EditDistance(absl::string_view a, absl::string_view b);

}  // namespace quartet::cli
