// SPDX-License-Identifier: Apache-2.0
//
// A main for fuzz targets without libFuzzer: runs the target once on each file named, and on each file of each folder
// named. It lets every build replay the corpora as ordinary tests. Single-threaded; owns nothing beyond one input.
#include <dirent.h>
#include <errno.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define INPUT_BYTES_MAX (16u << 20)

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static unsigned replayed;

static void fail(const char *path) {
  fprintf(stderr, "%s: %s\n", path, strerror(errno));
  exit(2);
}

static void replay_file(const char *path) {
  FILE *file = fopen(path, "rb");
  uint8_t *data = malloc(INPUT_BYTES_MAX);
  if (!file || !data) fail(path);
  size_t size = fread(data, 1, INPUT_BYTES_MAX, file);
  if (ferror(file)) fail(path);
  fclose(file);
  // An exact allocation, so that the sanitizer sees the first byte read beyond the input.
  uint8_t *exact = malloc(size ? size : 1);
  if (!exact) fail(path);
  memcpy(exact, data, size);
  free(data);
  (void)LLVMFuzzerTestOneInput(exact, size);
  free(exact);
  replayed++;
}

static void replay_folder(const char *path, DIR *folder) {
  const struct dirent *entry;
  while ((entry = readdir(folder)) != NULL) {
    if (entry->d_name[0] == '.') continue;
    char name[4096];
    int length = snprintf(name, sizeof name, "%s/%s", path, entry->d_name);
    if (length < 0 || (size_t)length >= sizeof name) continue;
    replay_file(name);
  }
}

int main(int argc, char **argv) {
  for (int i = 1; i < argc; i++) {
    DIR *folder = opendir(argv[i]);
    if (folder) {
      replay_folder(argv[i], folder);
      closedir(folder);
    } else {
      replay_file(argv[i]);
    }
  }
  printf("%u inputs\n", replayed);
  return replayed > 0 ? 0 : 1;
}
