#include "worker/worker_metrics.h"

#include <prometheus/collectable.h>
#include <prometheus/exposer.h>
#include <prometheus/histogram.h>
#include <prometheus/registry.h>

#include <exception>
#include <mutex>
#include <utility>
#include <vector>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"

namespace quartet::worker_service {
namespace {

using prometheus::ClientMetric;
using prometheus::Histogram;
using prometheus::MetricFamily;
using prometheus::MetricType;

// Host work and gaps are tens of microseconds; steps and recoveries take milliseconds to minutes.
const Histogram::BucketBoundaries kHostBuckets = {1e-6, 2e-6, 5e-6, 1e-5,   2e-5, 3e-5, 4e-5, 5e-5,
                                                  6e-5, 8e-5, 1e-4, 1.5e-4, 2e-4, 3e-4, 5e-4, 1e-3,
                                                  2e-3, 5e-3, 1e-2, 5e-2,   0.1,  0.5};
const Histogram::BucketBoundaries kStepBuckets = {1e-3, 2e-3, 3e-3, 5e-3, 7e-3, 1e-2, 1.5e-2,
                                                  2e-2, 3e-2, 5e-2, 7e-2, 0.1,  0.15, 0.2,
                                                  0.3,  0.5,  1,    2,    5,    10};
const Histogram::BucketBoundaries kCompileBuckets = {1e-3, 2e-3, 5e-3, 1e-2, 2e-2, 5e-2, 0.1,
                                                     0.2,  0.5,  1,    2,    5,    10};
const Histogram::BucketBoundaries kRecoveryBuckets = {0.01, 0.03, 0.1, 0.3, 1,   2,  5,
                                                      10,   20,   40,  80,  160, 320};

// Reads the engine's own counters whenever Prometheus asks.
class EngineCollector : public prometheus::Collectable {
 public:
  explicit EngineCollector(prometheus::Labels labels) : labels_(std::move(labels)) {}

  void SetEngine(std::shared_ptr<const engine::Engine> engine) {
    std::lock_guard<std::mutex> lock(mutex_);
    engine_ = std::move(engine);
  }

  void SetGrammars(const grammar::GrammarCompiler* compiler) {
    std::lock_guard<std::mutex> lock(mutex_);
    grammars_ = compiler;
  }

  std::vector<MetricFamily> Collect() const override {
    std::shared_ptr<const engine::Engine> engine;
    const grammar::GrammarCompiler* grammars;
    {
      std::lock_guard<std::mutex> lock(mutex_);
      engine = engine_;
      grammars = grammars_;
    }
    std::vector<MetricFamily> families;
    if (engine != nullptr) families = CollectEngine(*engine);
    if (grammars != nullptr) AddGrammars(grammars->stats(), &families);
    return families;
  }

 private:
  void AddGrammars(const grammar::GrammarCompilerStats& stats,
                   std::vector<MetricFamily>* families) const {
    families->push_back(Counter("quartet_grammar_cache_hits_total",
                                "Requests whose grammar was compiled, or being compiled, already.",
                                stats.num_hits));
    families->push_back(Counter("quartet_grammars_compiled_total", "Grammars that were compiled.",
                                stats.num_compiled));
    families->push_back(Counter("quartet_grammars_failed_total",
                                "Grammars that could not be compiled.", stats.num_failed));
    MetricFamily bytes =
        Family("quartet_grammar_cache_bytes", "Memory of the compiled grammars that are kept.",
               MetricType::Gauge);
    Add(&bytes, static_cast<int64_t>(stats.cache_bytes), {});
    families->push_back(std::move(bytes));
  }

  std::vector<MetricFamily> CollectEngine(const engine::Engine& engine) const {
    const engine::EngineLoad load = engine.load();
    const engine::SchedulerCounters& counters = load.counters;
    const auto free = load.num_blocks - load.num_used_blocks - load.num_cached_blocks;
    MetricFamily blocks =
        Family("quartet_kv_blocks", "KV blocks by what they are used for.", MetricType::Gauge);
    Add(&blocks, load.num_used_blocks, {{"state", "used"}});
    Add(&blocks, load.num_cached_blocks, {{"state", "cached"}});
    Add(&blocks, free, {{"state", "free"}});
    return {std::move(blocks),
            Counter("quartet_prefix_cache_queries_total",
                    "Tokens that were looked up in the prefix cache.",
                    counters.num_prefix_queried_tokens),
            Counter("quartet_prefix_cache_hits_total", "Tokens that were found in it.",
                    counters.num_prefix_hit_tokens),
            Counter("quartet_num_preemptions_total",
                    "Sequences that lost their KV blocks to others and were computed again.",
                    counters.num_preemptions)};
  }

  static MetricFamily Family(const char* name, const char* help, MetricType type) {
    MetricFamily family;
    family.name = name;
    family.help = help;
    family.type = type;
    return family;
  }
  void Add(MetricFamily* family, int64_t value, const prometheus::Labels& labels) const {
    ClientMetric metric;
    for (const auto* from : {&labels_, &labels}) {
      for (const auto& [name, label] : *from) metric.label.push_back({name, label});
    }
    (family->type == MetricType::Counter ? metric.counter.value : metric.gauge.value) =
        static_cast<double>(value);
    family->metric.push_back(std::move(metric));
  }
  MetricFamily Counter(const char* name, const char* help, uint64_t value) const {
    MetricFamily family = Family(name, help, MetricType::Counter);
    Add(&family, static_cast<int64_t>(value), {});
    return family;
  }

  const prometheus::Labels labels_;
  mutable std::mutex mutex_;
  std::shared_ptr<const engine::Engine> engine_;        // guarded by mutex_
  const grammar::GrammarCompiler* grammars_ = nullptr;  // guarded by mutex_
};

absl::Status CheckAddress(const std::string& address) {
  const std::vector<std::string> parts = absl::StrSplit(address, absl::MaxSplits(':', 1));
  int port = -1;
  if (parts.size() == 2 && absl::SimpleAtoi(parts[1], &port) && port >= 0 && port <= 65535) {
    return absl::OkStatus();
  }
  return absl::InvalidArgumentError(absl::StrCat(
      "--metrics_address=", address, ": must be host:port, e.g. 127.0.0.1:9100, or empty"));
}

}  // namespace

struct WorkerMetrics::Parts {
  explicit Parts(const prometheus::Labels& model)
      : registry(std::make_shared<prometheus::Registry>()),
        engine(std::make_shared<EngineCollector>(model)) {
    const auto histogram = [&](const char* name, const char* help,
                               const Histogram::BucketBoundaries& buckets) {
      return &prometheus::BuildHistogram().Name(name).Help(help).Register(*registry).Add(model,
                                                                                         buckets);
    };
    idle = histogram("quartet_step_device_idle_seconds",
                     "Time that the device had nothing to do between two steps of sequences that "
                     "were there.",
                     kHostBuckets);
    host = histogram("quartet_step_host_overhead_seconds",
                     "CPU time of the engine's thread for a step.", kHostBuckets);
    step =
        histogram("quartet_step_duration_seconds", "Time of a step on the device.", kStepBuckets);
    masks = histogram("quartet_step_grammar_mask_seconds",
                      "Time to fill the masks of a step's constrained sequences, while the device "
                      "computes.",
                      kHostBuckets);
    compile = histogram("quartet_grammar_compile_seconds", "Time of compiling a grammar.",
                        kCompileBuckets);
    auto& phases = prometheus::BuildHistogram()
                       .Name("quartet_group_recovery_seconds")
                       .Help("Time of a recovery of the worker group, by phase.")
                       .Register(*registry);
    const auto phase = [&](const char* name) {
      prometheus::Labels labels = model;
      labels.emplace("phase", name);
      return &phases.Add(labels, kRecoveryBuckets);
    };
    noticed = phase("noticed");
    restarted = phase("restarted");
    loaded = phase("loaded");
    formed = phase("formed");
  }

  const std::shared_ptr<prometheus::Registry> registry;
  const std::shared_ptr<EngineCollector> engine;
  Histogram *idle, *host, *masks, *compile, *step, *noticed, *restarted, *loaded, *formed;
  std::unique_ptr<prometheus::Exposer> exposer;  // last: it reads all above
};

WorkerMetrics::WorkerMetrics(std::unique_ptr<Parts> parts) : parts_(std::move(parts)) {}
WorkerMetrics::~WorkerMetrics() = default;

absl::StatusOr<std::unique_ptr<WorkerMetrics>> WorkerMetrics::Serve(const std::string& address,
                                                                    const std::string& model_name) {
  absl::Status valid = CheckAddress(address);
  if (!valid.ok()) return valid;
  auto parts = std::make_unique<Parts>(prometheus::Labels{{"model_name", model_name}});
  try {
    parts->exposer = std::make_unique<prometheus::Exposer>(address, 1);
  } catch (const std::exception& error) {
    // The library's only way to say that it can't listen.
    return absl::UnavailableError(
        absl::StrCat("can't listen on --metrics_address=", address, ": ", error.what()));
  }
  parts->exposer->RegisterCollectable(parts->registry);
  parts->exposer->RegisterCollectable(parts->engine);
  return std::unique_ptr<WorkerMetrics>(new WorkerMetrics(std::move(parts)));
}

int WorkerMetrics::port() const { return parts_->exposer->GetListeningPorts().front(); }

void WorkerMetrics::ObserveStep(const engine::StepTimes& times) {
  if (times.device_idle >= absl::ZeroDuration()) {
    parts_->idle->Observe(absl::ToDoubleSeconds(times.device_idle));
  }
  parts_->host->Observe(absl::ToDoubleSeconds(times.host));
  parts_->step->Observe(absl::ToDoubleSeconds(times.device));
  if (times.num_masks > 0) parts_->masks->Observe(absl::ToDoubleSeconds(times.masks));
}

void WorkerMetrics::ObserveGrammar(absl::Duration time) {
  parts_->compile->Observe(absl::ToDoubleSeconds(time));
}

void WorkerMetrics::SetGrammars(const grammar::GrammarCompiler* compiler) {
  parts_->engine->SetGrammars(compiler);
}

void WorkerMetrics::ObserveRecovery(const worker::v1::RecoveryReport& report) {
  parts_->noticed->Observe(report.noticed_ms() / 1e3);
  parts_->restarted->Observe(report.restarted_ms() / 1e3);
  parts_->loaded->Observe(report.loaded_ms() / 1e3);
  parts_->formed->Observe(report.formed_ms() / 1e3);
}

void WorkerMetrics::SetEngine(std::shared_ptr<const engine::Engine> engine) {
  parts_->engine->SetEngine(std::move(engine));
}

}  // namespace quartet::worker_service
