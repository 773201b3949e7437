#include "cli/sse_reader.h"

#include <gtest/gtest.h>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"

namespace quartet::cli {
namespace {

std::string Chunk(const std::string& data) {
  return absl::StrFormat("%x\r\n%s\r\n", data.size(), data);
}

const std::string& Response() {
  static const std::string& text = *new std::string(absl::StrCat(
      "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nContent-Type: text/event-stream\r\n\r\n",
      Chunk("data: {\"choices\":[{\"text\":\"a\",\"finish_reason\":null}]}\n\n"),
      Chunk(": keep-alive\n\n"),
      // Two events in one chunk, and one event in two.
      Chunk("data: {\"choices\":[{\"text\":\"b\"}]}\n\ndata: {\"choices\":[{\"text\":\"c\"}]}\n\n"),
      Chunk("data: {\"choices\":[{\"te"), Chunk("xt\":\"d\"}]}\n"), Chunk("\n"),
      Chunk("data: {\"choices\":[{\"text\":\"\",\"finish_reason\":\"stop\"}]}\n\n"),
      Chunk("data: {\"choices\":[],\"usage\":{\"prompt_tokens\":7,\"completion_tokens\":4,"
            "\"prompt_tokens_details\":{\"cached_tokens\":3}}}\n\n"),
      Chunk("data: [DONE]\n\n"), "0\r\n\r\n"));
  return text;
}

void ExpectAll(const SseReader& reader) {
  EXPECT_TRUE(reader.is_complete());
  EXPECT_TRUE(reader.is_done());
  EXPECT_EQ(reader.num_text_events(), 4);
  EXPECT_EQ(reader.prompt_tokens(), 7);
  EXPECT_EQ(reader.completion_tokens(), 4);
  EXPECT_EQ(reader.cached_tokens(), 3);
}

TEST(SseReaderTest, ReadsAWholeResponseAtOnce) {
  SseReader reader;
  ASSERT_TRUE(reader.Add(Response()).ok());
  ExpectAll(reader);
}

TEST(SseReaderTest, BytesMayBeSplitAnywhere) {
  for (const size_t size : {1u, 2u, 3u, 7u, 50u}) {
    SseReader reader;
    for (size_t at = 0; at < Response().size(); at += size) {
      ASSERT_TRUE(reader.Add(absl::string_view(Response()).substr(at, size)).ok()) << size;
    }
    ExpectAll(reader);
  }
}

TEST(SseReaderTest, ACutStreamIsNotDone) {
  SseReader reader;
  ASSERT_TRUE(reader.Add(Response().substr(0, Response().size() / 2)).ok());
  EXPECT_FALSE(reader.is_complete());
  EXPECT_FALSE(reader.is_done());
}

TEST(SseReaderTest, RefusalsAreReported) {
  SseReader reader;
  const absl::Status status = reader.Add(
      "HTTP/1.1 429 Too Many Requests\r\nContent-Length: 22\r\n\r\n{\"error\":\"queue full\"}");
  EXPECT_EQ(status.code(), absl::StatusCode::kUnavailable);
  EXPECT_EQ(status.message(), "the server answers with HTTP 429: {\"error\":\"queue full\"}");
}

TEST(SseReaderTest, ErrorEventsAreReported) {
  SseReader reader;
  const absl::Status status =
      reader.Add(absl::StrCat("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
                              Chunk("data: {\"error\":{\"message\":\"gone\"}}\n\n")));
  EXPECT_EQ(status.code(), absl::StatusCode::kUnavailable);
}

TEST(SseReaderTest, OtherThingsAreNoResponse) {
  SseReader reader;
  EXPECT_EQ(reader.Add("SSH-2.0-OpenSSH\r\n\r\n").code(), absl::StatusCode::kInternal);
  SseReader chunks;
  EXPECT_EQ(chunks.Add("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nxyz\r\n").code(),
            absl::StatusCode::kInternal);
}

}  // namespace
}  // namespace quartet::cli
