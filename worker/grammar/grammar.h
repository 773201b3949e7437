// What the engine needs of grammars: a compiled one can be walked token by token and says which
// tokens may come next. Plain interfaces; xgrammar_backend.cc implements them, and
// missing_backend.cc where xgrammar was not there at build time.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"

namespace quartet::grammar {

// The shape that an output is to have; proto/quartet/v1/structured_output.proto says what each
// kind means.
struct OutputFormat {
  enum class Kind { kNone, kJsonObject, kJsonSchema, kRegex, kChoice, kEbnf, kStructuralTag };

  Kind kind = Kind::kNone;
  std::string text;                  // of all kinds but the first two and kChoice
  std::vector<std::string> choices;  // of kChoice
  bool compact_json = false;

  bool operator==(const OutputFormat&) const = default;
  // The field of the request that names it, for messages.
  const char* field() const;
  size_t size_bytes() const;
};

// The bytes of every token.
struct Vocabulary {
  std::vector<std::string> tokens;  // by id; empty: the tokenizer has no such id
  std::vector<bool> is_special;     // by id: no text contains it
  std::string hash;                 // of the tokenizer
};

// The walk of one output. One thread at a time.
class Matcher {
 public:
  virtual ~Matcher() = default;

  // The next token of the output. INVALID_ARGUMENT if the grammar doesn't allow it here, or if
  // following it takes too much time or memory. Of no use after an error.
  virtual absl::Status Accept(int32_t token_id) = 0;
  // Sets the bits of the tokens that may come next and clears the others; ids that end a sequence
  // are not among them. `mask` has a bit for each row of the logits. INVALID_ARGUMENT as above.
  virtual absl::Status FillMask(std::span<uint32_t> mask) = 0;
  // Whether the output may end here.
  virtual bool CanEnd() const = 0;
};

// Thread-safe; outlives its matchers' creator.
class CompiledGrammar {
 public:
  virtual ~CompiledGrammar() = default;
  virtual absl::StatusOr<std::unique_ptr<Matcher>> NewMatcher() const = 0;
  virtual size_t size_bytes() const = 0;
};

// What one compilation may take.
struct CompileLimits {
  absl::Duration time = absl::Seconds(10);
  size_t memory_bytes = size_t{512} << 20;
};

// Compiles for one vocabulary. Thread-safe.
class Backend {
 public:
  virtual ~Backend() = default;
  // INVALID_ARGUMENT with the field and what is wrong with it, or that the limits don't suffice.
  virtual absl::StatusOr<std::shared_ptr<const CompiledGrammar>> Compile(
      const OutputFormat& format, const CompileLimits& limits) const = 0;
};

using BackendFactory = std::function<absl::StatusOr<std::shared_ptr<const Backend>>(
    const Vocabulary& vocabulary, int64_t vocab_size)>;

// Whether this build has one.
bool HasBackend();
// UNIMPLEMENTED, with the way to get it, in a build without.
absl::Status CheckBackend();
// `vocab_size`: rows of the logits; ids that the vocabulary lacks are never allowed.
absl::StatusOr<std::shared_ptr<const Backend>> MakeBackend(const Vocabulary& vocabulary,
                                                           int64_t vocab_size);

}  // namespace quartet::grammar
