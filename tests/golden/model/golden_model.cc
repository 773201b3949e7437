#include "tests/golden/model/golden_model.h"

#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <nlohmann/json.hpp>

#include "absl/strings/str_cat.h"
#include "common/status_macros.h"

namespace quartet::golden {
namespace {

using nlohmann::json;

// Tests run in the root of the source tree.
constexpr char kFolder[] = "tests/golden/model/";

absl::StatusOr<std::string> ReadFile(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  std::string content((std::istreambuf_iterator<char>(file)), {});
  if (!file) return absl::NotFoundError(absl::StrCat("can't read ", path));
  return content;
}

absl::Status WriteFile(const std::string& path, const std::string& content) {
  std::ofstream file(path, std::ios::binary | std::ios::trunc);
  file << content;
  file.close();
  if (!file) return absl::UnavailableError(absl::StrCat("can't write ", path));
  return absl::OkStatus();
}

absl::StatusOr<json> FindSpec(const std::string& name) {
  ASSIGN_OR_RETURN(const std::string text, ReadFile(absl::StrCat(kFolder, "models.json")));
  const json models = json::parse(text);
  for (const json& spec : models["models"]) {
    if (spec["name"] == name) return spec;
  }
  return absl::NotFoundError(absl::StrCat("models.json has no model ", name));
}

GoldenGains GainsFrom(const json& spec) {
  GoldenGains gains;
  gains.embed_tokens = spec.at("embed_tokens");
  gains.q_proj = spec.at("q_proj");
  gains.k_proj = spec.at("k_proj");
  gains.v_proj = spec.at("v_proj");
  gains.o_proj = spec.at("o_proj");
  gains.gate_proj = spec.at("gate_proj");
  gains.up_proj = spec.at("up_proj");
  gains.down_proj = spec.at("down_proj");
  gains.lm_head = spec.value("lm_head", 0.0);
  gains.bias = spec.value("bias", 0.0);
  gains.norm = spec.at("norm");
  return gains;
}

uint64_t SplitMix64(uint64_t x) {
  x += 0x9E3779B97F4A7C15u;
  x = (x ^ (x >> 30)) * 0xBF58476D1CE4E5B9u;
  x = (x ^ (x >> 27)) * 0x94D049BB133111EBu;
  return x ^ (x >> 31);
}

uint64_t CounterValue(absl::string_view name, uint64_t index) {
  uint64_t hash = 14695981039346656037u;
  for (const char c : name) hash = (hash ^ static_cast<uint8_t>(c)) * 1099511628211u;
  return SplitMix64(hash + index * 0x9E3779B97F4A7C15u);
}

// Takes the numbers of a file one after another.
class Cursor {
 public:
  explicit Cursor(const std::string& bytes) : bytes_(bytes) {}
  template <typename T>
  T Take() {
    T value{};
    if (next_ + sizeof(T) <= bytes_.size()) std::memcpy(&value, bytes_.data() + next_, sizeof(T));
    next_ += sizeof(T);
    return value;
  }
  template <typename T>
  std::vector<T> Take(int count) {
    std::vector<T> values(count);
    for (T& value : values) value = Take<T>();
    return values;
  }
  bool at_end() const { return next_ == bytes_.size(); }

 private:
  const std::string& bytes_;
  size_t next_ = 0;
};

absl::StatusOr<Reference> ReadReference(const std::string& path) {
  ASSIGN_OR_RETURN(const std::string bytes, ReadFile(path));
  if (bytes.substr(0, 8) != "QGOLDEN1") {
    return absl::InvalidArgumentError(absl::StrCat(path, ": no reference data"));
  }
  Cursor cursor(bytes);
  cursor.Take<uint64_t>();
  Reference reference;
  reference.weights_checksum = cursor.Take<uint64_t>();
  const int num_prompts = cursor.Take<int32_t>();
  reference.num_reference = cursor.Take<int32_t>();
  reference.vocab_size = cursor.Take<int32_t>();
  reference.num_samples = cursor.Take<int32_t>();
  reference.num_projections = cursor.Take<int32_t>();
  for (const int32_t length : cursor.Take<int32_t>(num_prompts)) {
    reference.prompts.emplace_back(length);
  }
  for (auto& prompt : reference.prompts) prompt = cursor.Take<int32_t>(prompt.size());
  for (int p = 0; p < num_prompts; ++p) {
    reference.reference_ids.push_back(cursor.Take<int32_t>(reference.num_reference));
  }
  reference.positions.resize(num_prompts * reference.num_reference);
  for (Reference::Position& position : reference.positions) {
    for (int32_t& id : position.ids) id = cursor.Take<int32_t>();
    for (float& value : position.top) value = cursor.Take<float>();
    position.deviation = cursor.Take<float>();
    position.samples = cursor.Take<float>(reference.num_samples);
    position.projections = cursor.Take<float>(reference.num_projections);
  }
  if (!cursor.at_end()) return absl::InvalidArgumentError(absl::StrCat(path, ": wrong size"));
  return reference;
}

}  // namespace

std::vector<int32_t> SampleIds(const Reference& reference, int64_t position) {
  std::vector<int32_t> ids(reference.num_samples);
  for (int i = 0; i < reference.num_samples; ++i) {
    const uint64_t value = CounterValue("sample", position * reference.num_samples + i);
    ids[i] = static_cast<int32_t>((value >> 32) % reference.vocab_size);
  }
  return ids;
}

double ProjectionSign(const Reference& reference, int projection, int32_t id) {
  const uint64_t index = static_cast<uint64_t>(projection) * reference.vocab_size + id;
  return CounterValue("sign", index) >> 63 ? -1 : 1;
}

absl::StatusOr<GoldenModel> GoldenModel::Create(const std::string& name) {
  GoldenModel golden;
  ASSIGN_OR_RETURN(const json spec, FindSpec(name));
  ASSIGN_OR_RETURN(golden.reference_, ReadReference(absl::StrCat(kFolder, name, ".bin")));
  golden.seed_ = spec["seed"];
  golden.gains_ = GainsFrom(spec["gains"]);

  const char* root = std::getenv("TMPDIR");
  golden.directory_ = absl::StrCat(root == nullptr ? "/tmp" : root, "/quartet_golden_XXXXXX");
  if (mkdtemp(golden.directory_.data()) == nullptr) {
    return absl::UnavailableError(absl::StrCat("can't make a directory ", golden.directory_));
  }
  // The loader reads the specification's own config.json.
  const std::string config = golden.directory_ + "/config.json";
  RETURN_IF_ERROR(WriteFile(config, spec["config"].dump(2)));
  ASSIGN_OR_RETURN(const model::LoadedConfig loaded, model::ReadModelConfig(golden.directory_));
  golden.config_ = loaded.model;
  RETURN_IF_ERROR(WriteGoldenModel(golden.directory_, golden.config_, golden.seed_, golden.gains_));
  RETURN_IF_ERROR(WriteFile(config, spec["config"].dump(2)));
  return golden;
}

GoldenModel::~GoldenModel() {
  std::error_code ignored;
  if (!directory_.empty()) std::filesystem::remove_all(directory_, ignored);
}

uint64_t GoldenModel::WeightsChecksum() const {
  constexpr int64_t kChunk = 1 << 20;
  uint64_t sum = 0;
  for (const GoldenTensor& tensor : GoldenTensors(config_, gains_)) {
    int64_t count = 1;
    for (const int64_t size : tensor.shape) count *= size;
    for (int64_t first = 0; first < count; first += kChunk) {
      uint64_t odd = 2 * first + 1;
      for (const auto value : GoldenValues(tensor, seed_, first, std::min(kChunk, count - first))) {
        sum += value.bits * odd;
        odd += 2;
      }
    }
    sum *= 1099511628211u;
  }
  return sum;
}

}  // namespace quartet::golden
