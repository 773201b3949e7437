#include "gateway/tool_call_parser.h"

#include <algorithm>
#include <optional>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/strip.h"

namespace quartet::gateway {
namespace {

constexpr absl::string_view kSpace = " \t\r\n";
// A head that is longer is none; it is looked at anew with every delta.
constexpr size_t kMaxHeadBytes = 1024;

void SkipSpace(absl::string_view* text) {
  text->remove_prefix(std::min(text->find_first_not_of(kSpace), text->size()));
}

// Length of the longest end of `text` that is a beginning of `tag`, but not all of it.
size_t PartialTag(absl::string_view text, absl::string_view tag) {
  for (size_t n = std::min(text.size(), tag.size() - 1); n > 0; --n) {
    if (absl::EndsWith(text, tag.substr(0, n))) return n;
  }
  return 0;
}

// A reader of JSON that only finds where values end. Each function takes what it names from the
// front of the text and returns false if something else is there, or not all of it.
class JsonFields {
 public:
  explicit JsonFields(absl::string_view text) : text_(text) {}

  bool Take(char c) {
    SkipSpace(&text_);
    return absl::ConsumePrefix(&text_, absl::string_view(&c, 1));
  }
  // A string without escapes, which is all that names need.
  bool TakePlainString(absl::string_view* value) {
    if (!Take('"')) return false;
    const size_t end = text_.find_first_of("\"\\\n");
    if (end == absl::string_view::npos || text_[end] != '"') return false;
    *value = text_.substr(0, end);
    text_.remove_prefix(end + 1);
    return true;
  }
  // Any value, as it stands.
  bool TakeValue(absl::string_view* value) {
    SkipSpace(&text_);
    size_t depth = 0;
    bool in_string = false;
    size_t i = 0;
    for (; i < text_.size(); ++i) {
      const char c = text_[i];
      if (in_string) {
        if (c == '\\') ++i;
        if (c == '"') in_string = false;
      } else if (c == '"') {
        in_string = true;
      } else if (c == '{' || c == '[') {
        ++depth;
      } else if (c == '}' || c == ']' || c == ',') {
        if (depth == 0) break;
        if (c != ',') --depth;
      }
    }
    if (i >= text_.size()) return false;
    *value = absl::StripTrailingAsciiWhitespace(text_.substr(0, i));
    text_.remove_prefix(i);
    return !value->empty();
  }
  absl::string_view rest() const { return text_; }

 private:
  absl::string_view text_;
};

struct WholeCall {
  absl::string_view name;
  absl::string_view arguments = "{}";
};

// {"name": ..., "arguments": {...}} with its fields in any order, and others beside them.
std::optional<WholeCall> ReadWhole(absl::string_view text) {
  JsonFields fields(text);
  WholeCall call;
  if (!fields.Take('{')) return std::nullopt;
  do {
    absl::string_view key;
    absl::string_view value;
    if (!fields.TakePlainString(&key) || !fields.Take(':')) return std::nullopt;
    if (key == "name") {
      if (!fields.TakePlainString(&call.name)) return std::nullopt;
    } else if (!fields.TakeValue(&value)) {
      return std::nullopt;
    } else if (key == "arguments" && value != "null") {
      call.arguments = value;
    }
  } while (fields.Take(','));
  const bool closed =
      fields.Take('}') && fields.rest().find_first_not_of(" \t\r\n}") == absl::string_view::npos;
  if (!closed || call.name.empty() || call.arguments.front() != '{') return std::nullopt;
  return call;
}

enum class Head { kIncomplete, kComplete, kOther };

// {"name": "f", "arguments": { as the model was taught to write it. `length` is up to the last
// brace, which belongs to the arguments.
Head ReadHead(absl::string_view text, absl::string_view* name, size_t* length) {
  absl::string_view rest = text;
  // kComplete: `token` was there.
  const auto take = [&rest](absl::string_view token) {
    SkipSpace(&rest);
    if (absl::ConsumePrefix(&rest, token)) return Head::kComplete;
    return absl::StartsWith(token, rest) ? Head::kIncomplete : Head::kOther;
  };
  for (const absl::string_view token : {"{", "\"name\"", ":", "\""}) {
    if (const Head head = take(token); head != Head::kComplete) return head;
  }
  const size_t end = rest.find_first_of("\"\\\n");
  if (end == absl::string_view::npos) return Head::kIncomplete;
  if (rest[end] != '"' || end == 0) return Head::kOther;
  *name = rest.substr(0, end);
  rest.remove_prefix(end + 1);
  for (const absl::string_view token : {",", "\"arguments\"", ":", "{"}) {
    if (const Head head = take(token); head != Head::kComplete) return head;
  }
  *length = text.size() - rest.size() - 1;
  return Head::kComplete;
}

}  // namespace

std::vector<ToolCallPart> ToolCallParser::Feed(absl::string_view text) {
  pending_.append(text.data(), text.size());
  Advance();
  return std::exchange(parts_, {});
}

void ToolCallParser::Advance() {
  for (bool more = true; more;) {
    switch (state_) {
      case State::kText:
        more = StepText();
        break;
      case State::kHead:
        more = StepHead();
        break;
      case State::kWhole:
        more = StepWhole();
        break;
      case State::kArguments:
        more = StepArguments();
        break;
      case State::kTail:
        more = StepTail();
        break;
      case State::kDone:
        Consume(rest().size());
        more = false;
        break;
    }
  }
  pending_.erase(0, std::exchange(consumed_, 0));
}

std::vector<ToolCallPart> ToolCallParser::Finish() {
  // A call that breaks off may have others behind it.
  while (state_ == State::kHead || state_ == State::kWhole) {
    const std::string body = pending_;
    const std::optional<WholeCall> call = ReadWhole(body);
    if (call.has_value()) {
      pending_.clear();
      BeginCall(call->name);
      Emit(ToolCallPart::Kind::kArguments, call->arguments);
      EndCall();
    } else {
      NoCall();
      Advance();
    }
  }
  if (state_ == State::kText) {
    EmitContent(std::exchange(pending_, {}));
    if (!after_call_) Emit(ToolCallPart::Kind::kContent, held_space_);
  } else if (state_ == State::kArguments) {
    Emit(ToolCallPart::Kind::kArguments, pending_);
  }
  state_ = State::kDone;
  return std::exchange(parts_, {});
}

bool ToolCallParser::StepText() {
  const size_t tag = rest().find(kToolCallBegin);
  if (tag == absl::string_view::npos) {
    const size_t certain = rest().size() - PartialTag(rest(), kToolCallBegin);
    EmitContent(rest().substr(0, certain));
    Consume(certain);
    return false;
  }
  EmitContent(rest().substr(0, tag));
  Consume(tag + kToolCallBegin.size());
  state_ = State::kHead;
  return true;
}

bool ToolCallParser::StepHead() {
  absl::string_view name;
  size_t length = 0;
  switch (ReadHead(rest(), &name, &length)) {
    case Head::kIncomplete:
      if (rest().size() <= kMaxHeadBytes) return false;
      break;
    case Head::kComplete:
      if (length > kMaxHeadBytes) break;
      BeginCall(name);
      Consume(length);
      return true;
    case Head::kOther:
      break;
  }
  absl::string_view body = rest().substr(0, kMaxHeadBytes);
  SkipSpace(&body);
  if (!absl::StartsWith(body, "{")) {
    NoCall();
    return true;
  }
  state_ = State::kWhole;
  searched_ = 0;
  return true;
}

bool ToolCallParser::StepWhole() {
  // The next tag ends the call, whichever it is.
  constexpr absl::string_view kTag = "tool_call>";
  const absl::string_view text = rest();
  const size_t tag = text.find(kTag, searched_);
  if (tag == absl::string_view::npos) {
    searched_ = text.size() - std::min(text.size(), kTag.size() - 1);
    return false;
  }
  const absl::string_view body = text.substr(0, tag);
  if (!absl::EndsWith(body, "<") && !absl::EndsWith(body, "</")) {
    searched_ = tag + 1;
    return true;
  }
  const std::optional<WholeCall> call =
      absl::EndsWith(body, "</") ? ReadWhole(absl::StripSuffix(body, "</")) : std::nullopt;
  if (!call.has_value()) {
    NoCall();
    return true;
  }
  BeginCall(call->name);
  Emit(ToolCallPart::Kind::kArguments, call->arguments);
  Consume(tag + kTag.size());
  EndCall();
  return true;
}

bool ToolCallParser::StepArguments() {
  const absl::string_view text = rest();
  const auto pass_on = [&](size_t n) {
    Emit(ToolCallPart::Kind::kArguments, text.substr(0, n));
    Consume(n);
  };
  for (size_t i = 0; i < text.size(); ++i) {
    const char c = text[i];
    if (in_string_) {
      if (std::exchange(escaped_, false)) continue;
      escaped_ = c == '\\';
      in_string_ = c != '"';
      continue;
    }
    if (c == '<') {  // Not JSON, so perhaps the end of a call whose brackets don't match.
      const absl::string_view tag = text.substr(i, kToolCallEnd.size());
      if (absl::StartsWith(kToolCallEnd, tag)) {
        pass_on(i);
        if (tag == kToolCallEnd) state_ = State::kTail;
        return tag == kToolCallEnd;
      }
    }
    in_string_ = c == '"';
    if (c == '{' || c == '[') ++depth_;
    if ((c == '}' || c == ']') && --depth_ == 0) {
      pass_on(i + 1);
      state_ = State::kTail;
      return true;
    }
  }
  pass_on(text.size());
  return false;
}

bool ToolCallParser::StepTail() {
  // One brace closes the call; models like to write one more, or none.
  Consume(std::min(rest().find_first_not_of(" \t\r\n}"), rest().size()));
  if (rest().size() < kToolCallEnd.size() && absl::StartsWith(kToolCallEnd, rest())) {
    return false;
  }
  if (absl::StartsWith(rest(), kToolCallEnd)) Consume(kToolCallEnd.size());
  EndCall();
  return true;
}

void ToolCallParser::EmitContent(absl::string_view text) {
  if (options_.only_calls) return;
  held_space_.append(text.data(), text.size());
  const size_t last = absl::string_view(held_space_).find_last_not_of(kSpace);
  if (last == absl::string_view::npos) return;
  absl::string_view certain = absl::string_view(held_space_).substr(0, last + 1);
  if (std::exchange(after_call_, false)) SkipSpace(&certain);
  Emit(ToolCallPart::Kind::kContent, certain);
  held_space_.erase(0, last + 1);
}

void ToolCallParser::BeginCall(absl::string_view name) {
  held_space_.clear();
  ++num_calls_;
  Emit(ToolCallPart::Kind::kCall, name);
  depth_ = 0;
  in_string_ = escaped_ = false;
  state_ = State::kArguments;
}

void ToolCallParser::EndCall() {
  after_call_ = true;
  state_ = num_calls_ < options_.max_calls ? State::kText : State::kDone;
}

void ToolCallParser::NoCall() {
  EmitContent(kToolCallBegin);
  state_ = State::kText;
}

void ToolCallParser::Emit(ToolCallPart::Kind kind, absl::string_view text) {
  if (text.empty()) return;
  if (!parts_.empty() && parts_.back().kind == kind && kind != ToolCallPart::Kind::kCall) {
    parts_.back().text.append(text.data(), text.size());
    return;
  }
  const uint32_t call = num_calls_ == 0 ? 0 : num_calls_ - 1;
  parts_.push_back({kind, call, std::string(text)});
}

}  // namespace quartet::gateway
