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
  Family<Counter>& recomputed =
      Counters("quartet_recomputed_tokens_total",
               "Tokens that resumed sequences computed again, less what a prefix cache had.");
  Family<Gauge>& awaiting_group =
      Gauges("quartet_num_sequences_awaiting_worker",
             "Sequences that wait for a worker that may go on with them.");
  Family<Histogram>& recovery = Histograms(
      "quartet_recovery_seconds", "From the loss of a sequence's worker to its first new token.");
  Family<Histogram>& recompute =
      Histograms("quartet_recompute_seconds",
                 "The last phase of it: from being submitted again to the first new token.");
  Family<Histogram>& first_token = Histograms("quartet_time_to_first_token_seconds",
                                              "From a request's arrival to its first token.");
  Family<Histogram>& inter_token =
      Histograms("quartet_inter_token_latency_seconds", "Between the tokens of an answer.");
  Family<Histogram>& end_to_end = Histograms("quartet_e2e_request_latency_seconds",
                                             "From a request's arrival to its last token.");
  Family<Counter>& http =
      Counters("quartet_http_requests_total", "HTTP requests by path and status code.");

  std::mutex mutex;
  std::string model_name;  // Guarded by mutex.

  std::map<std::string, std::string> Labels(const std::string& model) const {
    return {{"model_name", model}};
  }
  std::map<std::string, std::string> Labels(const std::string& model, const char* key,
                                            const char* value) const {
    return {{"model_name", model}, {key, value}};
  }
};

// The series of one model, looked up once: finding a series by its labels costs more than all else
// that happens to a token.
struct Metrics::Series {
  Series(Families& f, const std::string& model)
      : prompt_tokens(f.prompt_tokens.Add(f.Labels(model))),
        generation_tokens(f.generation_tokens.Add(f.Labels(model))),
        stop(f.success.Add(f.Labels(model, "finished_reason", "stop"))),
        length(f.success.Add(f.Labels(model, "finished_reason", "length"))),
        abort(f.success.Add(f.Labels(model, "finished_reason", "abort"))),
        resumed(f.resumed.Add(f.Labels(model))),
        recomputed(f.recomputed.Add(f.Labels(model))),
        recovery(f.recovery.Add(f.Labels(model), LatencyBuckets())),
        recompute(f.recompute.Add(f.Labels(model), LatencyBuckets())),
        first_token(f.first_token.Add(f.Labels(model), LatencyBuckets())),
        inter_token(f.inter_token.Add(f.Labels(model), TokenBuckets())),
        end_to_end(f.end_to_end.Add(f.Labels(model), LatencyBuckets())),
        running(f.running.Add(f.Labels(model))),
        waiting(f.waiting.Add(f.Labels(model))),
        awaiting_group(f.awaiting_group.Add(f.Labels(model))),
        kv_usage(f.kv_usage.Add(f.Labels(model))) {}

  Counter& prompt_tokens;
  Counter& generation_tokens;
  Counter& stop;
  Counter& length;
  Counter& abort;
  Counter& resumed;
  Counter& recomputed;
  Histogram& recovery;
  Histogram& recompute;
  Histogram& first_token;
  Histogram& inter_token;
  Histogram& end_to_end;
  Gauge& running;
  Gauge& waiting;
  Gauge& awaiting_group;
  Gauge& kv_usage;
};

Metrics::Metrics() : families_(std::make_unique<Families>()) {}
Metrics::~Metrics() = default;

void Metrics::SetModelName(absl::string_view name) {
  std::lock_guard<std::mutex> lock(families_->mutex);
  families_->model_name = std::string(name);
  all_series_.push_back(std::make_unique<Series>(*families_, families_->model_name));
  series_ = all_series_.back().get();
}

const Metrics::Series& Metrics::Now() {
  if (const Series* series = series_) return *series;
  SetModelName("");
  return *series_;
}

void Metrics::ObservePrompt(uint32_t num_tokens) { Now().prompt_tokens.Increment(num_tokens); }

void Metrics::ObserveTokens(size_t num_tokens, absl::Duration since_last) {
  if (num_tokens == 0) return;
  const Series& series = Now();
  series.generation_tokens.Increment(static_cast<double>(num_tokens));
  if (since_last < absl::ZeroDuration()) return;
  const double each = absl::ToDoubleSeconds(since_last) / static_cast<double>(num_tokens);
  for (size_t i = 0; i < num_tokens; ++i) series.inter_token.Observe(each);
}

void Metrics::ObserveFirstToken(absl::Duration since_arrival) {
  Now().first_token.Observe(absl::ToDoubleSeconds(since_arrival));
}

void Metrics::ObserveAnswer(FinishReason reason) {
  const Series& series = Now();
  (reason == FinishReason::kStop     ? series.stop
   : reason == FinishReason::kLength ? series.length
                                     : series.abort)
      .Increment();
}

void Metrics::ObserveRequestEnd(absl::Duration since_arrival) {
  Now().end_to_end.Observe(absl::ToDoubleSeconds(since_arrival));
}

void Metrics::ObserveFailure(const absl::Status& status) {
  std::lock_guard<std::mutex> lock(families_->mutex);
  families_->failure
      .Add(families_->Labels(families_->model_name, "code",
                             absl::StatusCodeToString(status.code()).c_str()))
      .Increment();
}

void Metrics::ObserveResume() { Now().resumed.Increment(); }

void Metrics::ObserveRecovery(absl::Duration since_loss, absl::Duration since_resume,
                              size_t num_recomputed) {
  const Series& series = Now();
  series.recovery.Observe(absl::ToDoubleSeconds(since_loss));
  series.recompute.Observe(absl::ToDoubleSeconds(since_resume));
  series.recomputed.Increment(static_cast<double>(num_recomputed));
}

void Metrics::ObserveHttp(absl::string_view path, int code) {
  families_->http.Add({{"path", std::string(path)}, {"code", absl::StrCat(code)}}).Increment();
}

void Metrics::SetLoad(const GroupLoad& load, size_t num_awaiting_group) {
  const Series& series = Now();
  series.running.Set(load.num_running);
  series.waiting.Set(load.num_waiting + static_cast<double>(num_awaiting_group));
  series.awaiting_group.Set(static_cast<double>(num_awaiting_group));
  series.kv_usage.Set(load.num_kv_blocks == 0
                          ? 0
                          : static_cast<double>(load.num_used_kv_blocks) / load.num_kv_blocks);
}

void Metrics::SetAwaitingGroup(size_t num_sequences) {
  // Before a model is known there is nothing to label it with.
  if (const Series* series = series_) {
    series->awaiting_group.Set(static_cast<double>(num_sequences));
  }
}

std::string Metrics::Render() const {
  return prometheus::TextSerializer().Serialize(families_->registry.Collect());
}

}  // namespace quartet::gateway
