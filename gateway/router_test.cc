// Routing over groups driven by hand: affinity and its bound, moving, draining, refusals.
#include "gateway/router.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <deque>

#include "absl/strings/str_cat.h"
#include "gateway/testing/fake_peers.h"

namespace quartet::gateway {
namespace {

using ::testing::ElementsAre;
using testing::FakeGroup;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::SizeIs;

// Remembers what it hears.
class Listener : public SequenceListener {
 public:
  std::vector<SequenceNews> news;
  std::vector<absl::Status> lost;
  std::vector<std::string> refused_by;
  int num_available = 0;

  void OnSequenceNews(SequenceNews one) override { news.push_back(std::move(one)); }
  void OnSequenceLost(const absl::Status& why) override { lost.push_back(why); }
  void OnSequenceRefused(const absl::Status& why, const std::string& address) override {
    refused_by.push_back(address);
  }
  void OnGroupAvailable() override { ++num_available; }
};

class RouterTest : public ::testing::Test {
 protected:
  RouterTest() {
    for (const char* name : {"a", "b", "c", "d"}) {
      groups_.emplace_back(name);
      groups_.back().mutable_info().kv_block_tokens = 4;
    }
  }
  void Attach(size_t n) {
    for (size_t i = 0; i < n; ++i) router_.OnAttached(&groups_[i]);
  }
  static TokenIds Prompt(uint32_t first, uint32_t n) {
    TokenIds ids(n);
    for (uint32_t i = 0; i < n; ++i) ids[i] = first * 1000 + i;
    return ids;
  }
  absl::StatusOr<Router::Route> Submit(TokenIds prompt, const Placement& placement = {}) {
    Submission submission;
    submission.prompt_ids = std::make_shared<const TokenIds>(std::move(prompt));
    return router_.Submit(submission, placement, &listener_);
  }
  // The group that got the last submission, given the numbers of before.
  std::string Place(TokenIds prompt, const Placement& placement = {}) {
    std::vector<size_t> before;
    for (const FakeGroup& group : groups_) before.push_back(group.submissions.size());
    last_ = Submit(std::move(prompt), placement);
    if (!last_.ok()) return "none";
    for (size_t i = 0; i < groups_.size(); ++i) {
      if (groups_[i].submissions.size() > before[i]) return groups_[i].address();
    }
    return "none";
  }
  void End() { router_.Cancel(last_->sequence_id); }
  SequenceNews Refusal(const FakeGroup& group, absl::Status why) {
    SequenceNews news;
    news.sequence_id = group.submissions.back().sequence_id;
    news.error = std::move(why);
    return news;
  }

  Metrics metrics_;
  Router router_{RouterOptions{}, &metrics_};
  std::deque<FakeGroup> groups_;
  Listener listener_;
  absl::StatusOr<Router::Route> last_ = absl::UnknownError("nothing placed");
};

TEST_F(RouterTest, AConversationStaysWithTheGroupThatHoldsItsPrefix) {
  Attach(4);
  for (uint32_t conversation = 0; conversation < 50; ++conversation) {
    const std::string first = Place(Prompt(conversation, 5));
    End();
    for (uint32_t turn = 1; turn < 5; ++turn) {
      EXPECT_EQ(Place(Prompt(conversation, 5 + 30 * turn)), first) << conversation;
      End();
    }
  }
  for (const FakeGroup& group : groups_) EXPECT_GT(group.submissions.size(), 0u);
}

TEST_F(RouterTest, ALoadedGroupIsPassedOverAndTheConversationFollows) {
  Attach(4);
  // All prompts begin alike, so all have one home.
  std::vector<std::string> places;
  std::map<std::string, int> loads;
  for (uint32_t i = 0; i < 100; ++i) {
    TokenIds prompt = Prompt(1, 16);
    prompt.push_back(i);
    for (uint32_t j = 0; j < 7; ++j) prompt.push_back(j);
    ++loads[Place(prompt)];
  }
  for (const auto& [group, load] : loads) EXPECT_LE(load, 32) << group << ": 1.25 x 25, rounded up";
  EXPECT_THAT(loads, SizeIs(4));
}

TEST_F(RouterTest, TheNextTurnGoesWhereLoadHadSentTheTurnBefore) {
  Attach(2);
  const std::string home = Place(Prompt(1, 16));
  TokenIds second = Prompt(1, 16);
  second.insert(second.end(), {7, 7, 7, 7});
  std::string away = home;
  // Until the home is full.
  std::vector<uint64_t> ids = {last_->sequence_id};
  while (away == home) {
    second.back() = static_cast<uint32_t>(ids.size()) + 100;
    away = Place(second);
    ids.push_back(last_->sequence_id);
  }
  for (uint64_t id : ids) router_.Cancel(id);
  TokenIds next_turn = second;
  next_turn.insert(next_turn.end(), {1, 2, 3, 4, 5, 6, 7, 8});
  EXPECT_EQ(Place(next_turn), away);
}

TEST_F(RouterTest, WhatOtherGatewaysPutThereCounts) {
  groups_[0].mutable_load().num_running = 5;
  groups_[1].mutable_load().num_waiting = 3;
  Attach(2);
  for (int i = 0; i < 4; ++i) Place({1});
  EXPECT_THAT(groups_[0].submissions, SizeIs(1));
  EXPECT_THAT(groups_[1].submissions, SizeIs(3));
  // A poll that sees our own sequences does not count them twice.
  groups_[0].mutable_load().num_running = 6;
  router_.OnLoadChanged(&groups_[0]);
  groups_[1].mutable_load().num_waiting = 6;
  router_.OnLoadChanged(&groups_[1]);
  const std::string next = Place({1});
  EXPECT_NE(Place({1}), next) << "both have six";
}

TEST_F(RouterTest, GatewaysDoNotAllChooseTheSameAmongEquals) {
  Attach(4);
  std::map<std::string, int> firsts;
  for (uint64_t seed = 0; seed < 200; ++seed) {
    Router router({1.25, seed}, &metrics_);
    for (FakeGroup& group : groups_) router.OnAttached(&group);
    std::vector<size_t> before;
    for (const FakeGroup& group : groups_) before.push_back(group.submissions.size());
    Submission submission;
    submission.prompt_ids = std::make_shared<const TokenIds>(TokenIds{1});
    ASSERT_TRUE(router.Submit(submission, {}, &listener_).ok());
    for (size_t i = 0; i < groups_.size(); ++i) {
      if (groups_[i].submissions.size() > before[i]) ++firsts[groups_[i].address()];
    }
  }
  for (const auto& [group, count] : firsts) EXPECT_NEAR(count, 50, 25) << group;
  EXPECT_THAT(firsts, SizeIs(4));
}

TEST_F(RouterTest, AGroupThatDrainsGetsNothingNewAndKeepsWhatItHas) {
  Attach(2);
  const std::string home = Place(Prompt(1, 16));
  FakeGroup& drained = home == "a" ? groups_[0] : groups_[1];
  drained.is_draining = true;
  router_.OnLoadChanged(&drained);
  for (int i = 0; i < 10; ++i) EXPECT_NE(Place(Prompt(1, 16)), home);
  SequenceNews news;
  news.sequence_id = drained.submissions[0].sequence_id;
  news.token_ids = {1};
  router_.OnStep(&drained, {news});
  EXPECT_THAT(listener_.news, SizeIs(1));
  EXPECT_THAT(listener_.lost, IsEmpty());
}

TEST_F(RouterTest, WhenAllDrainThereIsNoPlace) {
  Attach(1);
  groups_[0].is_draining = true;
  const absl::Status status = Submit({1}).status();
  EXPECT_TRUE(absl::IsUnavailable(status)) << status;
  EXPECT_THAT(std::string(status.message()), HasSubstr("draining"));
}

TEST_F(RouterTest, ADrainingGroupsRefusalIsNotTheLossOfTheGroup) {
  Attach(1);
  Place({1});
  const uint64_t running = last_->sequence_id;
  SequenceNews token;
  token.sequence_id = running;
  token.token_ids = {1};
  router_.OnStep(&groups_[0], {token});
  Place({1});
  groups_[0].is_draining = true;
  router_.OnLoadChanged(&groups_[0]);
  router_.OnStep(&groups_[0], {Refusal(groups_[0], absl::UnavailableError("draining"))});
  EXPECT_THAT(listener_.refused_by, ElementsAre("a"));
  EXPECT_THAT(listener_.lost, IsEmpty());
  router_.OnStep(&groups_[0], {token});
  EXPECT_THAT(listener_.news, SizeIs(2)) << "the running sequence goes on";
}

TEST_F(RouterTest, UnavailableNewsOfAGroupThatServesIsItsLoss) {
  Attach(1);
  Place({1});
  Place({2});
  router_.OnStep(&groups_[0], {Refusal(groups_[0], absl::UnavailableError("rank 1 has gone"))});
  EXPECT_THAT(listener_.lost, SizeIs(2));
  EXPECT_FALSE(router_.has_group());
}

TEST_F(RouterTest, AFullQueueIsARefusalOnlyBeforeTheFirstNews) {
  Attach(2);
  const std::string first = Place({1});
  FakeGroup& group = first == "a" ? groups_[0] : groups_[1];
  router_.OnStep(&group, {Refusal(group, absl::ResourceExhaustedError("full"))});
  EXPECT_THAT(listener_.refused_by, ElementsAre(first));
  Placement elsewhere;
  elsewhere.refused_by = {first};
  const std::string second = Place({1}, elsewhere);
  EXPECT_NE(second, first);
  FakeGroup& other = second == "a" ? groups_[0] : groups_[1];
  SequenceNews token;
  token.sequence_id = last_->sequence_id;
  token.token_ids = {1};
  router_.OnStep(&other, {token});
  router_.OnStep(&other, {Refusal(other, absl::ResourceExhaustedError("out of blocks"))});
  EXPECT_THAT(listener_.refused_by, SizeIs(1));
  EXPECT_TRUE(absl::IsResourceExhausted(listener_.news.back().error));
}

TEST_F(RouterTest, AnUnhealthyGroupComesLast) {
  Attach(2);
  groups_[0].is_healthy = false;
  router_.OnLoadChanged(&groups_[0]);
  for (int i = 0; i < 5; ++i) EXPECT_EQ(Place({1}), "b");
  router_.OnDetached(&groups_[1], absl::UnavailableError("gone"));
  EXPECT_EQ(Place({1}), "a") << "rather than nowhere";
}

TEST_F(RouterTest, ThoseThatWaitHearOfGroupsThatComeAndThatRecover) {
  router_.AwaitGroup(&listener_);
  EXPECT_EQ(router_.num_waiting(), 1u);
  Attach(1);
  EXPECT_EQ(listener_.num_available, 1);
  EXPECT_EQ(router_.num_waiting(), 0u) << "once";
  groups_[0].is_healthy = false;
  router_.OnLoadChanged(&groups_[0]);
  router_.AwaitGroup(&listener_);
  groups_[0].is_healthy = true;
  router_.OnLoadChanged(&groups_[0]);
  EXPECT_EQ(listener_.num_available, 2);
}

TEST_F(RouterTest, ANewGroupIsUsedAtOnce) {
  Attach(1);
  for (int i = 0; i < 4; ++i) Place({1});
  router_.OnAttached(&groups_[1]);
  for (int i = 0; i < 4; ++i) EXPECT_EQ(Place({1}), "b");
}

TEST_F(RouterTest, GoesOnOnlyWhereTheBitsAreTheSame) {
  groups_[1].mutable_info().numerics_id = "numerics-2";
  Attach(3);
  Placement placement;
  placement.numerics_id = "numerics-2";
  placement.model_hash = "model-1";
  EXPECT_EQ(Place(Prompt(3, 16), placement), "b");
  placement.model_hash = "model-2";
  EXPECT_EQ(Place(Prompt(3, 16), placement), "none");
  EXPECT_THAT(std::string(last_.status().message()), HasSubstr("numerics-2"));
}

}  // namespace
}  // namespace quartet::gateway
