// The gRPC face of generation: quartet.v1.Inference.
#pragma once

#include "gateway/gateway.h"
#include "quartet/v1/inference.grpc.pb.h"

namespace quartet::gateway {

// Thread-safe. `gateway` outlives it.
class InferenceService : public v1::Inference::CallbackService {
 public:
  explicit InferenceService(Gateway* gateway) : gateway_(gateway) {}

  grpc::ServerWriteReactor<v1::GenerateEvent>* Generate(
      grpc::CallbackServerContext* context, const v1::GenerateRequest* request) override;

 private:
  Gateway* const gateway_;
};

}  // namespace quartet::gateway
