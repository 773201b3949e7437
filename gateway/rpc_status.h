// Status of the public gRPC face: common's conversion, with a google.rpc.RetryInfo where a retry
// makes sense and a google.rpc.BadRequest that names the field where one is at fault.
#pragma once

#include <grpcpp/support/status.h>

#include "absl/status/status.h"

namespace quartet::gateway {

grpc::Status ToRpcStatus(const absl::Status& status);

}  // namespace quartet::gateway
