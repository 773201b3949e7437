#include "worker/simulated/profile.h"

#include <gtest/gtest.h>

#include <fstream>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"

namespace quartet::simulated {
namespace {

constexpr char kGood[] = R"({"num_gpus": 2, "memory_gb": 24, "memory_utilization": 0.5,
  "memory_bandwidth_gb_per_s": 1000, "compute_tflop_per_s": 100, "bytes_per_value": 2,
  "collective_latency_us": 20, "collective_bandwidth_gb_per_s": 10, "step_overhead_us": 50})";

std::string ErrorOf(const std::string& from, const std::string& to) {
  const auto profile = ParseProfile(absl::StrReplaceAll(kGood, {{from, to}}), "a.json");
  EXPECT_EQ(profile.status().code(), absl::StatusCode::kInvalidArgument);
  return std::string(profile.status().message());
}

TEST(ProfileTest, UnitsBecomeBytesAndSeconds) {
  const auto profile = ParseProfile(kGood, "a.json");
  ASSERT_TRUE(profile.ok()) << profile.status();
  EXPECT_EQ(profile->num_gpus, 2);
  EXPECT_DOUBLE_EQ(profile->memory_bytes, 12e9);
  EXPECT_DOUBLE_EQ(profile->memory_bytes_per_second, 1e12);
  EXPECT_DOUBLE_EQ(profile->flops_per_second, 1e14);
  EXPECT_DOUBLE_EQ(profile->collective_latency_s, 20e-6);
  EXPECT_DOUBLE_EQ(profile->collective_bytes_per_second, 1e10);
  EXPECT_DOUBLE_EQ(profile->step_overhead_s, 50e-6);
}

TEST(ProfileTest, ShippedProfilesAreReadByName) {
  const std::vector<std::string> names = ShippedProfiles();
  EXPECT_EQ(names, (std::vector<std::string>{"1xrtx4090-bf16", "4xl40s-bf16", "4xrtx4090-bf16"}));
  for (const std::string& name : names) {
    const auto profile = ReadProfile(name);
    ASSERT_TRUE(profile.ok()) << profile.status();
    EXPECT_EQ(profile->num_gpus, name[0] - '0');
    EXPECT_FALSE(profile->description.empty());
  }
}

TEST(ProfileTest, AFileIsReadByItsPath) {
  const std::string path = absl::StrCat(testing::TempDir(), "/profile_test.json");
  std::ofstream(path) << kGood;
  EXPECT_TRUE(ReadProfile(path).ok());
}

TEST(ProfileTest, AnUnknownNameIsAnsweredWithTheShippedOnes) {
  const absl::Status status = ReadProfile("8xh100").status();
  EXPECT_EQ(status.code(), absl::StatusCode::kNotFound);
  EXPECT_EQ(status.message(),
            "8xh100: no such profile, and no file that can be read; the shipped profiles are "
            "1xrtx4090-bf16, 4xl40s-bf16, 4xrtx4090-bf16");
}

TEST(ProfileTest, ErrorsNameFileFieldAndValue) {
  EXPECT_EQ(ErrorOf("\"memory_gb\": 24", "\"memory_gb\": -24"),
            "a.json: memory_gb is -24; expected a number above 0 to 1e+06");
  EXPECT_EQ(ErrorOf("\"memory_gb\": 24,", ""),
            "a.json: memory_gb is missing; expected a number above 0 to 1e+06");
  EXPECT_EQ(ErrorOf("\"memory_utilization\": 0.5", "\"memory_utilization\": 1.5"),
            "a.json: memory_utilization is 1.5; expected a number above 0 to 1");
  EXPECT_EQ(ErrorOf("\"num_gpus\": 2", "\"num_gpus\": \"two\""),
            "a.json: num_gpus is \"two\"; expected an integer from 1 to 1024");
  EXPECT_NE(ErrorOf("\"step_overhead_us\"", "\"step_overhead_ms\"").find("step_overhead_ms is 50"),
            std::string::npos);
  EXPECT_NE(ErrorOf("}", "").find("a.json: not valid JSON"), std::string::npos);
}

TEST(ProfileTest, OneGpuNeedsNoCollectives) {
  EXPECT_TRUE(ParseProfile(R"({"num_gpus": 1, "memory_gb": 24, "memory_utilization": 0.5,
      "memory_bandwidth_gb_per_s": 1000, "compute_tflop_per_s": 100, "bytes_per_value": 2,
      "step_overhead_us": 0})",
                           "a.json")
                  .ok());
  EXPECT_EQ(ErrorOf(", \"collective_bandwidth_gb_per_s\": 10", ""),
            "a.json: collective_bandwidth_gb_per_s is missing; expected a number above 0 to 1e+06");
}

}  // namespace
}  // namespace quartet::simulated
