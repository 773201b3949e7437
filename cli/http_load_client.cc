#include "cli/http_load_client.h"

#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <sys/epoll.h>
#include <sys/signalfd.h>
#include <sys/socket.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <cstring>
#include <deque>
#include <memory>
#include <nlohmann/json.hpp>
#include <random>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "cli/arrival_schedule.h"
#include "cli/child_process.h"
#include "cli/sse_reader.h"
#include "common/status_macros.h"

namespace quartet::cli {
namespace {

using Clock = std::chrono::steady_clock;

constexpr double kInactivitySeconds = 120;  // the server sends comments far more often
// Connections that are being made at once; a listener's queue has an end.
constexpr int kMaxConnecting = 64;
constexpr const char* kWords[] = {
    "the",  "time", "person", "year",  "way",   "day",   "thing",  "man",     "world", "life",
    "hand", "part", "child",  "eye",   "woman", "place", "work",   "week",    "case",  "point",
    "good", "new",  "first",  "last",  "long",  "great", "little", "own",     "other", "old",
    "be",   "have", "do",     "say",   "get",   "make",  "go",     "know",    "take",  "see",
    "to",   "of",   "in",     "for",   "on",    "with",  "at",     "by",      "from",  "up",
    "and",  "a",    "that",   "it",    "not",   "he",    "as",     "you",     "this",  "but",
    "his",  "they", "her",    "which", "or",    "when",  "we",     "company", "group", "problem"};

struct Target {
  sockaddr_storage address{};
  socklen_t size = 0;
  std::string host_and_port;
};

absl::StatusOr<Target> ParseTarget(const std::string& url) {
  absl::string_view rest = url;
  absl::ConsumePrefix(&rest, "http://");
  absl::ConsumeSuffix(&rest, "/");
  const size_t colon = rest.rfind(':');
  addrinfo hints{};
  hints.ai_flags = AI_NUMERICHOST | AI_NUMERICSERV;
  hints.ai_socktype = SOCK_STREAM;
  addrinfo* found = nullptr;
  if (colon == absl::string_view::npos ||
      getaddrinfo(std::string(rest.substr(0, colon)).c_str(),
                  std::string(rest.substr(colon + 1)).c_str(), &hints, &found) != 0) {
    return absl::InvalidArgumentError(absl::StrCat(
        "--address=", url, ": expected http://HOST:PORT with a numeric host and port"));
  }
  Target target;
  std::memcpy(&target.address, found->ai_addr, found->ai_addrlen);
  target.size = found->ai_addrlen;
  target.host_and_port = std::string(rest);
  freeaddrinfo(found);
  return target;
}

std::string MakeBody(const LoadOptions& options, uint64_t seed) {
  std::mt19937_64 engine(seed);
  std::string prompt;
  for (int i = 0; i < options.prompt_tokens; ++i) {
    absl::StrAppend(&prompt, i == 0 ? "" : " ", kWords[engine() % std::size(kWords)]);
  }
  return nlohmann::json({{"prompt", prompt},
                         {"stream", true},
                         {"stream_options", {{"include_usage", true}}},
                         {"max_tokens", options.output_tokens},
                         {"ignore_eos", options.ignore_eos},
                         {"temperature", options.temperature},
                         {"seed", seed % 1'000'000'007}})
      .dump();
}

// One connection and the request on it.
struct Connection {
  enum class State { kConnecting, kSending, kReading, kIdle };
  ScopedFd fd;
  State state = State::kConnecting;
  std::string unsent;
  SseReader reader;
  RequestRecord record;
  double last_heard = 0;
};

class HttpLoad {
 public:
  HttpLoad(const LoadOptions& options, Target target)
      : options_(options), target_(std::move(target)), epoll_(epoll_create1(EPOLL_CLOEXEC)) {
    if (options.request_rate > 0) {
      arrivals_ = PoissonArrivals(options.num_requests, options.request_rate, options.seed);
    }
  }

  absl::StatusOr<std::vector<RequestRecord>> Run();

 private:
  double Now() const { return std::chrono::duration<double>(Clock::now() - start_).count(); }
  bool MayStart(double now) const;
  absl::Status StartRequest();
  absl::Status Connect(Connection* connection);
  void Send(Connection* connection);
  void Read(Connection* connection);
  void HandleEvent(const epoll_event& event);
  void Finish(Connection* connection, const absl::Status& status);
  void Close(Connection* connection);
  void WatchSignals();
  void FailSilentOnes(double now);
  void CutAll();
  int WaitMs(double now) const;

  const LoadOptions options_;
  const Target target_;
  const ScopedFd epoll_;
  ScopedFd signals_;
  const Clock::time_point start_ = Clock::now();
  std::vector<double> arrivals_;
  std::vector<std::unique_ptr<Connection>> connections_;
  std::vector<Connection*> idle_;
  std::vector<RequestRecord> records_;
  std::vector<char> buffer_ = std::vector<char>(64 << 10);
  bool is_interrupted_ = false;
  int num_started_ = 0;
  int num_running_ = 0;
  int num_connecting_ = 0;
  absl::Status first_connect_;  // why the first connection failed, if it did
};

bool HttpLoad::MayStart(double now) const {
  if (num_started_ >= options_.num_requests || num_connecting_ >= kMaxConnecting) return false;
  if (arrivals_.empty()) return num_running_ < options_.concurrency;
  return now >= arrivals_[static_cast<size_t>(num_started_)];
}

int HttpLoad::WaitMs(double now) const {
  double until = now + 1;
  if (!arrivals_.empty() && num_started_ < options_.num_requests) {
    until = std::min(until, arrivals_[static_cast<size_t>(num_started_)]);
  }
  if (options_.duration_s > 0) until = std::min(until, options_.duration_s);
  return std::max(0, static_cast<int>((until - now) * 1000) + 1);
}

absl::Status HttpLoad::StartRequest() {
  const uint64_t seed = options_.seed * 1'000'003 + static_cast<uint64_t>(num_started_++);
  ++num_running_;
  const std::string body = MakeBody(options_, seed);
  Connection* connection = nullptr;
  const bool is_reused = !idle_.empty();
  if (is_reused) {
    connection = idle_.back();
    idle_.pop_back();
  } else {
    connections_.push_back(std::make_unique<Connection>());
    connection = connections_.back().get();
  }
  connection->reader = SseReader();
  connection->record = RequestRecord();
  connection->record.prompt_tokens = options_.prompt_tokens;
  connection->record.sent = connection->last_heard = Now();
  connection->unsent = absl::StrCat(
      "POST /v1/completions HTTP/1.1\r\nHost: ", target_.host_and_port,
      "\r\nContent-Type: application/json\r\nContent-Length: ", body.size(), "\r\n\r\n", body);
  if (!is_reused) return Connect(connection);
  connection->state = Connection::State::kSending;
  Send(connection);
  return absl::OkStatus();
}

absl::Status HttpLoad::Connect(Connection* connection) {
  connection->fd.Reset(
      socket(target_.address.ss_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, IPPROTO_TCP));
  const int fd = connection->fd.get();
  if (fd < 0) {
    return absl::ResourceExhaustedError(
        absl::StrCat("can't open connection ", connections_.size(), ": ", strerror(errno),
                     "; raise the limit of open files (ulimit -n) or lower --concurrency"));
  }
  const int on = 1;
  setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
  epoll_event event{};
  event.events = EPOLLIN | EPOLLOUT | EPOLLET;
  event.data.ptr = connection;
  epoll_ctl(epoll_.get(), EPOLL_CTL_ADD, fd, &event);
  ++num_connecting_;
  connection->state = Connection::State::kConnecting;
  if (connect(fd, reinterpret_cast<const sockaddr*>(&target_.address), target_.size) != 0 &&
      errno != EINPROGRESS) {
    Finish(connection, absl::UnavailableError(absl::StrCat("can't connect: ", strerror(errno))));
  }
  return absl::OkStatus();
}

void HttpLoad::Send(Connection* connection) {
  while (!connection->unsent.empty()) {
    const ssize_t n = send(connection->fd.get(), connection->unsent.data(),
                           connection->unsent.size(), MSG_NOSIGNAL);
    if (n < 0 && errno == EAGAIN) return;
    if (n < 0) return Finish(connection, absl::UnavailableError("the connection broke"));
    connection->unsent.erase(0, static_cast<size_t>(n));
  }
  connection->state = Connection::State::kReading;
}

void HttpLoad::Read(Connection* connection) {
  while (connection->state == Connection::State::kReading) {
    const ssize_t n = recv(connection->fd.get(), buffer_.data(), buffer_.size(), 0);
    if (n < 0 && errno == EAGAIN) return;
    if (n <= 0) {
      return Finish(connection, absl::UnavailableError("the server closed a running stream"));
    }
    const double now = Now();
    connection->last_heard = now;
    const absl::Status status = connection->reader.Add({buffer_.data(), static_cast<size_t>(n)});
    // What comes at once is seen at once.
    connection->record.token_times.resize(static_cast<size_t>(connection->reader.num_text_events()),
                                          now);
    if (!status.ok()) return Finish(connection, status);
    if (connection->reader.is_complete()) {
      return Finish(connection, connection->reader.is_done()
                                    ? absl::OkStatus()
                                    : absl::UnavailableError("a stream ended without [DONE]"));
    }
    // Less than asked for: the socket is empty.
    if (static_cast<size_t>(n) < buffer_.size()) return;
  }
}

void HttpLoad::Finish(Connection* connection, const absl::Status& status) {
  if (connection->state == Connection::State::kConnecting) {
    --num_connecting_;
    if (records_.empty()) first_connect_ = status;
  }
  RequestRecord& record = connection->record;
  record.finished = Now();
  record.ok = status.ok();
  if (!status.ok()) record.error = status.ToString();
  const SseReader& reader = connection->reader;
  if (reader.prompt_tokens() >= 0) {
    record.prompt_tokens = static_cast<int>(reader.prompt_tokens());
    record.cached_tokens = static_cast<int>(reader.cached_tokens());
    record.output_tokens = static_cast<int>(reader.completion_tokens());
  }
  records_.push_back(std::move(record));
  --num_running_;
  connection->state = Connection::State::kIdle;
  if (status.ok()) {
    idle_.push_back(connection);
  } else {
    connection->fd.Reset();
  }
}

// Ctrl-C ends the run as its duration does, so that there is a report.
void HttpLoad::WatchSignals() {
  sigset_t signals;
  sigemptyset(&signals);
  sigaddset(&signals, SIGINT);
  sigaddset(&signals, SIGTERM);
  pthread_sigmask(SIG_BLOCK, &signals, nullptr);
  signals_.Reset(signalfd(-1, &signals, SFD_CLOEXEC | SFD_NONBLOCK));
  epoll_event event{};
  event.events = EPOLLIN;
  event.data.ptr = nullptr;
  epoll_ctl(epoll_.get(), EPOLL_CTL_ADD, signals_.get(), &event);
}

void HttpLoad::HandleEvent(const epoll_event& event) {
  if (event.data.ptr == nullptr) {
    is_interrupted_ = true;
    return;
  }
  auto* const connection = static_cast<Connection*>(event.data.ptr);
  if (connection->state == Connection::State::kConnecting && (event.events & EPOLLOUT) != 0) {
    int error = 0;
    socklen_t size = sizeof(error);
    getsockopt(connection->fd.get(), SOL_SOCKET, SO_ERROR, &error, &size);
    if (error != 0) {
      return Finish(connection,
                    absl::UnavailableError(absl::StrCat("can't connect to ", target_.host_and_port,
                                                        ": ", strerror(error))));
    }
    --num_connecting_;
    connection->state = Connection::State::kSending;
  }
  if (connection->state == Connection::State::kSending) Send(connection);
  if (connection->state == Connection::State::kReading) {
    Read(connection);
  } else if (connection->state == Connection::State::kIdle && (event.events & EPOLLIN) != 0) {
    // The server has closed it.
    idle_.erase(std::remove(idle_.begin(), idle_.end(), connection), idle_.end());
    connection->fd.Reset();
  }
}

void HttpLoad::FailSilentOnes(double now) {
  for (const auto& connection : connections_) {
    if (connection->state == Connection::State::kIdle ||
        now - connection->last_heard < kInactivitySeconds) {
      continue;
    }
    Finish(connection.get(), absl::DeadlineExceededError(
                                 absl::StrCat("nothing was heard for ", kInactivitySeconds, " s")));
  }
}

void HttpLoad::CutAll() {
  for (const auto& connection : connections_) {
    if (connection->state == Connection::State::kIdle) continue;
    connection->record.is_cut = true;
    Finish(connection.get(), absl::OkStatus());
  }
}

absl::StatusOr<std::vector<RequestRecord>> HttpLoad::Run() {
  std::vector<epoll_event> events(1024);
  double next_check = 1;
  WatchSignals();
  while (static_cast<int>(records_.size()) < options_.num_requests && !is_interrupted_) {
    const double now = Now();
    if (options_.duration_s > 0 && now >= options_.duration_s) break;
    while (MayStart(Now())) RETURN_IF_ERROR(StartRequest());
    RETURN_IF_ERROR(first_connect_);
    const int n =
        epoll_wait(epoll_.get(), events.data(), static_cast<int>(events.size()), WaitMs(now));
    for (int i = 0; i < n; ++i) HandleEvent(events[static_cast<size_t>(i)]);
    if (now >= next_check) {
      FailSilentOnes(now);
      next_check = now + 1;
    }
  }
  CutAll();
  return std::move(records_);
}

}  // namespace

absl::StatusOr<std::vector<RequestRecord>> RunHttpLoad(const LoadOptions& options) {
  ASSIGN_OR_RETURN(Target target, ParseTarget(options.address));
  return HttpLoad(options, std::move(target)).Run();
}

}  // namespace quartet::cli
