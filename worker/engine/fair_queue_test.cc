// Whose prompt is read next.
#include "worker/engine/fair_queue.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <memory>

#include "absl/strings/str_cat.h"

namespace quartet::engine {
namespace {

using ::testing::ElementsAre;

class FairQueueTest : public testing::Test {
 protected:
  Sequence* Arrive(absl::string_view tenant, int64_t second = 0, int32_t priority = 0) {
    SequenceRequest request;
    request.key = {1, sequences_.size()};
    request.prompt_ids = {1};
    request.tenant = std::string(tenant);
    request.priority = priority;
    sequences_.push_back(std::make_unique<Sequence>(
        std::move(request), absl::FromUnixSeconds(1'000'000) + absl::Seconds(second)));
    sequences_.back()->number = sequences_.size();
    ledger_.Enter(tenant);
    queue_.Add(sequences_.back().get());
    return sequences_.back().get();
  }

  // Serves all, each for `cost`; the tenants in the order of being served.
  std::vector<std::string> ServeAll(int64_t cost) {
    std::vector<std::string> order;
    while (Sequence* head = queue_.Head()) {
      queue_.Remove(head);
      ledger_.Charge(head->request().tenant, cost);
      order.push_back(head->request().tenant);
    }
    return order;
  }

  TenantLedger ledger_;
  FairQueue queue_{&ledger_};
  std::vector<std::unique_ptr<Sequence>> sequences_;
};

TEST_F(FairQueueTest, OneTenantIsServedInTheOrderOfArrival) {
  Sequence* const late = Arrive("a", 2);
  Sequence* const early = Arrive("a", 1);
  EXPECT_EQ(queue_.Head(), early);
  queue_.Remove(early);
  EXPECT_EQ(queue_.Head(), late);
  queue_.Remove(late);
  EXPECT_EQ(queue_.Head(), nullptr);
  EXPECT_TRUE(queue_.empty());
}

TEST_F(FairQueueTest, AFloodOfOneTenantDoesNotHoldUpAnother) {
  for (int i = 0; i < 4; ++i) Arrive("flood", i);
  Arrive("quiet", 10);
  EXPECT_THAT(ServeAll(100), ElementsAre("flood", "quiet", "flood", "flood", "flood"));
}

TEST_F(FairQueueTest, TenantsGetEqualShares) {
  for (int i = 0; i < 3; ++i) Arrive("a", i);
  for (int i = 0; i < 3; ++i) Arrive("b", 100 + i);
  EXPECT_THAT(ServeAll(10), ElementsAre("a", "b", "a", "b", "a", "b"));
}

TEST_F(FairQueueTest, ALowerPriorityNumberGoesFirstUntilTheOtherHasAged) {
  Arrive("patient", 0, 1);
  Arrive("first", 5, 0);
  Arrive("late", 11, 0);
  // The class of `patient` counts as 10 s, that of `first` as 5 s, that of `late` as 11 s.
  EXPECT_THAT(ServeAll(1), ElementsAre("first", "patient", "late"));
}

TEST_F(FairQueueTest, HeadsOfTwoQueuesCompareByTheSameRules) {
  FairQueue other(&ledger_);
  Sequence* const a = Arrive("a", 5);
  Sequence* const b = Arrive("b", 0);
  EXPECT_TRUE(other.Precedes(*b, *a)) << "equal service: the earlier one";
  ledger_.Charge("b", 1);
  EXPECT_TRUE(other.Precedes(*a, *b)) << "less service";
  Sequence* const urgent = Arrive("b", 9, -1);
  EXPECT_TRUE(other.Precedes(*urgent, *a));
}

TEST(TenantLedgerTest, IdleTimeIsNotSavedUp) {
  TenantLedger ledger;
  ledger.Enter("busy");
  ledger.Charge("busy", 1000);
  ledger.Enter("new");
  EXPECT_EQ(ledger.counter("new"), 1000) << "lifted to the lowest of those that are there";
  ledger.Charge("new", 10);
  ledger.Leave("new");
  ledger.Charge("busy", 500);
  ledger.Enter("new");
  EXPECT_EQ(ledger.counter("new"), 1500);
}

TEST(TenantLedgerTest, DebtsOutlastALeave) {
  TenantLedger ledger;
  ledger.Enter("steady");
  ledger.Enter("greedy");
  ledger.Charge("greedy", 5000);
  ledger.Leave("greedy");
  ledger.Enter("greedy");
  EXPECT_EQ(ledger.counter("greedy"), 5000);
  EXPECT_EQ(ledger.counter("steady"), 0);
}

TEST(TenantLedgerTest, TheNumberOfAbsentTenantsIsBounded) {
  TenantLedger ledger;
  ledger.Enter("there");
  for (size_t i = 0; i < 3 * TenantLedger::kMaxAbsent; ++i) {
    const std::string tenant = absl::StrCat("t", i);
    ledger.Enter(tenant);
    ledger.Charge(tenant, 1 + static_cast<int64_t>(i % 7));
    ledger.Leave(tenant);
  }
  EXPECT_EQ(ledger.counter("t0"), 0) << "forgotten";
  ledger.Charge("there", 3);
  EXPECT_EQ(ledger.counter("there"), 3);
}

}  // namespace
}  // namespace quartet::engine
