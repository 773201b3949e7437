#include "gateway/tenant.h"

#include <openssl/evp.h>

#include <array>

#include "absl/strings/ascii.h"
#include "absl/strings/escaping.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "common/status_macros.h"

namespace quartet::gateway {
namespace {

constexpr absl::string_view kBearer = "bearer ";
// Of the digest: enough to tell keys apart.
constexpr size_t kDigestBytes = 16;

}  // namespace

std::string TenantOf(absl::string_view said, absl::string_view authorization) {
  if (!said.empty()) return std::string(said);
  if (absl::StartsWithIgnoreCase(authorization, kBearer)) {
    authorization.remove_prefix(kBearer.size());
  }
  authorization = absl::StripAsciiWhitespace(authorization);
  if (authorization.empty()) return "";
  std::array<unsigned char, EVP_MAX_MD_SIZE> digest{};
  QUARTET_CHECK(EVP_Digest(authorization.data(), authorization.size(), digest.data(), nullptr,
                           EVP_sha256(), nullptr) == 1);
  return absl::StrCat("key-", absl::BytesToHexString(absl::string_view(
                                  reinterpret_cast<const char*>(digest.data()), kDigestBytes)));
}

}  // namespace quartet::gateway
