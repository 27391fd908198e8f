// SPDX-License-Identifier: Apache-2.0
//
// Chooses the server of a command. One thread; a session owns its client and, when it had to start one, its server.
//
// The rules: a server that was named by flag or variable is asked, and nothing else. Otherwise a model that is a file
// is served privately; a model's name is asked of the usual server, and when none answers, a private server serves it
// from the configuration, the models folder or the store.
#include "cli/connect.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/text.h"
#include "cli/local.h"
#include "cli/output.h"
#include "flow/limits.h"
#include "model/names.h"

#define DEFAULT_SERVER "http://127.0.0.1:8080"
#define HEALTH_TIMEOUT_MS 3000L

extern char **environ;

char *rh_connect_url(const char *address) {
  char *out = NULL;
  if (strstr(address, "://") != NULL) {
    out = strdup(address);
  } else {
    const char *colon = strrchr(address, ':');
    size_t host = colon == NULL || strchr(colon, ']') != NULL ? strlen(address) : (size_t)(colon - address);
    // Nobody can connect to a wildcard address, but whoever listens there listens on the loopback too.
    bool any = host == 0 || strncmp(address, "0.0.0.0", host) == 0;
    bool any6 = host == 4 && strncmp(address, "[::]", 4) == 0;
    int written = any || any6 ? asprintf(&out, "http://%s%s", any6 ? "[::1]" : "127.0.0.1", address + host)
                              : asprintf(&out, "http://%s", address);
    if (written < 0) return NULL;
  }
  size_t length = out == NULL ? 0 : strlen(out);
  while (length > 0 && out[length - 1] == '/') out[--length] = '\0';
  return out;
}

rh_configuration *rh_connect_configuration(rh_error *error) {
  rh_configuration *conf = NULL;
  if (rh_configuration_load(0, NULL, 0, environ, &conf, error) != RH_OK) return NULL;
  return conf;
}

char *rh_connect_address(const char *asked, bool *chosen) {
  if (asked == NULL || asked[0] == '\0') asked = getenv("ROUNDHOUSE_SERVER");
  *chosen = asked != NULL && asked[0] != '\0';
  if (*chosen) return rh_connect_url(asked);
  // A configuration that is wrong is a matter for `serve` and `config check`; here it only means the usual address.
  rh_error ignored = {0};
  rh_configuration *conf = rh_connect_configuration(&ignored);
  const char *listen = conf != NULL ? conf->settings.listen : NULL;
  bool useful = listen != NULL && listen[0] != '\0' && !rh_text_ends_with(listen, ":0");
  char *out = useful ? rh_connect_url(listen) : strdup(DEFAULT_SERVER);
  rh_configuration_free(conf);
  return out;
}

bool rh_connect_answers(const char *server) {
  rh_client *client;
  rh_error ignored = {0};
  if (rh_client_new(server, &client, &ignored) != RH_OK) return false;
  json_t *health = NULL;
  rh_status status = rh_client_get_json(client, "/health", HEALTH_TIMEOUT_MS, &health, &ignored);
  json_decref(health);
  rh_client_free(client);
  // A server that is busy or has lost its model answers with an error, but it answers.
  return status == RH_OK || status == RH_UNAVAILABLE;
}

static bool is_path(const char *model) {
  return rh_text_ends_with(model, ".gguf") || rh_text_starts_with(model, "fake:") || access(model, F_OK) == 0;
}

static rh_status start_private(const char *name, const char *path, int64_t slots, rh_session *out, rh_error *error) {
  char model[RH_MODEL_NAME_MAX + 4200], slot_text[24];
  if (snprintf(model, sizeof model, "%s=%s", name, path) >= (int)sizeof model) {
    return rh_fail(error, RH_TOO_LARGE, "the path %.80s... is too long", path);
  }
  snprintf(slot_text, sizeof slot_text, "%lld", (long long)slots);
  // Nobody else asks this server, so its queue may hold all that one command sends, and it needs no key.
  const char *flags[] = {"--model",
                         model,
                         "--default-model",
                         name,
                         "--queue-max",
                         "10000",
                         "--require-key",
                         "never",
                         slots > 0 ? "--slots" : NULL,
                         slot_text,
                         NULL};
  bool tell = isatty(STDERR_FILENO) != 0;
  if (tell) fputs("starting a private server…", stderr);
  rh_status status = rh_private_start(flags, &out->own, error);
  if (tell) fputs("\r\x1b[K", stderr);
  if (status == RH_OK) (void)rh_text_copy(out->model, sizeof out->model, name);
  return status;
}

static rh_status private_for_path(const char *path, int64_t slots, rh_session *out, rh_error *error) {
  char name[RH_MODEL_NAME_MAX + 1];
  bool fake = rh_text_starts_with(path, "fake:");
  if (!fake && access(path, R_OK) != 0) {
    return rh_fail(error, RH_NOT_FOUND, "there is no readable file %s; check the path", path);
  }
  rh_model_name_from_path(path, name, sizeof name);
  return start_private(name, path, slots, out, error);
}

// A stored model of that name (or alias), served from its file.
static rh_status private_for_stored(const char *name, int64_t slots, rh_session *out, rh_error *error) {
  rh_local local;
  rh_stored stored = {.folder = NULL};
  rh_status status = rh_local_open(NULL, false, &local, error);
  if (status != RH_OK) return status;
  status = rh_local_find(&local, name, true, &stored, error);
  char *path = status == RH_OK ? rh_stored_entry_path(&stored) : NULL;
  if (status == RH_OK && path == NULL) status = rh_fail(error, RH_NO_MEMORY, "no memory for a path");
  if (status == RH_OK) status = start_private(name, path, slots, out, error);
  free(path);
  rh_stored_release(&stored);
  rh_local_close(&local);
  return status;
}

static rh_status private_for_name(const char *server, const char *name, int64_t slots, rh_session *out,
                                  rh_error *error) {
  rh_error inner = {0};
  rh_configuration *conf = rh_connect_configuration(&inner);
  if (conf == NULL) return rh_fail(error, RH_INVALID, "%s", inner.message);
  const rh_model_spec *spec = rh_catalogue_find(conf->catalogue, name);
  rh_error stored = {0};
  rh_status status;
  if (spec != NULL) {
    status = start_private(spec->name, spec->path, slots, out, error);
  } else if ((status = private_for_stored(name, slots, out, &stored)) != RH_NOT_FOUND) {
    if (status != RH_OK) *error = stored;
  } else {
    const char *near = rh_catalogue_nearest(conf->catalogue, name);
    status =
        rh_fail(error, RH_IO, "no server answers at %s, and no model \"%s\" is in %s%s%s; %s%s%s", server, name,
                conf->settings.models_dir, conf->file != NULL ? " or in " : "", conf->file != NULL ? conf->file : "",
                near != NULL ? "did you mean \"" : "give a .gguf file, or get the model with roundhouse pull",
                near != NULL ? near : "", near != NULL ? "\"?" : "");
  }
  rh_configuration_free(conf);
  return status;
}

rh_status rh_session_open(const char *asked, const char *model, int64_t slots, rh_session *out, rh_error *error) {
  *out = (rh_session){.client = NULL};
  bool chosen;
  char *server = rh_connect_address(asked, &chosen);
  if (server == NULL) return rh_fail(error, RH_NO_MEMORY, "no memory for the server's address");
  rh_status status = RH_OK;
  if (!chosen && is_path(model))
    status = private_for_path(model, slots, out, error);
  else if (!chosen && !rh_connect_answers(server))
    status = private_for_name(server, model, slots, out, error);
  else
    (void)rh_text_copy(out->model, sizeof out->model, model);
  if (status == RH_OK) {
    status = rh_client_new(out->own != NULL ? rh_private_server(out->own) : server, &out->client, error);
  }
  free(server);
  if (status != RH_OK) rh_session_close(out);
  return status;
}

void rh_session_close(rh_session *session) {
  rh_client_free(session->client);
  rh_private_stop(session->own);
  *session = (rh_session){.client = NULL};
}
