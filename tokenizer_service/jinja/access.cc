#include "tokenizer_service/jinja/access.h"

#include <algorithm>
#include <limits>

#include "absl/strings/str_cat.h"
#include "common/status_macros.h"
#include "tokenizer_service/jinja/loop_attributes.h"
#include "tokenizer_service/jinja/methods.h"
#include "tokenizer_service/jinja/text.h"
#include "tokenizer_service/utf8.h"

namespace quartet::tokenizer::jinja {
namespace {

// What numbers have in Python; of no use in a prompt.
bool IsNumberAttribute(absl::string_view name) {
  return name == "real" || name == "imag" || name == "numerator" || name == "denominator";
}

Value NoAttribute(absl::string_view name) { return Value::Undefined(Missing::kAttribute, name); }

// Item number `index`, which may count from the end; undefined if there is none.
absl::StatusOr<Value> ItemAt(const Value& object, int64_t index, Heap* heap) {
  const Value missing = Value::Undefined(Missing::kOther, "the list or text has no such position");
  if (object.is_list()) {
    const std::vector<Value>& items = object.list().items;
    const auto size = static_cast<int64_t>(items.size());
    if (index < 0) index += size;
    return index < 0 || index >= size ? missing : items[static_cast<size_t>(index)];
  }
  const absl::string_view text = object.text();
  RETURN_IF_ERROR(heap->WorkOnBytes(text.size()));
  if (index < 0) index += static_cast<int64_t>(NumCharacters(text));
  if (index < 0) return missing;
  const size_t at = CharacterOffset(text, static_cast<size_t>(index));
  if (at == text.size()) return missing;
  return Value::String(text.substr(at, ReadCodePoint(text.data() + at).num_bytes),
                       object.is_markup());
}

// One end of a slice as a number, `otherwise` if it is not given.
absl::StatusOr<int64_t> SliceBound(const Value& bound, int64_t otherwise) {
  if (bound.is_none()) return otherwise;
  if (bound.is_whole()) return bound.integer();
  if (bound.is_undefined()) return absl::InvalidArgumentError(ExplainUndefined(bound));
  return absl::InvalidArgumentError(
      absl::StrCat("slices need whole numbers, not ", TypeName(bound)));
}

struct SliceRange {
  int64_t start;
  int64_t stop;
  int64_t step;
};

// As Python's slice.indices(size).
absl::StatusOr<SliceRange> ResolveSlice(const Value& start, const Value& stop, const Value& step,
                                        int64_t size) {
  SliceRange range;
  ASSIGN_OR_RETURN(range.step, SliceBound(step, 1));
  if (range.step == 0) return absl::InvalidArgumentError("the step of a slice can't be 0");
  const bool forward = range.step > 0;
  const int64_t lowest = forward ? 0 : -1;
  const int64_t highest = forward ? size : size - 1;
  const auto resolve = [&](const Value& bound, int64_t otherwise) -> absl::StatusOr<int64_t> {
    if (bound.is_none()) return otherwise;
    ASSIGN_OR_RETURN(int64_t at, SliceBound(bound, otherwise));
    if (at < 0) at = at < -size ? lowest : at + size;
    return std::clamp(at, lowest, highest);
  };
  ASSIGN_OR_RETURN(range.start, resolve(start, forward ? lowest : highest));
  ASSIGN_OR_RETURN(range.stop, resolve(stop, forward ? highest : lowest));
  // Beyond the size any step means the same; this keeps sums within bounds.
  range.step = std::clamp(range.step, -size - 1, size + 1);
  return range;
}

absl::StatusOr<Value> SliceText(const Value& object, const Value& start, const Value& stop,
                                const Value& step, Heap* heap) {
  const absl::string_view text = object.text();
  RETURN_IF_ERROR(heap->WorkOnBytes(text.size()));
  ASSIGN_OR_RETURN(const SliceRange range,
                   ResolveSlice(start, stop, step, static_cast<int64_t>(NumCharacters(text))));
  if (range.step == 1) {
    if (range.start >= range.stop) return Value::String("", object.is_markup());
    const size_t begin = CharacterOffset(text, static_cast<size_t>(range.start));
    const size_t length =
        CharacterOffset(text.substr(begin), static_cast<size_t>(range.stop - range.start));
    return Value::String(text.substr(begin, length), object.is_markup());
  }
  RETURN_IF_ERROR(heap->Reserve(text.size(), sizeof(absl::string_view)));
  const std::vector<absl::string_view> characters = Characters(text);
  std::string out;
  for (int64_t i = range.start; range.step > 0 ? i < range.stop : i > range.stop; i += range.step) {
    out.append(characters[static_cast<size_t>(i)].data(),
               characters[static_cast<size_t>(i)].size());
  }
  return heap->NewString(std::move(out), object.is_markup());
}

}  // namespace

absl::StatusOr<Value> GetAttribute(const Value& object, absl::string_view name, Heap* heap) {
  switch (object.kind()) {
    case Kind::kUndefined:
      return absl::InvalidArgumentError(ExplainUndefined(object));
    case Kind::kNamespace: {
      const Value* const found = object.dict().Find(name);
      return found == nullptr ? NoAttribute(name) : *found;
    }
    case Kind::kLoop:
      return LoopAttribute(object, name, heap);
    case Kind::kDict:
    case Kind::kString:
    case Kind::kList:
      break;
    case Kind::kCallable:
      // Python takes dict.name for a generic type: dict itself, if it is called. Some templates
      // make dicts that way.
      return object.callable().name == "dict" && name == "from_keys" ? object : NoAttribute(name);
    default:
      return object.is_number() && IsNumberAttribute(name)
                 ? Value::Undefined(Missing::kUnsupported, name)
                 : NoAttribute(name);
  }
  const Value method = FindMethod(object, name, heap);
  if (!method.is_none()) return method;
  const Value* const found = object.is_dict() ? object.dict().Find(name) : nullptr;
  return found == nullptr ? NoAttribute(name) : *found;
}

absl::StatusOr<Value> GetItem(const Value& object, const Value& key, Heap* heap) {
  if (object.is_undefined()) return absl::InvalidArgumentError(ExplainUndefined(object));
  if (object.is_dict()) {
    RETURN_IF_ERROR(heap->WorkOnBytes(key.is_string() ? key.text().size() : 0));
    if (const Value* const found = object.dict().Find(key); found != nullptr) return *found;
  }
  const bool has_positions =
      object.is_string() || (object.is_list() && object.list().is_sequence());
  if (has_positions && key.is_whole()) return ItemAt(object, key.integer(), heap);
  if (key.is_string()) {
    return object.is_dict() || object.is_list() || object.is_string() || object.is(Kind::kNamespace)
               ? GetAttribute(object, key.text(), heap)
               : NoAttribute(key.text());
  }
  return Value::Undefined(Missing::kOther, "there is no such item");
}

absl::StatusOr<Value> GetSlice(const Value& object, const Value& start, const Value& stop,
                               const Value& step, Heap* heap) {
  if (object.is_undefined()) return absl::InvalidArgumentError(ExplainUndefined(object));
  if (object.is_string()) return SliceText(object, start, stop, step, heap);
  if (!object.is_list() || !object.list().is_sequence()) {
    return absl::InvalidArgumentError(
        absl::StrCat("a value of type ", TypeName(object), " can't be sliced"));
  }
  const List& list = object.list();
  ASSIGN_OR_RETURN(const SliceRange range,
                   ResolveSlice(start, stop, step, static_cast<int64_t>(list.items.size())));
  std::vector<Value> items;
  for (int64_t i = range.start; range.step > 0 ? i < range.stop : i > range.stop; i += range.step) {
    items.push_back(list.items[static_cast<size_t>(i)]);
  }
  RETURN_IF_ERROR(heap->Work(static_cast<int64_t>(items.size() / 4)));
  return heap->NewList(std::move(items), list.kind);
}

absl::StatusOr<const std::vector<Value>*> Items(const Value& value, Heap* heap) {
  std::vector<Value> items;
  switch (value.kind()) {
    case Kind::kList: {
      List& list = value.list();
      if (list.kind != ListKind::kGenerator) return &list.items;
      const size_t taken = std::min(list.next, list.items.size());
      list.next = list.items.size();
      if (taken == 0) return &list.items;
      items.assign(list.items.begin() + static_cast<int64_t>(taken), list.items.end());
      break;
    }
    case Kind::kUndefined:
      if (value.missing() == Missing::kUnsupported) {
        return absl::InvalidArgumentError(ExplainUndefined(value));
      }
      break;
    case Kind::kString:
      RETURN_IF_ERROR(heap->WorkOnBytes(value.text().size() * sizeof(Value)));
      RETURN_IF_ERROR(heap->Reserve(value.text().size(), sizeof(Value)));
      for (const absl::string_view character : Characters(value.text())) {
        items.push_back(Value::String(character));
      }
      break;
    case Kind::kDict:
      RETURN_IF_ERROR(heap->Work(static_cast<int64_t>(value.dict().entries.size())));
      for (const auto& [key, unused] : value.dict().entries) items.push_back(key);
      break;
    default:
      return absl::InvalidArgumentError(
          absl::StrCat("a value of type ", TypeName(value), " can't be iterated over"));
  }
  return &heap->NewList(std::move(items)).list().items;
}

absl::StatusOr<int64_t> Length(const Value& value, Heap* heap) {
  switch (value.kind()) {
    case Kind::kString:
      RETURN_IF_ERROR(heap->WorkOnBytes(value.text().size()));
      return static_cast<int64_t>(NumCharacters(value.text()));
    case Kind::kList:
      if (value.list().kind == ListKind::kGenerator) break;
      return static_cast<int64_t>(value.list().items.size());
    case Kind::kDict:
      return static_cast<int64_t>(value.dict().entries.size());
    case Kind::kUndefined:
      return 0;
    default:
      break;
  }
  return absl::InvalidArgumentError(absl::StrCat("a value of type ", TypeName(value),
                                                 " has no length",
                                                 value.is_list() ? "; use |list first" : ""));
}

}  // namespace quartet::tokenizer::jinja
