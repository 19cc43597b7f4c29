# Finds ONNX Runtime: the official archive or what get-onnxruntime.sh makes (ONNXRUNTIME_ROOT, a folder with include/ and lib/), else
# a system package. Gives the target OnnxRuntime::OnnxRuntime, OnnxRuntime_FOUND and OnnxRuntime_VERSION (of the headers' interface).

set(ONNXRUNTIME_ROOT "$ENV{ONNXRUNTIME_ROOT}" CACHE PATH "Folder of ONNX Runtime, with include/ and lib/")
set(_only "")
if(ONNXRUNTIME_ROOT)
  set(_only PATHS "${ONNXRUNTIME_ROOT}" NO_DEFAULT_PATH)
endif()
find_path(OnnxRuntime_INCLUDE_DIR onnxruntime_cxx_api.h ${_only}
  PATH_SUFFIXES include include/onnxruntime include/onnxruntime/core/session onnxruntime onnxruntime/core/session)
find_library(OnnxRuntime_LIBRARY onnxruntime ${_only} PATH_SUFFIXES lib lib64)
unset(_only)

if(OnnxRuntime_INCLUDE_DIR)
  file(STRINGS "${OnnxRuntime_INCLUDE_DIR}/onnxruntime_c_api.h" _line REGEX "^#define ORT_API_VERSION ")
  string(REGEX REPLACE "[^0-9]" "" _number "${_line}")
  set(OnnxRuntime_VERSION "1.${_number}")
  unset(_line)
  unset(_number)
endif()

include(FindPackageHandleStandardArgs)
find_package_handle_standard_args(OnnxRuntime REQUIRED_VARS OnnxRuntime_LIBRARY OnnxRuntime_INCLUDE_DIR
  VERSION_VAR OnnxRuntime_VERSION
  REASON_FAILURE_MESSAGE "give -DONNXRUNTIME_ROOT=FOLDER, the official archive unpacked or what get-onnxruntime.sh made")
mark_as_advanced(OnnxRuntime_INCLUDE_DIR OnnxRuntime_LIBRARY)

if(OnnxRuntime_FOUND AND NOT TARGET OnnxRuntime::OnnxRuntime)
  add_library(OnnxRuntime::OnnxRuntime UNKNOWN IMPORTED)
  set_target_properties(OnnxRuntime::OnnxRuntime PROPERTIES IMPORTED_LOCATION "${OnnxRuntime_LIBRARY}"
    INTERFACE_INCLUDE_DIRECTORIES "${OnnxRuntime_INCLUDE_DIR}")
endif()
