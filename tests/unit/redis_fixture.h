// SPDX-License-Identifier: Apache-2.0
//
// A real redis-server on a unix socket in a folder of its own, for tests of the client and of what uses it. It is started,
// stopped, paused and killed by its process id; nothing is kept on disk.
#ifndef RH_TESTS_REDIS_FIXTURE_H
#define RH_TESTS_REDIS_FIXTURE_H

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "loop_fixture.h"
#include "redis/redis.h"

typedef struct rh_redis_fixture {
  char folder[64];
  char path[96];
  char url[128];
  char password[64];  // set before the start; "" = none
  pid_t pid;          // 0 = not running
} rh_redis_fixture;

static inline void rh_redis_fixture_must(bool fine, const char *what) {
  if (fine) return;
  (void)fprintf(stderr, "redis fixture: %s (%s)\n", what, strerror(errno));
  abort();
}

static inline void rh_redis_fixture_pause_ms(long ms) {
  struct timespec pause = {.tv_nsec = ms * 1000000};
  (void)nanosleep(&pause, NULL);
}

// One word of the protocol on a blocking connection of its own; false: no server.
static inline bool rh_redis_fixture_says(const rh_redis_fixture *fixture, const char *line, char *answer, size_t size) {
  int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
  struct sockaddr_un address = {.sun_family = AF_UNIX};
  (void)snprintf(address.sun_path, sizeof address.sun_path, "%s", fixture->path);
  bool fine = fd >= 0 && connect(fd, (const struct sockaddr *)&address, sizeof address) == 0;
  fine = fine && send(fd, line, strlen(line), MSG_NOSIGNAL) == (ssize_t)strlen(line);
  ssize_t got = fine ? recv(fd, answer, size - 1, 0) : -1;
  answer[got > 0 ? got : 0] = '\0';
  if (fd >= 0) (void)close(fd);
  return got > 0;
}

static inline void rh_redis_fixture_start(rh_redis_fixture *fixture) {
  assert(fixture->pid == 0);
  pid_t pid = fork();
  rh_redis_fixture_must(pid >= 0, "fork");
  if (pid == 0) {
    (void)prctl(PR_SET_PDEATHSIG, SIGKILL);  // a test that crashes leaves no server behind
    int null = open("/dev/null", O_RDWR);
    (void)dup2(null, 0);
    (void)dup2(null, 1);
    const char *with = fixture->password[0] != '\0' ? "--requirepass" : NULL;
    (void)execlp("redis-server", "redis-server", "--port", "0", "--unixsocket", fixture->path, "--save", "",
                 "--appendonly", "no", "--dir", fixture->folder, "--daemonize", "no", with, fixture->password,
                 (char *)NULL);
    (void)fprintf(stderr, "redis-server is not installed: these tests need it\n");
    _exit(127);
  }
  fixture->pid = pid;
  char answer[64];
  for (int i = 0; i < 2000; i++) {
    if (rh_redis_fixture_says(fixture, "PING\r\n", answer, sizeof answer)) return;
    int status;
    rh_redis_fixture_must(waitpid(pid, &status, WNOHANG) == 0, "redis-server has ended");
    rh_redis_fixture_pause_ms(5);
  }
  rh_redis_fixture_must(false, "redis-server does not answer");
}

static inline void rh_redis_fixture_init(rh_redis_fixture *fixture, const char *password) {
  memset(fixture, 0, sizeof *fixture);
  (void)snprintf(fixture->folder, sizeof fixture->folder, "/tmp/rh-redis-XXXXXX");
  rh_redis_fixture_must(mkdtemp(fixture->folder) != NULL, "mkdtemp");
  (void)snprintf(fixture->path, sizeof fixture->path, "%s/s", fixture->folder);
  (void)snprintf(fixture->url, sizeof fixture->url, "unix://%s", fixture->path);
  (void)snprintf(fixture->password, sizeof fixture->password, "%s", password);
  rh_redis_fixture_start(fixture);
}

static inline void rh_redis_fixture_kill(rh_redis_fixture *fixture) {
  if (fixture->pid == 0) return;
  (void)kill(fixture->pid, SIGKILL);
  int status;
  (void)waitpid(fixture->pid, &status, 0);
  fixture->pid = 0;
  (void)unlink(fixture->path);
}

static inline void rh_redis_fixture_end(rh_redis_fixture *fixture) {
  rh_redis_fixture_kill(fixture);
  (void)rmdir(fixture->folder);
}

// SIGSTOP: the kernel takes connections and bytes, nobody answers.
static inline void rh_redis_fixture_pause(rh_redis_fixture *fixture) {
  (void)kill(fixture->pid, SIGSTOP);
  siginfo_t info;
  rh_redis_fixture_must(waitid(P_PID, (id_t)fixture->pid, &info, WSTOPPED | WNOWAIT) == 0, "SIGSTOP");
}

static inline void rh_redis_fixture_resume(rh_redis_fixture *fixture) { (void)kill(fixture->pid, SIGCONT); }

static bool rh_redis_fixture_is_up(void *ctx) { return rh_redis_connected(ctx); }
static bool rh_redis_fixture_is_down(void *ctx) { return !rh_redis_connected(ctx); }

// A client that is connected. Generous times: what is tested is not how fast this machine is.
static inline rh_redis *rh_redis_fixture_client(rh_loop *loop, const char *url, uint64_t timeout_ns) {
  rh_redis_options options = {.url = url,
                              .timeout_ns = timeout_ns,
                              .backoff_min_ns = 5 * RH_NS_PER_MS,
                              .backoff_max_ns = 50 * RH_NS_PER_MS,
                              .pending_max = 20000};
  rh_redis *redis = NULL;
  rh_error error = {0};
  if (rh_redis_new(loop, &options, &redis, &error) != RH_OK) {
    (void)fprintf(stderr, "redis fixture: %s\n", error.message);
    abort();
  }
  return redis;
}

static inline bool rh_redis_fixture_wait_up(rh_loop *loop, rh_redis *redis) {
  return rh_run_until(loop, rh_redis_fixture_is_up, redis);
}
static inline bool rh_redis_fixture_wait_down(rh_loop *loop, rh_redis *redis) {
  return rh_run_until(loop, rh_redis_fixture_is_down, redis);
}

#endif
