#include "gateway/http/web_page.h"

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_split.h"

namespace quartet::gateway::http {
namespace {

// Nothing from elsewhere, and no script or style but the page's own files: whatever a model writes
// into the page can neither run nor fetch.
constexpr char kContentSecurityPolicy[] =
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; "
    "img-src 'self' data:; font-src 'self'; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'none'";

// Whether `list`, a header of the form "a;q=0.5, b", names `name` with a weight above 0.
bool Accepts(absl::string_view list, absl::string_view name) {
  for (absl::string_view item : absl::StrSplit(list, ',')) {
    const std::vector<absl::string_view> parts = absl::StrSplit(item, ';');
    if (!absl::EqualsIgnoreCase(absl::StripAsciiWhitespace(parts[0]), name)) continue;
    for (size_t i = 1; i < parts.size(); ++i) {
      absl::string_view parameter = absl::StripAsciiWhitespace(parts[i]);
      double weight = 1;
      if (absl::ConsumePrefix(&parameter, "q=") && absl::SimpleAtod(parameter, &weight)) {
        return weight > 0;
      }
    }
    return true;
  }
  return false;
}

bool IsHashed(const WebAsset& asset) { return absl::StartsWith(asset.path, "/assets/"); }

HttpResponse Serve(const WebAsset& asset, const HttpRequest& request) {
  HttpResponse response;
  response.content_type = std::string(asset.content_type);
  response.headers = {
      {"ETag", std::string(asset.etag)},
      // A changed file has another name; the page that names it is asked for each time.
      {"Cache-Control", IsHashed(asset) ? "public, max-age=31536000, immutable" : "no-cache"},
      {"Vary", "Accept, Accept-Encoding"},
      {"Content-Security-Policy", kContentSecurityPolicy},
      {"X-Content-Type-Options", "nosniff"},
      {"Referrer-Policy", "no-referrer"},
      {"Cross-Origin-Opener-Policy", "same-origin"},
  };
  if (absl::StrContains(request.if_none_match, asset.etag)) {
    response.status = 304;
    return response;
  }
  if (!asset.gzip.empty() && TakesGzip(request.accept_encoding)) {
    response.headers.emplace_back("Content-Encoding", "gzip");
    response.body = std::string(asset.gzip);
  } else {
    response.body = std::string(asset.plain);
  }
  return response;
}

}  // namespace

bool WantsHtml(absl::string_view accept) { return Accepts(accept, "text/html"); }
bool TakesGzip(absl::string_view accept_encoding) { return Accepts(accept_encoding, "gzip"); }

std::optional<HttpResponse> WebPage::Find(const HttpRequest& request) const {
  for (const WebAsset& asset : assets_) {
    if (asset.path != request.path) continue;
    if (!IsHashed(asset) && !WantsHtml(request.accept)) return std::nullopt;
    return Serve(asset, request);
  }
  return std::nullopt;
}

}  // namespace quartet::gateway::http
