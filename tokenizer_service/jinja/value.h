// The values that templates work on: Python's, as far as chat templates need them. A Value is a
// small handle; what it points to belongs to the Heap of one rendering (or to the template's text)
// and goes away with it, so values may form circles without leaking.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/strings/string_view.h"

namespace quartet::tokenizer::jinja {

struct Callable;
struct Dict;
struct List;
struct Loop;

enum class Kind : uint8_t {
  kUndefined,
  kNone,
  kBool,
  kInt,
  kBigInt,  // a whole number beyond 64 bits, kept as its digits; prints, but does not calculate
  kFloat,
  kString,  // UTF-8
  kList,    // everything that is a row of items, see ListKind
  kDict,
  kNamespace,
  kLoop,  // the variable `loop`
  kCallable,
};

// Why a value is undefined; decides the message when it is used after all.
enum class Missing : uint8_t {
  kVariable,     // text() is the name
  kAttribute,    // text() is the name of the attribute or key
  kUnsupported,  // text() names an attribute that Python has and this evaluator does not
  kOther,        // text() is the whole message
};

class Value {
 public:
  Value() : Value(Kind::kNone) {}

  static Value None() { return Value(); }
  static Value Undefined(Missing why, absl::string_view text) {
    Value value(Kind::kUndefined);
    value.SetText(text);
    value.detail_ = static_cast<uint8_t>(why);
    return value;
  }
  static Value Bool(bool truth) {
    Value value(Kind::kBool);
    value.integer_ = truth ? 1 : 0;
    return value;
  }
  static Value Int(int64_t number) {
    Value value(Kind::kInt);
    value.integer_ = number;
    return value;
  }
  static Value BigInt(absl::string_view digits) {
    Value value(Kind::kBigInt);
    value.SetText(digits);
    return value;
  }
  static Value Float(double number) {
    Value value(Kind::kFloat);
    value.number_ = number;
    return value;
  }
  // `is_markup`: text that is marked safe. Adding other text to it escapes that text, as in Jinja.
  static Value String(absl::string_view text, bool is_markup = false) {
    Value value(Kind::kString);
    value.SetText(text);
    value.detail_ = is_markup ? 1 : 0;
    return value;
  }
  static Value Of(List* list) { return Pointer(Kind::kList, list); }
  static Value Of(Dict* dict) { return Pointer(Kind::kDict, dict); }
  static Value NamespaceOf(Dict* attributes) { return Pointer(Kind::kNamespace, attributes); }
  static Value Of(Loop* loop) { return Pointer(Kind::kLoop, loop); }
  static Value Of(const Callable* callable) {
    return Pointer(Kind::kCallable, const_cast<Callable*>(callable));
  }

  Kind kind() const { return kind_; }
  bool is(Kind kind) const { return kind_ == kind; }
  bool is_undefined() const { return is(Kind::kUndefined); }
  bool is_none() const { return is(Kind::kNone); }
  bool is_string() const { return is(Kind::kString); }
  bool is_dict() const { return is(Kind::kDict); }
  bool is_list() const { return is(Kind::kList); }
  bool is_markup() const { return is_string() && detail_ != 0; }
  // bool, int or float: what Python calculates with.
  bool is_number() const { return is(Kind::kBool) || is(Kind::kInt) || is(Kind::kFloat); }
  bool is_whole() const { return is(Kind::kBool) || is(Kind::kInt); }

  // REQUIRES: the kind that holds it.
  Missing missing() const { return static_cast<Missing>(detail_); }
  int64_t integer() const { return integer_; }
  double number() const { return is(Kind::kFloat) ? number_ : static_cast<double>(integer_); }
  absl::string_view text() const { return {static_cast<const char*>(pointer_), size_}; }
  List& list() const { return *static_cast<List*>(pointer_); }
  Dict& dict() const { return *static_cast<Dict*>(pointer_); }
  Loop& loop() const { return *static_cast<Loop*>(pointer_); }
  const Callable& callable() const { return *static_cast<const Callable*>(pointer_); }
  // The same object, as Python's `is`.
  const void* identity() const { return pointer_; }

 private:
  explicit Value(Kind kind) : kind_(kind), integer_(0) {}
  static Value Pointer(Kind kind, void* pointer) {
    Value value(kind);
    value.pointer_ = pointer;
    return value;
  }
  void SetText(absl::string_view text) {
    pointer_ = const_cast<char*>(text.data());
    size_ = text.size();
  }

  Kind kind_;
  uint8_t detail_ = 0;
  union {
    int64_t integer_;
    double number_;
    void* pointer_;
  };
  size_t size_ = 0;
};

// What Python would call a row of items; they differ in what may be done with them.
enum class ListKind : uint8_t {
  kList,
  kTuple,
  kRange,
  kGenerator,  // can be gone through once
  kItemsView,
  kKeysView,
  kValuesView,
};

struct List {
  ListKind kind = ListKind::kList;
  std::vector<Value> items;
  size_t next = 0;  // of a generator: the first item that nobody has taken

  bool is_sequence() const {
    return kind == ListKind::kList || kind == ListKind::kTuple || kind == ListKind::kRange;
  }
};

// Keeps the order in which keys came.
struct Dict {
  std::vector<std::pair<Value, Value>> entries;
  absl::flat_hash_map<absl::string_view, size_t> index;  // of text keys, once there are many

  // Null if there is no such key.
  const Value* Find(const Value& key) const;
  const Value* Find(absl::string_view key) const { return Find(Value::String(key)); }
  // A repeated key keeps its place and takes the new value.
  void Set(const Value& key, const Value& value);
};

// The state of one `for` while it runs.
struct Loop {
  const std::vector<Value>* items = nullptr;
  size_t index0 = 0;
  std::vector<Value> last_changed;  // what loop.changed() got last
  bool has_changed = false;
};

// Python's names: 'str', 'dict', ...
absl::string_view TypeName(const Value& value);

// What went wrong by using an undefined value. REQUIRES: value.is_undefined().
std::string ExplainUndefined(const Value& value);

bool IsTrue(const Value& value);

// Python's == for what can be a key of a dict; lists and dicts are equal only to themselves.
bool EqualScalars(const Value& left, const Value& right);

}  // namespace quartet::tokenizer::jinja
