# SPDX-License-Identifier: Apache-2.0
#
# rh_embed(TARGET FILE SYMBOL): the bytes of FILE in TARGET, as `const unsigned char SYMBOL[]` and `const size_t
# SYMBOL_length`. Made again when the file changes. As a script (cmake -P) this file writes the C source.

if(CMAKE_SCRIPT_MODE_FILE STREQUAL CMAKE_CURRENT_LIST_FILE)
  file(READ "${RH_EMBED_INPUT}" hex HEX)
  # 16 bytes a line. A regular expression cannot count in CMake, so the sixteen are written out.
  string(REPEAT "[0-9a-f][0-9a-f]" 16 line)
  string(REGEX REPLACE "(${line})" "\\1\n" hex "${hex}")
  string(REGEX REPLACE "([0-9a-f][0-9a-f])" "0x\\1," hex "${hex}")
  get_filename_component(name "${RH_EMBED_INPUT}" NAME)
  file(WRITE "${RH_EMBED_OUTPUT}" "// Made from ${name} by RoundhouseEmbed.cmake.
#include <stddef.h>

extern const unsigned char ${RH_EMBED_SYMBOL}[];
extern const size_t ${RH_EMBED_SYMBOL}_length;
// One more byte, so that an empty file is no empty array.
const unsigned char ${RH_EMBED_SYMBOL}[] = {
${hex}0};
const size_t ${RH_EMBED_SYMBOL}_length = sizeof ${RH_EMBED_SYMBOL} - 1;
")
  return()
endif()

set(RH_EMBED_SCRIPT "${CMAKE_CURRENT_LIST_FILE}")

function(rh_embed target file symbol)
  set(input "${CMAKE_SOURCE_DIR}/${file}")
  set(output "${CMAKE_BINARY_DIR}/embedded/${symbol}.c")
  add_custom_command(
    OUTPUT "${output}"
    COMMAND "${CMAKE_COMMAND}" "-DRH_EMBED_INPUT=${input}" "-DRH_EMBED_OUTPUT=${output}" "-DRH_EMBED_SYMBOL=${symbol}"
            -P "${RH_EMBED_SCRIPT}"
    DEPENDS "${input}" "${RH_EMBED_SCRIPT}"
    COMMENT "Embedding ${file}"
    VERBATIM)
  target_sources(${target} PRIVATE "${output}")
endfunction()
