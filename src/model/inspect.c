// SPDX-License-Identifier: Apache-2.0
//
// What a model's path leads to: a file, a folder, or the fake engine's script; and which engine serves it. Owns nothing
// between calls; the thread that owns the spec. It deliberately does not check that the model can be loaded: only that
// its files are there and look like a format that an engine of this build reads.
#include "model/inspect.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/text.h"
#include "model/format.h"

static rh_status set_engine(rh_model_spec *spec, const char *engine, rh_error *error) {
  if (spec->engine != NULL) return RH_OK;
  spec->engine = strdup(engine);
  return spec->engine != NULL ? RH_OK : rh_fail(error, RH_NO_MEMORY, "no memory for a model's settings");
}

static rh_status no_engine(const rh_model_spec *spec, const rh_format_report *report, rh_error *error) {
  char advice[256] = "get the model as GGUF or ONNX";
  if (report->format == RH_FORMAT_SAFETENSORS) {
    (void)snprintf(advice, sizeof advice, "roundhouse pull file:FOLDER converts it once");
  }
  return rh_fail_param(error, RH_UNSUPPORTED, "path",
                       "model \"%s\": %s is a model in the format %s, which no engine of this build serves; %s",
                       spec->name, spec->path, rh_format_name(report->format), advice);
}

// The worker may run in another folder, so the path must not depend on ours. The last name is kept as it is: the parts
// of a split model find each other by name, and in a Hugging Face cache only the links have names.
static char *absolute_path(const char *path, const rh_format_report *report) {
  struct stat info;
  bool folder = stat(path, &info) == 0 && S_ISDIR(info.st_mode);
  const char *slash = folder ? NULL : strrchr(path, '/');
  char *parent = folder ? strdup(path) : slash == NULL ? strdup(".") : strndup(path, (size_t)(slash - path) + 1);
  char *real = parent == NULL ? NULL : realpath(parent, NULL);
  char *absolute = NULL;
  // In both cases the entry is a name in that folder; of a split model it is the first part, whichever was named.
  if (real != NULL && asprintf(&absolute, "%s%s%s", real, strcmp(real, "/") == 0 ? "" : "/", report->entry) < 0) {
    absolute = NULL;
  }
  free(real);
  free(parent);
  return absolute;
}

static rh_status inspect_file(rh_model_spec *spec, rh_error *error) {
  rh_format_report report;
  rh_error inner = {0};
  rh_status status = rh_format_detect(spec->path, &report, &inner);
  if (status == RH_NO_MEMORY) return rh_fail(error, status, "%s", inner.message);
  if (status != RH_OK) {
    return rh_fail_param(error, status, "path", "model \"%s\": %s; correct its path or remove the model", spec->name,
                         inner.message);
  }
  const char *engine = rh_format_engine(report.format);
  if (engine == NULL) return no_engine(spec, &report, error);
  if (spec->engine != NULL && strcmp(spec->engine, engine) != 0) {
    return rh_fail_param(error, RH_INVALID, "engine",
                         "model \"%s\": %s is in the format %s, which engine %s serves, not %s", spec->name, spec->path,
                         rh_format_name(report.format), engine, spec->engine);
  }
  char *absolute = absolute_path(spec->path, &report);
  if (absolute == NULL) return rh_fail(error, RH_NO_MEMORY, "no memory for a model's settings");
  free(spec->path);
  spec->path = absolute;
  struct stat info;
  spec->format = report.format;
  spec->file_bytes = report.bytes;
  spec->modified_s = stat(spec->path, &info) == 0 ? info.st_mtime : 0;
  return set_engine(spec, engine, error);
}

static rh_status check_engine(const rh_model_spec *spec, rh_error *error) {
  const char *engine = spec->engine;
  if (engine == NULL) return RH_OK;
  if (strcmp(engine, "llama") != 0 && strcmp(engine, "onnx") != 0 && strcmp(engine, "fake") != 0) {
    return rh_fail_param(error, RH_INVALID, "engine",
                         "model \"%s\": there is no engine \"%.64s\"; known are llama, onnx and fake", spec->name,
                         engine);
  }
  bool fake_path = rh_text_starts_with(spec->path, "fake:");
  if (fake_path != (strcmp(engine, "fake") == 0)) {
    return rh_fail_param(error, RH_INVALID, "path",
                         "model \"%s\": paths beginning with fake: belong to engine fake, others to llama or onnx",
                         spec->name);
  }
  return RH_OK;
}

rh_status rh_model_inspect(rh_model_spec *spec, rh_error *error) {
  assert(spec != NULL && spec->name != NULL);
  if (spec->path == NULL || spec->path[0] == '\0') {
    return rh_fail_param(error, RH_INVALID, "path", "model \"%s\" has no path; set it to a .gguf or .onnx file",
                         spec->name);
  }
  if (spec->engine != NULL && spec->engine[0] == '\0') {
    free(spec->engine);
    spec->engine = NULL;
  }
  rh_status status = check_engine(spec, error);
  if (status != RH_OK) return status;
  if (!rh_text_starts_with(spec->path, "fake:")) return inspect_file(spec, error);
  spec->format = RH_FORMAT_FAKE;
  return set_engine(spec, "fake", error);
}
