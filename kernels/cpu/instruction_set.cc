#include "kernels/cpu/instruction_set.h"

#include "absl/strings/str_cat.h"
#include "common/status_macros.h"
#include "kernels/cpu/kernel_table.h"

namespace quartet::kernels::cpu {

const char* Name(InstructionSet instruction_set) {
  switch (instruction_set) {
    case InstructionSet::kAvx512:
      return "avx512";
    case InstructionSet::kAvx2:
      return "avx2";
    case InstructionSet::kPortable:
      break;
  }
  return "portable";
}

bool IsSupported(InstructionSet instruction_set) {
#if defined(__x86_64__)
  switch (instruction_set) {
    case InstructionSet::kAvx512:
      return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
             __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512dq") &&
             __builtin_cpu_supports("avx512cd") && __builtin_cpu_supports("avx512bf16") &&
             __builtin_cpu_supports("avx512vnni") && __builtin_cpu_supports("bmi2");
    case InstructionSet::kAvx2:
      return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") &&
             __builtin_cpu_supports("bmi2");
    case InstructionSet::kPortable:
      break;
  }
#endif
  return instruction_set == InstructionSet::kPortable;
}

InstructionSet BestInstructionSet() {
  if (IsSupported(InstructionSet::kAvx512)) return InstructionSet::kAvx512;
  if (IsSupported(InstructionSet::kAvx2)) return InstructionSet::kAvx2;
  return InstructionSet::kPortable;
}

absl::StatusOr<InstructionSet> ParseInstructionSet(absl::string_view name) {
  if (name == "auto") return BestInstructionSet();
  for (InstructionSet candidate :
       {InstructionSet::kPortable, InstructionSet::kAvx2, InstructionSet::kAvx512}) {
    if (name != Name(candidate)) continue;
    if (IsSupported(candidate)) return candidate;
    return absl::FailedPreconditionError(absl::StrCat(
        "instruction_set: this CPU lacks what '", name, "' needs",
        candidate == InstructionSet::kAvx512 ? " (AVX-512 F, BW, VL, DQ, CD, BF16 and VNNI)"
                                             : " (AVX2, FMA and BMI2)",
        "; the best it can do is '", Name(BestInstructionSet()), "'; use 'auto'"));
  }
  return absl::InvalidArgumentError(
      absl::StrCat("instruction_set: '", name, "' is unknown; use auto, avx512, avx2 or portable"));
}

const KernelTable& KernelsFor(InstructionSet instruction_set) {
  QUARTET_CHECK(IsSupported(instruction_set));
#if defined(__x86_64__)
  if (instruction_set == InstructionSet::kAvx512) return Avx512Kernels();
  if (instruction_set == InstructionSet::kAvx2) return Avx2Kernels();
#endif
  return PortableKernels();
}

}  // namespace quartet::kernels::cpu
