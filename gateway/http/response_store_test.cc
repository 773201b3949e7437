#include "gateway/http/response_store.h"

#include <gtest/gtest.h>

#include "absl/strings/str_cat.h"

namespace quartet::gateway::http {
namespace {

TEST(ResponseStoreTest, GivesBackWhatWasPut) {
  ResponseStore store;
  store.Put({"a", "t", "body", "[]"});
  ASSERT_NE(store.Get("a", "t"), nullptr);
  EXPECT_EQ(store.Get("a", "t")->body, "body");
  EXPECT_EQ(store.Get("b", "t"), nullptr);
  store.Put({"a", "t", "new", "[]"});
  EXPECT_EQ(store.Get("a", "t")->body, "new");
}

TEST(ResponseStoreTest, TenantsDoNotSeeEachOthers) {
  ResponseStore store;
  store.Put({"a", "t", "body", "[]"});
  EXPECT_EQ(store.Get("a", "u"), nullptr);
  EXPECT_FALSE(store.Delete("a", "u"));
  EXPECT_TRUE(store.Delete("a", "t"));
  EXPECT_FALSE(store.Delete("a", "t"));
}

TEST(ResponseStoreTest, ListsATenantsInTheirOrder) {
  ResponseStore store;
  for (const char* id : {"a", "b", "c"}) store.Put({id, id[0] == 'b' ? "u" : "t", "body", "[]"});
  EXPECT_TRUE(store.SetBody("a", "t", "longer body"));
  EXPECT_FALSE(store.SetBody("b", "t", "not yours"));
  const auto listed = store.List("t");
  ASSERT_EQ(listed.size(), 2u);
  EXPECT_EQ(listed[0]->body, "longer body");
  EXPECT_EQ(listed[1]->id, "c");
}

TEST(ResponseStoreTest, TheOldestGoWhenThereAreTooMany) {
  ResponseStore store(/*max_responses=*/3);
  for (int i = 0; i < 5; ++i) store.Put({absl::StrCat(i), "", "", ""});
  EXPECT_EQ(store.Get("1", ""), nullptr);
  EXPECT_NE(store.Get("2", ""), nullptr);
  EXPECT_NE(store.Get("4", ""), nullptr);
}

TEST(ResponseStoreTest, TheOldestGoWhenTheyAreTooLarge) {
  ResponseStore store(100, /*max_bytes=*/10'000);
  for (int i = 0; i < 5; ++i) store.Put({absl::StrCat(i), "", std::string(3000, 'x'), ""});
  EXPECT_EQ(store.Get("2", ""), nullptr);
  EXPECT_NE(store.Get("3", ""), nullptr);
  store.Put({"huge", "", std::string(20'000, 'x'), ""});
  EXPECT_EQ(store.Get("huge", ""), nullptr);
  EXPECT_NE(store.Get("4", ""), nullptr) << "one that can't be kept pushes nothing out";
}

}  // namespace
}  // namespace quartet::gateway::http
