#include "tests/bench/peak_loops.h"

#include <immintrin.h>

namespace quartet::bench {

float RunBf16Products(int64_t rounds) {
  // Different from each other, or the compiler would compute one and copy it.
  __m512 s0 = _mm512_set1_ps(1), s1 = _mm512_set1_ps(2), s2 = _mm512_set1_ps(3);
  __m512 s3 = _mm512_set1_ps(4), s4 = _mm512_set1_ps(5), s5 = _mm512_set1_ps(6);
  __m512 s6 = _mm512_set1_ps(7), s7 = _mm512_set1_ps(8), s8 = _mm512_set1_ps(9);
  __m512 s9 = _mm512_set1_ps(10), s10 = _mm512_set1_ps(11), s11 = _mm512_set1_ps(12);
  __m512bh a = reinterpret_cast<__m512bh>(_mm512_set1_epi16(0x3f80));
  __m512bh b = reinterpret_cast<__m512bh>(_mm512_set1_epi16(0x3080));
  for (int64_t round = 0; round < rounds; ++round) {
    // Opaque to the compiler, so that the products can't be computed once.
    asm volatile("" : "+v"(a), "+v"(b));
    s0 = _mm512_dpbf16_ps(s0, a, b);
    s1 = _mm512_dpbf16_ps(s1, a, b);
    s2 = _mm512_dpbf16_ps(s2, a, b);
    s3 = _mm512_dpbf16_ps(s3, a, b);
    s4 = _mm512_dpbf16_ps(s4, a, b);
    s5 = _mm512_dpbf16_ps(s5, a, b);
    s6 = _mm512_dpbf16_ps(s6, a, b);
    s7 = _mm512_dpbf16_ps(s7, a, b);
    s8 = _mm512_dpbf16_ps(s8, a, b);
    s9 = _mm512_dpbf16_ps(s9, a, b);
    s10 = _mm512_dpbf16_ps(s10, a, b);
    s11 = _mm512_dpbf16_ps(s11, a, b);
  }
  return (s0 + s1 + s2 + s3 + s4 + s5 + s6 + s7 + s8 + s9 + s10 + s11)[0];
}

uint64_t ReadMemory(const char* memory, int64_t bytes) {
  __m512i s0 = _mm512_setzero_si512(), s1 = s0, s2 = s0, s3 = s0;
  for (int64_t i = 0; i < bytes; i += 256) {
    s0 = _mm512_xor_si512(s0, _mm512_loadu_si512(memory + i));
    s1 = _mm512_xor_si512(s1, _mm512_loadu_si512(memory + i + 64));
    s2 = _mm512_xor_si512(s2, _mm512_loadu_si512(memory + i + 128));
    s3 = _mm512_xor_si512(s3, _mm512_loadu_si512(memory + i + 192));
  }
  s0 = _mm512_xor_si512(_mm512_xor_si512(s0, s1), _mm512_xor_si512(s2, s3));
  return static_cast<uint64_t>(s0[0]);
}

}  // namespace quartet::bench
