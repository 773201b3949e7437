// Hashing of 64 bits, for tables and fingerprints that nobody attacks for profit.
#pragma once

#include <cstdint>

namespace quartet::common {

// The finaliser of MurmurHash3 (Appleby, public domain): every input bit reaches every output bit.
// One to one.
inline uint64_t MixBits(uint64_t x) {
  x ^= x >> 33;
  x *= 0xff51afd7ed558ccdull;
  x ^= x >> 33;
  x *= 0xc4ceb9fe1a85ec53ull;
  return x ^ (x >> 33);
}

}  // namespace quartet::common
