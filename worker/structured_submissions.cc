#include "worker/structured_submissions.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "common/status_macros.h"

namespace quartet::worker_service {
namespace {

// A matcher that has gone through what earlier attempts generated.
absl::StatusOr<std::shared_ptr<grammar::Matcher>> MatcherFor(
    const engine::SequenceRequest& request, const grammar::CompiledGrammar& grammar) {
  ASSIGN_OR_RETURN(std::shared_ptr<grammar::Matcher> matcher, grammar.NewMatcher());
  for (size_t i = 0; i < request.output_ids.size(); ++i) {
    const absl::Status status = matcher->Accept(request.output_ids[i]);
    if (status.ok()) continue;
    return absl::InternalError(
        absl::StrCat("output_ids of an earlier attempt don't fit structured_output: id ",
                     request.output_ids[i], " at ", i, ": ", status.message()));
  }
  return matcher;
}

// The rest of its time, once some has been spent on waiting.
absl::Status ShortenTimeout(absl::Duration waited, engine::SequenceRequest* request) {
  if (request->timeout_ms == 0) return absl::OkStatus();
  const auto waited_ms = static_cast<uint64_t>(absl::ToInt64Milliseconds(waited));
  if (waited_ms >= request->timeout_ms) {
    return absl::DeadlineExceededError(
        absl::StrCat("the request's ", request->timeout_ms,
                     " ms are over (its structured_output was still being compiled)"));
  }
  request->timeout_ms -= waited_ms;
  return absl::OkStatus();
}

}  // namespace

absl::Status StructuredSubmissions::Add(engine::SequenceRequest request,
                                        const grammar::OutputFormat& format,
                                        const std::string& tokenizer_hash, Done done) {
  const uint64_t sequence_id = request.key.sequence_id;
  uint64_t ticket = 0;
  {
    std::lock_guard<std::recursive_mutex> lock(mutex_);
    ticket = next_ticket_++;
    tickets_[sequence_id] = ticket;
  }
  const absl::Time start = absl::Now();
  const absl::Status status =
      compiler_->Compile(format, tokenizer_hash,
                         [self = shared_from_this(), ticket, start, request = std::move(request),
                          done = std::move(done)](const grammar::GrammarCompiler::Result& result) {
                           self->Finish(ticket, request, start, result, done);
                         });
  if (!status.ok()) Cancel(sequence_id);
  return status;
}

void StructuredSubmissions::Finish(uint64_t ticket, engine::SequenceRequest request,
                                   absl::Time start, const grammar::GrammarCompiler::Result& result,
                                   const Done& done) {
  absl::Status status = result.status();
  if (status.ok()) {
    auto matcher = MatcherFor(request, **result);
    status = matcher.status();
    if (matcher.ok()) request.matcher = *std::move(matcher);
  }
  if (status.ok()) status = ShortenTimeout(absl::Now() - start, &request);
  std::lock_guard<std::recursive_mutex> lock(mutex_);
  const auto it = tickets_.find(request.key.sequence_id);
  if (has_ended_ || it == tickets_.end() || it->second != ticket) return;
  tickets_.erase(it);
  status.ok() ? done(std::move(request)) : done(status);
}

bool StructuredSubmissions::Cancel(uint64_t sequence_id) {
  std::lock_guard<std::recursive_mutex> lock(mutex_);
  return tickets_.erase(sequence_id) > 0;
}

void StructuredSubmissions::End() {
  std::lock_guard<std::recursive_mutex> lock(mutex_);
  has_ended_ = true;
  tickets_.clear();
}

}  // namespace quartet::worker_service
