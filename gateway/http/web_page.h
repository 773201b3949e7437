// The web page at "/": files that the build made from gateway/web and embedded in the binary, and
// the headers that they are served with.
#pragma once

#include <optional>

#include "absl/strings/string_view.h"
#include "absl/types/span.h"
#include "gateway/http/exchange.h"

namespace quartet::gateway::http {

// One file of the page. All views point to static data.
struct WebAsset {
  absl::string_view path;  // "/" or "/assets/NAME-HASH.EXTENSION".
  absl::string_view content_type;
  absl::string_view etag;  // Quoted.
  absl::string_view plain;
  absl::string_view gzip;
};

// What this binary was built with; empty if the build had no npm. Defined in a generated file.
absl::Span<const WebAsset> EmbeddedAssets();

// Thread-safe.
class WebPage {
 public:
  explicit WebPage(absl::Span<const WebAsset> assets = EmbeddedAssets()) : assets_(assets) {}

  bool is_built() const { return !assets_.empty(); }
  // The file at the request's path, or nullopt. The page itself is for those who say that they take
  // text/html: others find text at the same address.
  std::optional<HttpResponse> Find(const HttpRequest& request) const;

 private:
  const absl::Span<const WebAsset> assets_;
};

// Whether a client with this Accept header is a browser that wants a page.
bool WantsHtml(absl::string_view accept);
// Whether a client with this Accept-Encoding header takes gzip.
bool TakesGzip(absl::string_view accept_encoding);

}  // namespace quartet::gateway::http
