# Finds the xgrammar that deploy/local/build_libraries has built. Without it the worker builds too and refuses requests for
# structured output with a message that says how to get it.
set(QUARTET_XGRAMMAR_DIR ${QUARTET_CACHE_DEFAULT}/libraries/xgrammar CACHE PATH "xgrammar as deploy/local/build_libraries installs it")
set(QUARTET_HAS_XGRAMMAR OFF)
if(QUARTET_SANITIZER STREQUAL "thread")
  message(STATUS "xgrammar: left out, because it is not built for ThreadSanitizer")
elseif(EXISTS ${QUARTET_XGRAMMAR_DIR}/lib/libxgrammar.a)
  set(QUARTET_HAS_XGRAMMAR ON)
  add_library(xgrammar::xgrammar STATIC IMPORTED GLOBAL)
  set_target_properties(xgrammar::xgrammar PROPERTIES IMPORTED_LOCATION ${QUARTET_XGRAMMAR_DIR}/lib/libxgrammar.a)
  target_include_directories(xgrammar::xgrammar SYSTEM INTERFACE ${QUARTET_XGRAMMAR_DIR}/include)
else()
  message(STATUS "xgrammar: not in ${QUARTET_XGRAMMAR_DIR}; deploy/local/build_libraries gets and builds it")
endif()
