#include "gateway/rpc_status.h"

#include <google/protobuf/any.pb.h>
#include <google/protobuf/duration.pb.h>

#include <string>

#include "common/grpc_status.h"
#include "gateway/request_error.h"

namespace quartet::gateway {
namespace {

// A length-delimited protobuf field; `number` below 16.
void AppendField(int number, const std::string& bytes, std::string* out) {
  out->push_back(static_cast<char>(number << 3 | 2));
  size_t size = bytes.size();
  for (; size >= 0x80; size >>= 7) out->push_back(static_cast<char>(size | 0x80));
  out->push_back(static_cast<char>(size));
  out->append(bytes);
}

// google.rpc.Status{code = 1, message = 2, details = 3} with a google.rpc.RetryInfo{retry_delay =
// 1}. Debian ships neither .proto file, so the few bytes are written by hand.
std::string RetryDetails(const absl::Status& status, int seconds) {
  google::protobuf::Duration delay;
  delay.set_seconds(seconds);
  google::protobuf::Any info;
  info.set_type_url("type.googleapis.com/google.rpc.RetryInfo");
  AppendField(1, delay.SerializeAsString(), info.mutable_value());
  std::string details;
  details.push_back(1 << 3);
  details.push_back(static_cast<char>(status.code()));
  AppendField(2, std::string(status.message()), &details);
  AppendField(3, info.SerializeAsString(), &details);
  return details;
}

}  // namespace

grpc::Status ToRpcStatus(const absl::Status& status) {
  const grpc::Status plain = common::ToGrpcStatus(status);
  const int seconds = RetryAfterSeconds(status);
  if (seconds == 0) return plain;
  return grpc::Status(plain.error_code(), plain.error_message(), RetryDetails(status, seconds));
}

}  // namespace quartet::gateway
