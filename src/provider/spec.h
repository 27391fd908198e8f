// SPDX-License-Identifier: Apache-2.0
//
// Private to src/provider: the pieces that spec.c is made of.
#ifndef RH_PROVIDER_SPEC_H
#define RH_PROVIDER_SPEC_H

#include "provider/known.h"
#include "provider/provider.h"

// One entry while it is read.
typedef struct rh_spec_parse {
  rh_provider_spec *spec;
  const rh_known_provider *known;
  char *const *environment;
  const char *folder;
  const char *key_text;      // "apiKey" as written; NULL = not said
  const char *key_variable;  // "apiKeyEnv"
  const char *key_file;      // "apiKeyFile"
  bool base_url_given;       // the address is the configuration's, not the known one
  bool local_given;
  char path[96];  // "providers.NAME"
  rh_error *error;
} rh_spec_parse;

// Refuse the value at `key`; key NULL = the entry itself.
rh_status rh_spec_refuse(const rh_spec_parse *parse, const char *key, const char *format, ...) RH_PRINTF(3, 4);

// One member of the entry into the spec. RH_NOT_FOUND: no such field.
rh_status rh_spec_take_field(rh_spec_parse *parse, const char *key, const json_t *value) RH_MUST_CHECK;

const char *rh_spec_variable(const rh_spec_parse *parse, const char *name);  // of the environment; NULL = not set
// `text` with every ${NAME} replaced. RH_NOT_FOUND: a variable is not set, and `missing` has its name.
rh_status rh_spec_expand(const rh_spec_parse *parse, const char *text, char **out,
                         char missing[static 64]) RH_MUST_CHECK;
// The key from what the entry said, or from the environment, and whether it may be sent at all.
rh_status rh_spec_find_key(rh_spec_parse *parse) RH_MUST_CHECK;

// Check and set the address, and `local` where the configuration did not say it.
rh_status rh_spec_set_address(rh_spec_parse *parse, const char *text) RH_MUST_CHECK;
bool rh_spec_address_is_loopback(const char *url);

#endif
