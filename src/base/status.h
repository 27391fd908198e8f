// SPDX-License-Identifier: Apache-2.0
//
// The one status type of the project and the caller's error buffer.
//
// A function that can fail returns rh_status and must be checked. Where a person will read the reason it also takes an
// rh_error, which the caller owns (usually on its stack); a NULL rh_error is allowed and means "I only want the
// status".
#ifndef RH_BASE_STATUS_H
#define RH_BASE_STATUS_H

#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>

#define RH_MUST_CHECK __attribute__((warn_unused_result))
#define RH_PRINTF(format_index, first_argument) __attribute__((format(printf, format_index, first_argument)))

typedef enum rh_status {
  RH_OK = 0,
  RH_AGAIN,             // nothing wrong: not enough input yet, or no room now
  RH_INVALID,           // the caller's input is wrong: a client's request, a configuration file, a flag
  RH_TOO_LARGE,         // a stated limit would be passed
  RH_NOT_FOUND,         // no such model, path or object
  RH_UNSUPPORTED,       // understood, but this build or model cannot do it
  RH_CONTEXT_OVERFLOW,  // prompt and answer do not fit in the model's context
  RH_QUEUE_FULL,        // too many requests wait already
  RH_DEADLINE,          // the request's time is over
  RH_CANCELLED,         // the client left or asked to stop
  RH_UNAVAILABLE,       // cannot serve now (shutting down, worker lost); trying again may work
  RH_LOAD_FAILED,       // the model could not be loaded; trying again will not help
  RH_PROTOCOL,          // the peer broke the wire protocol
  RH_NO_MEMORY,         // an allocation failed
  RH_IO,                // the operating system refused
  RH_NO_SPACE,          // the disk is full, or would be
  RH_CONFLICT,          // at odds with the present state: busy, pinned, there already
  RH_OFFLINE,           // needs the network while ROUNDHOUSE_OFFLINE is set
  RH_NO_ROOM,           // the memory for this model is taken by others now; trying again may work
  RH_HARDWARE,          // this machine lacks what the model needs; trying again will not help
  RH_UNAUTHENTICATED,   // no key, or one that is not known, expired or revoked
  RH_FORBIDDEN,         // the key is known but must not do this
  RH_LIMITED,           // a rate limit, ours or a provider's; rh_error says when to try again
  RH_BUDGET,            // the key's money is used up; trying again will not help before it is renewed
  RH_UPSTREAM,          // a provider failed or sent what we cannot read; another one may answer
  RH_INTERNAL,          // our own fault
  RH_STATUS_COUNT
} rh_status;

// A stable lower-case word for a status ("context_overflow"); used on the wire, in logs and as a metric label.
const char *rh_status_name(rh_status status);

// The reverse; RH_INTERNAL for an unknown word (a newer peer).
rh_status rh_status_from_name(const char *name);

typedef struct rh_error {
  rh_status status;
  unsigned retry_after_ms;  // when trying again makes sense; 0 = nobody said
  char param[64];           // the input field at fault ("messages[2].content"), or empty
  char message[768];        // one or two sentences: what, where, what to do
} rh_error;

// Fill `error` (may be NULL) and return `status`, so that a failing function can end with `return rh_fail(...)`.
rh_status rh_fail(rh_error *error, rh_status status, const char *format, ...) RH_PRINTF(3, 4);

// The same with the input field at fault.
rh_status rh_fail_param(rh_error *error, rh_status status, const char *param, const char *format, ...) RH_PRINTF(4, 5);

#endif
