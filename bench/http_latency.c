// SPDX-License-Identifier: Apache-2.0
//
// A small HTTP/1.1 load client for bench/run.py: keep-alive connections over raw sockets, one epoll loop, no allocation
// per request. Python would add more time to a request than the daemon does, so the clock stands here.
//
//   bench_http_latency --port N --path P --body FILE [--body FILE ...] [--host A] [--connections C] [--requests N]
//                      [--warmup W] [--detail] [--pid PID --sample-every K] [--header "Name: value" ...] [--number FROM]
//
// Bodies are files; request i sends body i modulo their number. With --number, each run of at least three '#' in a body
// or a --header becomes the last digits of FROM + i, so that no two requests need be alike. Prints one JSON object:
// counts, percentiles of the whole request and of its first content (microseconds), with --detail one object per
// request, with --pid the resident memory of that process every K requests. It understands as much HTTP and SSE as it needs: status, Content-Length,
// chunked, the first non-empty "content"/"text" of an event, the last "completion_tokens" and "prompt_tokens".
// One thread.
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <netinet/tcp.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define BODIES_MAX 64
#define CONNECTIONS_MAX 256
#define SAMPLES_MAX 4096
#define HEAD_MAX 16384
#define INPUT_BYTES 65536
#define HEADERS_BYTES_MAX 1024
#define PLACES_MAX 8  // of a request, where its number goes
#define PLACE_DIGITS_MIN 3
// The tail of the body that is kept, so that a word cut by a read is still found. Longer than any word looked for.
#define TAIL_MAX 64

typedef struct request_text {
  char *bytes;
  size_t length;
  struct {
    size_t at, length;
  } places[PLACES_MAX];
  size_t place_count;
} request_text;

typedef struct outcome {
  uint64_t start_ns, first_ns, end_ns;  // first_ns: first content seen, 0 when the answer has none
  long prompt_tokens, completion_tokens;
  int status;
} outcome;

typedef enum body_framing {
  FRAMING_LENGTH,      // `left` bytes, then the answer is over
  FRAMING_CHUNK_SIZE,  // reading a chunk's size line
  FRAMING_CHUNK_DATA,  // `left` bytes of this chunk
  FRAMING_CHUNK_END,   // the line break after a chunk
  FRAMING_TRAILER,     // lines after the last chunk, up to an empty one
} body_framing;

typedef struct connection {
  int fd;
  const char *bytes;  // of the request: its body's own, or `copy`
  size_t length;
  size_t sent;
  char *copy;    // with its number in it; NULL = the bodies need none
  outcome *out;  // the running request's place in the results; NULL = idle
  char head[HEAD_MAX];
  size_t head_length;
  bool in_body;
  body_framing framing;
  size_t left;    // bytes of the body or of the chunk still to come
  char line[32];  // a chunk's size line
  size_t line_length;
  char tail[TAIL_MAX + INPUT_BYTES + 1];
  size_t tail_length;
  bool done;
} connection;

static struct {
  const char *host;
  int port;
  const char *path;
  request_text bodies[BODIES_MAX];
  size_t body_count;
  long connections, requests, warmup;
  bool detail;
  long pid, sample_every;
  char headers[HEADERS_BYTES_MAX];
  long number;  // of the first request; -1 = requests have none
} options = {.number = -1, .host = "127.0.0.1", .connections = 1, .requests = 1000};

static outcome *outcomes;
static long started, finished, errors;
static int epoll_fd;
static struct {
  long request;
  long rss_kib;
} samples[SAMPLES_MAX];
static size_t sample_count;

static _Noreturn void fail(const char *what) {
  fprintf(stderr, "bench_http_latency: %s: %s\n", what, strerror(errno));
  exit(1);
}

static uint64_t now_ns(void) {
  struct timespec time;
  clock_gettime(CLOCK_MONOTONIC, &time);
  return (uint64_t)time.tv_sec * 1000000000u + (uint64_t)time.tv_nsec;
}

// --- requests ------------------------------------------------------------------------------------------------------

static char *read_file(const char *path, size_t *length) {
  FILE *file = fopen(path, "rb");
  if (file == NULL) fail(path);
  size_t capacity = 4096;
  char *bytes = malloc(capacity);
  *length = 0;
  while (bytes != NULL) {
    size_t got = fread(bytes + *length, 1, capacity - *length, file);
    *length += got;
    if (got == 0) break;
    if (*length == capacity) bytes = realloc(bytes, capacity *= 2);
  }
  fclose(file);
  if (bytes == NULL) fail("memory");
  return bytes;
}

static void find_places(request_text *text) {
  for (size_t at = 0; at < text->length;) {
    size_t end = at;
    while (end < text->length && text->bytes[end] == '#') end++;
    if (end - at >= PLACE_DIGITS_MIN) {
      if (text->place_count == PLACES_MAX) fail("too many places for a number");
      text->places[text->place_count].at = at;
      text->places[text->place_count++].length = end - at;
    }
    at = end + 1;
  }
}

// The request with its number in its places.
static void write_number(connection *c, const request_text *text, long number) {
  memcpy(c->copy, text->bytes, text->length);
  for (size_t i = 0; i < text->place_count; i++) {
    long left = number;
    for (size_t digit = text->places[i].length; digit-- > 0; left /= 10) {
      c->copy[text->places[i].at + digit] = (char)('0' + left % 10);
    }
  }
  c->bytes = c->copy;
}

static request_text make_request(const char *body_path) {
  size_t body_length;
  char *body = read_file(body_path, &body_length);
  int room = 1024 + HEADERS_BYTES_MAX;
  request_text text = {.bytes = malloc(body_length + (size_t)room)};
  if (text.bytes == NULL) fail("memory");
  int head = snprintf(text.bytes, (size_t)room,
                      "POST %s HTTP/1.1\r\nHost: %s:%d\r\nContent-Type: application/json\r\n%s"
                      "Content-Length: %zu\r\n\r\n",
                      options.path, options.host, options.port, options.headers, body_length);
  if (head < 0 || head >= room) fail("the path is too long");
  memcpy(text.bytes + head, body, body_length);
  text.length = (size_t)head + body_length;
  free(body);
  if (options.number >= 0) find_places(&text);
  return text;
}

static void open_connection(connection *c) {
  struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons((uint16_t)options.port)};
  if (inet_pton(AF_INET, options.host, &address.sin_addr) != 1) fail("--host");
  c->fd = socket(AF_INET, SOCK_STREAM, 0);
  if (c->fd < 0 || connect(c->fd, (struct sockaddr *)&address, sizeof address) != 0) fail("connect");
  int on = 1;
  setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
  fcntl(c->fd, F_SETFL, O_NONBLOCK);
  struct epoll_event event = {.events = EPOLLIN | EPOLLOUT | EPOLLET, .data.ptr = c};
  if (epoll_ctl(epoll_fd, EPOLL_CTL_ADD, c->fd, &event) != 0) fail("epoll_ctl");
}

static void push_out(connection *c) {
  while (c->out != NULL && c->sent < c->length) {
    ssize_t put = send(c->fd, c->bytes + c->sent, c->length - c->sent, MSG_NOSIGNAL);
    if (put < 0 && errno == EAGAIN) return;
    if (put < 0) fail("send");
    c->sent += (size_t)put;
  }
}

static void begin_next(connection *c) {
  long total = options.warmup + options.requests;
  c->out = NULL;
  if (started >= total) return;
  c->out = &outcomes[started];
  const request_text *text = &options.bodies[(size_t)started % options.body_count];
  c->bytes = text->bytes;
  c->length = text->length;
  if (text->place_count > 0) write_number(c, text, options.number + started);
  started++;
  c->sent = 0;
  c->head_length = 0;
  c->in_body = false;
  c->tail_length = 0;
  c->line_length = 0;
  c->done = false;
  c->out->start_ns = now_ns();
  push_out(c);
}

// --- answers -------------------------------------------------------------------------------------------------------

// The first "key":"x with at least one byte of text.
static bool has_content(const char *text, const char *key) {
  size_t length = strlen(key);
  for (const char *at = text; (at = strstr(at, key)) != NULL;) {
    at += length;
    if (*at != '\0' && *at != '"') return true;
  }
  return false;
}

static void read_count(const char *text, const char *key, long *out) {
  for (const char *at = text; (at = strstr(at, key)) != NULL;) {
    at += strlen(key);
    char *end;
    long value = strtol(at, &end, 10);
    if (end != at) *out = value;
  }
}

// Look at body bytes; what a read has cut is looked at again with the next one.
static void look_at(connection *c, const char *bytes, size_t length) {
  memcpy(c->tail + c->tail_length, bytes, length);
  size_t whole = c->tail_length + length;
  c->tail[whole] = '\0';
  if (c->out->first_ns == 0 && (has_content(c->tail, "\"content\":\"") || has_content(c->tail, "\"text\":\""))) {
    c->out->first_ns = now_ns();
  }
  read_count(c->tail, "\"completion_tokens\":", &c->out->completion_tokens);
  read_count(c->tail, "\"prompt_tokens\":", &c->out->prompt_tokens);
  c->tail_length = whole < TAIL_MAX ? whole : TAIL_MAX;
  memmove(c->tail, c->tail + whole - c->tail_length, c->tail_length);
}

static void read_head(connection *c) {
  c->head[c->head_length] = '\0';
  if (sscanf(c->head, "HTTP/1.1 %d", &c->out->status) != 1) fail("no HTTP status line");
  const char *length = strcasestr(c->head, "\r\ncontent-length:");
  c->in_body = true;
  if (strcasestr(c->head, "\r\ntransfer-encoding: chunked") != NULL) {
    c->framing = FRAMING_CHUNK_SIZE;
  } else if (length != NULL) {
    c->framing = FRAMING_LENGTH;
    c->left = strtoul(length + strlen("\r\ncontent-length:"), NULL, 10);
    c->done = c->left == 0;
  } else {
    fail("an answer without a length");
  }
}

static size_t take_head(connection *c, const char *bytes, size_t length) {
  size_t used = 0;
  while (used < length) {
    if (c->head_length == HEAD_MAX - 1) fail("the answer's headers are too long");
    c->head[c->head_length++] = bytes[used++];
    if (c->head_length >= 4 && memcmp(c->head + c->head_length - 4, "\r\n\r\n", 4) == 0) {
      read_head(c);
      break;
    }
  }
  return used;
}

static size_t take_data(connection *c, const char *bytes, size_t length) {
  size_t part = length < c->left ? length : c->left;
  look_at(c, bytes, part);
  c->left -= part;
  if (c->left == 0) {
    if (c->framing == FRAMING_LENGTH) c->done = true;
    c->framing = FRAMING_CHUNK_END;
  }
  return part;
}

// One byte of a chunk's frame.
static void take_frame_byte(connection *c, char byte) {
  if (byte != '\n') {
    if (byte != '\r' && c->line_length < sizeof c->line - 1) c->line[c->line_length++] = byte;
    return;
  }
  c->line[c->line_length] = '\0';
  bool empty = c->line_length == 0;
  c->line_length = 0;
  if (c->framing == FRAMING_CHUNK_END) {
    c->framing = FRAMING_CHUNK_SIZE;
  } else if (c->framing == FRAMING_CHUNK_SIZE) {
    c->left = strtoul(c->line, NULL, 16);
    c->framing = c->left == 0 ? FRAMING_TRAILER : FRAMING_CHUNK_DATA;
  } else if (empty) {
    c->done = true;  // the empty line after the last chunk
  }
}

static void take(connection *c, const char *bytes, size_t length) {
  for (size_t at = 0; at < length && !c->done;) {
    if (!c->in_body) {
      at += take_head(c, bytes + at, length - at);
    } else if (c->framing == FRAMING_LENGTH || c->framing == FRAMING_CHUNK_DATA) {
      at += take_data(c, bytes + at, length - at);
    } else {
      take_frame_byte(c, bytes[at++]);
    }
  }
}

static void sample_memory(void) {
  char path[64];
  long total = 0, resident = 0;
  snprintf(path, sizeof path, "/proc/%ld/statm", options.pid);
  FILE *file = fopen(path, "r");
  if (file == NULL) fail(path);
  if (fscanf(file, "%ld %ld", &total, &resident) != 2) fail(path);
  fclose(file);
  if (sample_count == SAMPLES_MAX) return;
  samples[sample_count].request = finished;
  samples[sample_count++].rss_kib = resident * (sysconf(_SC_PAGESIZE) / 1024);
}

static void finish(connection *c) {
  c->out->end_ns = now_ns();
  if (c->out->status != 200) errors++;
  finished++;
  if (options.pid != 0 && options.sample_every > 0 && finished % options.sample_every == 0) sample_memory();
  begin_next(c);
}

static void pull_in(connection *c) {
  char bytes[INPUT_BYTES];
  for (;;) {
    ssize_t got = recv(c->fd, bytes, sizeof bytes, 0);
    if (got < 0 && errno == EAGAIN) return;
    if (got < 0) fail("recv");
    if (got == 0) {
      if (c->out == NULL) return;
      errno = ECONNRESET;
      fail("the server closed the connection");
    }
    if (c->out == NULL) return;
    take(c, bytes, (size_t)got);
    if (c->done) finish(c);
  }
}

static void run(void) {
  static connection connections[CONNECTIONS_MAX];
  epoll_fd = epoll_create1(0);
  if (epoll_fd < 0) fail("epoll_create1");
  size_t longest = 0;
  for (size_t i = 0; i < options.body_count; i++) {
    if (options.bodies[i].length > longest) longest = options.bodies[i].length;
  }
  for (long i = 0; i < options.connections; i++) {
    if (options.number >= 0 && (connections[i].copy = malloc(longest)) == NULL) fail("memory");
    open_connection(&connections[i]);
  }
  for (long i = 0; i < options.connections; i++) begin_next(&connections[i]);
  while (finished < options.warmup + options.requests) {
    struct epoll_event events[64];
    int count = epoll_wait(epoll_fd, events, 64, 600000);
    if (count == 0) errno = ETIMEDOUT;
    if (count <= 0) fail("epoll_wait");
    for (int i = 0; i < count; i++) {
      push_out(events[i].data.ptr);
      pull_in(events[i].data.ptr);
    }
  }
}

// --- report --------------------------------------------------------------------------------------------------------

static int compare(const void *a, const void *b) {
  double left = *(const double *)a, right = *(const double *)b;
  return (left > right) - (left < right);
}

static void print_percentiles(const char *name, double *values, size_t count) {
  static const struct {
    const char *name;
    double at;
  } ranks[] = {{"p50", .5}, {"p90", .9}, {"p99", .99}, {"p999", .999}};
  if (count == 0) {
    printf(",\"%s\":null", name);
    return;
  }
  qsort(values, count, sizeof *values, compare);
  double sum = 0;
  for (size_t i = 0; i < count; i++) sum += values[i];
  printf(",\"%s\":{\"count\":%zu,\"mean\":%.1f,\"min\":%.1f,\"max\":%.1f", name, count, sum / (double)count, values[0],
         values[count - 1]);
  for (size_t i = 0; i < sizeof ranks / sizeof ranks[0]; i++) {
    printf(",\"%s\":%.1f", ranks[i].name, values[(size_t)(ranks[i].at * (double)(count - 1) + .5)]);
  }
  printf("}");
}

static double us_between(uint64_t from, uint64_t to) { return (double)(to - from) / 1000.0; }

static void print_detail(const outcome *list, size_t count) {
  printf(",\"detail\":[");
  for (size_t i = 0; i < count; i++) {
    const outcome *o = &list[i];
    printf(
        "%s{\"start_us\":%.1f,\"first_us\":%.1f,\"end_us\":%.1f,\"prompt_tokens\":%ld,\"completion_tokens\":%ld,"
        "\"status\":%d}",
        i > 0 ? "," : "", us_between(list[0].start_ns, o->start_ns),
        o->first_ns > 0 ? us_between(list[0].start_ns, o->first_ns) : -1, us_between(list[0].start_ns, o->end_ns),
        o->prompt_tokens, o->completion_tokens, o->status);
  }
  printf("]");
}

static void print_samples(void) {
  printf(",\"rss_kib\":[");
  for (size_t i = 0; i < sample_count; i++) {
    printf("%s[%ld,%ld]", i > 0 ? "," : "", samples[i].request, samples[i].rss_kib);
  }
  printf("]");
}

static void report(double seconds) {
  const outcome *list = outcomes + options.warmup;
  size_t count = (size_t)options.requests, with_first = 0;
  double *total = calloc(count, sizeof *total), *first = calloc(count, sizeof *first);
  if (total == NULL || first == NULL) fail("memory");
  for (size_t i = 0; i < count; i++) {
    total[i] = us_between(list[i].start_ns, list[i].end_ns);
    if (list[i].first_ns > 0) first[with_first++] = us_between(list[i].start_ns, list[i].first_ns);
  }
  printf("{\"requests\":%ld,\"errors\":%ld,\"seconds\":%.6f", options.requests, errors, seconds);
  print_percentiles("latency_us", total, count);
  print_percentiles("first_us", first, with_first);
  if (options.detail) print_detail(list, count);
  if (options.pid != 0) print_samples();
  printf("}\n");
  free(total);
  free(first);
}

static long positive(const char *text, long max) {
  char *end;
  long value = strtol(text, &end, 10);
  if (*text == '\0' || *end != '\0' || value < 0 || value > max) {
    fprintf(stderr, "bench_http_latency: not a number from 0 to %ld: %s\n", max, text);
    exit(2);
  }
  return value;
}

static void add_header(const char *line) {
  size_t used = strlen(options.headers);
  int put = snprintf(options.headers + used, sizeof options.headers - used, "%s\r\n", line);
  if (put < 0 || (size_t)put >= sizeof options.headers - used) {
    fprintf(stderr, "bench_http_latency: the headers are too long\n");
    exit(2);
  }
}

static void parse(int argc, char **argv, const char *body_paths[static BODIES_MAX]) {
  static const struct option known[] = {
      {"host", 1, NULL, 'h'},
      {"port", 1, NULL, 'p'},
      {"path", 1, NULL, 'u'},
      {"body", 1, NULL, 'b'},
      {"connections", 1, NULL, 'c'},
      {"requests", 1, NULL, 'n'},
      {"warmup", 1, NULL, 'w'},
      {"detail", 0, NULL, 'd'},
      {"pid", 1, NULL, 'P'},
      {"sample-every", 1, NULL, 's'},
      {"header", 1, NULL, 'H'},
      {"number", 1, NULL, 'N'},
      {NULL, 0, NULL, 0},
  };
  for (int c; (c = getopt_long(argc, argv, "", known, NULL)) != -1;) {
    switch (c) {
      case 'h': options.host = optarg; break;
      case 'p': options.port = (int)positive(optarg, 65535); break;
      case 'u': options.path = optarg; break;
      case 'b':
        if (options.body_count < BODIES_MAX) body_paths[options.body_count++] = optarg;
        break;
      case 'c': options.connections = positive(optarg, CONNECTIONS_MAX); break;
      case 'n': options.requests = positive(optarg, 100000000); break;
      case 'w': options.warmup = positive(optarg, 1000000); break;
      case 'd': options.detail = true; break;
      case 'P': options.pid = positive(optarg, 1L << 30); break;
      case 'H': add_header(optarg); break;
      case 'N': options.number = positive(optarg, 1000000000); break;
      case 's': options.sample_every = positive(optarg, 1000000000); break;
      default: exit(2);
    }
  }
  if (options.port == 0 || options.path == NULL || options.body_count == 0 || options.connections == 0 ||
      options.requests == 0) {
    fprintf(stderr, "usage: bench_http_latency --port N --path P --body FILE [--connections C] [--requests N] ...\n");
    exit(2);
  }
}

int main(int argc, char **argv) {
  const char *body_paths[BODIES_MAX];
  parse(argc, argv, body_paths);
  for (size_t i = 0; i < options.body_count; i++) options.bodies[i] = make_request(body_paths[i]);
  outcomes = calloc((size_t)(options.warmup + options.requests), sizeof *outcomes);
  if (outcomes == NULL) fail("memory");
  run();
  uint64_t begin = outcomes[options.warmup].start_ns, end = begin;
  for (long i = options.warmup; i < options.warmup + options.requests; i++) {
    if (outcomes[i].end_ns > end) end = outcomes[i].end_ns;
  }
  report((double)(end - begin) / 1e9);
  for (size_t i = 0; i < options.body_count; i++) free(options.bodies[i].bytes);
  free(outcomes);
  return errors > 0 ? 1 : 0;
}
