// Rotation, the paged cache and attention over it.
#include <cstring>

#include "kernels/cpu/kernel_test_fixtures.h"

namespace quartet::kernels::cpu {
namespace {

struct Shape {
  int num_heads, num_kv_heads, head_dim;
};

// Sequences whose q, k and v are known for every position, and a cache to put them in.
class AttentionTest : public InstructionSetTest {
 protected:
  // Tokens [begin, end) of one sequence.
  struct Chunk {
    int sequence, begin, end;
  };

  void MakeData(const Shape& shape, DType dtype, int num_sequences, int max_tokens) {
    shape_ = shape;
    dtype_ = dtype;
    max_tokens_ = max_tokens;
    row_width_ = (shape.num_heads + 2 * shape.num_kv_heads) * shape.head_dim;
    qkv_ = RandomFloats(int64_t{num_sequences} * max_tokens * row_width_);
    // Peaked: a position too many or too few must show.
    for (float& value : qkv_) value *= 1.5f;
    if (dtype == DType::kBFloat16) qkv_ = Expanded(Rounded(qkv_));
    num_sequences_ = num_sequences;
  }

  PagedCache NewCache() {
    return PagedCache(dtype_, shape_.num_kv_heads, shape_.head_dim, num_sequences_, max_tokens_,
                      &random_);
  }

  float Scale() const { return 1 / std::sqrt(static_cast<float>(shape_.head_dim)); }
  int QueryWidth() const { return shape_.num_heads * shape_.head_dim; }

  // Writes the chunks' keys and values, unrotated, and attends if asked to; returns f32 rows in the
  // chunks' order.
  std::vector<float> Step(Runner& runner, PagedCache& cache, const std::vector<Chunk>& chunks,
                          bool attend = true) {
    std::vector<float> rows;
    std::vector<int32_t> slots, query_start = {0}, kv_len, tables;
    for (const Chunk& chunk : chunks) {
      for (int p = chunk.begin; p < chunk.end; ++p) {
        const float* row = &qkv_[(int64_t{chunk.sequence} * max_tokens_ + p) * row_width_];
        rows.insert(rows.end(), row, row + row_width_);
        slots.push_back(cache.Slot(chunk.sequence, p));
      }
      query_start.push_back(static_cast<int32_t>(slots.size()));
      kv_len.push_back(chunk.end);
      const auto table = cache.tables().begin() + chunk.sequence * cache.max_blocks();
      tables.insert(tables.end(), table, table + cache.max_blocks());
    }
    const int64_t tokens = static_cast<int64_t>(slots.size());
    std::vector<float> cos_sin(tokens * shape_.head_dim);
    for (int64_t i = 0; i < tokens * shape_.head_dim; ++i) {
      cos_sin[i] = i % shape_.head_dim < shape_.head_dim / 2 ? 1.0f : 0.0f;
    }
    ActivationBuffer q(dtype_, tokens * QueryWidth());
    const absl::Status written =
        RopeAndCache(runner.context, {Ptr(rows), DevicePtr<const float>(), Ptr(cos_sin), Ptr(slots),
                                      tokens, shape_.num_heads, q.activation(), cache.layer()});
    EXPECT_TRUE(written.ok()) << written;
    if (!attend) return {};
    ActivationBuffer out(DType::kFloat32, tokens * QueryWidth());
    const absl::Status status = Attention(
        runner.context, {q.activation(), cache.layer(), Ptr(query_start), Ptr(kv_len), Ptr(tables),
                         static_cast<int64_t>(chunks.size()), cache.max_blocks(), tokens,
                         shape_.num_heads, Scale(), out.activation()});
    EXPECT_TRUE(status.ok()) << status;
    return out.f32;
  }

  void WriteOnly(Runner& runner, PagedCache& cache, const std::vector<Chunk>& chunks) {
    Step(runner, cache, chunks, /*attend=*/false);
  }

  // Rows [begin, end) of sequence 0 in chunks of `chunk_size`.
  std::vector<float> InChunks(Runner& runner, int begin, int end, int chunk_size) {
    PagedCache cache = NewCache();
    if (begin > 0) WriteOnly(runner, cache, {{0, 0, begin}});
    std::vector<float> pieces;
    for (int first = begin; first < end; first += chunk_size) {
      const std::vector<float> out =
          Step(runner, cache, {{0, first, std::min(end, first + chunk_size)}});
      pieces.insert(pieces.end(), out.begin(), out.end());
    }
    return pieces;
  }

  reference::Matrix Columns(int sequence, int begin, int end, int first, int count) const {
    reference::Matrix part(end - begin, count);
    for (int p = begin; p < end; ++p) {
      for (int i = 0; i < count; ++i) {
        part.at(p - begin, i) =
            qkv_[(int64_t{sequence} * max_tokens_ + p) * row_width_ + first + i];
      }
    }
    return part;
  }

  reference::Matrix Want(const Chunk& chunk) const {
    const int kv_width = shape_.num_kv_heads * shape_.head_dim;
    return reference::Attention(
        Columns(chunk.sequence, chunk.begin, chunk.end, 0, QueryWidth()),
        Columns(chunk.sequence, 0, chunk.end, QueryWidth(), kv_width),
        Columns(chunk.sequence, 0, chunk.end, QueryWidth() + kv_width, kv_width), shape_.num_heads,
        shape_.num_kv_heads, Scale());
  }

  // AVX-512 rounds probabilities to bf16: 2^-9 of a mean of values up to about 6.
  double Tolerance() const {
    return dtype_ == DType::kBFloat16 && GetParam() == InstructionSet::kAvx512 ? 0.02 : 1e-5;
  }

  Shape shape_;
  DType dtype_ = DType::kFloat32;
  int num_sequences_ = 0, max_tokens_ = 0, row_width_ = 0;
  std::vector<float> qkv_;  // [num_sequences, max_tokens, row_width_]
};

TEST_P(AttentionTest, EqualsReferenceOverShuffledBlocksWithPoisonAround) {
  for (const Shape& shape : {Shape{14, 2, 64}, Shape{4, 4, 16}, Shape{6, 2, 24}, Shape{3, 1, 10},
                             Shape{40, 1, 32}, Shape{8, 2, 128}, Shape{2, 1, 2}}) {
    for (DType dtype : {DType::kFloat32, DType::kBFloat16}) {
      MakeData(shape, dtype, 2, 530);
      Runner runner(GetParam(), 2);
      for (int length : {1, 2, 15, 16, 17, 33, 255, 256, 257, 530}) {
        PagedCache cache = NewCache();
        const int prefix = std::max(0, length - 9);
        const int other = (length + 1) / 2;
        WriteOnly(runner, cache, {{0, 0, prefix}, {1, 0, other - 1}});
        const std::vector<Chunk> chunks = {{0, prefix, length}, {1, other - 1, other}};
        const std::vector<float> got = Step(runner, cache, chunks);
        size_t row = 0;
        MaxError error;
        for (const Chunk& chunk : chunks) {
          for (double value : Want(chunk).values) error.Add(got[row++], value);
        }
        EXPECT_LE(error.value(), Tolerance())
            << "length " << length << " heads " << shape.num_heads << ":" << shape.num_kv_heads
            << " of " << shape.head_dim << " f32=" << (dtype == DType::kFloat32);
      }
    }
  }
}

// Also across the border of two splits, where decoding on several threads computes them apart.
TEST_P(AttentionTest, RowsHaveTheSameBitsHoweverThePromptIsCut) {
  for (const Shape& shape : {Shape{14, 2, 64}, Shape{3, 1, 10}, Shape{8, 2, 128}}) {
    for (DType dtype : {DType::kFloat32, DType::kBFloat16}) {
      MakeData(shape, dtype, 1, 530);
      for (const auto& [begin, end] : {std::pair{0, 35}, {240, 275}, {500, 530}}) {
        Runner one(GetParam(), 1);
        const std::vector<float> whole = InChunks(one, begin, end, end - begin);
        for (int num_threads : {1, 2, 3}) {
          Runner runner(GetParam(), num_threads);
          for (int chunk_size : {1, 7, 16}) {
            const std::vector<float> pieces = InChunks(runner, begin, end, chunk_size);
            ASSERT_EQ(pieces.size(), whole.size());
            EXPECT_EQ(std::memcmp(pieces.data(), whole.data(), whole.size() * sizeof(float)), 0)
                << "positions " << begin << " to " << end << " in chunks of " << chunk_size << ", "
                << num_threads << " threads, heads " << shape.num_heads << " of " << shape.head_dim;
          }
        }
      }
    }
  }
}

TEST_P(AttentionTest, RowsHaveTheSameBitsAloneAndInABatch) {
  for (DType dtype : {DType::kFloat32, DType::kBFloat16}) {
    constexpr int kSequences = 6;
    MakeData({14, 2, 64}, dtype, kSequences, 560);
    Runner one(GetParam(), 1), two(GetParam(), 2);
    PagedCache cache = NewCache();
    std::vector<Chunk> prompts, batch;
    for (int s = 0; s < kSequences; ++s) {
      const int length = 1 + s * 110;
      if (length > 1) prompts.push_back({s, 0, length - 1});
      batch.push_back({s, length - 1, length});
    }
    WriteOnly(two, cache, prompts);
    const std::vector<float> together = Step(two, cache, batch);
    for (int s = 0; s < kSequences; ++s) {
      for (Runner* runner : {&one, &two}) {
        const std::vector<float> alone = Step(*runner, cache, {batch[s]});
        EXPECT_EQ(
            std::memcmp(alone.data(), &together[s * QueryWidth()], alone.size() * sizeof(float)), 0)
            << "sequence " << s;
      }
    }
  }
}

TEST_P(AttentionTest, RotationAndBiasEqualReference) {
  for (const Shape& shape : {Shape{4, 2, 64}, Shape{2, 1, 6}, Shape{1, 1, 128}}) {
    for (DType dtype : {DType::kFloat32, DType::kBFloat16}) {
      constexpr int kTokens = 21;
      MakeData(shape, DType::kFloat32, 1, kTokens);
      dtype_ = dtype;
      Runner runner(GetParam(), 2);
      PagedCache cache = NewCache();
      const std::vector<float> bias = RandomFloats(row_width_);
      std::vector<double> frequencies;
      for (int i = 0; i < shape.head_dim / 2; ++i) {
        frequencies.push_back(std::pow(1e6, -2.0 * i / shape.head_dim));
      }
      std::vector<int32_t> positions, slots;
      for (int t = 0; t < kTokens; ++t) {
        positions.push_back(t * 6007);
        slots.push_back(cache.Slot(0, t));
      }
      constexpr double kScale = 1.25;
      std::vector<float> cos_sin(kTokens * shape.head_dim);
      ASSERT_TRUE(RopeTable(runner.context, {Ptr(positions), Ptr(frequencies), kScale, kTokens,
                                             shape.head_dim, Ptr(cos_sin)})
                      .ok());
      ActivationBuffer q(dtype, kTokens * QueryWidth());
      ASSERT_TRUE(
          RopeAndCache(runner.context, {Ptr(qkv_), Ptr(bias), Ptr(cos_sin), Ptr(slots), kTokens,
                                        shape.num_heads, q.activation(), cache.layer()})
              .ok());
      for (int64_t i = 0; i < kTokens * row_width_; ++i) qkv_[i] += bias[i % row_width_];
      const reference::Matrix want_q = reference::Rotate(
          Columns(0, 0, kTokens, 0, QueryWidth()), shape.head_dim, positions, frequencies, kScale);
      MaxError error;
      error.Add(q.values(), want_q);
      EXPECT_LE(error.value(), dtype == DType::kFloat32 ? 3e-6 : 0.04);
    }
  }
}

TEST_P(AttentionTest, BlocksAndSlotsOutsideOfTheCacheAreRefused) {
  MakeData({2, 1, 16}, DType::kFloat32, 1, 40);
  Runner runner(GetParam(), 1);
  PagedCache cache = NewCache();
  ActivationBuffer q(DType::kFloat32, RandomFloats(QueryWidth()));
  ActivationBuffer out(DType::kFloat32, QueryWidth());
  const std::vector<int32_t> query_start = {0, 1}, kv_len = {20}, table = {0, 99, 1}, slot = {1600};
  const AttentionArgs args = {
      q.activation(), cache.layer(),   Ptr(query_start), Ptr(kv_len), Ptr(table), 1, 3, 1, 2,
      1.0f,           out.activation()};
  EXPECT_EQ(Attention(runner.context, args).code(), absl::StatusCode::kInvalidArgument);
  const std::vector<float> cos_sin(16);
  EXPECT_EQ(RopeAndCache(runner.context, {Ptr(qkv_), DevicePtr<const float>(), Ptr(cos_sin),
                                          Ptr(slot), 1, 2, q.activation(), cache.layer()})
                .code(),
            absl::StatusCode::kInvalidArgument);
}

QUARTET_FOR_EACH_INSTRUCTION_SET(AttentionTest);

}  // namespace
}  // namespace quartet::kernels::cpu
