#include "cli/doctor_checks.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace quartet::cli {
namespace {

using ::testing::HasSubstr;

TEST(CheckProcessorTest, WantsBf16AndTellsWithoutIt) {
  EXPECT_EQ(CheckProcessor(
                "model name: x\nflags\t\t: fpu avx2 fma avx512f avx512bw avx512vl avx512_bf16\n")
                .health,
            Health::kGood);
  EXPECT_THAT(CheckProcessor("flags : fpu avx2 fma avx512f\n").text, HasSubstr("no AVX-512 BF16"));
  EXPECT_THAT(CheckProcessor("flags : fpu sse2\n").text, HasSubstr("no AVX2"));
  // A word inside another is not the word.
  EXPECT_THAT(CheckProcessor("flags : avx2x fmaa\n").text, HasSubstr("no AVX2"));
}

TEST(CheckMemoryTest, CountsUnpackedWeights) {
  EXPECT_EQ(AvailableMemory("MemTotal: 9 kB\nMemAvailable:   2048 kB\n"), 2048 * 1024);
  EXPECT_EQ(AvailableMemory("nothing"), 0);
  EXPECT_EQ(CheckMemory(3'000'000'000, 1'500'000'000, false).health, Health::kGood);
  EXPECT_EQ(CheckMemory(3'000'000'000, 1'500'000'000, true).health, Health::kMissing);
  EXPECT_THAT(CheckMemory(3'000'000'000, 1'500'000'000, true).text, HasSubstr("3.0 GB free"));
}

TEST(CheckHugePagesTest, OffIsSlow) {
  EXPECT_EQ(CheckHugePages("always madvise [never]\n").health, Health::kSlow);
  EXPECT_EQ(CheckHugePages("always [madvise] never\n").health, Health::kGood);
}

}  // namespace
}  // namespace quartet::cli
