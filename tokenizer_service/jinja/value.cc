#include "tokenizer_service/jinja/value.h"

#include "absl/strings/str_cat.h"

namespace quartet::tokenizer::jinja {
namespace {

// Below this many entries looking at all of them is fastest.
constexpr size_t kIndexedEntries = 16;

}  // namespace

const Value* Dict::Find(const Value& key) const {
  if (key.is_string() && !index.empty()) {
    const auto found = index.find(key.text());
    return found == index.end() ? nullptr : &entries[found->second].second;
  }
  for (const auto& [known, value] : entries) {
    if (EqualScalars(known, key)) return &value;
  }
  return nullptr;
}

void Dict::Set(const Value& key, const Value& value) {
  if (const Value* const known = Find(key); known != nullptr) {
    *const_cast<Value*>(known) = value;
    return;
  }
  entries.emplace_back(key, value);
  if (entries.size() < kIndexedEntries) return;
  for (size_t i = index.empty() ? 0 : entries.size() - 1; i < entries.size(); ++i) {
    if (entries[i].first.is_string()) index.emplace(entries[i].first.text(), i);
  }
}

absl::string_view TypeName(const Value& value) {
  switch (value.kind()) {
    case Kind::kUndefined:
      return "Undefined";
    case Kind::kNone:
      return "NoneType";
    case Kind::kBool:
      return "bool";
    case Kind::kInt:
    case Kind::kBigInt:
      return "int";
    case Kind::kFloat:
      return "float";
    case Kind::kString:
      return value.is_markup() ? "Markup" : "str";
    case Kind::kList:
      break;
    case Kind::kDict:
      return "dict";
    case Kind::kNamespace:
      return "Namespace";
    case Kind::kLoop:
      return "LoopContext";
    case Kind::kCallable:
      return "function";
  }
  switch (value.list().kind) {
    case ListKind::kList:
      return "list";
    case ListKind::kTuple:
      return "tuple";
    case ListKind::kRange:
      return "range";
    case ListKind::kGenerator:
      return "generator";
    case ListKind::kItemsView:
      return "dict_items";
    case ListKind::kKeysView:
      return "dict_keys";
    case ListKind::kValuesView:
      return "dict_values";
  }
  return "object";
}

std::string ExplainUndefined(const Value& value) {
  switch (value.missing()) {
    case Missing::kVariable:
      return absl::StrCat("'", value.text(), "' is undefined");
    case Missing::kAttribute:
      return absl::StrCat("there is no attribute or key '", value.text(), "'");
    case Missing::kUnsupported:
      return absl::StrCat("'", value.text(), "' is not supported in chat templates");
    case Missing::kOther:
      break;
  }
  return std::string(value.text());
}

bool IsTrue(const Value& value) {
  switch (value.kind()) {
    case Kind::kUndefined:
    case Kind::kNone:
      return false;
    case Kind::kBool:
    case Kind::kInt:
      return value.integer() != 0;
    case Kind::kFloat:
      return value.number() != 0;
    case Kind::kString:
      return !value.text().empty();
    case Kind::kList:
      return value.list().kind == ListKind::kGenerator || !value.list().items.empty();
    case Kind::kDict:
      return !value.dict().entries.empty();
    case Kind::kBigInt:
    case Kind::kNamespace:
    case Kind::kLoop:
    case Kind::kCallable:
      break;
  }
  return true;
}

bool EqualScalars(const Value& left, const Value& right) {
  if (left.is_number() && right.is_number()) {
    if (left.is_whole() && right.is_whole()) return left.integer() == right.integer();
    return left.number() == right.number();
  }
  if (left.kind() != right.kind()) return false;
  switch (left.kind()) {
    case Kind::kUndefined:
    case Kind::kNone:
      return true;
    case Kind::kString:
    case Kind::kBigInt:
      return left.text() == right.text();
    default:
      return left.identity() == right.identity();
  }
}

}  // namespace quartet::tokenizer::jinja
