// What a template says, as a tree. Names of variables are numbered, so that looking one up compares
// numbers.
#pragma once

#include <memory>
#include <string>
#include <utility>
#include <variant>
#include <vector>

#include "tokenizer_service/jinja/callable.h"
#include "tokenizer_service/jinja/operators.h"
#include "tokenizer_service/jinja/value.h"

namespace quartet::tokenizer::jinja {

struct Expression;
struct Statement;
using ExpressionPtr = std::unique_ptr<Expression>;
using Body = std::vector<std::unique_ptr<Statement>>;

struct CallArguments {
  std::vector<ExpressionPtr> positional;
  std::vector<std::pair<std::string, ExpressionPtr>> keyword;
  ExpressionPtr more_positional;  // *x; null if there is none
  ExpressionPtr more_keyword;     // **x; null if there is none
};

struct Constant {
  Value value;  // no text
};
struct TextConstant {
  std::string text;
};
struct Name {
  int name;
};
struct ListDisplay {
  bool is_tuple;
  std::vector<ExpressionPtr> items;
};
struct DictDisplay {
  std::vector<std::pair<ExpressionPtr, ExpressionPtr>> entries;
};
struct Attribute {
  ExpressionPtr object;
  std::string name;
};
struct Subscript {
  ExpressionPtr object;
  ExpressionPtr key;
};
struct Slice {
  ExpressionPtr object;
  ExpressionPtr start, stop, step;  // null: not given
};
struct Call {
  ExpressionPtr callee;
  CallArguments arguments;
};
struct FilterCall {
  ExpressionPtr input;
  std::string name;
  Function function;  // null: no such filter; an error when it is reached
  CallArguments arguments;
};
struct TestCall {
  ExpressionPtr input;
  std::string name;
  TestFunction function;  // null: no such test; an error when it is reached
  CallArguments arguments;
};
struct Not {
  ExpressionPtr operand;
};
struct Sign {
  bool is_minus;
  ExpressionPtr operand;
};
struct Binary {
  BinaryOperator op;
  ExpressionPtr left, right;
};
struct Concatenation {
  std::vector<ExpressionPtr> parts;
};
struct Comparison {  // a < b < c
  ExpressionPtr first;
  std::vector<std::pair<CompareOperator, ExpressionPtr>> others;
};
struct Logical {
  bool is_and;
  ExpressionPtr left, right;
};
struct Conditional {
  ExpressionPtr condition;
  ExpressionPtr value;
  ExpressionPtr otherwise;  // null: undefined
};
struct CapturedText {};  // what a filter block or a block set has just collected

struct Expression {
  int line;
  int depth;  // levels below and with this one
  std::variant<Constant, TextConstant, Name, ListDisplay, DictDisplay, Attribute, Subscript, Slice,
               Call, FilterCall, TestCall, Not, Sign, Binary, Concatenation, Comparison, Logical,
               Conditional, CapturedText>
      node;
};

// Levels of the deepest of them; 0 for null.
int Depth(const ExpressionPtr& expression);
int Depth(const std::vector<ExpressionPtr>& expressions);
int Depth(const CallArguments& arguments);

template <typename First, typename... Rest>
int Deepest(const First& first, const Rest&... rest) {
  int depth = Depth(first);
  ((depth = Depth(rest) > depth ? Depth(rest) : depth), ...);
  return depth;
}

// What a value is assigned to: a variable, an attribute of a namespace, or several of them.
struct Target {
  int name = -1;
  std::string attribute;  // not empty: of the namespace `name`
  std::vector<Target> elements;
};

struct Text {
  std::string text;
};
struct Output {
  ExpressionPtr value;
};
struct If {
  std::vector<std::pair<ExpressionPtr, Body>> branches;
  Body otherwise;
};
struct For {
  Target target;
  ExpressionPtr items;
  ExpressionPtr condition;  // null: all items
  Body body;
  Body otherwise;
};
struct Set {
  Target target;
  ExpressionPtr value;
};
struct SetBlock {
  Target target;
  ExpressionPtr value;  // filters around CapturedText
  Body body;
};
struct FilterBlock {
  ExpressionPtr value;  // filters around CapturedText
  Body body;
};
struct Parameter {
  int name;
  ExpressionPtr default_value;  // null: undefined
};
struct Macro {
  int name;  // -1: the body of a call block
  std::string text_name;
  std::vector<Parameter> parameters;
  Body body;
};
struct CallBlock {
  Macro caller;
  ExpressionPtr call;
};
struct With {
  std::vector<std::pair<Target, ExpressionPtr>> variables;
  Body body;
};
struct Generation {  // {% generation %}: marks what the model has written; prints its body
  Body body;
};
struct Break {};
struct Continue {};

struct Statement {
  int line;
  std::variant<Text, Output, If, For, Set, SetBlock, FilterBlock, Macro, CallBlock, With,
               Generation, Break, Continue>
      node;
};

struct Program {
  Body body;
  std::vector<std::string> names;  // of variables, by their number
};

}  // namespace quartet::tokenizer::jinja
