#include "gateway/http/delta_event_writer.h"

#include <gtest/gtest.h>

#include <nlohmann/json.hpp>
#include <random>

#include "common/json_escape.h"
#include "gateway/http/sse.h"

namespace quartet::gateway::http {
namespace {

ResponseShape Shape(bool chat, bool include_usage, bool logprobs = false) {
  ResponseShape shape;
  shape.chat = chat;
  shape.include_usage = include_usage;
  shape.logprobs = logprobs;
  shape.id = "cmpl-1";
  shape.created = 1234567890;
  shape.model = "a \"model\"/\xe6\xa8\xa1\xe5\x9e\x8b";
  return shape;
}

DeltaEvent Delta(uint32_t index, std::string text) {
  DeltaEvent delta;
  delta.index = index;
  delta.text = std::move(text);
  delta.tokens.resize(1);
  return delta;
}

TEST(DeltaEventWriterTest, WritesWhatTheJsonLibraryWrites) {
  std::string all;
  for (int c = 1; c < 128; ++c) all.push_back(static_cast<char>(c));
  const std::string texts[] = {"",
                               "x",
                               " the",
                               "\"\\/",
                               "\xe4\xb8\xad",
                               "\xf0\x9f\x99\x82\n",
                               all,
                               std::string(1, '\0'),
                               "\xff broken \xc3"};
  for (const bool chat : {false, true}) {
    for (const bool include_usage : {false, true}) {
      for (const bool logprobs : {false, true}) {
        const ResponseShape shape = Shape(chat, include_usage, logprobs);
        const DeltaEventWriter writer(shape);
        for (const std::string& text : texts) {
          for (const uint32_t index : {0u, 7u, 127u}) {
            const DeltaEvent delta = Delta(index, text);
            std::string out = "before ";
            writer.Append(delta, &out);
            EXPECT_EQ(out, "before " + SseEvent(DeltaChunk(shape, delta)));
          }
        }
      }
    }
  }
}

TEST(DeltaEventWriterTest, WritesExtrasAsTheJsonLibraryDoes) {
  ResponseShape shape = Shape(true, false);
  const DeltaEvent delta = Delta(1, "x");
  const UsageEvent usage{1, 2, 0};
  for (const bool token_ids : {false, true}) {
    shape.token_ids = token_ids;
    for (const ChunkExtras& extras : {ChunkExtras{}, ChunkExtras{&usage, nullptr}}) {
      std::string out;
      DeltaEventWriter(shape).Append(delta, &out, extras);
      EXPECT_EQ(out, SseEvent(DeltaChunk(shape, delta, extras)));
    }
  }
}

TEST(DeltaEventWriterTest, EscapesRandomTextAsTheJsonLibraryDoes) {
  const unsigned seed = std::random_device()();
  SCOPED_TRACE(seed);
  std::mt19937 random(seed);
  for (int i = 0; i < 2000; ++i) {
    std::string text;
    for (uint32_t n = random() % 20; n > 0; --n) {
      // Half of it where the escapes are.
      text.push_back(static_cast<char>(random() % (random() % 2 == 0 ? 0x30 : 0x80)));
    }
    std::string out = "\"";
    common::AppendJsonEscaped(text, &out);
    EXPECT_EQ(out + "\"", nlohmann::json(text).dump());
  }
}

}  // namespace
}  // namespace quartet::gateway::http
