// The sequences of one gateway whose grammars are being compiled: they are in no queue of the
// engine yet and hold nothing there, but can be cancelled.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <string>

#include "absl/container/flat_hash_map.h"
#include "absl/status/status.h"
#include "worker/engine/sequence.h"
#include "worker/grammar/grammar_compiler.h"

namespace quartet::worker_service {

// Thread-safe.
class StructuredSubmissions : public std::enable_shared_from_this<StructuredSubmissions> {
 public:
  // Gets the request with its matcher, or why it can't have one. Called from any thread, and not
  // any more once End has returned.
  using Done = std::function<void(absl::StatusOr<engine::SequenceRequest>)>;

  // `compiler` must outlive all calls.
  explicit StructuredSubmissions(grammar::GrammarCompiler* compiler) : compiler_(compiler) {}

  // Returns an error if there will be no grammar; `done` isn't called then.
  absl::Status Add(engine::SequenceRequest request, const grammar::OutputFormat& format,
                   const std::string& tokenizer_hash, Done done);
  // Whether the sequence was here; it is not any more, and is heard of no more.
  bool Cancel(uint64_t sequence_id);
  void End();

 private:
  void Finish(uint64_t ticket, engine::SequenceRequest request, absl::Time start,
              const grammar::GrammarCompiler::Result& result, const Done& done);

  grammar::GrammarCompiler* const compiler_;
  // Guards all below. Held while `done` runs, so that nothing is heard after End; recursive,
  // because what it does may end the stream at once.
  std::recursive_mutex mutex_;
  bool has_ended_ = false;
  uint64_t next_ticket_ = 1;
  absl::flat_hash_map<uint64_t, uint64_t> tickets_;  // by sequence
};

}  // namespace quartet::worker_service
