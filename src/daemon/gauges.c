// SPDX-License-Identifier: Apache-2.0
//
// Metrics that are read when somebody looks: the models' workers, memory, the process itself; and those that count what
// the manager tells. Reading starts no worker and loads no model. Loop thread only.
#include <dirent.h>
#include <stdio.h>
#include <sys/resource.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/version.h"
#include "daemon/internal.h"

static double open_fds(void) {
  DIR *folder = opendir("/proc/self/fd");
  if (folder == NULL) return 0;
  double found = -3;  // ".", ".." and the folder itself
  while (readdir(folder) != NULL) found++;
  closedir(folder);
  return found;
}

static double resident_bytes(void) {
  FILE *file = fopen("/proc/self/statm", "re");
  long total = 0, resident = 0;
  if (file == NULL) return 0;
  if (fscanf(file, "%ld %ld", &total, &resident) != 2) resident = 0;
  fclose(file);
  return (double)resident * (double)sysconf(_SC_PAGESIZE);
}

static double cpu_seconds(void) {
  struct rusage usage;
  if (getrusage(RUSAGE_SELF, &usage) != 0) return 0;
  return (double)(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) +
         (double)(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec) / 1e6;
}

static void read_worker(rh_metrics *metrics, const rh_served *served) {
  const rh_member *member = rh_served_member(served);
  const char *model = rh_served_spec(served)->name;
  // A worker that has gone has left its last figures behind.
  const rh_worker_stats none = {0};
  const rh_worker_stats *stats = rh_member_pid(member) > 0 ? rh_member_stats(member) : &none;
  const rh_model_info *info = rh_member_info(member);
  const char *device_labels[] = {model, rh_served_spec(served)->engine, info != NULL ? info->device : ""};
  const struct {
    const char *kind;
    uint64_t value;
  } tokens[] = {
      {"prompt", stats->prompt_tokens}, {"cached", stats->cached_tokens}, {"generated", stats->generated_tokens}};
  rh_metrics_set(metrics, RH_M_WORKER_UP, device_labels, rh_member_get_state(member) == RH_MEMBER_READY);
  rh_metrics_set(metrics, RH_M_ENGINE_STEPS, device_labels, (double)stats->steps);
  rh_metrics_set(metrics, RH_M_WORKER_RESTARTS, &model, (double)rh_member_restarts(member));
  rh_metrics_set(metrics, RH_M_WORKER_RSS, &model, (double)stats->rss_bytes);
  rh_metrics_set(metrics, RH_M_RUNS_ACTIVE, &model, (double)stats->active_runs);
  rh_metrics_set(metrics, RH_M_RUNS_PAUSED, &model, (double)stats->paused_runs);
  rh_metrics_set(metrics, RH_M_RUNS_CANCELLED, &model, (double)stats->cancelled_runs);
  rh_metrics_set(metrics, RH_M_MODEL_LOAD_SECONDS, &model, info != NULL ? info->load_ms / 1000.0 : 0);
  for (size_t i = 0; i < sizeof tokens / sizeof tokens[0]; i++) {
    const char *labels[] = {model, tokens[i].kind};
    rh_metrics_set(metrics, RH_M_ENGINE_TOKENS, labels, (double)tokens[i].value);
  }
}

static void set_memory(rh_metrics *metrics, const char *model, const char *kind, double bytes) {
  const char *labels[] = {model, kind};
  rh_metrics_set(metrics, RH_M_MODEL_MEMORY, labels, bytes);
}

static void read_memory(rh_metrics *metrics, const rh_served *served) {
  const rh_member *member = rh_served_member(served);
  const char *model = rh_served_spec(served)->name;
  bool there = rh_member_pid(member) > 0;
  rh_need need = {0};
  if (there) rh_served_need(served, &need);
  set_memory(metrics, model, "reserved", (double)need.ram_bytes);
  set_memory(metrics, model, "gpu", (double)need.gpu_bytes);
  set_memory(metrics, model, "resident", there ? (double)rh_member_stats(member)->rss_bytes : 0);
}

static bool read_model(rh_metrics *metrics, const rh_served *served) {
  const char *model = rh_served_spec(served)->name;
  const rh_sched_model *queue = rh_served_queue(served);
  read_worker(metrics, served);
  read_memory(metrics, served);
  rh_metrics_set(metrics, RH_M_QUEUE_DEPTH, &model, (double)rh_sched_queued(queue));
  rh_metrics_set(metrics, RH_M_RETRIES, &model, (double)rh_sched_model_counts(queue)->retried);
  return rh_member_get_state(rh_served_member(served)) == RH_MEMBER_READY;
}

static void read_models(rh_daemon *daemon) {
  rh_metrics *metrics = daemon->metrics;
  const rh_broker *broker = rh_manager_broker(daemon->manager);
  const rh_broker_counts *counts = rh_broker_get_counts(broker);
  size_t loaded = 0;
  for (size_t i = 0; i < rh_manager_count(daemon->manager); i++) {
    if (read_model(metrics, rh_manager_at(daemon->manager, i))) loaded++;
  }
  const char *device = "ram";
  rh_metrics_set(metrics, RH_M_MEMORY_BUDGET, &device, (double)daemon->limits.ram_bytes);
  for (size_t i = 0; i < daemon->limits.gpu_count; i++) {
    char gpu[32];
    snprintf(gpu, sizeof gpu, "gpu%zu", i);
    device = gpu;
    rh_metrics_set(metrics, RH_M_MEMORY_BUDGET, &device, (double)daemon->limits.gpu_bytes[i]);
  }
  rh_metrics_set(metrics, RH_M_MEMORY_RESERVED, NULL, (double)rh_broker_reserved_ram(broker));
  rh_metrics_set(metrics, RH_M_MODELS_LOADED, NULL, (double)loaded);
  rh_metrics_set(metrics, RH_M_MODELS_WAITING, NULL, (double)rh_broker_line_length(broker));
  rh_metrics_set(metrics, RH_M_MODEL_HOLDS, NULL, (double)counts->holds);
  rh_metrics_set(metrics, RH_M_MODEL_REFUSALS, NULL, (double)counts->refusals);
  rh_metrics_set(metrics, RH_M_PULLS_RUNNING, NULL, (double)daemon->pulls.count);
}

// A model that vanishes is never read again: its gauges must not stay as they were.
static void clear_gauges(rh_metrics *metrics, const char *model, const rh_served *served) {
  static const size_t gauges[] = {RH_M_WORKER_RSS, RH_M_RUNS_ACTIVE, RH_M_RUNS_PAUSED, RH_M_QUEUE_DEPTH};
  static const char *const kinds[] = {"reserved", "resident", "gpu"};
  const rh_model_info *info = rh_member_info(rh_served_member(served));
  const char *device_labels[] = {model, rh_served_spec(served)->engine, info != NULL ? info->device : ""};
  for (size_t i = 0; i < sizeof gauges / sizeof *gauges; i++) rh_metrics_set(metrics, gauges[i], &model, 0);
  for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++) set_memory(metrics, model, kinds[i], 0);
  rh_metrics_set(metrics, RH_M_WORKER_UP, device_labels, 0);
}

void rh_gauges_model_event(rh_daemon *daemon, const rh_manager_event *event) {
  rh_metrics *metrics = daemon->metrics;
  const char *model = rh_served_spec(event->served)->name;
  const char *detail = event->detail != NULL ? event->detail : "";
  const char *labels[] = {model, detail};
  if (event->kind == RH_MANAGER_LOADED) {
    labels[1] = "ok";
    rh_metrics_add(metrics, RH_M_MODEL_LOADS, labels, 1);
    rh_metrics_observe(metrics, RH_M_MODEL_LOAD_WAIT, &model, event->seconds);
  } else if (event->kind == RH_MANAGER_LOAD_FAILED) {
    rh_metrics_add(metrics, RH_M_MODEL_LOADS, labels, 1);
  } else if (event->kind == RH_MANAGER_LEFT) {
    rh_metrics_add(metrics, RH_M_MODEL_EVICTIONS, labels, 1);
    clear_gauges(metrics, model, event->served);
  } else {
    rh_metrics_add(metrics, RH_M_SWAPS, &detail, 1);
  }
}

rh_status rh_gauges_render(rh_daemon *daemon, rh_dynbuf *out) {
  rh_metrics *metrics = daemon->metrics;
  read_models(daemon);
  rh_gauges_read_gateway(daemon);
  const char *version = RH_VERSION;
  rh_metrics_set(metrics, RH_M_IN_FLIGHT, NULL, (double)(daemon->calls.count + daemon->operations.count));
  rh_metrics_set(metrics, RH_M_HTTP_CONNECTIONS, NULL, (double)rh_http_server_connections(daemon->http));
  rh_metrics_set(metrics, RH_M_UPTIME, NULL, rh_ns_to_s(rh_clock_now_ns() - daemon->started_ns));
  rh_metrics_set(metrics, RH_M_BUILD_INFO, &version, 1);
  rh_metrics_set(metrics, RH_M_PROCESS_RSS, NULL, resident_bytes());
  rh_metrics_set(metrics, RH_M_PROCESS_FDS, NULL, open_fds());
  rh_metrics_set(metrics, RH_M_PROCESS_CPU, NULL, cpu_seconds());
  rh_metrics_add(metrics, RH_M_CACHE_HITS, NULL, 0);
  rh_metrics_add(metrics, RH_M_RATE_LIMITED, NULL, 0);
  return rh_metrics_render(metrics, out);
}
