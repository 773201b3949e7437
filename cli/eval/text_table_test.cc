#include "cli/eval/text_table.h"

#include <gtest/gtest.h>

namespace quartet::cli::eval {
namespace {

TEST(TextTableTest, AlignsNamesLeftAndNumbersRightByCharacters) {
  EXPECT_EQ(TextTable({{"name", "n"}, {"Grüße", "1"}, {"x", "1000"}}),
            "name      n\n"
            "-----  ----\n"
            "Grüße     1\n"
            "x      1000\n");
  EXPECT_EQ(TextTable({}), "");
}

}  // namespace
}  // namespace quartet::cli::eval
