#include "gateway/rpc_status.h"

#include <google/protobuf/any.pb.h>
#include <google/protobuf/duration.pb.h>

#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
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

// A google.protobuf.Any of a google.rpc message.
std::string Detail(absl::string_view type, std::string value) {
  google::protobuf::Any any;
  any.set_type_url(absl::StrCat("type.googleapis.com/google.rpc.", type));
  any.set_value(std::move(value));
  return any.SerializeAsString();
}

// google.rpc.RetryInfo{retry_delay = 1}. Debian ships none of these .proto files, so the few bytes
// are written by hand.
std::string RetryInfo(int seconds) {
  google::protobuf::Duration delay;
  delay.set_seconds(seconds);
  std::string info;
  AppendField(1, delay.SerializeAsString(), &info);
  return Detail("RetryInfo", std::move(info));
}

// google.rpc.BadRequest{field_violations = 1 {field = 1, description = 2, reason = 3}}. The
// description is the status's message and not said twice.
std::string BadRequest(const std::string& field, const std::string& reason) {
  std::string violation, request;
  AppendField(1, field, &violation);
  if (!reason.empty()) AppendField(3, reason, &violation);
  AppendField(1, violation, &request);
  return Detail("BadRequest", std::move(request));
}

// google.rpc.Status{code = 1, message = 2, details = 3}.
std::string StatusWith(const absl::Status& status, const std::string& detail) {
  std::string bytes;
  bytes.push_back(1 << 3);
  bytes.push_back(static_cast<char>(status.code()));
  AppendField(2, std::string(status.message()), &bytes);
  AppendField(3, detail, &bytes);
  return bytes;
}

}  // namespace

grpc::Status ToRpcStatus(const absl::Status& status) {
  const grpc::Status plain = common::ToGrpcStatus(status);
  std::string detail;
  if (const int seconds = RetryAfterSeconds(status); seconds > 0) {
    detail = RetryInfo(seconds);
  } else if (const std::string field = ErrorParam(status); !field.empty()) {
    detail = BadRequest(field, ErrorCode(status));
  } else {
    return plain;
  }
  return grpc::Status(plain.error_code(), plain.error_message(), StatusWith(status, detail));
}

}  // namespace quartet::gateway
