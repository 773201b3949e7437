#include "tokenizer_service/tokenizer_service.h"

#include <google/protobuf/io/coded_stream.h>
#include <google/protobuf/wire_format_lite.h>
#include <grpcpp/support/proto_buffer_reader.h>
#include <grpcpp/support/proto_buffer_writer.h>

#include <optional>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/grpc_status.h"
#include "tokenizer_service/utf8.h"

namespace quartet::tokenizer {
namespace {

// Texts of more bytes than this go to the pool; encoding it takes about a millisecond.
constexpr size_t kInlineBytes = 64 << 10;
// Bytes of tokens in one GetVocabulary message, by the contract.
constexpr size_t kVocabularyChunkBytes = 1 << 20;

// What one entry costs on the wire beside its bytes.
constexpr size_t kEntryBytes = 8;

absl::Status WithIndex(const absl::Status& status, absl::string_view list, int index) {
  return absl::Status(status.code(), absl::StrCat(list, "[", index, "]: ", status.message()));
}

absl::Status EncodeTexts(const Tokenizer& tokenizer, const v1::EncodeRequest& request,
                         v1::EncodeResponse* response) {
  const bool add_special = !request.has_add_special_tokens() || request.add_special_tokens();
  for (int i = 0; i < request.texts_size(); ++i) {
    const absl::StatusOr<std::vector<uint32_t>> ids =
        tokenizer.Encode(request.texts(i), add_special);
    if (!ids.ok()) return WithIndex(ids.status(), "texts", i);
    response->add_encodings()->mutable_ids()->Assign(ids->begin(), ids->end());
  }
  return absl::OkStatus();
}

// Why `request` does not parse: which text is not UTF-8, if that is it.
absl::Status ExplainParseFailure(const grpc::ByteBuffer& request) {
  grpc::ByteBuffer copy = request;
  grpc::ProtoBufferReader reader(&copy);
  google::protobuf::io::CodedInputStream input(&reader);
  using google::protobuf::internal::WireFormatLite;
  int index = 0;
  while (const uint32_t tag = input.ReadTag()) {
    const bool is_text = tag == WireFormatLite::MakeTag(v1::EncodeRequest::kTextsFieldNumber,
                                                        WireFormatLite::WIRETYPE_LENGTH_DELIMITED);
    std::string text;
    if (!is_text && WireFormatLite::SkipField(&input, tag)) continue;
    if (!is_text || !WireFormatLite::ReadBytes(&input, &text)) break;
    const size_t invalid = FindInvalidUtf8(text);
    if (invalid != absl::string_view::npos) {
      return absl::InvalidArgumentError(
          absl::StrCat("texts[", index, "]: the text is not UTF-8 at byte offset ", invalid));
    }
    ++index;
  }
  return absl::InvalidArgumentError("the request is no EncodeRequest");
}

absl::Status EncodeBuffer(const Tokenizer& tokenizer, const grpc::ByteBuffer& request,
                          grpc::ByteBuffer* response) {
  v1::EncodeRequest parsed;
  grpc::ByteBuffer copy = request;  // shares the bytes; reading moves through it
  grpc::ProtoBufferReader reader(&copy);
  if (!reader.status().ok() || !parsed.ParseFromZeroCopyStream(&reader)) {
    return ExplainParseFailure(request);
  }
  v1::EncodeResponse answer;
  const absl::Status status = EncodeTexts(tokenizer, parsed, &answer);
  if (!status.ok()) return status;
  bool own_buffer = false;
  const grpc::Status written = grpc::GenericSerialize<grpc::ProtoBufferWriter, v1::EncodeResponse>(
      answer, response, &own_buffer);
  return common::FromGrpcStatus(written);
}

Conversation ToConversation(const quartet::v1::ChatPrompt& chat) {
  Conversation conversation;
  for (const quartet::v1::ChatMessage& message : chat.messages()) {
    ChatTurn turn{message.role(), message.content(), {}, message.tool_call_id(), message.name()};
    for (const quartet::v1::ToolCall& call : message.tool_calls()) {
      turn.tool_calls.push_back({call.name(), call.arguments_json(), call.id()});
    }
    conversation.turns.push_back(std::move(turn));
  }
  conversation.tools_json.assign(chat.tools_json().begin(), chat.tools_json().end());
  conversation.continue_final_message = chat.continue_final_message();
  conversation.add_generation_prompt = chat.has_add_generation_prompt()
                                           ? chat.add_generation_prompt()
                                           : !conversation.continue_final_message;
  conversation.template_kwargs_json = chat.template_kwargs_json();
  conversation.documents_json.assign(chat.documents_json().begin(), chat.documents_json().end());
  conversation.chat_template = chat.chat_template();
  return conversation;
}

absl::Status RenderChat(const Tokenizer& tokenizer, const v1::ApplyChatTemplateRequest& request,
                        v1::ApplyChatTemplateResponse* response) {
  absl::StatusOr<std::string> text = tokenizer.ApplyChatTemplate(ToConversation(request.chat()));
  if (!text.ok()) return text.status();
  // The template writes the special tokens itself.
  const absl::StatusOr<std::vector<uint32_t>> ids = tokenizer.Encode(*text, false);
  if (!ids.ok()) return ids.status();
  response->set_text(*std::move(text));
  response->mutable_ids()->Assign(ids->begin(), ids->end());
  return absl::OkStatus();
}

void FillInfo(const Tokenizer& tokenizer, v1::GetInfoResponse* response) {
  const Vocabulary& vocabulary = tokenizer.vocabulary();
  response->set_vocab_size(tokenizer.vocab_size());
  response->set_hash(tokenizer.hash());
  response->mutable_eos_token_ids()->Assign(vocabulary.eos_ids.begin(), vocabulary.eos_ids.end());
  if (vocabulary.bos_id.has_value()) response->set_bos_token_id(*vocabulary.bos_id);
  if (vocabulary.pad_id.has_value()) response->set_pad_token_id(*vocabulary.pad_id);
  for (uint32_t id = 0; id < vocabulary.tokens.size(); ++id) {
    if (vocabulary.tokens[id].special) response->add_special_token_ids(id);
  }
  response->set_has_chat_template(tokenizer.chat_template_status().ok());
  response->set_source(vocabulary.source);
  response->set_max_token_bytes(tokenizer.max_token_bytes());
  if (const std::optional<FillInMiddleIds> ids = FindFillInMiddle(vocabulary); ids.has_value()) {
    v1::FillInMiddle* const marks = response->mutable_fill_in_middle();
    marks->set_prefix_id(ids->prefix);
    marks->set_suffix_id(ids->suffix);
    marks->set_middle_id(ids->middle);
  }
}

absl::Status DecodeItem(const Tokenizer& tokenizer, const v1::StreamDecodeItem& item,
                        v1::StreamDecodeResult* result) {
  const DecodeOptions options{item.skip_special_tokens(), item.finish()};
  absl::StatusOr<DecodedPiece> piece = tokenizer.DecodeNext(
      item.pending(), {item.ids().data(), static_cast<size_t>(item.ids_size())}, options);
  if (!piece.ok()) return piece.status();
  for (const uint32_t id : item.piece_ids()) {
    const absl::StatusOr<absl::string_view> bytes = tokenizer.TokenBytes(id);
    if (!bytes.ok()) return bytes.status();
    result->add_pieces(bytes->data(), bytes->size());
  }
  result->set_text(std::move(piece->text));
  result->set_pending(std::move(piece->pending));
  result->mutable_text_end()->Assign(piece->text_end.begin(), piece->text_end.end());
  return absl::OkStatus();
}

// Reads a step, answers it, and only then reads the next: never two writes at once.
class StreamDecodeReactor final
    : public grpc::ServerBidiReactor<v1::StreamDecodeRequest, v1::StreamDecodeResponse> {
 public:
  explicit StreamDecodeReactor(const Tokenizer* tokenizer) : tokenizer_(tokenizer) {
    StartRead(&request_);
  }

  void OnReadDone(bool ok) override {
    if (!ok) {
      Finish(grpc::Status::OK);
      return;
    }
    response_.Clear();
    for (const v1::StreamDecodeItem& item : request_.items()) {
      v1::StreamDecodeResult* const result = response_.add_results();
      const absl::Status status = DecodeItem(*tokenizer_, item, result);
      if (status.ok()) continue;
      result->Clear();
      result->set_error(std::string(status.message()));
    }
    StartWrite(&response_);
  }

  void OnWriteDone(bool ok) override {
    if (!ok) {
      Finish(grpc::Status::OK);
      return;
    }
    StartRead(&request_);
  }

  void OnDone() override { delete this; }

 private:
  const Tokenizer* const tokenizer_;
  v1::StreamDecodeRequest request_;
  v1::StreamDecodeResponse response_;
};

// Writes the next chunk when the last one is out.
class VocabularyReactor final : public grpc::ServerWriteReactor<v1::GetVocabularyResponse> {
 public:
  explicit VocabularyReactor(const Tokenizer* tokenizer) : tokenizer_(tokenizer) { WriteNext(); }

  void OnWriteDone(bool ok) override {
    if (!ok) {
      Finish(grpc::Status::OK);
      return;
    }
    WriteNext();
  }

  void OnDone() override { delete this; }

 private:
  void WriteNext() {
    const std::vector<Token>& tokens = tokenizer_->vocabulary().tokens;
    if (next_id_ == tokens.size()) {
      Finish(grpc::Status::OK);
      return;
    }
    response_.Clear();
    response_.set_first_id(next_id_);
    response_.set_hash(tokenizer_->hash());
    size_t size = response_.hash().size() + kEntryBytes;
    do {
      response_.add_tokens(tokens[next_id_].bytes);
      response_.add_special(tokens[next_id_].special);
      size += tokens[next_id_].bytes.size() + kEntryBytes;
      ++next_id_;
    } while (next_id_ < tokens.size() &&
             size + tokens[next_id_].bytes.size() + kEntryBytes <= kVocabularyChunkBytes);
    StartWrite(&response_);
  }

  const Tokenizer* const tokenizer_;
  v1::GetVocabularyResponse response_;
  uint32_t next_id_ = 0;
};

// Answers with `work`'s status, at once if it is short, else from the pool.
template <typename Work>
grpc::ServerUnaryReactor* Answer(grpc::CallbackServerContext* context, WorkPool* pool,
                                 size_t num_bytes, Work work) {
  grpc::ServerUnaryReactor* const reactor = context->DefaultReactor();
  if (num_bytes <= kInlineBytes) {
    reactor->Finish(common::ToGrpcStatus(work()));
    return reactor;
  }
  const bool queued = pool->TryRun([context, reactor, work] {
    const bool wanted = !context->IsCancelled();
    reactor->Finish(
        common::ToGrpcStatus(wanted ? work() : absl::CancelledError("the caller no longer waits")));
  });
  if (!queued) {
    reactor->Finish(common::ToGrpcStatus(absl::ResourceExhaustedError(
        "too many long texts are waiting to be encoded; try again later")));
  }
  return reactor;
}

}  // namespace

grpc::ServerUnaryReactor* TokenizerService::GetInfo(grpc::CallbackServerContext* context,
                                                    const v1::GetInfoRequest*,
                                                    v1::GetInfoResponse* response) {
  FillInfo(*tokenizer_, response);
  grpc::ServerUnaryReactor* const reactor = context->DefaultReactor();
  reactor->Finish(grpc::Status::OK);
  return reactor;
}

grpc::ServerUnaryReactor* TokenizerService::Encode(grpc::CallbackServerContext* context,
                                                   const grpc::ByteBuffer* request,
                                                   grpc::ByteBuffer* response) {
  return Answer(context, pool_, request->Length(), [this, request, response] {
    return EncodeBuffer(*tokenizer_, *request, response);
  });
}

grpc::ServerUnaryReactor* TokenizerService::Decode(grpc::CallbackServerContext* context,
                                                   const v1::DecodeRequest* request,
                                                   v1::DecodeResponse* response) {
  return Answer(context, pool_, request->ByteSizeLong(), [this, request, response] {
    const absl::Span<const uint32_t> ids(request->ids().data(),
                                         static_cast<size_t>(request->ids_size()));
    absl::StatusOr<std::string> text = tokenizer_->Decode(ids, request->skip_special_tokens());
    if (text.ok()) response->set_text(*std::move(text));
    return text.status();
  });
}

grpc::ServerUnaryReactor* TokenizerService::ApplyChatTemplate(
    grpc::CallbackServerContext* context, const v1::ApplyChatTemplateRequest* request,
    v1::ApplyChatTemplateResponse* response) {
  // What a template of a client's takes is known only afterwards.
  const bool is_long = !request->chat().chat_template().empty();
  return Answer(context, pool_, is_long ? kInlineBytes + 1 : request->ByteSizeLong(),
                [this, request, response] { return RenderChat(*tokenizer_, *request, response); });
}

grpc::ServerBidiReactor<v1::StreamDecodeRequest, v1::StreamDecodeResponse>*
TokenizerService::StreamDecode(grpc::CallbackServerContext*) {
  return new StreamDecodeReactor(tokenizer_);
}

grpc::ServerWriteReactor<v1::GetVocabularyResponse>* TokenizerService::GetVocabulary(
    grpc::CallbackServerContext*, const v1::GetVocabularyRequest*) {
  return new VocabularyReactor(tokenizer_);
}

}  // namespace quartet::tokenizer
