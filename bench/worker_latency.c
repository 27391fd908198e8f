// SPDX-License-Identifier: Apache-2.0
//
// What a worker needs by itself: it is started here as the daemon would start it, and runs are sent straight into its
// socket, one after the other. What a request takes through the daemon, less this, is what the daemon adds.
//
//   bench_worker_latency WORKER REQUESTS WARMUP
//
// Speaks the frames of docs/wire-protocol.md; prints {"count","p50","p90","p99","mean"} in microseconds. One thread.
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/types.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { HELLO = 1, LOAD = 2, LOADED = 3, RUN = 5, EVENT = 6, HEADER_BYTES = 16, FRAME_BYTES_MAX = 1 << 20 };

static int worker;

static void give_up(const char *what) {
  perror(what);
  exit(1);
}

static void send_frame(uint8_t type, uint32_t stream, const char *json) {
  char frame[4096] = {0};
  uint32_t length = (uint32_t)strlen(json), rest = HEADER_BYTES - 4 + length;
  memcpy(frame, &rest, 4);
  frame[4] = (char)type;
  memcpy(frame + 8, &stream, 4);
  memcpy(frame + 12, &length, 4);
  memcpy(frame + HEADER_BYTES, json, length);
  if (send(worker, frame, HEADER_BYTES + length, 0) != (ssize_t)(HEADER_BYTES + length)) give_up("send");
}

// Frames that came with the last read and were not looked at yet.
static char input[FRAME_BYTES_MAX];
static size_t have;

// The type of the next frame; its text stays in `text`.
static int next_frame(char *text, size_t size) {
  for (;;) {
    uint32_t rest = 0;
    if (have >= 4) memcpy(&rest, input, 4);
    if (have >= HEADER_BYTES && have >= rest + 4u) {
      uint32_t length;
      int type = (unsigned char)input[4];
      memcpy(&length, input + 12, 4);
      if (length >= size) length = (uint32_t)size - 1;
      memcpy(text, input + HEADER_BYTES, length);
      text[length] = '\0';
      have -= rest + 4u;
      memmove(input, input + rest + 4u, have);
      return type;
    }
    ssize_t got = recv(worker, input + have, sizeof input - have, 0);
    if (got <= 0) give_up("recv");
    have += (size_t)got;
  }
}

static void wait_for(int type) {
  char text[4096];
  while (next_frame(text, sizeof text) != type) {
  }
}

static double one_run(uint32_t stream) {
  static const char run[] =
      "{\"request_id\":\"r\",\"task\":\"chat\",\"credit\":64,\"generate\":{\"max_tokens\":0},"
      "\"messages\":[{\"role\":\"user\",\"content\":\"[[tokens=1]]\"}]}";
  struct timespec begin, end;
  char text[4096];
  clock_gettime(CLOCK_MONOTONIC, &begin);
  send_frame(RUN, stream, run);
  while (next_frame(text, sizeof text) != EVENT || strstr(text, "\"event\":\"end\"") == NULL) {
    if (strstr(text, "\"event\":\"error\"") != NULL) give_up(text);
  }
  clock_gettime(CLOCK_MONOTONIC, &end);
  return (double)(end.tv_sec - begin.tv_sec) * 1e6 + (double)(end.tv_nsec - begin.tv_nsec) / 1e3;
}

static int ascending(const void *a, const void *b) {
  double x = *(const double *)a, y = *(const double *)b;
  return x < y ? -1 : x > y;
}

int main(int argc, char **argv) {
  if (argc != 4) return 64;
  size_t requests = strtoul(argv[2], NULL, 10), warmup = strtoul(argv[3], NULL, 10);
  double *took = calloc(requests + 1, sizeof *took), sum = 0;
  int pair[2];
  if (took == NULL || requests == 0 || socketpair(AF_UNIX, SOCK_STREAM, 0, pair) != 0) give_up("start");
  pid_t pid = fork();
  if (pid == 0) {
    close(pair[0]);
    if (pair[1] != 3) dup2(pair[1], 3);
    setenv("ROUNDHOUSE_LOG_LEVEL", "error", 1);
    execl(argv[1], argv[1], (char *)NULL);
    give_up(argv[1]);
  }
  close(pair[1]);
  worker = pair[0];
  wait_for(HELLO);
  send_frame(LOAD, 0, "{\"engine\":\"fake\",\"path\":\"fake:\"}");
  wait_for(LOADED);
  for (size_t i = 0; i < warmup + requests; i++) {
    double us = one_run((uint32_t)i + 1);
    if (i >= warmup) took[i - warmup] = us;
  }
  close(worker);  // the worker leaves with its socket
  waitpid(pid, NULL, 0);
  qsort(took, requests, sizeof *took, ascending);
  for (size_t i = 0; i < requests; i++) sum += took[i];
  printf("{\"count\":%zu,\"p50\":%.1f,\"p90\":%.1f,\"p99\":%.1f,\"mean\":%.1f}\n", requests, took[requests / 2],
         took[requests * 9 / 10], took[requests * 99 / 100], sum / (double)requests);
  return 0;
}
