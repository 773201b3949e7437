#include "gateway/http/routes.h"

#include <algorithm>
#include <cstring>
#include <nlohmann/json.hpp>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/time/clock.h"
#include "common/version.h"
#include "gateway/http/cluster_state.h"
#include "gateway/http/completion_call.h"
#include "gateway/http/json_body.h"
#include "gateway/http/openai_request.h"
#include "gateway/http/openai_response.h"
#include "gateway/http/openapi.h"
#include "gateway/http/path_pattern.h"
#include "gateway/http/responses_call.h"
#include "gateway/http/responses_request.h"
#include "gateway/http/tokenize_call.h"
#include "gateway/request_error.h"
#include "gateway/request_validation.h"
#include "gateway/tenant.h"

namespace quartet::gateway::http {
namespace {

using json = nlohmann::ordered_json;

constexpr char kModelPath[] = "/v1/models/{model}";
constexpr char kChatPath[] = "/v1/chat/completions/{completion_id}";
constexpr char kChatMessagesPath[] = "/v1/chat/completions/{completion_id}/messages";
constexpr char kResponsePath[] = "/v1/responses/{response_id}";
constexpr char kInvalidRequest[] = "invalid_request_error";

HttpResponse Json(int status, const json& body) {
  HttpResponse response;
  response.status = status;
  response.body = Dump(body);
  return response;
}

HttpResponse JsonText(std::string body) {
  HttpResponse response;
  response.body = std::move(body);
  return response;
}

HttpResponse UnknownPath(const HttpRequest& request) {
  HttpResponse response;
  response.status = 404;
  response.body = ErrorBody(absl::StrCat("Unknown request URL: ", request.method, " ", request.path,
                                         ". GET / lists what exists."),
                            kInvalidRequest, "unknown_url");
  return response;
}

HttpResponse WrongMethod(const HttpRequest& request, const std::string& allowed) {
  HttpResponse response;
  response.status = 405;
  response.headers.emplace_back("Allow", allowed);
  response.body = ErrorBody(
      absl::StrCat("Not allowed to ", request.method, " on ", request.path, "; use ", allowed),
      kInvalidRequest, "method_not_allowed");
  return response;
}

absl::Status NoSuchResponse(const std::string& id) {
  return WithField(
      absl::NotFoundError(absl::StrCat("There is no response with the id '", id,
                                       "': it was not stored, was deleted, was pushed out by newer "
                                       "ones, or belongs to another client")),
      "response_id", "response_not_found");
}

}  // namespace

// What one path answers.
struct Routes::Route {
  const char* path;
  const char* method;
  const char* what;
  void (*run)(Routes&, std::shared_ptr<HttpExchange>);

  static const std::vector<Route>& All() {
    using Exchange = std::shared_ptr<HttpExchange>;
    static const auto* const routes = new std::vector<Route>{
        {"/v1/completions", "POST", "text completions, plain or streamed",
         [](Routes& r, Exchange e) { r.Complete(std::move(e), /*chat=*/false); }},
        {"/v1/chat/completions", "POST", "chat completions, plain or streamed",
         [](Routes& r, Exchange e) { r.Complete(std::move(e), /*chat=*/true); }},
        {"/v1/chat/completions", "GET", "those that were stored",
         [](Routes& r, Exchange e) { r.Respond(*e, r.chats_.List(e->request())); }},
        {kChatMessagesPath, "GET", "the conversation that one answered",
         [](Routes& r, Exchange e) {
           const HttpRequest& request = e->request();
           r.Respond(*e,
                     r.chats_.Messages(PathParameter(kChatMessagesPath, request.path), request));
         }},
        {kChatPath, "GET", "one of them",
         [](Routes& r, Exchange e) {
           const HttpRequest& request = e->request();
           r.Respond(*e, r.chats_.Get(PathParameter(kChatPath, request.path), request));
         }},
        {kChatPath, "POST", "gives it other metadata",
         [](Routes& r, Exchange e) {
           const HttpRequest& request = e->request();
           r.Respond(*e, r.chats_.Update(PathParameter(kChatPath, request.path), request));
         }},
        {kChatPath, "DELETE", "forgets it",
         [](Routes& r, Exchange e) {
           const HttpRequest& request = e->request();
           r.Respond(*e, r.chats_.Delete(PathParameter(kChatPath, request.path), request));
         }},
        {"/v1/responses", "POST", "OpenAI's Responses, plain or streamed",
         [](Routes& r, Exchange e) { r.CreateResponse(std::move(e)); }},
        {kResponsePath, "GET", "a response made before",
         [](Routes& r, Exchange e) { r.Respond(*e, r.GetResponse(e->request())); }},
        {kResponsePath, "DELETE", "forgets it",
         [](Routes& r, Exchange e) { r.Respond(*e, r.DeleteResponse(e->request())); }},
        {"/v1/models", "GET", "the served models",
         [](Routes& r, Exchange e) { r.Respond(*e, r.Models()); }},
        {kModelPath, "GET", "one of them",
         [](Routes& r, Exchange e) {
           r.Respond(*e, r.Model(PathParameter(kModelPath, e->request().path)));
         }},
        {"/tokenize", "POST", "text or messages to token ids",
         [](Routes& r, Exchange e) {
           TokenizeCall(r.gateway_, std::move(e), r.Responder()).Tokenize();
         }},
        {"/detokenize", "POST", "token ids to text",
         [](Routes& r, Exchange e) {
           TokenizeCall(r.gateway_, std::move(e), r.Responder()).Detokenize();
         }},
        {"/health", "GET", "200 while requests can be served, else 503",
         [](Routes& r, Exchange e) { r.Respond(*e, r.Health()); }},
        {"/version", "GET", "the server's version",
         [](Routes& r, Exchange e) { r.Respond(*e, r.Version()); }},
        {"/metrics", "GET", "counters and timings for Prometheus",
         [](Routes& r, Exchange e) { r.Respond(*e, r.MetricsPage()); }},
        {"/openapi.json", "GET", "all this for programs: OpenAPI 3.1",
         [](Routes& r, Exchange e) { r.Respond(*e, JsonText(OpenApiJson())); }},
        {"/cluster", "GET", "what runs and how busy it is",
         [](Routes& r, Exchange e) { r.Cluster(std::move(e)); }},
        {"/", "GET", "this text; in a browser, a page to chat with the model",
         [](Routes& r, Exchange e) { r.Respond(*e, r.Home(e->request())); }},
    };
    return *routes;
  }
};

Routes::Routes(Gateway* gateway, Metrics* metrics)
    : gateway_(gateway), metrics_(metrics), start_(absl::Now()) {}

void Routes::Handle(std::shared_ptr<HttpExchange> exchange) {
  const HttpRequest& request = exchange->request();
  const std::string method = request.method == "HEAD" ? "GET" : request.method;
  std::vector<std::string> allowed;
  for (const Route& route : Route::All()) {
    if (!PathFits(route.path, request.path)) continue;
    if (method == route.method) return route.run(*this, std::move(exchange));
    allowed.emplace_back(route.method);
  }
  if (!allowed.empty()) {
    return Respond(*exchange, WrongMethod(request, absl::StrJoin(allowed, ", ")));
  }
  std::optional<HttpResponse> asset = method == "GET" ? page_.Find(request) : std::nullopt;
  Respond(*exchange, asset.has_value() ? *std::move(asset) : UnknownPath(request));
}

std::vector<std::string> Routes::Endpoints() {
  std::vector<std::string> endpoints;
  for (const Route& route : Route::All()) {
    endpoints.push_back(absl::StrCat(route.method, " ", route.path));
  }
  return endpoints;
}

HttpResponse Routes::Refuse(int status, const std::string& message) {
  metrics_->ObserveHttp("other", status);
  HttpResponse response;
  response.status = status;
  response.body = ErrorBody(message, status == 503 ? "server_error" : kInvalidRequest,
                            status == 413 ? "request_too_large" : "");
  return response;
}

void Routes::Respond(HttpExchange& exchange, HttpResponse response) const {
  // Paths that nobody serves would make as many series as clients have ideas.
  const auto& routes = Route::All();
  const auto route = std::find_if(routes.begin(), routes.end(), [&](const Route& candidate) {
    return PathFits(candidate.path, exchange.request().path);
  });
  metrics_->ObserveHttp(route == routes.end() ? "other" : route->path, response.status);
  exchange.Respond(std::move(response));
}

void Routes::Complete(std::shared_ptr<HttpExchange> exchange, bool chat) {
  std::string body = std::move(exchange->request().body);
  absl::StatusOr<OpenAiRequest> request = chat ? ParseChatCompletion(body) : ParseCompletion(body);
  // As with vLLM the header goes before the body's field.
  std::string id = exchange->request().x_request_id;
  if (id.empty() && request.ok()) id = request->request_id;
  const absl::Status id_fits = CheckRequestId(id);
  if (!id_fits.ok()) return Respond(*exchange, ErrorResponse(id_fits));
  if (!request.ok()) {
    HttpResponse response = ErrorResponse(request.status());
    if (!id.empty()) response.headers.emplace_back("X-Request-Id", id);
    return Respond(*exchange, std::move(response));
  }
  request->request_id = std::move(id);
  std::string tenant = TenantOf(exchange->request().x_tenant, exchange->request().authorization);
  // Who asks for a kept answer later names no end user.
  CompletionCall::Keeping keeping{&chats_.store(), tenant};
  if (tenant.empty()) tenant = request->end_user;
  for (GenerationRequest& prompt : request->prompts) prompt.tenant = tenant;
  body = std::string();  // Megabytes that would stay as long as the answer takes.
  CompletionCall::Start(gateway_, exchange, *std::move(request), std::move(keeping),
                        [metrics = metrics_, path = exchange->request().path](int status) {
                          metrics->ObserveHttp(path, status);
                        });
}

void Routes::CreateResponse(std::shared_ptr<HttpExchange> exchange) {
  const std::string body = std::move(exchange->request().body);
  const std::string tenant =
      TenantOf(exchange->request().x_tenant, exchange->request().authorization);
  const auto lookup = [&](const std::string& id) -> absl::StatusOr<std::string> {
    const auto stored = responses_.Get(id, tenant);
    if (stored != nullptr) return stored->messages_json;
    return WithField(NoSuchResponse(id), "previous_response_id", "previous_response_not_found");
  };
  const std::string id = exchange->request().x_request_id;
  absl::Status status = CheckRequestId(id);
  absl::StatusOr<ResponsesRequest> request = ParseResponses(body, lookup);
  status.Update(request.status());
  if (!status.ok()) return Respond(*exchange, ErrorResponse(status));
  request->chat.request_id = id;
  request->chat.prompts.front().tenant = tenant.empty() ? request->chat.end_user : tenant;
  ResponsesCall::Start(gateway_, &responses_, exchange, *std::move(request),
                       [metrics = metrics_, path = exchange->request().path](int status) {
                         metrics->ObserveHttp(path, status);
                       });
}

HttpResponse Routes::GetResponse(const HttpRequest& request) const {
  const std::string id = PathParameter(kResponsePath, request.path);
  const auto stored = responses_.Get(id, TenantOf(request.x_tenant, request.authorization));
  return stored == nullptr ? ErrorResponse(NoSuchResponse(id)) : JsonText(stored->body);
}

HttpResponse Routes::DeleteResponse(const HttpRequest& request) {
  const std::string id = PathParameter(kResponsePath, request.path);
  if (!responses_.Delete(id, TenantOf(request.x_tenant, request.authorization))) {
    return ErrorResponse(NoSuchResponse(id));
  }
  return Json(200, {{"id", id}, {"object", "response"}, {"deleted", true}});
}

TokenizeCall::Respond Routes::Responder() {
  return [this](HttpExchange& exchange, HttpResponse response) {
    Respond(exchange, std::move(response));
  };
}

void Routes::Cluster(std::shared_ptr<HttpExchange> exchange) {
  gateway_->ListGroups([this, exchange](std::vector<GroupState> groups) {
    exchange->Post([this, exchange, groups = std::move(groups)] {
      Respond(*exchange, JsonText(ClusterStateJson(*gateway_->state(), groups,
                                                   {absl::Now() - start_, grpc_port_})));
    });
  });
}

HttpResponse Routes::Home(const HttpRequest& request) const {
  if (std::optional<HttpResponse> page = page_.Find(request)) return *std::move(page);
  const auto state = gateway_->state();
  HttpResponse response;
  response.content_type = "text/plain; charset=utf-8";
  response.body = absl::StrCat("Quartet ", common::kVersion, "\n\n");
  if (state->model != nullptr) {
    absl::StrAppend(&response.body, "Model:  ", state->model->name, " (", state->group.architecture,
                    ", context ", state->model->max_model_len,
                    " tokens)\nDevice: ", state->group.device, ", ", state->group.world_size,
                    state->group.world_size == 1 ? " rank\n" : " ranks\n");
  }
  absl::StrAppend(&response.body, "State:  ",
                  state->serving ? "serving" : absl::StrCat("not serving: ", state->reason),
                  "\n\nEndpoints:\n");
  for (const Route& route : Route::All()) {
    absl::StrAppend(&response.body, "  ", route.method, std::string(7 - strlen(route.method), ' '),
                    " ", route.path,
                    std::string(28 - std::min<size_t>(27, strlen(route.path)), ' '), route.what,
                    "\n");
  }
  if (!page_.is_built()) {
    absl::StrAppend(&response.body,
                    "\nThe web page is not part of this build, which found no npm. To get it, run "
                    "deploy/local/setup and build again.\n");
  }
  return response;
}

HttpResponse Routes::Models() const {
  const auto state = gateway_->state();
  if (state->model == nullptr) return ErrorResponse(absl::UnavailableError(state->reason));
  return JsonText(
      ModelList({state->model->name}, absl::ToUnixSeconds(start_), state->model->max_model_len));
}

HttpResponse Routes::Model(const std::string& name) const {
  const auto state = gateway_->state();
  if (state->model == nullptr) return ErrorResponse(absl::UnavailableError(state->reason));
  const auto& names = state->model_names;
  if (std::find(names.begin(), names.end(), name) == names.end()) {
    return ErrorResponse(WithField(
        absl::NotFoundError(absl::StrCat("The model '", name,
                                         "' does not exist; served: ", absl::StrJoin(names, ", "))),
        "model", "model_not_found"));
  }
  return JsonText(ModelCard(name, absl::ToUnixSeconds(start_), state->model->max_model_len));
}

HttpResponse Routes::Health() const {
  const absl::Status serving = gateway_->CheckServing();
  if (serving.ok()) return Json(200, {{"status", "serving"}});
  return Json(503, {{"status", "not serving"}, {"reason", std::string(serving.message())}});
}

HttpResponse Routes::Version() const { return Json(200, {{"version", common::kVersion}}); }

HttpResponse Routes::MetricsPage() const {
  HttpResponse response;
  response.content_type = "text/plain; version=0.0.4; charset=utf-8";
  response.body = metrics_->Render();
  return response;
}

}  // namespace quartet::gateway::http
