// Recognises the stages of a tokenizer.json: normalizer, pre-tokenizer, post-processor and decoder.
#pragma once

#include <nlohmann/json_fwd.hpp>

#include "absl/status/status.h"
#include "tokenizer_service/vocabulary.h"

namespace quartet::tokenizer {

// Fills split_pattern, individual_digits, nfc and the prefix ids from the whole document. The
// tokens must be in place. Returns INVALID_ARGUMENT naming the stage if it is none of those we
// have.
absl::Status ReadStages(const nlohmann::json& document, Vocabulary* vocabulary);

}  // namespace quartet::tokenizer
