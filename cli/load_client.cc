#include "cli/load_client.h"

#include <grpcpp/grpcpp.h>

#include <chrono>
#include <condition_variable>
#include <memory>
#include <mutex>
#include <thread>

#include "absl/strings/str_cat.h"
#include "cli/arrival_schedule.h"
#include "common/grpc_status.h"
#include "common/status_macros.h"
#include "quartet/v1/control.grpc.pb.h"
#include "quartet/v1/inference.grpc.pb.h"

namespace quartet::cli {
namespace {

using Clock = std::chrono::steady_clock;

// What all requests of a run share.
class Run {
 public:
  explicit Run(Clock::time_point start) : start_(start) {}

  double Now() const { return std::chrono::duration<double>(Clock::now() - start_).count(); }

  void Finish(RequestRecord record) {
    std::lock_guard<std::mutex> lock(mutex_);
    records_.push_back(std::move(record));
    changed_.notify_all();
  }
  void WaitForFinished(size_t count) {
    std::unique_lock<std::mutex> lock(mutex_);
    changed_.wait(lock, [&] { return records_.size() >= count; });
  }
  std::vector<RequestRecord> TakeRecords() { return std::move(records_); }

 private:
  const Clock::time_point start_;
  std::mutex mutex_;
  std::condition_variable changed_;
  std::vector<RequestRecord> records_;  // guarded by mutex_
};

// One request; deletes itself when done.
class LoadRequest : public grpc::ClientReadReactor<v1::GenerateEvent> {
 public:
  LoadRequest(v1::GenerateRequest request, v1::Inference::Stub* stub, Run* run)
      : request_(std::move(request)), run_(run) {
    record_.prompt_tokens = request_.token_ids().ids_size();
    record_.sent = run_->Now();
    stub->async()->Generate(&context_, &request_, this);
    StartRead(&event_);
    StartCall();
  }

  void OnReadDone(bool ok) override {
    if (!ok) return;
    const double now = run_->Now();
    // Tokens that come in one message are one step apart at least; they are seen together all the
    // same.
    for (int i = 0; i < event_.delta().token_ids_size(); ++i) record_.token_times.push_back(now);
    StartRead(&event_);
  }

  void OnDone(const grpc::Status& status) override {
    record_.finished = run_->Now();
    record_.ok = status.ok();
    if (!status.ok()) record_.error = common::FromGrpcStatus(status).ToString();
    run_->Finish(std::move(record_));
    delete this;
  }

 private:
  grpc::ClientContext context_;
  v1::GenerateRequest request_;
  v1::GenerateEvent event_;
  RequestRecord record_;
  Run* const run_;
};

v1::GenerateRequest MakeRequest(const LoadOptions& options, int index, uint32_t vocabulary) {
  v1::GenerateRequest request;
  const uint64_t seed = options.seed * 1'000'003 + static_cast<uint64_t>(index);
  for (uint32_t id : RandomPrompt(options.prompt_tokens, vocabulary, seed)) {
    request.mutable_token_ids()->add_ids(id);
  }
  v1::SamplingParams* sampling = request.mutable_sampling();
  sampling->set_max_tokens(static_cast<uint32_t>(options.output_tokens));
  sampling->set_ignore_eos(options.ignore_eos);
  sampling->set_temperature(static_cast<float>(options.temperature));
  sampling->set_seed(seed);
  return request;
}

}  // namespace

absl::StatusOr<std::vector<RequestRecord>> RunLoad(const LoadOptions& options) {
  const auto channel = grpc::CreateChannel(options.address, grpc::InsecureChannelCredentials());
  v1::GetModelInfoResponse info;
  {
    grpc::ClientContext context;
    context.set_deadline(std::chrono::system_clock::now() + std::chrono::seconds(10));
    const grpc::Status status =
        v1::Control::NewStub(channel)->GetModelInfo(&context, v1::GetModelInfoRequest(), &info);
    if (!status.ok()) {
      return absl::UnavailableError(absl::StrCat("no server answers at ", options.address, ": ",
                                                 common::FromGrpcStatus(status).ToString()));
    }
  }
  if (info.tokenizer_size() == 0) return absl::InternalError("the server's tokenizer is empty");
  const auto stub = v1::Inference::NewStub(channel);
  const std::vector<double> arrivals =
      options.request_rate > 0
          ? PoissonArrivals(options.num_requests, options.request_rate, options.seed)
          : std::vector<double>();
  const auto start = Clock::now();
  Run run(start);
  for (int i = 0; i < options.num_requests; ++i) {
    v1::GenerateRequest request = MakeRequest(options, i, info.tokenizer_size());
    if (!arrivals.empty()) {
      std::this_thread::sleep_until(
          start + std::chrono::duration_cast<Clock::duration>(
                      std::chrono::duration<double>(arrivals[static_cast<size_t>(i)])));
    } else if (i >= options.concurrency) {
      run.WaitForFinished(static_cast<size_t>(i - options.concurrency + 1));
    }
    new LoadRequest(std::move(request), stub.get(), &run);
  }
  run.WaitForFinished(static_cast<size_t>(options.num_requests));
  return run.TakeRecords();
}

}  // namespace quartet::cli
