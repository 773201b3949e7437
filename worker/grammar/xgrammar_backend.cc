// Grammars by xgrammar. The only file that includes it. Its exceptions end here, and so does its
// time: it works under an AllocationBudget.
#include <dlpack/dlpack.h>
#include <xgrammar/xgrammar.h>

#include <algorithm>
#include <exception>
#include <new>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "common/logging.h"
#include "common/status_macros.h"
#include "worker/grammar/allocation_budget.h"
#include "worker/grammar/ebnf.h"
#include "worker/grammar/grammar.h"
#include "worker/grammar/json_schema_grammar.h"
#include "worker/grammar/regex_grammar.h"
#include "worker/grammar/structural_tag.h"

namespace xgrammar {

// What it says while it works for this thread: parts of a grammar that it would leave out.
thread_local std::string warnings;

// Declared by the library for those who customise its log.
[[noreturn]] void LogFatalImpl(const std::string&, int, const std::string& message) {
  throw std::runtime_error(message);
}
void LogMessageImpl(const std::string&, int, int level, const std::string& message) {
  constexpr int kWarning = 2;
  if (level >= kWarning && warnings.size() < 1000) warnings += message + "; ";
}

}  // namespace xgrammar

namespace quartet::grammar {
namespace {

// Of one token's way through a grammar, so that an ambiguous one can't hold the step loop up.
constexpr absl::Duration kTokenTime = absl::Milliseconds(200);
constexpr size_t kTokenMemory = size_t{64} << 20;

// Runs what may throw: INVALID_ARGUMENT if the budget is spent, which trying again won't mend, or
// with the message of any other exception.
template <typename Work>
absl::Status Guarded(absl::Duration time, size_t memory_bytes, Work work) {
  AllocationBudget budget(time, memory_bytes);
  try {
    work();
    return absl::OkStatus();
  } catch (const std::bad_alloc&) {
    return absl::InvalidArgumentError(absl::StrCat("needs more than ", absl::FormatDuration(time),
                                                   " or ", memory_bytes >> 20,
                                                   " MiB of memory; simplify it"));
  } catch (const std::exception& error) {
    if (budget.is_spent()) {
      return absl::InvalidArgumentError(
          absl::StrCat("needs more than ", absl::FormatDuration(time), " of time; simplify it"));
    }
    return absl::InvalidArgumentError(error.what());
  }
}

class XgrammarMatcher : public Matcher {
 public:
  explicit XgrammarMatcher(xgrammar::GrammarMatcher matcher) : matcher_(std::move(matcher)) {}

  absl::Status Accept(int32_t token_id) override {
    bool is_accepted = false;
    RETURN_IF_ERROR(Follow([&] { is_accepted = matcher_.AcceptToken(token_id); }));
    if (is_accepted) return absl::OkStatus();
    return absl::InvalidArgumentError(
        absl::StrCat("the grammar doesn't allow token ", token_id, " here"));
  }

  absl::Status FillMask(std::span<uint32_t> mask) override {
    int64_t shape = static_cast<int64_t>(mask.size());
    DLTensor tensor{};
    tensor.data = mask.data();
    tensor.device = {kDLCPU, 0};
    tensor.ndim = 1;
    tensor.dtype = xgrammar::GetBitmaskDLType();
    tensor.shape = &shape;
    return Follow([&] { matcher_.FillNextTokenBitmask(&tensor); });
  }

  bool CanEnd() const override { return matcher_.IsCompleted(); }

 private:
  template <typename Work>
  absl::Status Follow(Work work) {
    if (!status_.ok()) return status_;
    status_ = Guarded(kTokenTime, kTokenMemory, work);
    if (!status_.ok()) {
      status_ = absl::InvalidArgumentError(
          absl::StrCat("structured_output: following the grammar ", status_.message()));
    }
    return status_;
  }

  xgrammar::GrammarMatcher matcher_;
  absl::Status status_;  // the first error
};

class XgrammarCompiled : public CompiledGrammar {
 public:
  explicit XgrammarCompiled(xgrammar::CompiledGrammar grammar)
      : grammar_(std::move(grammar)), size_bytes_(grammar_.MemorySizeBytes()) {}

  absl::StatusOr<std::unique_ptr<Matcher>> NewMatcher() const override {
    std::unique_ptr<Matcher> matcher;
    RETURN_IF_ERROR(Guarded(kTokenTime, kTokenMemory, [&] {
      matcher = std::make_unique<XgrammarMatcher>(
          xgrammar::GrammarMatcher(grammar_, std::nullopt, /*terminate_without_stop_token=*/false));
    }));
    return matcher;
  }

  size_t size_bytes() const override { return size_bytes_; }

 private:
  const xgrammar::CompiledGrammar grammar_;
  const size_t size_bytes_;
};

std::string ChoiceEbnf(const std::vector<std::string>& choices) {
  std::vector<std::string> literals;
  for (const std::string& choice : choices) literals.push_back(LiteralExpression(choice));
  return absl::StrCat("root ::= ", absl::StrJoin(literals, " | "), "\n");
}

// The grammar as EBNF, or, of a structural tag, as JSON without schemas.
absl::StatusOr<std::string> SourceOf(const OutputFormat& format) {
  const JsonGrammarOptions options = {format.compact_json};
  switch (format.kind) {
    case OutputFormat::Kind::kJsonObject:
      return JsonSchemaToEbnf(Schema{{"type", "object"}}, options);
    case OutputFormat::Kind::kJsonSchema:
      return JsonSchemaTextToEbnf(format.text, options);
    case OutputFormat::Kind::kRegex: {
      ASSIGN_OR_RETURN(const std::string expression,
                       RegexExpression(format.text, RegexContext::kText));
      return absl::StrCat("root ::= ", expression, "\n");
    }
    case OutputFormat::Kind::kChoice:
      return ChoiceEbnf(format.choices);
    case OutputFormat::Kind::kEbnf:
      return format.text;
    case OutputFormat::Kind::kStructuralTag:
      return ResolveStructuralTag(format.text, options);
    case OutputFormat::Kind::kNone:
      break;
  }
  return absl::InvalidArgumentError("no format is set");
}

class XgrammarBackend : public Backend {
 public:
  explicit XgrammarBackend(xgrammar::TokenizerInfo tokenizer) : tokenizer_(std::move(tokenizer)) {}

  absl::StatusOr<std::shared_ptr<const CompiledGrammar>> Compile(
      const OutputFormat& format, const CompileLimits& limits) const override {
    const absl::StatusOr<std::string> source = SourceOf(format);
    if (!source.ok()) return Annotate(source.status(), format);
    std::shared_ptr<const CompiledGrammar> compiled;
    xgrammar::warnings.clear();
    const absl::Status status = Guarded(limits.time, limits.memory_bytes, [&] {
      // Without a cache of its own, and so without state that an interruption could leave broken;
      // with one thread, which is this one.
      xgrammar::GrammarCompiler compiler(tokenizer_, /*max_threads=*/1, /*cache_enabled=*/false);
      compiled =
          std::make_shared<XgrammarCompiled>(format.kind == OutputFormat::Kind::kStructuralTag
                                                 ? compiler.CompileStructuralTag(*source)
                                                 : compiler.CompileGrammar(*source, "root"));
    });
    if (!status.ok()) return Annotate(status, format);
    if (!xgrammar::warnings.empty()) {
      return Annotate(absl::InvalidArgumentError(
                          absl::StrCat("a part of it can't be honoured: ", xgrammar::warnings)),
                      format);
    }
    return compiled;
  }

 private:
  static absl::Status Annotate(const absl::Status& status, const OutputFormat& format) {
    return absl::Status(status.code(), absl::StrCat(format.field(), ": ", status.message()));
  }

  const xgrammar::TokenizerInfo tokenizer_;
};

}  // namespace

bool HasBackend() { return true; }
absl::Status CheckBackend() { return absl::OkStatus(); }

absl::StatusOr<std::shared_ptr<const Backend>> MakeBackend(const Vocabulary& vocabulary,
                                                           int64_t vocab_size) {
  if (static_cast<int64_t>(vocabulary.tokens.size()) > vocab_size) {
    return absl::FailedPreconditionError(absl::StrCat(
        "the tokenizer has ", vocabulary.tokens.size(), " ids, the model has logits for ",
        vocab_size, "; start tokenizer and worker with the same --model"));
  }
  // xgrammar takes an empty token for one that no text contains.
  std::vector<std::string> tokens = vocabulary.tokens;
  for (size_t id = 0; id < tokens.size(); ++id) {
    if (id < vocabulary.is_special.size() && vocabulary.is_special[id]) tokens[id].clear();
  }
  std::shared_ptr<const Backend> backend;
  RETURN_IF_ERROR(Guarded(absl::Minutes(1), size_t{4} << 30, [&] {
    backend = std::make_shared<XgrammarBackend>(xgrammar::TokenizerInfo(
        tokens, xgrammar::VocabType::RAW, static_cast<int>(vocab_size), std::vector<int32_t>{}));
  }));
  return backend;
}

}  // namespace quartet::grammar
