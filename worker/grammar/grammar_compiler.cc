#include "worker/grammar/grammar_compiler.h"

#include <pthread.h>
#include <sched.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "common/logging.h"
#include "common/status_macros.h"

namespace quartet::grammar {
namespace {

// Grammars that name each other in long chains are followed by recursion. Untouched pages cost
// nothing.
constexpr size_t kStackBytes = size_t{256} << 20;

// All that distinguishes formats.
std::string KeyOf(const OutputFormat& format) {
  std::string key =
      absl::StrCat(static_cast<int>(format.kind), format.compact_json ? "c" : "w", format.text);
  for (const std::string& choice : format.choices) {
    absl::StrAppend(&key, choice.size(), ":", choice);
  }
  return key;
}

absl::Status CheckFormat(const OutputFormat& format, size_t max_bytes) {
  if (format.size_bytes() > max_bytes) {
    return absl::InvalidArgumentError(absl::StrCat(format.field(), " has ", format.size_bytes(),
                                                   " bytes, at most ", max_bytes,
                                                   " are served (--max_grammar_bytes)"));
  }
  if (format.kind == OutputFormat::Kind::kChoice) {
    if (format.choices.empty()) {
      return absl::InvalidArgumentError(absl::StrCat(format.field(), " has no texts"));
    }
    for (const std::string& choice : format.choices) {
      if (choice.empty()) {
        return absl::InvalidArgumentError(absl::StrCat(format.field(), " has an empty text"));
      }
    }
  } else if (format.text.empty() && format.kind != OutputFormat::Kind::kJsonObject) {
    return absl::InvalidArgumentError(absl::StrCat(format.field(), " is empty"));
  }
  return absl::OkStatus();
}

// Steps come first where cores are few.
void LowerPriority() {
  sched_param none{};
  pthread_setschedparam(pthread_self(), SCHED_BATCH, &none);
  setpriority(PRIO_PROCESS, static_cast<id_t>(syscall(SYS_gettid)), 15);
}

}  // namespace

GrammarCompiler::GrammarCompiler(const GrammarCompilerOptions& options) : options_(options) {
  pthread_attr_t attributes;
  pthread_attr_init(&attributes);
  pthread_attr_setstacksize(&attributes, kStackBytes);
  for (int i = 0; i < options_.num_threads; ++i) {
    pthread_t thread;
    const int error = pthread_create(
        &thread, &attributes,
        [](void* self) -> void* {
          LowerPriority();
          static_cast<GrammarCompiler*>(self)->Loop();
          return nullptr;
        },
        this);
    QUARTET_CHECK(error == 0);
    threads_.push_back(thread);
  }
  pthread_attr_destroy(&attributes);
}

GrammarCompiler::~GrammarCompiler() {
  std::vector<Waiter> waiters;
  {
    std::lock_guard<std::mutex> lock(mutex_);
    is_stopping_ = true;
  }
  changed_.notify_all();
  for (const pthread_t thread : threads_) pthread_join(thread, nullptr);
  for (auto& [key, entry] : entries_) {
    for (Waiter& waiter : entry.waiters) waiters.push_back(std::move(waiter));
  }
  Answer(std::move(waiters), absl::CancelledError("the worker stops"), "");
}

void GrammarCompiler::SetVocabulary(absl::StatusOr<Vocabulary> vocabulary) {
  {
    std::lock_guard<std::mutex> lock(mutex_);
    vocabulary_error_ = vocabulary.status();
    if (vocabulary.ok()) next_vocabulary_ = *std::move(vocabulary);
  }
  changed_.notify_all();
}

absl::Status GrammarCompiler::Compile(const OutputFormat& format, const std::string& tokenizer_hash,
                                      Done done) {
  RETURN_IF_ERROR(CheckFormat(format, options_.max_format_bytes));
  std::string key = KeyOf(format);
  std::unique_lock<std::mutex> lock(mutex_);
  const auto known = entries_.find(key);
  if (known != entries_.end()) {
    Entry& entry = known->second;
    ++stats_.num_hits;
    if (entry.grammar == nullptr) {
      entry.waiters.push_back({tokenizer_hash, std::move(done)});
      return absl::OkStatus();
    }
    ages_.splice(ages_.begin(), ages_, entry.age);
    const Result result = entry.grammar;
    const std::string hash = tokens_->hash;
    lock.unlock();
    std::vector<Waiter> waiters(1);
    waiters[0] = {tokenizer_hash, std::move(done)};
    Answer(std::move(waiters), result, hash);
    return absl::OkStatus();
  }
  if (pending_.size() >= options_.max_pending) {
    return absl::ResourceExhaustedError(
        absl::StrCat(format.field(), ": ", pending_.size(),
                     " other formats wait to be compiled; try again later"));
  }
  Entry entry;
  entry.format = format;
  entry.waiters.push_back({tokenizer_hash, std::move(done)});
  entries_.emplace(key, std::move(entry));
  pending_.push_back(std::move(key));
  lock.unlock();
  changed_.notify_one();
  return absl::OkStatus();
}

void GrammarCompiler::Loop() {
  std::unique_lock<std::mutex> lock(mutex_);
  while (true) {
    const auto has_answer = [this] { return tokens_.has_value() || !vocabulary_error_.ok(); };
    changed_.wait(lock, [&] {
      return is_stopping_ || next_vocabulary_.has_value() || (!pending_.empty() && has_answer());
    });
    if (is_stopping_) return;
    if (next_vocabulary_.has_value()) {
      const Vocabulary vocabulary = *std::exchange(next_vocabulary_, std::nullopt);
      if (tokens_.has_value() && tokens_->hash == vocabulary.hash) continue;
      lock.unlock();
      const absl::Time start = absl::Now();
      auto backend = options_.make_backend(vocabulary, options_.vocab_size);
      lock.lock();
      if (!backend.ok()) {
        vocabulary_error_ = backend.status();
        continue;
      }
      common::LogInfo(
          "grammars are ready for a tokenizer",
          {{"hash", vocabulary.hash}, {"ms", absl::ToInt64Milliseconds(absl::Now() - start)}});
      tokens_ = Tokens{vocabulary.hash, *std::move(backend)};
      for (const std::string& key : ages_) entries_.erase(key);
      ages_.clear();
      stats_.cache_bytes = 0;
      changed_.notify_all();
      continue;
    }
    const std::string key = std::move(pending_.front());
    pending_.pop_front();
    CompileOne(key, &lock);
  }
}

void GrammarCompiler::CompileOne(const std::string& key, std::unique_lock<std::mutex>* lock) {
  const OutputFormat format = entries_.at(key).format;
  const std::optional<Tokens> tokens = tokens_;
  Result result = tokens.has_value() ? absl::UnknownError("being compiled") : vocabulary_error_;
  if (tokens.has_value()) {
    lock->unlock();
    const absl::Time start = absl::Now();
    result = tokens->backend->Compile(format, options_.limits);
    if (timer_) timer_(absl::Now() - start);
    lock->lock();
  }
  Entry& entry = entries_.at(key);
  std::vector<Waiter> waiters = std::move(entry.waiters);
  // One that a newer vocabulary overtook answers those that wait, but isn't kept.
  const bool is_current = tokens.has_value() && tokens_->backend == tokens->backend;
  result.ok() ? ++stats_.num_compiled : ++stats_.num_failed;
  if (result.ok() && is_current) {
    entry.waiters.clear();
    entry.grammar = *result;
    ages_.push_front(key);
    entry.age = ages_.begin();
    stats_.cache_bytes += entry.grammar->size_bytes();
    Shrink();
  } else {
    entries_.erase(key);
  }
  lock->unlock();
  Answer(std::move(waiters), result, tokens.has_value() ? tokens->hash : "");
  lock->lock();
}

void GrammarCompiler::Shrink() {
  while (stats_.cache_bytes > options_.cache_bytes && !ages_.empty()) {
    const auto oldest = entries_.find(ages_.back());
    stats_.cache_bytes -= oldest->second.grammar->size_bytes();
    ages_.pop_back();
    entries_.erase(oldest);
  }
}

void GrammarCompiler::Answer(std::vector<Waiter> waiters, const Result& result,
                             const std::string& hash) {
  for (Waiter& waiter : waiters) {
    if (result.ok() && waiter.tokenizer_hash != hash) {
      waiter.done(absl::FailedPreconditionError(absl::StrCat(
          "structured_output: the gateway's tokenizer is ", waiter.tokenizer_hash,
          ", the worker's vocabulary is ", hash, "; start both with the same --model")));
    } else {
      waiter.done(result);
    }
  }
}

GrammarCompilerStats GrammarCompiler::stats() const {
  std::lock_guard<std::mutex> lock(mutex_);
  return stats_;
}

}  // namespace quartet::grammar
