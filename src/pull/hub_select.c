// SPDX-License-Identifier: Apache-2.0
//
// Choosing among the files of a repository. A hub's repository often holds one model many times over (a dozen
// quantizations, the same weights for five frameworks); exactly one of them is wanted. Pure but for the entries it marks;
// any thread. Looks at names and sizes only: what a file really is, is seen when it is here.
#include "pull/hub_select.h"

#include <assert.h>
#include <fnmatch.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "base/text.h"

// Best first: what most people want who do not say. Q4_K_M loses little and fits most machines.
static const char *const preferred[] = {"Q4_K_M", "Q4_K_S", "Q4_0", "Q4_1",  "IQ4_XS", "IQ4_NL", "Q5_K_M", "Q5_K_S",
                                        "Q5_0",   "Q8_0",   "Q6_K", "MXFP4", "Q3_K_M", "F16",    "BF16",   "F32"};

// What belongs to a Hugging Face folder besides its weights.
static const char *const companions[] = {"config.json",
                                         "generation_config.json",
                                         "tokenizer*",
                                         "vocab*",
                                         "merges.txt",
                                         "special_tokens_map.json",
                                         "added_tokens.json",
                                         "*.model",
                                         "chat_template*",
                                         "preprocessor_config.json",
                                         "processor_config.json",
                                         "modules.json",
                                         "config_sentence_transformers.json",
                                         "sentence_bert_config.json",
                                         "*_Pooling/config.json",
                                         "*_Dense/config.json"};

static const char *base_of(const char *path) {
  const char *slash = strrchr(path, '/');
  return slash == NULL ? path : slash + 1;
}

static bool has_suffix(const char *path, const char *suffix) {
  size_t length = strlen(path), size = strlen(suffix);
  return length > size && strcasecmp(path + length - size, suffix) == 0;
}

// Weights of a language model in GGUF; not a projector for images and not an importance matrix.
static bool is_gguf(const char *path) {
  const char *base = base_of(path);
  return has_suffix(base, ".gguf") && strncasecmp(base, "mmproj", 6) != 0 && strcasestr(base, "imatrix") == NULL;
}

static bool is_companion(const char *path) {
  for (size_t i = 0; i < sizeof companions / sizeof *companions; i++) {
    if (fnmatch(companions[i], path, FNM_PATHNAME) == 0) return true;
  }
  return false;
}

static void choose(rh_hub_entry *entry, const char *as) {
  entry->chosen = true;
  entry->as = as;
}

// --- GGUF ----------------------------------------------------------------------------------------------------------

// Do both belong to one model: the same file, or parts of the same?
static bool same_gguf(const char *a, const char *b) {
  size_t a_length, b_length;
  long number, a_count, b_count;
  if (strcmp(a, b) == 0) return true;
  return rh_part_of(a, &a_length, &number, &a_count) && rh_part_of(b, &b_length, &number, &b_count) &&
         a_count == b_count && a_length == b_length && strncmp(a, b, a_length) == 0;
}

static bool is_later_part(const char *path) {
  size_t length;
  long number = 1, count;
  return rh_part_of(path, &length, &number, &count) && number > 1;
}

static int64_t gguf_bytes(const rh_hub_entry *entries, size_t count, const char *first) {
  int64_t sum = 0;
  for (size_t i = 0; i < count; i++) {
    if (is_gguf(entries[i].path) && same_gguf(entries[i].path, first) && entries[i].bytes > 0) sum += entries[i].bytes;
  }
  return sum;
}

// "Q4_K_M (386.4 MiB), Q8_0 (...)" as far as it fits.
static void list_gguf(const rh_hub_entry *entries, size_t count, char *out, size_t size) {
  size_t at = 0;
  out[0] = '\0';
  for (size_t i = 0; i < count; i++) {
    char name[RH_QUANTIZATION_MAX], bytes[32];
    if (!is_gguf(entries[i].path) || is_later_part(entries[i].path)) continue;
    bool plain = rh_quantization_of(entries[i].path, name);
    rh_text_format_bytes(bytes, sizeof bytes, (uint64_t)gguf_bytes(entries, count, entries[i].path));
    int wrote =
        snprintf(out + at, size - at, "%s%s (%s)", at == 0 ? "" : ", ", plain ? name : base_of(entries[i].path), bytes);
    if (wrote < 0 || (size_t)wrote >= size - at) {
      (void)rh_text_copy(out + at, size - at, size - at > 6 ? ", ..." : "");
      return;
    }
    at += (size_t)wrote;
  }
}

static rh_status check_parts(const rh_hub_entry *entries, size_t count, const char *first, rh_error *error) {
  size_t length;
  long number, parts, found = 0;
  if (!rh_part_of(first, &length, &number, &parts)) return RH_OK;
  for (size_t i = 0; i < count; i++) found += same_gguf(entries[i].path, first) ? 1 : 0;
  if (found == parts) return RH_OK;
  return rh_fail_param(error, RH_NOT_FOUND, "source", "%s: only %ld of %ld parts are in the repository", first, found,
                       parts);
}

static rh_status take_gguf(rh_hub_entry *entries, size_t count, const char *first, rh_hub_choice *out,
                           rh_error *error) {
  rh_status status = check_parts(entries, count, first, error);
  if (status != RH_OK) return status;
  for (size_t i = 0; i < count; i++) {
    if (same_gguf(entries[i].path, first)) choose(&entries[i], base_of(entries[i].path));
  }
  out->format = RH_FORMAT_GGUF;
  (void)rh_quantization_of(first, out->quantization);
  return RH_OK;
}

// The only model with this quantization; *several when there are more. NULL: none.
static const char *find_quantization(const rh_hub_entry *entries, size_t count, const char *wanted, bool *several) {
  const char *found = NULL;
  for (size_t i = 0; i < count; i++) {
    char name[RH_QUANTIZATION_MAX];
    const char *path = entries[i].path;
    if (!is_gguf(path) || is_later_part(path) || !rh_quantization_of(path, name)) continue;
    bool same = strcasecmp(name, wanted) == 0 || (strncmp(name, "UD-", 3) == 0 && strcasecmp(name + 3, wanted) == 0);
    if (!same) continue;
    if (found != NULL && several != NULL) *several = true;
    // The one that says exactly what was asked for.
    if (found == NULL || strcasecmp(name, wanted) == 0) found = path;
  }
  return found;
}

static rh_status choose_gguf(rh_hub_entry *entries, size_t count, rh_hub_choice *out, rh_error *error) {
  const char *only = NULL, *best = NULL;
  size_t models = 0;
  for (size_t i = 0; i < count; i++) {
    if (!is_gguf(entries[i].path) || is_later_part(entries[i].path)) continue;
    only = entries[i].path;
    models++;
  }
  assert(models > 0);
  if (models == 1) return take_gguf(entries, count, only, out, error);
  for (size_t i = 0; best == NULL && i < sizeof preferred / sizeof *preferred; i++)
    best = find_quantization(entries, count, preferred[i], NULL);
  if (best == NULL) best = only;
  char all[200];
  list_gguf(entries, count, all, sizeof all);
  rh_status status = take_gguf(entries, count, best, out, error);
  (void)snprintf(out->note, sizeof out->note, "%s, the usual choice of: %s",
                 out->quantization[0] == '\0' ? base_of(best) : out->quantization, all);
  return status;
}

// --- safetensors and ONNX ------------------------------------------------------------------------------------------

static bool at_root(const char *path) { return strchr(path, '/') == NULL; }

static bool has(const rh_hub_entry *entries, size_t count, const char *path) {
  for (size_t i = 0; i < count; i++) {
    if (strcmp(entries[i].path, path) == 0) return true;
  }
  return false;
}

static bool choose_safetensors(rh_hub_entry *entries, size_t count, rh_hub_choice *out) {
  // Some repositories carry the weights twice: in the usual layout and "consolidated".
  bool usual = has(entries, count, "model.safetensors") || has(entries, count, "model.safetensors.index.json");
  size_t weights = 0;
  if (!has(entries, count, "config.json")) return false;
  for (size_t i = 0; i < count; i++) {
    const char *path = entries[i].path;
    if (!at_root(path) || !has_suffix(path, ".safetensors")) continue;
    if (usual && strncmp(path, "model", 5) != 0) continue;
    choose(&entries[i], path);
    weights++;
  }
  if (weights == 0) return false;
  for (size_t i = 0; i < count; i++) {
    const char *path = entries[i].path;
    if (is_companion(path) || (at_root(path) && has_suffix(path, ".safetensors.index.json"))) choose(&entries[i], path);
  }
  out->format = RH_FORMAT_SAFETENSORS;
  return true;
}

static bool in_folder(const char *path, const char *folder, size_t length) {
  return strncmp(path, folder, length) == 0 && (length == 0 || path[length] == '/');
}

// All below a folder, with paths from there.
static void take_folder(rh_hub_entry *entries, size_t count, const char *folder, size_t length, rh_hub_choice *out) {
  for (size_t i = 0; i < count; i++) {
    const char *path = entries[i].path;
    if (!in_folder(path, folder, length)) continue;
    const char *as = length == 0 ? path : path + length + 1;
    if (as[0] == '.' || strcasecmp(base_of(as), "README.md") == 0) continue;
    choose(&entries[i], as);
    if (strcmp(as, "genai_config.json") == 0) out->format = RH_FORMAT_ONNX_GENAI;
    if (out->format == RH_FORMAT_UNKNOWN && has_suffix(as, ".onnx")) out->format = RH_FORMAT_ONNX;
  }
}

// A graph, its weights beside it ("x.onnx_data", "x.onnx.data"), and what a pipeline reads from the root.
static void take_onnx(rh_hub_entry *entries, size_t count, const char *graph, rh_hub_choice *out) {
  size_t length = strlen(graph);
  for (size_t i = 0; i < count; i++) {
    const char *path = entries[i].path;
    const char *after = path + length;
    bool with = strncmp(path, graph, length) == 0 && (*after == '\0' || *after == '_' || *after == '.');
    if (with) choose(&entries[i], base_of(path));
    if (is_companion(path) && at_root(path)) choose(&entries[i], path);
  }
  out->format = RH_FORMAT_ONNX;
}

static bool choose_onnx(rh_hub_entry *entries, size_t count, rh_hub_choice *out) {
  static const char *const usual[] = {"model.onnx", "onnx/model.onnx", "decoder_model_merged.onnx",
                                      "onnx/decoder_model_merged.onnx"};
  const char *genai = NULL, *graph = NULL;
  size_t graphs = 0;
  for (size_t i = 0; i < count; i++) {
    const char *path = entries[i].path;
    // Of several layouts the one for the processor runs everywhere.
    if (strcmp(base_of(path), "genai_config.json") == 0 && (genai == NULL || strcasestr(path, "cpu") != NULL))
      if (genai == NULL || strcasestr(genai, "cpu") == NULL) genai = path;
    if (!has_suffix(path, ".onnx")) continue;
    graph = path;
    graphs++;
  }
  if (genai != NULL) {
    const char *base = base_of(genai);
    take_folder(entries, count, genai, base == genai ? 0 : (size_t)(base - genai - 1), out);
    (void)snprintf(out->note, sizeof out->note, "the folder of %s", genai);
    return true;
  }
  if (graphs == 0) return false;
  // A decoder beside an encoder is half of a model.
  bool encoder = has(entries, count, "encoder_model.onnx") || has(entries, count, "onnx/encoder_model.onnx");
  for (size_t i = 0; graphs > 1 && i < (encoder ? 2 : sizeof usual / sizeof *usual); i++) {
    if (!has(entries, count, usual[i])) continue;
    graph = usual[i];
    graphs = 1;
  }
  if (graphs > 1) return false;
  take_onnx(entries, count, graph, out);
  return true;
}

// --- what was asked for --------------------------------------------------------------------------------------------

static rh_status not_here(const rh_hub_entry *entries, size_t count, const char *selection, rh_error *error) {
  char all[480];
  list_gguf(entries, count, all, sizeof all);
  if (all[0] != '\0')
    return rh_fail_param(error, RH_NOT_FOUND, "source", "there is no \"%.100s\" in the repository. There are: %s",
                         selection, all);
  size_t at = 0;
  for (size_t i = 0; i < count && at + 100 < sizeof all; i++) {
    if (entries[i].path[0] == '.') continue;
    int wrote = snprintf(all + at, sizeof all - at, "%s%.80s", at == 0 ? "" : ", ", entries[i].path);
    if (wrote > 0) at += (size_t)wrote;
  }
  return rh_fail_param(error, RH_NOT_FOUND, "source", "there is no \"%.100s\" in the repository, which has: %s",
                       selection, all);
}

static bool take_file(rh_hub_entry *entries, size_t count, const char *selection, rh_hub_choice *out, rh_status *status,
                      rh_error *error) {
  for (size_t i = 0; i < count; i++) {
    const char *path = entries[i].path;
    if (strcasecmp(path, selection) != 0 && strcasecmp(base_of(path), selection) != 0) continue;
    if (has_suffix(path, ".gguf")) {
      *status = take_gguf(entries, count, path, out, error);
    } else if (has_suffix(path, ".onnx")) {
      take_onnx(entries, count, path, out);
    } else {
      choose(&entries[i], base_of(path));
    }
    return true;
  }
  return false;
}

static rh_status select_named(rh_hub_entry *entries, size_t count, const char *selection, rh_hub_choice *out,
                              rh_error *error) {
  rh_status status = RH_OK;
  bool several = false, any = false;
  if (take_file(entries, count, selection, out, &status, error)) return status;
  const char *gguf = find_quantization(entries, count, selection, &several);
  if (gguf != NULL && several) {
    char name[RH_QUANTIZATION_MAX] = "";
    // "Q4_K_M" beside "UD-Q4_K_M" is clear; two models of one quantization are not.
    size_t exact = 0;
    for (size_t i = 0; i < count; i++) {
      if (is_gguf(entries[i].path) && !is_later_part(entries[i].path) && rh_quantization_of(entries[i].path, name))
        exact += strcasecmp(name, selection) == 0 ? 1 : 0;
    }
    if (exact > 1)
      return rh_fail_param(error, RH_INVALID, "source",
                           "the repository has %zu models with %s: name the file, such as %s", exact, selection, gguf);
  }
  if (gguf != NULL) return take_gguf(entries, count, gguf, out, error);
  size_t length = strlen(selection);
  for (size_t i = 0; i < count; i++) any = any || in_folder(entries[i].path, selection, length);
  if (!any) return not_here(entries, count, selection, error);
  take_folder(entries, count, selection, length, out);
  return RH_OK;
}

rh_status rh_hub_select(rh_hub_entry *entries, size_t count, const char *selection, rh_hub_choice *out,
                        rh_error *error) {
  assert(entries != NULL && selection != NULL && out != NULL);
  *out = (rh_hub_choice){.format = RH_FORMAT_UNKNOWN};
  if (selection[0] != '\0') return select_named(entries, count, selection, out, error);
  for (size_t i = 0; i < count; i++) {
    if (is_gguf(entries[i].path)) return choose_gguf(entries, count, out, error);
  }
  if (choose_safetensors(entries, count, out) || choose_onnx(entries, count, out)) return RH_OK;
  char seen[160] = "";
  for (size_t i = 0; i < count && strlen(seen) < 100; i++) {
    if (entries[i].path[0] == '.') continue;
    size_t at = strlen(seen);
    (void)snprintf(seen + at, sizeof seen - at, "%s%.50s", at == 0 ? "" : ", ", entries[i].path);
  }
  return rh_fail_param(error, RH_UNSUPPORTED, "source",
                       "the repository holds no one model that is served here (GGUF, safetensors with config.json, "
                       "ONNX), but: %s. Name a file or folder after a colon if it is among them",
                       seen);
}

rh_status rh_hub_select_known(rh_hub_entry *entries, size_t count, const rh_known *known, rh_hub_choice *out,
                              rh_error *error) {
  *out = (rh_hub_choice){.format = known->format};
  if (known->quantization != NULL) (void)rh_text_copy(out->quantization, sizeof out->quantization, known->quantization);
  // Files of one folder lose it.
  const char *first = known->files[0].path;
  size_t common = (size_t)(base_of(first) - first);
  for (size_t i = 1; i < known->file_count; i++) {
    while (common > 0 && strncmp(first, known->files[i].path, common) != 0) {
      common--;
      while (common > 0 && first[common - 1] != '/') common--;
    }
  }
  for (size_t i = 0; i < known->file_count; i++) {
    rh_hub_entry *found = NULL;
    for (size_t k = 0; k < count && found == NULL; k++) {
      if (strcmp(entries[k].path, known->files[i].path) == 0) found = &entries[k];
    }
    if (found == NULL)
      return rh_fail_param(error, RH_NOT_FOUND, "source", "the repository has no %s any more, which %s:%s consists of",
                           known->files[i].path, known->name, known->version);
    choose(found, found->path + common);
  }
  return RH_OK;
}
