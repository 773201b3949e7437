#include "worker/model/safetensors.h"

#include <sys/stat.h>

#include <cstring>
#include <nlohmann/json.hpp>
#include <set>

#include "absl/strings/str_cat.h"
#include "common/status_macros.h"
#include "worker/model/float_conversion.h"
#include "worker/model/json_document.h"

namespace quartet::model {
namespace {

using kernels::bfloat16;
using nlohmann::json;

// The reference implementation's limit.
constexpr int64_t kMaxHeaderBytes = 100'000'000;
constexpr int64_t kMaxIndexBytes = 100'000'000;

struct DtypeSize {
  absl::string_view name;
  int64_t bytes;
};
// Those that a header may name; only BF16, F16 and F32 can be loaded.
constexpr DtypeSize kDtypes[] = {{"BOOL", 1},    {"U8", 1},  {"I8", 1},  {"F8_E4M3", 1},
                                 {"F8_E5M2", 1}, {"U16", 2}, {"I16", 2}, {"F16", 2},
                                 {"BF16", 2},    {"U32", 4}, {"I32", 4}, {"F32", 4},
                                 {"U64", 8},     {"I64", 8}, {"F64", 8}};

int64_t DtypeBytes(absl::string_view dtype) {
  for (const DtypeSize& known : kDtypes) {
    if (known.name == dtype) return known.bytes;
  }
  return 0;
}

bool IsFloatData(absl::string_view dtype) {
  return dtype == "BF16" || dtype == "F16" || dtype == "F32";
}

bool Exists(const std::string& path) {
  struct stat info;
  return stat(path.c_str(), &info) == 0;
}

absl::Status TensorError(const MappedFile& file, absl::string_view name, absl::string_view what) {
  return absl::InvalidArgumentError(
      absl::StrCat(file.path(), ": tensor ", JsonExcerpt(json(std::string(name))), ": ", what));
}

// Reads an array of non-negative integers.
bool ReadSizes(const json& array, std::vector<int64_t>* sizes) {
  if (!array.is_array()) return false;
  for (const json& element : array) {
    if (!element.is_number_unsigned() || element.get<uint64_t>() > INT64_MAX) return false;
    sizes->push_back(element.get<int64_t>());
  }
  return true;
}

absl::StatusOr<TensorBytes> ReadTensor(const MappedFile& file, int64_t data_begin,
                                       absl::string_view name, const json& entry) {
  const int64_t data_bytes = file.size() - data_begin;
  TensorBytes tensor;
  tensor.file = &file;
  tensor.info.file = file.path();
  if (!entry.is_object() || !entry.contains("dtype") || !entry["dtype"].is_string() ||
      !entry.contains("shape") || !entry.contains("data_offsets")) {
    return TensorError(file, name,
                       absl::StrCat("its entry is ", JsonExcerpt(entry),
                                    "; expected dtype, shape and data_offsets"));
  }
  tensor.info.dtype = entry["dtype"].get<std::string>();
  const int64_t element_bytes = DtypeBytes(tensor.info.dtype);
  if (element_bytes == 0) {
    return TensorError(
        file, name,
        absl::StrCat("unknown dtype ", JsonExcerpt(entry["dtype"]), "; expected BF16, F16 or F32"));
  }
  tensor.info.is_float_data = IsFloatData(tensor.info.dtype);
  const int64_t elements =
      ReadSizes(entry["shape"], &tensor.info.shape) ? NumElements(tensor.info.shape) : -1;
  int64_t bytes = 0;
  if (elements < 0 || __builtin_mul_overflow(elements, element_bytes, &bytes)) {
    return TensorError(file, name,
                       absl::StrCat("shape is ", JsonExcerpt(entry["shape"]),
                                    "; expected a list of positive sizes"));
  }
  std::vector<int64_t> range;
  if (!ReadSizes(entry["data_offsets"], &range) || range.size() != 2 || range[0] > range[1]) {
    return TensorError(file, name,
                       absl::StrCat("data_offsets is ", JsonExcerpt(entry["data_offsets"]),
                                    "; expected [begin, end]"));
  }
  if (range[1] - range[0] != bytes) {
    return TensorError(
        file, name,
        absl::StrCat("data_offsets cover ", range[1] - range[0], " bytes; ", tensor.info.dtype, " ",
                     ShapeText(tensor.info.shape), " takes ", bytes));
  }
  if (range[1] > data_bytes) {
    return TensorError(
        file, name,
        absl::StrCat("ends at byte ", range[1], " of the data, but only ", data_bytes,
                     " follow the header; the file is ", "truncated, fetch it again"));
  }
  tensor.begin = data_begin + range[0];
  tensor.end = data_begin + range[1];
  return tensor;
}

class SafetensorsCheckpoint : public TensorFileCheckpoint {
 public:
  using TensorFileCheckpoint::TensorFileCheckpoint;

  absl::Status ReadRows(absl::string_view name, int64_t first_row, int64_t num_rows,
                        int64_t first_col, int64_t num_cols, bfloat16* out) const override {
    const TensorBytes& tensor = Tensor(name);
    const int64_t cols = tensor.info.shape[1];
    const int64_t element_bytes = DtypeBytes(tensor.info.dtype);
    const int64_t first = tensor.begin + (first_row * cols + first_col) * element_bytes;
    for (int64_t row = 0; row < num_rows; ++row) {
      const uint8_t* from = tensor.file->data() + first + row * cols * element_bytes;
      bfloat16* to = out + row * num_cols;
      if (tensor.info.dtype == "BF16") {
        std::memcpy(to, from, num_cols * sizeof(bfloat16));
      } else if (tensor.info.dtype == "F16") {
        Float16ToBfloat16(from, num_cols, to);
      } else {
        Float32ToBfloat16(from, num_cols, to);
      }
    }
    tensor.file->Release(first, first + ((num_rows - 1) * cols + num_cols) * element_bytes);
    return absl::OkStatus();
  }

  absl::Status ReadVector(absl::string_view name, int64_t first, int64_t count,
                          float* out) const override {
    const TensorBytes& tensor = Tensor(name);
    const int64_t element_bytes = DtypeBytes(tensor.info.dtype);
    const int64_t begin = tensor.begin + first * element_bytes;
    const uint8_t* from = tensor.file->data() + begin;
    if (tensor.info.dtype == "BF16") {
      Bfloat16ToFloat32(from, count, out);
    } else if (tensor.info.dtype == "F16") {
      Float16ToFloat32(from, count, out);
    } else {
      std::memcpy(out, from, count * sizeof(float));
    }
    tensor.file->Release(begin, begin + count * element_bytes);
    return absl::OkStatus();
  }
};

// Tensor name -> file name, from the index.
absl::StatusOr<std::map<std::string, std::string>> ReadIndex(const std::string& path) {
  ASSIGN_OR_RETURN(const std::string text, ReadSmallFile(path, kMaxIndexBytes));
  ASSIGN_OR_RETURN(const json index, ParseJson(text, path));
  if (!index.is_object() || !index.contains("weight_map") || !index["weight_map"].is_object() ||
      index["weight_map"].empty()) {
    return absl::InvalidArgumentError(
        absl::StrCat(path, ": expected an object with a weight_map from tensors to files"));
  }
  std::map<std::string, std::string> files;
  for (const auto& [tensor, file] : index["weight_map"].items()) {
    const bool plain = file.is_string() && !file.get_ref<const std::string&>().empty() &&
                       file.get_ref<const std::string&>().find('/') == std::string::npos;
    if (!plain) {
      return absl::InvalidArgumentError(absl::StrCat(path, ": weight_map has ", JsonExcerpt(file),
                                                     " for tensor ", JsonExcerpt(json(tensor)),
                                                     "; expected the name of a file beside it"));
    }
    files[tensor] = file.get<std::string>();
  }
  return files;
}

absl::StatusOr<std::unique_ptr<Checkpoint>> OpenIndexed(const std::string& directory,
                                                        const std::string& index_path) {
  ASSIGN_OR_RETURN(const auto file_of_tensor, ReadIndex(index_path));
  std::vector<std::unique_ptr<MappedFile>> files;
  std::set<std::string> opened;
  TensorMap tensors;
  for (const auto& [tensor, name] : file_of_tensor) {
    if (!opened.insert(name).second) continue;
    auto file = MappedFile::Open(directory + "/" + name);
    if (absl::IsNotFound(file.status())) {
      return absl::NotFoundError(absl::StrCat(directory, "/", name, ": missing; ", index_path,
                                              " names it for tensor ", tensor,
                                              "; fetch the model's files again"));
    }
    RETURN_IF_ERROR(file.status());
    RETURN_IF_ERROR(AddSafetensorsFile(**file, &tensors));
    files.push_back(*std::move(file));
  }
  for (const auto& [tensor, name] : file_of_tensor) {
    const auto found = tensors.find(tensor);
    if (found == tensors.end() || found->second.info.file != directory + "/" + name) {
      return absl::InvalidArgumentError(absl::StrCat(directory, "/", name, ": has no tensor ",
                                                     tensor, ", which ", index_path,
                                                     " says is in it"));
    }
  }
  return std::make_unique<SafetensorsCheckpoint>(directory, std::move(files), std::move(tensors));
}

}  // namespace

absl::Status AddSafetensorsFile(const MappedFile& file, TensorMap* tensors) {
  uint64_t header_bytes = 0;
  if (file.size() < 8) {
    return absl::InvalidArgumentError(
        absl::StrCat(file.path(), ": has ", file.size(),
                     " bytes; a safetensors file begins with 8 for the ", "length of its header"));
  }
  RETURN_IF_ERROR(file.ReadAt(0, 8, &header_bytes));
  if (header_bytes > static_cast<uint64_t>(file.size() - 8) || header_bytes > kMaxHeaderBytes) {
    return absl::InvalidArgumentError(absl::StrCat(
        file.path(), ": the header is said to have ", header_bytes, " bytes; the file has ",
        file.size(), " and at most ", kMaxHeaderBytes, " are allowed; is it a safetensors file?"));
  }
  std::string text(header_bytes, '\0');
  RETURN_IF_ERROR(file.ReadAt(8, static_cast<int64_t>(header_bytes), text.data()));
  ASSIGN_OR_RETURN(const json header, ParseJson(text, absl::StrCat(file.path(), " (header)")));
  if (!header.is_object()) {
    return absl::InvalidArgumentError(
        absl::StrCat(file.path(), ": the header is ", JsonExcerpt(header), "; expected an object"));
  }
  const int64_t data_begin = 8 + static_cast<int64_t>(header_bytes);
  TensorMap own;
  int64_t covered = 0;
  for (const auto& [name, entry] : header.items()) {
    if (name == "__metadata__") continue;
    ASSIGN_OR_RETURN(TensorBytes tensor, ReadTensor(file, data_begin, name, entry));
    covered += tensor.end - tensor.begin;
    const auto other = tensors->find(name);
    if (other != tensors->end()) {
      return TensorError(file, name, absl::StrCat("is in ", other->second.info.file, " too"));
    }
    own.emplace(name, std::move(tensor));
  }
  RETURN_IF_ERROR(CheckNoOverlap(own));
  if (covered != file.size() - data_begin) {
    return absl::InvalidArgumentError(
        absl::StrCat(file.path(), ": ", file.size() - data_begin, " bytes follow the header, but ",
                     "its tensors cover ", covered, "; the file is damaged, fetch it again"));
  }
  tensors->merge(own);
  return absl::OkStatus();
}

absl::StatusOr<std::unique_ptr<Checkpoint>> OpenSafetensorsDirectory(const std::string& directory) {
  const std::string single_path = directory + "/model.safetensors";
  const std::string index_path = directory + "/model.safetensors.index.json";
  if (!Exists(single_path) && Exists(index_path)) return OpenIndexed(directory, index_path);
  auto file = MappedFile::Open(single_path);
  if (absl::IsNotFound(file.status())) {
    return absl::NotFoundError(absl::StrCat(
        directory, ": no weights; expected model.safetensors, or model.safetensors.index.json and ",
        "the files that it names. For a GGUF give the .gguf file itself"));
  }
  RETURN_IF_ERROR(file.status());
  TensorMap tensors;
  RETURN_IF_ERROR(AddSafetensorsFile(**file, &tensors));
  std::vector<std::unique_ptr<MappedFile>> files;
  files.push_back(*std::move(file));
  return std::make_unique<SafetensorsCheckpoint>(directory, std::move(files), std::move(tensors));
}

}  // namespace quartet::model
