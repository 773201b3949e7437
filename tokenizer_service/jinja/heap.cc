#include "tokenizer_service/jinja/heap.h"

#include "absl/strings/str_cat.h"

namespace quartet::tokenizer::jinja {
namespace {

absl::Status TooMuchMemory(size_t limit) {
  return absl::ResourceExhaustedError(
      absl::StrCat("the template makes values of more than ", limit, " bytes"));
}

}  // namespace

absl::Status Heap::Work(int64_t num_steps) {
  used_steps_ += num_steps;
  if (used_steps_ > limits_.max_steps) {
    return absl::ResourceExhaustedError(
        absl::StrCat("the template takes more than ", limits_.max_steps, " steps"));
  }
  if (used_bytes_ > limits_.max_value_bytes) return TooMuchMemory(limits_.max_value_bytes);
  return absl::OkStatus();
}

absl::Status Heap::Reserve(size_t num_items, size_t bytes_per_item) const {
  const size_t left =
      limits_.max_value_bytes > used_bytes_ ? limits_.max_value_bytes - used_bytes_ : 0;
  if (bytes_per_item > 0 && num_items > left / bytes_per_item) {
    return TooMuchMemory(limits_.max_value_bytes);
  }
  return absl::OkStatus();
}

absl::string_view Heap::Keep(std::string text) {
  used_bytes_ += kObjectBytes + text.size();
  return texts_.emplace_back(std::move(text));
}

Value Heap::NewString(std::string text, bool is_markup) {
  if (text.empty()) return Value::String("", is_markup);
  return Value::String(Keep(std::move(text)), is_markup);
}

Value Heap::NewList(std::vector<Value> items, ListKind kind) {
  used_bytes_ += kObjectBytes + items.size() * sizeof(Value);
  List& list = lists_.emplace_back();
  list.kind = kind;
  list.items = std::move(items);
  return Value::Of(&list);
}

Dict* Heap::NewDict() {
  used_bytes_ += kObjectBytes;
  return &dicts_.emplace_back();
}

Loop* Heap::NewLoop() {
  used_bytes_ += kObjectBytes;
  return &loops_.emplace_back();
}

Callable* Heap::NewCallable() {
  used_bytes_ += sizeof(Callable);
  return &callables_.emplace_back();
}

Scope* Heap::NewScope(Scope* parent) {
  used_bytes_ += kObjectBytes;
  Scope& scope = scopes_.emplace_back();
  scope.parent = parent;
  return &scope;
}

}  // namespace quartet::tokenizer::jinja
