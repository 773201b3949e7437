#include "tokenizer_service/tokenizer_service.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "absl/strings/str_cat.h"
#include "common/server_runner.h"
#include "tokenizer_service/testing/small_vocabulary.h"

namespace quartet::tokenizer {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

class TokenizerServiceTest : public testing::Test {
 protected:
  void SetUp() override { Start(SmallVocabulary()); }

  // Ends the server that runs.
  void Start(Vocabulary vocabulary) {
    server_.reset();
    TokenizerOptions options;
    options.max_text_bytes = 200'000;
    tokenizer_ = Tokenizer::Create(std::move(vocabulary), options);
    service_ = std::make_unique<TokenizerService>(tokenizer_.get(), &pool_);
    common::ServerOptions server_options;
    server_options.address = "127.0.0.1:0";
    auto server = common::ServerRunner::Start(server_options, {service_.get()});
    ASSERT_TRUE(server.ok()) << server.status();
    server_ = *std::move(server);
    stub_ = v1::Tokenizer::NewStub(grpc::CreateChannel(absl::StrCat("127.0.0.1:", server_->port()),
                                                       grpc::InsecureChannelCredentials()));
  }

  grpc::Status Encode(const v1::EncodeRequest& request, v1::EncodeResponse* response) {
    grpc::ClientContext context;
    return stub_->Encode(&context, request, response);
  }

  WorkPool pool_{2, 8};
  std::unique_ptr<Tokenizer> tokenizer_;
  std::unique_ptr<TokenizerService> service_;
  std::unique_ptr<common::ServerRunner> server_;
  std::unique_ptr<v1::Tokenizer::Stub> stub_;
};

TEST_F(TokenizerServiceTest, SaysWhatItIs) {
  grpc::ClientContext context;
  v1::GetInfoResponse info;
  ASSERT_TRUE(stub_->GetInfo(&context, {}, &info).ok());
  EXPECT_EQ(info.vocab_size(), 264u);
  EXPECT_EQ(info.hash(), tokenizer_->hash());
  EXPECT_THAT(info.eos_token_ids(), ElementsAre(kImEnd));
  EXPECT_THAT(info.special_token_ids(), ElementsAre(kImStart, kImEnd));
  EXPECT_FALSE(info.has_bos_token_id());
  EXPECT_FALSE(info.has_chat_template());
  EXPECT_EQ(info.max_token_bytes(), 12u);
}

TEST_F(TokenizerServiceTest, EncodesShortAndLongTexts) {
  v1::EncodeRequest request;
  request.add_texts("hello hello");
  request.add_texts("");
  request.add_texts(std::string(150'000, '.'));  // goes to the pool
  v1::EncodeResponse response;
  ASSERT_TRUE(Encode(request, &response).ok());
  EXPECT_THAT(response.encodings(0).ids(), ElementsAre(kHello, kSpaceHello));
  EXPECT_EQ(response.encodings(1).ids_size(), 0);
  EXPECT_EQ(response.encodings(2).ids_size(), 150'000);
}

TEST_F(TokenizerServiceTest, TextsThatAreTooLongAreNamed) {
  v1::EncodeRequest request;
  request.add_texts("a");
  request.add_texts(std::string(200'001, 'a'));
  v1::EncodeResponse response;
  const grpc::Status status = Encode(request, &response);
  EXPECT_EQ(status.error_code(), grpc::StatusCode::RESOURCE_EXHAUSTED);
  EXPECT_THAT(status.error_message(),
              HasSubstr("texts[1]: the text has 200001 bytes; at most 200000"));
}

TEST_F(TokenizerServiceTest, TextsThatAreNotUtf8AreNamed) {
  v1::EncodeRequest request;
  request.add_texts("a");
  request.add_texts("abc\xff");  // The client library only complains on stderr.
  v1::EncodeResponse response;
  const grpc::Status status = Encode(request, &response);
  EXPECT_EQ(status.error_code(), grpc::StatusCode::INVALID_ARGUMENT);
  EXPECT_EQ(status.error_message(), "texts[1]: the text is not UTF-8 at byte offset 3");
}

TEST_F(TokenizerServiceTest, DecodeNamesUnknownIds) {
  v1::DecodeRequest request;
  request.add_ids(kHello);
  request.add_ids(kImEnd);
  v1::DecodeResponse response;
  {
    grpc::ClientContext context;
    ASSERT_TRUE(stub_->Decode(&context, request, &response).ok());
    EXPECT_EQ(response.text(), "hello<|im_end|>");
  }
  request.add_ids(5000);
  grpc::ClientContext context;
  const grpc::Status status = stub_->Decode(&context, request, &response);
  EXPECT_EQ(status.error_code(), grpc::StatusCode::INVALID_ARGUMENT);
  EXPECT_THAT(status.error_message(), HasSubstr("5000"));
}

TEST_F(TokenizerServiceTest, TheRequestsTemplateAndItsVariablesMakeThePrompt) {
  v1::ApplyChatTemplateRequest request;
  quartet::v1::ChatPrompt* const chat = request.mutable_chat();
  quartet::v1::ChatMessage* const message = chat->add_messages();
  message->set_role("tool");
  message->set_content("hello");
  message->set_tool_call_id("c1");
  message->set_name("f");
  chat->set_chat_template(
      "<|im_start|>{{ messages[0].name }}{{ messages[0].tool_call_id }}{{ x }}"
      "{{ documents[0].title }}{{ add_generation_prompt }}<|im_end|>{{ messages[0].content }}!");
  chat->set_template_kwargs_json(R"({"x": 5})");
  chat->add_documents_json(R"({"title": "T"})");
  v1::ApplyChatTemplateResponse response;
  {
    grpc::ClientContext context;
    ASSERT_TRUE(stub_->ApplyChatTemplate(&context, request, &response).ok());
  }
  EXPECT_EQ(response.text(), "<|im_start|>fc15TTrue<|im_end|>hello!");
  // Special tokens of the prompt are ids of their own.
  EXPECT_EQ(response.ids(0), kImStart);
  EXPECT_EQ(response.ids(response.ids_size() - 2), kHello);
  chat->set_continue_final_message(true);
  grpc::ClientContext context;
  ASSERT_TRUE(stub_->ApplyChatTemplate(&context, request, &response).ok());
  EXPECT_EQ(response.text(), "<|im_start|>fc15TFalse<|im_end|>hello");
}

TEST_F(TokenizerServiceTest, BadChatsNameTheField) {
  v1::ApplyChatTemplateRequest request;
  request.mutable_chat()->add_messages()->set_role("user");
  request.mutable_chat()->set_chat_template("{% if");
  v1::ApplyChatTemplateResponse response;
  {
    grpc::ClientContext context;
    const grpc::Status status = stub_->ApplyChatTemplate(&context, request, &response);
    EXPECT_EQ(status.error_code(), grpc::StatusCode::INVALID_ARGUMENT);
    EXPECT_THAT(status.error_message(), HasSubstr("chat_template: line 1"));
  }
  request.mutable_chat()->set_chat_template("x");
  request.mutable_chat()->set_template_kwargs_json("[]");
  grpc::ClientContext context;
  const grpc::Status status = stub_->ApplyChatTemplate(&context, request, &response);
  EXPECT_EQ(status.error_code(), grpc::StatusCode::INVALID_ARGUMENT);
  EXPECT_THAT(status.error_message(), HasSubstr("template_kwargs_json: is no JSON object"));
}

TEST_F(TokenizerServiceTest, TellsTheMarksOfTheMiddleIfAllThreeAreThere) {
  for (const bool all : {false, true}) {
    Vocabulary vocabulary = SmallVocabulary();
    for (const char* mark : {"<|fim_prefix|>", "<|fim_suffix|>", "<|fim_middle|>"}) {
      if (!all && std::string(mark) == "<|fim_suffix|>") continue;
      AddedToken added;
      added.id = static_cast<uint32_t>(vocabulary.tokens.size());
      added.content = mark;
      ASSERT_TRUE(AddAddedToken(added, &vocabulary).ok());
    }
    Start(vocabulary);
    grpc::ClientContext context;
    v1::GetInfoResponse info;
    ASSERT_TRUE(stub_->GetInfo(&context, {}, &info).ok());
    EXPECT_EQ(info.has_fill_in_middle(), all);
    if (!all) continue;
    EXPECT_EQ(info.fill_in_middle().prefix_id(), kToolCall + 1);
    EXPECT_EQ(info.fill_in_middle().suffix_id(), kToolCall + 2);
    EXPECT_EQ(info.fill_in_middle().middle_id(), kToolCall + 3);
  }
}

TEST_F(TokenizerServiceTest, AModelWithoutATemplateRefusesChats) {
  v1::ApplyChatTemplateRequest request;
  request.mutable_chat()->add_messages()->set_role("user");
  v1::ApplyChatTemplateResponse response;
  grpc::ClientContext context;
  const grpc::Status status = stub_->ApplyChatTemplate(&context, request, &response);
  EXPECT_EQ(status.error_code(), grpc::StatusCode::FAILED_PRECONDITION);
}

TEST_F(TokenizerServiceTest, StreamsOfManySequencesAreKeptApart) {
  grpc::ClientContext context;
  const auto stream = stub_->StreamDecode(&context);
  v1::StreamDecodeRequest request;
  v1::StreamDecodeItem* const first = request.add_items();
  first->add_ids(kHello);
  first->add_ids(0xC3);
  first->add_piece_ids(0xC3);
  first->add_piece_ids(kImEnd);
  request.add_items()->add_ids(70'000);
  v1::StreamDecodeItem* const third = request.add_items();
  third->set_pending("\xC3");
  third->set_finish(true);
  ASSERT_TRUE(stream->Write(request));
  v1::StreamDecodeResponse response;
  ASSERT_TRUE(stream->Read(&response));
  ASSERT_EQ(response.results_size(), 3);
  EXPECT_EQ(response.results(0).text(), "hello");
  EXPECT_EQ(response.results(0).pending(), "\xC3");
  EXPECT_THAT(response.results(0).pieces(), ElementsAre("\xC3", "<|im_end|>"));
  EXPECT_THAT(response.results(0).text_end(), ElementsAre(5, 5));
  EXPECT_THAT(response.results(1).error(), HasSubstr("70000"));
  EXPECT_EQ(response.results(2).text(), "\xEF\xBF\xBD");
  // Many messages without waiting for answers: one answer each, in order.
  for (int i = 0; i < 100; ++i) {
    v1::StreamDecodeRequest next;
    next.add_items()->add_ids('a' + i % 26);
    ASSERT_TRUE(stream->Write(next));
  }
  stream->WritesDone();
  for (int i = 0; i < 100; ++i) {
    ASSERT_TRUE(stream->Read(&response));
    EXPECT_EQ(response.results(0).text(), std::string(1, static_cast<char>('a' + i % 26)));
  }
  EXPECT_FALSE(stream->Read(&response));
  EXPECT_TRUE(stream->Finish().ok());
}

TEST_F(TokenizerServiceTest, GivesOutTheVocabulary) {
  grpc::ClientContext context;
  const auto reader = stub_->GetVocabulary(&context, {});
  v1::GetVocabularyResponse chunk;
  std::vector<std::string> tokens;
  std::vector<bool> special;
  while (reader->Read(&chunk)) {
    EXPECT_EQ(chunk.first_id(), tokens.size());
    EXPECT_EQ(chunk.hash(), tokenizer_->hash());
    EXPECT_LE(chunk.ByteSizeLong(), size_t{1} << 20);
    tokens.insert(tokens.end(), chunk.tokens().begin(), chunk.tokens().end());
    special.insert(special.end(), chunk.special().begin(), chunk.special().end());
  }
  EXPECT_TRUE(reader->Finish().ok());
  ASSERT_EQ(tokens.size(), 264u);
  EXPECT_EQ(tokens[kSpaceHello], " hello");
  EXPECT_EQ(tokens[0xff], "\xff");  // a byte, though no text
  EXPECT_EQ(tokens[kImStart], "<|im_start|>");
  ASSERT_EQ(special.size(), tokens.size());
  EXPECT_TRUE(special[kImStart]);
  EXPECT_FALSE(special[kToolCall]);
  EXPECT_FALSE(special[kHello]);
}

TEST(WorkPoolTest, RefusesWorkBeyondItsQueue) {
  std::mutex block;
  block.lock();
  {
    WorkPool pool(1, 2);
    int accepted = 0;
    for (int i = 0; i < 10; ++i) {
      accepted += pool.TryRun([&block] { const std::lock_guard<std::mutex> wait(block); }) ? 1 : 0;
    }
    EXPECT_GE(accepted, 2);
    EXPECT_LE(accepted, 3);  // one may have left the queue
    block.unlock();
  }
}

}  // namespace
}  // namespace quartet::tokenizer
