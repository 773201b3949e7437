// The parts of json_schema_grammar.h's reader. Internal to this folder.
#pragma once

#include <map>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "worker/grammar/ebnf.h"
#include "worker/grammar/json_schema_grammar.h"
#include "worker/grammar/json_schema_node.h"
#include "worker/grammar/string_length.h"

namespace quartet::grammar {

// The characters that stand in a JSON string as they are.
CharacterSet PlainCharacters();

// An expression that matches what fits, or nothing if no value does.
using Expression = std::optional<std::string>;

// Writes the rules of one schema. One use.
class JsonSchemaWriter {
 public:
  // `root` must outlive the writer.
  JsonSchemaWriter(const Schema& root, const JsonGrammarOptions& options);

  absl::StatusOr<std::string> Write();

 private:
  // What a schema says of its values, whatever kind they are.
  absl::StatusOr<Expression> Value(const Schema& schema, const std::string& path, int depth);
  absl::StatusOr<Expression> Reference(const Schema& schema, const std::string& path, int depth);
  absl::StatusOr<Expression> Constants(const Schema& schema, const std::string& path);
  // anyOf or oneOf.
  absl::StatusOr<Expression> Branches(const Schema& schema, const char* keyword,
                                      const std::string& path, int depth);
  absl::StatusOr<Expression> ByType(const Schema& schema, const std::string& path, int depth);

  // What it says of one kind (json_schema_scalars.cc).
  absl::StatusOr<Expression> Number(const Schema& schema, bool only_integers,
                                    const std::string& path);
  absl::StatusOr<Expression> Multiples(int64_t factor, std::optional<int64_t> min,
                                       std::optional<int64_t> max, const std::string& path);
  absl::StatusOr<Expression> String(const Schema& schema, const std::string& path);
  std::string ConstantExpression(const Schema& value);
  // A string whose length string_length.h keeps.
  std::string LengthString(const StringLength& length);

  // (json_schema_containers.cc)
  struct Property {
    std::string name;
    Expression value;  // nothing: it must not be there
    bool is_required = false;
  };
  // An object under construction.
  struct Object {
    std::vector<Property> properties;
    Expression extra_pair;  // what may follow them
    int64_t min = 0;
    std::optional<int64_t> max;
    // Rules by the next property and how many were written.
    std::map<std::pair<size_t, int64_t>, Expression> tails;
  };
  absl::StatusOr<Expression> ObjectValue(const Schema& schema, const std::string& path, int depth);
  absl::Status ReadProperties(const Schema& schema, const std::string& path, int depth,
                              Object* object);
  absl::Status ReadExtras(const Schema& schema, const std::string& path, int depth, Object* object);
  // What follows once `count` pairs are written and `next` is the property to decide on.
  Expression ObjectTail(Object* object, size_t next, int64_t count);
  Expression ExtraPairs(const Object& object, int64_t count);
  // Names that none of the properties has.
  std::string OtherName(const std::vector<Property>& properties);
  absl::StatusOr<Expression> ArrayValue(const Schema& schema, const std::string& path, int depth);
  absl::Status ReadPrefixItems(const Schema& schema, const std::string& path, int depth,
                               std::vector<std::string>* prefix, std::optional<int64_t>* max);
  // What may stand between the brackets: the items of `prefix`, then any number of `rest`.
  std::string ItemsTail(const std::vector<std::string>& prefix, const Expression& rest, int64_t min,
                        std::optional<int64_t> max);

  absl::StatusOr<std::optional<int64_t>> Count(const Schema& schema, const char* keyword,
                                               const std::string& path) const;
  absl::Status CheckSize(const std::string& path) const;
  std::string Comma() const;

  const Schema& root_;
  EbnfRules rules_;
  std::map<std::string, std::string> references_;  // rules by what $ref says
  std::string white_space_;                        // between tokens
  std::map<int, std::string> lengths_;             // expressions by code
  std::string escaped_tail_, unescaped_tail_;      // rules of strings with a length
  std::string any_, any_object_, any_array_, string_, number_;
};

}  // namespace quartet::grammar
