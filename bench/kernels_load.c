// SPDX-License-Identifier: Apache-2.0
//
// Purpose: see kernels_load.h. The kernels' library is looked for beside this program and one folder up.
// Data owned: handles that stay open.
#include "kernels_load.h"

#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "kernels/kernels.h"

static _Noreturn void fail(const char *what) {
  fprintf(stderr, "%s\n", what);
  exit(1);
}

// The folder that holds the shared library of a function.
static void folder_of(const char *name, char *out, size_t size) {
  Dl_info where;
  void *address = dlsym(RTLD_DEFAULT, name);
  if (!address || dladdr(address, &where) == 0 || !where.dli_fname) fail("cannot tell where ggml was loaded from");
  (void)snprintf(out, size, "%s", where.dli_fname);
  char *slash = strrchr(out, '/');
  if (slash) *slash = '\0';
}

static ggml_backend_reg_t cpu(void) {
  ggml_backend_dev_t device = ggml_backend_dev_by_type(GGML_BACKEND_DEVICE_TYPE_CPU);
  if (!device) fail("no CPU backend");
  return ggml_backend_dev_backend_reg(device);
}

void bench_backend_function(const char *name, void *function, size_t size) {
  void *address = ggml_backend_reg_get_proc_address(cpu(), name);
  if (!address) fail(name);
  memcpy(function, &address, size);
}

static void *open_kernels(void) {
  static const char *const places[] = {"", "../"};
  char own[4096];
  ssize_t length = readlink("/proc/self/exe", own, sizeof own - 1);
  if (length <= 0) return NULL;
  own[length] = '\0';
  char *slash = strrchr(own, '/');
  if (!slash) return NULL;
  slash[1] = '\0';
  for (size_t i = 0; i < sizeof places / sizeof places[0]; i++) {
    char path[4096 + 64];
    (void)snprintf(path, sizeof path, "%s%s%s", own, places[i], RH_KERNELS_LIBRARY);
    if (access(path, F_OK) != 0) continue;
    void *library = dlopen(path, RTLD_NOW | RTLD_LOCAL);
    if (!library) fail(dlerror());
    return library;
  }
  return NULL;
}

bool bench_load(const char *wish, char *words, size_t size) {
  char folder[4096];
  folder_of("ggml_backend_load_all_from_path", folder, sizeof folder);
  ggml_backend_load_all_from_path(folder);
  if (!ggml_backend_dev_by_type(GGML_BACKEND_DEVICE_TYPE_CPU)) ggml_backend_load_all();
  if (wish && strcmp(wish, "stock") == 0) {
    (void)snprintf(words, size, "stock (wished for)");
    return false;
  }
  void *library = open_kernels();
  void *address = library ? dlsym(library, RH_KERNELS_INSTALL) : NULL;
  if (!address) {
    (void)snprintf(words, size, "stock (no %s)", RH_KERNELS_LIBRARY);
    return false;
  }
  rh_kernels_install_fn *install;
  memcpy(&install, &address, sizeof install);
  void *in_backend = ggml_backend_reg_get_proc_address(cpu(), "ggml_threadpool_new");
  return install(in_backend, wish, words, size);
}
