// Filters on rows of values and on dicts, see filters.h.
#include <algorithm>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "common/status_macros.h"
#include "tokenizer_service/jinja/access.h"
#include "tokenizer_service/jinja/filters.h"
#include "tokenizer_service/jinja/operators.h"
#include "tokenizer_service/jinja/print.h"
#include "tokenizer_service/jinja/text.h"

namespace quartet::tokenizer::jinja {
namespace {

using BoundArguments = std::vector<std::optional<Value>>;

// `item.a.b` for "a.b"; numbers between the dots are positions. None stands for the item itself.
absl::StatusOr<Value> AttributeOf(Value item, const Value& path, Heap* heap) {
  if (path.is_none()) return item;
  if (path.is_whole()) return GetItem(item, path, heap);
  if (!path.is_string()) {
    return absl::InvalidArgumentError("the attribute must be a text or a number");
  }
  for (const absl::string_view part : absl::StrSplit(path.text(), '.')) {
    int64_t position = 0;
    const Value key =
        absl::SimpleAtoi(part, &position) ? Value::Int(position) : Value::String(part);
    ASSIGN_OR_RETURN(item, GetItem(item, key, heap));
  }
  return item;
}

Value IgnoringCase(const Value& value, bool case_sensitive, Heap* heap) {
  if (case_sensitive || !value.is_string()) return value;
  return heap->NewString(Lower(value.text()));
}

absl::StatusOr<Value> Join(Context& context, const Value& self, const Arguments& arguments) {
  ASSIGN_OR_RETURN(const BoundArguments bound, Bind(arguments, {"d", "attribute"}));
  Heap* const heap = &context.heap;
  ASSIGN_OR_RETURN(const absl::string_view separator,
                   ToText(bound[0].value_or(Value::String("")), heap));
  ASSIGN_OR_RETURN(const std::vector<Value>* const items, Items(self, heap));
  RETURN_IF_ERROR(heap->Reserve(items->size(), separator.size()));
  std::string out;
  for (size_t i = 0; i < items->size(); ++i) {
    ASSIGN_OR_RETURN(const Value item,
                     AttributeOf((*items)[i], bound[1].value_or(Value::None()), heap));
    ASSIGN_OR_RETURN(const absl::string_view text, ToText(item, heap));
    RETURN_IF_ERROR(heap->WorkOnBytes(text.size() + separator.size()));
    RETURN_IF_ERROR(heap->Reserve(out.size() + text.size(), 1));
    absl::StrAppend(&out, i > 0 ? separator : absl::string_view(), text);
  }
  return heap->NewString(std::move(out));
}

absl::StatusOr<Value> First(Context& context, const Value& self, const Arguments& arguments) {
  RETURN_IF_ERROR(Bind(arguments, {}).status());
  if (self.is_list() && self.list().kind == ListKind::kGenerator) {
    List& list = self.list();
    if (list.next < list.items.size()) return list.items[list.next++];
  } else {
    ASSIGN_OR_RETURN(const std::vector<Value>* const items, Items(self, &context.heap));
    if (!items->empty()) return items->front();
  }
  return Value::Undefined(Missing::kOther, "there is no first item: the list is empty");
}

absl::StatusOr<Value> Last(Context& context, const Value& self, const Arguments& arguments) {
  RETURN_IF_ERROR(Bind(arguments, {}).status());
  if (self.is_list() && self.list().kind == ListKind::kGenerator) {
    return absl::InvalidArgumentError("does not work on a generator; use |list first");
  }
  ASSIGN_OR_RETURN(const std::vector<Value>* const items, Items(self, &context.heap));
  if (!items->empty()) return items->back();
  return Value::Undefined(Missing::kOther, "there is no last item: the list is empty");
}

absl::StatusOr<Value> ListOf(Context& context, const Value& self, const Arguments& arguments) {
  RETURN_IF_ERROR(Bind(arguments, {}).status());
  ASSIGN_OR_RETURN(const std::vector<Value>* const items, Items(self, &context.heap));
  RETURN_IF_ERROR(context.heap.Work(static_cast<int64_t>(items->size() / 4)));
  return context.heap.NewList(*items);
}

absl::StatusOr<Value> Reverse(Context& context, const Value& self, const Arguments& arguments) {
  RETURN_IF_ERROR(Bind(arguments, {}).status());
  if (self.is_string()) {
    return GetSlice(self, Value::None(), Value::None(), Value::Int(-1), &context.heap);
  }
  ASSIGN_OR_RETURN(const std::vector<Value>* const items, Items(self, &context.heap));
  RETURN_IF_ERROR(context.heap.Work(static_cast<int64_t>(items->size() / 4)));
  return context.heap.NewList({items->rbegin(), items->rend()}, ListKind::kGenerator);
}

absl::StatusOr<Value> ItemsOf(Context& context, const Value& self, const Arguments& arguments) {
  RETURN_IF_ERROR(Bind(arguments, {}).status());
  if (self.is_undefined()) return context.heap.NewList({}, ListKind::kGenerator);
  if (!self.is_dict()) {
    return absl::InvalidArgumentError(absl::StrCat("needs a dict, not ", TypeName(self)));
  }
  std::vector<Value> pairs;
  for (const auto& [key, value] : self.dict().entries) {
    pairs.push_back(context.heap.NewList({key, value}, ListKind::kTuple));
  }
  return context.heap.NewList(std::move(pairs), ListKind::kGenerator);
}

// Items with the values to sort them by. Stable; stops comparing at the first error.
absl::StatusOr<std::vector<Value>> Sorted(const std::vector<std::pair<Value, Value>>& keyed,
                                          bool reverse, Heap* heap) {
  std::vector<size_t> order(keyed.size());
  for (size_t i = 0; i < order.size(); ++i) order[i] = i;
  absl::Status failure;
  std::stable_sort(order.begin(), order.end(), [&](size_t left, size_t right) {
    if (!failure.ok()) return false;
    const absl::StatusOr<bool> less = reverse ? IsLess(keyed[right].first, keyed[left].first, heap)
                                              : IsLess(keyed[left].first, keyed[right].first, heap);
    if (!less.ok()) failure = less.status();
    return less.ok() && *less;
  });
  RETURN_IF_ERROR(failure);
  std::vector<Value> sorted;
  for (const size_t i : order) sorted.push_back(keyed[i].second);
  return sorted;
}

absl::StatusOr<Value> DictSort(Context& context, const Value& self, const Arguments& arguments) {
  ASSIGN_OR_RETURN(const BoundArguments bound,
                   Bind(arguments, {"case_sensitive", "by", "reverse"}));
  if (!self.is_dict()) {
    return absl::InvalidArgumentError(absl::StrCat("needs a dict, not ", TypeName(self)));
  }
  const bool case_sensitive = bound[0].has_value() && IsTrue(*bound[0]);
  const absl::string_view by =
      bound[1].has_value() && bound[1]->is_string() ? bound[1]->text() : "key";
  if (by != "key" && by != "value") {
    return absl::InvalidArgumentError("'by' must be 'key' or 'value'");
  }
  std::vector<std::pair<Value, Value>> keyed;
  for (const auto& [key, value] : self.dict().entries) {
    keyed.emplace_back(IgnoringCase(by == "key" ? key : value, case_sensitive, &context.heap),
                       context.heap.NewList({key, value}, ListKind::kTuple));
  }
  ASSIGN_OR_RETURN(std::vector<Value> sorted,
                   Sorted(keyed, bound[2].has_value() && IsTrue(*bound[2]), &context.heap));
  return context.heap.NewList(std::move(sorted));
}

absl::StatusOr<Value> Sort(Context& context, const Value& self, const Arguments& arguments) {
  ASSIGN_OR_RETURN(const BoundArguments bound,
                   Bind(arguments, {"reverse", "case_sensitive", "attribute"}));
  Heap* const heap = &context.heap;
  const bool case_sensitive = bound[1].has_value() && IsTrue(*bound[1]);
  const Value attribute = bound[2].value_or(Value::None());
  ASSIGN_OR_RETURN(const std::vector<Value>* const items, Items(self, heap));
  std::vector<std::pair<Value, Value>> keyed;
  for (const Value& item : *items) {
    std::vector<Value> keys;
    if (attribute.is_string()) {
      for (const absl::string_view path : absl::StrSplit(attribute.text(), ',')) {
        ASSIGN_OR_RETURN(const Value key, AttributeOf(item, Value::String(path), heap));
        keys.push_back(IgnoringCase(key, case_sensitive, heap));
      }
    } else {
      ASSIGN_OR_RETURN(const Value key, AttributeOf(item, attribute, heap));
      keys.push_back(IgnoringCase(key, case_sensitive, heap));
    }
    keyed.emplace_back(heap->NewList(std::move(keys)), item);
  }
  ASSIGN_OR_RETURN(std::vector<Value> sorted,
                   Sorted(keyed, bound[0].has_value() && IsTrue(*bound[0]), heap));
  return heap->NewList(std::move(sorted));
}

absl::StatusOr<Value> Unique(Context& context, const Value& self, const Arguments& arguments) {
  ASSIGN_OR_RETURN(const BoundArguments bound, Bind(arguments, {"case_sensitive", "attribute"}));
  Heap* const heap = &context.heap;
  const bool case_sensitive = bound[0].has_value() && IsTrue(*bound[0]);
  ASSIGN_OR_RETURN(const std::vector<Value>* const items, Items(self, heap));
  std::vector<Value> seen, unique;
  for (const Value& item : *items) {
    ASSIGN_OR_RETURN(Value key, AttributeOf(item, bound[1].value_or(Value::None()), heap));
    key = IgnoringCase(key, case_sensitive, heap);
    bool is_new = true;
    for (size_t i = 0; i < seen.size() && is_new; ++i) {
      RETURN_IF_ERROR(heap->Step());
      ASSIGN_OR_RETURN(const bool equal, Equals(seen[i], key, heap));
      is_new = !equal;
    }
    if (!is_new) continue;
    seen.push_back(key);
    unique.push_back(item);
  }
  return heap->NewList(std::move(unique), ListKind::kGenerator);
}

template <bool kLeast>
absl::StatusOr<Value> Extreme(Context& context, const Value& self, const Arguments& arguments) {
  ASSIGN_OR_RETURN(const BoundArguments bound, Bind(arguments, {"case_sensitive", "attribute"}));
  Heap* const heap = &context.heap;
  const bool case_sensitive = bound[0].has_value() && IsTrue(*bound[0]);
  ASSIGN_OR_RETURN(const std::vector<Value>* const items, Items(self, heap));
  if (items->empty()) {
    return Value::Undefined(Missing::kOther, "there is no least or greatest: the list is empty");
  }
  Value best, best_key;
  for (size_t i = 0; i < items->size(); ++i) {
    ASSIGN_OR_RETURN(Value key, AttributeOf((*items)[i], bound[1].value_or(Value::None()), heap));
    key = IgnoringCase(key, case_sensitive, heap);
    bool better = i == 0;
    if (i > 0) {
      ASSIGN_OR_RETURN(better, kLeast ? IsLess(key, best_key, heap) : IsLess(best_key, key, heap));
    }
    if (!better) continue;
    best = (*items)[i];
    best_key = key;
  }
  return best;
}

absl::StatusOr<Value> Sum(Context& context, const Value& self, const Arguments& arguments) {
  ASSIGN_OR_RETURN(const BoundArguments bound, Bind(arguments, {"attribute", "start"}));
  Heap* const heap = &context.heap;
  Value sum = bound[1].value_or(Value::Int(0));
  ASSIGN_OR_RETURN(const std::vector<Value>* const items, Items(self, heap));
  for (const Value& item : *items) {
    ASSIGN_OR_RETURN(const Value part, AttributeOf(item, bound[0].value_or(Value::None()), heap));
    if (sum.is_string() || part.is_string()) return absl::InvalidArgumentError("needs numbers");
    ASSIGN_OR_RETURN(sum, Calculate(BinaryOperator::kAdd, sum, part, heap));
  }
  return sum;
}

// What is left of `arguments` behind the first `num_taken`.
Arguments Rest(const Arguments& arguments, size_t num_taken) {
  Arguments rest;
  rest.positional.assign(arguments.positional.begin() + static_cast<int64_t>(num_taken),
                         arguments.positional.end());
  rest.keyword = arguments.keyword;
  return rest;
}

absl::StatusOr<Value> MapAttribute(Context& context, const std::vector<Value>& items,
                                   const Arguments& arguments) {
  ASSIGN_OR_RETURN(const BoundArguments bound, Bind(arguments, {"attribute", "default"}, 1));
  std::vector<Value> mapped;
  for (const Value& item : items) {
    RETURN_IF_ERROR(context.heap.Step());
    ASSIGN_OR_RETURN(Value value, AttributeOf(item, *bound[0], &context.heap));
    if (value.is_undefined() && bound[1].has_value()) value = *bound[1];
    mapped.push_back(value);
  }
  return context.heap.NewList(std::move(mapped), ListKind::kGenerator);
}

absl::StatusOr<Value> Map(Context& context, const Value& self, const Arguments& arguments) {
  if (!IsTrue(self)) return context.heap.NewList({}, ListKind::kGenerator);
  ASSIGN_OR_RETURN(const std::vector<Value>* const items, Items(self, &context.heap));
  if (arguments.positional.empty()) return MapAttribute(context, *items, arguments);
  const Value& name = arguments.positional[0];
  const Function function = name.is_string() ? FindFilter(name.text()) : nullptr;
  if (function == nullptr) {
    return absl::InvalidArgumentError("the first argument is no known filter");
  }
  const Arguments rest = Rest(arguments, 1);
  std::vector<Value> mapped;
  for (const Value& item : *items) {
    RETURN_IF_ERROR(context.heap.WorkOnBytes(item.is_string() ? item.text().size() : 0));
    ASSIGN_OR_RETURN(const Value value, function(context, item, rest));
    mapped.push_back(value);
  }
  return context.heap.NewList(std::move(mapped), ListKind::kGenerator);
}

// select, reject, selectattr and rejectattr.
template <bool kWanted, bool kByAttribute>
absl::StatusOr<Value> Select(Context& context, const Value& self, const Arguments& arguments) {
  std::vector<Value> selected;
  if (!IsTrue(self)) return context.heap.NewList({}, ListKind::kGenerator);
  ASSIGN_OR_RETURN(const std::vector<Value>* const items, Items(self, &context.heap));
  constexpr size_t kTestAt = kByAttribute ? 1 : 0;
  if (arguments.positional.size() < kTestAt) {
    return absl::InvalidArgumentError("needs the name of an attribute");
  }
  const Value path = kByAttribute ? arguments.positional[0] : Value::None();
  TestFunction test = nullptr;
  Arguments rest;
  if (arguments.positional.size() > kTestAt) {
    const Value& name = arguments.positional[kTestAt];
    test = name.is_string() ? FindTest(name.text()) : nullptr;
    if (test == nullptr) return absl::InvalidArgumentError("there is no test of that name");
    rest = Rest(arguments, kTestAt + 1);
  }
  for (const Value& item : *items) {
    RETURN_IF_ERROR(context.heap.Step());
    ASSIGN_OR_RETURN(const Value value, AttributeOf(item, path, &context.heap));
    bool passes = IsTrue(value);
    if (test != nullptr) {
      ASSIGN_OR_RETURN(passes, test(context, value, rest));
    }
    if (passes == kWanted) selected.push_back(item);
  }
  return context.heap.NewList(std::move(selected), ListKind::kGenerator);
}

struct NamedFilter {
  absl::string_view name;
  Function function;
};

constexpr NamedFilter kFilters[] = {
    {"dictsort", DictSort},
    {"first", First},
    {"items", ItemsOf},
    {"join", Join},
    {"last", Last},
    {"list", ListOf},
    {"map", Map},
    {"max", Extreme<false>},
    {"min", Extreme<true>},
    {"reject", Select<false, false>},
    {"rejectattr", Select<false, true>},
    {"reverse", Reverse},
    {"select", Select<true, false>},
    {"selectattr", Select<true, true>},
    {"sort", Sort},
    {"sum", Sum},
    {"unique", Unique},
};
constexpr absl::string_view kUnsupported[] = {
    "attr",   "batch",     "center",   "filesizeformat", "forceescape", "groupby",
    "pprint", "random",    "slice",    "striptags",      "truncate",    "urlencode",
    "urlize", "wordcount", "wordwrap", "xmlattr"};

}  // namespace

Function FindSequenceFilter(absl::string_view name) {
  for (const NamedFilter& filter : kFilters) {
    if (filter.name == name) return filter.function;
  }
  return nullptr;
}

Function FindFilter(absl::string_view name) {
  const Function found = FindTextFilter(name);
  return found != nullptr ? found : FindSequenceFilter(name);
}

bool IsUnsupportedFilter(absl::string_view name) {
  return std::find(std::begin(kUnsupported), std::end(kUnsupported), name) !=
         std::end(kUnsupported);
}

}  // namespace quartet::tokenizer::jinja
