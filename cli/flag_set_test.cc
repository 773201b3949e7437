#include "cli/flag_set.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdio>
#include <fstream>

namespace quartet::cli {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

struct Values {
  std::string model = "m";
  int64_t port = 8080;
  double rate = 0.5;
  bool verbose = false;
  FlagSet flags{"serve", "[flags]", "Serves."};
  Values() {
    flags.Add("model", &model, "Model.");
    flags.Add("http_port", &port, "Port.");
    flags.Add("rate", &rate, "Rate.");
    flags.Add("verbose", &verbose, "Talks.");
    flags.Refuse("rank", "is set by quartet itself");
  }
};

std::string ErrorOf(const std::vector<std::string>& arguments) {
  Values v;
  return std::string(v.flags.Parse(arguments).status().message());
}

TEST(FlagSetTest, TakesAllSpellings) {
  Values v;
  auto rest = v.flags.Parse(
      {"--model=a=b", "--http_port", "9", "-rate=2", "--verbose", "x", "--", "--not-a-flag"});
  ASSERT_TRUE(rest.ok()) << rest.status();
  EXPECT_THAT(*rest, ElementsAre("x", "--not-a-flag"));
  EXPECT_EQ(v.model, "a=b");
  EXPECT_EQ(v.port, 9);
  EXPECT_EQ(v.rate, 2);
  EXPECT_TRUE(v.verbose);
  ASSERT_TRUE(v.flags.Parse({"--noverbose"}).ok());
  EXPECT_FALSE(v.verbose);
}

TEST(FlagSetTest, NamesTheFlagAndTheValueOfABadOne) {
  EXPECT_THAT(ErrorOf({"--http_port=x1"}), HasSubstr("--http_port=x1"));
  EXPECT_THAT(ErrorOf({"--rate=fast"}), HasSubstr("--rate=fast"));
  EXPECT_THAT(ErrorOf({"--model"}), HasSubstr("--model needs a value"));
}

TEST(FlagSetTest, SuggestsTheNearestFlag) {
  EXPECT_THAT(ErrorOf({"--http_prot=1"}), HasSubstr("did you mean --http_port?"));
  EXPECT_THAT(ErrorOf({"--zzz"}), HasSubstr("--help"));
  EXPECT_THAT(ErrorOf({"--nomodel"}), HasSubstr("knows no flag --nomodel"));
}

TEST(FlagSetTest, RefusesWithAReason) {
  EXPECT_THAT(ErrorOf({"--rank=1"}), HasSubstr("is set by quartet itself"));
}

TEST(FlagSetTest, ReadsAFlagFile) {
  const std::string path = ::testing::TempDir() + "/flags.txt";
  std::ofstream(path) << "# comment\n\n--model=from_file\nhttp_port=7\n";
  Values v;
  ASSERT_TRUE(v.flags.Parse({"--flagfile=" + path, "--http_port=8"}).ok());
  EXPECT_EQ(v.model, "from_file");
  EXPECT_EQ(v.port, 8);
  std::ofstream(path) << "--bogus=1\n";
  EXPECT_THAT(ErrorOf({"--flagfile=" + path}), HasSubstr("bogus"));
  std::remove(path.c_str());
  EXPECT_THAT(ErrorOf({"--flagfile=" + path}), HasSubstr("can't read"));
}

TEST(FlagSetTest, HelpIsAskedForByFlag) {
  Values v;
  const absl::Status status = v.flags.Parse({"--help"}).status();
  EXPECT_TRUE(absl::IsCancelled(status));
  EXPECT_THAT(std::string(status.message()), HasSubstr("--http_port  Port. Default: 8080."));
}

TEST(EditDistanceTest, CountsEdits) {
  EXPECT_EQ(EditDistance("", "abc"), 3);
  EXPECT_EQ(EditDistance("kitten", "sitting"), 3);
  EXPECT_EQ(EditDistance("same", "same"), 0);
}

}  // namespace
}  // namespace quartet::cli
