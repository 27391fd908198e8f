# SPDX-License-Identifier: Apache-2.0
#
# The matrix kernels of src/kernels: each source of RH_KERNEL_SOURCES is compiled once for every instruction set, with the
# flags that set needs, so that one build runs everywhere and chooses on the machine. rh_kernel_sets holds these objects (for
# tests and measurements); the library librh_kernels.so adds the division of work and the way into llama.cpp.

set(RH_KERNEL_FOLDER "${CMAKE_SOURCE_DIR}/src/kernels")
set(RH_KERNEL_SETS portable)
set(RH_KERNEL_FLAGS_portable "")
if(CMAKE_SYSTEM_PROCESSOR MATCHES "^(x86_64|AMD64)$")
  list(APPEND RH_KERNEL_SETS avx2 avxvnni avx512)
  set(RH_KERNEL_FLAGS_avx2 -mavx2 -mfma -mf16c -DRK_ISA_AVX2)
  set(RH_KERNEL_FLAGS_avxvnni -mavx2 -mfma -mf16c -mavxvnni -DRK_ISA_AVXVNNI)
  set(RH_KERNEL_FLAGS_avx512 -mavx2 -mfma -mf16c -mavx512f -mavx512bw -mavx512vl -mavx512dq -mavx512vnni -DRK_ISA_AVX512)
endif()

# The files that are compiled for every set: those that use its operations.
file(GLOB RH_KERNEL_SOURCES CONFIGURE_DEPENDS "${RH_KERNEL_FOLDER}/isa/*.c")

# Vector code wants -O3; a compiler that puts off additions runs out of registers (docs/kernels.md).
set(RH_KERNEL_OPTIONS -ffp-contract=off $<$<NOT:$<CONFIG:Debug>>:-O3> $<$<C_COMPILER_ID:GNU>:-fno-tree-reassoc>)

add_library(rh_kernel_sets STATIC)
foreach(set IN LISTS RH_KERNEL_SETS)
  add_library(rh_kernels_${set} OBJECT ${RH_KERNEL_SOURCES})
  target_link_libraries(rh_kernels_${set} PRIVATE rh_flags)
  target_compile_options(rh_kernels_${set} PRIVATE ${RH_KERNEL_OPTIONS} ${RH_KERNEL_FLAGS_${set}})
  target_sources(rh_kernel_sets PRIVATE $<TARGET_OBJECTS:rh_kernels_${set}>)
endforeach()
target_link_libraries(rh_kernel_sets PUBLIC rh_flags m)
