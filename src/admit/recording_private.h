// SPDX-License-Identifier: Apache-2.0
//
// Private to recording*.c: the form of a recording.
//
//   "RHR" version, then for each event: u8 tag (kind and flags) | choice | what belongs to the kind
//
// Whole numbers are varints (7 bits a byte, the low ones first; signed ones in zigzag), texts a length, their bytes and a NUL, so that
// events can point at them. Vectors and tensors are aligned by padding, counted from the beginning, for the same reason.
#ifndef RH_ADMIT_RECORDING_PRIVATE_H
#define RH_ADMIT_RECORDING_PRIVATE_H

#include "admit/recording.h"

#define RECORDING_HEADER_BYTES 4
#define RECORDING_VERSION 1
#define TENSOR_ALIGNMENT 16  // what malloc gives the buffer

// Tags: the kind + 1 in the low four bits (so that no event begins with a zero byte), flags above.
enum {
  TAG_KIND = 0x0f,
  TAG_LOGPROBS = 0x10,   // DELTA
  TAG_REASONING = 0x20,  // DELTA
  TAG_SIGNATURE = 0x40,  // DELTA
  TAG_ID = 0x10,         // TOOL: an id follows
  TAG_NAME = 0x20,       // TOOL
  TAG_STOP = 0x10,       // END: a stop string follows
  TAG_TRUNCATED = 0x10,  // RESULT
};

typedef struct recording_choices {  // by bits
  uint64_t begun, ended, failed;
  uint64_t spoiled;  // a result of it failed in a way that another try might not
} recording_choices;
_Static_assert(RH_JOBS_MAX <= 64, "a bit for each choice");

// A buffer that grew while somebody was reading it.
typedef struct recording_retired {
  struct recording_retired *next;
  char *data;
} recording_retired;

struct rh_recording {
  size_t references;
  size_t bytes_max;
  char *data;
  size_t length, capacity;
  bool refused;  // an event could not be appended: nothing may follow
  recording_choices choices;
  size_t readers;  // replays on the stack now
  recording_retired *retired;
};

// Keeps the rules of order; false = this event must not come now.
bool recording_note(recording_choices *choices, const rh_event *event);

// Room that decoded arrays are put in; grows, freed by its owner. Zero-initialised.
typedef struct recording_scratch {
  void *data;
  size_t size;
} recording_scratch;

typedef struct recording_reader {
  const char *data;
  size_t length, at;
  bool damaged;
  bool check;  // texts too: for bytes from outside
  recording_scratch *scratch;
} recording_reader;

// The event at reader->at, which is moved behind it. RH_INVALID: damaged. RH_NO_MEMORY.
rh_status recording_next(recording_reader *reader, rh_event *event);

#endif
