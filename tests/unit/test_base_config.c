// SPDX-License-Identifier: Apache-2.0
//
// base/config: the four sources of a setting, their order, and what is said about a wrong one.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/config.h"
#include "base/json.h"

typedef struct sample {
  char *listen;
  int64_t http_port;
  double ratio;
  bool preload;
  uint64_t timeout;
  uint64_t body_max;
  int level;
  char *template_file;
  int64_t offset;
} sample;

static const char *const levels[] = {"debug", "info", "warn", NULL};

enum { LISTEN, HTTP_PORT, RATIO, PRELOAD, TIMEOUT, BODY_MAX, LEVEL, TEMPLATE_FILE, OFFSET, ROWS };

#define AT(field) offsetof(sample, field)
static const rh_setting table[ROWS] = {
    {.key = "listen",
     .type = RH_SETTING_STRING,
     .offset = AT(listen),
     .default_text = "127.0.0.1:8080",
     .help = "Where"},
    {.key = "http_port",
     .type = RH_SETTING_INT,
     .offset = AT(http_port),
     .default_text = "8080",
     .min = 1,
     .max = 65535,
     .help = "Port"},
    {.key = "ratio",
     .type = RH_SETTING_NUMBER,
     .offset = AT(ratio),
     .default_text = "0.5",
     .min = 0,
     .max = 1,
     .help = "Share"},
    {.key = "preload", .type = RH_SETTING_BOOL, .offset = AT(preload), .default_text = "true", .help = "Load at start"},
    {.key = "timeout",
     .type = RH_SETTING_DURATION,
     .offset = AT(timeout),
     .default_text = "30s",
     .min = 0.001,
     .max = 3600,
     .help = "How long"},
    {.key = "body_max",
     .type = RH_SETTING_BYTES,
     .offset = AT(body_max),
     .default_text = "16MiB",
     .min = 1024,
     .max = 1073741824,
     .help = "How much"},
    {.key = "level",
     .type = RH_SETTING_ENUM,
     .offset = AT(level),
     .default_text = "info",
     .choices = levels,
     .help = "How loud"},
    {.key = "template_file",
     .type = RH_SETTING_STRING,
     .offset = AT(template_file),
     .help = "In the file only",
     .file_only = true},
    {.key = "offset", .type = RH_SETTING_INT, .offset = AT(offset), .help = "Without bounds and default"},
};

static sample settings;
static rh_setting_origin origins[ROWS];
static rh_error error;

static int set_up(void **state) {
  (void)state;
  memset(&settings, 0xAA, sizeof settings);  // the defaults do not look at what was there
  return rh_config_defaults(table, ROWS, &settings, origins, &error) == RH_OK ? 0 : -1;
}

static int tear_down(void **state) {
  (void)state;
  rh_config_release(table, ROWS, &settings);
  return 0;
}

static void test_defaults(void **state) {
  (void)state;
  assert_string_equal(settings.listen, "127.0.0.1:8080");
  assert_int_equal(settings.http_port, 8080);
  assert_true(settings.ratio == 0.5);
  assert_true(settings.preload);
  assert_true(settings.timeout == 30 * RH_NS_PER_S);
  assert_true(settings.body_max == 16u << 20);
  assert_int_equal(settings.level, 1);
  assert_null(settings.template_file);
  assert_int_equal(settings.offset, 0);
  for (int i = 0; i < ROWS; i++) assert_int_equal(origins[i], RH_FROM_DEFAULT);
}

static void test_a_wrong_default_is_told(void **state) {
  (void)state;
  const rh_setting bad[] = {
      table[LISTEN], {.key = "n", .type = RH_SETTING_INT, .offset = AT(http_port), .default_text = "x", .help = ""}};
  sample other;
  assert_int_equal(rh_config_defaults(bad, 2, &other, NULL, &error), RH_INVALID);
  assert_string_equal(error.message, "the default of \"n\" must be a whole number; it is \"x\"");
  rh_config_release(bad, 2, &other);
  assert_null(other.listen);
}

// JSON.

static rh_status from_json(const char *text) {
  static const char *const also_known[] = {"$schema", "models", NULL};
  json_t *object = rh_json_parse(text, strlen(text), &error);
  if (object == NULL) fail_msg("%s: %s", text, error.message);
  memset(&error, 0, sizeof error);
  rh_status status =
      rh_config_from_json(table, ROWS, "roundhouse.json", object, also_known, &settings, origins, &error);
  json_decref(object);
  return status;
}

static void test_json_sets_every_type(void **state) {
  (void)state;
  assert_int_equal(from_json("{\"$schema\":1,\"models\":{},\"listen\":\"[::]:1\",\"http_port\":81.0,\"ratio\":1,"
                             "\"preload\":false,\"timeout\":\"250ms\",\"body_max\":2048,\"level\":\"warn\","
                             "\"template_file\":\"x\",\"offset\":null}"),
                   RH_OK);
  assert_string_equal(settings.listen, "[::]:1");
  assert_int_equal(settings.http_port, 81);
  assert_true(settings.ratio == 1.0);
  assert_false(settings.preload);
  assert_true(settings.timeout == 250 * RH_NS_PER_MS);
  assert_true(settings.body_max == 2048);
  assert_int_equal(settings.level, 2);
  assert_string_equal(settings.template_file, "x");
  assert_int_equal(origins[LISTEN], RH_FROM_FILE);
  assert_int_equal(origins[OFFSET], RH_FROM_DEFAULT);
  assert_int_equal(from_json("{\"timeout\":1.5,\"body_max\":\"1KiB\"}"), RH_OK);
  assert_true(settings.timeout == 1500 * RH_NS_PER_MS);
  assert_true(settings.body_max == 1024);
}

static void assert_json_refused(const char *text, const char *message) {
  assert_int_equal(from_json(text), RH_INVALID);
  assert_int_equal(error.status, RH_INVALID);
  assert_string_equal(error.message, message);
}

static void test_json_is_refused_with_a_reason(void **state) {
  (void)state;
  assert_json_refused("{\"htp_port\":1}",
                      "unknown setting \"htp_port\" in roundhouse.json; did you mean \"http_port\"?");
  assert_string_equal(error.param, "htp_port");
  assert_json_refused("{\"modles\":1}", "unknown setting \"modles\" in roundhouse.json; did you mean \"models\"?");
  assert_json_refused("{\"quite_different\":1}", "unknown setting \"quite_different\" in roundhouse.json");
  assert_json_refused("{\"http_port\":0}",
                      "\"http_port\" in roundhouse.json must be a whole number from 1 to 65535; it is 0");
  assert_string_equal(error.param, "http_port");
  assert_json_refused("{\"http_port\":1.5}",
                      "\"http_port\" in roundhouse.json must be a whole number from 1 to 65535; it is 1.5");
  assert_json_refused("{\"http_port\":\"80\"}",
                      "\"http_port\" in roundhouse.json must be a whole number from 1 to 65535; it is \"80\"");
  assert_json_refused("{\"preload\":1}", "\"preload\" in roundhouse.json must be true or false; it is 1");
  assert_json_refused("{\"ratio\":true}", "\"ratio\" in roundhouse.json must be a number from 0 to 1; it is a boolean");
  assert_json_refused("{\"listen\":[]}", "\"listen\" in roundhouse.json must be text; it is an array");
  assert_json_refused("{\"timeout\":\"2 h\"}",
                      "\"timeout\" in roundhouse.json must be a duration from 1ms to 1h (such as 250ms, 30s, 5m or 1h)"
                      "; it is \"2 h\"");
  assert_json_refused("{\"timeout\":-1}",
                      "\"timeout\" in roundhouse.json must be a duration from 1ms to 1h (such as 250ms, 30s, 5m or 1h)"
                      "; it is -1");
  assert_json_refused("{\"body_max\":\"1TB\"}",
                      "\"body_max\" in roundhouse.json must be a size from 1KiB to 1GiB (such as 64KiB, 16MiB or 2GiB)"
                      "; it is \"1TB\"");
  assert_json_refused("{\"body_max\":2048.5}",
                      "\"body_max\" in roundhouse.json must be a size from 1KiB to 1GiB (such as 64KiB, 16MiB or 2GiB)"
                      "; it is 2048.5");
  assert_json_refused("{\"level\":\"wran\"}",
                      "\"level\" in roundhouse.json must be one of debug, info, warn; it is \"wran\""
                      "; did you mean \"warn\"?");
  assert_json_refused("[]", "roundhouse.json must be an object, not an array");
  assert_int_equal(settings.http_port, 8080);
  assert_string_equal(settings.listen, "127.0.0.1:8080");
}

// The environment.

static rh_status from_environment(const char *variable) {
  static const char *const also_known[] = {"ROUNDHOUSE_CONFIG", NULL};
  char *environment[] = {(char[]){"PATH=/bin"}, strdup(variable), (char[]){"ROUNDHOUSE_CONFIG=x"},
                         (char[]){"ROUNDHOUSE"}, NULL};
  assert_non_null(environment[1]);
  memset(&error, 0, sizeof error);
  rh_status status = rh_config_from_environment(table, ROWS, environment, also_known, &settings, origins, &error);
  free(environment[1]);
  return status;
}

static void test_the_environment(void **state) {
  (void)state;
  assert_int_equal(from_environment("ROUNDHOUSE_HTTP_PORT=82"), RH_OK);
  assert_int_equal(settings.http_port, 82);
  assert_int_equal(origins[HTTP_PORT], RH_FROM_ENVIRONMENT);
  assert_int_equal(from_environment("ROUNDHOUSE_LISTEN=a=b"), RH_OK);
  assert_string_equal(settings.listen, "a=b");
  assert_int_equal(from_environment("ROUNDHOUSE_PRELOAD=off"), RH_OK);
  assert_false(settings.preload);
  assert_int_equal(from_environment("ROUNDHOUSE_HTTP_PORT=lots"), RH_INVALID);
  assert_string_equal(error.message, "ROUNDHOUSE_HTTP_PORT must be a whole number from 1 to 65535; it is \"lots\"");
  assert_int_equal(from_environment("ROUNDHOUSE_HTPP_PORT=1"), RH_INVALID);
  assert_string_equal(error.message,
                      "unknown environment variable ROUNDHOUSE_HTPP_PORT; did you mean ROUNDHOUSE_HTTP_PORT?");
  assert_int_equal(from_environment("ROUNDHOUSE_CONFGI=1"), RH_INVALID);
  assert_string_equal(error.message, "unknown environment variable ROUNDHOUSE_CONFGI; did you mean ROUNDHOUSE_CONFIG?");
  assert_int_equal(from_environment("ROUNDHOUSE_QUITE_DIFFERENT=1"), RH_INVALID);
  assert_string_equal(error.message, "unknown environment variable ROUNDHOUSE_QUITE_DIFFERENT");
  assert_int_equal(from_environment("ROUNDHOUSE_TEMPLATE_FILE=x"), RH_INVALID);
  assert_int_equal(rh_config_from_environment(table, ROWS, NULL, NULL, &settings, origins, &error), RH_OK);
}

// Flags.

static rh_status from_flags(int expected_used, const char *first, const char *second) {
  char *argv[] = {(char[]){"roundhouse"}, strdup(first), second == NULL ? NULL : strdup(second), NULL};
  assert_non_null(argv[1]);
  int index = 1;
  memset(&error, 0, sizeof error);
  rh_status status = rh_config_from_flag(table, ROWS, second == NULL ? 2 : 3, argv, &index, &settings, origins, &error);
  assert_int_equal(index, 1 + expected_used);
  free(argv[1]);
  free(argv[2]);
  return status;
}

static void test_flags(void **state) {
  (void)state;
  assert_int_equal(from_flags(2, "--http-port", "83"), RH_OK);
  assert_int_equal(settings.http_port, 83);
  assert_int_equal(origins[HTTP_PORT], RH_FROM_FLAG);
  assert_int_equal(from_flags(1, "--http-port=84", "x"), RH_OK);
  assert_int_equal(settings.http_port, 84);
  assert_int_equal(from_flags(2, "--offset", "-5"), RH_OK);
  assert_int_equal(settings.offset, -5);
  assert_int_equal(from_flags(1, "--listen=--odd=", NULL), RH_OK);
  assert_string_equal(settings.listen, "--odd=");
  assert_int_equal(from_flags(1, "--listen=", NULL), RH_OK);
  assert_string_equal(settings.listen, "");
  assert_int_equal(from_flags(1, "--no-preload", "x"), RH_OK);
  assert_false(settings.preload);
  assert_int_equal(from_flags(1, "--preload", "false"), RH_OK);
  assert_true(settings.preload);
  assert_int_equal(from_flags(1, "--preload=false", NULL), RH_OK);
  assert_false(settings.preload);
}

static void assert_flag_refused(rh_status status, const char *first, const char *second, const char *message) {
  assert_int_equal(from_flags(0, first, second), status);
  assert_string_equal(error.message, message);
}

static void test_flags_are_refused_with_a_reason(void **state) {
  (void)state;
  assert_flag_refused(RH_INVALID, "--http-port", NULL, "--http-port needs a value");
  assert_flag_refused(RH_INVALID, "--http-port", "--preload", "--http-port needs a value");
  assert_flag_refused(RH_INVALID, "--http-port", "99999",
                      "--http-port must be a whole number from 1 to 65535; it is \"99999\"");
  assert_flag_refused(RH_INVALID, "--no-preload=true", NULL, "--no-preload takes no value");
  assert_flag_refused(RH_INVALID, "--preload=maybe", NULL, "--preload must be true or false; it is \"maybe\"");
  assert_flag_refused(RH_NOT_FOUND, "--no-listen", NULL, "unknown flag --no-listen; did you mean --listen?");
  assert_flag_refused(RH_NOT_FOUND, "--htp-port=1", NULL, "unknown flag --htp-port; did you mean --http-port?");
  assert_flag_refused(RH_NOT_FOUND, "--quite-different", NULL, "unknown flag --quite-different");
  assert_flag_refused(RH_NOT_FOUND, "--template-file", "x", "unknown flag --template-file");
  assert_flag_refused(RH_NOT_FOUND, "word", NULL, "unknown flag word");
  assert_flag_refused(RH_NOT_FOUND, "--", NULL, "unknown flag --");
  assert_flag_refused(RH_NOT_FOUND, "--no-", NULL, "unknown flag --no-");
  assert_flag_refused(RH_NOT_FOUND, "", NULL, "unknown flag ");
}

static void test_the_stronger_source_wins_in_any_order(void **state) {
  (void)state;
  assert_int_equal(from_flags(2, "--listen", "flag"), RH_OK);
  assert_int_equal(from_environment("ROUNDHOUSE_LISTEN=environment"), RH_OK);
  assert_int_equal(from_environment("ROUNDHOUSE_HTTP_PORT=2"), RH_OK);
  assert_int_equal(from_json("{\"listen\":\"file\",\"http_port\":1,\"ratio\":0.25}"), RH_OK);
  assert_string_equal(settings.listen, "flag");
  assert_int_equal(settings.http_port, 2);
  assert_true(settings.ratio == 0.25);
  assert_int_equal(origins[LISTEN], RH_FROM_FLAG);
  assert_int_equal(origins[HTTP_PORT], RH_FROM_ENVIRONMENT);
  assert_int_equal(origins[RATIO], RH_FROM_FILE);
  assert_int_equal(from_json("{\"http_port\":0}"), RH_INVALID);  // overridden, but wrong all the same
  // The last of two flags counts.
  assert_int_equal(from_flags(2, "--listen", "again"), RH_OK);
  assert_string_equal(settings.listen, "again");
}

// Values.

static void assert_value(int row, const char *text, const char *formatted) {
  rh_dynbuf out;
  rh_dynbuf_init(&out, 100);
  if (rh_config_set(&table[row], text, &settings, &error) != RH_OK) fail_msg("%s: %s", text, error.message);
  assert_int_equal(rh_config_format(&table[row], &settings, &out), RH_OK);
  assert_string_equal(rh_dynbuf_data(&out), formatted);
  // What is formatted reads back as the same.
  assert_int_equal(rh_config_set(&table[row], rh_dynbuf_data(&out), &settings, &error), RH_OK);
  rh_dynbuf again;
  rh_dynbuf_init(&again, 100);
  assert_int_equal(rh_config_format(&table[row], &settings, &again), RH_OK);
  assert_string_equal(rh_dynbuf_data(&again), formatted);
  rh_dynbuf_free(&out);
  rh_dynbuf_free(&again);
}

static void assert_no_value(int row, const char *text) {
  if (rh_config_set(&table[row], text, &settings, &error) != RH_INVALID) fail_msg("row %d takes \"%s\"", row, text);
}

static void test_values_read_and_format(void **state) {
  (void)state;
  assert_value(LISTEN, "", "");
  assert_value(LISTEN, "x y", "x y");
  assert_value(OFFSET, "-9223372036854775808", "-9223372036854775808");
  assert_value(OFFSET, "9223372036854775807", "9223372036854775807");
  assert_value(RATIO, "0.1", "0.1");
  assert_value(RATIO, "5e-1", "0.5");
  assert_value(PRELOAD, "yes", "true");
  assert_value(PRELOAD, "0", "false");
  assert_value(LEVEL, "debug", "debug");
  assert_value(TIMEOUT, "250ms", "250ms");
  assert_value(TIMEOUT, "0.25", "250ms");
  assert_value(TIMEOUT, "90", "90s");
  assert_value(TIMEOUT, "60m", "1h");
  assert_value(TIMEOUT, "1.5 m", "90s");
  assert_value(TIMEOUT, "1000001us", "1000001us");
  assert_value(TIMEOUT, "1000000001ns", "1000000001ns");
  assert_value(BODY_MAX, "64KiB", "64KiB");
  assert_value(BODY_MAX, "1.5 MiB", "1536KiB");
  assert_value(BODY_MAX, "1GB", "1000000000");
  assert_value(BODY_MAX, "2kB", "2000");
  assert_value(BODY_MAX, "2048B", "2KiB");
  assert_value(BODY_MAX, "1GiB", "1GiB");
}

static void test_values_that_are_none(void **state) {
  (void)state;
  const char *const numbers[] = {"", " 1", "1 ", "0x10", "1.5", "+1", "--1", "-", "9223372036854775808", "1e3"};
  for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++) assert_no_value(OFFSET, numbers[i]);
  const char *const reals[] = {"", "x", "nan", "inf", "0x1p-1", "1.1", "-0.1", "0.5 ", "1e", "."};
  for (size_t i = 0; i < sizeof reals / sizeof *reals; i++) assert_no_value(RATIO, reals[i]);
  const char *const durations[] = {"",
                                   "s",
                                   "-1s",
                                   "1.s",
                                   ".5s",
                                   "1  s",
                                   "1d",
                                   "1S",
                                   "1e3s",
                                   "1h30m",
                                   "2h",
                                   "0",
                                   "99999999999999999999h",
                                   "18446744073709551615s",
                                   "inf"};
  for (size_t i = 0; i < sizeof durations / sizeof *durations; i++) assert_no_value(TIMEOUT, durations[i]);
  const char *const sizes[] = {"",
                               "KiB",
                               "-1",
                               "1K",
                               "1kib",
                               "1 KiB ",
                               "1023",
                               "2GiB",
                               "1TiB",
                               "18446744073709551615KiB",
                               "99999999999999999999.5GiB"};
  for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) assert_no_value(BODY_MAX, sizes[i]);
  assert_no_value(PRELOAD, "");
  assert_no_value(PRELOAD, "True");
  assert_no_value(LEVEL, "");
  assert_no_value(LEVEL, "INFO");
  assert_string_equal(error.message,
                      "\"level\" must be one of debug, info, warn; it is \"INFO\"; did you mean \"info\"?");
  assert_int_equal(settings.offset, 0);
  assert_int_equal(settings.level, 1);
}

static void test_a_long_wrong_value_is_cut(void **state) {
  (void)state;
  char text[3000];
  memset(text, 'x', sizeof text);
  text[sizeof text - 1] = '\0';
  assert_no_value(HTTP_PORT, text);
  assert_in_range(strlen(error.message), 80, 250);
  assert_non_null(strstr(error.message, "xxx...\""));
}

static void test_zero_amounts_without_bounds(void **state) {
  (void)state;
  const rh_setting rows[] = {{.key = "d", .type = RH_SETTING_DURATION, .offset = AT(timeout), .help = ""},
                             {.key = "b", .type = RH_SETTING_BYTES, .offset = AT(body_max), .help = ""}};
  rh_dynbuf out;
  rh_dynbuf_init(&out, 100);
  for (int i = 0; i < 2; i++) {
    assert_int_equal(rh_config_set(&rows[i], "0", &settings, &error), RH_OK);
    assert_int_equal(rh_config_format(&rows[i], &settings, &out), RH_OK);
  }
  assert_string_equal(rh_dynbuf_data(&out), "0s0");
  assert_int_equal(rh_config_set(&rows[1], "18446744073709551615", &settings, &error), RH_OK);
  assert_true(settings.body_max == UINT64_MAX);
  rh_dynbuf_free(&out);
}

// Documents.

static void test_help(void **state) {
  (void)state;
  rh_dynbuf out;
  rh_dynbuf_init(&out, 10000);
  assert_int_equal(rh_config_help(table, ROWS, &out), RH_OK);
  assert_string_equal(rh_dynbuf_data(&out),
                      "  --listen TEXT            Where (default: 127.0.0.1:8080)\n"
                      "  --http-port N            Port (default: 8080)\n"
                      "  --ratio NUMBER           Share (default: 0.5)\n"
                      "  --[no-]preload           Load at start (default: true)\n"
                      "  --timeout DURATION       How long (default: 30s)\n"
                      "  --body-max SIZE          How much (default: 16MiB)\n"
                      "  --level debug|info|warn  How loud (default: info)\n"
                      "  --offset N               Without bounds and default\n");
  rh_dynbuf_free(&out);
  const rh_setting long_rows[] = {
      table[LISTEN],
      {.key = "a_name_that_goes_far_beyond_the_column", .type = RH_SETTING_INT, .offset = 0, .help = "Far"}};
  rh_dynbuf_init(&out, 10000);
  assert_int_equal(rh_config_help(long_rows, 2, &out), RH_OK);
  assert_string_equal(rh_dynbuf_data(&out),
                      "  --listen TEXT  Where (default: 127.0.0.1:8080)\n"
                      "  --a-name-that-goes-far-beyond-the-column N\n"
                      "                 Far\n");
  rh_dynbuf_free(&out);
  rh_dynbuf_init(&out, 20);
  assert_int_equal(rh_config_help(table, ROWS, &out), RH_TOO_LARGE);
  rh_dynbuf_free(&out);
}

static void test_schema(void **state) {
  (void)state;
  json_t *schema = rh_config_schema(table, ROWS);
  assert_non_null(schema);
  rh_dynbuf out;
  rh_dynbuf_init(&out, 10000);
  assert_int_equal(rh_json_append_value(&out, schema), RH_OK);
  const char *text = rh_dynbuf_data(&out);
  assert_true(strstr(text, "{\"type\":\"object\",\"additionalProperties\":false,\"properties\":{\"listen\":") == text);
  assert_non_null(
      strstr(text, "\"listen\":{\"description\":\"Where\",\"type\":\"string\",\"default\":\"127.0.0.1:8080\"}"));
  assert_non_null(strstr(text,
                         "\"http_port\":{\"description\":\"Port\",\"type\":\"integer\",\"minimum\":1,"
                         "\"maximum\":65535,\"default\":8080}"));
  assert_non_null(strstr(text,
                         "\"ratio\":{\"description\":\"Share\",\"type\":\"number\",\"minimum\":0.0,\"maximum\":1.0,"
                         "\"default\":0.5}"));
  assert_non_null(
      strstr(text, "\"preload\":{\"description\":\"Load at start\",\"type\":\"boolean\",\"default\":true}"));
  assert_non_null(strstr(text,
                         "\"timeout\":{\"description\":\"How long\",\"type\":[\"string\",\"number\"],\"pattern\":\""
                         "^[0-9]+(\\\\.[0-9]+)? ?(ns|us|ms|s|m|h)?$\",\"minimum\":0.001,\"maximum\":3600.0,"
                         "\"default\":\"30s\"}"));
  assert_non_null(strstr(text,
                         "\"type\":[\"string\",\"integer\"],\"pattern\":\"^[0-9]+(\\\\.[0-9]+)? ?"
                         "(B|KiB|MiB|GiB|KB|kB|MB|GB)?$\",\"minimum\":1024,\"maximum\":1073741824,"));
  assert_non_null(strstr(text,
                         "\"level\":{\"description\":\"How loud\",\"enum\":[\"debug\",\"info\",\"warn\"],"
                         "\"default\":\"info\"}"));
  assert_non_null(strstr(text, "\"template_file\":{\"description\":\"In the file only\",\"type\":\"string\"}"));
  assert_non_null(strstr(text, "\"offset\":{\"description\":\"Without bounds and default\",\"type\":\"integer\"}"));
  rh_dynbuf_free(&out);
  json_decref(schema);
}

static size_t allocations_left;

static void *failing_malloc(size_t size) {
  if (allocations_left == 0) return NULL;
  allocations_left--;
  return malloc(size);
}

static void test_schema_without_memory(void **state) {
  (void)state;
  json_set_alloc_funcs(failing_malloc, free);
  size_t failures = 0;
  for (size_t allowed = 0; allowed < 2000; allowed++) {
    allocations_left = allowed;
    json_t *schema = rh_config_schema(table, ROWS);
    if (schema != NULL) {
      json_decref(schema);
      break;
    }
    failures++;  // a leak or a use after free here is for the sanitizer to see
  }
  json_set_alloc_funcs(malloc, free);
  assert_in_range(failures, 50, 1999);
}

#define config_test(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)

int main(void) {
  const struct CMUnitTest tests[] = {
      config_test(test_defaults),
      config_test(test_a_wrong_default_is_told),
      config_test(test_json_sets_every_type),
      config_test(test_json_is_refused_with_a_reason),
      config_test(test_the_environment),
      config_test(test_flags),
      config_test(test_flags_are_refused_with_a_reason),
      config_test(test_the_stronger_source_wins_in_any_order),
      config_test(test_values_read_and_format),
      config_test(test_values_that_are_none),
      config_test(test_a_long_wrong_value_is_cut),
      config_test(test_zero_amounts_without_bounds),
      cmocka_unit_test(test_help),
      cmocka_unit_test(test_schema),
      cmocka_unit_test(test_schema_without_memory),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
