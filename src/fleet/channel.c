// SPDX-License-Identifier: Apache-2.0
//
// The daemon's end of a worker's socket: bytes to frames, frames to what they mean. A worker that breaks the protocol is
// killed with a clear log line; the daemon is never harmed by what it sends.
#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/log.h"
#include "fleet/internal.h"

#define READ_BYTES (64u * 1024u)

// The worker's first words decide what may follow: an event before LOADED has no run it could belong to.
static rh_status handle(rh_member *member, const rh_frame *frame, rh_error *error) {
  rh_status status = RH_OK;
  switch (frame->type) {
    case RH_FRAME_HELLO: {
      rh_hello hello;
      status = rh_hello_read(frame, &hello, error);
      if (status == RH_OK && member->state != RH_MEMBER_STARTING) {
        return rh_fail(error, RH_PROTOCOL, "HELLO came twice");
      }
      if (status == RH_OK) rh_member_on_hello(member, &hello);
      return status;
    }
    case RH_FRAME_LOAD_PROGRESS:
      member->progress_ns = rh_clock_now_ns();
      return rh_load_progress_read(frame, &member->load_fraction, error);
    case RH_FRAME_LOADED: {
      rh_model_info info;
      status = rh_loaded_read(frame, &info, error);
      if (status == RH_OK && member->state != RH_MEMBER_LOADING) {
        return rh_fail(error, RH_PROTOCOL, "LOADED came without LOAD");
      }
      if (status == RH_OK) rh_member_on_loaded(member, &info);
      return status;
    }
    case RH_FRAME_EVENT: {
      rh_event event;
      status = rh_event_read(frame, member->scratch, &event, error);
      if (status != RH_OK) return status;
      if (frame->stream != 0) {
        rh_runs_event(member, frame->stream, &event);
      } else if (event.kind == RH_EVENT_ERROR) {
        rh_member_on_worker_error(member, &event.as.error);
      }
      return RH_OK;
    }
    case RH_FRAME_PONG: member->pong_ns = rh_clock_now_ns(); return rh_stats_read(frame, &member->stats, error);
    case RH_FRAME_STATS: return rh_stats_read(frame, &member->stats, error);
    case RH_FRAME_GOODBYE: return RH_OK;
    default: return rh_fail(error, RH_PROTOCOL, "a worker must not send %s", rh_frame_type_name(frame->type));
  }
}

static rh_status handle_all(rh_member *member, rh_error *error) {
  for (;;) {
    rh_frame frame;
    size_t consumed = 0;
    rh_status status = rh_frame_decode(rh_dynbuf_data(&member->in), member->in.length, &frame, &consumed, error);
    if (status == RH_AGAIN) return RH_OK;
    if (status != RH_OK) return status;
    status = handle(member, &frame, error);
    rh_arena_reset(member->scratch);
    if (status != RH_OK) return status;
    // Handling never closes the channel (a kill only signals the process), so the buffer is still ours.
    rh_dynbuf_consume(&member->in, consumed);
  }
}

// One read. False when nothing more can come now.
static bool receive(rh_member *member, rh_error *error, rh_status *status) {
  char *room = rh_dynbuf_reserve(&member->in, READ_BYTES);
  if (room == NULL) {
    *status = rh_fail(error, RH_PROTOCOL, "a worker sent more than the daemon can hold");
    return false;
  }
  ssize_t got = recv(member->socket.fd, room, READ_BYTES, MSG_DONTWAIT);
  if (got < 0) {
    *status = errno == EAGAIN || errno == EINTR ? RH_AGAIN : RH_IO;
    return false;
  }
  if (got == 0) {
    *status = RH_IO;
    return false;
  }
  rh_dynbuf_grow(&member->in, (size_t)got);
  *status = handle_all(member, error);
  return *status == RH_OK && (size_t)got == READ_BYTES;
}

static void set_events(rh_member *member, uint32_t events) {
  if (member->socket_events == events) return;
  if (rh_loop_modify(member->loop, &member->socket, events) == RH_OK) member->socket_events = events;
}

static void on_socket(void *ctx, uint32_t events) {
  rh_member *member = ctx;
  if (events & EPOLLOUT) rh_channel_flush(member);
  if (!(events & (EPOLLIN | EPOLLHUP | EPOLLERR))) return;
  rh_error error = {0};
  rh_status status = RH_OK;
  // A bounded number of reads a turn: one busy worker must not keep the others and the clients waiting.
  for (int i = 0; i < 4 && receive(member, &error, &status); i++) {
  }
  if (status == RH_PROTOCOL || status == RH_NO_MEMORY) {
    rh_member_kill(member, error.message[0] != '\0' ? error.message : "memory is short");
  } else if (status == RH_IO) {
    // The end of the stream. The process's end follows and decides what this means; do not spin on it till then.
    rh_loop_unwatch(member->loop, &member->socket);
  }
}

rh_status rh_channel_open(rh_member *member, int fd) {
  rh_dynbuf_init(&member->in, (size_t)RH_FRAME_BYTES_MAX + 2 * READ_BYTES);
  rh_dynbuf_init(&member->out, 2 * (size_t)RH_FRAME_BYTES_MAX);
  member->socket = (rh_watch){.fd = fd, .fn = on_socket, .ctx = member};
  member->socket_events = EPOLLIN;
  rh_status status = rh_loop_watch(member->loop, &member->socket, EPOLLIN);
  if (status != RH_OK) rh_channel_close(member);
  return status;
}

void rh_channel_close(rh_member *member) {
  rh_loop_unwatch(member->loop, &member->socket);
  if (member->socket.fd >= 0) close(member->socket.fd);
  member->socket.fd = -1;
  rh_dynbuf_free(&member->in);
  rh_dynbuf_free(&member->out);
}

void rh_channel_drain(rh_member *member) {
  rh_error error = {0};
  rh_status status = RH_OK;
  if (member->socket.fd < 0) return;
  while (receive(member, &error, &status) || status == RH_OK) {
  }
  if (status == RH_PROTOCOL) {
    RH_LOG(RH_LOG_WARN, "a worker's last words were malformed", rh_log_str("model", member->options.name),
           rh_log_str("error", error.message));
  }
}

void rh_channel_flush(rh_member *member) {
  if (member->socket.fd < 0) return;
  while (member->out.length > 0) {
    ssize_t sent =
        send(member->socket.fd, rh_dynbuf_data(&member->out), member->out.length, MSG_DONTWAIT | MSG_NOSIGNAL);
    if (sent < 0) {
      if (errno == EINTR) continue;
      if (errno == EAGAIN) break;
      return;  // the worker is gone; its end is reported by the process watch
    }
    rh_dynbuf_consume(&member->out, (size_t)sent);
  }
  if (member->socket.active) set_events(member, member->out.length > 0 ? EPOLLIN | EPOLLOUT : EPOLLIN);
}
