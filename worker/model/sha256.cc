#include "worker/model/sha256.h"

#include <openssl/evp.h>

#include "absl/strings/escaping.h"
#include "common/status_macros.h"

namespace quartet::model {

Sha256::Sha256() : context_(EVP_MD_CTX_new()) {
  QUARTET_CHECK(context_ != nullptr && EVP_DigestInit_ex(context_, EVP_sha256(), nullptr) == 1);
}

Sha256::~Sha256() { EVP_MD_CTX_free(context_); }

void Sha256::Add(absl::string_view bytes) {
  QUARTET_CHECK(EVP_DigestUpdate(context_, bytes.data(), bytes.size()) == 1);
}

void Sha256::AddText(absl::string_view text) {
  AddInt(static_cast<int64_t>(text.size()));
  Add(text);
}

void Sha256::AddInt(int64_t value) {
  Add(absl::string_view(reinterpret_cast<const char*>(&value), sizeof(value)));
}

std::string Sha256::Hex() {
  unsigned char digest[EVP_MAX_MD_SIZE];
  unsigned int size = 0;
  QUARTET_CHECK(EVP_DigestFinal_ex(context_, digest, &size) == 1);
  return absl::BytesToHexString(absl::string_view(reinterpret_cast<const char*>(digest), size));
}

}  // namespace quartet::model
