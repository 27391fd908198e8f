// SPDX-License-Identifier: Apache-2.0
//
// Changes on disk: the store's `changed` file (pulls and deletions, of any process) and the models folder. A moment after
// the last change the list of models is collected again.
//
// Owns an inotify descriptor. Loop thread only. Without inotify the list changes at the next call or start; that is
// logged once.
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/inotify.h>
#include <sys/stat.h>
#include <unistd.h>

#include "manager/internal.h"

// Long enough for a burst (a model in many parts), short enough that nobody waits for it.
#define DEBOUNCE_NS (200 * RH_NS_PER_MS)
#define PATH_BYTES 4096

static bool folder_of(const char *path, char *out, size_t size) {
  const char *slash = strrchr(path, '/');
  size_t length = slash != NULL ? (size_t)(slash - path) : 0;
  if (length == 0 || length >= size) return false;
  memcpy(out, path, length);
  out[length] = '\0';
  return true;
}

static bool is_changed_file(const rh_manager *manager, const struct inotify_event *event) {
  const char *path = manager->options.changed_path;
  const char *slash = path != NULL ? strrchr(path, '/') : NULL;
  return slash != NULL && event->len > 0 && strcmp(event->name, slash + 1) == 0;
}

// A regular file that was only just made has no content yet: its end of writing comes as another event. A link has.
static bool has_content(const rh_manager *manager, const struct inotify_event *event) {
  if ((event->mask & IN_CREATE) == 0) return true;
  char path[PATH_BYTES];
  struct stat info;
  int length = snprintf(path, sizeof path, "%s/%s", manager->options.models_dir, event->len > 0 ? event->name : "");
  if (length < 0 || (size_t)length >= sizeof path || lstat(path, &info) != 0) return false;
  return !S_ISREG(info.st_mode) || info.st_nlink > 1;
}

static bool matters(rh_manager *manager, const struct inotify_event *event) {
  if ((event->mask & IN_Q_OVERFLOW) != 0) return true;
  if ((event->mask & IN_IGNORED) != 0) {
    // The folder itself went; it is looked for again in the background.
    if (event->wd == manager->watch_changed) manager->watch_changed = -1;
    if (event->wd == manager->watch_models) manager->watch_models = -1;
    return true;
  }
  if (event->wd == manager->watch_changed && is_changed_file(manager, event)) return true;
  return event->wd == manager->watch_models && has_content(manager, event);
}

static void on_event(void *ctx, uint32_t epoll_events) {
  (void)epoll_events;
  rh_manager *manager = ctx;
  char bytes[16384] __attribute__((aligned(__alignof__(struct inotify_event))));
  bool look = false;
  ssize_t got;
  while ((got = read(manager->inotify.fd, bytes, sizeof bytes)) > 0) {
    for (char *at = bytes; at < bytes + got;) {
      const struct inotify_event *event = (const struct inotify_event *)(const void *)at;
      look = matters(manager, event) || look;
      at += sizeof *event + event->len;
    }
  }
  if (look) rh_loop_timer_set(manager->loop, &manager->debounce, DEBOUNCE_NS);
}

static void on_settled(void *ctx) {
  rh_manager *manager = ctx;
  rh_error error = {0};
  if (rh_manager_refresh(manager, &error) == RH_OK) return;
  RH_LOG(RH_LOG_WARN, "models were not looked for again", rh_log_str("error", error.message));
}

void rh_watch_again(rh_manager *manager) {
  int fd = manager->inotify.fd;
  if (fd < 0) return;
  bool late = false;
  char folder[PATH_BYTES];
  const char *changed = manager->options.changed_path;
  const char *models = manager->options.models_dir;
  if (manager->watch_changed < 0 && changed != NULL && folder_of(changed, folder, sizeof folder)) {
    manager->watch_changed = inotify_add_watch(fd, folder, IN_MOVED_TO | IN_CLOSE_WRITE | IN_MASK_ADD);
    late = manager->watch_changed >= 0;
  }
  if (manager->watch_models < 0 && models != NULL) {
    manager->watch_models = inotify_add_watch(
        fd, models, IN_MOVED_TO | IN_MOVED_FROM | IN_CLOSE_WRITE | IN_CREATE | IN_DELETE | IN_MASK_ADD);
    late = late || manager->watch_models >= 0;
  }
  // What happened before it was watched.
  if (late && manager->served != NULL) rh_loop_timer_set(manager->loop, &manager->debounce, DEBOUNCE_NS);
}

void rh_watch_look_again(rh_manager *manager) {
  if (manager->inotify.fd < 0 || manager->leaving) return;
  rh_loop_timer_set(manager->loop, &manager->debounce, DEBOUNCE_NS);
}

bool rh_watch_catch_up(rh_manager *manager) {
  if (manager->inotify.fd < 0 || manager->leaving) return false;
  on_event(manager, EPOLLIN);
  rh_watch_again(manager);
  if (manager->debounce.heap_slot == 0) return false;
  rh_loop_timer_cancel(manager->loop, &manager->debounce);
  on_settled(manager);
  return true;
}

void rh_watch_open(rh_manager *manager) {
  manager->watch_changed = manager->watch_models = -1;
  manager->debounce = (rh_timer){.fn = on_settled, .ctx = manager};
  manager->inotify = (rh_watch){.fd = -1, .fn = on_event, .ctx = manager};
  if (manager->options.changed_path == NULL && manager->options.models_dir == NULL) return;
  manager->inotify.fd = inotify_init1(IN_NONBLOCK | IN_CLOEXEC);
  if (manager->inotify.fd < 0 || rh_loop_watch(manager->loop, &manager->inotify, EPOLLIN) != RH_OK) {
    RH_LOG(RH_LOG_WARN, "folders are not watched for new models", rh_log_str("error", strerror(errno)));
    rh_watch_close(manager);
    return;
  }
  rh_watch_again(manager);
}

void rh_watch_close(rh_manager *manager) {
  rh_loop_timer_cancel(manager->loop, &manager->debounce);
  if (manager->inotify.fd < 0) return;
  rh_loop_unwatch(manager->loop, &manager->inotify);
  close(manager->inotify.fd);
  manager->inotify.fd = -1;
}
