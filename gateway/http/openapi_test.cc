// Holds the description of the HTTP API against the routes that there are.
#include "gateway/http/openapi.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cctype>
#include <nlohmann/json.hpp>

#include "absl/strings/str_cat.h"
#include "common/version.h"
#include "gateway/http/routes.h"

namespace quartet::gateway::http {
namespace {

using nlohmann::json;
using ::testing::UnorderedElementsAreArray;

const json& Description() {
  static const auto* const description = new json(json::parse(OpenApiJson()));
  return *description;
}

TEST(OpenApiTest, SaysWhichVersionItDescribes) {
  EXPECT_EQ(Description()["openapi"], "3.1.0");
  EXPECT_EQ(Description()["info"]["version"], common::kVersion);
}

TEST(OpenApiTest, DescribesEveryRouteAndNoOther) {
  std::vector<std::string> described;
  for (const auto& [path, item] : Description()["paths"].items()) {
    for (const auto& [method, operation] : item.items()) {
      if (method == "parameters") continue;
      std::string upper = method;
      std::transform(upper.begin(), upper.end(), upper.begin(), ::toupper);
      described.push_back(absl::StrCat(upper, " ", path));
      EXPECT_TRUE(operation.contains("operationId") && operation["responses"].contains("200"))
          << path;
    }
  }
  EXPECT_THAT(described, UnorderedElementsAreArray(Routes::Endpoints()));
}

// Calls `visit` with every reference in `value`.
void ForEachReference(const json& value, const std::function<void(const std::string&)>& visit) {
  if (value.is_object() && value.contains("$ref")) visit(value["$ref"]);
  if (!value.is_structured()) return;
  for (const json& element : value) ForEachReference(element, visit);
}

TEST(OpenApiTest, EveryReferenceLeadsSomewhere) {
  size_t num_references = 0;
  ForEachReference(Description(), [&](const std::string& reference) {
    ++num_references;
    ASSERT_EQ(reference[0], '#');
    EXPECT_TRUE(Description().contains(json::json_pointer(reference.substr(1)))) << reference;
  });
  EXPECT_GT(num_references, 50u);
}

}  // namespace
}  // namespace quartet::gateway::http
