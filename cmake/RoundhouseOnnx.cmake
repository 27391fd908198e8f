# SPDX-License-Identifier: Apache-2.0
#
# rh_onnxruntime: the C header of ONNX Runtime. Nothing is linked: the engine opens the library at run time, so that a
# wheel, a GPU wheel or a system's own can be used without building anew. With ENGINE_ONNX=off there is no such target.
# Defines rh_install_onnx().

# The library that scripts/setup.sh unpacked, for make install.
function(rh_install_onnx)
  if(TARGET rh_onnxruntime)
    file(GLOB files "${RH_DEPS}/onnxruntime/lib/*")
    install(FILES ${files} DESTINATION "${RH_LLAMA_INSTALL_DIR}")
  endif()
endfunction()

if(ENGINE_ONNX)
  find_path(RH_ORT_INCLUDE onnxruntime_c_api.h
    HINTS "${RH_DEPS}/onnxruntime/include"
    PATH_SUFFIXES onnxruntime onnxruntime/core/session)
  if(NOT RH_ORT_INCLUDE)
    message(FATAL_ERROR "ENGINE_ONNX=on needs onnxruntime_c_api.h.\n"
      "Run scripts/setup.sh --for build, or choose ENGINE_ONNX=off.")
  endif()
  add_library(rh_onnxruntime INTERFACE)
  target_include_directories(rh_onnxruntime SYSTEM INTERFACE "${RH_ORT_INCLUDE}")
  # Where the library lies, seen from the program: in a build, and after installation. Relative, so that a tree that was
  # moved or copied still runs.
  file(RELATIVE_PATH from_build "${CMAKE_BINARY_DIR}" "${RH_DEPS}/onnxruntime/lib")
  file(RELATIVE_PATH from_bin "/${CMAKE_INSTALL_BINDIR}" "/${RH_LLAMA_INSTALL_DIR}")
  target_compile_definitions(rh_onnxruntime INTERFACE "RH_ORT_FROM_BUILD=\"${from_build}\"" "RH_ORT_FROM_BIN=\"${from_bin}\"")
endif()
message(STATUS "ONNX engine: ${ENGINE_ONNX}")
