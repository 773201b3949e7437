#include "tokenizer_service/jinja/parser.h"

#include <algorithm>
#include <initializer_list>
#include <optional>

#include "common/status_macros.h"
#include "tokenizer_service/jinja/expression_parser.h"
#include "tokenizer_service/utf8.h"

namespace quartet::tokenizer::jinja {
namespace {

using EndTags = std::initializer_list<absl::string_view>;

// Tags of Jinja that make no sense in a chat template: it is one file, and no HTML.
constexpr absl::string_view kRefusedTags[] = {"block", "extends", "include",    "import",
                                              "from",  "do",      "autoescape", "trans"};

class StatementParser {
 public:
  StatementParser(std::vector<Token> tokens, const Limits& limits)
      : tokens_(std::move(tokens)),
        limits_(limits),
        expressions_(&tokens_, &names_, limits.max_syntax_depth) {}

  absl::StatusOr<Program> Parse() {
    Program program;
    ASSIGN_OR_RETURN(program.body, ParseBody({}));
    program.names = names_.Take();
    return program;
  }

 private:
  // Statements up to one of `ends`, whose name is the next token then; to the end of the template
  // if there are none.
  absl::StatusOr<Body> ParseBody(EndTags ends) {
    if (++depth_ > limits_.max_syntax_depth) {
      return TokenStream::Error(tokens_.line(), absl::StrCat("blocks are nested more than ",
                                                             limits_.max_syntax_depth, " deep"));
    }
    Body body;
    while (!tokens_.Is(TokenKind::kEnd)) {
      const int line = tokens_.line();
      if (tokens_.Is(TokenKind::kText)) {
        Add(line, Text{tokens_.Next().text}, &body);
      } else if (tokens_.Is(TokenKind::kVariableBegin)) {
        tokens_.Next();
        ASSIGN_OR_RETURN(ExpressionPtr value, expressions_.ParseTuple());
        RETURN_IF_ERROR(tokens_.Expect(TokenKind::kVariableEnd));
        Add(line, Output{std::move(value)}, &body);
      } else {
        tokens_.Next();
        const bool ends_here = std::any_of(ends.begin(), ends.end(), [this](absl::string_view end) {
          return tokens_.IsName(end);
        });
        if (ends_here) {
          --depth_;
          return body;
        }
        RETURN_IF_ERROR(ParseStatement(ends, &body));
        RETURN_IF_ERROR(tokens_.Expect(TokenKind::kBlockEnd));
      }
    }
    if (ends.size() > 0) {
      return tokens_.Unexpected(absl::StrCat("{% ", *(ends.end() - 1), " %}"));
    }
    --depth_;
    return body;
  }

  template <typename Node>
  static void Add(int line, Node node, Body* body) {
    body->push_back(std::make_unique<Statement>(Statement{line, std::move(node)}));
  }

  // The end of an opening tag, then its body.
  absl::StatusOr<Body> ParseBlock(EndTags ends) {
    tokens_.TakeOperator(":");
    RETURN_IF_ERROR(tokens_.Expect(TokenKind::kBlockEnd));
    return ParseBody(ends);
  }

  // A body that ends with `end`, whose name is taken.
  absl::StatusOr<Body> ParseWholeBlock(absl::string_view end) {
    ASSIGN_OR_RETURN(Body body, ParseBlock({end}));
    tokens_.Next();
    return body;
  }

  // The same for what is a function of its own: loops around it can't be left from inside.
  absl::StatusOr<Body> ParseFunctionBody(absl::string_view end) {
    const int loops = std::exchange(loops_, 0);
    ASSIGN_OR_RETURN(Body body, ParseWholeBlock(end));
    loops_ = loops;
    return body;
  }

  absl::Status ParseStatement(EndTags ends, Body* body) {
    const int line = tokens_.line();
    if (!tokens_.Is(TokenKind::kName)) return tokens_.Unexpected("the name of a tag");
    const std::string tag = tokens_.Peek().text;
    if (tag == "if") return ParseIf(line, body);
    if (tag == "for") return ParseFor(line, body);
    if (tag == "set") return ParseSet(line, body);
    if (tag == "macro") return ParseMacro(line, body);
    if (tag == "call") return ParseCallBlock(line, body);
    if (tag == "with") return ParseWith(line, body);
    tokens_.Next();
    if (tag == "filter") {
      FilterBlock block;
      ASSIGN_OR_RETURN(block.value, expressions_.ParseBlockFilters(false));
      ASSIGN_OR_RETURN(block.body, ParseWholeBlock("endfilter"));
      Add(line, std::move(block), body);
      return absl::OkStatus();
    }
    if (tag == "generation") {
      Generation generation;
      ASSIGN_OR_RETURN(generation.body, ParseFunctionBody("endgeneration"));
      Add(line, std::move(generation), body);
      return absl::OkStatus();
    }
    if (tag == "print") {
      do {
        ASSIGN_OR_RETURN(ExpressionPtr value, expressions_.ParseExpression());
        Add(line, Output{std::move(value)}, body);
      } while (tokens_.TakeOperator(","));
      return absl::OkStatus();
    }
    if (tag == "break" || tag == "continue") {
      if (loops_ == 0) return TokenStream::Error(line, absl::StrCat("'", tag, "' outside a loop"));
      if (tag == "break") {
        Add(line, Break{}, body);
      } else {
        Add(line, Continue{}, body);
      }
      return absl::OkStatus();
    }
    return UnknownTag(tag, line, ends);
  }

  static absl::Status UnknownTag(absl::string_view tag, int line, EndTags ends) {
    const bool refused =
        std::find(std::begin(kRefusedTags), std::end(kRefusedTags), tag) != std::end(kRefusedTags);
    std::string what = absl::StrCat("the tag {% ", tag, " %} is ",
                                    refused ? "not supported in chat templates" : "unknown");
    if (ends.size() > 0) absl::StrAppend(&what, " (looking for {% ", *(ends.end() - 1), " %})");
    return TokenStream::Error(line, what);
  }

  absl::Status ParseIf(int line, Body* body) {
    If statement;
    do {
      tokens_.Next();  // if, elif
      ASSIGN_OR_RETURN(ExpressionPtr condition, expressions_.ParseTuple(false));
      expressions_.EnterConditionalBody();
      ASSIGN_OR_RETURN(Body branch, ParseBlock({"elif", "else", "endif"}));
      expressions_.LeaveConditionalBody();
      statement.branches.emplace_back(std::move(condition), std::move(branch));
    } while (tokens_.IsName("elif"));
    if (tokens_.Next().text == "else") {
      expressions_.EnterConditionalBody();
      ASSIGN_OR_RETURN(statement.otherwise, ParseWholeBlock("endif"));
      expressions_.LeaveConditionalBody();
    }
    Add(line, std::move(statement), body);
    return absl::OkStatus();
  }

  absl::Status ParseFor(int line, Body* body) {
    tokens_.Next();
    For loop;
    ASSIGN_OR_RETURN(loop.target, expressions_.ParseTarget());
    if (!loop.target.attribute.empty()) {
      return TokenStream::Error(line, "a loop can't assign to an attribute");
    }
    RETURN_IF_ERROR(tokens_.ExpectName("in"));
    ASSIGN_OR_RETURN(loop.items, expressions_.ParseTuple(false));
    if (tokens_.TakeName("if")) {
      ASSIGN_OR_RETURN(loop.condition, expressions_.ParseExpression());
    }
    if (tokens_.IsName("recursive")) {
      return TokenStream::Error(line, "{% for ... recursive %} is not supported");
    }
    ++loops_;
    ASSIGN_OR_RETURN(loop.body, ParseBlock({"else", "endfor"}));
    --loops_;
    if (tokens_.Next().text == "else") {
      ASSIGN_OR_RETURN(loop.otherwise, ParseWholeBlock("endfor"));
    }
    Add(line, std::move(loop), body);
    return absl::OkStatus();
  }

  absl::Status ParseSet(int line, Body* body) {
    tokens_.Next();
    ASSIGN_OR_RETURN(Target target, expressions_.ParseTarget());
    if (tokens_.TakeOperator("=")) {
      ASSIGN_OR_RETURN(ExpressionPtr value, expressions_.ParseTuple());
      Add(line, Set{std::move(target), std::move(value)}, body);
      return absl::OkStatus();
    }
    SetBlock block;
    block.target = std::move(target);
    ASSIGN_OR_RETURN(block.value, expressions_.ParseBlockFilters(true));
    ASSIGN_OR_RETURN(block.body, ParseWholeBlock("endset"));
    Add(line, std::move(block), body);
    return absl::OkStatus();
  }

  absl::Status ParseParameters(std::vector<Parameter>* parameters) {
    RETURN_IF_ERROR(tokens_.ExpectOperator("("));
    bool has_defaults = false;
    while (!tokens_.IsOperator(")")) {
      if (!parameters->empty()) RETURN_IF_ERROR(tokens_.ExpectOperator(","));
      if (!tokens_.Is(TokenKind::kName)) return tokens_.Unexpected("the name of a parameter");
      const int line = tokens_.line();
      Parameter parameter;
      parameter.name = names_.Number(tokens_.Next().text);
      if (tokens_.TakeOperator("=")) {
        ASSIGN_OR_RETURN(parameter.default_value, expressions_.ParseExpression());
        has_defaults = true;
      } else if (has_defaults) {
        return TokenStream::Error(line, "a parameter without a default follows one with a default");
      }
      parameters->push_back(std::move(parameter));
    }
    tokens_.Next();
    return absl::OkStatus();
  }

  absl::Status ParseMacro(int line, Body* body) {
    tokens_.Next();
    if (!tokens_.Is(TokenKind::kName)) return tokens_.Unexpected("the name of the macro");
    Macro macro;
    macro.text_name = tokens_.Next().text;
    macro.name = names_.Number(macro.text_name);
    RETURN_IF_ERROR(ParseParameters(&macro.parameters));
    ASSIGN_OR_RETURN(macro.body, ParseFunctionBody("endmacro"));
    Add(line, std::move(macro), body);
    return absl::OkStatus();
  }

  absl::Status ParseCallBlock(int line, Body* body) {
    tokens_.Next();
    CallBlock block;
    block.caller.name = -1;
    block.caller.text_name = "caller";
    if (tokens_.IsOperator("(")) RETURN_IF_ERROR(ParseParameters(&block.caller.parameters));
    ASSIGN_OR_RETURN(block.call, expressions_.ParseExpression());
    if (!std::holds_alternative<Call>(block.call->node)) {
      return TokenStream::Error(line, "{% call %} needs a call");
    }
    ASSIGN_OR_RETURN(block.caller.body, ParseFunctionBody("endcall"));
    Add(line, std::move(block), body);
    return absl::OkStatus();
  }

  absl::Status ParseWith(int line, Body* body) {
    tokens_.Next();
    With with;
    while (!tokens_.Is(TokenKind::kBlockEnd)) {
      if (!with.variables.empty()) RETURN_IF_ERROR(tokens_.ExpectOperator(","));
      if (!tokens_.Is(TokenKind::kName)) return tokens_.Unexpected("the name of a variable");
      Target target;
      target.name = names_.Number(tokens_.Next().text);
      RETURN_IF_ERROR(tokens_.ExpectOperator("="));
      ASSIGN_OR_RETURN(ExpressionPtr value, expressions_.ParseExpression());
      with.variables.emplace_back(std::move(target), std::move(value));
    }
    ASSIGN_OR_RETURN(with.body, ParseWholeBlock("endwith"));
    Add(line, std::move(with), body);
    return absl::OkStatus();
  }

  TokenStream tokens_;
  const Limits& limits_;
  NameTable names_;
  ExpressionParser expressions_;
  int depth_ = 0;  // of bodies
  int loops_ = 0;  // that the statement stands in
};

}  // namespace

absl::StatusOr<Program> ParseProgram(absl::string_view source, const Limits& limits) {
  if (source.size() > limits.max_template_bytes) {
    return absl::InvalidArgumentError(absl::StrCat("the template has ", source.size(),
                                                   " bytes; at most ", limits.max_template_bytes,
                                                   " are taken"));
  }
  const size_t invalid = FindInvalidUtf8(source);
  if (invalid != absl::string_view::npos) {
    return absl::InvalidArgumentError(
        absl::StrCat("the template is not UTF-8 at byte offset ", invalid));
  }
  ASSIGN_OR_RETURN(std::vector<Token> tokens, Tokenize(source));
  return StatementParser(std::move(tokens), limits).Parse();
}

}  // namespace quartet::tokenizer::jinja
