#include "gateway/control_service.h"

#include <memory>
#include <set>
#include <utility>

#include "common/version.h"
#include "gateway/proto_conversion.h"
#include "gateway/rpc_status.h"

namespace quartet::gateway {
namespace {

// Ends the call with `status`.
grpc::ServerUnaryReactor* Answer(grpc::CallbackServerContext* context, const absl::Status& status) {
  grpc::ServerUnaryReactor* const reactor = context->DefaultReactor();
  reactor->Finish(ToRpcStatus(status));
  return reactor;
}

absl::Status NoModelYet(const ServerState& state) {
  return absl::UnavailableError(state.reason.empty() ? "no worker has attached yet" : state.reason);
}

}  // namespace

grpc::ServerUnaryReactor* ControlService::GetServerInfo(grpc::CallbackServerContext* context,
                                                        const v1::GetServerInfoRequest* request,
                                                        v1::GetServerInfoResponse* response) {
  const auto state = gateway_->state();
  response->set_version(common::kVersion);
  response->set_device(state->group.device);
  response->set_numerics_id(state->group.numerics_id);
  response->set_world_size(state->group.world_size);
  for (const RankReport& rank : state->group.ranks) {
    v1::RankInfo* info = response->add_ranks();
    info->set_rank(rank.rank);
    info->set_pid(rank.pid);
    info->set_weight_bytes(rank.weight_bytes);
    info->set_kv_cache_bytes(rank.kv_cache_bytes);
    info->set_peak_rss_bytes(rank.peak_rss_bytes);
  }
  const std::chrono::duration<double> uptime = std::chrono::steady_clock::now() - start_;
  response->set_uptime_seconds(uptime.count());
  return Answer(context, absl::OkStatus());
}

grpc::ServerUnaryReactor* ControlService::GetModelInfo(grpc::CallbackServerContext* context,
                                                       const v1::GetModelInfoRequest* request,
                                                       v1::GetModelInfoResponse* response) {
  const auto state = gateway_->state();
  if (state->model == nullptr) return Answer(context, NoModelYet(*state));
  response->set_name(state->model->name);
  response->set_architecture(state->group.architecture);
  response->set_max_model_len(state->model->max_model_len);
  response->set_vocab_size(state->group.vocab_size);
  response->set_tokenizer_size(state->model->tokenizer_size);
  // What ends an answer is the union of both lists, as in Submit.
  std::set<uint32_t> eos(state->group.eos_token_ids.begin(), state->group.eos_token_ids.end());
  eos.insert(state->model->eos_token_ids.begin(), state->model->eos_token_ids.end());
  response->mutable_eos_token_ids()->Add(eos.begin(), eos.end());
  response->set_num_parameters(state->group.num_parameters);
  response->set_has_chat_template(state->model->has_chat_template);
  response->set_tokenizer_hash(state->tokenizer_hash);
  response->set_model_hash(state->group.model_hash);
  return Answer(context, absl::OkStatus());
}

grpc::ServerUnaryReactor* ControlService::GetLoad(grpc::CallbackServerContext* context,
                                                  const v1::GetLoadRequest* request,
                                                  v1::GetLoadResponse* response) {
  const auto state = gateway_->state();
  const GroupLoad& load = state->load;
  response->set_num_running(load.num_running);
  response->set_num_waiting(load.num_waiting);
  response->set_num_kv_blocks(load.num_kv_blocks);
  response->set_kv_cache_usage(
      load.num_kv_blocks == 0 ? 0
                              : static_cast<double>(load.num_used_kv_blocks) / load.num_kv_blocks);
  response->set_kv_block_tokens(state->group.kv_block_tokens);
  return Answer(context, absl::OkStatus());
}

grpc::ServerUnaryReactor* ControlService::Tokenize(grpc::CallbackServerContext* context,
                                                   const v1::TokenizeRequest* request,
                                                   v1::TokenizeResponse* response) {
  const bool add = !request->has_add_special_tokens() || request->add_special_tokens();
  grpc::ServerUnaryReactor* const reactor = context->DefaultReactor();
  gateway_->Tokenize(request->text(), add, [reactor, response](absl::StatusOr<TokenIds> ids) {
    if (ids.ok()) response->mutable_ids()->Add(ids->begin(), ids->end());
    reactor->Finish(ToRpcStatus(ids.status()));
  });
  return reactor;
}

grpc::ServerUnaryReactor* ControlService::Detokenize(grpc::CallbackServerContext* context,
                                                     const v1::DetokenizeRequest* request,
                                                     v1::DetokenizeResponse* response) {
  grpc::ServerUnaryReactor* const reactor = context->DefaultReactor();
  gateway_->Detokenize(TokenIds(request->ids().begin(), request->ids().end()),
                       request->skip_special_tokens(),
                       [reactor, response](absl::StatusOr<std::string> text) {
                         if (text.ok()) response->set_text(*std::move(text));
                         reactor->Finish(ToRpcStatus(text.status()));
                       });
  return reactor;
}

grpc::ServerUnaryReactor* ControlService::ApplyChatTemplate(
    grpc::CallbackServerContext* context, const v1::ApplyChatTemplateRequest* request,
    v1::ApplyChatTemplateResponse* response) {
  grpc::ServerUnaryReactor* const reactor = context->DefaultReactor();
  gateway_->ApplyChatTemplate(FromProto(request->chat()),
                              [reactor, response](absl::StatusOr<RenderedChat> chat) {
                                if (chat.ok()) {
                                  response->set_text(std::move(chat->text));
                                  response->mutable_ids()->Add(chat->ids.begin(), chat->ids.end());
                                }
                                reactor->Finish(ToRpcStatus(chat.status()));
                              });
  return reactor;
}

grpc::ServerUnaryReactor* ControlService::Abort(grpc::CallbackServerContext* context,
                                                const v1::AbortRequest* request,
                                                v1::AbortResponse* response) {
  grpc::ServerUnaryReactor* const reactor = context->DefaultReactor();
  gateway_->Abort(request->request_id(),
                  [reactor](absl::Status status) { reactor->Finish(ToRpcStatus(status)); });
  return reactor;
}

grpc::ServerUnaryReactor* ControlService::Drain(grpc::CallbackServerContext* context,
                                                const v1::DrainRequest* request,
                                                v1::DrainResponse* response) {
  if (request->worker_address().empty()) {
    gateway_->StopAdmitting();
    return Answer(context, absl::OkStatus());
  }
  grpc::ServerUnaryReactor* const reactor = context->DefaultReactor();
  gateway_->DrainGroup(request->worker_address(),
                       [reactor](absl::Status status) { reactor->Finish(ToRpcStatus(status)); });
  return reactor;
}

}  // namespace quartet::gateway
