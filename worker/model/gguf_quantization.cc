#include "worker/model/gguf_quantization.h"

#include <algorithm>
#include <cstring>

#include "worker/model/float_conversion.h"

namespace quartet::model {
namespace {

constexpr int kBlock = 32;        // elements of the simple formats
constexpr int kSuperBlock = 256;  // elements of the K formats

float Half(const uint8_t* from) { return Float16ToFloat(LoadAs<uint16_t>(from)); }

void F32(const uint8_t* block, int begin, int end, float* out) {
  std::memcpy(out, block, sizeof(float));
}

void F16(const uint8_t* block, int begin, int end, float* out) { *out = Half(block); }

void BF16(const uint8_t* block, int begin, int end, float* out) {
  *out = kernels::ToFloat({LoadAs<uint16_t>(block)});
}

// {half d; uint8 quants[16]}: element j in the low half of byte j, element j + 16 in the high half.
void Q4_0(const uint8_t* block, int begin, int end, float* out) {
  const float d = Half(block);
  const uint8_t* quants = block + 2;
  for (int j = 0; j < 16; ++j) {
    out[j] = static_cast<float>((quants[j] & 15) - 8) * d;
    out[j + 16] = static_cast<float>((quants[j] >> 4) - 8) * d;
  }
}

// {half d, m; uint8 quants[16]}
void Q4_1(const uint8_t* block, int begin, int end, float* out) {
  const float d = Half(block), m = Half(block + 2);
  const uint8_t* quants = block + 4;
  for (int j = 0; j < 16; ++j) {
    out[j] = static_cast<float>(quants[j] & 15) * d + m;
    out[j + 16] = static_cast<float>(quants[j] >> 4) * d + m;
  }
}

// {half d; uint32 fifth_bits; uint8 quants[16]}
void Q5_0(const uint8_t* block, int begin, int end, float* out) {
  const float d = Half(block);
  const uint32_t fifth = LoadAs<uint32_t>(block + 2);
  const uint8_t* quants = block + 6;
  for (int j = 0; j < 16; ++j) {
    const int low = (quants[j] & 15) | static_cast<int>((fifth >> j & 1) << 4);
    const int high = (quants[j] >> 4) | static_cast<int>((fifth >> (j + 16) & 1) << 4);
    out[j] = static_cast<float>(low - 16) * d;
    out[j + 16] = static_cast<float>(high - 16) * d;
  }
}

// {half d, m; uint32 fifth_bits; uint8 quants[16]}
void Q5_1(const uint8_t* block, int begin, int end, float* out) {
  const float d = Half(block), m = Half(block + 2);
  const uint32_t fifth = LoadAs<uint32_t>(block + 4);
  const uint8_t* quants = block + 8;
  for (int j = 0; j < 16; ++j) {
    const int low = (quants[j] & 15) | static_cast<int>((fifth >> j & 1) << 4);
    const int high = (quants[j] >> 4) | static_cast<int>((fifth >> (j + 16) & 1) << 4);
    out[j] = static_cast<float>(low) * d + m;
    out[j + 16] = static_cast<float>(high) * d + m;
  }
}

// {half d; int8 quants[32]}
void Q8_0(const uint8_t* block, int begin, int end, float* out) {
  const float d = Half(block);
  for (int j = 0; j < kBlock; ++j) {
    out[j] = static_cast<float>(static_cast<int8_t>(block[2 + j])) * d;
  }
}

// Scale and minimum (6 bits each) of sub-block s out of the 12 bytes that Q4_K and Q5_K share.
struct ScaleAndMin {
  int scale;
  int min;
};
ScaleAndMin UnpackScale(const uint8_t* packed, int s) {
  if (s < 4) return {packed[s] & 63, packed[s + 4] & 63};
  return {(packed[s + 4] & 15) | (packed[s - 4] >> 6 << 4),
          (packed[s + 4] >> 4) | (packed[s] >> 6 << 4)};
}

// {half d, dmin; uint8 scales[12]; uint8 quants[128]}: sub-blocks 2p and 2p + 1 in the low and high
// halves of bytes [32 p, 32 p + 32).
void Q4_K(const uint8_t* block, int begin, int end, float* out) {
  const float d = Half(block), dmin = Half(block + 2);
  for (int s = begin; s < end; ++s, out += kBlock) {
    const ScaleAndMin packed = UnpackScale(block + 4, s);
    const float scale = d * static_cast<float>(packed.scale);
    const float min = dmin * static_cast<float>(packed.min);
    const uint8_t* quants = block + 16 + s / 2 * 32;
    const int shift = s % 2 * 4;
    for (int l = 0; l < kBlock; ++l) {
      out[l] = scale * static_cast<float>(quants[l] >> shift & 15) - min;
    }
  }
}

// {half d, dmin; uint8 scales[12]; uint8 fifth_bits[32]; uint8 quants[128]}: bit s of
// fifth_bits[l] belongs to element l of sub-block s.
void Q5_K(const uint8_t* block, int begin, int end, float* out) {
  const float d = Half(block), dmin = Half(block + 2);
  const uint8_t* fifth = block + 16;
  for (int s = begin; s < end; ++s, out += kBlock) {
    const ScaleAndMin packed = UnpackScale(block + 4, s);
    const float scale = d * static_cast<float>(packed.scale);
    const float min = dmin * static_cast<float>(packed.min);
    const uint8_t* quants = block + 48 + s / 2 * 32;
    const int shift = s % 2 * 4;
    for (int l = 0; l < kBlock; ++l) {
      const int quant = (quants[l] >> shift & 15) | (fifth[l] >> s & 1) << 4;
      out[l] = scale * static_cast<float>(quant) - min;
    }
  }
}

// {uint8 low[128]; uint8 high[64]; int8 scales[16]; half d}: each half of 128 elements has 64 bytes
// of low and 32 of high; in it, quarter q (32 elements) has its low bits in half q / 2 of bytes
// 32 (q % 2) + l, its high bits in bits 2q of high[l].
void Q6_K(const uint8_t* block, int begin, int end, float* out) {
  constexpr int kSub = 16;
  const float d = Half(block + 208);
  for (int s = begin; s < end; ++s, out += kSub) {
    const int half = s / 8, quarter = s % 8 / 2, first = s % 2 * kSub;
    const uint8_t* low = block + half * 64 + quarter % 2 * 32 + first;
    const uint8_t* high = block + 128 + half * 32 + first;
    const float scale = d * static_cast<float>(static_cast<int8_t>(block[192 + s]));
    for (int l = 0; l < kSub; ++l) {
      const int quant = (low[l] >> (quarter / 2 * 4) & 15) | (high[l] >> (quarter * 2) & 3) << 4;
      out[l] = scale * static_cast<float>(quant - 32);
    }
  }
}

constexpr GgmlType kTypes[] = {
    {0, "F32", 1, 4, 1, F32},
    {1, "F16", 1, 2, 1, F16},
    {2, "Q4_0", kBlock, 18, kBlock, Q4_0},
    {3, "Q4_1", kBlock, 20, kBlock, Q4_1},
    {6, "Q5_0", kBlock, 22, kBlock, Q5_0},
    {7, "Q5_1", kBlock, 24, kBlock, Q5_1},
    {8, "Q8_0", kBlock, 34, kBlock, Q8_0},
    {12, "Q4_K", kSuperBlock, 144, kBlock, Q4_K},
    {13, "Q5_K", kSuperBlock, 176, kBlock, Q5_K},
    {14, "Q6_K", kSuperBlock, 210, 16, Q6_K},
    {30, "BF16", 1, 2, 1, BF16},
};

// ggml's numbering, for messages.
constexpr absl::string_view kNames[] = {
    "F32",   "F16",        "Q4_0",       "Q4_1",       "Q4_2",     "Q4_3",     "Q5_0",
    "Q5_1",  "Q8_0",       "Q8_1",       "Q2_K",       "Q3_K",     "Q4_K",     "Q5_K",
    "Q6_K",  "Q8_K",       "IQ2_XXS",    "IQ2_XS",     "IQ3_XXS",  "IQ1_S",    "IQ4_NL",
    "IQ3_S", "IQ2_S",      "IQ4_XS",     "I8",         "I16",      "I32",      "I64",
    "F64",   "IQ1_M",      "BF16",       "Q4_0_4_4",   "Q4_0_4_8", "Q4_0_8_8", "TQ1_0",
    "TQ2_0", "IQ4_NL_4_4", "IQ4_NL_4_8", "IQ4_NL_8_8", "MXFP4"};

}  // namespace

const GgmlType* FindGgmlType(uint32_t id) {
  for (const GgmlType& type : kTypes) {
    if (type.id == id) return &type;
  }
  return nullptr;
}

const GgmlType* FindGgmlType(absl::string_view name) {
  for (const GgmlType& type : kTypes) {
    if (name == type.name) return &type;
  }
  return nullptr;
}

absl::string_view GgmlTypeName(uint32_t id) {
  return id < std::size(kNames) ? kNames[id] : absl::string_view("unknown");
}

absl::string_view LoadableGgmlTypes() {
  return "F32, F16, BF16, Q8_0, Q5_0, Q5_1, Q4_0, Q4_1, Q4_K, Q5_K or Q6_K";
}

void DequantizeRange(const GgmlType& type, const uint8_t* row, int64_t first, int64_t count,
                     float* out) {
  // The unquantised formats in one loop rather than a call an element.
  if (type.id == 0) {
    std::memcpy(out, row + first * 4, count * sizeof(float));
    return;
  }
  if (type.id == 1) return Float16ToFloat32(row + first * 2, count, out);
  if (type.id == 30) return Bfloat16ToFloat32(row + first * 2, count, out);
  const int64_t end = first + count;
  for (int64_t at = first; at < end;) {
    const int64_t block = at / type.block_elements;
    const int offset = static_cast<int>(at % type.block_elements);
    const int length = static_cast<int>(std::min<int64_t>(type.block_elements - offset, end - at));
    const int sub = type.sub_block_elements;
    const int sub_begin = offset / sub, sub_end = (offset + length + sub - 1) / sub;
    const uint8_t* from = row + block * type.block_bytes;
    if (offset % sub == 0 && (offset + length) % sub == 0) {
      type.dequantize(from, sub_begin, sub_end, out);
    } else {
      float whole[kSuperBlock];
      type.dequantize(from, sub_begin, sub_end, whole);
      std::memcpy(out, whole + offset - sub_begin * sub, length * sizeof(float));
    }
    at += length;
    out += length;
  }
}

}  // namespace quartet::model
