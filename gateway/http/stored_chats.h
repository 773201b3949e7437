// OpenAI's endpoints for chat completions that were made with "store": true: list, read, their
// messages, other metadata, forget. They live in the gateway's memory, as response_store.h says.
#pragma once

#include <string>

#include "absl/status/statusor.h"
#include "gateway/http/exchange.h"
#include "gateway/http/response_store.h"

namespace quartet::gateway::http {

// Thread-safe. `id`: of a completion, as the path names it; one of another tenant counts as none.
class StoredChats {
 public:
  ResponseStore& store() { return store_; }

  // The query may have model, metadata[NAME]=VALUE, after (an id), limit (1 to 100, 20 by default)
  // and order (asc by default, or desc).
  HttpResponse List(const HttpRequest& request) const;
  HttpResponse Get(const std::string& id, const HttpRequest& request) const;
  // Of the conversation that was answered, with `after`, `limit` and `order` as above.
  HttpResponse Messages(const std::string& id, const HttpRequest& request) const;
  // The body names new metadata, which replaces the old.
  HttpResponse Update(const std::string& id, const HttpRequest& request);
  HttpResponse Delete(const std::string& id, const HttpRequest& request);

 private:
  ResponseStore store_;
};

}  // namespace quartet::gateway::http
