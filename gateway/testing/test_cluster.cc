#include "gateway/testing/test_cluster.h"

#include <filesystem>

#include "absl/strings/str_cat.h"
#include "common/status_macros.h"
#include "gateway/testing/toy_vocabulary.h"

namespace quartet::gateway::testing {
namespace {

std::string MakeDirectory() {
  std::string path = absl::StrCat(std::filesystem::temp_directory_path().string(), "/gw-XXXXXX");
  QUARTET_CHECK(mkdtemp(path.data()) != nullptr);
  return path;
}

std::unique_ptr<common::ServerRunner> MustStart(const std::string& address,
                                                const std::vector<grpc::Service*>& services) {
  auto server = common::ServerRunner::Start({address}, services);
  if (!server.ok()) fprintf(stderr, "%s\n", server.status().ToString().c_str());
  QUARTET_CHECK(server.ok());
  (*server)->SetServing(true);
  return *std::move(server);
}

}  // namespace

TestCluster::TestCluster(GatewayOptions options, http::HttpServerOptions http_options)
    : directory_(MakeDirectory()), http_server_(http_options) {
  tokenizer_server_ = MustStart(SocketAddress("tokenizer"), {&tokenizer_service_});
  StartWorker();
  tokenizer_ = std::make_unique<TokenizerClient>(SocketAddress("tokenizer"), &loop_);
  gateway_ = std::make_unique<Gateway>(options, &loop_, tokenizer_.get(), &metrics_);
  workers_ = std::make_unique<WorkerRegistry>(WorkerTargets{{SocketAddress("worker")}, {}}, "test",
                                              &loop_, gateway_.get(), /*resolver=*/nullptr);
  inference_ = std::make_unique<InferenceService>(gateway_.get());
  control_ = std::make_unique<ControlService>(gateway_.get());
  routes_ = std::make_unique<http::Routes>(gateway_.get(), &metrics_);
  grpc_server_ = MustStart("127.0.0.1:0", {inference_.get(), control_.get()});
  routes_->SetGrpcPort(grpc_server_->port());
  QUARTET_CHECK(http_server_.Start(routes_.get()).ok());
  gateway_->SetServingListener([this](bool serving) {
    std::lock_guard<std::mutex> lock(mutex_);
    serving_ = serving;
    changed_.notify_all();
  });
  tokenizer_->Start([this](std::optional<TokenizerInfo> info) {
    gateway_->OnTokenizer(info);
    if (info.has_value()) workers_->SetTokenizer(*info);
  });
  QUARTET_CHECK(WaitForServing(true));
}

TestCluster::~TestCluster() {
  grpc_server_->Shutdown(std::chrono::milliseconds(0));
  http_server_.Stop(std::chrono::milliseconds(0));
  loop_.Stop();
  workers_.reset();
  gateway_.reset();
  tokenizer_.reset();
  StopWorker();
  StopTokenizer();
  std::filesystem::remove_all(directory_);
}

std::string TestCluster::SocketAddress(const char* name) const {
  return absl::StrCat("unix:", directory_, "/", name, ".sock");
}

std::string TestCluster::grpc_address() const {
  return absl::StrCat("127.0.0.1:", grpc_server_->port());
}

void TestCluster::StartWorker() { worker_server_ = MustStart(SocketAddress("worker"), {&worker_}); }

void TestCluster::StopWorker() { worker_server_.reset(); }

void TestCluster::StopTokenizer() { tokenizer_server_.reset(); }

bool TestCluster::WaitForServing(bool serving) const {
  std::unique_lock<std::mutex> lock(mutex_);
  return changed_.wait_for(lock, kPatience, [&] { return serving_ == serving; });
}

}  // namespace quartet::gateway::testing
