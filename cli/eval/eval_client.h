// What the evaluations ask of a server, over gRPC, in plain structs. Any number of threads may use
// one client.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace quartet::cli::eval {

struct ServedModel {
  std::string name;
  uint32_t max_model_len = 0;
  bool has_chat_template = false;
};

// Exactly one is not empty.
struct EvalPrompt {
  std::string text;          // continued as it is
  std::string user_message;  // of a conversation of one turn
  std::vector<uint32_t> token_ids;
};

struct EvalRequest {
  EvalPrompt prompt;
  uint32_t max_tokens = 1;
  double temperature = 0;
  uint64_t seed = 0;
  std::string json_schema;  // the shape of the answer; empty: free text
  bool prompt_logprobs = false;
};

struct EvalAnswer {
  std::string text;
  bool is_cut = false;  // max_tokens or the context ended it
  uint32_t prompt_tokens = 0;
  uint32_t completion_tokens = 0;
  // Natural logarithms, one for each prompt token after the first, if asked for.
  std::vector<double> prompt_logprobs;
};

class EvalClient {
 public:
  // Returns UNAVAILABLE if no server answers at `address`.
  static absl::StatusOr<std::unique_ptr<EvalClient>> Connect(const std::string& address);
  ~EvalClient();

  const ServedModel& model() const;

  // Without the tokenizer's own prefix tokens.
  absl::StatusOr<std::vector<uint32_t>> Tokenize(const std::string& text) const;
  absl::StatusOr<std::string> Detokenize(const std::vector<uint32_t>& ids) const;
  // Tokens of the prompt as the model would see it.
  absl::StatusOr<size_t> CountTokens(const EvalPrompt& prompt) const;
  // Waits while the server is full.
  absl::StatusOr<EvalAnswer> Generate(const EvalRequest& request) const;

 private:
  struct Connection;
  explicit EvalClient(std::unique_ptr<Connection> connection);

  const std::unique_ptr<Connection> connection_;
};

}  // namespace quartet::cli::eval
