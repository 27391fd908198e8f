// SPDX-License-Identifier: Apache-2.0
//
// Purpose: our own matrix kernels, from their library into llama.cpp's CPU backend.
// Data owned: the library's handle, never closed, as the backend keeps pointers into it.
// Threads: rh_llama_kernels_install under the once of library.c; rh_llama_kernels_mapped on the engine thread.
// Not here: the kernels (src/kernels), which this process may well do without.
#include "kernels/kernels.h"

#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/log.h"
#include "base/text.h"
#include "engine/llama/internal.h"

static rh_kernels_mapped_fn *mapped;

// ISO C has no cast from void * to a function; POSIX promises that the bytes are the same.
static bool find_function(void *library, const char *name, void *function, size_t size) {
  void *address = dlsym(library, name);
  if (address) memcpy(function, &address, size);
  return address != NULL;
}

// Beside this program, as in a build folder, or in the folder of the backends, as after an installation.
static void find_library(const char *folder, char *path, size_t size) {
  ssize_t length = readlink("/proc/self/exe", path, size - sizeof RH_KERNELS_LIBRARY - 1);
  char *slash = length > 0 ? memrchr(path, '/', (size_t)length) : NULL;
  if (slash) memcpy(slash + 1, RH_KERNELS_LIBRARY, sizeof RH_KERNELS_LIBRARY);
  if (!slash || access(path, F_OK) != 0) (void)snprintf(path, size, "%s/%s", folder, RH_KERNELS_LIBRARY);
}

static void *open_library(const char *folder, char *reason, size_t size) {
  char path[1024];
  find_library(folder, path, sizeof path);
  if (access(path, F_OK) != 0) {
    (void)snprintf(reason, size, "stock (no %s)", RH_KERNELS_LIBRARY);
    return NULL;
  }
  void *library = dlopen(path, RTLD_NOW | RTLD_LOCAL);
  if (!library) (void)snprintf(reason, size, "stock (%.200s)", dlerror());
  return library;
}

void rh_llama_kernels_install(void *backend_function, const char *folder, char *words, size_t size) {
  const char *wish = getenv("ROUNDHOUSE_KERNELS");
  rh_kernels_install_fn *install;
  if (wish && strcmp(wish, "stock") == 0) {
    (void)rh_text_copy(words, size, "stock (ROUNDHOUSE_KERNELS says so)");
    return;
  }
  void *library = open_library(folder, words, size);
  bool installed = false;
  if (library && find_function(library, RH_KERNELS_INSTALL, &install, sizeof install) &&
      find_function(library, RH_KERNELS_MAPPED, &mapped, sizeof mapped)) {
    installed = install(backend_function, wish && wish[0] ? wish : NULL, words, size);
  }
  if (!installed) {
    mapped = NULL;
    RH_LOG(RH_LOG_WARN, "llama.cpp's own kernels are used", rh_log_str("kernels", words));
  }
}

void rh_llama_kernels_mapped(bool from_mapping) {
  if (mapped) mapped(from_mapping);
}
