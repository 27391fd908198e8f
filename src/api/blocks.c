// SPDX-License-Identifier: Apache-2.0
//
// A whole answer while it is made: its text, thoughts and calls of tools in the order in which they came. All bytes of one
// kind lie in one buffer of the choice, and a list of blocks says which run is what. The encoder owns it and bounds it; it
// runs on the event loop's thread and writes nothing of any dialect.
#include <stdio.h>
#include <stdlib.h>

#include "api/encoder.h"

#define NO_NAME SIZE_MAX

void rh_blocks_init(rh_encoder_choice *choice, size_t bytes_max) {
  rh_dynbuf_init(&choice->thoughts, bytes_max);
  rh_dynbuf_init(&choice->arguments, bytes_max);
  rh_dynbuf_init(&choice->names, bytes_max);
}

void rh_blocks_clear(rh_encoder_choice *choice) {
  rh_dynbuf_clear(&choice->thoughts);
  rh_dynbuf_clear(&choice->arguments);
  rh_dynbuf_clear(&choice->names);
  choice->block_count = 0;
}

void rh_blocks_free(rh_encoder_choice *choice) {
  rh_dynbuf_free(&choice->thoughts);
  rh_dynbuf_free(&choice->arguments);
  rh_dynbuf_free(&choice->names);
  free(choice->blocks);
  choice->blocks = NULL;
  choice->block_count = choice->block_room = 0;
}

bool rh_blocks_failed(const rh_encoder_choice *choice) {
  return choice->thoughts.failed || choice->arguments.failed || choice->names.failed;
}

size_t rh_blocks_held(const rh_encoder_choice *choice) {
  return choice->thoughts.length + choice->arguments.length + choice->names.length;
}

static rh_dynbuf *buffer_of(rh_encoder_choice *choice, rh_api_block_kind kind) {
  if (kind == RH_API_BLOCK_CALL) return &choice->arguments;
  return kind == RH_API_BLOCK_THOUGHT ? &choice->thoughts : &choice->text;
}

const char *rh_blocks_bytes(const rh_encoder_choice *choice, const rh_api_block *block) {
  const rh_dynbuf *from = &choice->text;
  if (block->kind == RH_API_BLOCK_CALL) from = &choice->arguments;
  if (block->kind == RH_API_BLOCK_THOUGHT) from = &choice->thoughts;
  return rh_dynbuf_data(from) + block->start;
}

static size_t keep_name(rh_encoder_choice *choice, const char *name) {
  size_t at = choice->names.length;
  (void)rh_dynbuf_append(&choice->names, name, strlen(name) + 1);
  return at;
}

static rh_api_block *add_block(rh_encoder_choice *choice, rh_api_block_kind kind) {
  if (choice->block_count == choice->block_room) {
    size_t room = choice->block_room == 0 ? 4 : 2 * choice->block_room;
    rh_api_block *more = room > RH_API_BLOCKS_MAX ? NULL : realloc(choice->blocks, room * sizeof *more);
    if (more == NULL) {
      choice->names.failed = true;  // the one sign that all look at
      return NULL;
    }
    choice->blocks = more;
    choice->block_room = room;
  }
  rh_api_block *block = &choice->blocks[choice->block_count++];
  *block = (rh_api_block){.kind = kind, .start = buffer_of(choice, kind)->length, .id = NO_NAME, .signature = NO_NAME};
  return block;
}

const char *rh_api_redacted(const char *signature) {
  size_t length = sizeof RH_REDACTED_THOUGHT - 1;
  return signature != NULL && strncmp(signature, RH_REDACTED_THOUGHT, length) == 0 ? signature + length : NULL;
}

static void add_delta(rh_encoder_choice *choice, const rh_event *event) {
  rh_api_block_kind kind = event->as.delta.reasoning ? RH_API_BLOCK_THOUGHT : RH_API_BLOCK_TEXT;
  const char *signature = event->as.delta.reasoning ? event->as.delta.signature : NULL;
  size_t length = event->as.delta.length;
  if (length == 0 && signature == NULL) return;
  rh_api_block *last = choice->block_count > 0 ? &choice->blocks[choice->block_count - 1] : NULL;
  // A thought with its proof is complete: what follows is another.
  bool apart = last == NULL || last->kind != kind || last->signature != NO_NAME;
  if (apart || (rh_api_redacted(signature) != NULL && last->length > 0)) last = add_block(choice, kind);
  if (last == NULL) return;
  if (length > 0) (void)rh_dynbuf_append(buffer_of(choice, kind), event->as.delta.text, length);
  last->length += length;
  if (signature != NULL) last->signature = keep_name(choice, signature);
}

static void add_tool(rh_encoder_choice *choice, const rh_event *event) {
  rh_api_block *last = choice->block_count > 0 ? &choice->blocks[choice->block_count - 1] : NULL;
  bool same = last != NULL && last->kind == RH_API_BLOCK_CALL && last->call == event->as.tool.index;
  if (!same) {
    last = add_block(choice, RH_API_BLOCK_CALL);
    if (last == NULL) return;
    last->call = event->as.tool.index;
    last->id = keep_name(choice, event->as.tool.id == NULL ? "" : event->as.tool.id);
    last->name = keep_name(choice, event->as.tool.name == NULL ? "" : event->as.tool.name);
  }
  if (event->as.tool.length > 0)
    (void)rh_dynbuf_append(&choice->arguments, event->as.tool.arguments, event->as.tool.length);
  last->length += event->as.tool.length;
}

void rh_blocks_add(rh_encoder_choice *choice, const rh_event *event) {
  if (event->kind == RH_EVENT_DELTA) add_delta(choice, event);
  if (event->kind == RH_EVENT_TOOL) add_tool(choice, event);
}

bool rh_blocks_begins_call(rh_encoder_choice *choice, const rh_event *event) {
  bool same = choice->open == RH_API_BLOCK_CALL && choice->open_call == event->as.tool.index;
  choice->open = RH_API_BLOCK_CALL;
  choice->open_call = event->as.tool.index;
  return !same;
}

void rh_api_put_call_id(rh_dynbuf *out, const rh_encoder *encoder, const char *id, uint32_t choice, uint32_t call) {
  char prefix[48];
  if (id != NULL && id[0] != '\0') {
    rh_put_string(out, id);
    return;
  }
  (void)snprintf(prefix, sizeof prefix, "call_%u_%u_", choice, call);
  rh_api_put_id(out, prefix, encoder->request->id);
}
