#include "worker/parallel/shared_memory_communicator.h"

#include <algorithm>
#include <cstring>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/status_macros.h"

namespace quartet::parallel {
namespace {

// From this many elements on, every rank sums its part and takes the others' from the shared
// result: that costs a second arrival and saves reading all slots on every rank.
constexpr int64_t kDividedElements = 16384;
// Parts begin at cache lines.
constexpr int64_t kLineElements = 64 / sizeof(float);
// Elements of a sum that stay in the first-level cache while segments are added.
constexpr int64_t kSumBlock = 2048;

}  // namespace

absl::StatusOr<std::unique_ptr<SharedMemoryCommunicator>> SharedMemoryCommunicator::Connect(
    const SharedMemoryOptions& options) {
  ASSIGN_OR_RETURN(auto segment, SharedMemorySegment::Connect(options));
  return std::unique_ptr<SharedMemoryCommunicator>(
      new SharedMemoryCommunicator(std::move(segment)));
}

const float* SharedMemoryCommunicator::SlotOf(int rank) const {
  return reinterpret_cast<const float*>(segment_->Slot(rank, buffer_));
}
float* SharedMemoryCommunicator::own_slot() const {
  return reinterpret_cast<float*>(segment_->Slot(rank(), buffer_));
}
int64_t SharedMemoryCommunicator::slot_elements() const {
  return segment_->options().slot_bytes / static_cast<int64_t>(sizeof(float));
}

// Turns to the other buffer and makes sure that nobody reads it any more.
absl::Status SharedMemoryCommunicator::BeginPiece() {
  for (int other = 0; other < world_size(); ++other) {
    if (other != rank()) RETURN_IF_ERROR(segment_->WaitFor(other, previous_arrival_));
  }
  buffer_ = 1 - buffer_;
  previous_arrival_ = arrivals_ + 1;
  return absl::OkStatus();
}

absl::Status SharedMemoryCommunicator::ArriveAndWaitForAll() {
  segment_->Arrive(++arrivals_);
  for (int other = 0; other < world_size(); ++other) {
    if (other != rank()) RETURN_IF_ERROR(segment_->WaitFor(other, arrivals_));
  }
  return absl::OkStatus();
}

// out[0, end - begin) = elements [begin, end) of the piece, added up in segment order.
void SharedMemoryCommunicator::SumRange(const Piece& piece, int64_t begin, int64_t end,
                                        float* out) const {
  for (int64_t block = begin; block < end; block += kSumBlock) {
    const int64_t size = std::min(kSumBlock, end - block);
    float* __restrict__ sum = out + (block - begin);
    for (int rank = 0; rank < world_size(); ++rank) {
      for (int s = 0; s < piece.num_segments; ++s) {
        const float* __restrict__ in = SlotOf(rank) + s * piece.count + block;
        if (rank == 0 && s == 0) {
          std::memcpy(sum, in, static_cast<size_t>(size) * sizeof(float));
        } else {
          for (int64_t i = 0; i < size; ++i) sum[i] += in[i];
        }
      }
    }
  }
}

absl::Status SharedMemoryCommunicator::ReducePiece(device::Queue& queue, const Piece& piece,
                                                   kernels::DevicePtr<float> out) {
  RETURN_IF_ERROR(ArriveAndWaitForAll());
  const int64_t bytes = piece.count * static_cast<int64_t>(sizeof(float));
  if (piece.count < kDividedElements) {
    sum_.resize(std::max(sum_.size(), static_cast<size_t>(piece.count)));
    SumRange(piece, 0, piece.count, sum_.data());
    RETURN_IF_ERROR(queue.Upload(out + piece.first, sum_.data(), bytes));
    return queue.Wait();
  }
  const int64_t lines = (piece.count + kLineElements - 1) / kLineElements;
  const int64_t begin = std::min(piece.count, lines * rank() / world_size() * kLineElements);
  const int64_t end = std::min(piece.count, lines * (rank() + 1) / world_size() * kLineElements);
  float* result = reinterpret_cast<float*>(segment_->Result(buffer_));
  SumRange(piece, begin, end, result + begin);
  RETURN_IF_ERROR(ArriveAndWaitForAll());
  RETURN_IF_ERROR(queue.Upload(out + piece.first, result, bytes));
  return queue.Wait();
}

absl::Status SharedMemoryCommunicator::AllReduceSegments(device::Queue& queue,
                                                         kernels::DevicePtr<const float> segments,
                                                         int num_segments, int64_t count,
                                                         kernels::DevicePtr<float> out) {
  if (failure_.ok()) failure_ = segment_->Check();
  if (failure_.ok()) failure_ = Reduce(queue, segments, num_segments, count, out);
  return failure_;
}

absl::Status SharedMemoryCommunicator::GatherColumns(device::Queue& queue,
                                                     kernels::DevicePtr<const float> part,
                                                     int64_t num_rows, int64_t cols,
                                                     kernels::DevicePtr<float> out) {
  if (failure_.ok()) failure_ = segment_->Check();
  if (failure_.ok()) failure_ = Gather(queue, part, num_rows, cols, out);
  return failure_;
}

absl::Status SharedMemoryCommunicator::Broadcast(void* data, int64_t bytes) {
  if (failure_.ok()) failure_ = segment_->Check();
  if (failure_.ok()) failure_ = Share(data, bytes);
  return failure_;
}

absl::Status SharedMemoryCommunicator::Share(void* data, int64_t bytes) {
  if (bytes < 0 || bytes > segment_->options().slot_bytes) {
    return absl::InvalidArgumentError(absl::StrCat(
        "cannot share ", bytes, " bytes through slots of ", segment_->options().slot_bytes));
  }
  RETURN_IF_ERROR(BeginPiece());
  if (rank() == 0) std::memcpy(own_slot(), data, static_cast<size_t>(bytes));
  segment_->Arrive(++arrivals_);
  if (rank() == 0) return absl::OkStatus();
  RETURN_IF_ERROR(segment_->WaitFor(0, arrivals_));
  std::memcpy(data, SlotOf(0), static_cast<size_t>(bytes));
  return absl::OkStatus();
}

absl::Status SharedMemoryCommunicator::Reduce(device::Queue& queue,
                                              kernels::DevicePtr<const float> segments,
                                              int num_segments, int64_t count,
                                              kernels::DevicePtr<float> out) {
  const int64_t room = slot_elements() / std::max(num_segments, 1) / kLineElements * kLineElements;
  if (num_segments < 1 || count < 0 || room < 1) {
    return absl::InvalidArgumentError(
        absl::StrCat("cannot exchange ", num_segments, " segments of ", count,
                     " elements through slots of ", segment_->options().slot_bytes, " bytes"));
  }
  for (int64_t first = 0; first < count; first += room) {
    const Piece piece{num_segments, first, std::min(room, count - first)};
    RETURN_IF_ERROR(BeginPiece());
    for (int s = 0; s < num_segments; ++s) {
      RETURN_IF_ERROR(queue.ReadBack(own_slot() + s * piece.count, segments + s * count + first,
                                     piece.count * static_cast<int64_t>(sizeof(float))));
    }
    RETURN_IF_ERROR(queue.Wait());
    RETURN_IF_ERROR(ReducePiece(queue, piece, out));
  }
  return absl::OkStatus();
}

// Rank 0: copies columns [first_col, first_col + num_cols) of everybody's rows out of the slots.
// `out` points at the first of the rows.
absl::Status SharedMemoryCommunicator::GatherPiece(device::Queue& queue, int64_t num_rows,
                                                   int64_t first_col, int64_t num_cols,
                                                   int64_t cols, kernels::DevicePtr<float> out) {
  for (int from = 0; from < world_size(); ++from) {
    if (from != rank()) RETURN_IF_ERROR(segment_->WaitFor(from, arrivals_));
    for (int64_t row = 0; row < num_rows; ++row) {
      RETURN_IF_ERROR(queue.Upload(out + (row * world_size() + from) * cols + first_col,
                                   SlotOf(from) + row * num_cols,
                                   num_cols * static_cast<int64_t>(sizeof(float))));
    }
  }
  return queue.Wait();
}

absl::Status SharedMemoryCommunicator::Gather(device::Queue& queue,
                                              kernels::DevicePtr<const float> part,
                                              int64_t num_rows, int64_t cols,
                                              kernels::DevicePtr<float> out) {
  // Whole rows if one fits into a slot, else parts of one row.
  const int64_t piece_cols = std::min(cols, slot_elements());
  const int64_t piece_rows = piece_cols < cols ? 1 : slot_elements() / std::max<int64_t>(cols, 1);
  for (int64_t row = 0; row < num_rows; row += piece_rows) {
    const int64_t rows = std::min(piece_rows, num_rows - row);
    for (int64_t col = 0; col < cols; col += piece_cols) {
      const int64_t width = std::min(piece_cols, cols - col);
      RETURN_IF_ERROR(BeginPiece());
      RETURN_IF_ERROR(queue.ReadBack(own_slot(), part + row * cols + col,
                                     rows * width * static_cast<int64_t>(sizeof(float))));
      RETURN_IF_ERROR(queue.Wait());
      segment_->Arrive(++arrivals_);
      if (rank() == 0) {
        RETURN_IF_ERROR(
            GatherPiece(queue, rows, col, width, cols, out + row * cols * world_size()));
      }
    }
  }
  return absl::OkStatus();
}

}  // namespace quartet::parallel
