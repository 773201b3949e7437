#include "common/logging.h"

#include <gtest/gtest.h>

#include <string>

namespace quartet::common {
namespace {

std::string CapturedLine(LogLevel level, absl::string_view message,
                         std::initializer_list<LogField> fields) {
  testing::internal::CaptureStderr();
  Log(level, message, fields);
  return testing::internal::GetCapturedStderr();
}

TEST(LoggingTest, FieldsFollowTheMessage) {
  const std::string line =
      CapturedLine(LogLevel::kInfo, "sequence finished", {{"request_id", "a1"}, {"tokens", 7}});
  EXPECT_NE(line.find(" I quartet sequence finished request_id=a1 tokens=7\n"), std::string::npos)
      << line;
}

TEST(LoggingTest, AValueCanNotForgeAField) {
  const std::string line =
      CapturedLine(LogLevel::kInfo, "rejected", {{"name", "x\nE quartet forged user=\"root\""}});
  EXPECT_EQ(line.find('\n'), line.size() - 1) << line;
  EXPECT_NE(line.find("name=\"x\\nE quartet forged user=\\\"root\\\"\""), std::string::npos)
      << line;
}

TEST(LoggingTest, LinesBelowTheLevelAreDropped) {
  EXPECT_EQ(CapturedLine(LogLevel::kDebug, "detail", {}), "");
  SetLogLevel(LogLevel::kDebug);
  EXPECT_NE(CapturedLine(LogLevel::kDebug, "detail", {}), "");
  SetLogLevel(LogLevel::kInfo);
}

TEST(LoggingTest, LevelsAreReadByName) {
  EXPECT_EQ(*ParseLogLevel("warning"), LogLevel::kWarning);
  const absl::Status unknown = ParseLogLevel("loud").status();
  EXPECT_EQ(unknown.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_NE(unknown.message().find("got 'loud'"), std::string::npos);
}

}  // namespace
}  // namespace quartet::common
