// SPDX-License-Identifier: Apache-2.0
//
// Safetensors into GGUF by the program roundhouse-convert, whose progress is passed on. A program of its own, because it
// is of the worker's side and reads files from strangers. Owns nothing between calls; the pull's thread.
#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/json.h"
#include "base/subprocess.h"
#include "base/text.h"
#include "pull/install.h"
#include "pull/report.h"

typedef struct talk {
  rh_pulling *pull;
  rh_error *error;  // why the listener ended it
  bool done;
  rh_status status;  // what the program said went wrong
  char message[512];
} talk;

static rh_status on_line(void *ctx, const char *line) {
  talk *heard = ctx;
  json_t *event = rh_json_parse(line, strlen(line), NULL);
  const char *kind = json_string_value(json_object_get(event, "event"));
  rh_status status = RH_OK;
  if (kind != NULL && strcmp(kind, "progress") == 0) {
    double fraction = json_number_value(json_object_get(event, "fraction"));
    if (fraction >= 0 && fraction <= 1) status = rh_pull_report_converting(heard->pull, fraction, heard->error);
  } else if (kind != NULL && strcmp(kind, "done") == 0) {
    heard->done = true;
  } else if (kind != NULL && strcmp(kind, "error") == 0) {
    const char *message = json_string_value(json_object_get(event, "message"));
    const char *word = json_string_value(json_object_get(event, "status"));
    heard->status = word == NULL ? RH_UNSUPPORTED : rh_status_from_name(word);
    (void)rh_text_copy(heard->message, sizeof heard->message, message == NULL ? "it gave no reason" : message);
  }
  json_decref(event);
  return status;
}

// Beside this program.
static bool find_converter(const rh_pull_options *options, char *out, size_t size) {
  if (options->converter != NULL) return rh_text_copy(out, size, options->converter);
  char self[4000];
  ssize_t length = readlink("/proc/self/exe", self, sizeof self - 1);
  if (length <= 0) return false;
  self[length] = '\0';
  char *slash = strrchr(self, '/');
  if (slash == NULL) return false;
  *slash = '\0';
  int wrote = snprintf(out, size, "%s/roundhouse-convert", self);
  return wrote > 0 && (size_t)wrote < size;
}

static rh_status judge(const talk *heard, int exit_status, rh_dynbuf *complaints, rh_error *error) {
  if (heard->message[0] != '\0')
    return rh_fail(
        error, heard->status == RH_OK ? RH_UNSUPPORTED : heard->status,
        "it was fetched but could not be converted: %s. What has come is kept; --no-convert stores it as it is",
        heard->message);
  if (exit_status == 0 && heard->done) return RH_OK;
  const char *said = rh_dynbuf_data(complaints);
  size_t length = strlen(said);
  while (length > 0 && said[length - 1] == '\n') length--;
  int start = length > 300 ? (int)(length - 300) : 0;
  return rh_fail(error, RH_IO, "it was fetched but could not be converted: roundhouse-convert %s %d%s%.*s",
                 exit_status > 128 ? "was ended by signal" : "ended with exit status",
                 exit_status > 128 ? exit_status - 128 : exit_status, length == 0 ? "" : ": ", (int)length - start,
                 said + start);
}

rh_status rh_pull_convert(rh_pulling *pull, const char *folder, const char *name, rh_error *error) {
  char program[4096], *out = NULL;
  const char *type = pull->options->convert_type;
  if (!find_converter(pull->options, program, sizeof program))
    return rh_fail(error, RH_NOT_FOUND, "roundhouse-convert was not found beside this program");
  if (asprintf(&out, "%s/%s", folder, name) < 0) return rh_fail(error, RH_NO_MEMORY, "no memory for a path");
  const char *words[] = {program, "convert", folder, out, "--json", type == NULL ? NULL : "--type", type, NULL};
  rh_subprocess_options options = {.argv = words, .input = -1, .extra = -1};
  talk heard = {.pull = pull, .error = error, .status = RH_OK};
  rh_dynbuf complaints;
  rh_dynbuf_init(&complaints, 16384);
  int exit_status = 0;
  (void)unlink(out);
  rh_status status = rh_pull_report_converting(pull, 0, error);
  if (status == RH_OK) status = rh_subprocess_run(&options, on_line, &heard, &complaints, &exit_status, error);
  if (status == RH_OK) status = judge(&heard, exit_status, &complaints, error);
  if (status != RH_OK) (void)unlink(out);
  rh_dynbuf_free(&complaints);
  free(out);
  return status;
}
