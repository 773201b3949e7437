// A blocking HTTP client on plain sockets, for tests that want to see every byte.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "absl/strings/string_view.h"

namespace quartet::gateway::testing {

struct ClientResponse {
  int status = 0;
  std::map<std::string, std::string> headers;  // Names in lower case.
  std::string body;                            // Without chunk framing.
};

// Not thread-safe. Gives up after kPatience of silence.
class HttpConnection {
 public:
  explicit HttpConnection(int port);
  ~HttpConnection();

  void SendRaw(absl::string_view bytes);
  void Send(absl::string_view method, absl::string_view path, absl::string_view body = "");
  // Reads a whole response. Status 0 if the connection ended before.
  ClientResponse Receive(bool head_only = false);
  // Reads the head, leaving the body to ReadEvent.
  ClientResponse ReceiveHead();
  // The next server-sent event's data (comments are skipped), or empty at the end of the stream.
  std::string ReadEvent();
  // Whether the other side has closed the connection.
  bool AtEnd();
  void Close();

 private:
  bool Fill();
  std::string ReadLine();
  std::string ReadBytes(size_t n);
  bool ReadChunk(std::string* out);

  int fd_ = -1;
  std::string buffer_;
  bool chunked_ = false;
  bool last_chunk_seen_ = false;
  std::string stream_;  // Bytes of chunks not yet given out as events.
};

// One request on a connection of its own.
ClientResponse Fetch(int port, absl::string_view method, absl::string_view path,
                     absl::string_view body = "");
// All events of a streamed answer.
std::vector<std::string> FetchEvents(int port, absl::string_view path, absl::string_view body);

}  // namespace quartet::gateway::testing
