// Kernels compiled with -march=x86-64-v4 -mavx512bf16 -mavx512vnni: bf16 products by vdpbf16ps.
#include "kernels/cpu/attention_avx512.h"
#include "kernels/cpu/attention_f32.h"
#include "kernels/cpu/kernel_table.h"
#include "kernels/cpu/matmul_avx512.h"
#include "kernels/cpu/matmul_f32.h"
#include "kernels/cpu/row_kernels.h"

namespace quartet::kernels::cpu {

const KernelTable& Avx512Kernels() {
  static constexpr KernelTable kTable = {
      "avx512bf16", MatmulBf16, MatmulF32,     ExpandBf16,   RoundToBf16,    AddRmsNormRow,
      SwigluRow,    RotateRow,  AttentionBf16, AttentionF32, AttentionMerge, AttentionFinish,
  };
  return kTable;
}

}  // namespace quartet::kernels::cpu
