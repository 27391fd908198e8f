// SPDX-License-Identifier: Apache-2.0
//
// `roundhouse convert` and `roundhouse quantize`: find the model and a name for the result, then become roundhouse-convert,
// which does the work and talks to the terminal by itself. Owns nothing that outlives a call. One thread.
#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/file.h"
#include "base/text.h"
#include "cli/commands.h"
#include "cli/connect.h"
#include "cli/local.h"

#define WORDS_MAX 24
#define PATH_SIZE 4096

typedef struct convert_options {
  char *type;
  char *name;
  char *pre;
  bool force;
  bool json;
} convert_options;

static const rh_setting convert_flags[] = {
    RH_CLI_FLAG(RH_SETTING_STRING, convert_options, type, "auto", 0, 0,
                "auto, f32, f16, bf16 or q8_0; auto keeps bf16 and makes f16 of all else"),
    RH_CLI_FLAG(RH_SETTING_STRING, convert_options, name, NULL, 0, 0,
                "the model's name in the file; default: the folder's"),
    RH_CLI_FLAG(RH_SETTING_STRING, convert_options, pre, NULL, 0, 0,
                "llama.cpp's name for the tokenizer's way of cutting words, where it is not recognised"),
    RH_CLI_FLAG(RH_SETTING_BOOL, convert_options, force, "false", 0, 0, "replace a file that is there"),
    RH_CLI_FLAG(RH_SETTING_BOOL, convert_options, json, "false", 0, 0, "one JSON object a line"),
};
#define CONVERT_FLAG_COUNT (sizeof convert_flags / sizeof *convert_flags)

typedef struct quantize_options {
  int64_t threads;
  char *imatrix;
  bool requantize;
  bool force;
  bool list;
  bool json;
} quantize_options;

static const rh_setting quantize_flags[] = {
    RH_CLI_FLAG(RH_SETTING_INT, quantize_options, threads, "0", 0, 512, "how many cores to use; 0 = all"),
    RH_CLI_FLAG(RH_SETTING_STRING, quantize_options, imatrix, NULL, 0, 0,
                "file of an importance matrix, which the smallest types need"),
    RH_CLI_FLAG(RH_SETTING_BOOL, quantize_options, requantize, "false", 0, 0,
                "also weights that are quantized already; they lose twice"),
    RH_CLI_FLAG(RH_SETTING_BOOL, quantize_options, force, "false", 0, 0, "replace a file that is there"),
    RH_CLI_FLAG(RH_SETTING_BOOL, quantize_options, list, "false", 0, 0, "show the types"),
    RH_CLI_FLAG(RH_SETTING_BOOL, quantize_options, json, "false", 0, 0, "one JSON object a line"),
};
#define QUANTIZE_FLAG_COUNT (sizeof quantize_flags / sizeof *quantize_flags)

// ROUNDHOUSE_CONVERT, or the program beside this one.
static bool find_converter(char *out, size_t size) {
  const char *given = getenv("ROUNDHOUSE_CONVERT");
  if (given != NULL && given[0] != '\0') return rh_text_copy(out, size, given);
  ssize_t length = readlink("/proc/self/exe", out, size - 1);
  if (length <= 0) return false;
  out[length] = '\0';
  char *slash = strrchr(out, '/');
  if (slash == NULL) return false;
  size_t room = size - (size_t)(slash + 1 - out);
  int wrote = snprintf(slash + 1, room, "roundhouse-convert");
  return wrote > 0 && (size_t)wrote < room;
}

// Does not return when it goes well.
static int become_converter(const char **words) {
  char program[PATH_SIZE];
  if (!find_converter(program, sizeof program) || access(program, X_OK) != 0)
    return rh_cli_fail(RH_EXIT_ERROR,
                       "this build has no roundhouse-convert (it was built without llama.cpp, ENGINE_LLAMA=off); "
                       "ROUNDHOUSE_CONVERT can name one");
  words[0] = program;
  (void)fflush(NULL);
  (void)execv(program, (char *const *)(uintptr_t)words);
  return rh_cli_fail(RH_EXIT_ERROR, "cannot start %s: %s", program, strerror(errno));
}

static const char *base_name(const char *path) {
  const char *slash = strrchr(path, '/');
  return slash != NULL ? slash + 1 : path;
}

static bool is_file(const char *path) {
  struct stat about;
  return stat(path, &about) == 0 && S_ISREG(about.st_mode);
}

// "MODELS_DIR/NAME.gguf", where a server finds it; the folder is made. -1, or an exit status.
static int path_in_models(const char *name, char *out, size_t size) {
  rh_error error = {0};
  rh_configuration *conf = rh_connect_configuration(&error);
  if (conf == NULL) return rh_cli_fail(RH_EXIT_ERROR, "%s", error.message);
  rh_status status = rh_file_make_folders(conf->settings.models_dir, 0755, &error);
  int length = snprintf(out, size, "%s/%s.gguf", conf->settings.models_dir, name);
  rh_configuration_free(conf);
  if (status != RH_OK) return rh_cli_fail(RH_EXIT_ERROR, "%s", error.message);
  if (length < 0 || (size_t)length >= size) return rh_cli_fail(RH_EXIT_ERROR, "the output's path is too long");
  return -1;
}

// -1, or an exit status.
static int refuse_existing(const char *path, bool force) {
  if (force || access(path, F_OK) != 0) return -1;
  return rh_cli_fail(RH_EXIT_ERROR, "%s is there already; name another file, or say --force", path);
}

static int name_of_folder(const char *folder, char *out, size_t size) {
  char *real = realpath(folder, NULL);
  if (real == NULL) return rh_cli_fail(RH_EXIT_ERROR, "cannot open the folder %s: %s", folder, strerror(errno));
  bool whole = rh_text_copy(out, size, base_name(real));
  free(real);
  return whole && out[0] != '\0' ? -1 : rh_cli_fail(RH_EXIT_ERROR, "say which file to write");
}

static int convert(const convert_options *options, const rh_cli_args *args) {
  char out[PATH_SIZE], name[256];
  int code = -1;
  if (args->count == 2) {
    if (!rh_text_copy(out, sizeof out, args->words[1]))
      return rh_cli_fail(RH_EXIT_USAGE, "the output's path is too long");
  } else {
    code = name_of_folder(args->words[0], name, sizeof name);
    if (code < 0) code = path_in_models(name, out, sizeof out);
  }
  if (code < 0) code = refuse_existing(out, options->force);
  if (code >= 0) return code;
  const char *words[WORDS_MAX] = {"", "convert", "--type", options->type};
  size_t count = 4;
  if (options->name != NULL) words[count++] = "--name", words[count++] = options->name;
  if (options->pre != NULL) words[count++] = "--pre", words[count++] = options->pre;
  if (options->json) words[count++] = "--json";
  words[count++] = "--";
  words[count++] = args->words[0];
  words[count++] = out;
  assert(count < WORDS_MAX);
  return become_converter(words);
}

static int run_convert(const rh_cli_command *self, int argc, char **argv) {
  convert_options options;
  rh_cli_args args;
  int code = rh_cli_parse(self, argc, argv, &options, NULL, &args);
  if (code >= 0) return code;
  code = args.count == 1 || args.count == 2
             ? convert(&options, &args)
             : rh_cli_fail(RH_EXIT_USAGE, "say which folder to convert: roundhouse convert FOLDER [OUT]");
  rh_cli_args_free(&args);
  rh_config_release(self->flags, self->flag_count, &options);
  return code;
}

// A model by its name: from the configuration or models_dir, else from the store. -1, or an exit status.
static int find_model(const char *name, char *out, size_t size) {
  rh_error error = {0};
  rh_local local;
  rh_status status = rh_local_open(NULL, false, &local, &error);
  if (status != RH_OK) return rh_local_fail(&error);
  const rh_model_spec *spec = local.conf != NULL ? rh_catalogue_find(local.conf->catalogue, name) : NULL;
  bool whole = true;
  if (spec != NULL) {
    whole = rh_text_copy(out, size, spec->path);
  } else {
    rh_stored stored;
    status = rh_local_find(&local, name, true, &stored, &error);
    char *path = status == RH_OK ? rh_stored_entry_path(&stored) : NULL;
    if (status == RH_OK) rh_stored_release(&stored);
    if (path != NULL) whole = rh_text_copy(out, size, path);
    if (status == RH_OK && path == NULL) status = rh_fail(&error, RH_NO_MEMORY, "no memory for a path");
    free(path);
  }
  rh_local_close(&local);
  if (status != RH_OK) return rh_local_fail(&error);
  return whole ? -1 : rh_cli_fail(RH_EXIT_ERROR, "the path of %s is too long", name);
}

// "model-f16.gguf" and "q4_k_m" to "model-q4_k_m".
static void result_name(const char *input, const char *type, char *out, size_t size) {
  static const char *const ends[] = {".gguf", "-f16", "-bf16", "-f32", ".f16", ".bf16", ".f32"};
  char stem[256];
  (void)rh_text_copy(stem, sizeof stem, input);
  for (size_t i = 0; i < sizeof ends / sizeof *ends; i++) {
    size_t length = strlen(stem), end = strlen(ends[i]);
    if (length > end && strcmp(stem + length - end, ends[i]) == 0) stem[length - end] = '\0';
  }
  for (char *c = stem; *c != '\0'; c++) {
    if (*c == ':' || *c == '/') *c = '-';
  }
  (void)snprintf(out, size, "%s-%s", stem, type);
}

// A file's result lies beside it; a model's lies where the server looks, for the store's folders are never changed.
static int choose_output(const char *asked, const char *input, bool by_name, const char *type, char *out, size_t size) {
  char name[320];
  result_name(by_name ? asked : base_name(input), type, name, sizeof name);
  if (by_name) return path_in_models(name, out, size);
  int folder = (int)(base_name(input) - input);
  int length = snprintf(out, size, "%.*s%s.gguf", folder, input, name);
  return length > 0 && (size_t)length < size ? -1 : rh_cli_fail(RH_EXIT_ERROR, "the output's path is too long");
}

static int quantize(const quantize_options *options, const rh_cli_args *args) {
  char input[PATH_SIZE], out[PATH_SIZE], threads[32];
  const char *asked = args->words[0], *type = args->words[1];
  bool by_name = strchr(asked, '/') == NULL && !is_file(asked);
  int code = -1;
  if (by_name) {
    code = find_model(asked, input, sizeof input);
  } else if (!rh_text_copy(input, sizeof input, asked)) {
    return rh_cli_fail(RH_EXIT_USAGE, "the path is too long");
  }
  if (code >= 0) return code;
  if (args->count == 3) {
    if (!rh_text_copy(out, sizeof out, args->words[2]))
      return rh_cli_fail(RH_EXIT_USAGE, "the output's path is too long");
  } else {
    code = choose_output(asked, input, by_name, type, out, sizeof out);
  }
  if (code < 0) code = refuse_existing(out, options->force);
  if (code >= 0) return code;
  (void)snprintf(threads, sizeof threads, "%lld", (long long)options->threads);
  const char *words[WORDS_MAX] = {"", "quantize", "--threads", threads};
  size_t count = 4;
  if (options->imatrix != NULL) words[count++] = "--imatrix", words[count++] = options->imatrix;
  if (options->requantize) words[count++] = "--requantize";
  if (options->json) words[count++] = "--json";
  words[count++] = "--";
  words[count++] = input;
  words[count++] = out;
  words[count++] = type;
  assert(count < WORDS_MAX);
  return become_converter(words);
}

static int run_quantize(const rh_cli_command *self, int argc, char **argv) {
  quantize_options options;
  rh_cli_args args;
  int code = rh_cli_parse(self, argc, argv, &options, NULL, &args);
  if (code >= 0) return code;
  const char *list[] = {"", "quantize", "--list", NULL};
  if (options.list) {
    code = become_converter(list);
  } else if (args.count == 2 || args.count == 3) {
    code = quantize(&options, &args);
  } else {
    code = rh_cli_fail(RH_EXIT_USAGE, "say what to quantize and to what: roundhouse quantize FILE|MODEL TYPE [OUT]");
  }
  rh_cli_args_free(&args);
  rh_config_release(self->flags, self->flag_count, &options);
  return code;
}

const rh_cli_command rh_cli_convert = {
    .name = "convert",
    .arguments = "FOLDER [OUT]",
    .help = "Make a GGUF file of a Hugging Face folder",
    .details =
        "FOLDER holds config.json, *.safetensors and a tokenizer: Llama, Mistral, SmolLM, Qwen 2 and 3, Gemma 1 to 3,\n"
        "Phi-3, BERT and their like. OUT is the file to write; without it the result goes into the folder where the\n"
        "server looks for models, by the folder's name. Needs no server.\n",
    .flags = convert_flags,
    .flag_count = CONVERT_FLAG_COUNT,
    .run = run_convert,
};

const rh_cli_command rh_cli_quantize = {
    .name = "quantize",
    .arguments = "FILE|MODEL TYPE [OUT]",
    .help = "Make a smaller GGUF file of one",
    .details =
        "TYPE is one of llama.cpp's: q8_0, q4_k_m, iq4_xs and others (--list). OUT is the file to write; without it "
        "the\n"
        "result lies beside FILE, or for a MODEL by its name in the folder where the server looks for models.\n",
    .flags = quantize_flags,
    .flag_count = QUANTIZE_FLAG_COUNT,
    .run = run_quantize,
};
