// Compiles grammars beside the step loop: own threads of low priority, a cache with a limit, and an
// answer that comes later. Waits for the vocabulary if it isn't there yet.
#pragma once

#include <pthread.h>

#include <condition_variable>
#include <cstdint>
#include <deque>
#include <functional>
#include <list>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "worker/grammar/grammar.h"

namespace quartet::grammar {

struct GrammarCompilerOptions {
  int64_t vocab_size = 0;  // rows of the logits
  size_t cache_bytes = size_t{256} << 20;
  size_t max_format_bytes = size_t{128} << 10;  // of what one request may send
  size_t max_pending = 256;                     // formats that wait for a thread
  CompileLimits limits;
  int num_threads = 2;
  BackendFactory make_backend = MakeBackend;
};

struct GrammarCompilerStats {
  uint64_t num_hits = 0;      // requests whose grammar was there or under way
  uint64_t num_compiled = 0;  // compilations that ended well
  uint64_t num_failed = 0;
  size_t cache_bytes = 0;
};

// Thread-safe.
class GrammarCompiler {
 public:
  using Result = absl::StatusOr<std::shared_ptr<const CompiledGrammar>>;
  // Called once, from a thread of the compiler or from Compile itself.
  using Done = std::function<void(Result)>;

  explicit GrammarCompiler(const GrammarCompilerOptions& options);
  // Waits for what runs; what waits is answered with CANCELLED.
  ~GrammarCompiler();

  // From now on this is the vocabulary, or this is why there is none. A later one replaces it and
  // empties the cache unless its hash is the same.
  void SetVocabulary(absl::StatusOr<Vocabulary> vocabulary);

  // UNIMPLEMENTED without a backend, INVALID_ARGUMENT if the format is empty or too large,
  // RESOURCE_EXHAUSTED if too many wait: then `done` is not called. `tokenizer_hash`: whose ids the
  // output will have; `done` gets FAILED_PRECONDITION if the vocabulary is another one.
  absl::Status Compile(const OutputFormat& format, const std::string& tokenizer_hash, Done done);

  GrammarCompilerStats stats() const;
  // Hears how long each compilation took, from the compiler's threads. Set before the first
  // Compile.
  void SetTimer(std::function<void(absl::Duration)> timer) { timer_ = std::move(timer); }

 private:
  struct Waiter {
    std::string tokenizer_hash;
    Done done;
  };
  struct Entry {
    OutputFormat format;
    std::vector<Waiter> waiters;  // while it isn't compiled
    std::shared_ptr<const CompiledGrammar> grammar;
    std::list<std::string>::iterator age;  // in ages_, once it is compiled
  };
  struct Tokens {
    std::string hash;
    std::shared_ptr<const Backend> backend;
  };

  void Loop();
  void CompileOne(const std::string& key, std::unique_lock<std::mutex>* lock);
  void Answer(std::vector<Waiter> waiters, const Result& result, const std::string& hash);
  // Forgets the oldest until the rest fits.
  void Shrink();

  const GrammarCompilerOptions options_;
  std::function<void(absl::Duration)> timer_;

  mutable std::mutex mutex_;  // guards all below
  std::condition_variable changed_;
  std::map<std::string, Entry> entries_;  // by format
  std::deque<std::string> pending_;       // keys that no thread has taken
  std::list<std::string> ages_;           // keys of compiled ones, newest first
  std::optional<Tokens> tokens_;
  std::optional<Vocabulary> next_vocabulary_;  // that a thread will turn into tokens_
  absl::Status vocabulary_error_;
  GrammarCompilerStats stats_;
  bool is_stopping_ = false;

  std::vector<pthread_t> threads_;
};

}  // namespace quartet::grammar
