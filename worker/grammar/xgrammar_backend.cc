// Grammars by xgrammar. The only file that includes it. Its exceptions end here, and so does its
// time: it works under an AllocationBudget.
#include <dlpack/dlpack.h>
#include <xgrammar/xgrammar.h>

#include <algorithm>
#include <exception>
#include <new>
#include <optional>
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
#include "worker/grammar/string_length.h"
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
  // `texts` is null if no string of the grammar has a length.
  XgrammarMatcher(xgrammar::GrammarMatcher matcher, std::shared_ptr<const TokenTexts> texts,
                  int64_t smallest_maximum)
      : matcher_(std::move(matcher)),
        texts_(std::move(texts)),
        smallest_maximum_(smallest_maximum) {}

  absl::Status Accept(int32_t token_id) override {
    bool is_accepted = false;
    RETURN_IF_ERROR(Follow([&] { is_accepted = matcher_.AcceptToken(token_id); }));
    if (is_accepted) {
      const std::optional<StringLength> before = std::exchange(length_, ActiveLength());
      count_ = length_.has_value() && texts_ != nullptr
                   ? texts_->CountAfter(token_id, before.has_value(), count_)
                   : 0;
      return absl::OkStatus();
    }
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
    RETURN_IF_ERROR(Follow([&] { matcher_.FillNextTokenBitmask(&tensor); }));
    if (texts_ == nullptr) return absl::OkStatus();
    const std::vector<uint32_t> by_grammar(mask.begin(), mask.end());
    texts_->ForbidLongBeginnings(smallest_maximum_, mask);
    if (length_.has_value()) texts_->KeepLength(*length_, count_, mask);
    // Another string may be possible here too, with no length or a constant, and only that is left.
    const bool is_empty = std::all_of(mask.begin(), mask.end(), [](uint32_t w) { return w == 0; });
    if (is_empty) std::copy(by_grammar.begin(), by_grammar.end(), mask.begin());
    return absl::OkStatus();
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

  std::optional<StringLength> ActiveLength() const {
    if (texts_ == nullptr) return std::nullopt;
    const std::optional<float> code = matcher_.GetTemperature();
    if (!code.has_value()) return std::nullopt;
    return DecodeLength(static_cast<int>(*code));
  }

  xgrammar::GrammarMatcher matcher_;
  const std::shared_ptr<const TokenTexts> texts_;
  const int64_t smallest_maximum_;
  std::optional<StringLength> length_;  // of the string that is open now
  int64_t count_ = 0;                   // of its characters so far
  absl::Status status_;                 // the first error
};

class XgrammarCompiled : public CompiledGrammar {
 public:
  XgrammarCompiled(xgrammar::CompiledGrammar grammar, std::shared_ptr<const TokenTexts> texts,
                   int64_t smallest_maximum)
      : grammar_(std::move(grammar)),
        texts_(std::move(texts)),
        smallest_maximum_(smallest_maximum),
        size_bytes_(grammar_.MemorySizeBytes()) {}

  absl::StatusOr<std::unique_ptr<Matcher>> NewMatcher() const override {
    std::unique_ptr<Matcher> matcher;
    RETURN_IF_ERROR(Guarded(kTokenTime, kTokenMemory, [&] {
      matcher = std::make_unique<XgrammarMatcher>(
          xgrammar::GrammarMatcher(grammar_, std::nullopt, /*terminate_without_stop_token=*/false),
          texts_, smallest_maximum_);
    }));
    return matcher;
  }

  size_t size_bytes() const override { return size_bytes_; }

 private:
  const xgrammar::CompiledGrammar grammar_;
  const std::shared_ptr<const TokenTexts> texts_;
  const int64_t smallest_maximum_;
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
  XgrammarBackend(xgrammar::TokenizerInfo tokenizer, const Vocabulary& vocabulary)
      : tokenizer_(std::move(tokenizer)), texts_(std::make_shared<TokenTexts>(vocabulary)) {}

  absl::StatusOr<std::shared_ptr<const CompiledGrammar>> Compile(
      const OutputFormat& format, const CompileLimits& limits) const override {
    const absl::StatusOr<std::string> source = SourceOf(format);
    if (!source.ok()) return Annotate(source.status(), format);
    const bool has_lengths = source->find("[temperature=") != std::string::npos;
    if (has_lengths && UsersOwn(format)) {
      return Annotate(absl::InvalidArgumentError("the rule option temperature is not supported"),
                      format);
    }
    const auto texts = has_lengths ? texts_ : nullptr;
    const int64_t smallest = SmallestMaximum(*source).value_or(kMaxMaxLength);
    std::shared_ptr<const CompiledGrammar> compiled;
    xgrammar::warnings.clear();
    const absl::Status status = Guarded(limits.time, limits.memory_bytes, [&] {
      // Without a cache of its own, and so without state that an interruption could leave broken;
      // with one thread, which is this one.
      xgrammar::GrammarCompiler compiler(tokenizer_, /*max_threads=*/1, /*cache_enabled=*/false);
      compiled =
          std::make_shared<XgrammarCompiled>(format.kind == OutputFormat::Kind::kStructuralTag
                                                 ? compiler.CompileStructuralTag(*source)
                                                 : compiler.CompileGrammar(*source, "root"),
                                             texts, smallest);
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
  // Whether what a user wrote uses what the lengths of strings are told by.
  static bool UsersOwn(const OutputFormat& format) {
    const bool has_grammar = format.kind == OutputFormat::Kind::kEbnf ||
                             format.kind == OutputFormat::Kind::kStructuralTag;
    return has_grammar && format.text.find("temperature") != std::string::npos;
  }

  static absl::Status Annotate(const absl::Status& status, const OutputFormat& format) {
    return absl::Status(status.code(), absl::StrCat(format.field(), ": ", status.message()));
  }

  const xgrammar::TokenizerInfo tokenizer_;
  const std::shared_ptr<const TokenTexts> texts_;
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
    backend = std::make_shared<XgrammarBackend>(
        xgrammar::TokenizerInfo(tokens, xgrammar::VocabType::RAW, static_cast<int>(vocab_size),
                                std::vector<int32_t>{}),
        vocabulary);
  }));
  return backend;
}

}  // namespace quartet::grammar
