# What the targets of trkx share: how they are compiled, what they are called outside, how libraries are found and installed.

set(TRKX_WARNINGS -Wall -Wextra -Wpedantic -Wconversion -Wshadow)
if(CMAKE_CXX_COMPILER_ID STREQUAL "GNU" AND CMAKE_CXX_COMPILER_VERSION VERSION_LESS 13)
  list(APPEND TRKX_WARNINGS -Wno-restrict)  # warns of text + std::string in the standard library (GCC bug 105651)
endif()

# Finds a package as an option says: ON (it must be there), OFF, AUTO (if it is there). where: how to name its place, for messages.
macro(trkx_find package wanted where)
  if("${wanted}" STREQUAL "AUTO")
    find_package(${package} QUIET)
  elseif(${wanted})
    find_package(${package} REQUIRED)
  endif()
  set(state "not found${where}")
  if(${package}_FOUND)
    set(state "${${package}_VERSION} found")
    if("${package}" STREQUAL "OnnxRuntime")
      set(state "found, headers of ${OnnxRuntime_VERSION}: ${OnnxRuntime_LIBRARY}")
    endif()
  elseif(NOT "${wanted}" STREQUAL "AUTO" AND NOT ${wanted})
    set(state "switched off")
  endif()
  message(STATUS "trkx: ${package} ${state}")
  if("${package}" STREQUAL "OnnxRuntime" AND NOT OnnxRuntime_FOUND AND ONNXRUNTIME_ROOT AND "${wanted}" STREQUAL "AUTO")
    message(WARNING "ONNXRUNTIME_ROOT is ${ONNXRUNTIME_ROOT}: expected include/onnxruntime_cxx_api.h and lib/libonnxruntime.so in it, "
      "found only ${OnnxRuntime_INCLUDE_DIR} and ${OnnxRuntime_LIBRARY}. Give the right folder, or -DTRKX_ONNXRUNTIME=OFF.")
  endif()
  if("${package}" STREQUAL "Torch" AND Torch_FOUND)
    trkx_libtorch()
  endif()
endmacro()

# libtorch as one target whose headers are not ours to warn about. Wheels before 2.7 say with which ABI of the standard library they were
# built: all objects of a program must share it.
function(trkx_libtorch)
  add_library(trkx_libtorch INTERFACE)
  target_link_libraries(trkx_libtorch INTERFACE ${TORCH_LIBRARIES})
  target_include_directories(trkx_libtorch SYSTEM INTERFACE ${TORCH_INCLUDE_DIRS})
  if("${TORCH_CXX_FLAGS}" MATCHES "_GLIBCXX_USE_CXX11_ABI=([01])")
    set(TRKX_CXX11_ABI "${CMAKE_MATCH_1}" CACHE INTERNAL "ABI of the standard library that libtorch was built with")
  endif()
endfunction()

function(trkx_options target)
  target_compile_features(${target} PUBLIC cxx_std_20)
  set_target_properties(${target} PROPERTIES CXX_EXTENSIONS OFF POSITION_INDEPENDENT_CODE ON)
  target_compile_options(${target} PRIVATE $<$<CXX_COMPILER_ID:GNU,Clang,AppleClang>:${TRKX_WARNINGS}>
    $<$<BOOL:${TRKX_NATIVE}>:-march=native>)
  if(TRKX_SANITIZE)
    target_compile_options(${target} PRIVATE -fsanitize=${TRKX_SANITIZE} -fno-sanitize-recover=all -fno-omit-frame-pointer -g -O1)
    target_link_options(${target} PUBLIC -fsanitize=${TRKX_SANITIZE})
  endif()
endfunction()

# A static library of trkx. Distances are summed in double in a fixed order, in headers too: no compiler may fuse the products.
function(trkx_library target export)
  add_library(${target} STATIC ${ARGN})
  add_library(trkx::${export} ALIAS ${target})
  set_target_properties(${target} PROPERTIES EXPORT_NAME ${export})
  trkx_options(${target})
  target_include_directories(${target} PUBLIC "$<BUILD_INTERFACE:${PROJECT_SOURCE_DIR}/include>"
    "$<INSTALL_INTERFACE:${CMAKE_INSTALL_INCLUDEDIR}>")
  target_compile_options(${target} PUBLIC $<$<CXX_COMPILER_ID:GNU,Clang,AppleClang>:-ffp-contract=off>)
  if(DEFINED TRKX_CXX11_ABI)
    target_compile_definitions(${target} PUBLIC _GLIBCXX_USE_CXX11_ABI=${TRKX_CXX11_ABI})
  endif()
endfunction()

# Installs libraries, headers and the package that find_package(trkx) reads.
function(trkx_install)
  include(CMakePackageConfigHelpers)
  set(place "${CMAKE_INSTALL_LIBDIR}/cmake/trkx")
  set(more "")
  if(TARGET trkx_libtorch)
    list(APPEND more trkx_libtorch)
    set_target_properties(trkx_libtorch PROPERTIES EXPORT_NAME libtorch)
  endif()
  install(TARGETS ${ARGN} ${more} EXPORT trkxTargets ARCHIVE DESTINATION "${CMAKE_INSTALL_LIBDIR}")
  install(DIRECTORY "${PROJECT_SOURCE_DIR}/include/trkx" DESTINATION "${CMAKE_INSTALL_INCLUDEDIR}")
  install(EXPORT trkxTargets NAMESPACE trkx:: DESTINATION "${place}")
  set(TRKX_HAS_ONNXRUNTIME "${OnnxRuntime_FOUND}")
  set(TRKX_HAS_TORCH "${Torch_FOUND}")
  configure_package_config_file("${PROJECT_SOURCE_DIR}/cmake/trkxConfig.cmake.in" "${PROJECT_BINARY_DIR}/trkxConfig.cmake"
    INSTALL_DESTINATION "${place}")
  write_basic_package_version_file("${PROJECT_BINARY_DIR}/trkxConfigVersion.cmake" COMPATIBILITY SameMinorVersion)
  install(FILES "${PROJECT_BINARY_DIR}/trkxConfig.cmake" "${PROJECT_BINARY_DIR}/trkxConfigVersion.cmake"
    "${PROJECT_SOURCE_DIR}/cmake/FindOnnxRuntime.cmake" DESTINATION "${place}")
endfunction()
