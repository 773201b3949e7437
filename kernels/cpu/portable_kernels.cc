// Kernels for the compiler's baseline of any architecture.
#include "kernels/cpu/attention_f32.h"
#include "kernels/cpu/kernel_table.h"
#include "kernels/cpu/matmul_f32.h"
#include "kernels/cpu/row_kernels.h"

namespace quartet::kernels::cpu {

const KernelTable& PortableKernels() {
  static constexpr KernelTable kTable = {
      "portable", nullptr,   MatmulF32,          ExpandBf16,   RoundToBf16,    AddRmsNormRow,
      SwigluRow,  RotateRow, AttentionBf16InF32, AttentionF32, AttentionMerge, AttentionFinish,
  };
  return kTable;
}

}  // namespace quartet::kernels::cpu
