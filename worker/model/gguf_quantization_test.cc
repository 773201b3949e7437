#include "worker/model/gguf_quantization.h"

#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "worker/model/sha256.h"
#include "worker/model/testing/model_files.h"

namespace quartet::model {
namespace {

using testing::SplitMix64;

constexpr int kNumBlocks = 64;

// Printed by testing/gguf_quantization_reference.py: SHA-256 of the float32 values that the
// reference library makes of 64 random blocks.
struct Reference {
  const char* name;
  int count;
  const char* digest;
};
constexpr Reference kReferences[] = {
    {"F16", 64, "cfb6c254dfec5df7942d8b4b58a591c1af5b7944abc9466b6f69a9afbd32c3d2"},
    {"BF16", 64, "d09cb3fc26f1fc1cb496192c3e313d3dbb2587129347a3a84a723b1f44f35ea0"},
    {"Q4_0", 2048, "0f5401343cf1ef6167a61a577a2c7a1cdd5cfd5df52d4be8412b67c83805d06b"},
    {"Q4_1", 2048, "315b7b15818763decb29b5700b3d64fbae3f3ffe86bf3a01ce652ae816eba475"},
    {"Q5_0", 2048, "ceb45a1e69d0c4fe9cfd69d397ec574f91a1b41073785da246328db581a92904"},
    {"Q5_1", 2048, "561d46d9fb665e0c474e8446e5f3db1dfb3a8bff56afea972bcdd8f7d90fcd98"},
    {"Q8_0", 2048, "1d3a9b99d238dfce8398c94a9a2f5f37bd0a9ebe275ff3031d9ff6cc7ca08c25"},
    {"Q4_K", 16384, "ea2ea5fb3f877f7f0e69eced79c68a511d3489f203364f8835b6e4495e1082fe"},
    {"Q5_K", 16384, "b745d88d42f1123db446c65cb1e9d2b5a38417e0cb1b05d234200ca7963bcc43"},
    {"Q6_K", 16384, "c979dfa9c9ea2c7da1e6d5112bb9d1dab1dd04722bb2783f0073efcf54cce317"}};

// Offsets of the half-precision numbers in a block.
std::vector<int> HalvesOf(const std::string& name) {
  if (name == "Q6_K") return {208};
  if (name == "BF16") return {};
  if (name == "F16" || name == "Q4_0" || name == "Q5_0" || name == "Q8_0") return {0};
  return {0, 2};
}

std::vector<uint8_t> RandomBlocks(const GgmlType& type, uint64_t seed) {
  std::vector<uint8_t> data(kNumBlocks * type.block_bytes);
  for (size_t i = 0; i < data.size(); ++i) {
    data[i] = static_cast<uint8_t>(SplitMix64(seed * 1000000 + i));
  }
  for (int block = 0; block < kNumBlocks; ++block) {
    for (const int offset : HalvesOf(type.name)) {
      data[block * type.block_bytes + offset + 1] &= 0xBF;
    }
  }
  if (std::string(type.name) == "BF16") {
    for (size_t i = 1; i < data.size(); i += 2) data[i] &= 0xBF;
  }
  return data;
}

TEST(GgufQuantizationTest, EqualsTheReferenceToTheBit) {
  uint64_t seed = 0;
  for (const Reference& reference : kReferences) {
    const GgmlType* type = FindGgmlType(absl::string_view(reference.name));
    ASSERT_NE(type, nullptr) << reference.name;
    const std::vector<uint8_t> data = RandomBlocks(*type, seed++);
    ASSERT_EQ(kNumBlocks * type->block_elements, reference.count);
    std::vector<float> values(reference.count);
    DequantizeRange(*type, data.data(), 0, reference.count, values.data());
    Sha256 digest;
    digest.Add(absl::string_view(reinterpret_cast<const char*>(values.data()),
                                 values.size() * sizeof(float)));
    EXPECT_EQ(digest.Hex(), reference.digest) << reference.name;
  }
}

TEST(GgufQuantizationTest, EveryRangeEqualsItsPartOfTheWhole) {
  const uint64_t seed = 20240607;
  SCOPED_TRACE(::testing::Message() << "seed " << seed);
  for (const Reference& reference : kReferences) {
    const GgmlType& type = *FindGgmlType(absl::string_view(reference.name));
    const std::vector<uint8_t> data = RandomBlocks(type, 7);
    std::vector<float> whole(reference.count);
    DequantizeRange(type, data.data(), 0, reference.count, whole.data());
    for (uint64_t trial = 0; trial < 300; ++trial) {
      const int64_t first = static_cast<int64_t>(SplitMix64(seed + 2 * trial) % reference.count);
      const int64_t count =
          1 + static_cast<int64_t>(SplitMix64(seed + 2 * trial + 1) % (reference.count - first));
      std::vector<float> part(count + 1, -12345.f);
      DequantizeRange(type, data.data(), first, count, part.data());
      ASSERT_EQ(std::memcmp(part.data(), whole.data() + first, count * sizeof(float)), 0)
          << reference.name << " " << first << " + " << count;
      ASSERT_EQ(part[count], -12345.f) << "wrote beyond its range";
    }
  }
}

TEST(GgufQuantizationTest, ARangeTouchesOnlyItsBlocks) {
  // The 7B's down_proj at four ranks: slices of 18.5 super-blocks.
  const GgmlType& type = *FindGgmlType("Q4_K");
  std::vector<float> values(4736);
  // Exactly the blocks 18 (half of it) to 36: a read outside is caught by the address sanitizer.
  const std::vector<uint8_t> data(19 * type.block_bytes, 0);
  DequantizeRange(type, data.data() - 18 * type.block_bytes, 4736, 4736, values.data());
  EXPECT_EQ(values[4735], 0);
}

TEST(GgufQuantizationTest, TypesThatCanNotBeLoadedHaveANameAllTheSame) {
  EXPECT_EQ(FindGgmlType(10), nullptr);
  EXPECT_EQ(GgmlTypeName(10), "Q2_K");
  EXPECT_EQ(GgmlTypeName(14), "Q6_K");
  EXPECT_EQ(GgmlTypeName(30), "BF16");
  EXPECT_EQ(GgmlTypeName(39), "MXFP4");
  EXPECT_EQ(GgmlTypeName(1000), "unknown");
  for (const Reference& reference : kReferences) {
    const GgmlType* type = FindGgmlType(absl::string_view(reference.name));
    EXPECT_EQ(GgmlTypeName(type->id), reference.name);
  }
}

}  // namespace
}  // namespace quartet::model
