#include "cli/eval/svg_plot.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>

namespace quartet::cli::eval {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

size_t Count(const std::string& text, const std::string& part) {
  size_t count = 0;
  for (size_t at = text.find(part); at != std::string::npos; at = text.find(part, at + 1)) ++count;
  return count;
}

TEST(SvgPlotTest, AHeatMapHasACellForEachValue) {
  const std::string svg = ToSvg(
      HeatMap{"Recall", "tokens", "depth", {"512", "1024"}, {"0%", "50%"}, {{1, 0}, {0.5, 0.25}}});
  EXPECT_EQ(Count(svg, "<rect"), 1u + 4u);  // the background and the cells
  for (const char* text : {">100%<", ">0%<", ">50%<", ">25%<", ">1024<", ">tokens<", ">depth<"}) {
    EXPECT_THAT(svg, HasSubstr(text));
  }
  EXPECT_THAT(svg, HasSubstr("#1a9850"));  // of 1
  EXPECT_THAT(svg, HasSubstr("#d73027"));  // of 0
}

TEST(SvgPlotTest, BarsAreAsLongAsTheirShareOfTheScale) {
  const std::string svg = ToSvg(BarChart{"t", "x", {"a", "b"}, {"s"}, {{1.0}, {1.9}}});
  // 1.9 makes the scale end at 2; the bars' space is 480 wide.
  EXPECT_THAT(svg, HasSubstr("width=\"240.0\""));
  EXPECT_THAT(svg, HasSubstr("width=\"456.0\""));
  EXPECT_THAT(svg, HasSubstr(">1.9<"));
}

TEST(SvgPlotTest, SegmentsOfABarFollowEachOtherAndHaveALegend) {
  const std::string svg = ToSvg(BarChart{"t", "%", {"a"}, {"good", "bad"}, {{75, 25}}});
  EXPECT_THAT(svg, HasSubstr("width=\"360.0\""));
  EXPECT_THAT(svg, HasSubstr("width=\"120.0\""));
  EXPECT_THAT(svg, HasSubstr(">good<"));
  EXPECT_THAT(svg, HasSubstr(">bad<"));
}

TEST(SvgPlotTest, NamesAreEscapedAndNothingIsNoCrash) {
  const std::string svg = ToSvg(BarChart{"<&>", "\"x\"", {}, {}, {}});
  EXPECT_THAT(svg, HasSubstr("&lt;&amp;&gt;"));
  EXPECT_THAT(svg, Not(HasSubstr("nan")));
  EXPECT_THAT(ToSvg(BarChart{"t", "x", {"zero"}, {"s"}, {{0}}}), Not(HasSubstr("nan")));
  EXPECT_THAT(ToSvg(HeatMap{}), HasSubstr("</svg>"));
}

}  // namespace
}  // namespace quartet::cli::eval
