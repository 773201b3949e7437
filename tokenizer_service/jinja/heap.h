// The memory and the budget of one rendering. Everything that values point to lives here until the
// rendering is over.
#pragma once

#include <deque>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "tokenizer_service/jinja/callable.h"
#include "tokenizer_service/jinja/limits.h"
#include "tokenizer_service/jinja/value.h"

namespace quartet::tokenizer::jinja {

class Heap {
 public:
  explicit Heap(const Limits& limits) : limits_(limits) {}
  Heap(const Heap&) = delete;
  Heap& operator=(const Heap&) = delete;

  const Limits& limits() const { return limits_; }

  // One step. RESOURCE_EXHAUSTED if steps or memory are used up. What makes values only counts
  // them; this is where a rendering ends that made too many.
  absl::Status Step() { return Work(1); }
  // As many steps; for operations that go through long texts and lists. Negative never.
  absl::Status Work(int64_t num_steps);
  // Steps for going through so many bytes.
  absl::Status WorkOnBytes(size_t num_bytes) {
    return Work(1 + static_cast<int64_t>(num_bytes / kBytesPerStep));
  }
  // REQUIRED before an operation whose result may be far larger than what it is made from.
  absl::Status Reserve(size_t num_items, size_t bytes_per_item) const;

  Value NewString(std::string text, bool is_markup = false);
  // `text` kept for as long as the heap.
  absl::string_view Keep(std::string text);
  Value NewList(std::vector<Value> items, ListKind kind = ListKind::kList);
  Dict* NewDict();
  // To be called after entries were added to a dict.
  void CountEntries(size_t num_entries) { used_bytes_ += num_entries * kEntryBytes; }
  Loop* NewLoop();
  Callable* NewCallable();
  Scope* NewScope(Scope* parent);

 private:
  static constexpr size_t kBytesPerStep = 16;
  static constexpr size_t kObjectBytes = 64;
  static constexpr size_t kEntryBytes = 2 * sizeof(Value);

  const Limits limits_;
  int64_t used_steps_ = 0;
  size_t used_bytes_ = 0;
  std::deque<std::string> texts_;
  std::deque<List> lists_;
  std::deque<Dict> dicts_;
  std::deque<Loop> loops_;
  std::deque<Callable> callables_;
  std::deque<Scope> scopes_;
};

}  // namespace quartet::tokenizer::jinja
