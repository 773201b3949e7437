// json.dumps(), see print.h.
#include <algorithm>
#include <cmath>
#include <vector>

#include "absl/strings/str_cat.h"
#include "common/json_escape.h"
#include "common/status_macros.h"
#include "tokenizer_service/jinja/print.h"
#include "tokenizer_service/utf8.h"

namespace quartet::tokenizer::jinja {
namespace {

void AppendUnit(uint32_t unit, std::string* out) {
  absl::StrAppend(out, "\\u", absl::Hex(unit, absl::kZeroPad4));
}

// Everything outside printable ASCII as \uXXXX.
void AppendAscii(absl::string_view text, std::string* out) {
  for (size_t at = 0; at < text.size();) {
    const CodePoint c = ReadCodePoint(text.data() + at);
    if (c.value < 0x7f) {
      common::AppendJsonEscaped(text.substr(at, 1), out);
    } else if (c.value < 0x10000) {
      AppendUnit(c.value, out);
    } else {
      AppendUnit(0xd800 + ((c.value - 0x10000) >> 10), out);
      AppendUnit(0xdc00 + ((c.value - 0x10000) & 0x3ff), out);
    }
    at += c.num_bytes;
  }
}

class JsonWriter {
 public:
  JsonWriter(const JsonStyle& style, Heap* heap) : style_(style), heap_(heap) {}

  absl::Status Write(const Value& value, int depth) {
    if (depth > kMaxValueDepth) {
      return absl::InvalidArgumentError(absl::StrCat("a value is nested more than ", kMaxValueDepth,
                                                     " deep and can't be written as JSON"));
    }
    RETURN_IF_ERROR(heap_->Step());
    RETURN_IF_ERROR(heap_->Reserve(out_.size(), 1));
    switch (value.kind()) {
      case Kind::kString:
        return WriteString(value.text());
      case Kind::kDict:
        return WriteDict(value.dict(), depth);
      case Kind::kList:
        if (value.list().kind != ListKind::kList && value.list().kind != ListKind::kTuple) break;
        return WriteList(value.list(), depth);
      default:
        if (AppendScalar(value)) return absl::OkStatus();
    }
    return absl::InvalidArgumentError(
        value.is_undefined() ? ExplainUndefined(value) + ", which can't be written as JSON"
                             : absl::StrCat("a ", TypeName(value), " can't be written as JSON"));
  }

  std::string Take() { return std::move(out_); }

 private:
  // What is neither text nor made of others; false if it is something else.
  bool AppendScalar(const Value& value) {
    switch (value.kind()) {
      case Kind::kNone:
        out_.append("null");
        return true;
      case Kind::kBool:
        out_.append(value.integer() != 0 ? "true" : "false");
        return true;
      case Kind::kInt:
        absl::StrAppend(&out_, value.integer());
        return true;
      case Kind::kBigInt:
        absl::StrAppend(&out_, value.text());
        return true;
      case Kind::kFloat:
        out_.append(std::isnan(value.number())   ? "NaN"
                    : std::isinf(value.number()) ? (value.number() < 0 ? "-Infinity" : "Infinity")
                                                 : FloatText(value.number()));
        return true;
      default:
        return false;
    }
  }

  absl::Status WriteString(absl::string_view text) {
    RETURN_IF_ERROR(heap_->WorkOnBytes(text.size()));
    out_.push_back('"');
    if (style_.ensure_ascii) {
      AppendAscii(text, &out_);
    } else {
      common::AppendJsonEscaped(text, &out_);
    }
    out_.push_back('"');
    return absl::OkStatus();
  }

  absl::Status NewLine(int depth) {
    if (!style_.indent.has_value()) return absl::OkStatus();
    RETURN_IF_ERROR(heap_->WorkOnBytes(style_.indent->size() * static_cast<size_t>(depth)));
    out_.push_back('\n');
    for (int i = 0; i < depth; ++i) out_.append(*style_.indent);
    return absl::OkStatus();
  }

  absl::Status WriteList(const List& list, int depth) {
    if (list.items.empty()) {
      out_.append("[]");
      return absl::OkStatus();
    }
    out_.push_back('[');
    for (size_t i = 0; i < list.items.size(); ++i) {
      if (i > 0) out_.append(style_.item_separator);
      RETURN_IF_ERROR(NewLine(depth + 1));
      RETURN_IF_ERROR(Write(list.items[i], depth + 1));
    }
    RETURN_IF_ERROR(NewLine(depth));
    out_.push_back(']');
    return absl::OkStatus();
  }

  absl::Status WriteKey(const Value& key) {
    if (key.is_string()) return WriteString(key.text());
    out_.push_back('"');
    if (!AppendScalar(key)) {
      return absl::InvalidArgumentError(absl::StrCat("a ", TypeName(key), " can't be a JSON key"));
    }
    out_.push_back('"');
    return absl::OkStatus();
  }

  absl::Status WriteDict(const Dict& dict, int depth) {
    if (dict.entries.empty()) {
      out_.append("{}");
      return absl::OkStatus();
    }
    std::vector<const std::pair<Value, Value>*> entries;
    for (const auto& entry : dict.entries) entries.push_back(&entry);
    if (style_.sort_keys) {
      for (const auto* entry : entries) {
        if (!entry->first.is_string()) {
          return absl::InvalidArgumentError("sort_keys works on text keys only");
        }
      }
      std::stable_sort(entries.begin(), entries.end(), [](const auto* left, const auto* right) {
        return left->first.text() < right->first.text();
      });
    }
    out_.push_back('{');
    for (size_t i = 0; i < entries.size(); ++i) {
      if (i > 0) out_.append(style_.item_separator);
      RETURN_IF_ERROR(NewLine(depth + 1));
      RETURN_IF_ERROR(WriteKey(entries[i]->first));
      out_.append(style_.key_separator);
      RETURN_IF_ERROR(Write(entries[i]->second, depth + 1));
    }
    RETURN_IF_ERROR(NewLine(depth));
    out_.push_back('}');
    return absl::OkStatus();
  }

  const JsonStyle& style_;
  Heap* const heap_;
  std::string out_;
};

}  // namespace

absl::StatusOr<std::string> WriteJson(const Value& value, const JsonStyle& style, Heap* heap) {
  JsonWriter writer(style, heap);
  RETURN_IF_ERROR(writer.Write(value, 0));
  return writer.Take();
}

}  // namespace quartet::tokenizer::jinja
