// SPDX-License-Identifier: Apache-2.0
//
// admit/recording: every kind of event comes back as it went in; waiting and resuming; appending while it is read; what a second START
// makes void; compaction; storage, and damage to it.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdlib.h>
#include <string.h>

#include "base/utf8.h"
#include "recording_fixture.h"

static void test_every_kind_comes_back(void **state) {
  (void)state;
  rh_recording *recording = record_everything();
  assert_reads(recording, everything);
  assert_reads(recording, everything);
  assert_true(rh_recording_complete(recording));
  assert_int_equal(rh_recording_choices(recording), 2);
  assert_true(rh_recording_memory(recording) > rh_recording_bytes(recording));
  rh_recording_release(rh_recording_hold(recording));
  rh_recording_release(recording);
  rh_recording_release(NULL);
}

static void test_a_reader_that_waits_goes_on_at_its_place(void **state) {
  (void)state;
  rh_recording *recording = record_everything();
  reader_book book;
  rh_replay replay = {0};
  bool waiting = false;
  open_book(&book);
  book.always_wait = true;
  const rh_sink sink = {.push = take, .ctx = &book};
  size_t calls = 0;
  while (!rh_recording_at_end(recording, &replay)) {
    assert_int_equal(rh_recording_replay(recording, &replay, &sink, &waiting), RH_OK);
    assert_true(waiting);
    assert_int_equal(book.events, ++calls);
  }
  assert_int_equal(calls, 14);
  assert_string_equal(rh_dynbuf_data(&book.text), everything);
  assert_int_equal(rh_recording_replay(recording, &replay, &sink, &waiting), RH_OK);
  assert_false(waiting);
  assert_int_equal(book.events, calls);
  rh_dynbuf_free(&book.text);
  rh_recording_release(recording);
}

static void test_readers_in_the_middle_see_what_is_appended(void **state) {
  (void)state;
  rh_recording *recording = rh_recording_new(1 << 20);
  rh_replay replay = {0};
  assert_true(rh_recording_at_end(recording, &replay));
  reader_book book;
  bool waiting = false;
  open_book(&book);
  book.grows = recording;
  book.more = 3;
  const rh_sink sink = {.push = take, .ctx = &book};
  assert_int_equal(rh_recording_replay(recording, &replay, &sink, &waiting), RH_OK);
  assert_int_equal(book.events, 0);
  start(recording, 0);
  append(recording, delta(0, "first"));
  assert_false(rh_recording_at_end(recording, &replay));
  // Each of the first pushes appends so much that the buffer moves while the event points into it.
  assert_int_equal(rh_recording_replay(recording, &replay, &sink, &waiting), RH_OK);
  assert_int_equal(book.events, 2 + 3 * 40);
  assert_non_null(strstr(rh_dynbuf_data(&book.text), "\"first\" length=5"));
  end(recording, 0);
  assert_int_equal(rh_recording_replay(recording, &replay, &sink, &waiting), RH_OK);
  assert_int_equal(book.events, 3 + 3 * 40);
  char *text = read_all(recording);
  assert_string_equal(text, rh_dynbuf_data(&book.text));
  free(text);
  rh_dynbuf_free(&book.text);
  rh_recording_release(recording);
}

typedef struct leaving {
  rh_recording *recording;
  rh_replay *replay;
  size_t leaves_at, events;
} leaving;

static rh_verdict leave(void *ctx, const rh_event *event) {
  leaving *leaver = ctx;
  bool last = ++leaver->events == leaver->leaves_at;
  if (last) {
    free(leaver->replay);
    rh_recording_release(leaver->recording);
    assert_int_equal(event->choice, 0);
  }
  return last && event->kind != RH_EVENT_END ? RH_WAIT : RH_GO;
}

static void test_a_sink_may_leave_in_a_push(void **state) {
  (void)state;
  for (size_t at = 1; at <= 3; at++) {
    leaving leaver = {.recording = rh_recording_new(1000), .replay = calloc(1, sizeof(rh_replay)), .leaves_at = at};
    start(leaver.recording, 0);
    append(leaver.recording, delta(0, "x"));
    end(leaver.recording, 0);
    const rh_sink sink = {.push = leave, .ctx = &leaver};
    bool waiting;
    assert_int_equal(rh_recording_replay(leaver.recording, leaver.replay, &sink, &waiting), RH_OK);
    assert_int_equal(leaver.events, at);
  }
}

static void test_complete_means_all_ended_and_none_failed(void **state) {
  (void)state;
  rh_recording *recording = rh_recording_new(10000);
  assert_false(rh_recording_complete(recording));
  assert_int_equal(rh_recording_choices(recording), 0);
  start(recording, 0);
  start(recording, 5);
  end(recording, 0);
  assert_false(rh_recording_complete(recording));
  break_off(recording, 5);
  assert_false(rh_recording_complete(recording));
  start(recording, 5);
  assert_false(rh_recording_complete(recording));
  end(recording, 5);
  assert_true(rh_recording_complete(recording));
  assert_int_equal(rh_recording_choices(recording), 6);
  rh_event late = delta(0, "late");
  assert_int_equal(rh_recording_append(recording, &late), RH_INVALID);
  assert_false(rh_recording_complete(recording));
  rh_recording_release(recording);
}

static void test_the_bound_holds_and_what_is_there_stays(void **state) {
  (void)state;
  rh_recording *recording = rh_recording_new(100);
  start(recording, 0);
  rh_event more = delta(0, "0123456789");
  size_t count = 0;
  while (rh_recording_append(recording, &more) == RH_OK) count++;
  assert_in_range(count, 5, 8);
  assert_true(rh_recording_bytes(recording) <= 100);
  rh_event last = {.kind = RH_EVENT_END};
  assert_int_equal(rh_recording_append(recording, &last), RH_TOO_LARGE);
  assert_false(rh_recording_complete(recording));
  reader_book book;
  open_book(&book);
  const rh_sink sink = {.push = take, .ctx = &book};
  bool waiting;
  assert_int_equal(rh_recording_replay(recording, &(rh_replay){0}, &sink, &waiting), RH_OK);
  assert_int_equal(book.events, count + 1);
  rh_dynbuf_free(&book.text);
  rh_recording_release(recording);
  recording = rh_recording_new(1000);
  rh_event far = {.kind = RH_EVENT_START, .choice = RH_JOBS_MAX};
  assert_int_equal(rh_recording_append(recording, &far), RH_INVALID);
  rh_recording_release(recording);
}

// --- compaction ----------------------------------------------------------------------------------------------------------------

static rh_recording *compact(rh_recording *recording, size_t bytes_max) {
  rh_recording *out = NULL;
  assert_int_equal(rh_recording_compact(recording, bytes_max, &out), RH_OK);
  return out;
}

static void test_compaction_merges_each_choice_by_itself(void **state) {
  (void)state;
  rh_recording *recording = rh_recording_new(1 << 20);
  for (uint32_t i = 0; i < 2; i++) start(recording, i);
  for (int i = 0; i < 4; i++) {
    append(recording, delta(0, "one "));
    append(recording, delta(1, "zwei "));
  }
  rh_event thought = delta(0, "hm");
  thought.as.delta.reasoning = true;
  append(recording, thought);
  append(recording, delta(0, "x"));
  for (uint32_t i = 0; i < 2; i++) end(recording, i);
  rh_recording *small = compact(recording, 12);
  assert_reads(small,
               "0.0 12 3\n0.1 12 3\n"
               "1.1 \"zwei zwei \" length=10 tokens=2 sign=-\n"
               "1.0 \"one one one \" length=12 tokens=3 sign=-\n"
               "1.0 \"one \" length=4 tokens=1 sign=-\n"
               "1.0 \"hm\" length=2 tokens=1 thought sign=-\n"
               "1.0 \"x\" length=1 tokens=1 sign=-\n"
               "7.0 1 -\n"
               "1.1 \"zwei zwei \" length=10 tokens=2 sign=-\n"
               "7.1 1 -\n");
  assert_true(rh_recording_complete(small));
  assert_true(rh_recording_bytes(small) < rh_recording_bytes(recording));
  assert_true(rh_recording_memory(small) < rh_recording_bytes(small) + 200);
  rh_recording *same = compact(recording, 0);
  assert_int_equal(rh_recording_bytes(same), rh_recording_bytes(recording));
  rh_recording_release(same);
  rh_recording_release(small);
  rh_recording_release(recording);
}

static void test_compaction_cuts_long_deltas_between_characters(void **state) {
  (void)state;
  rh_recording *recording = rh_recording_new(1 << 20);
  start(recording, 0);
  rh_event long_one = delta(0,
                            "aaaa\xc3\xa9\xc3\xa9\xe2\x82\xac"
                            "bcdef\xf0\x9f\x98\x80z");
  long_one.as.delta.token_count = 7;
  append(recording, long_one);
  end(recording, 0);
  rh_recording *small = compact(recording, 5);
  char *text = read_all(small);
  assert_string_equal(text,
                      "0.0 12 3\n"
                      "1.0 \"aaaa\" length=4 tokens=1 sign=-\n"
                      "1.0 \"\xc3\xa9\xc3\xa9\" length=4 tokens=1 sign=-\n"
                      "1.0 \"\xe2\x82\xac"
                      "bc\" length=5 tokens=2 sign=-\n"
                      "1.0 \"def\" length=3 tokens=1 sign=-\n"
                      "1.0 \"\xf0\x9f\x98\x80z\" length=5 tokens=2 sign=-\n"
                      "7.0 1 -\n");
  free(text);
  rh_recording_release(small);
  small = compact(recording, 1);  // less than a character takes
  text = read_all(small);
  assert_true(rh_utf8_valid(text, strlen(text)));
  assert_non_null(strstr(text, "\"\xf0\x9f\x98\x80\" length=4"));
  free(text);
  rh_recording_release(small);
  rh_recording_release(recording);
}

static void test_compaction_drops_what_is_void(void **state) {
  (void)state;
  rh_recording *recording = rh_recording_new(1 << 20);
  start(recording, 0);
  append(recording, delta(0, "lost"));
  start(recording, 1);
  append(recording, delta(1, "kept"));
  break_off(recording, 0);
  start(recording, 0);
  append(recording, delta(0, "again"));
  for (uint32_t i = 0; i < 2; i++) end(recording, i);
  char *all = read_all(recording);
  assert_non_null(strstr(all, "lost"));
  free(all);
  rh_recording *small = compact(recording, 100);
  assert_reads(small,
               "0.1 12 3\n0.0 12 3\n1.0 \"again\" length=5 tokens=1 sign=-\n7.0 1 -\n"
               "1.1 \"kept\" length=4 tokens=1 sign=-\n7.1 1 -\n");
  assert_true(rh_recording_complete(small));
  rh_recording_release(small);
  rh_recording_release(recording);
}

static void test_compaction_joins_a_call_and_keeps_the_rest(void **state) {
  (void)state;
  rh_recording *recording = record_everything();
  rh_recording *small = compact(recording, 1000);
  char *text = read_all(small);
  assert_non_null(strstr(text, "2.1 2 id=call_1 name=weather \"{\"a\":1}\" length=7 tokens=2\n5.1"));
  assert_non_null(strstr(text, "tokens=300 thought sign=proof\n"));
  assert_non_null(strstr(text, strstr(everything, "0.0 12 3")));
  free(text);
  rh_recording_release(small);
  rh_recording_release(recording);
}

// --- storage -------------------------------------------------------------------------------------------------------------------

static void test_storage_and_back(void **state) {
  (void)state;
  rh_recording *recording = record_everything(), *copy = NULL;
  size_t length = 0;
  const char *data = rh_recording_data(recording, &length);
  assert_int_equal(length, rh_recording_bytes(recording));
  rh_error error = {0};
  assert_int_equal(rh_recording_read(data, length, &copy, &error), RH_OK);
  assert_reads(copy, everything);
  assert_true(rh_recording_complete(copy));
  assert_int_equal(rh_recording_choices(copy), 2);
  rh_recording_release(copy);
  rh_recording_release(recording);
}

static void refuse(const char *bytes, size_t length) {
  rh_recording *copy = NULL;
  rh_error error = {0};
  assert_int_equal(rh_recording_read(bytes, length, &copy, &error), RH_INVALID);
  assert_null(copy);
  assert_true(strlen(error.message) > 10);
}

static void test_an_empty_list_is_a_result(void **state) {
  (void)state;
  rh_recording *recording = rh_recording_new(1000), *copy = NULL;
  const rh_event none = {.kind = RH_EVENT_RESULT, .as.result = {.kind = RH_RESULT_SPANS}};
  append(recording, none);
  end(recording, 0);
  size_t length = 0;
  const char *data = rh_recording_data(recording, &length);
  assert_int_equal(rh_recording_read(data, length, &copy, NULL), RH_OK);
  assert_true(rh_recording_complete(copy));
  rh_recording_release(copy);
  rh_recording_release(recording);
}

static void test_a_failed_input_is_kept_only_where_it_would_fail_again(void **state) {
  (void)state;
  for (int own = 0; own < 2; own++) {
    rh_recording *recording = rh_recording_new(10000);
    rh_event failed = {.kind = RH_EVENT_RESULT, .as.result = {.kind = RH_RESULT_FAILED}};
    failed.as.result.error.status = own ? RH_CONTEXT_OVERFLOW : RH_UPSTREAM;
    start(recording, 0);
    append(recording, failed);
    end(recording, 0);
    assert_int_equal(rh_recording_complete(recording), own);
    start(recording, 0);
    end(recording, 0);
    assert_true(rh_recording_complete(recording));
    rh_recording_release(recording);
  }
}

// Live work may begin anew after an end; what is kept never does, and an encoder need not bear it from a stranger.
static void test_a_kept_choice_begins_once(void **state) {
  (void)state;
  rh_recording *recording = rh_recording_new(1000), *copy = NULL;
  for (int i = 0; i < 2; i++) {
    start(recording, 0);
    end(recording, 0);
  }
  assert_true(rh_recording_complete(recording));
  size_t length = 0;
  const char *data = rh_recording_data(recording, &length);
  assert_int_equal(rh_recording_read(data, length, &copy, NULL), RH_INVALID);
  assert_null(copy);
  rh_recording_release(recording);
}

static void test_what_is_no_recording_is_refused(void **state) {
  (void)state;
  refuse("", 0);
  refuse("RHR", 3);
  refuse("RHX\x01", 4);
  refuse("RHR\x02", 4);
  refuse("RHR\x01\x00", 5);
  refuse("RHR\x01\x01", 5);
  refuse("RHR\x01\x01\x40\x00\x00", 8);                                        // a choice too many
  refuse("RHR\x01\x02\x00\x02\x01\xff\x00", 10);                               // not UTF-8
  refuse("RHR\x01\x02\x00\x02\x01zz", 10);                                     // no NUL behind the text
  refuse("RHR\x01\x02\x00\x02\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01z", 18);  // a length past everything
  refuse("RHR\x01\x08\x00\x00\x08\x00\x00", 10);                               // two ends
}

// Whatever single byte changes and wherever it is cut: refused, or events that can be read.
static void test_damage_is_survived(void **state) {
  (void)state;
  rh_recording *recording = record_everything();
  size_t length = 0, refused = 0, whole = 0;
  const char *data = rh_recording_data(recording, &length);
  char *bytes = malloc(length);
  assert_non_null(bytes);
  for (size_t i = 0; i < length; i++) {
    static const unsigned char values[] = {0x00, 0x01, 0x7f, 0x80, 0xff};
    for (size_t k = 0; k < sizeof values + 1; k++) {
      memcpy(bytes, data, length);
      bytes[i] = (char)(k < sizeof values ? values[k] : (unsigned char)bytes[i] ^ 1u);
      rh_recording *copy = NULL;
      if (rh_recording_read(bytes, length, &copy, NULL) == RH_OK)
        free(read_all(copy));
      else
        refused++;
      rh_recording_release(copy);
    }
  }
  assert_true(refused > length);
  for (size_t cut = 0; cut < length; cut++) {
    char *part = malloc(cut + 1);
    assert_non_null(part);
    memcpy(part, data, cut);
    rh_recording *copy = NULL;
    if (rh_recording_read(part, cut, &copy, NULL) == RH_OK) {
      if (rh_recording_complete(copy)) whole++;
      free(read_all(copy));
    }
    rh_recording_release(copy);
    free(part);
  }
  assert_int_equal(whole, 1);  // between the two choices; storage has a checksum over all
  free(bytes);
  rh_recording_release(recording);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_every_kind_comes_back),
      cmocka_unit_test(test_a_reader_that_waits_goes_on_at_its_place),
      cmocka_unit_test(test_readers_in_the_middle_see_what_is_appended),
      cmocka_unit_test(test_a_sink_may_leave_in_a_push),
      cmocka_unit_test(test_complete_means_all_ended_and_none_failed),
      cmocka_unit_test(test_the_bound_holds_and_what_is_there_stays),
      cmocka_unit_test(test_compaction_merges_each_choice_by_itself),
      cmocka_unit_test(test_compaction_cuts_long_deltas_between_characters),
      cmocka_unit_test(test_compaction_drops_what_is_void),
      cmocka_unit_test(test_compaction_joins_a_call_and_keeps_the_rest),
      cmocka_unit_test(test_storage_and_back),
      cmocka_unit_test(test_an_empty_list_is_a_result),
      cmocka_unit_test(test_a_failed_input_is_kept_only_where_it_would_fail_again),
      cmocka_unit_test(test_a_kept_choice_begins_once),
      cmocka_unit_test(test_what_is_no_recording_is_refused),
      cmocka_unit_test(test_damage_is_survived),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
