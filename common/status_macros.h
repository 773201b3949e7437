// Early return on a failed absl::Status, and CHECK for what only a bug can break.
#pragma once

#include <cstdio>
#include <cstdlib>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

// Returns the status of `expr` from the enclosing function unless it is OK.
#define RETURN_IF_ERROR(expr)                          \
  do {                                                 \
    absl::Status quartet_status_ = (expr);             \
    if (!quartet_status_.ok()) return quartet_status_; \
  } while (false)

// Declares or assigns `lhs` from a StatusOr expression, or returns its status.
#define ASSIGN_OR_RETURN(lhs, expr) \
  QUARTET_ASSIGN_OR_RETURN_(QUARTET_CONCAT_(quartet_status_or_, __LINE__), lhs, expr)
#define QUARTET_CONCAT_INNER_(a, b) a##b
#define QUARTET_CONCAT_(a, b) QUARTET_CONCAT_INNER_(a, b)
#define QUARTET_ASSIGN_OR_RETURN_(temporary, lhs, expr)      \
  auto temporary = (expr);                                   \
  if (!temporary.ok()) return std::move(temporary).status(); \
  lhs = *std::move(temporary)

// Ends the process with file and line if `condition` is false. For bugs, never for input.
#define QUARTET_CHECK(condition)                                                         \
  do {                                                                                   \
    if (!(condition)) [[unlikely]] {                                                     \
      std::fprintf(stderr, "%s:%d: check failed: %s\n", __FILE__, __LINE__, #condition); \
      std::abort();                                                                      \
    }                                                                                    \
  } while (false)
