# The two ways a folder declares what it builds:
#   quartet_library(NAME SOURCES ... DEPENDS ...)
#   quartet_binary(NAME SOURCES ... DEPENDS ...)      -> build/<preset>/bin/NAME
# and quartet_test(NAME SOURCES ... DEPENDS ... [LABEL unit] [TIMEOUT 120]) for a GoogleTest binary.
# Sources are listed, never globbed.

set(CMAKE_CXX_STANDARD 20)
set(CMAKE_CXX_STANDARD_REQUIRED ON)
set(CMAKE_CXX_EXTENSIONS OFF)
set(CMAKE_POSITION_INDEPENDENT_CODE ON)
set(CMAKE_RUNTIME_OUTPUT_DIRECTORY ${CMAKE_BINARY_DIR}/bin)

add_library(quartet_options INTERFACE)
target_include_directories(quartet_options INTERFACE ${CMAKE_SOURCE_DIR})
# -ffp-contract=off: a product and a sum are fused only where the source says so, so that the bits of a result
# depend on the source and not on the optimiser's mood.
target_compile_options(quartet_options INTERFACE -Wall -Wextra -Wno-unused-parameter -ffp-contract=off)
if(QUARTET_WARNINGS_AS_ERRORS)
  target_compile_options(quartet_options INTERFACE -Werror)
endif()
if(QUARTET_SANITIZER STREQUAL "address")
  add_compile_options(-fsanitize=address,undefined -fno-sanitize-recover=all -fno-omit-frame-pointer)
  add_link_options(-fsanitize=address,undefined)
elseif(QUARTET_SANITIZER STREQUAL "thread")
  add_compile_options(-fsanitize=thread -fno-omit-frame-pointer)
  add_link_options(-fsanitize=thread)
elseif(QUARTET_SANITIZER)
  message(FATAL_ERROR "QUARTET_SANITIZER=${QUARTET_SANITIZER}: use address, thread or nothing")
endif()

function(quartet_library name)
  cmake_parse_arguments(ARG "" "" "SOURCES;DEPENDS" ${ARGN})
  add_library(${name} STATIC ${ARG_SOURCES})
  target_link_libraries(${name} PUBLIC quartet_options ${ARG_DEPENDS})
endfunction()

function(quartet_binary name)
  cmake_parse_arguments(ARG "" "" "SOURCES;DEPENDS" ${ARGN})
  add_executable(${name} ${ARG_SOURCES})
  target_link_libraries(${name} PRIVATE quartet_options ${ARG_DEPENDS})
endfunction()

function(quartet_test name)
  cmake_parse_arguments(ARG "" "LABEL;TIMEOUT" "SOURCES;DEPENDS" ${ARGN})
  if(NOT ARG_LABEL)
    set(ARG_LABEL unit)
  endif()
  if(NOT ARG_TIMEOUT)
    set(ARG_TIMEOUT 120)
  endif()
  quartet_binary(${name} SOURCES ${ARG_SOURCES} DEPENDS ${ARG_DEPENDS} GTest::gtest GTest::gmock GTest::gtest_main)
  set_target_properties(${name} PROPERTIES RUNTIME_OUTPUT_DIRECTORY ${CMAKE_BINARY_DIR}/tests)
  add_test(NAME ${name} COMMAND ${name} WORKING_DIRECTORY ${CMAKE_SOURCE_DIR})
  set_tests_properties(${name} PROPERTIES LABELS ${ARG_LABEL} TIMEOUT ${ARG_TIMEOUT})
endfunction()
