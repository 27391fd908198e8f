// SPDX-License-Identifier: Apache-2.0
//
// Purpose: find ONNX Runtime on this machine, open it and say what was found.
// Data owned: one rh_ort_library per process, made on first use and never freed, as the library cannot be unloaded.
// Threads: any; the first call does the work, others wait for it.
// Not here: execution providers and models.
#include <dlfcn.h>
#include <glob.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/log.h"
#include "base/text.h"
#include "engine/onnx/internal.h"

#define FILE_PATTERN "libonnxruntime.so*"
#define WHEEL_PATTERN "onnxruntime/capi/" FILE_PATTERN

static pthread_once_t once = PTHREAD_ONCE_INIT;
static rh_ort_library library;

// Where distributions and administrators put libraries.
static const char *const system_patterns[] = {
    "/usr/lib/*-linux-gnu/" FILE_PATTERN, "/usr/lib64/" FILE_PATTERN,       "/usr/lib/" FILE_PATTERN,
    "/usr/local/lib/" FILE_PATTERN,       "/usr/local/lib64/" FILE_PATTERN, "/opt/onnxruntime/lib/" FILE_PATTERN,
};

// Where pip puts packages: a variable of the environment and the rest of the path.
static const struct {
  const char *variable, *rest;
} wheel_patterns[] = {
    {"VIRTUAL_ENV", "lib/python3*/site-packages/" WHEEL_PATTERN},
    {"CONDA_PREFIX", "lib/python3*/site-packages/" WHEEL_PATTERN},
    {"HOME", ".local/lib/python3*/site-packages/" WHEEL_PATTERN},
    {NULL, "/usr/local/lib/python3*/*-packages/" WHEEL_PATTERN},
    {NULL, "/usr/lib/python3*/*-packages/" WHEEL_PATTERN},
};

// What a folder that a person names may hold.
static const char *const inner_patterns[] = {FILE_PATTERN, "lib/" FILE_PATTERN, "capi/" FILE_PATTERN, WHEEL_PATTERN};

static bool is_file(const char *path) {
  struct stat info;
  return stat(path, &info) == 0 && S_ISREG(info.st_mode);
}

// The last file of a pattern by name: that of the highest version, where there are several.
static bool find_one(const char *pattern, char *out, size_t size) {
  glob_t found = {0};
  bool ok = glob(pattern, 0, NULL, &found) == 0 && found.gl_pathc > 0;
  if (ok) ok = rh_text_copy(out, size, found.gl_pathv[found.gl_pathc - 1]) && is_file(out);
  globfree(&found);
  return ok;
}

static bool find_in_folder(const char *folder, char *out, size_t size) {
  char pattern[RH_ORT_PATH_MAX];
  for (size_t i = 0; i < sizeof inner_patterns / sizeof *inner_patterns; i++) {
    int length = snprintf(pattern, sizeof pattern, "%s/%s", folder, inner_patterns[i]);
    if (length > 0 && (size_t)length < sizeof pattern && find_one(pattern, out, size)) return true;
  }
  return false;
}

// The folder of this program, with what the build says about where the library lies from there.
static bool find_beside(char *out, size_t size) {
  static const char *const relative[] = {"", "/" RH_ORT_FROM_BUILD, "/" RH_ORT_FROM_BIN};
  char folder[RH_ORT_PATH_MAX / 2], pattern[RH_ORT_PATH_MAX];
  ssize_t length = readlink("/proc/self/exe", folder, sizeof folder - 1);
  if (length <= 0) return false;
  folder[length] = '\0';
  char *slash = strrchr(folder, '/');
  if (slash) *slash = '\0';
  for (size_t i = 0; i < sizeof relative / sizeof *relative; i++) {
    int wrote = snprintf(pattern, sizeof pattern, "%s%s/" FILE_PATTERN, folder, relative[i]);
    if (wrote > 0 && (size_t)wrote < sizeof pattern && find_one(pattern, out, size)) return true;
  }
  return false;
}

static bool find_wheel(size_t index, char *out, size_t size) {
  char pattern[RH_ORT_PATH_MAX];
  const char *variable = wheel_patterns[index].variable;
  const char *root = variable ? getenv(variable) : "";
  if (!root || (variable && root[0] != '/')) return false;
  int length = snprintf(pattern, sizeof pattern, "%s%s%s", root, variable ? "/" : "", wheel_patterns[index].rest);
  return length > 0 && (size_t)length < sizeof pattern && find_one(pattern, out, size);
}

static bool find_library(char *out, size_t size) {
  if (find_beside(out, size)) return true;
  for (size_t i = 0; i < sizeof system_patterns / sizeof *system_patterns; i++) {
    if (find_one(system_patterns[i], out, size)) return true;
  }
  for (size_t i = 0; i < sizeof wheel_patterns / sizeof *wheel_patterns; i++) {
    if (find_wheel(i, out, size)) return true;
  }
  return false;
}

bool rh_ort_library_find_gpu(char *out, size_t size) {
  char path[RH_ORT_PATH_MAX], provider[RH_ORT_PATH_MAX + 64];
  for (size_t i = 0; i < sizeof wheel_patterns / sizeof *wheel_patterns; i++) {
    if (!find_wheel(i, path, sizeof path) || strcmp(path, library.path) == 0) continue;
    *strrchr(path, '/') = '\0';
    (void)snprintf(provider, sizeof provider, "%s/libonnxruntime_providers_cuda.so", path);
    if (is_file(provider)) return rh_text_copy(out, size, path);
  }
  return false;
}

// ROUNDHOUSE_ORT, which is a file or a folder, or the first that is found. False with a reason.
static bool choose(void) {
  const char *wish = getenv("ROUNDHOUSE_ORT");
  if (!wish || !wish[0]) {
    if (find_library(library.path, sizeof library.path)) return true;
    (void)snprintf(library.reason, sizeof library.reason,
                   "there is no libonnxruntime.so beside this program, among the system's libraries or in a Python "
                   "environment; run scripts/setup.sh, or set ROUNDHOUSE_ORT to the file");
    return false;
  }
  struct stat info;
  if (stat(wish, &info) != 0) {
    (void)snprintf(library.reason, sizeof library.reason, "ROUNDHOUSE_ORT names %.300s, which is not there", wish);
    return false;
  }
  if (!S_ISDIR(info.st_mode)) return rh_text_copy(library.path, sizeof library.path, wish);
  if (find_in_folder(wish, library.path, sizeof library.path)) return true;
  (void)snprintf(library.reason, sizeof library.reason,
                 "ROUNDHOUSE_ORT names the folder %.300s, which holds no libonnxruntime.so", wish);
  return false;
}

static bool open_library(const OrtApiBase **base) {
  // Its symbols stay its own: a plugin or another engine may bring another version of the same.
  void *handle = dlopen(library.path, RTLD_NOW | RTLD_LOCAL);
  if (!handle) {
    const char *why = dlerror();
    (void)snprintf(library.reason, sizeof library.reason, "cannot open ONNX Runtime: %.400s", why ? why : library.path);
    return false;
  }
  const OrtApiBase *(*get_base)(void) = NULL;
  void *address = dlsym(handle, "OrtGetApiBase");
  if (address) memcpy(&get_base, &address, sizeof get_base);  // ISO C has no cast; POSIX promises the same bytes
  *base = get_base ? get_base() : NULL;
  if (*base) return true;
  (void)snprintf(library.reason, sizeof library.reason, "%.400s is no ONNX Runtime: it has no OrtGetApiBase",
                 library.path);
  dlclose(handle);
  return false;
}

// "1.31.1" as 31: the number of the newest table of functions it has.
static unsigned api_number(const char *version) {
  unsigned major = 0, minor = 0;
  if (sscanf(version, "%u.%u", &major, &minor) != 2) return 0;
  return major > 1 ? UINT32_MAX : minor;
}

static void find_everything(void) {
  const OrtApiBase *base = NULL;
  if (!choose() || !open_library(&base)) return;
  (void)rh_text_copy(library.version, sizeof library.version, base->GetVersionString());
  unsigned number = api_number(library.version);
  const OrtApi *api =
      number >= RH_ORT_API_LEAST ? base->GetApi(number < ORT_API_VERSION ? number : ORT_API_VERSION) : NULL;
  if (!api) {
    (void)snprintf(library.reason, sizeof library.reason,
                   "%.300s is ONNX Runtime %s; 1.%d or newer is needed: set ROUNDHOUSE_ORT to such a library",
                   library.path, library.version, RH_ORT_API_LEAST);
    return;
  }
  OrtStatus *status = api->CreateEnvWithCustomLogger(
      rh_ort_log, NULL, rh_log_enabled(RH_LOG_DEBUG) ? ORT_LOGGING_LEVEL_INFO : ORT_LOGGING_LEVEL_WARNING, "onnx",
      &library.env);
  if (!status) status = api->GetAllocatorWithDefaultOptions(&library.allocator);
  if (!status) status = api->CreateCpuMemoryInfo(OrtDeviceAllocator, OrtMemTypeDefault, &library.cpu);
  // What a model is used for is nobody's business. (Official Linux builds have nothing to send in the first place.)
  if (!status) status = api->DisableTelemetryEvents(library.env);
  if (status) {
    (void)snprintf(library.reason, sizeof library.reason, "ONNX Runtime %s does not start: %.300s", library.version,
                   api->GetErrorMessage(status));
    api->ReleaseStatus(status);
    return;
  }
  library.api = api;
  if (number >= 22) library.plugins = (const rh_ort_plugin_api *)(const void *)base->GetApi(22);
}

const rh_ort_library *rh_ort_library_get(void) {
  (void)pthread_once(&once, find_everything);
  return &library;
}

// ONNX Runtime's messages hold places in its source ("/onnxruntime_src/...cc:123"), which tell a person nothing, and line
// breaks.
static void clean_message(const char *message, char *out, size_t size) {
  static const char source[] = "/onnxruntime_src/";
  size_t used = 0;
  while (*message != '\0' && used + 1 < size) {
    if (rh_text_starts_with(message, source)) {
      message += strcspn(message, " \n");
      message += *message != '\0';
      continue;
    }
    out[used++] = (unsigned char)*message < 0x20 ? ' ' : *message;
    message++;
  }
  while (used > 0 && out[used - 1] == ' ') used--;
  out[used] = '\0';
}

void rh_ort_reason(OrtStatus *status, char *out, size_t size) {
  clean_message(library.api->GetErrorMessage(status), out, size);
  library.api->ReleaseStatus(status);
}

rh_status rh_ort_fail(OrtStatus *status, rh_status otherwise, rh_error *error, const char *what) {
  char reason[560];
  rh_ort_reason(status, reason, sizeof reason);
  bool memory = strstr(reason, "Failed to allocate memory") != NULL || strstr(reason, "bad_alloc") != NULL;
  return rh_fail(error, memory ? RH_NO_MEMORY : otherwise, "%s: %s", what, reason);
}
