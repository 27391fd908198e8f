// SPDX-License-Identifier: Apache-2.0
//
// `roundhouse serve`: reads the configuration and hands it to the daemon. Owns nothing.
#include <string.h>
#include <unistd.h>

#include "base/log.h"
#include "cli/commands.h"
#include "daemon/daemon.h"
#include "daemon/settings.h"

extern char **environ;

static bool wants_help(int argc, char **argv) {
  for (int i = 1; i < argc; i++) {
    if (strcmp(argv[i], "-h") == 0 || strcmp(argv[i], "--help") == 0) return true;
  }
  return false;
}

static rh_status settings_help(rh_dynbuf *out) {
  (void)rh_dynbuf_append_text(out,
                              "  --config FILE   default: ROUNDHOUSE_CONFIG, ./roundhouse.json, then "
                              "$XDG_CONFIG_HOME/roundhouse/roundhouse.json\n"
                              "  --model [NAME=]FILE   serve this .gguf file too; may be repeated\n");
  rh_status status = rh_config_help(rh_settings_table, rh_settings_table_count, out);
  (void)rh_dynbuf_append_text(
      out,
      "\nEach setting is also a key of roundhouse.json (--queue-max is \"queue_max\") and a "
      "variable (ROUNDHOUSE_QUEUE_MAX).\nA flag wins over a variable, a variable over the file.\n");
  return status;
}

static int run(const rh_cli_command *self, int argc, char **argv) {
  if (wants_help(argc, argv)) return rh_cli_print_help(self);
  // The settings will say how to log; until they are read, as by default.
  rh_log_setup(STDERR_FILENO, RH_LOG_INFO, RH_LOG_JSON);
  rh_configuration *conf;
  rh_error error = {0};
  if (rh_configuration_load(argc, argv, 1, environ, &conf, &error) != RH_OK) {
    return rh_cli_fail(error.param[0] == '-' ? RH_EXIT_USAGE : RH_EXIT_ERROR, "%s", error.message);
  }
  return rh_daemon_main(conf);
}

const rh_cli_command rh_cli_serve = {
    .name = "serve",
    .arguments = "",
    .help = "Start the server",
    .details = "Serves the models of the configuration, of --model and of the models folder until SIGTERM or Ctrl-C.\n",
    .run = run,
    .more_help = settings_help,
};
