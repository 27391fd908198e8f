// SPDX-License-Identifier: Apache-2.0
//
// Entries of "providers": the shapes of the documentation, defaults by kind, where the key comes from, and every entry that must be
// refused with its field and reason.
#include "protocol_fixture.h"

#include <fcntl.h>
#include <unistd.h>

static char *const ENVIRONMENT[] = {(char *)(uintptr_t) "ANTHROPIC_API_KEY=sk-ant-1",
                                    (char *)(uintptr_t) "OPENAI_API_KEY=sk-oai-1",
                                    (char *)(uintptr_t) "MY_PROXY_API_KEY= k-proxy \n",
                                    (char *)(uintptr_t) "HOST=example.com",
                                    (char *)(uintptr_t) "EMPTY=",
                                    NULL};

static rh_status parse(const char *name, const char *text, rh_provider_spec *spec, rh_error *error) {
  json_t *entry = rh_json_parse(text, strlen(text), NULL);
  assert_non_null(entry);
  memset(error, 0, sizeof *error);
  rh_status status = rh_provider_spec_parse(name, entry, ENVIRONMENT, "/nowhere", spec, error);
  json_decref(entry);
  return status;
}

static rh_provider_spec good(const char *name, const char *text) {
  rh_provider_spec spec;
  rh_error error;
  if (parse(name, text, &spec, &error) != RH_OK) fail_msg("%s: %s", text, error.message);
  return spec;
}

static void test_seed_shapes(void **state) {
  (void)state;
  rh_provider_spec spec =
      good("onnx",
           "{\"models\":{\"default\":\"phi-3-mini-4k-cpu\",\"fast\":\"f\",\"advanced\":\"a\",\"gpu\":\"g\"},"
           "\"executionProviders\":[\"cuda\",\"dml\",\"cpu\"],\"graphOptimizationLevel\":\"all\","
           "\"enableMemoryOptimization\":true,\"threads\":4,\"timeout\":60000,"
           "\"cudaOptions\":{\"deviceId\":0,\"gpuMemLimit\":4294967296,\"arenExtendStrategy\":\"kSameAsRequested\"}}");
  assert_true(spec.in_process && spec.local && spec.enabled);
  assert_int_equal(spec.total_timeout_ns, 60000000000u);
  assert_string_equal(rh_provider_spec_model(&spec, NULL), "phi-3-mini-4k-cpu");
  assert_string_equal(rh_provider_spec_model(&spec, "fast"), "f");
  assert_string_equal(rh_provider_spec_model(&spec, "other"), "other");
  assert_int_equal(json_integer_value(json_object_get(spec.engine_options, "threads")), 4);
  assert_int_equal(json_array_size(json_object_get(spec.engine_options, "executionProviders")), 3);
  assert_true(json_is_object(json_object_get(spec.engine_options, "cudaOptions")));
  rh_provider_spec_release(&spec);

  spec = good("anthropic", "{}");
  assert_string_equal(spec.base_url, "https://api.anthropic.com/v1");
  assert_string_equal(spec.key, "sk-ant-1");
  assert_int_equal(spec.protocol, RH_PROTOCOL_ANTHROPIC);
  assert_true(!spec.local && !spec.in_process && spec.prefill && spec.key_error == NULL);
  assert_null(rh_provider_spec_model(&spec, NULL));
  rh_provider_spec_release(&spec);

  spec = good("openrouter", "{\"models\":[\"a/b\",\"c/d\"],\"preferences\":{\"order\":[\"x\"]}}");
  assert_null(spec.key);
  assert_string_equal(spec.key_error, "the variable OPENROUTER_API_KEY is not set");
  assert_string_equal(rh_provider_spec_model(&spec, NULL), "a/b");
  assert_true(json_is_object(spec.preferences));
  rh_provider_spec_release(&spec);
}

static void test_defaults_and_fields(void **state) {
  (void)state;
  rh_provider_spec spec = good("ollama", "{}");
  assert_string_equal(spec.base_url, "http://127.0.0.1:11434/v1");
  assert_true(spec.local && spec.key == NULL && spec.key_error == NULL);
  rh_provider_spec_release(&spec);

  spec = good(
      "big",
      "{\"type\":\"vllm\",\"base_url\":\"https://${HOST}/v1//\",\"protocol\":\"responses\",\"apiKey\":\"abc\","
      "\"timeout\":\"30s\",\"connect_timeout\":1500,\"firstTokenTimeout\":\"10m\",\"maxRetries\":5,\"retryDelay\":250,"
      "\"concurrency\":3,\"queue\":0,\"weight\":2.5,\"local\":true,\"enabled\":false,\"caFile\":\"ca.pem\","
      "\"healthPath\":\"/health\",\"healthInterval\":\"5s\",\"headers\":{\"X-Team\":\"${HOST}\",\"X-A\":\"b\"}}");
  assert_string_equal(spec.base_url, "https://example.com/v1");
  assert_string_equal(spec.type, "vllm");
  assert_int_equal(spec.protocol, RH_PROTOCOL_RESPONSES);
  assert_string_equal(spec.key, "abc");
  assert_int_equal(spec.total_timeout_ns, 30000000000u);
  assert_int_equal(spec.first_timeout_ns, 30000000000u);  // not longer than the whole
  assert_int_equal(spec.connect_timeout_ns, 1500000000u);
  assert_int_equal(spec.retry_delay_ns, 250000000u);
  assert_int_equal(spec.concurrency_max, 3);
  assert_int_equal(spec.queue_max, 0);
  assert_int_equal(spec.retries_max, 5);
  assert_true(spec.local && !spec.enabled && spec.weight > 2.4 && spec.weight < 2.6);
  assert_string_equal(spec.ca_file, "/nowhere/ca.pem");
  assert_string_equal(spec.headers[0], "X-Team: example.com");
  assert_string_equal(spec.headers[1], "X-A: b");
  assert_null(spec.headers[2]);
  rh_provider_spec_release(&spec);

  spec = good("mine", "{\"baseUrl\":\"http://localhost:9/v1\"}");
  assert_string_equal(spec.type, "openai-compatible");
  assert_true(spec.local);
  rh_provider_spec_release(&spec);
}

static void test_loopback(void **state) {
  (void)state;
  static const struct {
    const char *host;
    bool local;
  } hosts[] = {{"127.0.0.1", true},
               {"127.9.9.9:80", true},
               {"[::1]:80", true},
               {"localhost", true},
               {"LOCALHOST:1", true},
               {"10.0.0.1", false},
               {"[::2]", false},
               {"127.0.0.1.example.com", false},
               {"localhost.example.com", false},
               {"[::ffff:127.0.0.1]", true},
               {"0.0.0.0", false}};
  for (size_t i = 0; i < COUNT(hosts); i++) {
    char text[128];
    snprintf(text, sizeof text, "{\"baseUrl\":\"http://%s/v1\"}", hosts[i].host);
    rh_provider_spec spec = good("x", text);
    assert_int_equal(spec.local, hosts[i].local);
    rh_provider_spec_release(&spec);
  }
}

static void test_keys(void **state) {
  (void)state;
  rh_provider_spec spec = good("my-proxy", "{\"type\":\"openai\",\"baseUrl\":\"https://proxy.example/v1\"}");
  assert_string_equal(spec.key, "k-proxy");
  rh_provider_spec_release(&spec);
  // OpenAI's own key never goes to another's address by itself.
  spec = good("other", "{\"type\":\"openai\",\"baseUrl\":\"https://proxy.example/v1\"}");
  assert_null(spec.key);
  assert_null(spec.key_error);
  rh_provider_spec_release(&spec);
  spec = good("second", "{\"type\":\"openai\"}");
  assert_string_equal(spec.key, "sk-oai-1");
  rh_provider_spec_release(&spec);
  spec = good("openai", "{\"apiKeyEnv\":\"MY_PROXY_API_KEY\"}");
  assert_string_equal(spec.key, "k-proxy");
  rh_provider_spec_release(&spec);
  spec = good("openai", "{\"apiKey\":\"${NOT_THERE}\"}");
  assert_null(spec.key);
  assert_string_equal(spec.key_error, "the variable NOT_THERE is not set");
  rh_provider_spec_release(&spec);
  spec = good("openai", "{\"apiKeyFile\":\"missing\"}");
  assert_string_equal(spec.key_error, "the key file /nowhere/missing cannot be read");
  rh_provider_spec_release(&spec);

  char path[] = "/tmp/rh_key_XXXXXX", text[128];
  int fd = mkstemp(path);
  assert_true(fd >= 0);
  assert_int_equal(write(fd, "from-file\n", 10), 10);
  close(fd);
  snprintf(text, sizeof text, "{\"api_key_file\":\"%s\"}", path);
  spec = good("openai", text);
  assert_string_equal(spec.key, "from-file");
  rh_provider_spec_release(&spec);
  unlink(path);
}

static void test_refusals(void **state) {
  (void)state;
  static const struct {
    const char *name, *text, *param, *words;
  } bad[] = {
      {"antropic", "{}", "providers.antropic", "did you mean \"anthropic\""},
      {"x", "{\"type\":\"opnai\"}", "providers.x.type", "did you mean \"openai\""},
      {"x", "{\"type\":\"openai-compatible\"}", "providers.x.baseUrl", "missing"},
      {"openai", "[]", "providers.openai", "an object"},
      {"openai", "{\"apikey_\":\"x\"}", "providers.openai.apikey_", "did you mean \"apiKey\""},
      {"openai", "{\"maxRetry\":1}", "providers.openai.maxRetry", "did you mean \"maxRetries\""},
      {"openai", "{\"threads\":1}", "providers.openai.threads", "no field"},
      {"openai", "{\"timeout\":\"soon\"}", "providers.openai.timeout", "\"soon\""},
      {"openai", "{\"timeout\":-1}", "providers.openai.timeout", "from"},
      {"openai", "{\"timeout\":true}", "providers.openai.timeout", "not a boolean"},
      {"openai", "{\"concurrency\":0}", "providers.openai.concurrency", "from 1"},
      {"openai", "{\"concurrency\":1.5}", "providers.openai.concurrency", "whole"},
      {"openai", "{\"protocol\":\"grpc\"}", "providers.openai.protocol", "\"chat\""},
      {"openai", "{\"models\":\"x\"}", "providers.openai.models", "an object"},
      {"openai", "{\"models\":{\"default\":1}}", "providers.openai.models", "names of models"},
      {"openai", "{\"models\":[1]}", "providers.openai.models", "names of models"},
      {"openai", "{\"baseUrl\":\"ftp://x\"}", "providers.openai.baseUrl", "https://"},
      {"openai", "{\"baseUrl\":\"https://me:pw@x/v1\"}", "providers.openai.baseUrl", "password"},
      {"openai", "{\"baseUrl\":\"https://x/v1?k=v\"}", "providers.openai.baseUrl", "\"?\""},
      {"openai", "{\"baseUrl\":\"https:///v1\"}", "providers.openai.baseUrl", "no machine"},
      {"openai", "{\"baseUrl\":\"https://${NOT_THERE}/v1\"}", "providers.openai.baseUrl", "NOT_THERE"},
      {"openai", "{\"baseUrl\":\"https://a/v1\",\"base_url\":\"https://b/v1\"}", "providers.openai.base_url", "twice"},
      {"openai", "{\"baseUrl\":\"http://10.1.1.1/v1\"}", "providers.openai.baseUrl", "insecureHttp"},
      {"openai", "{\"apiKey\":\"a\",\"apiKeyEnv\":\"b\"}", "providers.openai.apiKey", "keep one"},
      {"openai", "{\"apiKey\":\"\"}", "providers.openai.apiKey", "empty"},
      {"openai", "{\"headers\":{\"a b\":\"c\"}}", "providers.openai.headers", "sound"},
      {"openai", "{\"headers\":{\"a\":\"c\\r\\nd: e\"}}", "providers.openai.headers", "sound"},
      {"openai", "{\"preferences\":{}}", "providers.openai.preferences", "OpenRouter"},
      {"a/b", "{\"type\":\"openai\"}", "providers.a/b", "no name"},
  };
  for (size_t i = 0; i < COUNT(bad); i++) {
    rh_provider_spec spec;
    rh_error error;
    assert_int_equal(parse(bad[i].name, bad[i].text, &spec, &error), RH_INVALID);
    assert_string_equal(error.param, bad[i].param);
    if (strstr(error.message, bad[i].words) == NULL) fail_msg("\"%s\" lacks \"%s\"", error.message, bad[i].words);
    assert_null(strstr(error.message, "sk-oai-1"));
    assert_null(spec.name);
  }
  rh_provider_spec spec = good("openai", "{\"baseUrl\":\"http://10.1.1.1/v1\",\"insecureHttp\":true}");
  rh_provider_spec_release(&spec);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_seed_shapes), cmocka_unit_test(test_defaults_and_fields),
      cmocka_unit_test(test_loopback),    cmocka_unit_test(test_keys),
      cmocka_unit_test(test_refusals),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
