// What a build without npm has instead of the web page.
#include "gateway/http/web_page.h"

namespace quartet::gateway::http {

absl::Span<const WebAsset> EmbeddedAssets() { return {}; }

}  // namespace quartet::gateway::http
