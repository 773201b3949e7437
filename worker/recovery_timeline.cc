#include "worker/recovery_timeline.h"

#include <algorithm>

#include "absl/strings/str_cat.h"

namespace quartet::worker_service {
namespace {

double Milliseconds(absl::Duration duration) {
  return std::max(0.0, absl::ToDoubleMilliseconds(duration));
}

}  // namespace

RecoveryTimeline::RecoveryTimeline(absl::Duration own_age, absl::Time now) {
  OnStarted(0, now - own_age, now);
}

void RecoveryTimeline::OnStarted(uint32_t rank, absl::Time started, absl::Time loaded) {
  started_ranks_.insert(rank);
  last_start_ = std::max(last_start_, started);
  last_loaded_ = std::max(last_loaded_, loaded);
}

void RecoveryTimeline::OnLost(const std::string& reason, absl::Time last_sign_of_life,
                              absl::Time now) {
  if (is_lost_) return;
  is_lost_ = true;
  reason_ = reason;
  lost_at_ = now;
  noticed_after_ =
      last_sign_of_life == absl::InfinitePast() ? absl::ZeroDuration() : now - last_sign_of_life;
}

void RecoveryTimeline::OnJoined(const worker::v1::RankHello& hello, absl::Time joined_at) {
  if (hello.last_epoch() == 0) {
    OnStarted(hello.rank(), joined_at - absl::Milliseconds(hello.process_age_ms()), joined_at);
    return;
  }
  OnLost(absl::StrCat("rank ", hello.rank(), " comes from a group whose leader is gone"),
         joined_at - absl::Milliseconds(hello.lost_for_ms() + hello.noticed_after_ms()),
         joined_at - absl::Milliseconds(hello.lost_for_ms()));
}

std::optional<worker::v1::RecoveryReport> RecoveryTimeline::OnServing(uint32_t world_size,
                                                                      absl::Time now) {
  std::optional<worker::v1::RecoveryReport> report;
  if (is_lost_) {
    const absl::Time restarted = std::max(lost_at_, last_start_);
    const absl::Time loaded = std::max(restarted, last_loaded_);
    report.emplace();
    report->set_count(++count_);
    report->set_reason(reason_);
    report->set_noticed_ms(Milliseconds(noticed_after_));
    report->set_restarted_ms(Milliseconds(restarted - lost_at_));
    report->set_loaded_ms(Milliseconds(loaded - restarted));
    report->set_formed_ms(Milliseconds(now - loaded));
    report->set_survivors(world_size - static_cast<uint32_t>(started_ranks_.size()));
  }
  is_lost_ = false;
  started_ranks_.clear();
  last_start_ = absl::InfinitePast();
  last_loaded_ = absl::InfinitePast();
  return report;
}

}  // namespace quartet::worker_service
