# Finds what Debian ships; nothing is downloaded while configuring. deploy/local/setup installs all of it.

find_package(PkgConfig REQUIRED)
find_package(Threads REQUIRED)
find_package(absl REQUIRED)
find_package(Protobuf REQUIRED)  # Debian ships no CONFIG package for it.
find_package(gRPC CONFIG REQUIRED)
find_package(prometheus-cpp CONFIG REQUIRED)
find_package(Boost 1.81 REQUIRED)
find_package(nlohmann_json CONFIG REQUIRED)
find_package(OpenSSL REQUIRED)
find_package(GTest CONFIG REQUIRED)
pkg_check_modules(PCRE2 REQUIRED IMPORTED_TARGET libpcre2-8)
pkg_check_modules(UTF8PROC REQUIRED IMPORTED_TARGET libutf8proc)

option(QUARTET_CUDA "Build the CUDA device" OFF)
if(QUARTET_CUDA)
  message(FATAL_ERROR "QUARTET_CUDA=ON: the CUDA device is not part of this release. "
                      "Configure with --preset release for the CPU device.")
endif()

find_program(CCACHE_PROGRAM ccache)
if(CCACHE_PROGRAM AND NOT CMAKE_CXX_COMPILER_LAUNCHER)
  set(CMAKE_CXX_COMPILER_LAUNCHER ${CCACHE_PROGRAM})
endif()

# The Python of the tests, made by deploy/local/setup --tests.
if(DEFINED ENV{QUARTET_CACHE})
  set(QUARTET_CACHE_DEFAULT $ENV{QUARTET_CACHE})
else()
  set(QUARTET_CACHE_DEFAULT $ENV{HOME}/.cache/quartet)
endif()
set(QUARTET_PYTHON ${QUARTET_CACHE_DEFAULT}/venv/bin/python CACHE FILEPATH "Python with tests/requirements.txt")
