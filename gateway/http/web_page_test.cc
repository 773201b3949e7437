#include "gateway/http/web_page.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <map>

namespace quartet::gateway::http {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

constexpr WebAsset kAssets[] = {
    {"/", "text/html; charset=utf-8", "\"one\"", "<html>", "gzipped html"},
    {"/assets/app-1234.js", "text/javascript; charset=utf-8", "\"two\"", "let a;", "gzipped js"},
};

HttpRequest Get(std::string path, std::string accept = "", std::string accept_encoding = "") {
  HttpRequest request;
  request.method = "GET";
  request.path = std::move(path);
  request.accept = std::move(accept);
  request.accept_encoding = std::move(accept_encoding);
  return request;
}

std::map<std::string, std::string> Headers(const HttpResponse& response) {
  return {response.headers.begin(), response.headers.end()};
}

TEST(WebPageTest, BrowsersGetThePageAndOthersDoNot) {
  const WebPage page(kAssets);
  const std::optional<HttpResponse> found = page.Find(Get("/", "text/html,*/*;q=0.8"));
  ASSERT_TRUE(found.has_value());
  EXPECT_EQ(found->status, 200);
  EXPECT_EQ(found->body, "<html>");
  EXPECT_EQ(found->content_type, "text/html; charset=utf-8");
  EXPECT_FALSE(page.Find(Get("/", "*/*")).has_value());  // curl
  EXPECT_FALSE(page.Find(Get("/")).has_value());
  EXPECT_FALSE(page.Find(Get("/assets/other.js", "text/html")).has_value());
}

TEST(WebPageTest, ThePolicyAllowsNothingFromElsewhereAndNothingInline) {
  const WebPage page(kAssets);
  for (const char* path : {"/", "/assets/app-1234.js"}) {
    auto headers = Headers(*page.Find(Get(path, "text/html")));
    EXPECT_THAT(headers["Content-Security-Policy"], HasSubstr("default-src 'none'"));
    EXPECT_THAT(headers["Content-Security-Policy"], HasSubstr("script-src 'self';"));
    EXPECT_THAT(headers["Content-Security-Policy"], Not(HasSubstr("unsafe")));
    EXPECT_EQ(headers["X-Content-Type-Options"], "nosniff");
    EXPECT_EQ(headers["Referrer-Policy"], "no-referrer");
  }
}

TEST(WebPageTest, CompressesForThoseWhoTakeIt) {
  const WebPage page(kAssets);
  const HttpResponse packed = *page.Find(Get("/assets/app-1234.js", "*/*", "gzip, deflate, br"));
  EXPECT_EQ(packed.body, "gzipped js");
  EXPECT_EQ(Headers(packed)["Content-Encoding"], "gzip");
  const HttpResponse plain = *page.Find(Get("/assets/app-1234.js", "*/*", "gzip;q=0, br"));
  EXPECT_EQ(plain.body, "let a;");
  EXPECT_EQ(Headers(plain).count("Content-Encoding"), 0u);
  EXPECT_THAT(Headers(plain)["Vary"], HasSubstr("Accept-Encoding"));
}

TEST(WebPageTest, CachesByName) {
  const WebPage page(kAssets);
  EXPECT_THAT(Headers(*page.Find(Get("/assets/app-1234.js")))["Cache-Control"],
              HasSubstr("immutable"));
  HttpRequest again = Get("/", "text/html");
  EXPECT_EQ(Headers(*page.Find(again))["Cache-Control"], "no-cache");
  again.if_none_match = "W/\"zero\", \"one\"";
  const HttpResponse unchanged = *page.Find(again);
  EXPECT_EQ(unchanged.status, 304);
  EXPECT_EQ(unchanged.body, "");
  again.if_none_match = "\"zero\"";
  EXPECT_EQ(page.Find(again)->status, 200);
}

TEST(WebPageTest, ABuildWithoutThePageFindsNothing) {
  const WebPage page{absl::Span<const WebAsset>()};
  EXPECT_FALSE(page.is_built());
  EXPECT_FALSE(page.Find(Get("/", "text/html")).has_value());
}

TEST(WebPageTest, ReadsAcceptHeaders) {
  EXPECT_TRUE(WantsHtml("application/xhtml+xml, Text/HTML;level=1"));
  EXPECT_FALSE(WantsHtml("text/html;q=0"));
  EXPECT_FALSE(WantsHtml("text/htmlx, application/json"));
  EXPECT_TRUE(TakesGzip(" br , gzip ; q=0.3"));
  EXPECT_FALSE(TakesGzip("br"));
  EXPECT_TRUE(TakesGzip("gzip;q=nonsense"));
}

// Whatever the build embedded must fit together: the page names files that are there.
TEST(WebPageTest, TheEmbeddedPageNamesItsFiles) {
  const WebPage page;
  if (!page.is_built()) return;  // The build had no npm; the browser tests need it and say so.
  const std::string html = page.Find(Get("/", "text/html"))->body;
  for (const WebAsset& asset : EmbeddedAssets()) {
    if (asset.path == "/") continue;
    EXPECT_THAT(html, HasSubstr(std::string(asset.path)));
    EXPECT_FALSE(asset.plain.empty());
    EXPECT_EQ(asset.gzip.substr(0, 2), "\x1f\x8b");
  }
  EXPECT_THAT(html, Not(HasSubstr("{{")));
  EXPECT_THAT(html, Not(HasSubstr("http://")));
}

}  // namespace
}  // namespace quartet::gateway::http
