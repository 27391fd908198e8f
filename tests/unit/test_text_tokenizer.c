// SPDX-License-Identifier: Apache-2.0
//
// Tokenizers from files and folders, what is known about them, texts that are no UTF-8, offsets, reuse, limits.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/file.h"
#include "text_fixture.h"

static char folder[64];

static int make_folder(void **state) {
  (void)state;
  (void)snprintf(folder, sizeof folder, "/tmp/rh_text_XXXXXX");
  return mkdtemp(folder) != NULL ? 0 : -1;
}

static int remove_folder(void **state) {
  (void)state;
  return rh_file_remove_tree(folder, NULL) == RH_OK ? 0 : -1;
}

static void write_bytes(const char *name, const void *bytes, size_t length) {
  char path[128];
  rh_error error = {0};
  (void)snprintf(path, sizeof path, "%s/%s", folder, name);
  assert_int_equal(rh_file_write_atomic(path, bytes, length, 0600, &error), RH_OK);
}

static void write_text(const char *name, const char *text) { write_bytes(name, text, strlen(text)); }

static rh_tokenizer *open_folder(void) {
  rh_tokenizer *tokenizer = NULL;
  rh_error error = {0};
  if (rh_tokenizer_open(folder, &tokenizer, &error) != RH_OK) fail_msg("%s", error.message);
  return tokenizer;
}

#define SMALL                                                                                              \
  "{\"added_tokens\":[{\"id\":9,\"content\":\"<s>\",\"special\":true}],\"model\":{\"type\":\"WordLevel\"," \
  "\"unk_token\":\"?\",\"vocab\":{\"?\":0,\"a\":1}}}"

// --- files -----------------------------------------------------------------------------------------------------------

static void test_bert_from_vocab_txt(void **state) {
  (void)state;
  write_text("vocab.txt", "[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]\nhello\r\nwor\n##ld\nH\u00e9\n!\n");
  write_text("tokenizer_config.json", "{\"model_max_length\":512,\"padding_side\":\"left\"}");
  rh_tokenizer *tokenizer = open_folder();
  assert_tokens(tokenizer, "H\u00e9LLO world! [MASK]",
                "2[0,0]:-1 5[0,5]:0 6[6,9]:1 7[9,11]:1 9[11,12]:2 4[13,19]:3 3[0,0]:-1");
  const rh_tokenizer_facts *facts = rh_tokenizer_facts_of(tokenizer);
  assert_int_equal(facts->length_max, 512);
  assert_true(facts->pads_left);
  assert_int_equal(facts->unk, 1);
  rh_tokenizer_close(tokenizer);
  // What tokenizer_config.json says counts.
  write_text("tokenizer_config.json",
             "{\"do_lower_case\":false,\"unk_token\":\"[PAD]\",\"mask_token\":{\"content\":\"!\"}}");
  tokenizer = open_folder();
  assert_tokens(tokenizer, "H\u00e9 HELLO", "2[0,0]:-1 8[0,2]:0 0[3,8]:1 3[0,0]:-1");
  assert_int_equal(rh_tokenizer_facts_of(tokenizer)->mask, 9);
  assert_true(rh_tokenizer_is_special(tokenizer, 9));
  rh_tokenizer_close(tokenizer);
  // A tokenizer.json wins.
  write_text("tokenizer.json", SMALL);
  tokenizer = open_folder();
  assert_string_equal(rh_tokenizer_facts_of(tokenizer)->model, "WordLevel");
  rh_tokenizer_close(tokenizer);
}

static void put_piece(char *out, size_t *used, const char *text, float score, char type) {
  size_t length = strlen(text);
  out[(*used)++] = '\x0a';
  out[(*used)++] = (char)(length + 9);
  out[(*used)++] = '\x0a';
  out[(*used)++] = (char)length;
  memcpy(out + *used, text, length);
  *used += length;
  out[(*used)++] = '\x15';
  memcpy(out + *used, &score, 4);
  *used += 4;
  out[(*used)++] = '\x18';
  out[(*used)++] = type;
}

static size_t make_model(char *out, char kind) {
  size_t used = 0;
  put_piece(out, &used, "<unk>", 0.0F, 2);
  put_piece(out, &used, "<s>", 0.0F, 3);
  put_piece(out, &used, "</s>", 0.0F, 3);
  put_piece(out, &used, MARK, -6.0F, 1);
  put_piece(out, &used, "a", -7.0F, 1);
  put_piece(out, &used, "b", -8.0F, 1);
  put_piece(out, &used, "ab", -2.0F, 1);
  put_piece(out, &used, MARK "a", -1.0F, 1);
  put_piece(out, &used, "<x>", 0.0F, 4);
  const char settings[] = {'\x12', 2, '\x18', kind};
  memcpy(out + used, settings, sizeof settings);
  return used + sizeof settings;
}

static void test_sentencepiece_models(void **state) {
  (void)state;
  char model[512];
  size_t length = make_model(model, 1);
  write_bytes("spiece.model", model, length);
  rh_tokenizer *tokenizer = open_folder();
  assert_string_equal(rh_tokenizer_facts_of(tokenizer)->model, "Unigram");
  // Spaces in front, behind and of many become the one that a word begins with.
  assert_tokens(tokenizer, "  ab  aab ", "3[1,2]:0 6[2,4]:0 7[5,7]:1 6[7,9]:1 2[0,0]:-1");
  assert_tokens(tokenizer, "a<x>a", "7[0,1]:0 8[1,4]:1 4[4,5]:2 2[0,0]:-1");
  rh_tokenizer_close(tokenizer);
  length = make_model(model, 2);
  write_bytes("spiece.model", model, length);
  tokenizer = open_folder();
  assert_string_equal(rh_tokenizer_facts_of(tokenizer)->model, "BPE");
  // The highest score joins first, whatever the sum.
  assert_tokens(tokenizer, "ab", "1[0,0]:-1 7[0,1]:0 5[1,2]:0");
  const int32_t ids[] = {7, 6, 7};
  rh_dynbuf out;
  rh_dynbuf_init(&out, 100);
  assert_int_equal(rh_tokenizer_decode(tokenizer, ids, 3, true, &out), RH_OK);
  assert_string_equal(rh_dynbuf_data(&out), "aab a");
  rh_dynbuf_free(&out);
  rh_tokenizer_close(tokenizer);
  write_text("tokenizer_config.json", "{\"tokenizer_class\":\"BarthezTokenizer\"}");
  rh_error error = {0};
  assert_int_equal(rh_tokenizer_open(folder, &tokenizer, &error), RH_UNSUPPORTED);
  assert_non_null(strstr(error.message, "BarthezTokenizer"));
}

static void test_facts_from_the_files_beside_it(void **state) {
  (void)state;
  write_text("tokenizer.json", SMALL);
  write_text("tokenizer_config.json",
             "{\"model_max_length\":1000000000000000019884624838656,\"bos_token\":\"<s>\",\"pad_token\":\"nowhere\"}");
  write_text("special_tokens_map.json", "{\"bos_token\":\"a\",\"eos_token\":{\"content\":\"a\"}}");
  write_text("config.json", "{\"pad_token_id\":1,\"eos_token_id\":[0,1],\"bos_token_id\":0,\"sep_token_id\":777}");
  rh_tokenizer *tokenizer = open_folder();
  const rh_tokenizer_facts *facts = rh_tokenizer_facts_of(tokenizer);
  assert_int_equal(facts->bos, 9);
  assert_int_equal(facts->eos, 1);
  assert_int_equal(facts->pad, 1);
  assert_int_equal(facts->sep, -1);
  assert_int_equal(facts->length_max, 0);
  assert_int_equal(rh_tokenizer_size(tokenizer), 10);
  assert_int_equal(rh_tokenizer_find(tokenizer, "<s>", 3), 9);
  assert_int_equal(rh_tokenizer_find(tokenizer, "b", 1), -1);
  size_t length;
  assert_null(rh_tokenizer_token(tokenizer, 5, &length));
  assert_null(rh_tokenizer_token(tokenizer, -1, &length));
  assert_null(rh_tokenizer_token(tokenizer, 10, &length));
  assert_memory_equal(rh_tokenizer_token(tokenizer, 9, &length), "<s>", 3);
  assert_true(rh_tokenizer_is_special(tokenizer, 9));
  assert_false(rh_tokenizer_is_special(tokenizer, 1));
  rh_tokenizer_close(tokenizer);
}

static void assert_not_opened(const char *path, rh_status status, const char *part) {
  rh_tokenizer *tokenizer = NULL;
  rh_error error = {0};
  assert_int_equal(rh_tokenizer_open(path, &tokenizer, &error), status);
  assert_null(tokenizer);
  if (strstr(error.message, part) == NULL) fail_msg("\"%s\" lacks \"%s\"", error.message, part);
}

static void test_what_cannot_be_opened(void **state) {
  (void)state;
  char path[128];
  assert_not_opened(folder, RH_NOT_FOUND, "vocab.txt");
  assert_not_opened("/nowhere/at/all", RH_NOT_FOUND, "/nowhere/at/all");
  write_text("tokenizer.json", "{\"model\":");
  (void)snprintf(path, sizeof path, "%s/tokenizer.json", folder);
  assert_not_opened(path, RH_INVALID, path);
  write_text("tokenizer.json", SMALL);
  write_text("tokenizer_config.json", "[]");
  assert_not_opened(folder, RH_INVALID, "tokenizer_config.json");
  write_bytes("other.model", "\xff\xff", 2);
  write_text("tokenizer_config.json", "{}");
  (void)snprintf(path, sizeof path, "%s/other.model", folder);
  assert_not_opened(path, RH_INVALID, "SentencePiece");
  write_bytes("vocab.txt", "a\n\xff\n", 4);
  (void)snprintf(path, sizeof path, "%s/vocab.txt", folder);
  assert_not_opened(path, RH_INVALID, "line 2");
}

// --- texts -----------------------------------------------------------------------------------------------------------

#define LETTERS                                                                                            \
  "{\"model\":{\"type\":\"BPE\",\"unk_token\":\"?\",\"vocab\":{\"?\":0,\"a\":1,\"\u00e9\":2,\"\ufffd\":3," \
  "\"\U0001f600\":4},\"merges\":[]}}"

static void test_offsets_are_code_points(void **state) {
  (void)state;
  rh_tokenizer *tokenizer = open_json(LETTERS);
  assert_tokens(tokenizer, "\u00e9a\U0001f600\u00e9", "2[0,1]:0 1[1,2]:0 4[2,3]:0 2[3,4]:0");
  rh_tokenizer_close(tokenizer);
}

static void test_what_is_no_utf8_is_replaced(void **state) {
  (void)state;
  rh_tokenizer *tokenizer = open_json(LETTERS);
  // One for the beginning of a character that breaks off, one for each byte that begins none.
  assert_tokens(tokenizer,
                "a\xe2\x82"
                "a",
                "1[0,1]:0 3[1,2]:0 1[2,3]:0");
  assert_tokens(tokenizer, "\xff\x80", "3[0,1]:0 3[1,2]:0");
  assert_tokens(tokenizer, "\xed\xa0\x80", "3[0,1]:0 3[1,2]:0 3[2,3]:0");
  assert_tokens(tokenizer, "\xf0\x9f\x98", "3[0,1]:0");
  rh_tokenizer_close(tokenizer);
}

// Metaspace that prepends at the very beginning only: what stands behind an added token is not the beginning.
static void test_pieces_are_the_same_without_offsets(void **state) {
  (void)state;
  rh_tokenizer *tokenizer = open_json(
      "{\"added_tokens\":[{\"id\":2,\"content\":\"<x>\",\"special\":false,\"normalized\":false}],"
      "\"pre_tokenizer\":{\"type\":\"Metaspace\",\"replacement\":\"\u2581\",\"prepend_scheme\":\"first\","
      "\"split\":true},\"model\":{\"type\":\"WordLevel\",\"unk_token\":\"a\",\"vocab\":{\"\u2581a\":0,\"a\":1}}}");
  static const char text[] = "a<x>a";
  rh_encoding *encoding = NULL;
  rh_error error = {0};
  assert_int_equal(rh_encoding_new(&encoding, &error), RH_OK);
  for (int wanted = 0; wanted < 2; wanted++) {
    rh_encode_options options = {.parse_special = true, .want_offsets = wanted == 1};
    if (rh_tokenizer_encode(tokenizer, text, sizeof text - 1, NULL, 0, &options, encoding, &error) != RH_OK)
      fail_msg("%s", error.message);
    const int32_t expected[] = {0, 2, 1};
    assert_int_equal(encoding->count, 3);
    assert_memory_equal(encoding->ids, expected, sizeof expected);
  }
  rh_encoding_free(encoding);
  rh_tokenizer_close(tokenizer);
}

static void test_an_encoding_serves_many_tokenizers(void **state) {
  (void)state;
  rh_tokenizer *one = open_json(LETTERS), *other = open_json(SMALL);
  rh_encoding *encoding = new_encoding();
  rh_error error;
  for (int i = 0; i < 6; i++) {
    // With and without offsets in turn.
    rh_encode_options options = {.want_offsets = i % 3 == 0};
    assert_int_equal(rh_tokenizer_encode(one, "a\u00e9", 3, "a", 1, &options, encoding, &error), RH_OK);
    assert_int_equal(encoding->count, 3);
    assert_int_equal(encoding->ids[1], 2);
    if (options.want_offsets) {
      assert_int_equal(encoding->second[2], 1);
    } else {
      assert_null(encoding->starts);
    }
    assert_int_equal(rh_tokenizer_encode(other, "a", 1, NULL, 0, &options, encoding, &error), RH_OK);
    assert_int_equal(encoding->count, 1);
    assert_int_equal(encoding->ids[0], 1);
    // A new one that may lie where the old one lay does not get the old one's words.
    rh_tokenizer_close(other);
    other = open_json(SMALL);
  }
  rh_encoding_free(encoding);
  rh_tokenizer_close(one);
  rh_tokenizer_close(other);
}

static void test_texts_beyond_the_limits(void **state) {
  (void)state;
  rh_tokenizer *tokenizer = open_json(LETTERS);
  rh_encoding *encoding = new_encoding();
  rh_encode_options options = {0};
  rh_error error = {0};
  // The length is looked at first; nothing is read.
  assert_int_equal(rh_tokenizer_encode(tokenizer, "a", RH_TOKENIZER_TEXT_MAX + 1, NULL, 0, &options, encoding, &error),
                   RH_TOO_LARGE);
  assert_non_null(strstr(error.message, "too long"));
  assert_int_equal(encoding->count, 0);
  // One piece of 17 MiB.
  size_t length = (size_t)17 << 20;
  char *text = malloc(length);
  memset(text, 'a', length);
  assert_int_equal(rh_tokenizer_encode(tokenizer, text, length, NULL, 0, &options, encoding, &error), RH_TOO_LARGE);
  free(text);
  assert_int_equal(rh_tokenizer_encode(tokenizer, "a", 1, NULL, 0, &options, encoding, &error), RH_OK);
  assert_int_equal(encoding->count, 1);
  rh_encoding_free(encoding);
  rh_tokenizer_close(tokenizer);
}

// More different words than the cache holds: it forgets, and nothing else changes.
static void test_more_words_than_the_cache_holds(void **state) {
  (void)state;
  rh_tokenizer *tokenizer = open_json(
      "{\"pre_tokenizer\":{\"type\":\"WhitespaceSplit\"},\"model\":{\"type\":\"BPE\",\"vocab\":{\"0\":0,\"1\":1,\"2\":"
      "2,"
      "\"3\":3,\"4\":4,\"5\":5,\"6\":6,\"7\":7,\"8\":8,\"9\":9},\"merges\":[]}}");
  rh_encoding *encoding = new_encoding();
  rh_encode_options options = {0};
  rh_error error;
  for (unsigned i = 0; i < 60000; i++) {
    char text[64];
    unsigned number = i % 2 == 0 ? i : i * 2654435761U % 40000;
    int length = snprintf(text, sizeof text, "%020u %020u", number, number);
    assert_int_equal(rh_tokenizer_encode(tokenizer, text, (size_t)length, NULL, 0, &options, encoding, &error), RH_OK);
    assert_int_equal(encoding->count, 40);
    for (size_t k = 0; k < 40; k++) assert_int_equal(encoding->ids[k], text[k + (k >= 20)] - '0');
  }
  rh_encoding_free(encoding);
  rh_tokenizer_close(tokenizer);
}

#define IN_FOLDER(test) cmocka_unit_test_setup_teardown(test, make_folder, remove_folder)

int main(void) {
  const struct CMUnitTest tests[] = {
      IN_FOLDER(test_bert_from_vocab_txt),
      IN_FOLDER(test_sentencepiece_models),
      IN_FOLDER(test_facts_from_the_files_beside_it),
      IN_FOLDER(test_what_cannot_be_opened),
      cmocka_unit_test(test_offsets_are_code_points),
      cmocka_unit_test(test_what_is_no_utf8_is_replaced),
      cmocka_unit_test(test_an_encoding_serves_many_tokenizers),
      cmocka_unit_test(test_pieces_are_the_same_without_offsets),
      cmocka_unit_test(test_texts_beyond_the_limits),
      cmocka_unit_test(test_more_words_than_the_cache_holds),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
