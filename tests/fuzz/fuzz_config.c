// SPDX-License-Identifier: Apache-2.0
//
// Fuzz target: a configuration file's text. Whatever it is, the parser gives a configuration or a reason, and a
// configuration that it gives can be checked and freed.
#include <stdint.h>
#include <stdlib.h>

#include "base/log.h"
#include "daemon/settings.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  rh_configuration *conf = NULL;
  rh_error error = {0};
  rh_log_setup(2, RH_LOG_OFF, RH_LOG_JSON);
  rh_status status = rh_configuration_parse((const char *)data, size, &conf, &error);
  if ((status == RH_OK) != (conf != NULL)) abort();
  if (status != RH_OK && error.message[0] == '\0') abort();
  if (conf == NULL) return 0;
  rh_dynbuf text;
  rh_dynbuf_init(&text, 1 << 20);
  for (size_t i = 0; i < rh_settings_table_count; i++) {
    rh_dynbuf_clear(&text);
    if (rh_config_format(&rh_settings_table[i], &conf->settings, &text) != RH_OK) abort();
  }
  rh_dynbuf_free(&text);
  rh_configuration_free(conf);
  return 0;
}
