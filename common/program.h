// What every main does with its flags before anything else.
#pragma once

#include "absl/strings/string_view.h"

namespace quartet::common {

// Makes --help print `usage` and the flags of main.cc (absl would list those of a file named like
// the program), and --version our version. Call before absl::ParseCommandLine.
void ConfigureProgram(absl::string_view usage);

}  // namespace quartet::common
