// SPDX-License-Identifier: Apache-2.0
//
// What a model's own files say, written into a folder by each test.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/file.h"
#include "task/model_files.h"

static char folder[64];

static int make_folder(void **state) {
  (void)state;
  snprintf(folder, sizeof folder, "/tmp/rh-model-files-XXXXXX");
  return mkdtemp(folder) == NULL;
}

static int remove_folder(void **state) {
  (void)state;
  rh_error error;
  return rh_file_remove_tree(folder, &error) != RH_OK;
}

static void write_bytes(const char *name, const void *bytes, size_t length) {
  char path[256];
  snprintf(path, sizeof path, "%s/%s", folder, name);
  char *slash = strrchr(path, '/');
  rh_error error;
  *slash = '\0';
  assert_int_equal(rh_file_make_folders(path, 0700, &error), RH_OK);
  *slash = '/';
  FILE *file = fopen(path, "wb");
  assert_non_null(file);
  assert_int_equal(fwrite(bytes, 1, length, file), length);
  fclose(file);
}

static void write_file(const char *name, const char *text) { write_bytes(name, text, strlen(text)); }

static void read_files(rh_model_files *files) {
  rh_error error = {0};
  if (rh_model_files_read(folder, NULL, files, &error) != RH_OK) fail_msg("%s", error.message);
}

static void expect_damage(const char *words) {
  rh_model_files files;
  rh_error error = {0};
  assert_int_equal(rh_model_files_read(folder, NULL, &files, &error), RH_INVALID);
  if (strstr(error.message, words) == NULL) fail_msg("\"%s\" is not in \"%s\"", words, error.message);
  rh_model_files_free(&files);
}

static void expect_task(const char *config, rh_task task) {
  write_file("config.json", config);
  rh_model_files files;
  read_files(&files);
  assert_int_equal(files.task, task);
  rh_model_files_free(&files);
}

static void an_empty_folder_is_fine(void **state) {
  (void)state;
  rh_model_files files;
  read_files(&files);
  assert_int_equal(files.task, RH_TASK_TENSOR);
  assert_int_equal(files.length_max, 0);
  rh_model_files_free(&files);
}

static void the_architecture_tells_the_task(void **state) {
  (void)state;
  expect_task("{\"architectures\":[\"BertModel\"]}", RH_TASK_EMBED);
  expect_task("{\"architectures\":[\"BertForTokenClassification\"]}", RH_TASK_TOKEN_CLASSIFY);
  expect_task("{\"architectures\":[\"BertForSequenceClassification\"]}", RH_TASK_CLASSIFY);
  expect_task("{\"architectures\":[\"BertForSequenceClassification\"],\"id2label\":{\"0\":\"LABEL_0\"}}",
              RH_TASK_RERANK);
  expect_task("{\"architectures\":[\"BertForMaskedLM\"]}", RH_TASK_TENSOR);
  expect_task("{}", RH_TASK_TENSOR);
  // The pipeline tag decides where one label may be a score or a class.
  write_file("README.md", "---\nlicense: mit\npipeline_tag: text-classification\n---\npipeline_tag: none\n");
  expect_task("{\"architectures\":[\"BertForSequenceClassification\"],\"num_labels\":1}", RH_TASK_CLASSIFY);
  expect_task("{\"architectures\":[\"BertForTokenClassification\"]}", RH_TASK_TOKEN_CLASSIFY);
  write_file("README.md", "---\npipeline_tag: sentence-similarity\n---\n");
  expect_task("{}", RH_TASK_EMBED);
  expect_task("{\"architectures\":[\"BertForMaskedLM\"]}", RH_TASK_TENSOR);
  write_file("README.md", "---\npipeline_tag: token-classification\n---\n");
  expect_task("{}", RH_TASK_TOKEN_CLASSIFY);
  // A model of natural language inference whose makers mean it for the client's labels; others stay what they are.
  write_file("README.md", "---\npipeline_tag: zero-shot-classification\n---\n");
  expect_task("{\"architectures\":[\"XForSequenceClassification\"],\"id2label\":{\"0\":\"entailment\",\"1\":\"no\"}}",
              RH_TASK_ZERO_SHOT);
  expect_task("{\"architectures\":[\"XForSequenceClassification\"],\"id2label\":{\"0\":\"good\",\"1\":\"bad\"}}",
              RH_TASK_CLASSIFY);
  expect_task("{}", RH_TASK_TENSOR);
}

static void labels_stand_at_their_ids(void **state) {
  (void)state;
  write_file(
      "config.json",
      "{\"architectures\":[\"XForSequenceClassification\"],\"id2label\":{\"1\":\"neutral\",\"0\":\"contradiction\","
      "\"2\":\"Entailment\"},\"problem_type\":\"single_label_classification\"}");
  rh_model_files files;
  read_files(&files);
  assert_int_equal(files.label_count, 3);
  assert_string_equal(files.labels[2], "Entailment");
  assert_int_equal(files.entailment, 2);
  assert_int_equal(files.contradiction, 0);
  assert_int_equal(files.problem, RH_PROBLEM_SINGLE);
  rh_model_files_free(&files);
  write_file("config.json", "{\"id2label\":{\"0\":\"x\",\"7\":\"y\"}}");
  expect_damage("id2label");
}

static int64_t length_of(void) {
  rh_model_files files;
  read_files(&files);
  int64_t length = files.length_max;
  rh_model_files_free(&files);
  return length;
}

static void the_longest_text(void **state) {
  (void)state;
  write_file("config.json", "{\"model_type\":\"bert\",\"max_position_embeddings\":512}");
  assert_int_equal(length_of(), 512);
  write_file("tokenizer_config.json", "{\"model_max_length\":384}");
  assert_int_equal(length_of(), 384);
  write_file("tokenizer_config.json", "{\"model_max_length\":1000000000000000019884624838656}");
  assert_int_equal(length_of(), 512);
  write_file("modules.json", "[{\"type\":\"sentence_transformers.models.Transformer\",\"path\":\"\"}]");
  write_file("sentence_bert_config.json", "{\"max_seq_length\":256}");
  assert_int_equal(length_of(), 256);
  // More than there are positions cannot be.
  write_file("sentence_bert_config.json", "{\"max_seq_length\":1024}");
  assert_int_equal(length_of(), 512);
  // The first two of 514 positions are not for tokens.
  write_file("sentence_bert_config.json", "{\"max_seq_length\":null}");
  write_file("config.json", "{\"model_type\":\"xlm-roberta\",\"max_position_embeddings\":514,\"pad_token_id\":1}");
  assert_int_equal(length_of(), 512);
}

static void sentence_files_are_read(void **state) {
  (void)state;
  write_file("config.json", "{\"architectures\":[\"BertForMaskedLM\"]}");
  write_file("modules.json",
             "[{\"type\":\"sentence_transformers.models.Transformer\",\"path\":\"0_T\"},"
             "{\"type\":\"sentence_transformers.models.Pooling\",\"path\":\"1_Pooling\"},"
             "{\"type\":\"sentence_transformers.models.Normalize\",\"path\":\"2_Normalize\"}]");
  write_file("0_T/sentence_roberta_config.json", "{\"max_seq_length\":77}");
  write_file("1_Pooling/config.json",
             "{\"pooling_mode_cls_token\":true,\"pooling_mode_mean_tokens\":false,\"pooling_mode_lasttoken\":true,"
             "\"include_prompt\":false}");
  write_file(
      "config_sentence_transformers.json",
      "{\"prompts\":{\"query\":\"Q: \",\"doc\":\"D: \"},\"default_prompt_name\":\"doc\",\"similarity_fn_name\":null}");
  rh_model_files files;
  read_files(&files);
  assert_int_equal(files.task, RH_TASK_EMBED);
  assert_true(files.sentence && files.normalize);
  assert_false(files.include_prompt);
  assert_int_equal(files.pooling, RH_POOLING_CLS | RH_POOLING_LAST);
  assert_int_equal(files.length_max, 77);
  assert_string_equal(rh_model_files_prompt(&files, "query"), "Q: ");
  assert_null(rh_model_files_prompt(&files, "nothing"));
  assert_string_equal(files.default_prompt, "D: ");
  rh_model_files_free(&files);
  write_file("1_Pooling/config.json", "{\"pooling_mode\":\"weightedmean\"}");
  read_files(&files);
  assert_int_equal(files.pooling, RH_POOLING_WEIGHTED);
  assert_true(files.include_prompt);
  rh_model_files_free(&files);
  write_file("modules.json", "[{\"type\":\"x.WordWeights\",\"path\":\"1_W\"}]");
  read_files(&files);
  assert_non_null(strstr(files.unsupported, "WordWeights"));
  rh_model_files_free(&files);
  write_file("modules.json", "[{\"type\":\"x.Pooling\",\"path\":\"../outside\"}]");
  expect_damage("not within");
}

static void dense_layers_are_read(void **state) {
  (void)state;
  write_file("modules.json", "[{\"type\":\"sentence_transformers.models.Dense\",\"path\":\"2_Dense\"}]");
  write_file("2_Dense/config.json",
             "{\"in_features\":3,\"out_features\":2,\"bias\":true,\"activation_function\":"
             "\"torch.nn.modules.activation.Tanh\"}");
  rh_model_files files;
  read_files(&files);
  assert_non_null(strstr(files.unsupported, "safetensors"));
  rh_model_files_free(&files);
  static const char header[] =
      "{\"linear.weight\":{\"dtype\":\"F32\",\"shape\":[2,3],\"data_offsets\":[0,24]},"
      "\"linear.bias\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[24,32]}}";
  char bytes[512];
  uint64_t header_bytes = sizeof header - 1;
  static const float numbers[8] = {1, 2, 3, 4, 5, 6, 0.5f, -0.5f};
  memcpy(bytes, &header_bytes, 8);
  memcpy(bytes + 8, header, header_bytes);
  memcpy(bytes + 8 + header_bytes, numbers, sizeof numbers);
  size_t length = 8 + header_bytes + sizeof numbers;
  write_bytes("2_Dense/model.safetensors", bytes, length);
  read_files(&files);
  assert_int_equal(files.dense_count, 1);
  assert_int_equal(files.dense[0].out, 2);
  assert_true(files.dense[0].tanh);
  assert_true(files.dense[0].weight[5] > 5.9f && files.dense[0].bias[1] < -0.4f);
  rh_model_files_free(&files);
  for (size_t cut = 0; cut < length; cut += 7) {
    write_bytes("2_Dense/model.safetensors", bytes, cut);
    expect_damage("dense layer");
  }
}

static void files_beside_or_above_the_graph_are_found(void **state) {
  (void)state;
  write_file("config.json", "{\"architectures\":[\"BertModel\"]}");
  write_file("onnx/model.onnx", "x");
  char path[256];
  rh_model_files files;
  rh_error error = {0};
  snprintf(path, sizeof path, "%s/onnx/model.onnx", folder);
  assert_int_equal(rh_model_files_read(path, NULL, &files, &error), RH_OK);
  assert_string_equal(files.folder, folder);
  assert_int_equal(files.task, RH_TASK_EMBED);
  rh_model_files_free(&files);
  snprintf(path, sizeof path, "%s/onnx/", folder);
  assert_int_equal(rh_model_files_read(path, NULL, &files, &error), RH_OK);
  assert_string_equal(files.folder, folder);
  rh_model_files_free(&files);
}

static void damaged_files_are_named(void **state) {
  (void)state;
  write_file("config.json", "{\"architectures\":");
  expect_damage("config.json");
  write_file("config.json", "{}");
  write_file("modules.json", "[{\"type\":\"x.Pooling\",\"path\":\"1_Pooling\"}]");
  expect_damage("1_Pooling/config.json");
}

#define IN_FOLDER(test) cmocka_unit_test_setup_teardown(test, make_folder, remove_folder)

int main(void) {
  const struct CMUnitTest tests[] = {
      IN_FOLDER(an_empty_folder_is_fine),
      IN_FOLDER(the_architecture_tells_the_task),
      IN_FOLDER(labels_stand_at_their_ids),
      IN_FOLDER(the_longest_text),
      IN_FOLDER(sentence_files_are_read),
      IN_FOLDER(dense_layers_are_read),
      IN_FOLDER(files_beside_or_above_the_graph_are_found),
      IN_FOLDER(damaged_files_are_named),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
