// The operations of kernels/ops.h as plain loops in double: what the kernels' tests compare with.
// No packing, no paging, no threads.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

namespace quartet::kernels::reference {

// A row-major matrix.
struct Matrix {
  int64_t rows = 0;
  int64_t cols = 0;
  std::vector<double> values;

  Matrix(int64_t num_rows, int64_t num_cols)
      : rows(num_rows), cols(num_cols), values(static_cast<size_t>(num_rows * num_cols), 0.0) {}
  double& at(int64_t row, int64_t col) { return values[static_cast<size_t>(row * cols + col)]; }
  double at(int64_t row, int64_t col) const {
    return values[static_cast<size_t>(row * cols + col)];
  }
};

// One matrix [T, N] for each segment of the columns. x: [T, K], weight: [N, K].
std::vector<Matrix> Matmul(const Matrix& x, const Matrix& weight, int num_segments);

// Updates `residual` [T, H]; `delta` [T, H] may be null.
Matrix AddRmsNorm(Matrix* residual, const Matrix* delta, const std::vector<double>& weight,
                  double epsilon);

// gate_up: [T, 2 I] -> [T, I].
Matrix Swiglu(const Matrix& gate_up);

// Rotates each head_dim-wide part of `heads` [T, num_heads * head_dim] by the row's position (pairs
// i and i + head_dim / 2).
Matrix Rotate(const Matrix& heads, int head_dim, const std::vector<int32_t>& positions,
              const std::vector<double>& inverse_frequencies, double scale);

// Causal attention of one sequence whose last q.rows positions are the queries.
// q: [T, num_heads * head_dim], keys and values: [kv_len, num_kv_heads * head_dim] -> [T, num_heads
// * head_dim].
Matrix Attention(const Matrix& q, const Matrix& keys, const Matrix& values, int num_heads,
                 int num_kv_heads, double scale);

}  // namespace quartet::kernels::reference
