#include "gateway/http/server.h"

#include <sys/socket.h>

#include <atomic>
#include <boost/asio/awaitable.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/redirect_error.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/strand.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <boost/asio/write.hpp>
#include <boost/beast/core/flat_buffer.hpp>
#include <boost/beast/core/tcp_stream.hpp>
#include <boost/beast/http/parser.hpp>
#include <boost/beast/http/read.hpp>
#include <boost/beast/http/string_body.hpp>
#include <optional>
#include <set>
#include <thread>

#include "absl/strings/str_cat.h"
#include "common/logging.h"
#include "gateway/http/response_head.h"
#include "gateway/http/server_exchange.h"

namespace quartet::gateway::http {
namespace {

namespace net = boost::asio;
namespace beast = boost::beast;
using boost::system::error_code;
using net::ip::tcp;
using Strand = ServerExchange::Strand;
using Stream = beast::basic_stream<tcp, Strand>;
using RequestParser = beast::http::request_parser<beast::http::string_body>;

// After refusing a body, how much of it is still read so that the client gets to see the answer.
constexpr size_t kLingerBytes = 256 << 20;
constexpr std::chrono::seconds kLingerTime(5);
// When the process is out of file descriptors.
constexpr std::chrono::milliseconds kAcceptBackOff(100);

using Exchange = ServerExchange;
using Shared = ServerState;

// One connection: reads a request, has it answered, and so on.
class Connection : public std::enable_shared_from_this<Connection> {
 public:
  Connection(Shared* shared, Stream stream) : shared_(shared), stream_(std::move(stream)) {
    shared_->num_connections.fetch_add(1);
  }
  ~Connection() { shared_->num_connections.fetch_sub(1); }

  net::awaitable<void> Run();
  void Close() {
    error_code ignored;
    stream_.socket().close(ignored);
  }

 private:
  using ErrorHandling = net::redirect_error_t<net::use_awaitable_t<>>;
  // Reads one request into `parser`. Returns the status to refuse it with, 0 if it is there, -1 if
  // the connection is over.
  net::awaitable<int> ReadRequest(RequestParser& parser);
  net::awaitable<bool> Answer(std::shared_ptr<Exchange> exchange);
  net::awaitable<void> Refuse(int status);
  void Watch(std::weak_ptr<Exchange> exchange);
  net::awaitable<bool> Send(std::string bytes);

  Shared* const shared_;
  Stream stream_;
  beast::flat_buffer buffer_;
};

net::awaitable<bool> Connection::Send(std::string bytes) {
  error_code error;
  stream_.expires_after(shared_->options.transfer_timeout);
  co_await net::async_write(stream_, net::buffer(bytes),
                            net::redirect_error(net::use_awaitable, error));
  co_return !error;
}

int RefusalOf(const error_code& error) {
  if (error == beast::http::error::body_limit) return 413;
  if (error == beast::http::error::header_limit) return 431;
  const bool ended =
      error == beast::http::error::end_of_stream || error == beast::http::error::partial_message;
  if (ended ||
      error.category() != beast::http::make_error_code(beast::http::error::bad_value).category()) {
    return -1;  // The peer or the network, not what was sent.
  }
  return 400;
}

net::awaitable<int> Connection::ReadRequest(RequestParser& parser) {
  parser.header_limit(static_cast<uint32_t>(shared_->options.max_header_bytes));
  parser.body_limit(shared_->options.max_body_bytes);
  error_code error;
  stream_.expires_after(shared_->options.idle_timeout);
  co_await beast::http::async_read_header(stream_, buffer_, parser,
                                          net::redirect_error(net::use_awaitable, error));
  if (error) co_return RefusalOf(error);
  if (beast::iequals(parser.get()[beast::http::field::expect], "100-continue")) {
    if (!co_await Send("HTTP/1.1 100 Continue\r\n\r\n")) co_return -1;
  }
  stream_.expires_after(shared_->options.transfer_timeout);
  co_await beast::http::async_read(stream_, buffer_, parser,
                                   net::redirect_error(net::use_awaitable, error));
  co_return error ? RefusalOf(error) : 0;
}

// While a request is being answered nothing is read; that the socket becomes readable then means
// that the client has closed it, or that it sends the next request early.
void Connection::Watch(std::weak_ptr<Exchange> watched) {
  stream_.socket().async_wait(
      tcp::socket::wait_read, [self = shared_from_this(), watched](error_code error) {
        const auto exchange = watched.lock();
        if (error || exchange == nullptr || exchange->complete()) return;
        char byte = 0;
        const ssize_t n =
            recv(self->stream_.socket().native_handle(), &byte, 1, MSG_PEEK | MSG_DONTWAIT);
        if (n > 0) return;
        if (n < 0 && (errno == EAGAIN || errno == EINTR)) return self->Watch(watched);
        exchange->PeerGone();
      });
}

// Returns whether the connection may go on with another request.
net::awaitable<bool> Connection::Answer(std::shared_ptr<Exchange> exchange) {
  Watch(exchange);
  shared_->handler->Handle(exchange);
  while (!exchange->complete()) {
    if (exchange->has_unsent()) {
      const bool sent = co_await Send(exchange->BeginSend());
      exchange->EndSend();
      if (!sent) exchange->PeerGone();
      continue;
    }
    // Writes don't wake this coroutine, so that the time since the last one is looked at here.
    const auto interval = shared_->options.heartbeat_interval;
    const auto silent_since = exchange->last_write();
    error_code error;
    if (exchange->streaming()) {
      exchange->wake().expires_at(silent_since + interval);
    } else {
      exchange->wake().expires_after(std::chrono::hours(24));
    }
    co_await exchange->wake().async_wait(net::redirect_error(net::use_awaitable, error));
    if (!error && exchange->streaming() && exchange->last_write() == silent_since) {
      exchange->Heartbeat();
    }
  }
  exchange->Leave();
  error_code ignored;
  stream_.socket().cancel(ignored);  // Ends the watch.
  co_return exchange->keep_alive() && !shared_->stopping;
}

net::awaitable<void> Connection::Refuse(int status) {
  const std::string message =
      status == 413   ? absl::StrCat("the request body is larger than ",
                                     shared_->options.max_body_bytes, " bytes")
      : status == 431 ? absl::StrCat("the request's headers are larger than ",
                                     shared_->options.max_header_bytes, " bytes")
      : status == 503 ? std::string("too many open connections")
                      : std::string("the request is not valid HTTP/1.1");
  const HttpResponse response = shared_->handler->Refuse(status, message);
  if (!co_await Send(ResponseHead(response, Framing::kLength, false) + response.body)) co_return;
  // Closing with unread bytes would reset the connection, and the client might never see the
  // answer.
  error_code error;
  stream_.socket().shutdown(tcp::socket::shutdown_send, error);
  std::vector<char> scrap(64 << 10);
  stream_.expires_after(kLingerTime);
  for (size_t total = 0; !error && total < kLingerBytes;) {
    total += co_await stream_.async_read_some(net::buffer(scrap),
                                              net::redirect_error(net::use_awaitable, error));
  }
}

net::awaitable<void> Connection::Run() {
  const auto self = shared_from_this();
  if (shared_->num_connections > shared_->options.max_connections) {
    co_await Refuse(503);
    co_return Close();
  }
  for (bool go_on = true; go_on;) {
    std::optional<RequestParser> parser(std::in_place);
    const int refusal = co_await ReadRequest(*parser);
    if (refusal != 0) {
      if (refusal > 0) co_await Refuse(refusal);
      break;
    }
    auto& message = parser->get();
    HttpRequest request;
    request.method = std::string(message.method_string());
    request.path = std::string(message.target());
    const size_t path_size = std::min(request.path.find('?'), request.path.size());
    if (path_size < request.path.size()) request.query = request.path.substr(path_size + 1);
    request.path.resize(path_size);
    request.authorization = std::string(message[beast::http::field::authorization]);
    request.x_tenant = std::string(message["X-Tenant"]);
    request.accept = std::string(message[beast::http::field::accept]);
    request.accept_encoding = std::string(message[beast::http::field::accept_encoding]);
    request.if_none_match = std::string(message[beast::http::field::if_none_match]);
    request.x_request_id = std::string(message["X-Request-Id"]);
    request.body = std::move(message.body());
    auto exchange = std::make_shared<Exchange>(
        shared_, stream_.get_executor(), std::move(request),
        Exchange::Options{message.keep_alive(), message.version() < 11,
                          stream_.socket().native_handle(), [this] { stream_.cancel(); }});
    parser.reset();
    go_on = co_await Answer(std::move(exchange));
  }
  Close();
}

net::awaitable<void> Accept(Shared* shared, net::io_context* context, tcp::acceptor* acceptor) {
  while (acceptor->is_open()) {
    error_code error;
    Stream stream(net::make_strand(*context));
    co_await acceptor->async_accept(stream.socket(),
                                    net::redirect_error(net::use_awaitable, error));
    if (error == net::error::operation_aborted) co_return;
    if (error) {
      common::LogWarning("can't accept a connection", {{"error", error.message()}});
      net::steady_timer pause(*context, kAcceptBackOff);
      co_await pause.async_wait(net::redirect_error(net::use_awaitable, error));
      continue;
    }
    stream.socket().set_option(tcp::no_delay(true), error);
    const Strand strand = stream.get_executor();
    auto connection = std::make_shared<Connection>(shared, std::move(stream));
    net::co_spawn(
        strand, [connection] { return connection->Run(); }, net::detached);
  }
}

}  // namespace

struct HttpServer::State {
  Shared shared;
  net::io_context context;
  tcp::acceptor acceptor{context};
  std::vector<std::thread> threads;
};

HttpServer::HttpServer(const HttpServerOptions& options) : state_(std::make_unique<State>()) {
  state_->shared.options = options;
}

HttpServer::~HttpServer() { Stop(std::chrono::milliseconds(0)); }

absl::Status HttpServer::Start(HttpHandler* handler) {
  const HttpServerOptions& options = state_->shared.options;
  state_->shared.handler = handler;
  error_code error;
  const net::ip::address address = net::ip::make_address(options.listen, error);
  if (error) {
    return absl::InvalidArgumentError(
        absl::StrCat("--listen must be an IP address, got '", options.listen, "'"));
  }
  const tcp::endpoint endpoint(address, static_cast<uint16_t>(options.port));
  tcp::acceptor& acceptor = state_->acceptor;
  acceptor.open(endpoint.protocol(), error);
  if (!error) acceptor.set_option(tcp::acceptor::reuse_address(true), error);
  if (!error) acceptor.bind(endpoint, error);
  if (!error) acceptor.listen(net::socket_base::max_listen_connections, error);
  if (error) {
    return absl::UnavailableError(absl::StrCat("can't listen on ", options.listen, ":",
                                               options.port, " for HTTP: ", error.message()));
  }
  net::co_spawn(state_->context, Accept(&state_->shared, &state_->context, &acceptor),
                net::detached);
  for (int i = 0; i < options.num_threads; ++i) {
    state_->threads.emplace_back([this] { state_->context.run(); });
  }
  return absl::OkStatus();
}

int HttpServer::port() const { return state_->acceptor.local_endpoint().port(); }

void HttpServer::Stop(std::chrono::milliseconds grace) {
  if (state_->threads.empty()) return;
  state_->shared.stopping = true;
  net::post(state_->context, [this] {
    error_code ignored;
    state_->acceptor.close(ignored);
  });
  const auto end = std::chrono::steady_clock::now() + grace;
  while (state_->shared.num_exchanges > 0 && std::chrono::steady_clock::now() < end) {
    std::this_thread::sleep_for(std::chrono::milliseconds(5));
  }
  state_->context.stop();
  for (std::thread& thread : state_->threads) thread.join();
  state_->threads.clear();
}

}  // namespace quartet::gateway::http
