#include "gateway/tenant.h"

#include <gtest/gtest.h>

namespace quartet::gateway {
namespace {

TEST(TenantTest, WhatTheClientSaysGoesBeforeItsKey) {
  EXPECT_EQ(TenantOf("team-a", "Bearer sk-1"), "team-a");
}

TEST(TenantTest, AKeyBecomesADigestThatTellsKeysApart) {
  const std::string tenant = TenantOf("", "Bearer sk-1");
  // printf sk-1 | sha256sum
  EXPECT_EQ(tenant, "key-0f2c10bf3d128c719c6bfa4ecbae94b7") << "as in other processes";
  EXPECT_EQ(TenantOf("", "bearer  sk-1 "), tenant);
  EXPECT_NE(TenantOf("", "Bearer sk-2"), tenant);
  EXPECT_EQ(tenant.find("sk-1"), std::string::npos);
}

TEST(TenantTest, WithoutEitherThereIsNone) {
  EXPECT_EQ(TenantOf("", ""), "");
  EXPECT_EQ(TenantOf("", "Bearer "), "");
}

}  // namespace
}  // namespace quartet::gateway
