// SPDX-License-Identifier: Apache-2.0
//
// The I/O thread: bytes from the socket to frames, frames to commands in the mailbox, pings answered on the spot, and
// what the engine thread could not send. Owns the input buffer, the mailbox, the port and the executor.
//
// It never waits for the engine thread, so the daemon always gets its PONG and a closed socket always ends the process.
// When the mailbox is full it stops reading; it does not drop frames and does not grow.
#include "worker/session.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/version.h"
#include "engine/engine.h"
#include "wire/message.h"

#define READ_BYTES ((size_t)64 * 1024)
#define INPUT_KEEP_BYTES ((size_t)1 << 20)
#define OUTPUT_BYTES_MAX ((size_t)2 * RH_FRAME_BYTES_MAX)
#define COMMANDS_MAX 4096
#define COMMAND_BYTES_MAX ((size_t)RH_FRAME_BYTES_MAX)
// How long the last frames may take to leave before the process ends anyhow.
#define LINGER_NS (2 * RH_NS_PER_S)
#define GOES_ON (-1)

struct rh_session {
  int fd;
  rh_dynbuf in;
  bool blocked;  // the mailbox was full: `in` may hold whole frames and nothing more is read
  rh_mailbox *mailbox;
  rh_port *port;
  rh_vitals *vitals;
  rh_executor *executor;
  pthread_t engine_thread;
  bool has_thread;
  atomic_int exit_code;  // set by the engine thread at its end; GOES_ON until then
};

static void *engine_main(void *argument) {
  rh_session *session = argument;
  rh_worker_exit code = rh_executor_run(session->executor);
  atomic_store(&session->exit_code, (int)code);
  rh_port_wake(session->port);
  return NULL;
}

rh_status rh_session_new(int fd, rh_session **out, rh_error *error) {
  rh_session *session = calloc(1, sizeof *session);
  if (session == NULL) return rh_fail(error, RH_NO_MEMORY, "There is no memory for a worker.");
  session->fd = fd;
  atomic_init(&session->exit_code, GOES_ON);
  rh_dynbuf_init(&session->in, RH_FRAME_BYTES_MAX + RH_FRAME_HEADER_BYTES + READ_BYTES);
  session->mailbox = rh_mailbox_new(COMMANDS_MAX, COMMAND_BYTES_MAX);
  session->port = rh_port_new(fd, OUTPUT_BYTES_MAX);
  session->vitals = rh_vitals_new();
  if (session->mailbox != NULL && session->port != NULL && session->vitals != NULL) {
    session->executor = rh_executor_new(session->mailbox, session->port, session->vitals);
  }
  if (session->executor != NULL) {
    session->has_thread = pthread_create(&session->engine_thread, NULL, engine_main, session) == 0;
  }
  if (!session->has_thread) {
    rh_session_free(session);
    return rh_fail(error, RH_IO, "The system gives this worker no thread, no descriptor or no memory.");
  }
  *out = session;
  return RH_OK;
}

void rh_session_free(rh_session *session) {
  if (session == NULL) return;
  if (session->has_thread) {
    rh_mailbox_close(session->mailbox);
    pthread_join(session->engine_thread, NULL);
  }
  rh_executor_free(session->executor);
  rh_vitals_free(session->vitals);
  rh_port_free(session->port);
  rh_mailbox_free(session->mailbox);
  rh_dynbuf_free(&session->in);
  free(session);
}

static void say_hello(rh_session *session) {
  rh_hello hello = {.version = RH_WIRE_VERSION, .name = "roundhouse-worker " RH_VERSION, .pid = (int64_t)getpid()};
  size_t used = 0;
  for (const rh_engine_ops *const *engine = rh_engine_all(); *engine != NULL; engine++) {
    int length =
        snprintf(hello.engines + used, sizeof hello.engines - used, "%s%s", used > 0 ? " " : "", (*engine)->name);
    if (length < 0 || (size_t)length >= sizeof hello.engines - used) break;
    used += (size_t)length;
  }
  rh_dynbuf *out = rh_port_begin(session->port);
  rh_port_end(session->port, rh_hello_write(out, &hello));
}

// --- frames in -----------------------------------------------------------------------------------------------------

static void answer_ping(rh_session *session) {
  rh_worker_stats stats;
  rh_vitals_read(session->vitals, &stats);
  rh_dynbuf *out = rh_port_begin(session->port);
  rh_port_end(session->port, rh_stats_write(out, RH_FRAME_PONG, &stats));
}

// What the JSON of a frame becomes takes more room than its text, at worst for many tiny messages; the factor covers
// that.
static size_t arena_bytes(const rh_frame *frame) {
  return 16 * ((size_t)frame->json_length + 1024) + 2 * frame->binary_length;
}

// Frame to command: what each type of frame needs. RH_PROTOCOL when its content is wrong.
static rh_status read_command(const rh_frame *frame, rh_command **out, rh_error *error) {
  static const rh_command_kind kinds[RH_FRAME_TYPE_END] = {
      [RH_FRAME_LOAD] = RH_COMMAND_LOAD,     [RH_FRAME_RUN] = RH_COMMAND_RUN,
      [RH_FRAME_CANCEL] = RH_COMMAND_CANCEL, [RH_FRAME_CREDIT] = RH_COMMAND_CREDIT,
      [RH_FRAME_UNLOAD] = RH_COMMAND_UNLOAD,
  };
  bool has_content = frame->type == RH_FRAME_LOAD || frame->type == RH_FRAME_RUN;
  rh_command *command = rh_command_new(kinds[frame->type], frame->stream, has_content ? arena_bytes(frame) : 0);
  if (command == NULL) return rh_fail(error, RH_NO_MEMORY, "There is no memory for a command.");
  rh_status status = RH_OK;
  if (frame->type == RH_FRAME_LOAD) {
    status = rh_load_read(frame, command->arena, &command->as.load, error);
  } else if (frame->type == RH_FRAME_RUN) {
    status = rh_run_read(frame, command->arena, &command->as.run, &command->credit, error);
  } else if (frame->type == RH_FRAME_CREDIT) {
    status = rh_credit_read(frame, &command->credit, error);
  }
  if (status != RH_OK) {
    rh_command_free(command);
    return status;
  }
  *out = command;
  return RH_OK;
}

// Not by way of the mailbox: it is meant for the step after the one that runs, however many commands wait.
static rh_status take_share(rh_session *session, const rh_frame *frame, rh_error *error) {
  int32_t threads = 0;
  rh_status status = rh_share_read(frame, &threads, error);
  if (status == RH_OK) rh_executor_share(session->executor, threads);
  return status;
}

static rh_status handle_frame(rh_session *session, const rh_frame *frame, rh_error *error) {
  switch ((rh_frame_type)frame->type) {
    case RH_FRAME_PING: answer_ping(session); return RH_OK;
    case RH_FRAME_SHARE: return take_share(session, frame, error);
    case RH_FRAME_LOAD:
    case RH_FRAME_RUN:
    case RH_FRAME_CANCEL:
    case RH_FRAME_CREDIT:
    case RH_FRAME_UNLOAD: break;
    default: return rh_fail(error, RH_PROTOCOL, "A daemon must not send %s frames.", rh_frame_type_name(frame->type));
  }
  if (!rh_mailbox_has_room(session->mailbox)) return RH_AGAIN;
  rh_command *command = NULL;
  rh_status status = read_command(frame, &command, error);
  if (status == RH_OK) rh_mailbox_post(session->mailbox, command);
  return status;
}

// All whole frames in the buffer. An exit code, or GOES_ON.
static int handle_input(rh_session *session) {
  rh_status status = RH_OK;
  rh_error error = {0};
  session->blocked = false;
  while (status == RH_OK) {
    rh_frame frame;
    size_t consumed = 0;
    status = rh_frame_decode(rh_dynbuf_data(&session->in), session->in.length, &frame, &consumed, &error);
    if (status == RH_AGAIN) break;
    if (status == RH_OK) status = handle_frame(session, &frame, &error);
    if (status == RH_AGAIN) session->blocked = true;
    if (status == RH_OK) rh_dynbuf_consume(&session->in, consumed);
  }
  // One large prompt must not cost its size for ever.
  if (session->in.length == 0 && session->in.capacity > INPUT_KEEP_BYTES) rh_dynbuf_free(&session->in);
  if (status == RH_AGAIN) return GOES_ON;
  RH_LOG(RH_LOG_ERROR, "a bad frame came from the daemon", rh_log_str("error", error.message));
  return status == RH_NO_MEMORY ? RH_EXIT_ENGINE : RH_EXIT_PROTOCOL;
}

static int daemon_gone(const rh_session *session) {
  RH_LOG(RH_LOG_INFO, "the daemon is gone", rh_log_int("fd", session->fd));
  return RH_EXIT_OK;
}

static int receive(rh_session *session) {
  char *room = rh_dynbuf_reserve(&session->in, READ_BYTES);
  if (room == NULL) {
    RH_LOG(RH_LOG_ERROR, "there is no memory for input", rh_log_int("bytes", (int64_t)session->in.length));
    return RH_EXIT_ENGINE;
  }
  ssize_t got = recv(session->fd, room, READ_BYTES, MSG_DONTWAIT);
  if (got == 0) return daemon_gone(session);
  if (got < 0) return errno == EAGAIN || errno == EWOULDBLOCK || errno == EINTR ? GOES_ON : daemon_gone(session);
  rh_dynbuf_grow(&session->in, (size_t)got);
  return handle_input(session);
}

// --- the loop ------------------------------------------------------------------------------------------------------

// Sleep until something can be done, and do it. An exit code, or GOES_ON.
static int wait_and_serve(rh_session *session, bool reading, bool writing, int timeout_ms) {
  struct pollfd fds[2] = {
      {.fd = session->fd, .events = (short)(POLLRDHUP | (reading ? POLLIN : 0) | (writing ? POLLOUT : 0))},
      {.fd = rh_port_wake_fd(session->port), .events = POLLIN},
  };
  int ready = poll(fds, 2, timeout_ms);
  if (ready < 0 && errno != EINTR) {
    RH_LOG(RH_LOG_ERROR, "poll failed", rh_log_str("error", strerror(errno)));
    return RH_EXIT_ENGINE;
  }
  if (ready <= 0) return GOES_ON;
  if (fds[1].revents != 0) {
    rh_port_clear_wake(session->port);
    int code = session->blocked ? handle_input(session) : GOES_ON;
    if (code != GOES_ON) return code;
  }
  if ((fds[0].revents & POLLIN) != 0) return receive(session);
  return (fds[0].revents & (POLLHUP | POLLRDHUP | POLLERR | POLLNVAL)) != 0 ? daemon_gone(session) : GOES_ON;
}

rh_worker_exit rh_session_loop(rh_session *session) {
  say_hello(session);
  uint64_t leave_ns = 0;
  for (;;) {
    // The code is read before the port is drained: what the engine thread wrote before it ended is then in the port.
    int code = atomic_load(&session->exit_code);
    rh_port_state state = rh_port_drain(session->port);
    if (state == RH_PORT_OVERFLOW) {
      RH_LOG(RH_LOG_ERROR, "the daemon does not read what it is sent",
             rh_log_int("bytes_max", (int64_t)OUTPUT_BYTES_MAX));
      return code != GOES_ON ? (rh_worker_exit)code : RH_EXIT_ENGINE;
    }
    if (code != GOES_ON) {
      if (state != RH_PORT_PENDING) return (rh_worker_exit)code;
      uint64_t now = rh_clock_now_ns();
      if (leave_ns == 0) leave_ns = now + LINGER_NS;
      if (now >= leave_ns) return (rh_worker_exit)code;
    }
    if (state == RH_PORT_GONE) return (rh_worker_exit)daemon_gone(session);
    bool ending = code != GOES_ON;
    int served = wait_and_serve(session, !ending && !session->blocked, state == RH_PORT_PENDING, ending ? 100 : -1);
    if (served != GOES_ON) return ending ? (rh_worker_exit)code : (rh_worker_exit)served;
  }
}
