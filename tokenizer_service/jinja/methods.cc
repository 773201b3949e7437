#include "tokenizer_service/jinja/methods.h"

#include <utf8proc.h>

#include <algorithm>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "common/status_macros.h"
#include "tokenizer_service/jinja/access.h"
#include "tokenizer_service/jinja/operators.h"
#include "tokenizer_service/jinja/print.h"
#include "tokenizer_service/jinja/text.h"
#include "tokenizer_service/utf8.h"

namespace quartet::tokenizer::jinja {
namespace {

using BoundArguments = std::vector<std::optional<Value>>;

absl::Status NotText(absl::string_view what, const Value& value) {
  if (value.is_undefined()) return absl::InvalidArgumentError(ExplainUndefined(value));
  return absl::InvalidArgumentError(
      absl::StrCat("'", what, "' must be a text, not ", TypeName(value)));
}

Value Like(const Value& self, absl::string_view text) {
  return Value::String(text, self.is_markup());
}

Value LikeAll(const Value& self, const std::vector<absl::string_view>& texts, Heap& heap,
              ListKind kind = ListKind::kList) {
  std::vector<Value> items;
  items.reserve(texts.size());
  for (const absl::string_view text : texts) items.push_back(Like(self, text));
  return heap.NewList(std::move(items), kind);
}

// The text of `value` to be put into `self`: marked text takes in other text escaped.
absl::string_view Adopted(const Value& self, const Value& value, Heap& heap) {
  return self.is_markup() && !value.is_markup() ? heap.Keep(EscapeHtml(value.text()))
                                                : value.text();
}

template <absl::string_view (*kStrip)(absl::string_view, const absl::string_view*)>
absl::StatusOr<Value> StripMethod(Context&, const Value& self, const Arguments& arguments) {
  ASSIGN_OR_RETURN(const BoundArguments bound, Bind(arguments, {"chars"}));
  if (!bound[0].has_value() || bound[0]->is_none()) return Like(self, kStrip(self.text(), nullptr));
  if (!bound[0]->is_string()) return NotText("chars", *bound[0]);
  const absl::string_view chars = bound[0]->text();
  return Like(self, kStrip(self.text(), &chars));
}

absl::string_view StripBoth(absl::string_view text, const absl::string_view* chars) {
  return Strip(text, chars);
}

template <std::string (*kChange)(absl::string_view)>
absl::StatusOr<Value> CaseMethod(Context& context, const Value& self, const Arguments& arguments) {
  RETURN_IF_ERROR(Bind(arguments, {}).status());
  return context.heap.NewString(kChange(self.text()), self.is_markup());
}

// To be called before a text is cut into that many.
absl::Status ChargeForParts(size_t num_parts, Heap* heap) {
  RETURN_IF_ERROR(heap->Work(static_cast<int64_t>(num_parts)));
  return heap->Reserve(num_parts, sizeof(Value) + 2 * sizeof(absl::string_view));
}

template <bool kFromRight>
absl::StatusOr<Value> SplitMethod(Context& context, const Value& self, const Arguments& arguments) {
  ASSIGN_OR_RETURN(const BoundArguments bound, Bind(arguments, {"sep", "maxsplit"}));
  int64_t max_splits = -1;
  if (bound[1].has_value()) {
    if (!bound[1]->is_whole()) return absl::InvalidArgumentError("'maxsplit' must be a number");
    max_splits = bound[1]->integer();
  }
  Heap& heap = context.heap;
  if (!bound[0].has_value() || bound[0]->is_none()) {
    if (kFromRight && max_splits >= 0) {
      return absl::InvalidArgumentError("with 'maxsplit' is supported with a separator only");
    }
    RETURN_IF_ERROR(ChargeForParts(self.text().size() / 2 + 1, &heap));
    return LikeAll(self, SplitBySpace(self.text(), max_splits), heap);
  }
  if (!bound[0]->is_string()) return NotText("sep", *bound[0]);
  const absl::string_view separator = bound[0]->text();
  if (separator.empty()) return absl::InvalidArgumentError("the separator is empty");
  RETURN_IF_ERROR(ChargeForParts(CountParts(self.text(), separator) + 1, &heap));
  if (kFromRight) {  // looks for the last place by brute force
    RETURN_IF_ERROR(heap.WorkOnBytes(self.text().size() * std::min<size_t>(separator.size(), 64)));
    return LikeAll(self, SplitFromRight(self.text(), separator, max_splits), heap);
  }
  return LikeAll(self, Split(self.text(), separator, max_splits), heap);
}

absl::StatusOr<Value> SplitLinesMethod(Context& context, const Value& self,
                                       const Arguments& arguments) {
  ASSIGN_OR_RETURN(const BoundArguments bound, Bind(arguments, {"keepends"}));
  const bool keep_ends = bound[0].has_value() && IsTrue(*bound[0]);
  RETURN_IF_ERROR(ChargeForParts(MaxLines(self.text()), &context.heap));
  return LikeAll(self, SplitLines(self.text(), keep_ends), context.heap);
}

template <bool kFromRight>
absl::StatusOr<Value> PartitionMethod(Context& context, const Value& self,
                                      const Arguments& arguments) {
  ASSIGN_OR_RETURN(const BoundArguments bound, Bind(arguments, {"sep"}, 1));
  if (!bound[0]->is_string()) return NotText("sep", *bound[0]);
  const absl::string_view text = self.text();
  const absl::string_view separator = bound[0]->text();
  if (separator.empty()) return absl::InvalidArgumentError("the separator is empty");
  RETURN_IF_ERROR(context.heap.WorkOnBytes(text.size() * std::min<size_t>(separator.size(), 64)));
  const size_t at = kFromRight ? text.rfind(separator) : FindFirst(text, separator);
  std::vector<absl::string_view> parts;
  if (at != absl::string_view::npos) {
    parts = {text.substr(0, at), separator, text.substr(at + separator.size())};
  } else if (kFromRight) {
    parts = {"", "", text};
  } else {
    parts = {text, "", ""};
  }
  return LikeAll(self, parts, context.heap, ListKind::kTuple);
}

template <bool (*kTest)(absl::string_view, absl::string_view)>
absl::StatusOr<Value> AffixTest(Context&, const Value& self, const Arguments& arguments) {
  ASSIGN_OR_RETURN(const BoundArguments bound, Bind(arguments, {"affix"}, 1));
  if (bound[0]->is_string()) return Value::Bool(kTest(self.text(), bound[0]->text()));
  if (!bound[0]->is_list() || bound[0]->list().kind != ListKind::kTuple) {
    return NotText("affix", *bound[0]);
  }
  for (const Value& affix : bound[0]->list().items) {
    if (!affix.is_string()) return NotText("affix", affix);
    if (kTest(self.text(), affix.text())) return Value::Bool(true);
  }
  return Value::Bool(false);
}

bool HasPrefix(absl::string_view text, absl::string_view affix) {
  return absl::StartsWith(text, affix);
}
bool HasSuffix(absl::string_view text, absl::string_view affix) {
  return absl::EndsWith(text, affix);
}

template <bool kPrefix>
absl::StatusOr<Value> RemoveAffix(Context&, const Value& self, const Arguments& arguments) {
  ASSIGN_OR_RETURN(const BoundArguments bound, Bind(arguments, {"affix"}, 1));
  if (!bound[0]->is_string()) return NotText("affix", *bound[0]);
  absl::string_view text = self.text();
  const absl::string_view affix = bound[0]->text();
  if (kPrefix && HasPrefix(text, affix)) text.remove_prefix(affix.size());
  if (!kPrefix && HasSuffix(text, affix)) text.remove_suffix(affix.size());
  return Like(self, text);
}

absl::StatusOr<Value> ReplaceMethod(Context& context, const Value& self,
                                    const Arguments& arguments) {
  ASSIGN_OR_RETURN(const BoundArguments bound, Bind(arguments, {"old", "new", "count"}, 2));
  if (!bound[0]->is_string()) return NotText("old", *bound[0]);
  if (!bound[1]->is_string()) return NotText("new", *bound[1]);
  int64_t count = -1;
  if (bound[2].has_value() && !bound[2]->is_none()) {
    if (!bound[2]->is_whole()) return absl::InvalidArgumentError("'count' must be a number");
    count = bound[2]->integer();
  }
  Heap& heap = context.heap;
  const absl::string_view from = Adopted(self, *bound[0], heap);
  const absl::string_view to = Adopted(self, *bound[1], heap);
  const size_t num_places = from.empty() ? self.text().size() + 1 : CountParts(self.text(), from);
  RETURN_IF_ERROR(heap.Reserve(num_places, to.size()));
  RETURN_IF_ERROR(heap.Work(static_cast<int64_t>(num_places)));
  RETURN_IF_ERROR(heap.WorkOnBytes(num_places * to.size() + self.text().size()));
  return heap.NewString(Replace(self.text(), from, to, count), self.is_markup());
}

// Character number of byte `at`; -1 for npos.
int64_t CharacterNumber(absl::string_view text, size_t at) {
  if (at == absl::string_view::npos) return -1;
  return static_cast<int64_t>(NumCharacters(text.substr(0, at)));
}

enum class Find { kFirst, kFirstOrFail, kLast };

template <Find kFind>
absl::StatusOr<Value> FindMethodOfText(Context& context, const Value& self,
                                       const Arguments& arguments) {
  ASSIGN_OR_RETURN(const BoundArguments bound, Bind(arguments, {"sub"}, 1));
  if (!bound[0]->is_string()) return NotText("sub", *bound[0]);
  const absl::string_view part = bound[0]->text();
  RETURN_IF_ERROR(
      context.heap.WorkOnBytes(self.text().size() * std::min<size_t>(part.size() + 1, 64)));
  const size_t at = kFind == Find::kLast ? self.text().rfind(part) : FindFirst(self.text(), part);
  if (at == absl::string_view::npos && kFind == Find::kFirstOrFail) {
    return absl::InvalidArgumentError("the text to be found is not there");
  }
  return Value::Int(CharacterNumber(self.text(), at));
}

absl::StatusOr<Value> CountMethod(Context& context, const Value& self, const Arguments& arguments) {
  ASSIGN_OR_RETURN(const BoundArguments bound, Bind(arguments, {"item"}, 1));
  if (self.is_list()) {
    int64_t count = 0;
    for (const Value& item : self.list().items) {
      ASSIGN_OR_RETURN(const bool equal, Equals(item, *bound[0], &context.heap));
      count += equal ? 1 : 0;
    }
    return Value::Int(count);
  }
  if (!bound[0]->is_string()) return NotText("item", *bound[0]);
  if (bound[0]->text().empty()) {
    return Value::Int(static_cast<int64_t>(NumCharacters(self.text())) + 1);
  }
  const auto count = static_cast<int64_t>(CountParts(self.text(), bound[0]->text()));
  RETURN_IF_ERROR(context.heap.Work(count));
  return Value::Int(count);
}

absl::StatusOr<Value> JoinMethod(Context& context, const Value& self, const Arguments& arguments) {
  ASSIGN_OR_RETURN(const BoundArguments bound, Bind(arguments, {"iterable"}, 1));
  ASSIGN_OR_RETURN(const std::vector<Value>* const items, Items(*bound[0], &context.heap));
  RETURN_IF_ERROR(context.heap.Reserve(items->size(), self.text().size()));
  std::string out;
  for (size_t i = 0; i < items->size(); ++i) {
    const Value& item = (*items)[i];
    if (!item.is_string()) return NotText("item", item);
    if (i > 0) absl::StrAppend(&out, self.text());
    absl::StrAppend(&out, Adopted(self, item, context.heap));
    RETURN_IF_ERROR(context.heap.WorkOnBytes(item.text().size() + self.text().size()));
    RETURN_IF_ERROR(context.heap.Reserve(out.size(), 1));
  }
  return context.heap.NewString(std::move(out), self.is_markup());
}

bool IsLetter(uint32_t c) {
  switch (utf8proc_category(static_cast<utf8proc_int32_t>(c))) {
    case UTF8PROC_CATEGORY_LU:
    case UTF8PROC_CATEGORY_LL:
    case UTF8PROC_CATEGORY_LT:
    case UTF8PROC_CATEGORY_LM:
    case UTF8PROC_CATEGORY_LO:
      return true;
    default:
      return false;
  }
}
bool IsDigit(uint32_t c) {
  return utf8proc_category(static_cast<utf8proc_int32_t>(c)) == UTF8PROC_CATEGORY_ND;
}
bool IsLetterOrDigit(uint32_t c) { return IsLetter(c) || IsDigit(c); }

template <bool (*kTest)(uint32_t)>
absl::StatusOr<Value> AllCharacters(Context&, const Value& self, const Arguments& arguments) {
  RETURN_IF_ERROR(Bind(arguments, {}).status());
  const absl::string_view text = self.text();
  for (size_t at = 0; at < text.size();) {
    const CodePoint c = ReadCodePoint(text.data() + at);
    if (!kTest(c.value)) return Value::Bool(false);
    at += c.num_bytes;
  }
  return Value::Bool(!text.empty());
}

absl::StatusOr<Value> DictGet(Context&, const Value& self, const Arguments& arguments) {
  ASSIGN_OR_RETURN(const BoundArguments bound, Bind(arguments, {"key", "default"}, 1));
  const Value* const found = self.dict().Find(*bound[0]);
  if (found != nullptr) return *found;
  return bound[1].value_or(Value::None());
}

template <ListKind kKind>
absl::StatusOr<Value> DictView(Context& context, const Value& self, const Arguments& arguments) {
  RETURN_IF_ERROR(Bind(arguments, {}).status());
  std::vector<Value> items;
  RETURN_IF_ERROR(context.heap.Work(static_cast<int64_t>(self.dict().entries.size())));
  for (const auto& [key, value] : self.dict().entries) {
    items.push_back(kKind == ListKind::kKeysView ? key
                    : kKind == ListKind::kValuesView
                        ? value
                        : context.heap.NewList({key, value}, ListKind::kTuple));
  }
  return context.heap.NewList(std::move(items), kKind);
}

absl::StatusOr<Value> Copy(Context&, const Value& self, const Arguments& arguments) {
  RETURN_IF_ERROR(Bind(arguments, {}).status());
  return self;  // nothing can change it
}

absl::StatusOr<Value> ListIndex(Context& context, const Value& self, const Arguments& arguments) {
  ASSIGN_OR_RETURN(const BoundArguments bound, Bind(arguments, {"item"}, 1));
  const std::vector<Value>& items = self.list().items;
  for (size_t i = 0; i < items.size(); ++i) {
    ASSIGN_OR_RETURN(const bool equal, Equals(items[i], *bound[0], &context.heap));
    if (equal) return Value::Int(static_cast<int64_t>(i));
  }
  return absl::InvalidArgumentError("the item to be found is not in the list");
}

struct Method {
  absl::string_view name;
  Function function;  // null: Python has it, templates can't use it
};

constexpr Method kTextMethods[] = {
    {"strip", StripMethod<StripBoth>},
    {"lstrip", StripMethod<StripLeft>},
    {"rstrip", StripMethod<StripRight>},
    {"split", SplitMethod<false>},
    {"rsplit", SplitMethod<true>},
    {"splitlines", SplitLinesMethod},
    {"partition", PartitionMethod<false>},
    {"rpartition", PartitionMethod<true>},
    {"startswith", AffixTest<HasPrefix>},
    {"endswith", AffixTest<HasSuffix>},
    {"removeprefix", RemoveAffix<true>},
    {"removesuffix", RemoveAffix<false>},
    {"replace", ReplaceMethod},
    {"upper", CaseMethod<Upper>},
    {"lower", CaseMethod<Lower>},
    {"title", CaseMethod<TitleMethod>},
    {"capitalize", CaseMethod<Capitalize>},
    {"format", FormatBraces},
    {"join", JoinMethod},
    {"find", FindMethodOfText<Find::kFirst>},
    {"rfind", FindMethodOfText<Find::kLast>},
    {"index", FindMethodOfText<Find::kFirstOrFail>},
    {"count", CountMethod},
    {"isalpha", AllCharacters<IsLetter>},
    {"isdigit", AllCharacters<IsDigit>},
    {"isalnum", AllCharacters<IsLetterOrDigit>},
    {"isspace", AllCharacters<IsSpace>},
};
constexpr absl::string_view kOtherTextMethods[] = {
    "casefold",     "center",    "encode",  "expandtabs", "format_map",  "isascii", "isdecimal",
    "islower",      "isnumeric", "isupper", "istitle",    "isprintable", "ljust",   "maketrans",
    "isidentifier", "rindex",    "rjust",   "swapcase",   "translate",   "zfill"};

constexpr Method kDictMethods[] = {
    {"get", DictGet},
    {"items", DictView<ListKind::kItemsView>},
    {"keys", DictView<ListKind::kKeysView>},
    {"values", DictView<ListKind::kValuesView>},
    {"copy", Copy},
};
constexpr absl::string_view kOtherDictMethods[] = {"clear",   "fromkeys",   "pop",
                                                   "popitem", "setdefault", "update"};

constexpr Method kListMethods[] = {{"index", ListIndex}, {"count", CountMethod}, {"copy", Copy}};
constexpr absl::string_view kOtherListMethods[] = {"append", "clear",  "extend",  "insert",
                                                   "pop",    "remove", "reverse", "sort"};

template <size_t kNumMethods, size_t kNumOthers>
Value FindIn(const Method (&methods)[kNumMethods], const absl::string_view (&others)[kNumOthers],
             const Value& object, absl::string_view name, Heap* heap) {
  for (const Method& method : methods) {
    if (method.name != name) continue;
    Callable* const callable = heap->NewCallable();
    callable->name = method.name;
    callable->function = method.function;
    callable->self = object;
    return Value::Of(callable);
  }
  for (const absl::string_view other : others) {
    if (other == name) return Value::Undefined(Missing::kUnsupported, other);
  }
  return Value::None();
}

}  // namespace

Value FindMethod(const Value& object, absl::string_view name, Heap* heap) {
  if (object.is_string()) return FindIn(kTextMethods, kOtherTextMethods, object, name, heap);
  if (object.is_dict()) return FindIn(kDictMethods, kOtherDictMethods, object, name, heap);
  if (object.is_list() && object.list().is_sequence()) {
    return FindIn(kListMethods, kOtherListMethods, object, name, heap);
  }
  return Value::None();
}

}  // namespace quartet::tokenizer::jinja
