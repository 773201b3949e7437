#include "worker/model/weight_packer.h"

#include <algorithm>
#include <thread>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "common/logging.h"
#include "common/status_macros.h"

namespace quartet::model {
namespace {

using kernels::bfloat16;

constexpr int64_t kRowGroup = 64;  // see device::Device::PackRows
constexpr int64_t kDropCacheEveryBytes = 256 << 20;

int NumThreads(const LoadOptions& options) {
  if (options.num_threads > 0) return options.num_threads;
  return std::clamp(static_cast<int>(std::thread::hardware_concurrency()), 2, 4);
}

}  // namespace

WeightPacker::WeightPacker(const Checkpoint& checkpoint, device::Device& device, int rank,
                           const LoadOptions& options, bool drop_page_cache)
    : checkpoint_(checkpoint),
      device_(device),
      rank_(rank),
      options_(options),
      drop_page_cache_(drop_page_cache) {}

absl::Status WeightPacker::Pack(const std::vector<PackJob>& jobs) {
  for (const PackJob& job : jobs) {
    int64_t rows = 0;
    for (const RowSource& source : job.sources) rows += source.num_rows;
    const int64_t row_bytes = job.matrix.cols * static_cast<int64_t>(sizeof(bfloat16));
    const int64_t step =
        std::max(kRowGroup, options_.chunk_bytes / row_bytes / kRowGroup * kRowGroup);
    for (int64_t first = 0; first < rows; first += step) {
      chunks_.push_back({&job, first, std::min(step, rows - first)});
    }
    progress_.bytes_total += rows * row_bytes;
  }
  start_ = logged_ = std::chrono::steady_clock::now();
  std::vector<std::thread> threads;
  for (int i = 1; i < NumThreads(options_); ++i) threads.emplace_back([this] { Run(); });
  Run();
  for (std::thread& thread : threads) thread.join();
  return status_;
}

void WeightPacker::Run() {
  std::vector<bfloat16> buffer;
  while (!failed_) {
    const size_t index = next_chunk_++;
    if (index >= chunks_.size()) return;
    const Chunk& chunk = chunks_[index];
    const absl::Status status = PackChunk(chunk, &buffer);
    if (!status.ok()) {
      const std::lock_guard lock(mutex_);
      if (status_.ok()) status_ = status;
      failed_ = true;
      return;
    }
    Report(chunk.num_rows * chunk.job->matrix.cols * static_cast<int64_t>(sizeof(bfloat16)));
  }
}

absl::Status WeightPacker::PackChunk(const Chunk& chunk, std::vector<bfloat16>* buffer) {
  const int64_t cols = chunk.job->matrix.cols;
  const int64_t chunk_end = chunk.first_row + chunk.num_rows;
  buffer->resize(chunk.num_rows * cols);
  int64_t source_begin = 0;  // row of the matrix
  for (const RowSource& source : chunk.job->sources) {
    const int64_t begin = std::max(source_begin, chunk.first_row);
    const int64_t end = std::min(source_begin + source.num_rows, chunk_end);
    if (begin < end) {
      RETURN_IF_ERROR(checkpoint_.ReadRows(source.tensor, source.first_row + begin - source_begin,
                                           end - begin, source.first_col, cols,
                                           buffer->data() + (begin - chunk.first_row) * cols));
    }
    source_begin += source.num_rows;
  }
  return device_.PackRows(chunk.job->matrix, chunk.first_row, chunk.num_rows, buffer->data());
}

void WeightPacker::Report(int64_t bytes) {
  const std::lock_guard lock(mutex_);
  const auto now = std::chrono::steady_clock::now();
  const double seconds = std::chrono::duration<double>(now - start_).count();
  progress_.bytes_done += bytes;
  progress_.seconds_left = seconds *
                           static_cast<double>(progress_.bytes_total - progress_.bytes_done) /
                           static_cast<double>(progress_.bytes_done);
  if (options_.progress) options_.progress(progress_);
  cached_bytes_ += bytes;
  if (drop_page_cache_ && cached_bytes_ >= kDropCacheEveryBytes) {
    checkpoint_.DropPageCache();
    cached_bytes_ = 0;
  }
  // At most one line a second; one per tenth, and one every ten seconds when it is slow.
  const auto since_line = now - logged_;
  const bool tenth = progress_.bytes_done - logged_bytes_ >= progress_.bytes_total / 10;
  if (since_line < std::chrono::seconds(1) || (!tenth && since_line < std::chrono::seconds(10))) {
    return;
  }
  logged_ = now;
  logged_bytes_ = progress_.bytes_done;
  common::LogInfo("loading weights",
                  {{"rank", rank_},
                   {"bytes", progress_.bytes_done},
                   {"of", progress_.bytes_total},
                   {"seconds_left", absl::StrFormat("%.0f", progress_.seconds_left)}});
}

}  // namespace quartet::model
