// SPDX-License-Identifier: Apache-2.0
//
// Budgets: what a key has spent in its running day or month (UTC) or ever. Owns nothing; one thread.
//
// Two sources are merged by taking the larger: what passed through this daemon, known at once, and what the ledgers of all
// daemons wrote, known a second later. Neither is ever above the truth, and the second reaches it.
#include <assert.h>
#include <math.h>
#include <stdio.h>
#include <time.h>

#include "admit/keys_private.h"
#include "base/clock.h"

#define DAY_S INT64_C(86400)

// `month` is counted since January of year 0.
static int64_t month_begin(int64_t month) {
  struct tm date = {.tm_year = (int)(month / 12 - 1900), .tm_mon = (int)(month % 12), .tm_mday = 1};
  return (int64_t)timegm(&date);
}

static int64_t month_of(int64_t seconds) {
  time_t time = (time_t)seconds;
  struct tm date;
  (void)gmtime_r(&time, &date);
  return ((int64_t)date.tm_year + 1900) * 12 + date.tm_mon;
}

int64_t rh_key_period_begin(rh_budget_period period, int64_t now_s) {
  switch (period) {
    case RH_BUDGET_DAY: return now_s - now_s % DAY_S;
    case RH_BUDGET_MONTH: return month_begin(month_of(now_s));
    case RH_BUDGET_NEVER: break;
  }
  return 0;
}

static int64_t period_end(rh_budget_period period, int64_t begin_s) {
  return period == RH_BUDGET_DAY ? begin_s + DAY_S : month_begin(month_of(begin_s) + 1);
}

static void roll(rh_key *key, int64_t now_s) {
  // A day later is another one; the month's first moments must not cost a calendar's calculation for every request.
  if (key->period == RH_BUDGET_NEVER || (now_s >= key->period_begin_s && now_s - key->period_begin_s < DAY_S)) return;
  int64_t begin = rh_key_period_begin(key->period, now_s);
  // A clock that was set back does not renew a budget.
  if (begin <= key->period_begin_s) return;
  key->period_begin_s = begin;
  key->spent_usd = 0;
}

void rh_key_merge_spent(rh_key *key, const rh_key_spent *spent, int64_t now_s) {
  roll(key, now_s);
  double usd = 0;
  switch (key->period) {
    case RH_BUDGET_DAY: usd = spent->day * DAY_S == key->period_begin_s ? spent->day_usd : 0; break;
    case RH_BUDGET_MONTH: usd = month_begin(spent->month) == key->period_begin_s ? spent->month_usd : 0; break;
    case RH_BUDGET_NEVER: usd = spent->total_usd; break;
  }
  key->spent_usd = fmax(key->spent_usd, usd);
}

rh_status rh_key_check_budget(rh_key *key, int64_t now_s, rh_error *error) {
  assert(key != NULL);
  if (key->budget_usd <= 0) return RH_OK;
  roll(key, now_s);
  if (key->spent_usd < key->budget_usd) return RH_OK;
  if (key->period == RH_BUDGET_NEVER) {
    return rh_fail(error, RH_BUDGET, "the budget of the key \"%s\" is used up: $%.4f of $%.4f; raise it to go on",
                   key->name, key->spent_usd, key->budget_usd);
  }
  int64_t end = period_end(key->period, key->period_begin_s);
  char when[32];
  (void)rh_clock_format_utc(when, sizeof when, end);
  rh_status status = rh_fail(error, RH_BUDGET,
                             "the budget of the key \"%s\" is used up: $%.4f of $%.4f for this %s; it is renewed at %s",
                             key->name, key->spent_usd, key->budget_usd, rh_key_period_name(key->period), when);
  if (error != NULL && end > now_s) error->retry_after_ms = (unsigned)((end - now_s) * 1000);
  return status;
}

void rh_key_spend(rh_key *key, double usd, int64_t now_s) {
  assert(key != NULL);
  roll(key, now_s);
  if (usd > 0 && isfinite(usd)) key->spent_usd += usd;
}
