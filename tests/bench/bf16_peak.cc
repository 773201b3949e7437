#include "tests/bench/bf16_peak.h"

#include <immintrin.h>

namespace quartet::bench {

void RunBf16Products(int64_t rounds) {
  __m512 sums[12];
  for (__m512& sum : sums) sum = _mm512_set1_ps(1e-3f);
  __m512bh a = reinterpret_cast<__m512bh>(_mm512_set1_epi16(0x3f80));
  __m512bh b = reinterpret_cast<__m512bh>(_mm512_set1_epi16(0x3080));
  for (int64_t round = 0; round < rounds; ++round) {
#pragma GCC unroll 12
    for (int i = 0; i < 12; ++i) {
      asm volatile("vdpbf16ps %2, %1, %0" : "+v"(sums[i]) : "v"(a), "v"(b));
    }
  }
}

}  // namespace quartet::bench
