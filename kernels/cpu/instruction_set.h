// Which instruction sets there are kernels for, and which of them this CPU has.
#pragma once

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace quartet::kernels::cpu {

struct KernelTable;

enum class InstructionSet {
  kPortable,  // baseline x86-64 or any other architecture
  kAvx2,      // AVX2, FMA
  kAvx512,    // AVX-512 F, BW, VL, DQ, CD, BF16, VNNI
};

// "portable", "avx2", "avx512".
const char* Name(InstructionSet instruction_set);

bool IsSupported(InstructionSet instruction_set);
InstructionSet BestInstructionSet();

// "auto" gives the best. Returns INVALID_ARGUMENT for an unknown name, FAILED_PRECONDITION if this
// CPU lacks it.
absl::StatusOr<InstructionSet> ParseInstructionSet(absl::string_view name);

// REQUIRES: IsSupported(instruction_set).
const KernelTable& KernelsFor(InstructionSet instruction_set);

}  // namespace quartet::kernels::cpu
