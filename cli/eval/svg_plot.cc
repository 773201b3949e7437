#include "cli/eval/svg_plot.h"

#include <algorithm>
#include <cmath>
#include <numeric>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_replace.h"

namespace quartet::cli::eval {
namespace {

constexpr double kMargin = 16;
constexpr double kTitleHeight = 40;
constexpr double kCharWidth = 8;  // of 13-pixel text, on average
constexpr double kCellWidth = 72, kCellHeight = 34;
constexpr double kBarHeight = 22, kBarStep = 30, kBarsWidth = 480;
constexpr int kTicks = 4;
// Told apart also by who sees few colours (Okabe and Ito's palette).
constexpr const char* kSeriesColours[] = {"#009e73", "#e69f00", "#d55e00", "#56b4e9", "#999999"};

struct Point {
  double x;
  double y;
};

std::string Escape(const std::string& text) {
  return absl::StrReplaceAll(text,
                             {{"&", "&amp;"}, {"<", "&lt;"}, {">", "&gt;"}, {"\"", "&quot;"}});
}

std::string Text(Point at, const char* anchor, const std::string& text, const char* more = "") {
  return absl::StrFormat("<text x=\"%.1f\" y=\"%.1f\" text-anchor=\"%s\"%s>%s</text>\n", at.x, at.y,
                         anchor, more, Escape(text));
}

std::string Rect(Point at, Point size, const std::string& fill) {
  return absl::StrFormat(
      "<rect x=\"%.1f\" y=\"%.1f\" width=\"%.1f\" height=\"%.1f\" fill=\"%s\"/>\n", at.x, at.y,
      size.x, size.y, fill);
}

std::string Document(Point size, const std::string& title, const std::string& body) {
  return absl::StrCat(
      absl::StrFormat("<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"%.0f\" height=\"%.0f\" "
                      "font-family=\"sans-serif\" font-size=\"13\">\n",
                      size.x, size.y),
      Rect({0, 0}, size, "#ffffff"),
      Text({kMargin, kMargin + 12}, "start", title, " font-weight=\"bold\" font-size=\"15\""), body,
      "</svg>\n");
}

double LongestLabel(const std::vector<std::string>& labels) {
  size_t longest = 0;
  for (const std::string& label : labels) longest = std::max(longest, label.size());
  return kCharWidth * static_cast<double>(longest);
}

// From red (0) over yellow to green (1).
std::string ShareColour(double share) {
  const double x = std::clamp(share, 0.0, 1.0);
  const auto mix = [x](double low, double middle, double high) {
    const double value =
        x < 0.5 ? low + (middle - low) * 2 * x : middle + (high - middle) * (2 * x - 1);
    return static_cast<int>(std::lround(value));
  };
  return absl::StrFormat("#%02x%02x%02x", mix(215, 255, 26), mix(48, 240, 152), mix(39, 160, 80));
}

// The smallest of 1, 2, 5 times a power of ten that is at least `value`.
double RoundUp(double value) {
  if (value <= 0) return 1;
  const double power = std::pow(10.0, std::floor(std::log10(value)));
  for (double factor : {1.0, 2.0, 5.0}) {
    if (factor * power >= value) return factor * power;
  }
  return 10 * power;
}

}  // namespace

std::string ToSvg(const HeatMap& map) {
  const double left = kMargin + 24 + LongestLabel(map.rows) + 8;
  const double top = kMargin + kTitleHeight;
  const double width = kCellWidth * static_cast<double>(map.columns.size());
  const double height = kCellHeight * static_cast<double>(map.rows.size());
  std::string body;
  for (size_t r = 0; r < map.rows.size(); ++r) {
    const double y = top + kCellHeight * static_cast<double>(r);
    body += Text({left - 8, y + kCellHeight / 2 + 4}, "end", map.rows[r]);
    for (size_t c = 0; c < map.columns.size(); ++c) {
      const double x = left + kCellWidth * static_cast<double>(c);
      body +=
          Rect({x + 1, y + 1}, {kCellWidth - 2, kCellHeight - 2}, ShareColour(map.values[r][c]));
      body += Text({x + kCellWidth / 2, y + kCellHeight / 2 + 4}, "middle",
                   absl::StrFormat("%.0f%%", 100 * map.values[r][c]));
    }
  }
  for (size_t c = 0; c < map.columns.size(); ++c) {
    body += Text({left + kCellWidth * (static_cast<double>(c) + 0.5), top + height + 18}, "middle",
                 map.columns[c]);
  }
  body += Text({left + width / 2, top + height + 40}, "middle", map.x_label);
  const Point turned{kMargin + 8, top + height / 2};
  body += Text(turned, "middle", map.y_label,
               absl::StrFormat(" transform=\"rotate(-90 %.1f %.1f)\"", turned.x, turned.y).c_str());
  const double title_width = kCharWidth * 1.2 * static_cast<double>(map.title.size());
  return Document({std::max(left + width, title_width) + kMargin, top + height + 40 + kMargin},
                  map.title, body);
}

std::string ToSvg(const BarChart& chart) {
  const double left = kMargin + LongestLabel(chart.names) + 8;
  const bool has_legend = chart.series.size() > 1;
  const double top = kMargin + kTitleHeight + (has_legend ? 24 : 0);
  const double height = kBarStep * static_cast<double>(chart.names.size());
  double most = 0;
  for (const auto& bar : chart.values) {
    most = std::max(most, std::accumulate(bar.begin(), bar.end(), 0.0));
  }
  const double scale_end = RoundUp(most);
  std::string body;
  double legend_x = left;
  for (size_t s = 0; has_legend && s < chart.series.size(); ++s) {
    body += Rect({legend_x, top - 26}, {12, 12}, kSeriesColours[s % std::size(kSeriesColours)]);
    body += Text({legend_x + 17, top - 15}, "start", chart.series[s]);
    legend_x += 36 + kCharWidth * static_cast<double>(chart.series[s].size());
  }
  for (int tick = 0; tick <= kTicks; ++tick) {
    const double share = static_cast<double>(tick) / kTicks;
    const double x = left + kBarsWidth * share;
    body += Rect({x, top}, {1, height}, "#dddddd");
    body += Text({x, top + height + 18}, "middle", absl::StrFormat("%.4g", scale_end * share));
  }
  for (size_t b = 0; b < chart.names.size(); ++b) {
    const double y = top + kBarStep * static_cast<double>(b) + (kBarStep - kBarHeight) / 2;
    body += Text({left - 8, y + kBarHeight / 2 + 4}, "end", chart.names[b]);
    double x = left;
    for (size_t s = 0; s < chart.values[b].size(); ++s) {
      const double width = kBarsWidth * chart.values[b][s] / scale_end;
      if (width > 0)
        body += Rect({x, y}, {width, kBarHeight}, kSeriesColours[s % std::size(kSeriesColours)]);
      x += width;
    }
    if (!has_legend && !chart.values[b].empty()) {
      body += Text({x + 6, y + kBarHeight / 2 + 4}, "start",
                   absl::StrFormat("%.3g", chart.values[b][0]));
    }
  }
  body += Text({left + kBarsWidth / 2, top + height + 40}, "middle", chart.x_label);
  const double title_width = kCharWidth * 1.2 * static_cast<double>(chart.title.size());
  const double width = std::max({left + kBarsWidth + 60, title_width, legend_x});
  return Document({width + kMargin, top + height + 40 + kMargin}, chart.title, body);
}

}  // namespace quartet::cli::eval
