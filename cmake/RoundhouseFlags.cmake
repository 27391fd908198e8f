# SPDX-License-Identifier: Apache-2.0
#
# rh_flags: the language, warnings and hardening of our own code. They hang on a target and not on CMAKE_C_FLAGS, so
# that an engine built from source beside us keeps its own.

add_library(rh_flags INTERFACE)
target_compile_features(rh_flags INTERFACE c_std_17)
target_compile_definitions(rh_flags INTERFACE _GNU_SOURCE)
target_include_directories(rh_flags INTERFACE "${CMAKE_SOURCE_DIR}/src")
target_compile_options(rh_flags INTERFACE
  -Wall -Wextra -Wpedantic -Wshadow -Wconversion
  $<$<COMPILE_LANGUAGE:C>:-Wstrict-prototypes> $<$<COMPILE_LANGUAGE:C>:-Wmissing-prototypes>
  $<$<BOOL:${RH_WERROR}>:-Werror>
  -fno-common -fno-omit-frame-pointer)

set(CMAKE_C_EXTENSIONS OFF)
set(CMAKE_POSITION_INDEPENDENT_CODE ON)
include(CheckPIESupported)
check_pie_supported(LANGUAGES C)

# Assertions stay on in a release: a broken promise between modules must stop the process, not corrupt an answer.
set(CMAKE_C_FLAGS_RELEASE "-O2 -g")
set(CMAKE_C_FLAGS_DEBUG "-Og -g")

if(RH_SANITIZE)
  target_compile_options(rh_flags INTERFACE -fsanitize=${RH_SANITIZE} -fno-sanitize-recover=all)
  target_link_options(rh_flags INTERFACE -fsanitize=${RH_SANITIZE})
elseif(CMAKE_BUILD_TYPE STREQUAL "Release")
  target_compile_options(rh_flags INTERFACE
    -fstack-protector-strong -fstack-clash-protection -U_FORTIFY_SOURCE -D_FORTIFY_SOURCE=2
    $<$<STREQUAL:${CMAKE_SYSTEM_PROCESSOR},x86_64>:-fcf-protection>)
  target_link_options(rh_flags INTERFACE -Wl,-z,relro -Wl,-z,now -Wl,-z,noexecstack)
endif()
if(RH_FUZZ)
  target_compile_options(rh_flags INTERFACE -fsanitize=fuzzer-no-link)
endif()
