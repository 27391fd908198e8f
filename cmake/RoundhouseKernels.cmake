# SPDX-License-Identifier: Apache-2.0
#
# The matrix kernels of src/kernels: each source of RH_KERNEL_SOURCES is compiled once for every instruction set, with the
# flags that set needs, so that one build runs everywhere and chooses on the machine. rh_kernel_sets holds these objects (for
# tests and measurements); the library librh_kernels.so adds the division of work and the way into llama.cpp.

set(RH_KERNEL_FOLDER "${CMAKE_SOURCE_DIR}/src/kernels")
set(RH_KERNEL_SETS portable)
if(CMAKE_SYSTEM_PROCESSOR MATCHES "^(x86_64|AMD64)$")
  list(APPEND RH_KERNEL_SETS avx2 avxvnni avx512)
  set(RH_KERNEL_FLAGS_avx2 -mavx2 -mfma -mf16c -DRK_ISA_AVX2)
  set(RH_KERNEL_FLAGS_avxvnni -mavx2 -mfma -mf16c -mavxvnni -DRK_ISA_AVXVNNI)
  set(RH_KERNEL_FLAGS_avx512 -mavx2 -mfma -mf16c -mavx512f -mavx512bw -mavx512vl -mavx512dq -mavx512vnni -DRK_ISA_AVX512)
endif()

# The files that are compiled for every set: those that use its operations.
file(GLOB RH_KERNEL_SOURCES CONFIGURE_DEPENDS "${RH_KERNEL_FOLDER}/isa/*.c")

# Vector code wants -O3, and -O2 at least to see through the tables of a format's functions (the portable set, which is there to
# be compared with, has no more); a compiler that puts off additions runs out of registers (docs/kernels.md). And GCC does not
# see that the loop which opens a chunk writes all that the next one reads.
set(RH_KERNEL_OPTIONS -g1 -ffp-contract=off
  $<$<C_COMPILER_ID:GNU>:-fno-tree-reassoc> $<$<C_COMPILER_ID:GNU>:-Wno-maybe-uninitialized>)
if(RH_SANITIZE)  # in minutes otherwise; functions that are not inlined are as good to find faults in
  list(APPEND RH_KERNEL_OPTIONS -O1 "-DRK_INLINE=static inline" $<$<C_COMPILER_ID:GNU>:-Wno-psabi>)
else()
  list(APPEND RH_KERNEL_OPTIONS $<IF:$<CONFIG:Release>,-O3,-O2>)
  set(RH_KERNEL_FLAGS_portable -O2)
endif()

# What is compiled once and knows nothing of ggml.
set(RH_KERNEL_COMMON choose panel product)
list(TRANSFORM RH_KERNEL_COMMON REPLACE "(.+)" "${RH_KERNEL_FOLDER}/\\1.c")

# The sets that run on common machines have sanitizers where they can find something: these functions have no threads.
set(RH_KERNEL_SANITIZED "")
if(RH_SANITIZE MATCHES "address|undefined")
  set(RH_KERNEL_SANITIZED portable avx2)
endif()

add_library(rh_kernel_sets STATIC ${RH_KERNEL_COMMON})
target_compile_options(rh_kernel_sets PRIVATE -fvisibility=hidden)
foreach(set IN LISTS RH_KERNEL_SETS)
  add_library(rh_kernels_${set} OBJECT ${RH_KERNEL_SOURCES})
  target_link_libraries(rh_kernels_${set} PRIVATE rh_flags)
  target_compile_options(rh_kernels_${set} PRIVATE -fvisibility=hidden ${RH_KERNEL_OPTIONS} ${RH_KERNEL_FLAGS_${set}})
  if(RH_SANITIZE AND NOT set IN_LIST RH_KERNEL_SANITIZED)
    target_compile_options(rh_kernels_${set} PRIVATE -fno-sanitize=all)
  endif()
  target_sources(rh_kernel_sets PRIVATE $<TARGET_OBJECTS:rh_kernels_${set}>)
endforeach()

# A set that is another but for one format: that format's source, with the other's flags and one more.
set(RH_KERNEL_SOURCES_avx512bf16 "${RH_KERNEL_FOLDER}/isa_avx512bf16/set.c")
if("avx512" IN_LIST RH_KERNEL_SETS)
  add_library(rh_kernels_avx512bf16 OBJECT ${RH_KERNEL_SOURCES_avx512bf16})
  target_link_libraries(rh_kernels_avx512bf16 PRIVATE rh_flags)
  target_compile_options(rh_kernels_avx512bf16 PRIVATE
    -fvisibility=hidden ${RH_KERNEL_OPTIONS} ${RH_KERNEL_FLAGS_avx512} -mavx512bf16)
  if(RH_SANITIZE)
    target_compile_options(rh_kernels_avx512bf16 PRIVATE -fno-sanitize=all)
  endif()
  target_sources(rh_kernel_sets PRIVATE $<TARGET_OBJECTS:rh_kernels_avx512bf16>)
endif()
target_link_libraries(rh_kernel_sets PUBLIC rh_flags Threads::Threads m)

# The library. It needs headers of ggml that are not installed with it, and the very version they are of.
set(RH_GGML_SOURCE "${RH_LLAMA_SOURCE}/ggml")
if(TARGET rh_llama AND NOT ENGINE_LLAMA STREQUAL "system" AND EXISTS "${RH_GGML_SOURCE}/src/ggml-cpu/traits.h")
  enable_language(CXX)
  file(STRINGS "${RH_GGML_SOURCE}/CMakeLists.txt" lines REGEX "^set\\(GGML_VERSION_(MAJOR|MINOR|PATCH) [0-9]+\\)")
  string(REGEX MATCHALL "[0-9]+" numbers "${lines}")
  list(JOIN numbers "." RH_GGML_VERSION)

  file(GLOB sources CONFIGURE_DEPENDS "${RH_KERNEL_FOLDER}/*.c" "${RH_KERNEL_FOLDER}/*.cpp")
  list(REMOVE_ITEM sources ${RH_KERNEL_COMMON})
  add_library(rh_kernels MODULE ${sources})
  target_link_libraries(rh_kernels PRIVATE rh_kernel_sets rh_llama Threads::Threads ${CMAKE_DL_LIBS})
  target_include_directories(rh_kernels SYSTEM PRIVATE "${RH_GGML_SOURCE}/src" "${RH_GGML_SOURCE}/src/ggml-cpu")
  target_compile_features(rh_kernels PRIVATE cxx_std_17)
  target_compile_definitions(rh_kernels PRIVATE "RK_GGML_VERSION=\"${RH_GGML_VERSION}\"")
  target_compile_options(rh_kernels PRIVATE -fvisibility=hidden $<$<COMPILE_LANGUAGE:CXX>:-fno-rtti -fno-exceptions>)
  set_target_properties(rh_kernels PROPERTIES LIBRARY_OUTPUT_DIRECTORY "${CMAKE_BINARY_DIR}")
  rh_run_path(rh_kernels)
  install(TARGETS rh_kernels LIBRARY DESTINATION "${RH_LLAMA_INSTALL_DIR}")
  message(STATUS "Kernels: for ggml ${RH_GGML_VERSION}")
endif()
