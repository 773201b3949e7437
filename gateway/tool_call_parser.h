// Finds the tool calls in an answer's text while it comes, in the form that Qwen2.5 was trained on:
//   <tool_call>
//   {"name": "f", "arguments": {...}}
//   </tool_call>
// Knows nothing of tools or of JSON Schema: which calls a model may make is the engine's affair.
#pragma once

#include <cstdint>
#include <limits>
#include <string>
#include <vector>

#include "absl/strings/string_view.h"

namespace quartet::gateway {

inline constexpr absl::string_view kToolCallBegin = "<tool_call>";
inline constexpr absl::string_view kToolCallEnd = "</tool_call>";

// A piece of what an answer's text says.
struct ToolCallPart {
  enum class Kind {
    kContent,    // Text outside calls.
    kCall,       // A call begins; `text` is the function's name.
    kArguments,  // More of the last call's arguments: the model's own bytes.
  };
  Kind kind = Kind::kContent;
  uint32_t call = 0;  // Which call, from 0; not for kContent.
  std::string text;
};

// One answer's parser; not thread-safe. The parts don't depend on how the text is cut into deltas,
// apart from where a content or a run of arguments is cut itself.
//
// White space around calls is dropped. Arguments are passed on as they come, so a call that breaks
// off keeps what it has; text that turns out to be no call (no name, no object of arguments, not
// JSON) comes out as content, tag and all. Without calls, content is the text unchanged.
class ToolCallParser {
 public:
  struct Options {
    // What follows the last of so many calls is dropped.
    uint32_t max_calls = std::numeric_limits<uint32_t>::max();
    // The engine lets the model write calls and nothing else, so what is none is a call that broke
    // off: it is dropped.
    bool only_calls = false;
  };

  ToolCallParser() : ToolCallParser(Options()) {}
  explicit ToolCallParser(const Options& options) : options_(options) {}

  // Takes the next text of the answer and returns what is certain by now.
  std::vector<ToolCallPart> Feed(absl::string_view text);
  // The answer is complete: returns what was held back.
  std::vector<ToolCallPart> Finish();
  uint32_t num_calls() const { return num_calls_; }

 private:
  enum class State {
    kText,       // Outside calls.
    kHead,       // Behind <tool_call>, up to the arguments' brace.
    kWhole,      // A call whose fields come in another order: read when all of it is there.
    kArguments,  // Inside the arguments.
    kTail,       // Behind the arguments, up to </tool_call>.
    kDone,       // Behind the last call that may be made.
  };

  void Advance();
  absl::string_view rest() const { return absl::string_view(pending_).substr(consumed_); }
  void Consume(size_t n) { consumed_ += n; }
  // Work on rest(); each returns whether the state has changed, so that there may be more to do.
  bool StepText();
  bool StepHead();
  bool StepWhole();
  bool StepArguments();
  bool StepTail();
  void EmitContent(absl::string_view text);
  void BeginCall(absl::string_view name);
  void EndCall();
  // What looked like a call is text.
  void NoCall();
  void Emit(ToolCallPart::Kind kind, absl::string_view text);

  Options options_;
  State state_ = State::kText;
  std::string pending_;      // Not yet understood.
  size_t consumed_ = 0;      // Of pending_, while it is worked on.
  size_t searched_ = 0;      // kWhole: no tag's name begins in rest() before this.
  std::string held_space_;   // White space that a call might follow.
  bool after_call_ = false;  // No content since the last call.
  uint32_t num_calls_ = 0;
  size_t depth_ = 0;  // Of brackets in the arguments.
  bool in_string_ = false;
  bool escaped_ = false;
  std::vector<ToolCallPart> parts_;
};

}  // namespace quartet::gateway
