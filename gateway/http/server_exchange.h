// One request being answered by the HTTP server: gathers what is to be sent, and sends what the
// socket takes at once. Part of server.cc, apart for its size.
#pragma once

#include <sys/socket.h>

#include <atomic>
#include <boost/asio/io_context.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/strand.hpp>
#include <cerrno>
#include <functional>
#include <memory>
#include <string>
#include <utility>

#include "absl/strings/numbers.h"
#include "common/logging.h"
#include "gateway/http/exchange.h"
#include "gateway/http/response_head.h"
#include "gateway/http/server.h"

namespace quartet::gateway::http {

// What the connections share with the server.
struct ServerState {
  HttpServerOptions options;
  HttpHandler* handler = nullptr;
  std::atomic<size_t> num_connections{0};
  std::atomic<size_t> num_exchanges{0};  // Requests whose answer is not out yet.
  std::atomic<bool> stopping{false};
};

// Everything but Post runs on the connection's strand. What tasks write goes to the socket at the
// end of each task, without waking the connection's coroutine: with many slow streams that costs
// more than all else. The coroutine sends what the socket does not take at once.
class ServerExchange final : public HttpExchange,
                             public std::enable_shared_from_this<ServerExchange> {
 public:
  using Strand = boost::asio::strand<boost::asio::io_context::executor_type>;

  struct Options {
    bool keep_alive = true;
    bool http_1_0 = false;
    int socket = -1;  // Open until the exchange is complete.
    // Ends a write that the coroutine has under way.
    std::function<void()> abort_write;
  };

  ServerExchange(ServerState* server, Strand strand, HttpRequest request, Options options)
      : server_(server),
        strand_(strand),
        wake_(strand),
        request_(std::move(request)),
        options_(std::move(options)),
        keep_alive_(options_.keep_alive) {
    server_->num_exchanges.fetch_add(1);
  }
  ~ServerExchange() override { Leave(); }

  HttpRequest& request() override { return request_; }

  void Post(absl::AnyInvocable<void()> task) override {
    boost::asio::post(strand_, [self = shared_from_this(), task = std::move(task)]() mutable {
      task();
      self->Flush();
    });
  }

  void Respond(HttpResponse response) override {
    if (closed_ || started_) return;
    if (server_->stopping) keep_alive_ = false;
    started_ = ended_ = true;
    unsent_ += ResponseHead(response, Framing::kLength, keep_alive_);
    if (request_.method != "HEAD") unsent_ += response.body;
    wake_.cancel();
  }

  void StartStream(HttpResponse head, std::string heartbeat) override {
    if (closed_ || started_) return;
    started_ = true;
    if (options_.http_1_0 || server_->stopping) keep_alive_ = false;
    chunked_ = !options_.http_1_0;
    heartbeat_ = std::move(heartbeat);
    unsent_ += ResponseHead(head, chunked_ ? Framing::kChunked : Framing::kUntilClose, keep_alive_);
    wake_.cancel();
  }

  void Write(absl::string_view bytes) override {
    if (closed_ || ended_ || bytes.empty()) return;
    if (chunked_) {
      AppendChunk(bytes, &unsent_);
    } else {
      unsent_.append(bytes.data(), bytes.size());
    }
    if (unsent_.size() + sending_bytes_ > server_->options.max_unsent_bytes) {
      common::LogWarning("client reads too slowly",
                         {{"unsent_bytes", unsent_.size() + sending_bytes_}});
      PeerGone();
    }
  }

  void EndStream() override {
    if (closed_ || ended_) return;
    ended_ = true;
    if (chunked_) unsent_ += kLastChunk;
    wake_.cancel();
  }

  void SetOnClosed(absl::AnyInvocable<void()> on_closed) override {
    on_closed_ = std::move(on_closed);
    if (closed_ && !ended_) CallOnClosed();
  }

  // Sends what the socket takes now.
  void Flush() {
    if (closed_ || unsent_.empty() || sending_bytes_ > 0) return;
    const ssize_t n =
        send(options_.socket, unsent_.data(), unsent_.size(), MSG_DONTWAIT | MSG_NOSIGNAL);
    if (n == static_cast<ssize_t>(unsent_.size())) {
      last_write_ = std::chrono::steady_clock::now();
      unsent_.clear();
      if (ended_) wake_.cancel();
      return;
    }
    // An error shows again when the coroutine tries.
    if (n > 0) unsent_.erase(0, static_cast<size_t>(n));
    wake_.cancel();
  }
  // What the coroutine is to send; EndSend follows.
  std::string BeginSend() {
    sending_bytes_ = unsent_.size();
    return std::exchange(unsent_, std::string());
  }
  void EndSend() {
    sending_bytes_ = 0;
    last_write_ = std::chrono::steady_clock::now();
  }

  // The client is gone, or counts as gone.
  void PeerGone() {
    if (std::exchange(closed_, true)) return;
    unsent_ = std::string();
    if (sending_bytes_ > 0) options_.abort_write();
    CallOnClosed();
    wake_.cancel();
  }
  // The answer is out, or nobody wants it.
  void Leave() {
    if (!std::exchange(left_, true)) server_->num_exchanges.fetch_sub(1);
  }

  bool closed() const { return closed_; }
  bool complete() const { return closed_ || (ended_ && unsent_.empty() && sending_bytes_ == 0); }
  bool keep_alive() const { return keep_alive_ && !closed_; }
  bool streaming() const { return started_ && !ended_; }
  bool has_unsent() const { return !unsent_.empty(); }
  // Cancelled whenever the coroutine has something to see.
  boost::asio::steady_timer& wake() { return wake_; }
  std::chrono::steady_clock::time_point last_write() const { return last_write_; }
  void Heartbeat() { Write(heartbeat_); }

 private:
  void CallOnClosed() {
    if (ended_ && unsent_.empty()) return;
    if (auto on_closed = std::exchange(on_closed_, nullptr)) on_closed();
  }

  ServerState* const server_;
  Strand strand_;
  boost::asio::steady_timer wake_;
  HttpRequest request_;
  const Options options_;
  bool keep_alive_;
  bool started_ = false;
  bool chunked_ = false;
  bool ended_ = false;
  bool closed_ = false;
  bool left_ = false;
  std::string heartbeat_;
  std::string unsent_;
  size_t sending_bytes_ = 0;  // In the coroutine's hands.
  std::chrono::steady_clock::time_point last_write_ = std::chrono::steady_clock::now();
  absl::AnyInvocable<void()> on_closed_;
};

}  // namespace quartet::gateway::http
