// Stand-ins for tokenizer and worker group behind their plain interfaces, driven by hand on a
// manual loop.
#pragma once

#include <map>
#include <string>
#include <utility>
#include <vector>

#include "gateway/event_loop.h"
#include "gateway/testing/toy_vocabulary.h"
#include "gateway/tokenizer.h"
#include "gateway/worker_group.h"

namespace quartet::gateway::testing {

// Answers with the toy vocabulary, in a later task of the loop.
class FakeTokenizer : public Tokenizer {
 public:
  explicit FakeTokenizer(EventLoop* loop) : loop_(loop) {}

  // While set, every call fails with it.
  absl::Status failure;
  int num_decode_messages = 0;

  void Encode(std::string text, bool add_special_tokens, Done<TokenIds> done) override {
    Later(ToyEncode(text), std::move(done));
  }
  void EncodeAll(std::vector<std::string> texts, bool add_special_tokens,
                 Done<std::vector<TokenIds>> done) override {
    std::vector<TokenIds> all;
    for (const std::string& text : texts) all.push_back(ToyEncode(text));
    Later(std::move(all), std::move(done));
  }
  void Decode(TokenIds ids, bool skip_special_tokens, Done<std::string> done) override {
    Later(ToyDecode({"", ids, skip_special_tokens, true, {}}).text, std::move(done));
  }
  void ApplyChatTemplate(ChatPrompt chat, Done<RenderedChat> done) override {
    const std::string text = ToyTemplate(chat);
    Later(RenderedChat{text, ToyEncode(text)}, std::move(done));
  }
  void StreamDecode(const std::vector<DecodeItem>& items,
                    Done<std::vector<DecodeResult>> done) override {
    ++num_decode_messages;
    std::vector<DecodeResult> results;
    for (const DecodeItem& item : items) results.push_back(ToyDecode(item));
    Later(std::move(results), std::move(done));
  }

 private:
  template <class T>
  void Later(T value, Done<T> done) {
    loop_->Post([this, value = std::move(value), done = std::move(done)]() mutable {
      if (failure.ok()) {
        done(std::move(value));
      } else {
        done(failure);
      }
    });
  }

  EventLoop* const loop_;
};

// Remembers what it is asked; the test makes the news.
class FakeGroup : public WorkerGroup {
 public:
  explicit FakeGroup(std::string address, std::string numerics_id = "numerics-1")
      : address_(std::move(address)) {
    info_.numerics_id = std::move(numerics_id);
    info_.model_hash = "model-1";
    info_.model_name = "toy";
    info_.max_model_len = 1000;
    info_.vocab_size = kToyVocabSize;
  }

  std::vector<Submission> submissions;
  std::vector<uint64_t> cancelled;

  GroupLoad& mutable_load() { return load_; }
  GroupInfo& mutable_info() { return info_; }
  bool is_healthy = true;
  bool is_draining = false;

  const std::string& address() const override { return address_; }
  const GroupInfo& info() const override { return info_; }
  const GroupLoad& load() const override { return load_; }
  bool healthy() const override { return is_healthy; }
  bool draining() const override { return is_draining; }
  void Submit(const Submission& submission) override { submissions.push_back(submission); }
  void Cancel(uint64_t sequence_id) override { cancelled.push_back(sequence_id); }
  void Drain(absl::AnyInvocable<void(absl::Status)> done) override {
    is_draining = true;
    done(absl::OkStatus());
  }

 private:
  const std::string address_;
  GroupInfo info_;
  GroupLoad load_;
};

// Keeps all events.
class RecordingSink : public GenerationSink {
 public:
  std::vector<GenerationEvent> events;

  void OnEvent(GenerationEvent event) override { events.push_back(std::move(event)); }

  template <class T>
  std::vector<T> All() const {
    std::vector<T> found;
    for (const GenerationEvent& event : events) {
      if (const auto* one = std::get_if<T>(&event)) found.push_back(*one);
    }
    return found;
  }
  // All text of one answer.
  std::string Text(uint32_t index = 0) const {
    std::string text;
    for (const DeltaEvent& delta : All<DeltaEvent>()) {
      if (delta.index == index) text += delta.text;
    }
    return text;
  }
  TokenIds Ids(uint32_t index = 0) const {
    TokenIds ids;
    for (const DeltaEvent& delta : All<DeltaEvent>()) {
      for (const OutputToken& token : delta.tokens) {
        if (delta.index == index) ids.push_back(token.id);
      }
    }
    return ids;
  }
};

}  // namespace quartet::gateway::testing
