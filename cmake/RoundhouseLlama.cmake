# SPDX-License-Identifier: Apache-2.0
#
# rh_llama: the headers and libraries of llama.cpp, from where ENGINE_LLAMA says. With "off" there is no such target and
# the worker has only the fake engine. Sets RH_BUILD_RPATH and RH_INSTALL_RPATH, the programs' run paths, and
# defines rh_install_llama().

include(GNUInstallDirs)

set(RH_DEPS "${CMAKE_SOURCE_DIR}/deps")
set(RH_LLAMA_SOURCE "${RH_DEPS}/llama.cpp")
set(RH_BUILD_RPATH "")
set(RH_INSTALL_RPATH "")
set(RH_LLAMA_INSTALL_DIR "${CMAKE_INSTALL_LIBDIR}/roundhouse")

# The libraries that scripts/setup.sh unpacked. Their file names carry llama.cpp's version, hence the patterns.
function(rh_llama_prebuilt)
  set(folder "${RH_DEPS}/llama")
  add_library(rh_llama INTERFACE)
  target_include_directories(rh_llama SYSTEM INTERFACE "${RH_LLAMA_SOURCE}/include" "${RH_LLAMA_SOURCE}/ggml/include")
  foreach(pattern IN ITEMS libllama.v*.so libggml.v*.so libggml-base.so)
    file(GLOB found "${folder}/${pattern}")
    list(LENGTH found count)
    if(NOT count EQUAL 1)
      message(FATAL_ERROR "ENGINE_LLAMA=prebuilt needs one ${folder}/${pattern}, found ${count}.\n"
        "Run scripts/setup.sh --for build, or choose ENGINE_LLAMA=source, system or off.")
    endif()
    target_link_libraries(rh_llama INTERFACE "${found}")
  endforeach()
  # Relative, so that a tree that was moved or copied still runs.
  file(RELATIVE_PATH from_build "${CMAKE_BINARY_DIR}" "${folder}")
  set(RH_BUILD_RPATH "\$ORIGIN/${from_build}" PARENT_SCOPE)
endfunction()

# llama.cpp built here for this machine's processor, with CUDA where a CUDA compiler is found.
function(rh_llama_source)
  if(NOT EXISTS "${RH_LLAMA_SOURCE}/CMakeLists.txt")
    message(FATAL_ERROR "ENGINE_LLAMA=source needs ${RH_LLAMA_SOURCE}: run ENGINE_LLAMA=source scripts/setup.sh --for build")
  endif()
  enable_language(CXX)
  include(CheckLanguage)
  check_language(CUDA)
  if(CMAKE_CUDA_COMPILER)
    set(GGML_CUDA ON CACHE BOOL "llama.cpp's CUDA backend")
  endif()
  set(GGML_NATIVE ON CACHE BOOL "llama.cpp for this machine's processor")
  foreach(part IN ITEMS COMMON TESTS TOOLS EXAMPLES SERVER APP)
    set(LLAMA_BUILD_${part} OFF CACHE BOOL "")
  endforeach()
  set(GGML_CCACHE OFF CACHE BOOL "")
  # Shared, because the engine looks for GPU backends in the folder that libllama was loaded from.
  set(BUILD_SHARED_LIBS ON)
  set(CMAKE_INSTALL_RPATH "\$ORIGIN")
  # Its own usual flags, not ours: a few of its files count on them.
  set(CMAKE_C_FLAGS_RELEASE "-O3 -DNDEBUG")
  add_subdirectory("${RH_LLAMA_SOURCE}" "${CMAKE_BINARY_DIR}/llama.cpp" EXCLUDE_FROM_ALL SYSTEM)
  add_library(rh_llama INTERFACE)
  target_link_libraries(rh_llama INTERFACE llama ggml)
  set(RH_BUILD_RPATH "\$ORIGIN/bin" PARENT_SCOPE)
endfunction()

# The distribution's own libllama-dev and libggml-dev.
function(rh_llama_system)
  add_library(rh_llama INTERFACE)
  pkg_check_modules(llama IMPORTED_TARGET llama)
  if(llama_FOUND)
    target_link_libraries(rh_llama INTERFACE PkgConfig::llama)
  else()
    find_package(llama CONFIG REQUIRED)
    target_link_libraries(rh_llama INTERFACE llama)
  endif()
  find_library(GGML_LIBRARY ggml REQUIRED)
  find_library(GGML_BASE_LIBRARY ggml-base REQUIRED)
  target_link_libraries(rh_llama INTERFACE "${GGML_LIBRARY}" "${GGML_BASE_LIBRARY}")
endfunction()

# The engine's libraries go into a folder of their own: a system may have others of the same names.
function(rh_install_llama)
  if(ENGINE_LLAMA STREQUAL "prebuilt")
    file(GLOB files "${RH_DEPS}/llama/*.so")
    install(FILES ${files} DESTINATION "${RH_LLAMA_INSTALL_DIR}")
  elseif(ENGINE_LLAMA STREQUAL "source")
    foreach(library IN ITEMS llama ggml ggml-base ggml-cpu ggml-cuda)
      if(TARGET ${library})
        # Its public headers are not for installing here.
        set_target_properties(${library} PROPERTIES PUBLIC_HEADER "")
        install(TARGETS ${library} LIBRARY DESTINATION "${RH_LLAMA_INSTALL_DIR}" NAMELINK_SKIP)
      endif()
    endforeach()
  endif()
endfunction()

if(ENGINE_LLAMA STREQUAL "prebuilt" OR ENGINE_LLAMA STREQUAL "source")
  file(RELATIVE_PATH from_bin "/${CMAKE_INSTALL_BINDIR}" "/${RH_LLAMA_INSTALL_DIR}")
  set(RH_INSTALL_RPATH "\$ORIGIN/${from_bin}")
endif()
if(ENGINE_LLAMA STREQUAL "prebuilt")
  rh_llama_prebuilt()
elseif(ENGINE_LLAMA STREQUAL "source")
  rh_llama_source()
elseif(ENGINE_LLAMA STREQUAL "system")
  rh_llama_system()
elseif(NOT ENGINE_LLAMA STREQUAL "off")
  message(FATAL_ERROR "ENGINE_LLAMA is \"${ENGINE_LLAMA}\"; it can be prebuilt, source, system or off")
endif()
message(STATUS "llama.cpp engine: ${ENGINE_LLAMA}")
