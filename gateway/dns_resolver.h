// The system's resolver (getaddrinfo) on a thread of its own, because it blocks for as long as a
// name server takes.
#pragma once

#include <memory>
#include <string>
#include <thread>

#include "gateway/event_loop.h"
#include "gateway/resolver.h"

namespace quartet::gateway {

// Questions are answered one after the other.
class DnsResolver : public Resolver {
 public:
  explicit DnsResolver(EventLoop* loop);
  // Does not wait for an answer that is under way; nobody hears it.
  ~DnsResolver() override;

  void Resolve(const std::string& host, const std::string& port, Done done) override;

 private:
  struct State;
  static void RunThread(const std::shared_ptr<State>& state);

  const std::shared_ptr<State> state_;
  std::thread thread_;
};

}  // namespace quartet::gateway
