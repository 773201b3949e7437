// Two kinds of plots as SVG texts: a heat map of shares and horizontal bars.
#pragma once

#include <string>
#include <vector>

namespace quartet::cli::eval {

// values[row][column] are shares in [0, 1].
struct HeatMap {
  std::string title;
  std::string x_label;
  std::string y_label;
  std::vector<std::string> columns;
  std::vector<std::string> rows;
  std::vector<std::vector<double>> values;
};

// One bar a name, made of one segment a series. values[bar][series] >= 0.
struct BarChart {
  std::string title;
  std::string x_label;
  std::vector<std::string> names;
  std::vector<std::string> series;
  std::vector<std::vector<double>> values;
};

std::string ToSvg(const HeatMap& map);
std::string ToSvg(const BarChart& chart);

}  // namespace quartet::cli::eval
