// A table for the terminal.
#pragma once

#include <string>
#include <vector>

namespace quartet::cli::eval {

// The first row is the head. The first column is aligned left, the others right; all rows have as
// many cells as the first. Ends with a newline.
std::string TextTable(const std::vector<std::vector<std::string>>& rows);

}  // namespace quartet::cli::eval
