#include "tokenizer_service/jinja/globals.h"

#include <cstdlib>
#include <limits>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "common/status_macros.h"
#include "tokenizer_service/jinja/access.h"
#include "tokenizer_service/jinja/print.h"

namespace quartet::tokenizer::jinja {
namespace {

// As Jinja's sandbox has it.
constexpr int64_t kMaxRange = 100'000;
constexpr size_t kMaxTimeBytes = 1024;

absl::StatusOr<Value> Range(Context& context, const Value&, const Arguments& arguments) {
  ASSIGN_OR_RETURN(const auto bound, Bind(arguments, {"start", "stop", "step"}, 1));
  int64_t numbers[3] = {0, 0, 1};
  for (size_t i = 0; i < 3; ++i) {
    if (!bound[i].has_value()) continue;
    if (!bound[i]->is_whole()) {
      return absl::InvalidArgumentError(
          absl::StrCat("needs whole numbers, not ", TypeName(*bound[i])));
    }
    numbers[i] = bound[i]->integer();
  }
  if (!bound[1].has_value()) {
    numbers[1] = numbers[0];
    numbers[0] = 0;
  }
  const int64_t step = numbers[2];
  if (step == 0) return absl::InvalidArgumentError("the step can't be 0");
  std::vector<Value> items;
  for (int64_t i = numbers[0]; step > 0 ? i < numbers[1] : i > numbers[1];) {
    if (static_cast<int64_t>(items.size()) == kMaxRange) {
      return absl::InvalidArgumentError(absl::StrCat("has more than ", kMaxRange, " numbers"));
    }
    items.push_back(Value::Int(i));
    if (__builtin_add_overflow(i, step, &i)) break;
  }
  RETURN_IF_ERROR(context.heap.Work(static_cast<int64_t>(items.size() / 4)));
  return context.heap.NewList(std::move(items), ListKind::kRange);
}

// A dict from another one, or from pairs, and from named arguments.
absl::StatusOr<Dict*> MakeDict(Context& context, const Arguments& arguments) {
  if (arguments.positional.size() > 1) {
    return absl::InvalidArgumentError("takes at most 1 argument without a name");
  }
  Dict* const dict = context.heap.NewDict();
  if (!arguments.positional.empty()) {
    const Value& from = arguments.positional[0];
    if (from.is_dict()) {
      RETURN_IF_ERROR(context.heap.Work(static_cast<int64_t>(from.dict().entries.size())));
      for (const auto& [key, value] : from.dict().entries) dict->Set(key, value);
    } else {
      ASSIGN_OR_RETURN(const std::vector<Value>* const pairs, Items(from, &context.heap));
      for (const Value& pair : *pairs) {
        RETURN_IF_ERROR(context.heap.Step());
        const bool is_pair = pair.is_list() && pair.list().items.size() == 2 &&
                             !pair.list().items[0].is_list() && !pair.list().items[0].is_dict();
        if (!is_pair) return absl::InvalidArgumentError("needs a dict, or pairs of key and value");
        dict->Set(pair.list().items[0], pair.list().items[1]);
      }
    }
  }
  for (const auto& [name, value] : arguments.keyword) dict->Set(Value::String(name), value);
  context.heap.CountEntries(dict->entries.size());
  return dict;
}

absl::StatusOr<Value> DictFunction(Context& context, const Value&, const Arguments& arguments) {
  ASSIGN_OR_RETURN(Dict* const dict, MakeDict(context, arguments));
  return Value::Of(dict);
}

absl::StatusOr<Value> NamespaceFunction(Context& context, const Value&,
                                        const Arguments& arguments) {
  ASSIGN_OR_RETURN(Dict* const dict, MakeDict(context, arguments));
  return Value::NamespaceOf(dict);
}

absl::StatusOr<Value> RaiseException(Context& context, const Value&, const Arguments& arguments) {
  ASSIGN_OR_RETURN(const auto bound, Bind(arguments, {"message"}, 1));
  ASSIGN_OR_RETURN(const absl::string_view message, ToText(*bound[0], &context.heap));
  return absl::InvalidArgumentError(
      absl::StrCat("the template refuses the conversation: ", message.substr(0, 2000)));
}

absl::StatusOr<Value> StrftimeNow(Context& context, const Value&, const Arguments& arguments) {
  ASSIGN_OR_RETURN(const auto bound, Bind(arguments, {"format"}, 1));
  if (!bound[0]->is_string() || bound[0]->text().size() > kMaxTimeBytes) {
    return absl::InvalidArgumentError("needs a short text as its format");
  }
  // A local time without a zone: %z and %Z are empty, and there is nothing finer than seconds.
  const std::string format = absl::StrReplaceAll(
      bound[0]->text(), {{"%%", "%%"}, {"%z", ""}, {"%Z", ""}, {"%f", "000000"}});
  std::tm local;
  char text[kMaxTimeBytes];
  if (localtime_r(&context.now, &local) == nullptr) {
    return absl::InvalidArgumentError("the time can't be told");
  }
  const size_t length = std::strftime(text, sizeof(text), format.c_str(), &local);
  if (length == 0 && !format.empty() && format != "%p") {
    return absl::InvalidArgumentError("the format gives no text, or too long a one");
  }
  return context.heap.NewString(std::string(text, length));
}

struct Global {
  absl::string_view name;
  Function function;  // null: Jinja has it, templates of models don't need it
};

constexpr Global kGlobals[] = {
    {"range", Range},
    {"dict", DictFunction},
    {"namespace", NamespaceFunction},
    {"raise_exception", RaiseException},
    {"strftime_now", StrftimeNow},
    {"lipsum", nullptr},
    {"cycler", nullptr},
    {"joiner", nullptr},
};

}  // namespace

Value FindGlobal(absl::string_view name, Heap* heap) {
  for (const Global& global : kGlobals) {
    if (global.name != name) continue;
    if (global.function == nullptr) return Value::Undefined(Missing::kUnsupported, global.name);
    Callable* const callable = heap->NewCallable();
    callable->name = global.name;
    callable->function = global.function;
    return Value::Of(callable);
  }
  return Value::None();
}

}  // namespace quartet::tokenizer::jinja
