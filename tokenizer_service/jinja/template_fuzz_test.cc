// Random templates: whatever a client sends, the answer is a text or an error, within the limits.
#include <gtest/gtest.h>

#include <random>

#include "absl/strings/str_cat.h"
#include "tokenizer_service/jinja/json_reader.h"
#include "tokenizer_service/jinja/template.h"

namespace quartet::tokenizer::jinja {
namespace {

constexpr uint32_t kSeed = 20241127;
constexpr char kVariables[] =
    R"({"s": "a é\n😀", "n": 3, "f": 2.5, "l": [1, "x", [2], null], "d": {"k": 1, "items": {}},
        "messages": [{"role": "user", "content": "hi"}, {"role": "assistant", "content": ""}]})";

// What templates are made of, wrong ones included.
const char* const kPieces[] = {"{{",
                               "}}",
                               "{%",
                               "%}",
                               "{{-",
                               "-}}",
                               "{%-",
                               "-%}",
                               "{#",
                               "#}",
                               " ",
                               "\n",
                               "if ",
                               "elif ",
                               "else",
                               "endif",
                               "for ",
                               " in ",
                               "endfor",
                               "set ",
                               "endset",
                               "macro m(a, b=1)",
                               "endmacro",
                               "call m(1)",
                               "endcall",
                               "filter ",
                               "endfilter",
                               "with x = 1",
                               "endwith",
                               "raw",
                               "endraw",
                               "break",
                               "continue",
                               "generation",
                               "endgeneration",
                               "s",
                               "n",
                               "f",
                               "l",
                               "d",
                               "messages",
                               "x",
                               "loop",
                               "loop.index",
                               "loop.previtem",
                               "ns",
                               "namespace(x=1)",
                               "ns.x",
                               "m",
                               "caller()",
                               "(",
                               ")",
                               "[",
                               "]",
                               "{",
                               "}",
                               ",",
                               ":",
                               "=",
                               "==",
                               "<",
                               ">=",
                               "!=",
                               "+",
                               "-",
                               "*",
                               "/",
                               "//",
                               "%",
                               "**",
                               "~",
                               "|",
                               ".",
                               "not ",
                               " and ",
                               " or ",
                               " is ",
                               " if ",
                               " else ",
                               "0",
                               "1",
                               "-1",
                               "99",
                               "1.5",
                               "9223372036854775807",
                               "'a'",
                               "\"b\"",
                               "'%s %d'",
                               "'{} {:>5}'",
                               "'\\x41'",
                               "''",
                               "true",
                               "none",
                               "[::-1]",
                               "[1:]",
                               "[:-1]",
                               "[0]",
                               ".k",
                               "['k']",
                               ".items()",
                               ".get('k')",
                               ".split()",
                               ".split('a')",
                               ".strip()",
                               ".format(1, s)",
                               ".replace('a', 'bb')",
                               ".join(l)",
                               ".upper()",
                               ".title()",
                               ".splitlines()",
                               "range(5)",
                               "range(n)",
                               "dict(a=1)",
                               "raise_exception('x')",
                               "strftime_now('%Y')",
                               "|length",
                               "|tojson",
                               "|tojson(indent=2)",
                               "|trim",
                               "|upper",
                               "|list",
                               "|join(',')",
                               "|first",
                               "|last",
                               "|sort",
                               "|unique",
                               "|reverse",
                               "|dictsort",
                               "|items",
                               "|map(attribute='role')",
                               "|map('upper')",
                               "|selectattr('role', 'equalto', 'user')",
                               "|reject",
                               "|default('z')",
                               "|int",
                               "|float",
                               "|string",
                               "|safe",
                               "|e",
                               "|indent",
                               "|replace('a', 'b')",
                               "|round",
                               "|abs",
                               "|sum",
                               "|min",
                               "|format(1)",
                               "|title",
                               "|capitalize",
                               " defined",
                               " string",
                               " mapping",
                               " none",
                               " iterable",
                               " odd",
                               " in l",
                               "text",
                               "é",
                               "\xff"};

class Fuzzer {
 public:
  explicit Fuzzer(uint32_t seed) : random_(seed) {}

  size_t Below(size_t bound) { return random_() % bound; }

  std::string Piece() { return kPieces[Below(std::size(kPieces))]; }

  // Pieces in any order: mostly not a template.
  std::string Noise() {
    std::string text;
    for (size_t i = Below(30); i > 0; --i) absl::StrAppend(&text, Piece());
    return text;
  }

  // Mostly an expression.
  std::string Expression(int depth) {
    if (depth == 0) {
      constexpr const char* kLeaves[] = {"s",  "n",  "f",       "l",    "d",    "x",  "messages",
                                         "1",  "-2", "'a%s{}'", "none", "true", "ns", "loop",
                                         "[]", "{}", "m",       "ns.x", "1.5"};
      return kLeaves[Below(std::size(kLeaves))];
    }
    const std::string a = Expression(depth - 1);
    const std::string b = Expression(static_cast<int>(Below(static_cast<size_t>(depth))));
    switch (Below(12)) {
      case 0:
        return absl::StrCat("(", a, Operator(), b, ")");
      case 1:
        return absl::StrCat("[", a, ", ", b, "]");
      case 2:
        return absl::StrCat("{", b, ": ", a, "}");
      case 3:
        return absl::StrCat("(", a, " if ", b, " else ", a, ")");
      case 4:
        return absl::StrCat(a, "[", b, "]");
      case 5:
        return absl::StrCat(a, "[", b, ":", b, ":", b, "]");
      case 6:
        return absl::StrCat("m(", a, ", b=", b, ")");
      case 7:
        return absl::StrCat("(not ", a, ")");
      default:
        return absl::StrCat("(", a, Suffix(), ")");
    }
  }

  // Mostly a template.
  std::string Block(int depth) {
    std::string text;
    for (size_t i = 1 + Below(3); i > 0; --i) {
      const std::string e = Expression(static_cast<int>(Below(4)));
      const std::string inner = depth == 0 ? "t" : Block(depth - 1);
      switch (Below(8)) {
        case 0:
          absl::StrAppend(&text, "{% if ", e, " %}", inner, "{% else %}", inner, "{% endif %}");
          break;
        case 1:
          absl::StrAppend(&text, "{% for x in ", e, " %}", inner, "{% endfor %}");
          break;
        case 2:
          absl::StrAppend(&text, "{% set x = ", e, " %}");
          break;
        case 3:
          absl::StrAppend(&text, "{% set ns = namespace(x=", e, ") %}{% set ns.x = [ns.x, ns] %}");
          break;
        case 4:
          absl::StrAppend(&text, "{% macro m(a, b=1) %}", inner, "{% endmacro %}");
          break;
        case 5:
          absl::StrAppend(&text, "{% set x %}", inner, "{% endset %}{% filter upper %}", inner,
                          "{% endfilter %}");
          break;
        default:
          absl::StrAppend(&text, "{{ ", e, " }}");
      }
    }
    return text;
  }

 private:
  std::string Operator() {
    constexpr const char* kOperators[] = {" + ",  " - ",   " * ",  " / ",     " // ",
                                          " % ",  " ** ",  " ~ ",  " == ",    " < ",
                                          " in ", " and ", " or ", " not in "};
    return kOperators[Below(std::size(kOperators))];
  }

  // A filter, method or test; the list of pieces holds them among others.
  std::string Suffix() {
    while (true) {
      const std::string piece = Piece();
      if (piece.size() > 2 && (piece[0] == '|' || piece[0] == '.')) return piece;
      if (piece == " defined" || piece == " string" || piece == " odd") return " is" + piece;
    }
  }

  std::mt19937 random_;
};

// Parses and renders under small limits; whether it gave a text.
bool Survives(const std::string& source) {
  Limits limits;
  limits.max_steps = 3'000;
  limits.max_value_bytes = 1 << 20;
  limits.max_output_bytes = 1 << 16;
  const auto parsed = Template::Parse(source, limits);
  if (!parsed.ok()) {
    EXPECT_FALSE(parsed.status().message().empty());
    return false;
  }
  Heap variables_heap{Limits()};
  const auto variables = ReadJson(kVariables, &variables_heap);
  Heap heap(limits);
  const auto text = parsed->Render(variables->dict(), &heap, 0);
  if (text.ok()) {
    EXPECT_LE(text->size(), limits.max_output_bytes) << source;
  }
  return text.ok();
}

TEST(TemplateFuzzTest, NoiseIsAnError) {
  Fuzzer fuzzer(kSeed);
  for (int i = 0; i < 20'000; ++i) {
    Survives(fuzzer.Noise());
    Survives("{{ " + fuzzer.Noise() + " }}");
  }
}

TEST(TemplateFuzzTest, RandomTemplatesEndWithinTheLimits) {
  Fuzzer fuzzer(kSeed + 1);
  int num_texts = 0;
  constexpr int kNumTemplates = 6'000;
  for (int i = 0; i < kNumTemplates; ++i) num_texts += Survives(fuzzer.Block(2)) ? 1 : 0;
  EXPECT_GT(num_texts, kNumTemplates / 20) << "seed " << kSeed + 1;
}

TEST(TemplateFuzzTest, MutilatedTemplatesAreNoHarm) {
  Fuzzer fuzzer(kSeed + 2);
  for (int i = 0; i < 5'000; ++i) {
    std::string source = fuzzer.Block(2);
    for (size_t n = 1 + fuzzer.Below(3); n > 0; --n) {
      const size_t at = fuzzer.Below(source.size() + 1);
      switch (fuzzer.Below(3)) {
        case 0:
          source.erase(at, 1 + fuzzer.Below(4));
          break;
        case 1:
          source.insert(at, fuzzer.Piece());
          break;
        default:
          source = source.substr(0, at) + source.substr(fuzzer.Below(source.size() + 1));
      }
    }
    Survives(source);
  }
}

}  // namespace
}  // namespace quartet::tokenizer::jinja
