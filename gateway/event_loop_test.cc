#include "gateway/event_loop.h"

#include <gtest/gtest.h>

#include <future>
#include <string>

namespace quartet::gateway {
namespace {

TEST(EventLoopTest, RunsTasksInOrderOnItsThread) {
  EventLoop loop;
  std::string order;
  std::promise<void> done;
  loop.Post([&] { order += "a"; });
  loop.Post([&] { order += "b"; });
  loop.Post([&] { done.set_value(); });
  done.get_future().wait();
  EXPECT_EQ(order, "ab");
}

TEST(EventLoopTest, RunsTimersInTheOrderOfTheirTimes) {
  EventLoop loop(EventLoop::Mode::kManual);
  std::string order;
  loop.PostAfter(absl::Seconds(2), [&] { order += "2"; });
  loop.PostAfter(absl::Seconds(1), [&] {
    order += "1";
    loop.PostAfter(absl::Milliseconds(500), [&] { order += "h"; });
  });
  const uint64_t cancelled = loop.PostAfter(absl::Seconds(1), [&] { order += "x"; });
  loop.CancelTimer(cancelled);
  loop.Advance(absl::Milliseconds(999));
  EXPECT_EQ(order, "");
  loop.Advance(absl::Seconds(2));
  EXPECT_EQ(order, "1h2");
}

TEST(EventLoopTest, TimersRunOnTheThreadToo) {
  EventLoop loop;
  std::promise<void> done;
  loop.PostAfter(absl::Milliseconds(1), [&] { done.set_value(); });
  done.get_future().wait();
}

TEST(EventLoopTest, DropsWhatComesAfterStop) {
  EventLoop loop;
  loop.Stop();
  loop.Post([] { FAIL(); });
  loop.PostAfter(absl::ZeroDuration(), [] { FAIL(); });
}

}  // namespace
}  // namespace quartet::gateway
