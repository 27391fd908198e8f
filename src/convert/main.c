// SPDX-License-Identifier: Apache-2.0
//
// roundhouse-convert: a Hugging Face folder to a GGUF file, and a GGUF file to a smaller one. Started by `roundhouse convert`,
// `roundhouse quantize` and the daemon, as a process of its own: what it reads comes from elsewhere, and llama.cpp ends the
// process when it finds something that it cannot believe. Reads its flags; the work is in convert.c and quantize.c.
#include <errno.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/version.h"
#include "convert/arch.h"
#include "convert/convert.h"

enum { EXIT_FINE = 0, EXIT_FAILED = 1, EXIT_USAGE = 2 };

static const char usage[] =
    "Usage: roundhouse-convert convert FOLDER OUT.gguf [--type T] [--name NAME] [--pre NAME] [--json]\n"
    "       roundhouse-convert quantize IN.gguf OUT.gguf TYPE [--threads N] [--imatrix FILE] [--requantize]\n"
    "                                  [--json]\n"
    "       roundhouse-convert convert --list | quantize --list | --version | --help\n"
    "\n"
    "convert   a Hugging Face folder with safetensors becomes a GGUF file\n"
    "quantize  a GGUF file becomes a smaller one\n"
    "\n"
    "  --type T       auto, f32, f16, bf16 or q8_0; auto keeps bf16 and makes f16 of all else (default auto)\n"
    "  --name NAME    the model's name in the file (default the folder's)\n"
    "  --pre NAME     llama.cpp's name for the tokenizer's way of cutting words, where it is not recognised\n"
    "  --threads N    how many cores to use; 0 = all (default 0)\n"
    "  --imatrix FILE an importance matrix, which the smallest types need (from llama.cpp's llama-imatrix)\n"
    "  --requantize   also quantize weights that are quantized already\n"
    "  --json         one JSON object a line on standard output\n"
    "  --list         the architectures, or the types, that there are\n"
    "\n"
    "The output is written as OUT.part and renamed when it is whole. Exit status: 0 fine, 1 an error, 2 usage.\n";

typedef struct options {
  rh_convert_options convert;
  rh_quantize_options quantize;
  bool json, list;
} options;

static int fail_usage(const char *what, const char *value) {
  fprintf(stderr, "roundhouse-convert: %s%s. Try roundhouse-convert --help.\n", what, value);
  return EXIT_USAGE;
}

static int read_threads(const char *text, int *out) {
  char *end;
  errno = 0;
  long number = strtol(text, &end, 10);
  if (errno != 0 || end == text || *end != '\0' || number < 0 || number > 512)
    return fail_usage("--threads needs a number from 0 to 512, not ", text);
  *out = (int)number;
  return -1;
}

// An exit code, or -1 to go on.
static int read_flags(int argc, char **argv, options *out) {
  static const struct option known[] = {
      {"type", required_argument, NULL, 't'},
      {"name", required_argument, NULL, 'n'},
      {"pre", required_argument, NULL, 'p'},
      {"threads", required_argument, NULL, 'j'},
      {"imatrix", required_argument, NULL, 'i'},
      {"requantize", no_argument, NULL, 'r'},
      {"json", no_argument, NULL, 'o'},
      {"list", no_argument, NULL, 'l'},
      {"version", no_argument, NULL, 'v'},
      {"help", no_argument, NULL, 'h'},
      {NULL, 0, NULL, 0},
  };
  *out = (options){.convert.type = "auto"};
  for (int c; (c = getopt_long(argc, argv, "", known, NULL)) != -1;) {
    int code = -1;
    switch (c) {
      case 't': out->convert.type = optarg; break;
      case 'n': out->convert.name = optarg; break;
      case 'p': out->convert.pre = optarg; break;
      case 'j': code = read_threads(optarg, &out->quantize.threads); break;
      case 'i': out->quantize.imatrix = optarg; break;
      case 'r': out->quantize.requantize = true; break;
      case 'o': out->json = true; break;
      case 'l': out->list = true; break;
      case 'v': printf("roundhouse-convert %s\n", RH_VERSION); return EXIT_FINE;
      case 'h': fputs(usage, stdout); return EXIT_FINE;
      default: return fail_usage("that flag is not understood", "");
    }
    if (code >= 0) return code;
  }
  return -1;
}

static int list_architectures(void) {
  for (const rh_arch *arch = rh_archs; arch->name != NULL; arch++) printf("%-32s %s\n", arch->name, arch->gguf);
  return EXIT_FINE;
}

static int finish(rh_status status, rh_report *report, rh_error *error) {
  if (status == RH_OK) return EXIT_FINE;
  error->status = status;
  rh_report_error(report, error);
  return EXIT_FAILED;
}

int main(int argc, char **argv) {
  options given;
  int code = read_flags(argc, argv, &given);
  if (code >= 0) return code;
  char **words = argv + optind;
  int count = argc - optind;
  if (count == 0) return fail_usage("say what to do: convert or quantize", "");
  bool convert = strcmp(words[0], "convert") == 0;
  if (!convert && strcmp(words[0], "quantize") != 0) return fail_usage("there is no command ", words[0]);
  if (given.list) {
    if (convert) return list_architectures();
    rh_quantize_list(stdout);
    return EXIT_FINE;
  }
  rh_report report;
  rh_error error = {0};
  rh_report_init(&report, given.json);
  if (convert) {
    if (count != 3) return fail_usage("convert needs a folder and the file to write", "");
    given.convert.folder = words[1];
    given.convert.output = words[2];
    return finish(rh_convert_run(&given.convert, &report, &error), &report, &error);
  }
  if (count != 4) return fail_usage("quantize needs a file, the file to write and a type", "");
  given.quantize.input = words[1];
  given.quantize.output = words[2];
  given.quantize.type = words[3];
  return finish(rh_quantize_run(&given.quantize, &report, &error), &report, &error);
}
