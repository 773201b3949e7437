// The variables that a chat template sees of a conversation.
#pragma once

#include "absl/status/statusor.h"
#include "tokenizer_service/chat_template.h"
#include "tokenizer_service/jinja/heap.h"

namespace quartet::tokenizer {

// What a continued message ends with while the template runs, so that its place is found.
inline constexpr absl::string_view kContinueTag = "CONTINUE_FINAL_MESSAGE_TAG ";

// messages, tools, documents, add_generation_prompt, the special tokens and the client's own
// variables. The values point into `conversation` and `heap`. Returns INVALID_ARGUMENT naming the
// field.
absl::StatusOr<jinja::Dict*> ChatVariables(const Conversation& conversation,
                                           const ChatTemplateSource& source, CallStyle style,
                                           jinja::Heap* heap);

}  // namespace quartet::tokenizer
