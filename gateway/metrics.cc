#include "gateway/metrics.h"

#include <prometheus/counter.h>
#include <prometheus/gauge.h>
#include <prometheus/histogram.h>
#include <prometheus/registry.h>
#include <prometheus/text_serializer.h>

#include <atomic>
#include <map>
#include <mutex>

#include "absl/strings/str_cat.h"

namespace quartet::gateway {
namespace {

using prometheus::Counter;
using prometheus::Family;
using prometheus::Gauge;
using prometheus::Histogram;
using Buckets = Histogram::BucketBoundaries;

const Buckets& LatencyBuckets() {
  static const Buckets* const buckets =
      new Buckets{0.001, 0.0025, 0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1, 0.25, 0.5,
                  0.75,  1,      2.5,   5,    7.5,  10,   20,   40,   80,  160,  640};
  return *buckets;
}

const Buckets& TokenBuckets() {
  static const Buckets* const buckets =
      new Buckets{0.001, 0.002, 0.003, 0.005, 0.0075, 0.01, 0.015, 0.02, 0.025, 0.03, 0.04, 0.05,
                  0.075, 0.1,   0.15,  0.2,   0.3,    0.4,  0.5,   0.75, 1,     2.5,  5,    10};
  return *buckets;
}

}  // namespace

struct Metrics::Families {
  prometheus::Registry registry;

  Family<Gauge>& Gauges(const char* name, const char* help) {
    return prometheus::BuildGauge().Name(name).Help(help).Register(registry);
  }
  Family<Counter>& Counters(const char* name, const char* help) {
    return prometheus::BuildCounter().Name(name).Help(help).Register(registry);
  }
  Family<Histogram>& Histograms(const char* name, const char* help) {
    return prometheus::BuildHistogram().Name(name).Help(help).Register(registry);
  }

  Family<Gauge>& running =
      Gauges("quartet_num_requests_running", "Sequences in the workers' running batches.");
  Family<Gauge>& waiting = Gauges("quartet_num_requests_waiting",
                                  "Sequences that wait for a place in a batch or for a worker.");
  Family<Gauge>& kv_usage =
      Gauges("quartet_kv_cache_usage_perc", "Share of KV blocks in use; 1 means 100 percent.");
  Family<Counter>& prompt_tokens = Counters("quartet_prompt_tokens_total", "Prompt tokens taken.");
  Family<Counter>& generation_tokens =
      Counters("quartet_generation_tokens_total", "Tokens generated.");
  Family<Counter>& success = Counters("quartet_request_success_total",
                                      "Answers that ended, by the reason they ended for.");
  Family<Counter>& failure =
      Counters("quartet_request_failure_total", "Requests that failed, by status code.");
  Family<Counter>& resumed = Counters("quartet_sequences_resumed_total",
                                      "Sequences submitted again after their worker was lost.");
  Family<Histogram>& first_token = Histograms("quartet_time_to_first_token_seconds",
                                              "From a request's arrival to its first token.");
  Family<Histogram>& inter_token =
      Histograms("quartet_inter_token_latency_seconds", "Between the tokens of an answer.");
  Family<Histogram>& end_to_end = Histograms("quartet_e2e_request_latency_seconds",
                                             "From a request's arrival to its last token.");
  Family<Counter>& http =
      Counters("quartet_http_requests_total", "HTTP requests by path and status code.");

  mutable std::mutex mutex;
  std::string model_name;  // Guarded by mutex.

  std::map<std::string, std::string> Labels() const {
    std::lock_guard<std::mutex> lock(mutex);
    return {{"model_name", model_name}};
  }
  std::map<std::string, std::string> Labels(const char* key, std::string value) const {
    auto labels = Labels();
    labels[key] = std::move(value);
    return labels;
  }
};

Metrics::Metrics() : families_(std::make_unique<Families>()) {}
Metrics::~Metrics() = default;

void Metrics::SetModelName(absl::string_view name) {
  {
    std::lock_guard<std::mutex> lock(families_->mutex);
    families_->model_name = std::string(name);
  }
  // Scrapers want to see a counter's zero before its first event.
  families_->prompt_tokens.Add(families_->Labels());
  families_->generation_tokens.Add(families_->Labels());
  families_->first_token.Add(families_->Labels(), LatencyBuckets());
  families_->inter_token.Add(families_->Labels(), TokenBuckets());
  families_->end_to_end.Add(families_->Labels(), LatencyBuckets());
  for (const char* reason : {"stop", "length", "abort"}) {
    families_->success.Add(families_->Labels("finished_reason", reason));
  }
}

void Metrics::ObservePrompt(uint32_t num_tokens) {
  families_->prompt_tokens.Add(families_->Labels()).Increment(num_tokens);
}

void Metrics::ObserveTokens(size_t num_tokens, absl::Duration since_last) {
  if (num_tokens == 0) return;
  families_->generation_tokens.Add(families_->Labels()).Increment(static_cast<double>(num_tokens));
  if (since_last < absl::ZeroDuration()) return;
  const double each = absl::ToDoubleSeconds(since_last) / static_cast<double>(num_tokens);
  Histogram& histogram = families_->inter_token.Add(families_->Labels(), TokenBuckets());
  for (size_t i = 0; i < num_tokens; ++i) histogram.Observe(each);
}

void Metrics::ObserveFirstToken(absl::Duration since_arrival) {
  families_->first_token.Add(families_->Labels(), LatencyBuckets())
      .Observe(absl::ToDoubleSeconds(since_arrival));
}

void Metrics::ObserveAnswer(FinishReason reason) {
  const char* const name = reason == FinishReason::kStop     ? "stop"
                           : reason == FinishReason::kLength ? "length"
                                                             : "abort";
  families_->success.Add(families_->Labels("finished_reason", name)).Increment();
}

void Metrics::ObserveRequestEnd(absl::Duration since_arrival) {
  families_->end_to_end.Add(families_->Labels(), LatencyBuckets())
      .Observe(absl::ToDoubleSeconds(since_arrival));
}

void Metrics::ObserveFailure(const absl::Status& status) {
  families_->failure.Add(families_->Labels("code", absl::StatusCodeToString(status.code())))
      .Increment();
}

void Metrics::ObserveResume() { families_->resumed.Add(families_->Labels()).Increment(); }

void Metrics::ObserveHttp(absl::string_view path, int code) {
  families_->http.Add({{"path", std::string(path)}, {"code", absl::StrCat(code)}}).Increment();
}

void Metrics::SetLoad(const GroupLoad& load, size_t num_awaiting_group) {
  const auto labels = families_->Labels();
  families_->running.Add(labels).Set(load.num_running);
  families_->waiting.Add(labels).Set(load.num_waiting + static_cast<double>(num_awaiting_group));
  families_->kv_usage.Add(labels).Set(
      load.num_kv_blocks == 0 ? 0
                              : static_cast<double>(load.num_used_kv_blocks) / load.num_kv_blocks);
}

std::string Metrics::Render() const {
  return prometheus::TextSerializer().Serialize(families_->registry.Collect());
}

}  // namespace quartet::gateway
