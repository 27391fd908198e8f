// SPDX-License-Identifier: Apache-2.0
//
// Identifiers, hashes, sizes and numbers as text. The only state is a small pool of random bytes per thread. Nothing
// here makes secrets that must survive a memory dump: the pool is plain memory.
#include "base/text.h"

#include <assert.h>
#include <errno.h>
#include <math.h>
#include <openssl/evp.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "base/clock.h"
#include "base/utf8.h"

static const char hex_digits[] = "0123456789abcdef";

// getrandom(2) promises whole answers for up to 256 bytes, so that is one block.
typedef struct random_pool {
  unsigned char bytes[256];
  size_t left;
} random_pool;

static _Thread_local random_pool pool;
static pthread_once_t fork_once = PTHREAD_ONCE_INIT;

// A forked child must not give out the identifiers its parent will give out.
static void forget_pool(void) { pool.left = 0; }

static void watch_forks(void) {
  if (pthread_atfork(NULL, NULL, forget_pool) != 0) abort();
}

static void fill_pool(void) {
  (void)pthread_once(&fork_once, watch_forks);
  size_t have = 0;
  while (have < sizeof pool.bytes) {
    ssize_t got = getrandom(pool.bytes + have, sizeof pool.bytes - have, 0);
    if (got > 0) {
      have += (size_t)got;
    } else if (errno != EINTR) {
      // Identifiers that repeat would mix up requests of different clients; there is nothing sane to go on with.
      (void)fputs("roundhouse: the kernel gives no random bytes\n", stderr);
      abort();
    }
  }
  pool.left = sizeof pool.bytes;
}

static void hex_encode(char *out, const unsigned char *bytes, size_t length) {
  for (size_t i = 0; i < length; i++) {
    out[2 * i] = hex_digits[bytes[i] >> 4];
    out[2 * i + 1] = hex_digits[bytes[i] & 15];
  }
}

void rh_id_make(char out[RH_ID_SIZE], const char *prefix) {
  enum { TIME_BYTES = 6 };
  unsigned char id[16];
  size_t prefix_length = strlen(prefix), random_bytes = sizeof id - TIME_BYTES;
  assert(prefix_length + 2 * sizeof id < RH_ID_SIZE);
  if (pool.left < random_bytes) fill_pool();
  pool.left -= random_bytes;
  uint64_t ms = rh_clock_wall_ns() / RH_NS_PER_MS;
  for (int i = 0; i < TIME_BYTES; i++) id[i] = (unsigned char)(ms >> (8 * (TIME_BYTES - 1 - i)));
  memcpy(id + TIME_BYTES, pool.bytes + pool.left, random_bytes);
  id[6] = (unsigned char)(0x70 | (id[6] & 0x0F));  // version 7 and the variant bits, RFC 9562 section 5.7
  id[8] = (unsigned char)(0x80 | (id[8] & 0x3F));
  memcpy(out, prefix, prefix_length);
  hex_encode(out + prefix_length, id, sizeof id);
  out[prefix_length + 2 * sizeof id] = '\0';
}

void rh_sha256_hex(const void *bytes, size_t length, char out[65]) {
  unsigned char digest[EVP_MAX_MD_SIZE];
  unsigned int digest_length = 0;
  const void *from = bytes == NULL ? "" : bytes;
  if (EVP_Digest(from, length, digest, &digest_length, EVP_sha256(), NULL) != 1 || digest_length != 32) {
    // Only a broken library or no memory for a few hundred bytes; a wrong hash would be worse than stopping.
    (void)fputs("roundhouse: SHA-256 failed\n", stderr);
    abort();
  }
  hex_encode(out, digest, 32);
  out[64] = '\0';
}

void rh_text_format_bytes(char *out, size_t size, uint64_t bytes) {
  static const char *const units[] = {"B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"};
  double value = (double)bytes;
  size_t unit = 0;
  // 1023.95 and more would be shown as "1024.0", so it belongs to the next unit already.
  while (unit + 1 < sizeof units / sizeof *units && (unit == 0 ? value >= 1024.0 : value >= 1023.95)) {
    value /= 1024.0;
    unit++;
  }
  double tenths = round(value * 10.0);
  bool whole = fmod(tenths, 10.0) == 0.0;
  (void)snprintf(out, size, whole ? "%.0f %s" : "%.1f %s", tenths / 10.0, units[unit]);
}

static const char digit_pairs[] =
    "000102030405060708091011121314151617181920212223242526272829303132333435363738394041424344454647484950515253545556"
    "57"
    "585960616263646566676869707172737475767778798081828384858687888990919293949596979899";

static size_t count_digits(uint64_t value) {
  size_t count = 1;
  for (; value >= 10000; value /= 10000) count += 4;
  return count + (value >= 10) + (value >= 100) + (value >= 1000);
}

// Exactly `count` digits, with zeros in front.
static void put_digits(char *out, uint64_t value, size_t count) {
  for (; count >= 2; count -= 2, value /= 100) memcpy(out + count - 2, digit_pairs + 2 * (value % 100), 2);
  if (count > 0) out[0] = (char)('0' + (int)(value % 10));
}

size_t rh_text_format_int(char out[RH_INT_TEXT_SIZE], int64_t value) {
  if (value >= 0 && value < 10) {  // most are
    out[0] = (char)('0' + (int)value);
    out[1] = '\0';
    return 1;
  }
  uint64_t size = value < 0 ? 0 - (uint64_t)value : (uint64_t)value;
  size_t sign = value < 0, count = count_digits(size);
  out[0] = '-';
  put_digits(out + sign, size, count);
  out[sign + count] = '\0';
  return sign + count;
}

// Milliseconds and rates mostly have at most six decimals, and printf with its check takes microseconds. The division is
// rounded correctly, so where it gives the same double, the decimal reads back as it, and has fewer than 16 digits.
// Returns the length, 0 when the number is not of this kind.
static size_t format_short(char *out, double value) {
  double size = fabs(value);
  if (!(size >= 1e-4 && size < 1e9)) return 0;
  uint64_t millionths = (uint64_t)(size * 1e6 + 0.5);
  if ((double)millionths / 1e6 != size) return 0;
  char *at = out;
  if (value < 0) *at++ = '-';
  uint64_t whole = millionths / 1000000;
  size_t count = count_digits(whole);
  put_digits(at, whole, count);
  at += count;
  *at++ = '.';
  put_digits(at, millionths % 1000000, 6);
  at += 6;
  while (at[-1] == '0') at--;  // not past the point: a whole number is not of this kind
  *at = '\0';
  return (size_t)(at - out);
}

size_t rh_text_format_number(char *out, size_t size, double value) {
  assert(size >= 32);
  if (!isfinite(value)) {
    const char *name = isnan(value) ? "NaN" : value > 0 ? "+Inf" : "-Inf";
    return (size_t)snprintf(out, size, "%s", name);
  }
  if (fabs(value) < 1e15 && value == (double)(int64_t)value) return rh_text_format_int(out, (int64_t)value);  // no "-0"
  size_t length = format_short(out, value);
  for (int digits = 15; length == 0; digits++) {
    length = (size_t)snprintf(out, size, "%.*g", digits, value);
    if (digits < 17 && strtod(out, NULL) != value) length = 0;  // 17 digits tell any two doubles apart
  }
  return length;
}

bool rh_text_copy(char *out, size_t size, const char *text) {
  assert(size > 0);
  size_t length = strlen(text);
  bool fits = length < size;
  if (!fits) length = rh_utf8_complete_prefix(text, size - 1);
  memcpy(out, text, length);
  out[length] = '\0';
  return fits;
}

bool rh_text_starts_with(const char *text, const char *prefix) { return strncmp(text, prefix, strlen(prefix)) == 0; }

bool rh_text_ends_with(const char *text, const char *suffix) {
  size_t length = strlen(text);
  size_t tail = strlen(suffix);
  return tail <= length && memcmp(text + length - tail, suffix, tail) == 0;
}
