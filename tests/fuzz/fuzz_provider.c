// SPDX-License-Identifier: Apache-2.0
//
// Fuzz target: a provider's answer. The first byte chooses protocol, task and whether a stream was asked for; the rest is the answer.
// However it is cut, the same events must come, in their order, with exactly one final one; and as an error's body it must be
// explained in words that are UTF-8 and hold no key.
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/utf8.h"
#include "provider/known.h"
#include "provider/protocol.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define KEY "k3y-of-the-fuzzer"

typedef struct seen {
  uint64_t hash;
  size_t events, finals, calls;
} seen;

static void mix(seen *self, const void *bytes, size_t length) {
  const unsigned char *at = bytes;
  for (size_t i = 0; i < length; i++) self->hash = (self->hash ^ at[i]) * 1099511628211u;
  self->hash = (self->hash ^ 0x1ff) * 1099511628211u;
}

static rh_verdict push(void *ctx, const rh_event *event) {
  seen *self = ctx;
  if (self->finals > 0) abort();
  if (self->events++ == 0 && event->kind != RH_EVENT_START && event->kind != RH_EVENT_ERROR) abort();
  mix(self, &event->kind, sizeof event->kind);
  if (event->kind == RH_EVENT_DELTA) {
    if (!rh_utf8_valid(event->as.delta.text, event->as.delta.length)) abort();
    mix(self, event->as.delta.text, event->as.delta.length);
    for (size_t i = 0; i < event->as.delta.logprob_count; i++) {
      mix(self, event->as.delta.tokens[i].bytes, event->as.delta.tokens[i].length);
      if (event->as.delta.tokens[i].top_count > RH_TOP_LOGPROBS_MAX) abort();
    }
  } else if (event->kind == RH_EVENT_TOOL) {
    if ((event->as.tool.id == NULL) != (event->as.tool.name == NULL)) abort();
    if (event->as.tool.id != NULL && event->as.tool.index != self->calls++) abort();
    if (event->as.tool.index + 1 != self->calls || self->calls > RH_TOOL_CALLS_MAX) abort();
    mix(self, event->as.tool.arguments, event->as.tool.length);
  } else if (event->kind == RH_EVENT_RESULT && event->as.result.kind == RH_RESULT_VECTOR) {
    mix(self, event->as.result.vector, event->as.result.count * sizeof(float));
  } else if (event->kind == RH_EVENT_ERROR) {
    if (event->as.error.status == RH_OK || event->as.error.message[0] == '\0') abort();
    if (!rh_utf8_valid(event->as.error.message, strlen(event->as.error.message))) abort();
    if (strstr(event->as.error.message, KEY) != NULL) abort();
    mix(self, &event->as.error.status, sizeof event->as.error.status);
  }
  if (rh_event_is_final(event)) self->finals++;
  return RH_GO;
}

static seen read_in_pieces(const rh_provider_spec *spec, const rh_run *run, bool stream, const char *bytes,
                           size_t length, size_t piece) {
  seen self = {.hash = 14695981039346656037u};
  const rh_sink sink = {.push = push, .ctx = &self};
  const rh_protocol_ops *ops = rh_protocol_find(spec->protocol);
  rh_protocol_reader *reader = ops->reader_new(spec, run, stream);
  if (reader == NULL) abort();
  for (size_t i = 0; i < length; i += piece) {
    (void)ops->read(reader, bytes + i, length - i < piece ? length - i : piece, &sink);
  }
  (void)ops->finish(reader, &sink);
  if (self.finals != 1) abort();
  ops->reader_free(reader);
  return self;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  if (size < 1) return 0;
  static const rh_task tasks[] = {RH_TASK_CHAT, RH_TASK_COMPLETE, RH_TASK_EMBED, RH_TASK_RERANK};
  const rh_item items[2] = {{.text = "a", .length = 1}, {.text = "b", .length = 1}};
  const rh_infer infer = {.items = items, .item_count = 2};
  rh_run run = {.task = tasks[(data[0] >> 3) & 3]};
  rh_generate_defaults(&run.generate);
  run.generate.top_logprobs = (data[0] & 32) != 0 ? 2 : -1;
  if (!rh_task_generates(run.task)) run.infer = &infer;
  rh_provider_spec spec = {.name = (char *)(uintptr_t) "fuzz", .key = (char *)(uintptr_t)KEY};
  spec.protocol = (rh_protocol)((data[0] & 3) % RH_PROTOCOL_COUNT);
  bool stream = (data[0] & 4) == 0;
  const char *answer = (const char *)data + 1;
  size_t length = size - 1;
  seen whole = read_in_pieces(&spec, &run, stream, answer, length, length + 1);
  static const size_t pieces[] = {1, 7, 64};
  for (size_t i = 0; i < sizeof pieces / sizeof *pieces; i++) {
    seen cut = read_in_pieces(&spec, &run, stream, answer, length, pieces[i]);
    if (cut.hash != whole.hash || cut.events != whole.events) abort();
  }
  rh_error error = {0};
  rh_protocol_find(spec.protocol)->explain(&spec, 400u + data[0], answer, length, &error);
  if (error.status == RH_OK || error.message[0] == '\0' || strstr(error.message, KEY) != NULL) abort();
  if (!rh_utf8_valid(error.message, strlen(error.message)) || !rh_utf8_valid(error.param, strlen(error.param))) abort();
  return 0;
}
