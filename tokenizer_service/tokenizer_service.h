// The gRPC face of the tokenizer: proto/quartet/tokenizer/v1/tokenizer.proto over an in-process
// Tokenizer.
#pragma once

#include <grpcpp/grpcpp.h>

#include "quartet/tokenizer/v1/tokenizer.grpc.pb.h"
#include "tokenizer_service/tokenizer.h"
#include "tokenizer_service/work_pool.h"

namespace quartet::tokenizer {

// Thread-safe. Short calls are answered on gRPC's thread; long texts go to `pool`, so that they
// don't hold up the detokenising of running streams.
class TokenizerService final
    : public v1::Tokenizer::WithRawCallbackMethod_Encode<v1::Tokenizer::CallbackService> {
 public:
  // Neither is owned; both must outlive the server that runs this.
  TokenizerService(const Tokenizer* tokenizer, WorkPool* pool)
      : tokenizer_(tokenizer), pool_(pool) {}

  grpc::ServerUnaryReactor* GetInfo(grpc::CallbackServerContext* context,
                                    const v1::GetInfoRequest* request,
                                    v1::GetInfoResponse* response) override;
  // Takes an EncodeRequest as bytes, because gRPC answers text that is not UTF-8 with UNIMPLEMENTED
  // and no word why.
  grpc::ServerUnaryReactor* Encode(grpc::CallbackServerContext* context,
                                   const grpc::ByteBuffer* request,
                                   grpc::ByteBuffer* response) override;
  grpc::ServerUnaryReactor* Decode(grpc::CallbackServerContext* context,
                                   const v1::DecodeRequest* request,
                                   v1::DecodeResponse* response) override;
  grpc::ServerUnaryReactor* ApplyChatTemplate(grpc::CallbackServerContext* context,
                                              const v1::ApplyChatTemplateRequest* request,
                                              v1::ApplyChatTemplateResponse* response) override;
  grpc::ServerBidiReactor<v1::StreamDecodeRequest, v1::StreamDecodeResponse>* StreamDecode(
      grpc::CallbackServerContext* context) override;
  grpc::ServerWriteReactor<v1::GetVocabularyResponse>* GetVocabulary(
      grpc::CallbackServerContext* context, const v1::GetVocabularyRequest* request) override;

 private:
  const Tokenizer* const tokenizer_;
  WorkPool* const pool_;
};

}  // namespace quartet::tokenizer
