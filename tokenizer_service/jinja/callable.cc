#include "tokenizer_service/jinja/callable.h"

#include "absl/strings/str_cat.h"

namespace quartet::tokenizer::jinja {

Value* Scope::Find(int name) {
  for (auto& [known, value] : variables) {
    if (known == name) return &value;
  }
  return nullptr;
}

void Scope::Set(int name, const Value& value) {
  if (Value* const known = Find(name); known != nullptr) {
    *known = value;
  } else {
    variables.emplace_back(name, value);
  }
}

absl::StatusOr<std::vector<std::optional<Value>>> Bind(
    const Arguments& arguments, std::initializer_list<absl::string_view> parameters,
    size_t num_required) {
  if (arguments.positional.size() > parameters.size()) {
    return absl::InvalidArgumentError(absl::StrCat(
        "takes at most ", parameters.size(), " arguments, got ", arguments.positional.size()));
  }
  std::vector<std::optional<Value>> bound(arguments.positional.begin(), arguments.positional.end());
  bound.resize(parameters.size());
  for (const auto& [name, value] : arguments.keyword) {
    size_t i = 0;
    while (i < parameters.size() && parameters.begin()[i] != name) ++i;
    if (i == parameters.size()) {
      return absl::InvalidArgumentError(absl::StrCat("has no argument '", name, "'"));
    }
    if (bound[i].has_value()) {
      return absl::InvalidArgumentError(absl::StrCat("got argument '", name, "' twice"));
    }
    bound[i] = value;
  }
  for (size_t i = 0; i < num_required; ++i) {
    if (!bound[i].has_value()) {
      return absl::InvalidArgumentError(
          absl::StrCat("needs an argument '", parameters.begin()[i], "'"));
    }
  }
  return bound;
}

}  // namespace quartet::tokenizer::jinja
