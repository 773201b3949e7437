// Status of the public gRPC face: common's conversion, with a RetryInfo where a retry makes sense.
#pragma once

#include <grpcpp/support/status.h>

#include "absl/status/status.h"

namespace quartet::gateway {

grpc::Status ToRpcStatus(const absl::Status& status);

}  // namespace quartet::gateway
