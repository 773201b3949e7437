#include "worker/model/safetensors.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "worker/model/testing/model_files.h"

namespace quartet::model {
namespace {

using ::testing::AllOf;
using ::testing::ElementsAre;
using testing::GgufWriter;
using ::testing::HasSubstr;
using testing::TemporaryDirectory;
using testing::WriteFile;

std::string FileOf(const std::string& header, const std::string& data) {
  std::string bytes;
  GgufWriter::Append(static_cast<uint64_t>(header.size()), &bytes);
  return bytes + header + data;
}

std::string ErrorOf(const std::string& bytes) {
  const TemporaryDirectory directory;
  WriteFile(directory.File("model.safetensors"), bytes);
  const auto checkpoint = OpenSafetensorsDirectory(directory.path());
  return std::string(checkpoint.status().message());
}

// "a": F32 [2, 3] of 1..6, "b": F16 [2] of 1 and -2, "c": BF16 [1, 2] of 1 and 3.
std::string SmallFile() {
  std::string data = testing::FloatBytes({1, 2, 3, 4, 5, 6});
  GgufWriter::Append<uint16_t>(0x3c00, &data);
  GgufWriter::Append<uint16_t>(0xc000, &data);
  GgufWriter::Append<uint16_t>(0x3f80, &data);
  GgufWriter::Append<uint16_t>(0x4040, &data);
  return FileOf(R"({"__metadata__": {"format": "pt"},
    "a": {"dtype": "F32", "shape": [2, 3], "data_offsets": [0, 24]},
    "b": {"dtype": "F16", "shape": [2], "data_offsets": [24, 28]},
    "c": {"dtype": "BF16", "shape": [1, 2], "data_offsets": [28, 32]}})",
                data);
}

std::vector<float> Rows(const Checkpoint& checkpoint, const std::string& name, int64_t first_row,
                        int64_t num_rows, int64_t first_col, int64_t num_cols) {
  std::vector<kernels::bfloat16> out(num_rows * num_cols);
  EXPECT_TRUE(checkpoint.ReadRows(name, first_row, num_rows, first_col, num_cols, out.data()).ok());
  std::vector<float> values;
  for (const kernels::bfloat16 value : out) values.push_back(kernels::ToFloat(value));
  return values;
}

TEST(SafetensorsTest, ReadsRowsAndColumnsOfEachDtype) {
  const TemporaryDirectory directory;
  WriteFile(directory.File("model.safetensors"), SmallFile());
  const auto opened = OpenSafetensorsDirectory(directory.path());
  ASSERT_TRUE(opened.ok()) << opened.status();
  const Checkpoint& checkpoint = **opened;
  EXPECT_THAT(checkpoint.Names(), ElementsAre("a", "b", "c"));
  EXPECT_EQ(checkpoint.Find("d"), nullptr);
  EXPECT_THAT(checkpoint.Find("a")->shape, ElementsAre(2, 3));
  EXPECT_EQ(checkpoint.Find("b")->dtype, "F16");
  EXPECT_THAT(Rows(checkpoint, "a", 0, 2, 0, 3), ElementsAre(1, 2, 3, 4, 5, 6));
  EXPECT_THAT(Rows(checkpoint, "a", 1, 1, 1, 2), ElementsAre(5, 6));
  EXPECT_THAT(Rows(checkpoint, "c", 0, 1, 1, 1), ElementsAre(3));
  std::vector<float> vector(2);
  ASSERT_TRUE(checkpoint.ReadVector("b", 0, 2, vector.data()).ok());
  EXPECT_THAT(vector, ElementsAre(1, -2));
  ASSERT_TRUE(checkpoint.ReadVector("b", 1, 1, vector.data()).ok());
  EXPECT_EQ(vector[0], -2);
}

TEST(SafetensorsTest, DamagedFilesAreRefusedWithTheReason) {
  const std::string data(24, '\0');
  const auto one = [&](const std::string& entry) { return ErrorOf(FileOf(entry, data)); };
  EXPECT_THAT(ErrorOf("abc"), HasSubstr("has 3 bytes"));
  EXPECT_THAT(ErrorOf(std::string(8, '\xff') + "{}"), HasSubstr("18446744073709551615 bytes"));
  EXPECT_THAT(ErrorOf(FileOf("{}", "").substr(0, 9)), HasSubstr("the header is said to have 2"));
  EXPECT_THAT(one("{\"a\": "), HasSubstr("not valid JSON"));
  EXPECT_THAT(one("{\"\xff\": 1}"), HasSubstr("UTF-8"));
  EXPECT_THAT(one("[1, 2]"), HasSubstr("expected an object"));
  EXPECT_THAT(one(R"({"a": 1})"), HasSubstr("tensor \"a\": its entry is 1"));
  EXPECT_THAT(one(R"({"a": {"dtype": "F32", "shape": [6]}})"), HasSubstr("data_offsets"));
  EXPECT_THAT(one(R"({"a": {"dtype": "F99", "shape": [6], "data_offsets": [0, 24]}})"),
              HasSubstr("unknown dtype \"F99\""));
  EXPECT_THAT(one(R"({"a": {"dtype": "F32", "shape": [0], "data_offsets": [0, 0]}})"),
              HasSubstr("shape is [0]; expected a list of positive sizes"));
  EXPECT_THAT(one(R"({"a": {"dtype": "F32", "shape": [-6], "data_offsets": [0, 24]}})"),
              HasSubstr("shape is [-6]"));
  EXPECT_THAT(one(R"({"a": {"dtype": "F32", "shape": [4294967296, 4294967296, 4],
                            "data_offsets": [0, 24]}})"),
              HasSubstr("expected a list of positive sizes"));
  EXPECT_THAT(one(R"({"a": {"dtype": "F32", "shape": [6], "data_offsets": [24, 0]}})"),
              HasSubstr("expected [begin, end]"));
  EXPECT_THAT(one(R"({"a": {"dtype": "F32", "shape": [5], "data_offsets": [0, 24]}})"),
              HasSubstr("cover 24 bytes; F32 [5] takes 20"));
  EXPECT_THAT(one(R"({"a": {"dtype": "F32", "shape": [7], "data_offsets": [0, 28]}})"),
              AllOf(HasSubstr("only 24 follow the header"), HasSubstr("truncated")));
  EXPECT_THAT(one(R"({"a": {"dtype": "F32", "shape": [3], "data_offsets": [0, 12]},
                      "b": {"dtype": "F32", "shape": [4], "data_offsets": [8, 24]}})"),
              AllOf(HasSubstr("tensor b begins at byte"), HasSubstr("inside a")));
  EXPECT_THAT(one(R"({"a": {"dtype": "F32", "shape": [3], "data_offsets": [0, 12]}})"),
              HasSubstr("cover 12"));
  EXPECT_THAT(one(R"({"a": {"dtype": "F32", "shape": [6], "data_offsets": [0, 24]},
                      "a": {"dtype": "F32", "shape": [6], "data_offsets": [0, 24]}})"),
              HasSubstr("\"a\" stands twice"));
}

TEST(SafetensorsTest, ACutFileIsRefusedAtEveryLength) {
  const std::string whole = SmallFile();
  EXPECT_EQ(ErrorOf(whole), "");
  for (size_t length = 0; length < whole.size(); ++length) {
    EXPECT_NE(ErrorOf(whole.substr(0, length)), "") << length;
  }
  EXPECT_THAT(ErrorOf(whole.substr(0, whole.size() - 1)), HasSubstr("truncated"));
  EXPECT_NE(ErrorOf(whole + "x"), "");
}

class IndexTest : public ::testing::Test {
 protected:
  IndexTest() {
    const std::string bytes = testing::FloatBytes({1, 2});
    WriteFile(directory_.File("one.safetensors"),
              FileOf(R"({"a": {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}})", bytes));
    WriteFile(directory_.File("two.safetensors"),
              FileOf(R"({"b": {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}})", bytes));
  }
  absl::StatusOr<std::unique_ptr<Checkpoint>> Open(const std::string& index) {
    WriteFile(directory_.File("model.safetensors.index.json"), index);
    return OpenSafetensorsDirectory(directory_.path());
  }
  std::string IndexError(const std::string& index) {
    return std::string(Open(index).status().message());
  }
  TemporaryDirectory directory_;
};

TEST_F(IndexTest, JoinsTheFiles) {
  const auto checkpoint =
      Open(R"({"weight_map": {"a": "one.safetensors", "b": "two.safetensors"}})");
  ASSERT_TRUE(checkpoint.ok()) << checkpoint.status();
  EXPECT_THAT((*checkpoint)->Names(), ElementsAre("a", "b"));
  EXPECT_THAT((*checkpoint)->Find("b")->file, HasSubstr("two.safetensors"));
}

TEST_F(IndexTest, AMissingShardIsNamed) {
  const auto checkpoint =
      Open(R"({"weight_map": {"a": "one.safetensors", "c": "three.safetensors"}})");
  EXPECT_TRUE(absl::IsNotFound(checkpoint.status()));
  EXPECT_THAT(std::string(checkpoint.status().message()),
              AllOf(HasSubstr("three.safetensors: missing"), HasSubstr("tensor c")));
}

TEST_F(IndexTest, BadIndexesAreRefused) {
  EXPECT_THAT(IndexError("{"), HasSubstr("index.json: not valid JSON"));
  EXPECT_THAT(IndexError("{}"), HasSubstr("weight_map"));
  EXPECT_THAT(IndexError(R"({"weight_map": {}})"), HasSubstr("weight_map"));
  EXPECT_THAT(IndexError(R"({"weight_map": {"a": 1}})"), HasSubstr("has 1 for tensor \"a\""));
  EXPECT_THAT(IndexError(R"({"weight_map": {"a": "../../etc/passwd"}})"),
              HasSubstr("the name of a file beside it"));
  EXPECT_THAT(IndexError(R"({"weight_map": {"a": "two.safetensors"}})"),
              HasSubstr("two.safetensors: has no tensor a"));
  EXPECT_THAT(IndexError(R"({"weight_map": {"a": "one.safetensors", "a": "two.safetensors"}})"),
              HasSubstr("twice"));
  WriteFile(directory_.File("two.safetensors"),
            testing::ReadFile(directory_.File("one.safetensors")));
  EXPECT_THAT(IndexError(R"({"weight_map": {"a": "one.safetensors", "b": "two.safetensors"}})"),
              HasSubstr("is in"));
}

TEST(SafetensorsTest, ADirectoryWithoutWeightsSaysWhatIsExpected) {
  const TemporaryDirectory directory;
  EXPECT_THAT(std::string(OpenSafetensorsDirectory(directory.path()).status().message()),
              HasSubstr("expected model.safetensors"));
}

TEST(SafetensorsTest, TheHashFollowsContentsShapesAndNames) {
  const TemporaryDirectory directory;
  const auto hash_of = [&](const std::string& bytes) {
    WriteFile(directory.File("model.safetensors"), bytes);
    return *(*OpenSafetensorsDirectory(directory.path()))->ContentHash();
  };
  const std::string original = SmallFile();
  const std::string hash = hash_of(original);
  EXPECT_EQ(hash.size(), 64);
  EXPECT_EQ(hash_of(original), hash);
  std::string other = original;
  other.back() ^= 1;
  EXPECT_NE(hash_of(other), hash);
  other = original;
  other.replace(other.find("[2, 3]"), 6, "[3, 2]");
  EXPECT_NE(hash_of(other), hash);
  other = original;
  other.replace(other.find("\"b\""), 3, "\"d\"");
  EXPECT_NE(hash_of(other), hash);
}

// Whatever happens to a file, there is a status and no crash; what opens can be read.
TEST(SafetensorsTest, MutatedFilesNeverCrash) {
  const uint64_t seed = 4711;
  SCOPED_TRACE(::testing::Message() << "seed " << seed);
  const TemporaryDirectory directory;
  const std::string original = SmallFile();
  int opened = 0;
  for (uint64_t trial = 0; trial < 3000; ++trial) {
    std::string bytes = original;
    uint64_t random = testing::SplitMix64(seed + trial);
    for (uint64_t flips = random % 3 + 1; flips > 0; --flips) {
      random = testing::SplitMix64(random);
      // Mostly digits and letters, which reach further into the parser.
      const char byte = static_cast<char>(random >> 32);
      bytes[random % bytes.size()] =
          trial % 2 ? static_cast<char>('0' + (random >> 32) % 10) : byte;
    }
    if (trial % 8 == 0) bytes.resize(random % bytes.size());
    WriteFile(directory.File("model.safetensors"), bytes);
    const auto checkpoint = OpenSafetensorsDirectory(directory.path());
    if (!checkpoint.ok()) continue;
    ++opened;
    for (const std::string& name : (*checkpoint)->Names()) {
      const TensorInfo& info = *(*checkpoint)->Find(name);
      if (!info.is_float_data || info.shape.size() != 2) continue;
      Rows(**checkpoint, name, 0, info.shape[0], 0, info.shape[1]);
    }
  }
  EXPECT_GT(opened, 0);
  EXPECT_LT(opened, 3000);
}

}  // namespace
}  // namespace quartet::model
