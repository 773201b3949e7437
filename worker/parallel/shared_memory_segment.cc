#include "worker/parallel/shared_memory_segment.h"

#include <dirent.h>
#include <fcntl.h>
#include <linux/futex.h>
#include <sched.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <climits>
#include <cstring>
#include <utility>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "common/status_macros.h"

namespace quartet::parallel {
namespace {

constexpr uint64_t kMagic = 0x7175617274657431;  // the layout's version is its last digit
constexpr int kMaxRanks = 64;
constexpr int kSpins = 50;  // pauses before giving the core away
// How long to yield before sleeping. By time and not by number, because a yield takes from a
// fraction of a microsecond on an idle core to milliseconds on a busy one.
constexpr int64_t kYieldNanoseconds = 100'000;
// How long a sleeper sleeps before it looks for an abort or a passed time limit.
constexpr absl::Duration kSleepSlice = absl::Milliseconds(20);

void Pause() {
#if defined(__x86_64__)
  __builtin_ia32_pause();
#elif defined(__aarch64__)
  asm volatile("yield");
#endif
}

// Not the private futex: the word lies in memory of several processes.
void FutexWait(std::atomic<uint32_t>& word, uint32_t seen, absl::Duration timeout) {
  const timespec time = absl::ToTimespec(timeout);
  syscall(SYS_futex, reinterpret_cast<uint32_t*>(&word), FUTEX_WAIT, seen, &time, nullptr, 0);
}
void FutexWakeAll(std::atomic<uint32_t>& word) {
  syscall(SYS_futex, reinterpret_cast<uint32_t*>(&word), FUTEX_WAKE, INT_MAX, nullptr, nullptr, 0);
}

// Arrival numbers wrap around.
bool Reached(uint32_t arrived, uint32_t arrival) {
  return static_cast<int32_t>(arrived - arrival) >= 0;
}

absl::Status SystemError(absl::string_view what, const std::string& name) {
  const int error = errno;
  const std::string message = absl::StrCat(what, " ", name, ": ", std::strerror(error));
  if (error == ENOSPC || error == ENOMEM) return absl::ResourceExhaustedError(message);
  return absl::InternalError(message);
}

}  // namespace

void RemoveLeftoverSegments(const std::string& prefix) {
  // Where shm_open keeps its names on Linux.
  DIR* const folder = opendir("/dev/shm");
  if (folder == nullptr) return;
  std::vector<std::string> names;
  while (const dirent* entry = readdir(folder)) {
    std::string name = absl::StrCat("/", entry->d_name);
    if (absl::StartsWith(name, prefix)) names.push_back(std::move(name));
  }
  closedir(folder);
  for (const std::string& name : names) shm_unlink(name.c_str());
}

// At the start of the segment. A zeroed one is what a fresh segment holds.
struct SharedMemorySegment::Header {
  // A cache line of its own for each rank, so that waiting for one doesn't slow another.
  struct alignas(64) Rank {
    std::atomic<uint32_t> arrived;   // the last arrival; ranks that wait for it sleep on it
    std::atomic<uint32_t> sleepers;  // how many
    std::atomic<uint32_t> attached;  // 1 once it has mapped the segment
  };
  std::atomic<uint64_t> magic;  // written last
  std::atomic<uint64_t> epoch;  // 0 once the group has ended
  uint64_t world_size;
  uint64_t slot_bytes;
  Rank ranks[kMaxRanks];
};
static_assert(std::atomic<uint32_t>::is_always_lock_free &&
              std::atomic<uint64_t>::is_always_lock_free);

int64_t SharedMemorySegment::TotalBytes() const {
  return static_cast<int64_t>(sizeof(Header)) + 2 * (options_.world_size + 1) * options_.slot_bytes;
}

char* SharedMemorySegment::Slot(int rank, int buffer) const {
  return reinterpret_cast<char*>(header_ + 1) + (2 * rank + buffer) * options_.slot_bytes;
}

char* SharedMemorySegment::Result(int buffer) const { return Slot(options_.world_size, buffer); }

absl::StatusOr<std::unique_ptr<SharedMemorySegment>> SharedMemorySegment::Connect(
    const SharedMemoryOptions& options) {
  if (options.world_size < 1 || options.world_size > kMaxRanks || options.rank < 0 ||
      options.rank >= options.world_size) {
    return absl::InvalidArgumentError(absl::StrCat("rank ", options.rank, " of ",
                                                   options.world_size, "; a group has 1 to ",
                                                   kMaxRanks, " ranks"));
  }
  if (options.slot_bytes < 64 || options.slot_bytes % 64 != 0 || options.epoch == 0 ||
      options.name.size() < 2 || options.name[0] != '/') {
    return absl::InvalidArgumentError(
        absl::StrCat("shared memory \"", options.name, "\" with epoch ", options.epoch,
                     " and slots of ", options.slot_bytes,
                     " bytes; give a name that starts with '/', an epoch that is not 0 and slots "
                     "of a multiple of 64 bytes"));
  }
  std::unique_ptr<SharedMemorySegment> segment(new SharedMemorySegment(options));
  RETURN_IF_ERROR(options.rank == 0 ? segment->Create() : segment->Open());
  segment->header_->ranks[options.rank].attached = 1;
  if (options.rank == 0) RETURN_IF_ERROR(segment->WaitUntilAllAttached());
  return segment;
}

SharedMemorySegment::~SharedMemorySegment() {
  if (named_) shm_unlink(options_.name.c_str());
  if (header_ == nullptr) return;
  if (options_.rank == 0) header_->epoch = 0;
  munmap(header_, static_cast<size_t>(TotalBytes()));
}

absl::Status SharedMemorySegment::Map(int fd) {
  void* memory =
      mmap(nullptr, static_cast<size_t>(TotalBytes()), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
  if (memory == MAP_FAILED) return SystemError("cannot map shared memory", options_.name);
  header_ = static_cast<Header*>(memory);
  return absl::OkStatus();
}

absl::Status SharedMemorySegment::Create() {
  // What a group that was killed left under this name; names are fresh, so nobody else needs it.
  shm_unlink(options_.name.c_str());
  const int fd = shm_open(options_.name.c_str(), O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
  if (fd < 0) return SystemError("cannot create shared memory", options_.name);
  named_ = true;
  // Takes the pages now: where there is no room, an error here is better than SIGBUS later.
  const int error = posix_fallocate(fd, 0, TotalBytes());
  if (error != 0) {
    close(fd);
    return absl::ResourceExhaustedError(absl::StrCat(
        "shared memory ", options_.name, " needs ", TotalBytes(), " bytes: ", std::strerror(error),
        "; give /dev/shm more room or use smaller slots than ", options_.slot_bytes, " bytes"));
  }
  const absl::Status mapped = Map(fd);
  close(fd);
  RETURN_IF_ERROR(mapped);
  header_->world_size = static_cast<uint64_t>(options_.world_size);
  header_->slot_bytes = static_cast<uint64_t>(options_.slot_bytes);
  header_->epoch = options_.epoch;
  header_->magic = kMagic;
  return absl::OkStatus();
}

absl::Status SharedMemorySegment::Open() {
  const absl::Time deadline = absl::Now() + options_.timeout;
  while (true) {
    const int fd = shm_open(options_.name.c_str(), O_RDWR | O_CLOEXEC, 0600);
    if (fd < 0 && errno != ENOENT) return SystemError("cannot open shared memory", options_.name);
    if (fd >= 0) {
      struct stat info = {};
      const bool sized =
          fstat(fd, &info) == 0 && info.st_size >= static_cast<off_t>(sizeof(Header));
      // A larger mapping than the file would end in SIGBUS; CheckHeader reads the header only.
      const absl::Status mapped = sized ? Map(fd) : absl::OkStatus();
      close(fd);
      RETURN_IF_ERROR(mapped);
      if (header_ != nullptr && header_->magic == kMagic) return CheckHeader();
      if (header_ != nullptr) munmap(header_, static_cast<size_t>(TotalBytes()));
      header_ = nullptr;
    }
    if (absl::Now() > deadline) {
      return absl::UnavailableError(absl::StrCat("rank 0 has not created shared memory ",
                                                 options_.name, " within ",
                                                 absl::FormatDuration(options_.timeout)));
    }
    RETURN_IF_ERROR(PauseAtStart());
  }
}

absl::Status SharedMemorySegment::PauseAtStart() const {
  if (options_.check) RETURN_IF_ERROR(options_.check());
  absl::SleepFor(absl::Milliseconds(1));
  return absl::OkStatus();
}

absl::Status SharedMemorySegment::CheckHeader() const {
  const uint64_t epoch = header_->epoch;
  const auto world_size = static_cast<uint64_t>(options_.world_size);
  const auto slot_bytes = static_cast<uint64_t>(options_.slot_bytes);
  if (epoch == options_.epoch && header_->world_size == world_size &&
      header_->slot_bytes == slot_bytes) {
    return absl::OkStatus();
  }
  return absl::FailedPreconditionError(absl::StrCat(
      "shared memory ", options_.name, " is of epoch ", epoch, ", ", header_->world_size,
      " ranks and slots of ", header_->slot_bytes, " bytes; rank ", options_.rank,
      " belongs to epoch ", options_.epoch, ", ", world_size, " ranks and slots of ", slot_bytes,
      " bytes: it must join the group again"));
}

absl::Status SharedMemorySegment::WaitUntilAllAttached() {
  const absl::Time deadline = absl::Now() + options_.timeout;
  for (int rank = 0; rank < options_.world_size; ++rank) {
    while (header_->ranks[rank].attached == 0) {
      if (absl::Now() > deadline) {
        return absl::UnavailableError(
            absl::StrCat("rank ", rank, " has not attached to shared memory ", options_.name,
                         " within ", absl::FormatDuration(options_.timeout)));
      }
      RETURN_IF_ERROR(PauseAtStart());
    }
  }
  shm_unlink(options_.name.c_str());
  named_ = false;
  return absl::OkStatus();
}

absl::Status SharedMemorySegment::Check() const {
  if (aborted_) return absl::AbortedError("the group was ended");
  if (header_->epoch.load(std::memory_order_relaxed) != options_.epoch) {
    return absl::AbortedError(
        absl::StrCat("epoch ", options_.epoch, " of the group is over; join it again"));
  }
  return absl::OkStatus();
}

void SharedMemorySegment::Arrive(uint32_t arrival) {
  Header::Rank& own = header_->ranks[options_.rank];
  // Sequentially consistent with `sleepers`, as a sleeper's two steps are: either it is seen here,
  // or it sees the new number and doesn't sleep.
  own.arrived.store(arrival);
  if (own.sleepers.load() != 0) FutexWakeAll(own.arrived);
}

absl::Status SharedMemorySegment::WaitFor(int rank, uint32_t arrival) {
  std::atomic<uint32_t>& word = header_->ranks[rank].arrived;
  for (int i = 0; i < kSpins; ++i) {
    if (Reached(word.load(std::memory_order_acquire), arrival)) return absl::OkStatus();
    Pause();
  }
  // Where ranks outnumber cores, the awaited one needs this core.
  const int64_t start = absl::GetCurrentTimeNanos();
  do {
    if (Reached(word.load(std::memory_order_acquire), arrival)) return absl::OkStatus();
    sched_yield();
  } while (absl::GetCurrentTimeNanos() - start < kYieldNanoseconds);
  return SleepUntil(rank, word, arrival);
}

absl::Status SharedMemorySegment::SleepUntil(int rank, std::atomic<uint32_t>& word,
                                             uint32_t arrival) {
  std::atomic<uint32_t>& sleepers = header_->ranks[rank].sleepers;
  const absl::Time deadline = absl::Now() + options_.call_timeout;
  waiting_for_ = rank;
  sleepers.fetch_add(1);
  absl::Status status;
  while (true) {
    const uint32_t seen = word.load();
    // Who has arrived counts, even if the group has ended since.
    if (Reached(seen, arrival)) break;
    status = Check();
    if (!status.ok()) break;
    const absl::Duration left = deadline - absl::Now();
    if (left <= absl::ZeroDuration()) {
      status = absl::UnavailableError(absl::StrCat("rank ", options_.rank, " waited ",
                                                   absl::FormatDuration(options_.call_timeout),
                                                   " for rank ", rank, ", which does not answer"));
      break;
    }
    FutexWait(word, seen, std::min(left, kSleepSlice));
  }
  sleepers.fetch_sub(1);
  waiting_for_ = -1;
  return status;
}

}  // namespace quartet::parallel
