// SPDX-License-Identifier: Apache-2.0
//
// What known.c, known_read.c, known_find.c and recommend.c share. Nobody outside src/model and its tests includes this.
#ifndef RH_MODEL_KNOWN_PRIVATE_H
#define RH_MODEL_KNOWN_PRIVATE_H

#include "base/arena.h"
#include "model/known.h"

#define RH_KNOWN_MAX 1024        // entries
#define RH_KNOWN_ALIASES_MAX 16  // of one entry
#define RH_KNOWN_FILES_MAX 256   // of one entry

typedef struct rh_known_list {
  rh_arena *arena;  // owns the strings and arrays of all entries
  rh_known *items;
  size_t count;
} rh_known_list;

// known_read.c: one entry from JSON, checked in itself. Strings go to the arena. `key` is "name[:version]".
rh_status rh_known_read(rh_arena *arena, const char *key, const json_t *value, bool built_in, rh_known *out,
                        rh_error *error) RH_MUST_CHECK;
// known_check.c: what entries must fulfil together: names, aliases and recommended versions are unique.
rh_status rh_known_check_all(const rh_known_list *list, rh_error *error) RH_MUST_CHECK;

// known.c: the list, read when it is first asked for.
const rh_known_list *rh_known_all(void);

// The file that CMake put into the program (cmake/RoundhouseEmbed.cmake).
extern const unsigned char rh_known_json[];
extern const size_t rh_known_json_length;

#endif
