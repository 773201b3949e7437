#include "kernels/cpu/instruction_set.h"

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "kernels/cpu/kernel_table.h"

namespace quartet::kernels::cpu {
namespace {

TEST(InstructionSetTest, AutoIsTheBest) {
  EXPECT_EQ(ParseInstructionSet("auto").value(), BestInstructionSet());
  EXPECT_TRUE(IsSupported(BestInstructionSet()));
}

TEST(InstructionSetTest, PortableIsAlwaysThere) {
  EXPECT_EQ(ParseInstructionSet("portable").value(), InstructionSet::kPortable);
  EXPECT_STREQ(KernelsFor(InstructionSet::kPortable).numerics_name, "portable");
}

TEST(InstructionSetTest, AnUnknownNameIsRefusedWithTheKnownOnes) {
  const absl::Status status = ParseInstructionSet("sse9").status();
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(std::string(status.message()), testing::HasSubstr("'sse9' is unknown; use auto"));
}

TEST(InstructionSetTest, WhatTheCpuLacksIsRefused) {
  for (InstructionSet set : {InstructionSet::kAvx2, InstructionSet::kAvx512}) {
    if (IsSupported(set)) {
      EXPECT_EQ(ParseInstructionSet(Name(set)).value(), set);
    } else {
      EXPECT_EQ(ParseInstructionSet(Name(set)).status().code(),
                absl::StatusCode::kFailedPrecondition);
    }
  }
}

}  // namespace
}  // namespace quartet::kernels::cpu
