#include "gateway/dns_resolver.h"

#include <arpa/inet.h>
#include <netdb.h>
#include <sys/socket.h>

#include <condition_variable>
#include <cstring>
#include <deque>
#include <mutex>
#include <set>
#include <utility>

#include "absl/strings/str_cat.h"

namespace quartet::gateway {
namespace {

absl::StatusOr<std::vector<std::string>> Lookup(const std::string& host, const std::string& port) {
  addrinfo hints{};
  hints.ai_socktype = SOCK_STREAM;
  addrinfo* list = nullptr;
  const int error = getaddrinfo(host.c_str(), port.c_str(), &hints, &list);
  if (error != 0) {
    const std::string why = error == EAI_SYSTEM ? std::strerror(errno) : gai_strerror(error);
    return absl::UnavailableError(absl::StrCat("can't resolve ", host, ":", port, ": ", why));
  }
  // A host with addresses of both families is one group and not two.
  bool has_ipv4 = false;
  for (const addrinfo* one = list; one != nullptr; one = one->ai_next) {
    has_ipv4 |= one->ai_family == AF_INET;
  }
  std::set<std::string> addresses;
  for (const addrinfo* one = list; one != nullptr; one = one->ai_next) {
    if (has_ipv4 && one->ai_family != AF_INET) continue;
    char text[NI_MAXHOST];
    if (getnameinfo(one->ai_addr, one->ai_addrlen, text, sizeof text, nullptr, 0, NI_NUMERICHOST) !=
        0) {
      continue;
    }
    addresses.insert(one->ai_family == AF_INET6 ? absl::StrCat("[", text, "]:", port)
                                                : absl::StrCat(text, ":", port));
  }
  freeaddrinfo(list);
  return std::vector<std::string>(addresses.begin(), addresses.end());
}

}  // namespace

// Outlives the resolver while its thread is in getaddrinfo.
struct DnsResolver::State {
  struct Question {
    std::string host;
    std::string port;
    Done done;
  };
  std::mutex mutex;
  std::condition_variable changed;
  EventLoop* loop = nullptr;       // Guarded by mutex, like all below; nullptr: the end.
  std::deque<Question> questions;  // Those that nobody works on yet.
  bool busy = false;
};

DnsResolver::DnsResolver(EventLoop* loop) : state_(std::make_shared<State>()) {
  state_->loop = loop;
  thread_ = std::thread([state = state_] { RunThread(state); });
}

DnsResolver::~DnsResolver() {
  bool busy = false;
  {
    std::lock_guard<std::mutex> lock(state_->mutex);
    state_->loop = nullptr;
    busy = state_->busy;
  }
  state_->changed.notify_all();
  if (busy) {
    thread_.detach();
  } else {
    thread_.join();
  }
}

void DnsResolver::Resolve(const std::string& host, const std::string& port, Done done) {
  {
    std::lock_guard<std::mutex> lock(state_->mutex);
    state_->questions.push_back({host, port, std::move(done)});
  }
  state_->changed.notify_all();
}

void DnsResolver::RunThread(const std::shared_ptr<State>& state) {
  std::unique_lock<std::mutex> lock(state->mutex);
  while (true) {
    state->changed.wait(lock, [&] { return state->loop == nullptr || !state->questions.empty(); });
    if (state->loop == nullptr) return;
    State::Question question = std::move(state->questions.front());
    state->questions.pop_front();
    state->busy = true;
    lock.unlock();
    absl::StatusOr<std::vector<std::string>> answer = Lookup(question.host, question.port);
    lock.lock();
    state->busy = false;
    if (state->loop == nullptr) return;
    state->loop->Post([done = std::move(question.done), answer = std::move(answer)]() mutable {
      done(std::move(answer));
    });
  }
}

}  // namespace quartet::gateway
