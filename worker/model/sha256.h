// SHA-256 in pieces (OpenSSL's).
#pragma once

#include <cstdint>
#include <string>

#include "absl/strings/string_view.h"

struct evp_md_ctx_st;

namespace quartet::model {

class Sha256 {
 public:
  Sha256();
  ~Sha256();
  void Add(absl::string_view bytes);
  // Adds the length first, so that the borders between texts count.
  void AddText(absl::string_view text);
  void AddInt(int64_t value);
  // 64 hex digits. Call once, at the end.
  std::string Hex();

 private:
  evp_md_ctx_st* context_;
};

}  // namespace quartet::model
