// SPDX-License-Identifier: Apache-2.0
//
// Wiring: settings to models, listener and loop; signals; an orderly end.
//
// One thread runs everything here. The end has two parts: first requests (those that run may finish within the grace
// time, new ones are refused), then workers (told to unload, killed when they do not).
#include "daemon/daemon.h"

#include <assert.h>
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/version.h"
#include "daemon/chores.h"
#include "daemon/internal.h"
#include "daemon/pull_jobs.h"

#define UNLOAD_GRACE_NS (2 * RH_NS_PER_S)

// --- the end -------------------------------------------------------------------------------------------------------

void rh_daemon_all_gone(void *ctx) {
  rh_daemon *daemon = ctx;
  rh_loop_stop(daemon->loop);
}

static void leave(rh_daemon *daemon) {
  if (daemon->leaving) return;
  daemon->leaving = true;
  rh_loop_timer_cancel(daemon->loop, &daemon->grace);
  rh_manager_leave(daemon->manager, UNLOAD_GRACE_NS);
}

static void on_leave(void *ctx) { leave(ctx); }

static void on_grace_over(void *ctx) {
  rh_daemon *daemon = ctx;
  rh_error error;
  (void)rh_fail(&error, RH_UNAVAILABLE, "the server is shutting down; this answer is not complete");
  RH_LOG(RH_LOG_WARN, "the grace time is over", rh_log_int("requests_cut", (int64_t)daemon->calls.count));
  rh_list_each(&daemon->calls, node) { rh_call_fail(rh_list_entry(node, rh_call, node), &error); }
  // The error events need a moment to reach their clients; one that reads nothing must not hold us up.
  rh_loop_timer_set(daemon->loop, &daemon->leave, RH_NS_PER_S / 2);
}

void rh_daemon_call_done(rh_daemon *daemon) {
  bool quiet = daemon->calls.count == 0 && daemon->operations.count == 0;
  if (daemon->stopping && quiet) rh_loop_timer_set(daemon->loop, &daemon->leave, 0);
}

static void stop(rh_daemon *daemon, const char *signal_name) {
  if (daemon->stopping) {
    RH_LOG(RH_LOG_WARN, "asked to stop again: leaving at once", rh_log_str("signal", signal_name));
    rh_loop_stop(daemon->loop);
    return;
  }
  daemon->stopping = true;
  RH_LOG(RH_LOG_INFO, "stopping", rh_log_str("signal", signal_name),
         rh_log_int("requests_in_flight", (int64_t)daemon->calls.count),
         rh_log_num("grace_s", rh_ns_to_s(daemon->settings->shutdown_grace)));
  rh_http_server_stop_listening(daemon->http);
  rh_loop_timer_set(daemon->loop, &daemon->grace, daemon->settings->shutdown_grace);
  // What a person asked for (a load, a pull) need not be finished now: what has come of a pull is kept.
  rh_error error;
  (void)rh_fail(&error, RH_UNAVAILABLE, "the server is shutting down; try again in a moment");
  rh_operations_stop(daemon, &error);
  rh_pull_jobs_stop(daemon);
  rh_daemon_call_done(daemon);
}

static void on_signal(void *ctx, uint32_t events) {
  (void)events;
  rh_daemon *daemon = ctx;
  struct signalfd_siginfo info;
  while (read(daemon->signals.fd, &info, sizeof info) == (ssize_t)sizeof info) {
    stop(daemon, info.ssi_signo == SIGINT ? "SIGINT" : "SIGTERM");
  }
}

// --- the beginning -------------------------------------------------------------------------------------------------

static rh_status listen_http(rh_daemon *daemon, rh_error *error) {
  const rh_settings *s = daemon->settings;
  rh_http_options options = {
      .address = s->listen,
      .body_bytes_max = s->body_bytes_max,
      .connections_max = (size_t)s->connections_max,
      .stream_bytes_high = s->stream_buffer,
      .stream_bytes_max = s->stream_buffer * 16,
      .idle_timeout_ns = s->idle_timeout,
  };
  rh_http_handlers handlers = {
      .on_head = rh_routes_head,
      .on_request = rh_routes_request,
      .on_drain = rh_routes_drain,
      .on_done = rh_routes_done,
      .ctx = daemon,
  };
  return rh_http_server_new(daemon->loop, &options, &handlers, &daemon->http, error);
}

static rh_status watch_signals(rh_daemon *daemon, rh_error *error) {
  sigset_t wanted;
  sigemptyset(&wanted);
  sigaddset(&wanted, SIGTERM);
  sigaddset(&wanted, SIGINT);
  signal(SIGPIPE, SIG_IGN);
  sigprocmask(SIG_BLOCK, &wanted, NULL);
  int fd = signalfd(-1, &wanted, SFD_NONBLOCK | SFD_CLOEXEC);
  daemon->signals = (rh_watch){.fd = fd, .fn = on_signal, .ctx = daemon};
  if (fd >= 0 && rh_loop_watch(daemon->loop, &daemon->signals, EPOLLIN) == RH_OK) return RH_OK;
  return rh_fail(error, RH_IO, "cannot watch signals: %s", strerror(errno));
}

// Every connection and every worker takes a descriptor; the usual soft limit of 1,024 is less than we promise.
static void raise_descriptor_limit(const rh_settings *settings) {
  struct rlimit limit;
  rlim_t wanted = (rlim_t)settings->connections_max * 2 + 256;
  if (getrlimit(RLIMIT_NOFILE, &limit) != 0 || limit.rlim_cur >= wanted) return;
  limit.rlim_cur = limit.rlim_max != RLIM_INFINITY && limit.rlim_max < wanted ? limit.rlim_max : wanted;
  if (setrlimit(RLIMIT_NOFILE, &limit) != 0 || limit.rlim_cur < wanted) {
    RH_LOG(RH_LOG_WARN, "the limit of open files is low", rh_log_int("limit", (int64_t)limit.rlim_cur),
           rh_log_int("wanted", (int64_t)wanted));
  }
}

static rh_status open_gateway(rh_daemon *daemon, rh_error *error) {
  rh_gateway_options options = {
      .loop = daemon->loop,
      .manager = daemon->manager,
      .config = daemon->configuration->gateway,
      .state_dir = daemon->settings->state_dir,
  };
  return rh_gateway_new(&options, &daemon->gateway, error);
}

static rh_status open_daemon(rh_daemon *daemon, rh_error *error) {
  daemon->loop = rh_loop_new();
  daemon->sched = daemon->loop != NULL ? rh_sched_new(daemon->loop) : NULL;
  daemon->metrics = rh_metrics_new(rh_daemon_metrics, RH_M_COUNT);
  if (daemon->sched == NULL || daemon->metrics == NULL) return rh_fail(error, RH_NO_MEMORY, "no memory to start");
  if (gethostname(daemon->host, sizeof daemon->host - 1) != 0)
    rh_text_copy(daemon->host, sizeof daemon->host, "localhost");
  daemon->grace = (rh_timer){.fn = on_grace_over, .ctx = daemon};
  daemon->leave = (rh_timer){.fn = on_leave, .ctx = daemon};
  raise_descriptor_limit(daemon->settings);
  rh_status status = watch_signals(daemon, error);
  if (status == RH_OK) status = rh_models_open(daemon, error);
  if (status == RH_OK) status = open_gateway(daemon, error);
  if (status == RH_OK) status = rh_gate_check_listener(daemon, error);
  if (daemon->settings->gateway.cache != RH_CACHE_MODE_OFF) daemon->memos = rh_memos_new(daemon->loop);  // without it all is read
  if (status == RH_OK) status = listen_http(daemon, error);
  return status;
}

static void close_daemon(rh_daemon *daemon) {
  rh_http_server_free(daemon->http);  // ends every call, and with it every job
  rh_memos_free(daemon->memos);
  rh_gateway_free(daemon->gateway);  // writes down what is left of the account
  rh_pull_jobs_free(daemon);
  rh_chores_free(daemon);
  rh_models_close(daemon);
  rh_sched_free(daemon->sched);
  if (daemon->loop != NULL) {
    rh_loop_timer_cancel(daemon->loop, &daemon->grace);
    rh_loop_timer_cancel(daemon->loop, &daemon->leave);
    rh_loop_unwatch(daemon->loop, &daemon->signals);
  }
  if (daemon->signals.fd >= 0) close(daemon->signals.fd);
  rh_loop_free(daemon->loop);
  rh_metrics_free(daemon->metrics);
  rh_configuration_free(daemon->configuration);
}

int rh_daemon_main(rh_configuration *configuration) {
  rh_daemon daemon = {
      .configuration = configuration,
      .settings = &configuration->settings,
      .started_ns = rh_clock_now_ns(),
      .signals.fd = -1,
  };
  rh_list_init(&daemon.calls);
  rh_list_init(&daemon.operations);
  rh_list_init(&daemon.pulls);
  rh_list_init(&daemon.chores);
  rh_log_setup(STDERR_FILENO, (rh_log_level)daemon.settings->log_level, (rh_log_format)daemon.settings->log_format);
  rh_error error = {0};
  int exit_status = 0;
  if (open_daemon(&daemon, &error) != RH_OK) {
    RH_LOG(RH_LOG_ERROR, "the server cannot start", rh_log_str("error", error.message));
    exit_status = 1;
  } else {
    RH_LOG(RH_LOG_INFO, "listening", rh_log_str("address", rh_http_server_address(daemon.http)),
           rh_log_str("version", RH_VERSION), rh_log_int("models", (int64_t)rh_manager_count(daemon.manager)),
           rh_log_int("pid", getpid()), rh_log_num("start_ms", rh_ns_to_ms(rh_clock_now_ns() - daemon.started_ns)));
    rh_models_preload(&daemon);
    if (rh_loop_run(daemon.loop) != RH_OK) exit_status = 1;
    RH_LOG(RH_LOG_INFO, "stopped", rh_log_int("exit_status", exit_status));
  }
  close_daemon(&daemon);
  return exit_status;
}
