#include "gateway/http/path_pattern.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace quartet::gateway::http {
namespace {

using ::testing::Pair;
using ::testing::UnorderedElementsAre;

TEST(PathPatternTest, AParameterStandsForWhatIsThere) {
  EXPECT_TRUE(PathFits("/health", "/health"));
  EXPECT_FALSE(PathFits("/health", "/health/x"));
  EXPECT_TRUE(PathFits("/v1/models/{model}", "/v1/models/a/b"));
  EXPECT_FALSE(PathFits("/v1/models/{model}", "/v1/models/"));
  EXPECT_TRUE(PathFits("/v1/chat/{id}/messages", "/v1/chat/7/messages"));
  EXPECT_FALSE(PathFits("/v1/chat/{id}/messages", "/v1/chat//messages"));
  EXPECT_FALSE(PathFits("/v1/chat/{id}/messages", "/v1/chat/messages"));
  EXPECT_EQ(PathParameter("/v1/models/{model}", "/v1/models/a%2Fb/c"), "a/b/c");
  EXPECT_EQ(PathParameter("/v1/chat/{id}/messages", "/v1/chat/7/messages"), "7");
}

TEST(PathPatternTest, QueriesAreDecoded) {
  EXPECT_THAT(ParseQuery("limit=2&metadata%5Bk%5D=a+b%26c&flag&limit=3&=x"),
              UnorderedElementsAre(Pair("limit", "3"), Pair("metadata[k]", "a b&c"),
                                   Pair("flag", ""), Pair("", "x")));
  EXPECT_TRUE(ParseQuery("").empty());
  EXPECT_THAT(ParseQuery("a=%4"), UnorderedElementsAre(Pair("a", "%4")));
}

}  // namespace
}  // namespace quartet::gateway::http
