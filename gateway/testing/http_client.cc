#include "gateway/testing/http_client.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"
#include "common/status_macros.h"
#include "gateway/testing/toy_vocabulary.h"

namespace quartet::gateway::testing {

HttpConnection::HttpConnection(int port) : fd_(socket(AF_INET, SOCK_STREAM, 0)) {
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_port = htons(static_cast<uint16_t>(port));
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  const timeval timeout{kPatience.count(), 0};
  setsockopt(fd_, SOL_SOCKET, SO_RCVTIMEO, &timeout, sizeof(timeout));
  QUARTET_CHECK(connect(fd_, reinterpret_cast<sockaddr*>(&address), sizeof(address)) == 0);
}

HttpConnection::~HttpConnection() { Close(); }

void HttpConnection::Close() {
  if (fd_ >= 0) close(fd_);
  fd_ = -1;
}

void HttpConnection::SendRaw(absl::string_view bytes) {
  while (!bytes.empty()) {
    const ssize_t n = send(fd_, bytes.data(), bytes.size(), MSG_NOSIGNAL);
    if (n <= 0) return;
    bytes.remove_prefix(n);
  }
}

void HttpConnection::Send(absl::string_view method, absl::string_view path,
                          absl::string_view body) {
  SendRaw(absl::StrCat(method, " ", path, " HTTP/1.1\r\nHost: test\r\nContent-Length: ",
                       body.size(), "\r\n\r\n", body));
}

bool HttpConnection::Fill() {
  char bytes[65536];
  const ssize_t n = recv(fd_, bytes, sizeof(bytes), 0);
  if (n > 0) buffer_.append(bytes, n);
  return n > 0;
}

std::string HttpConnection::ReadLine() {
  size_t end;
  while ((end = buffer_.find("\r\n")) == std::string::npos) {
    if (!Fill()) return "";
  }
  std::string line = buffer_.substr(0, end);
  buffer_.erase(0, end + 2);
  return line;
}

std::string HttpConnection::ReadBytes(size_t n) {
  while (buffer_.size() < n && Fill()) {
  }
  std::string bytes = buffer_.substr(0, n);
  buffer_.erase(0, n);
  return bytes;
}

ClientResponse HttpConnection::ReceiveHead() {
  ClientResponse response;
  const std::string status_line = ReadLine();
  if (status_line.size() < 12) return response;
  QUARTET_CHECK(absl::SimpleAtoi(status_line.substr(9, 3), &response.status));
  for (std::string line = ReadLine(); !line.empty(); line = ReadLine()) {
    const std::pair<std::string, std::string> field =
        absl::StrSplit(line, absl::MaxSplits(": ", 1));
    response.headers[absl::AsciiStrToLower(field.first)] = field.second;
  }
  chunked_ = response.headers["transfer-encoding"] == "chunked";
  last_chunk_seen_ = false;
  return response;
}

bool HttpConnection::ReadChunk(std::string* out) {
  if (last_chunk_seen_) return false;
  const std::string line = ReadLine();
  if (line.empty()) return false;  // The connection broke.
  const size_t size = std::stoul(line, nullptr, 16);
  out->append(ReadBytes(size));
  ReadBytes(2);
  last_chunk_seen_ = size == 0;
  return size > 0;
}

ClientResponse HttpConnection::Receive(bool head_only) {
  ClientResponse response = ReceiveHead();
  if (response.status == 0 || head_only) return response;
  size_t length = 0;
  if (chunked_) {
    while (ReadChunk(&response.body)) {
    }
  } else if (absl::SimpleAtoi(response.headers["content-length"], &length)) {
    response.body = ReadBytes(length);
  }
  return response;
}

std::string HttpConnection::ReadEvent() {
  while (true) {
    const size_t end = stream_.find("\n\n");
    if (end == std::string::npos) {
      if (!ReadChunk(&stream_)) return "";
      continue;
    }
    const std::string event = stream_.substr(0, end);
    stream_.erase(0, end + 2);
    // A line "event: ..." may stand before it.
    const size_t data = absl::StartsWith(event, "data: ") ? 0 : event.find("\ndata: ") + 1;
    if (absl::StartsWith(event.substr(data), "data: ")) return event.substr(data + 6);
  }
}

bool HttpConnection::AtEnd() { return buffer_.empty() && !Fill(); }

ClientResponse Fetch(int port, absl::string_view method, absl::string_view path,
                     absl::string_view body) {
  HttpConnection connection(port);
  connection.Send(method, path, body);
  return connection.Receive(method == "HEAD");
}

std::vector<std::string> FetchEvents(int port, absl::string_view path, absl::string_view body) {
  HttpConnection connection(port);
  connection.Send("POST", path, body);
  if (connection.ReceiveHead().status != 200) return {};
  std::vector<std::string> events;
  for (std::string event = connection.ReadEvent(); !event.empty(); event = connection.ReadEvent()) {
    events.push_back(std::move(event));
  }
  return events;
}

}  // namespace quartet::gateway::testing
