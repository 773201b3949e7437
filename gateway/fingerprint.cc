#include "gateway/fingerprint.h"

#include <cstdint>

#include "absl/strings/str_format.h"

namespace quartet::gateway {

std::string Fingerprint(const std::set<std::string>& sources) {
  if (sources.empty()) return "";
  uint64_t hash = 0xcbf29ce484222325;  // FNV-1a.
  const auto add = [&hash](unsigned char byte) { hash = (hash ^ byte) * 0x100000001b3; };
  for (const std::string& source : sources) {
    for (unsigned char byte : source) add(byte);
    add(0);
  }
  return absl::StrFormat("fp_%010x", hash >> 24);
}

}  // namespace quartet::gateway
