#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "worker/grammar/grammar.h"

namespace quartet::grammar {
namespace {

TEST(MissingBackendTest, SaysHowToGetIt) {
  EXPECT_FALSE(HasBackend());
  EXPECT_EQ(CheckBackend().code(), absl::StatusCode::kUnimplemented);
  EXPECT_THAT(std::string(CheckBackend().message()),
              testing::HasSubstr("deploy/local/build_libraries"));
  EXPECT_EQ(MakeBackend({}, 10).status().code(), absl::StatusCode::kUnimplemented);
}

}  // namespace
}  // namespace quartet::grammar
