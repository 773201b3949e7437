#include "kernels/reference/reference.h"

#include <algorithm>
#include <cmath>

namespace quartet::kernels::reference {

std::vector<Matrix> Matmul(const Matrix& x, const Matrix& weight, int num_segments) {
  std::vector<Matrix> out(num_segments, Matrix(x.rows, weight.rows));
  const int64_t width = x.cols / num_segments;
  for (int s = 0; s < num_segments; ++s) {
    for (int64_t t = 0; t < x.rows; ++t) {
      for (int64_t n = 0; n < weight.rows; ++n) {
        double sum = 0;
        for (int64_t k = s * width; k < (s + 1) * width; ++k) sum += x.at(t, k) * weight.at(n, k);
        out[s].at(t, n) = sum;
      }
    }
  }
  return out;
}

Matrix AddRmsNorm(Matrix* residual, const Matrix* delta, const std::vector<double>& weight,
                  double epsilon) {
  Matrix out(residual->rows, residual->cols);
  for (int64_t t = 0; t < out.rows; ++t) {
    double squares = 0;
    for (int64_t i = 0; i < out.cols; ++i) {
      if (delta != nullptr) residual->at(t, i) += delta->at(t, i);
      squares += residual->at(t, i) * residual->at(t, i);
    }
    const double norm = std::sqrt(squares / static_cast<double>(out.cols) + epsilon);
    for (int64_t i = 0; i < out.cols; ++i) out.at(t, i) = residual->at(t, i) / norm * weight[i];
  }
  return out;
}

Matrix Swiglu(const Matrix& gate_up) {
  Matrix out(gate_up.rows, gate_up.cols / 2);
  for (int64_t t = 0; t < out.rows; ++t) {
    for (int64_t i = 0; i < out.cols; ++i) {
      const double gate = gate_up.at(t, i);
      out.at(t, i) = gate / (1 + std::exp(-gate)) * gate_up.at(t, out.cols + i);
    }
  }
  return out;
}

Matrix Rotate(const Matrix& heads, int head_dim, const std::vector<int32_t>& positions,
              const std::vector<double>& inverse_frequencies, double scale) {
  Matrix out(heads.rows, heads.cols);
  const int half = head_dim / 2;
  for (int64_t t = 0; t < heads.rows; ++t) {
    for (int64_t first = 0; first < heads.cols; first += head_dim) {
      for (int i = 0; i < half; ++i) {
        const double angle = positions[t] * inverse_frequencies[i];
        const double cos = std::cos(angle) * scale;
        const double sin = std::sin(angle) * scale;
        const double a = heads.at(t, first + i);
        const double b = heads.at(t, first + half + i);
        out.at(t, first + i) = a * cos - b * sin;
        out.at(t, first + half + i) = b * cos + a * sin;
      }
    }
  }
  return out;
}

Matrix Attention(const Matrix& q, const Matrix& keys, const Matrix& values, int num_heads,
                 int num_kv_heads, double scale) {
  const int64_t head_dim = q.cols / num_heads;
  Matrix out(q.rows, q.cols);
  for (int64_t t = 0; t < q.rows; ++t) {
    const int64_t visible = keys.rows - q.rows + t + 1;
    for (int head = 0; head < num_heads; ++head) {
      const int64_t q_first = head * head_dim;
      const int64_t kv_first = head / (num_heads / num_kv_heads) * head_dim;
      std::vector<double> weights(visible);
      double max = -INFINITY;
      for (int64_t i = 0; i < visible; ++i) {
        double score = 0;
        for (int64_t d = 0; d < head_dim; ++d) {
          score += q.at(t, q_first + d) * keys.at(i, kv_first + d);
        }
        weights[i] = score * scale;
        max = std::max(max, weights[i]);
      }
      double sum = 0;
      for (double& weight : weights) sum += weight = std::exp(weight - max);
      for (int64_t i = 0; i < visible; ++i) {
        for (int64_t d = 0; d < head_dim; ++d) {
          out.at(t, q_first + d) += weights[i] / sum * values.at(i, kv_first + d);
        }
      }
    }
  }
  return out;
}

}  // namespace quartet::kernels::reference
