# SPDX-License-Identifier: Apache-2.0
#
# The kernels of instruction sets that few machines have, compiled for every machine with SIMDe's portable stand-ins for
# their intrinsics: rh_kernel_sets_simulated, for tests only.

# With sanitizers they would take minutes to compile; the sources are the same as those of the sets that run there.
if(RH_SANITIZE)
  return()
endif()
find_path(RH_SIMDE_INCLUDE simde/x86/avx512/dpbusd.h)
if(NOT RH_SIMDE_INCLUDE)
  message(STATUS "Kernels: SIMDe is missing (Debian: libsimde-dev); tests leave out AVX-512 and AVX-VNNI where the processor does")
  return()
endif()

# No flags for instruction sets, so that nothing but the stand-ins is used, and it runs everywhere. SIMDe's own way of
# passing wide vectors, and functions that only the real sets declare, are no mistakes of ours. Without forced inlining the
# files compile six times faster.
set(RH_SIMULATED_OPTIONS -Wno-psabi -Wno-missing-prototypes -ffp-contract=off $<$<NOT:$<CONFIG:Debug>>:-O2>
  $<$<C_COMPILER_ID:GNU>:-Wno-maybe-uninitialized>)

add_library(rh_kernel_sets_simulated STATIC)
target_link_libraries(rh_kernel_sets_simulated PUBLIC rh_flags m)

# ARGN: the sources.
function(rh_add_simulated name isa suffix)
  add_library(rh_kernels_${name} OBJECT ${ARGN})
  target_link_libraries(rh_kernels_${name} PRIVATE rh_flags)
  target_include_directories(rh_kernels_${name} PRIVATE "${CMAKE_SOURCE_DIR}/tests")
  target_include_directories(rh_kernels_${name} SYSTEM PRIVATE "${RH_SIMDE_INCLUDE}")
  target_compile_definitions(rh_kernels_${name} PRIVATE
    RK_ISA_${isa} RK_SUFFIX=_${suffix} RK_SUFFIX_BF16=_avx512bf16sim
    "RK_INLINE=static inline" "RK_INTRINSICS=\"simulated/intrinsics.h\"")
  target_compile_options(rh_kernels_${name} PRIVATE ${RH_SIMULATED_OPTIONS})
  target_sources(rh_kernel_sets_simulated PRIVATE $<TARGET_OBJECTS:rh_kernels_${name}>)
endfunction()

rh_add_simulated(avx512sim AVX512 avx512sim ${RH_KERNEL_SOURCES})
rh_add_simulated(avxvnnisim AVXVNNI avxvnnisim ${RH_KERNEL_SOURCES})
rh_add_simulated(avx512bf16sim AVX512 avx512sim ${RH_KERNEL_SOURCES_avx512bf16})
