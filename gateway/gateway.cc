#include "gateway/gateway.h"

#include <algorithm>
#include <chrono>
#include <random>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "common/logging.h"
#include "common/status_macros.h"
#include "gateway/request_error.h"

namespace quartet::gateway {
namespace {

// After a drain's time is over, how long the ends of streams may take to be noted.
constexpr std::chrono::seconds kFailGrace(2);

uint64_t Random64() {
  thread_local std::mt19937_64 generator = [] {
    std::random_device device;
    std::seed_seq seed{device(), device(), device(), device()};
    return std::mt19937_64(seed);
  }();
  return generator();
}

}  // namespace

Gateway::Gateway(const GatewayOptions& options, EventLoop* loop, Tokenizer* tokenizer,
                 Metrics* metrics)
    : options_(options),
      loop_(loop),
      tokenizer_(tokenizer),
      metrics_(metrics),
      admission_(options.max_inflight_requests, options.max_inflight_prompt_tokens),
      router_(options.router, metrics),
      decoder_(loop, tokenizer, options.resume_timeout) {
  auto state = std::make_shared<ServerState>();
  state->reason = "the tokenizer service does not answer";
  state->model_names = options.model_names;
  state_ = std::move(state);
}

Gateway::~Gateway() = default;

absl::StatusOr<Gateway::RequestHandle> Gateway::Generate(GenerationRequest request,
                                                         std::shared_ptr<GenerationSink> sink) {
  const std::shared_ptr<const ServerState> now = state();
  RETURN_IF_ERROR(CheckModel(request.model));
  if (admission_.closed()) return Admission::ClosedError();
  if (!now->serving) return absl::UnavailableError(now->reason);
  ASSIGN_OR_RETURN(Admission::Ticket ticket, admission_.Enter());
  RequestHandle handle = 0;
  {
    std::lock_guard<std::mutex> lock(mutex_);
    handle = next_handle_++;
  }
  if (request.request_id.empty())
    request.request_id = absl::StrFormat("%016x%016x", Random64(), Random64());
  const GenerationEnvironment environment{loop_,
                                          tokenizer_,
                                          &router_,
                                          &decoder_,
                                          metrics_,
                                          options_.resume_timeout,
                                          options_.started_hold};
  // A generation may end while it is on the stack: it is removed in a task of its own.
  auto generation = std::make_shared<Generation>(
      environment, now->model, std::move(request), Random64(), std::move(ticket), std::move(sink),
      [this, handle] { loop_->Post([this, handle] { Remove(handle); }); });
  loop_->Post([this, handle, generation = std::move(generation)] {
    by_request_id_.emplace(generation->request_id(), handle);
    generations_.emplace(handle, generation);
    generation->Start();
  });
  return handle;
}

void Gateway::Remove(RequestHandle handle) {
  const auto found = generations_.find(handle);
  if (found == generations_.end()) return;
  const auto [begin, end] = by_request_id_.equal_range(found->second->request_id());
  for (auto it = begin; it != end; ++it) {
    if (it->second != handle) continue;
    by_request_id_.erase(it);
    break;
  }
  generations_.erase(found);
  if (generations_.empty()) {
    std::lock_guard<std::mutex> lock(mutex_);
    drained_.notify_all();
  }
}

void Gateway::Cancel(RequestHandle handle) {
  loop_->Post([this, handle] {
    const auto found = generations_.find(handle);
    if (found != generations_.end()) found->second->Cancel();
  });
}

void Gateway::Abort(std::string request_id, absl::AnyInvocable<void(absl::Status)> done) {
  loop_->Post([this, request_id = std::move(request_id), done = std::move(done)]() mutable {
    const auto [begin, end] = by_request_id_.equal_range(request_id);
    if (begin == end) {
      return done(
          absl::NotFoundError(absl::StrCat("no running request has the id '", request_id, "'")));
    }
    for (auto it = begin; it != end; ++it) generations_.at(it->second)->Abort();
    done(absl::OkStatus());
  });
}

void Gateway::StopAdmitting() {
  admission_.Close();
  loop_->Post([this] { UpdateState(); });
}

void Gateway::DrainGroup(std::string address, absl::AnyInvocable<void(absl::Status)> done) {
  loop_->Post([this, address = std::move(address), done = std::move(done)]() mutable {
    std::vector<std::string> known;
    for (WorkerGroup* group : router_.groups()) {
      if (group->address() == address) return group->Drain(std::move(done));
      known.push_back(group->address());
    }
    done(absl::NotFoundError(
        absl::StrCat("no worker group is attached at '", address,
                     "'; attached: ", known.empty() ? "none" : absl::StrJoin(known, ", "))));
  });
}

void Gateway::Tokenize(std::string text, bool add_special_tokens, Tokenizer::Done<TokenIds> done) {
  loop_->Post([this, text = std::move(text), add_special_tokens, done = std::move(done)]() mutable {
    tokenizer_->Encode(std::move(text), add_special_tokens, std::move(done));
  });
}

void Gateway::Detokenize(TokenIds ids, bool skip_special_tokens,
                         Tokenizer::Done<std::string> done) {
  loop_->Post([this, ids = std::move(ids), skip_special_tokens, done = std::move(done)]() mutable {
    tokenizer_->Decode(std::move(ids), skip_special_tokens, std::move(done));
  });
}

void Gateway::TokenPieces(TokenIds ids, Tokenizer::Done<std::vector<std::string>> done) {
  loop_->Post([this, ids = std::move(ids), done = std::move(done)]() mutable {
    DecodeItem item;
    item.finish = true;
    item.piece_ids = std::move(ids);
    decoder_.Add(std::move(item),
                 [done = std::move(done)](absl::StatusOr<DecodeResult> result) mutable {
                   if (!result.ok()) return done(result.status());
                   done(std::move(result->pieces));
                 });
  });
}

void Gateway::ApplyChatTemplate(ChatPrompt chat, Tokenizer::Done<RenderedChat> done) {
  loop_->Post([this, chat = std::move(chat), done = std::move(done)]() mutable {
    tokenizer_->ApplyChatTemplate(std::move(chat), std::move(done));
  });
}

void Gateway::ListGroups(absl::AnyInvocable<void(std::vector<GroupState>)> done) {
  loop_->Post([this, done = std::move(done)]() mutable {
    std::vector<GroupState> groups;
    for (WorkerGroup* group : router_.groups()) {
      groups.push_back({group->address(), group->info(), group->load(), group->healthy(),
                        group->draining(), router_.num_tokens(group)});
    }
    done(std::move(groups));
  });
}

std::shared_ptr<const ServerState> Gateway::state() const {
  std::lock_guard<std::mutex> lock(mutex_);
  return state_;
}

absl::Status Gateway::CheckModel(const std::string& name) const {
  const std::shared_ptr<const ServerState> now = state();
  const auto& names = now->model_names;
  if (name.empty() || names.empty() || std::find(names.begin(), names.end(), name) != names.end()) {
    return absl::OkStatus();
  }
  return WithField(
      absl::NotFoundError(absl::StrCat("The model '", name,
                                       "' does not exist; served: ", absl::StrJoin(names, ", "))),
      "model", "model_not_found");
}

absl::Status Gateway::CheckServing() const {
  if (admission_.closed()) return Admission::ClosedError();
  const auto now = state();
  return now->serving ? absl::OkStatus() : absl::UnavailableError(now->reason);
}

void Gateway::UpdateState() {
  auto next = std::make_shared<ServerState>(*state());
  const std::vector<WorkerGroup*> groups = router_.groups();
  next->load = GroupLoad();
  bool any_healthy = false;
  bool all_draining = !groups.empty();
  for (const WorkerGroup* group : groups) {
    next->load.num_running += group->load().num_running;
    next->load.num_waiting += group->load().num_waiting;
    next->load.num_used_kv_blocks += group->load().num_used_kv_blocks;
    next->load.num_kv_blocks += group->load().num_kv_blocks;
    any_healthy |= group->healthy() && !group->draining();
    all_draining &= group->draining();
  }
  if (!groups.empty() && tokenizer_info_.has_value()) {
    next->group = groups.front()->info();
    next->tokenizer_hash = tokenizer_info_->hash;
    next->model_names = options_.model_names;
    next->model_names.push_back(next->group.model_name);
    auto model = std::make_shared<ModelFacts>();
    model->name = next->model_names.front();
    model->max_model_len = next->group.max_model_len;
    model->tokenizer_size = tokenizer_info_->vocab_size;
    model->eos_token_ids = tokenizer_info_->eos_token_ids;
    model->has_chat_template = tokenizer_info_->has_chat_template;
    model->fill_in_middle = tokenizer_info_->fill_in_middle;
    if (next->model == nullptr || next->model->name != model->name) {
      metrics_->SetModelName(model->name);
    }
    next->model = std::move(model);
  }
  next->serving = tokenizer_info_.has_value() && any_healthy && !admission_.closed();
  next->reason = admission_.closed()            ? std::string(Admission::ClosedError().message())
                 : !tokenizer_info_.has_value() ? "the tokenizer service does not answer"
                 : groups.empty()               ? why_no_worker_
                 : all_draining                 ? "all worker groups are draining"
                 : !any_healthy                 ? "the worker says that its engine makes no steps"
                                                : "";
  if (next->model != nullptr) metrics_->SetLoad(next->load, router_.num_waiting());
  const bool serving = next->serving;
  const std::string reason = next->reason;
  bool changed = false;
  {
    std::lock_guard<std::mutex> lock(mutex_);
    changed = state_->serving != serving;
    state_ = std::move(next);
  }
  if (!changed) return;
  common::LogInfo(serving ? "serving" : "not serving", {{"reason", reason}});
  if (on_serving_) on_serving_(serving);
}

void Gateway::OnTokenizer(std::optional<TokenizerInfo> info) {
  tokenizer_info_ = std::move(info);
  UpdateState();
}

void Gateway::OnAttached(WorkerGroup* group) {
  router_.OnAttached(group);
  UpdateState();
}

void Gateway::OnDetached(WorkerGroup* group, const absl::Status& why) {
  why_no_worker_ = absl::StrCat("no worker is attached: ", why.message());
  router_.OnDetached(group, why);
  UpdateState();
}

void Gateway::OnStep(WorkerGroup* group, std::vector<SequenceNews> news) {
  router_.OnStep(group, std::move(news));
}

void Gateway::OnLoadChanged(WorkerGroup* group) {
  router_.OnLoadChanged(group);
  UpdateState();
}

void Gateway::FailAll(const absl::Status& status) {
  for (const auto& [handle, generation] : generations_) generation->Fail(status);
}

void Gateway::Drain(absl::Duration timeout) {
  admission_.Close();
  loop_->Post([this] { UpdateState(); });
  const auto none_left = [this] { return admission_.in_flight() == 0; };
  std::unique_lock<std::mutex> lock(mutex_);
  if (drained_.wait_for(lock, absl::ToChronoMilliseconds(timeout), none_left)) return;
  lock.unlock();
  common::LogWarning("drain timeout is over, ending requests", {{"left", admission_.in_flight()}});
  loop_->Post([this] {
    FailAll(absl::UnavailableError("the server is shutting down and --drain_timeout_ms is over"));
  });
  lock.lock();
  drained_.wait_for(lock, kFailGrace, none_left);
}

}  // namespace quartet::gateway
