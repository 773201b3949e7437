#include "cli/default_model.h"

#include <unistd.h>

#include <cstdlib>

#include "absl/strings/str_cat.h"

namespace quartet::cli {

std::string DefaultModelPath() {
  const char* const cache = std::getenv("QUARTET_CACHE");
  const char* const home = std::getenv("HOME");
  const std::string folder = cache != nullptr && *cache != '\0'
                                 ? std::string(cache)
                                 : absl::StrCat(home == nullptr ? "" : home, "/.cache/quartet");
  return absl::StrCat(folder, "/models/SmolLM2-135M-Instruct.Q4_1.gguf");
}

absl::StatusOr<std::string> ResolveModel(const std::string& given) {
  const std::string path = given.empty() ? DefaultModelPath() : given;
  if (access(path.c_str(), R_OK) == 0) return path;
  if (!given.empty()) {
    return absl::NotFoundError(
        absl::StrCat("--model=", given,
                     ": no such file or folder, or not readable; give a folder with "
                     "config.json, tokenizer.json and *.safetensors, or a .gguf file"));
  }
  return absl::NotFoundError(
      absl::StrCat("no --model was given and the small default model is not at ", path,
                   "; run deploy/local/fetch_models to get it, or give --model=PATH"));
}

}  // namespace quartet::cli
