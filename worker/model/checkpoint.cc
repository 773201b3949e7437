#include "worker/model/checkpoint.h"

#include <sys/stat.h>

#include "absl/strings/str_cat.h"
#include "worker/model/gguf_checkpoint.h"
#include "worker/model/safetensors.h"

namespace quartet::model {

absl::StatusOr<std::unique_ptr<Checkpoint>> OpenCheckpoint(const std::string& path) {
  struct stat info;
  if (stat(path.c_str(), &info) != 0) {
    return absl::NotFoundError(
        absl::StrCat(path, ": no such model; give a directory with safetensors or a .gguf file"));
  }
  return S_ISDIR(info.st_mode) ? OpenSafetensorsDirectory(path) : OpenGguf(path);
}

}  // namespace quartet::model
