// SPDX-License-Identifier: Apache-2.0
//
// `roundhouse show`: all that is known of one model without loading it: the manifest, the GGUF header, the memory it will
// take, its aliases and files; for a model that is not here, what the catalogue says. Owns what it gathers. One thread.
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/text.h"
#include "cli/commands.h"
#include "cli/local.h"
#include "cli/output.h"
#include "cli/show_onnx.h"
#include "model/catalogue.h"
#include "model/known.h"
#include "model/need.h"

typedef struct show_options {
  char *store_dir;
  bool installed;
  bool json;
  bool color;
} show_options;

static const rh_setting show_flags[] = {
    RH_CLI_STORE_FLAG(show_options),
    RH_CLI_FLAG(RH_SETTING_BOOL, show_options, installed, "false", 0, 0, "only a model that is on this machine"),
    RH_CLI_FLAG(RH_SETTING_BOOL, show_options, json, "false", 0, 0, "print JSON"),
    RH_CLI_FLAG(RH_SETTING_BOOL, show_options, color, "true", 0, 0, "colours on a terminal; also NO_COLOR"),
};
#define SHOW_FLAG_COUNT (sizeof show_flags / sizeof *show_flags)

static void set_text(json_t *object, const char *key, const char *value) {
  if (value != NULL && value[0] != '\0') json_object_set_new(object, key, json_string(value));
}

static void set_number(json_t *object, const char *key, int64_t value) {
  if (value > 0) json_object_set_new(object, key, json_integer((json_int_t)value));
}

static void set_time(json_t *object, const char *key, int64_t seconds) {
  char text[32];
  if (seconds > 0 && rh_clock_format_utc(text, sizeof text, seconds) > 0)
    json_object_set_new(object, key, json_string(text));
}

// The header and the memory of the file that an engine opens.
static void add_entry(json_t *object, rh_format format, const char *path, const rh_load_options *options) {
  rh_gguf_summary summary = {0};
  rh_need need = {0};
  rh_error ignored = {0};
  const char *engine = rh_format_engine(format);
  set_text(object, "path", path);
  set_text(object, "format", rh_format_name(format));
  json_object_set_new(object, "engine", engine != NULL ? json_string(engine) : json_null());
  if (format == RH_FORMAT_GGUF && rh_gguf_read_summary(path, &summary, &ignored) == RH_OK) {
    json_t *gguf = json_object();
    set_number(gguf, "version", (int64_t)summary.version);
    set_text(gguf, "architecture", summary.architecture);
    set_text(gguf, "name", summary.name);
    set_text(gguf, "quantization", summary.quantization);
    set_number(gguf, "parameters", summary.parameters);
    set_number(gguf, "context_trained", summary.context_trained);
    set_number(gguf, "tensors", (int64_t)summary.tensor_count);
    json_object_set_new(gguf, "chat_template", json_boolean(summary.has_chat_template));
    json_object_set_new(object, "gguf", gguf);
  }
  if (format == RH_FORMAT_ONNX) rh_show_add_onnx(object, path);
  if (engine == NULL || rh_need_estimate(engine, path, options, 0, &need, &ignored) != RH_OK) return;
  json_object_set_new(object, "memory",
                      json_pack("{sIsIsIsIsIsIsI}", "ram_bytes", (json_int_t)need.ram_bytes, "gpu_bytes",
                                (json_int_t)need.gpu_bytes, "weights_bytes", (json_int_t)need.weights_bytes, "kv_bytes",
                                (json_int_t)need.kv_bytes, "compute_bytes", (json_int_t)need.compute_bytes, "context",
                                (json_int_t)options->context, "slots", (json_int_t)options->slots));
}

static rh_load_options load_options_of(const rh_local *local) {
  rh_load_options options = {.context = 0};
  if (local->conf == NULL) return options;
  const rh_settings *settings = &local->conf->settings;
  options.context = settings->context;
  options.slots = settings->slots;
  options.threads = settings->threads;
  options.batch = settings->batch;
  options.gpu_layers = settings->gpu_layers;
  return options;
}

static json_t *stored_to_json(rh_local *local, const rh_stored *stored) {
  char name[2 * RH_MODEL_NAME_MAX + 2];
  rh_local_name(stored, name, sizeof name);
  json_t *object = json_pack("{ssss}", "name", name, "where", stored->in_place ? "hub cache, used in place" : "store");
  set_text(object, "quantization", stored->quantization);
  set_text(object, "task", stored->task);
  set_text(object, "architecture", stored->architecture);
  set_number(object, "parameters", stored->parameters);
  set_number(object, "context", stored->context);
  set_number(object, "bytes", stored->bytes);
  set_text(object, "source", stored->source);
  set_text(object, "revision", stored->revision);
  set_text(object, "licence", stored->licence);
  set_time(object, "installed", stored->created_s);
  set_text(object, "folder", stored->folder);
  rh_load_options options = load_options_of(local);
  char *path = rh_stored_entry_path(stored);
  if (path != NULL) add_entry(object, stored->format, path, &options);
  free(path);
  json_object_set_new(object, "aliases", rh_local_aliases_of(local, stored));
  json_t *files = json_array();
  for (size_t i = 0; i < stored->file_count; i++) {
    const rh_stored_file *file = &stored->files[i];
    json_array_append_new(
        files, json_pack("{sssIss}", "path", file->path, "bytes", (json_int_t)file->bytes, "sha256", file->sha256));
  }
  json_object_set_new(object, "files", files);
  return object;
}

static json_t *spec_to_json(const rh_model_spec *spec) {
  json_t *object = json_pack("{ssss}", "name", spec->name, "where", "configuration or models folder, used in place");
  set_number(object, "bytes", spec->file_bytes);
  set_time(object, "modified", spec->modified_s);
  rh_format format = spec->format;
  if (format == RH_FORMAT_UNKNOWN) format = strcmp(spec->engine, "fake") == 0 ? RH_FORMAT_FAKE : RH_FORMAT_GGUF;
  add_entry(object, format, spec->path, &spec->options);
  return object;
}

static json_t *file_to_json(rh_local *local, const char *path, rh_error *error) {
  rh_format_report report = {.format = RH_FORMAT_UNKNOWN};
  if (rh_format_detect(path, &report, error) != RH_OK) return NULL;
  json_t *object = json_pack("{ssss}", "name", path, "where", "a file");
  set_number(object, "bytes", report.bytes);
  set_text(object, "parts", report.parts);
  rh_load_options options = load_options_of(local);
  add_entry(object, report.format, path, &options);
  return object;
}

// Where a name is looked for, in this order: the store and the hub cache, the configuration, the disk, the catalogue.
static json_t *gather(rh_local *local, const char *name, bool installed, rh_error *error) {
  rh_stored stored;
  rh_error inner = {0};
  rh_status status = rh_local_find(local, name, true, &stored, &inner);
  if (status == RH_OK) {
    json_t *object = stored_to_json(local, &stored);
    rh_stored_release(&stored);
    return object;
  }
  const rh_model_spec *spec = local->conf != NULL ? rh_catalogue_find(local->conf->catalogue, name) : NULL;
  if (spec != NULL) return spec_to_json(spec);
  if (strchr(name, '/') != NULL && access(name, R_OK) == 0) return file_to_json(local, name, error);
  const rh_known *known = rh_known_find(name);
  if (known != NULL && installed) {
    rh_fail(error, RH_NOT_FOUND, "%s is not here, but the catalogue has it; get it with: roundhouse pull %s", name,
            name);
    return NULL;
  }
  if (known != NULL) {
    json_t *object = rh_known_to_json(known);
    json_object_set_new(object, "where", json_string("not here; in the catalogue"));
    return object;
  }
  const char *near = rh_known_nearest(name);
  rh_fail(error, status, "%s%s%s%s", inner.message, near != NULL ? "; the catalogue has \"" : "",
          near != NULL ? near : "", near != NULL ? "\"" : "");
  return NULL;
}

static bool is_bytes(const char *key) {
  size_t length = strlen(key);
  return strcmp(key, "bytes") == 0 || (length > 6 && strcmp(key + length - 6, "_bytes") == 0);
}

// "memory_min_bytes" -> "memory min".
static void heading_of(const char *key, char *out, size_t size) {
  (void)rh_text_copy(out, size, strcmp(key, "bytes") == 0 ? "size" : key);
  size_t length = strlen(out);
  if (length > 6 && is_bytes(out)) out[length - 6] = '\0';
  for (char *c = out; *c != '\0'; c++) *c = *c == '_' ? ' ' : *c;
}

static void value_text(const char *key, const json_t *value, char *out, size_t size) {
  out[0] = '\0';
  if (json_is_string(value))
    (void)rh_text_copy(out, size, json_string_value(value));
  else if (json_is_integer(value) && is_bytes(key))
    rh_cli_format_bytes(out, size, (long long)json_integer_value(value));
  else if (json_is_integer(value))
    snprintf(out, size, "%" JSON_INTEGER_FORMAT, json_integer_value(value));
  else if (json_is_real(value))
    rh_text_format_number(out, size, json_real_value(value));
  else if (json_is_boolean(value))
    snprintf(out, size, "%s", json_is_true(value) ? "yes" : "no");
}

static void print_field(const char *key, const json_t *value, int indent) {
  char heading[64], text[1024];
  heading_of(key, heading, sizeof heading);
  value_text(key, value, text, sizeof text);
  if (text[0] == '\0') return;
  printf("%*s%s%-*s%s ", indent, "", rh_cli_style(stdout, RH_STYLE_BOLD), 18 - indent, heading,
         rh_cli_style(stdout, RH_STYLE_OFF));
  rh_cli_write_text(stdout, text, strlen(text));
  fputc('\n', stdout);
}

static void print_names(const char *key, const json_t *array) {
  char text[1024] = "";
  size_t i, at = 0;
  json_t *name;
  json_array_foreach(array, i, name) {
    if (!json_is_string(name) || at + 2 >= sizeof text) continue;
    at += (size_t)snprintf(text + at, sizeof text - at, "%s%s", i > 0 ? ", " : "", json_string_value(name));
    if (at >= sizeof text) at = sizeof text - 1;
  }
  json_t *joined = json_string(text);
  print_field(key, joined, 0);
  json_decref(joined);
}

static void print_files(const json_t *files) {
  static const char *const headings[] = {"FILE", ">SIZE", "SHA256", NULL};
  if (json_array_size(files) == 0) return;
  size_t i;
  json_t *file;
  char size[32];
  fputc('\n', stdout);
  rh_table *table = rh_table_new(headings);
  json_array_foreach(files, i, file) {
    rh_cli_format_bytes(size, sizeof size, (long long)json_integer_value(json_object_get(file, "bytes")));
    rh_table_add(table, (const char *const[]){json_string_value(json_object_get(file, "path")), size,
                                              json_string_value(json_object_get(file, "sha256"))});
  }
  (void)rh_table_print_free(table, stdout);
}

static void print_model(const json_t *model) {
  const char *key, *inner_key;
  json_t *value, *inner;
  json_t *unordered = (json_t *)(uintptr_t)model;  // jansson's loop wants it without const and changes nothing
  json_object_foreach(unordered, key, value) {
    if (json_is_object(value)) {
      printf("%s%s%s\n", rh_cli_style(stdout, RH_STYLE_BOLD), key, rh_cli_style(stdout, RH_STYLE_OFF));
      json_object_foreach(value, inner_key, inner) {
        if (json_is_array(inner)) {
          rh_show_print_ports(inner_key, inner);
        } else {
          print_field(inner_key, inner, 2);
        }
      }
    } else if (json_is_array(value)) {
      if (strcmp(key, "files") != 0) print_names(key, value);
    } else {
      print_field(key, value, 0);
    }
  }
  print_files(json_object_get(model, "files"));
}

static int show(const show_options *options, const char *name) {
  rh_local local;
  rh_error error = {0};
  if (rh_local_open(options->store_dir, false, &local, &error) != RH_OK) return rh_local_fail(&error);
  json_t *model = gather(&local, name, options->installed, &error);
  rh_local_close(&local);
  if (model == NULL) return rh_local_fail(&error);
  if (options->json) return rh_cli_print_json(model);
  print_model(model);
  json_decref(model);
  return RH_EXIT_OK;
}

static int run(const rh_cli_command *self, int argc, char **argv) {
  show_options options = {0};
  rh_cli_args args;
  int code = rh_cli_parse(self, argc, argv, &options, NULL, &args);
  if (code >= 0) return code;
  rh_cli_use_color(options.color);
  if (args.count != 1)
    code = rh_cli_fail(RH_EXIT_USAGE, "show needs one model: roundhouse show MODEL; see roundhouse list");
  else
    code = show(&options, args.words[0]);
  rh_cli_args_free(&args);
  rh_config_release(show_flags, SHOW_FLAG_COUNT, &options);
  return code;
}

const rh_cli_command rh_cli_show = {
    .name = "show",
    .arguments = "MODEL",
    .help = "Show what is known of a model: source, licence, files, memory",
    .details = "MODEL is stored, in the configuration, a file, or a name of the catalogue. Nothing is loaded.\n",
    .flags = show_flags,
    .flag_count = SHOW_FLAG_COUNT,
    .run = run,
};
