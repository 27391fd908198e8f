// SPDX-License-Identifier: Apache-2.0
//
// Purpose: what the router looks at, taken from a request in microseconds.
// Data owned: none; the features borrow their strings from the request. Threads: any.
// Not here: the formulas (scan.c, language.c, complexity.c).
//
// However long a prompt is, only so much of it is read: HEAD_BYTES of the beginning and TAIL_BYTES of the end of the user's last
// message, and REST_BYTES of everything else, the newest first. What is not read is taken to have as many tokens a byte. Language,
// questions and constraints are the last message's own, not those of the instructions before it.
#include <assert.h>
#include <math.h>
#include <string.h>
#include <time.h>

#include "base/hash.h"
#include "route/internal.h"
#include "route/scan.h"

#define HEAD_BYTES 1024u
#define TAIL_BYTES 1024u
#define REST_BYTES 1024u
static_assert(HEAD_BYTES + TAIL_BYTES <= RH_SCAN_BYTES_MAX && REST_BYTES <= RH_SCAN_BYTES_MAX, "one text, one scan");
#define HASHED_BYTES 1024u       // of a message, for the session's hash
#define MESSAGE_TOKENS 4         // what a chat template puts around a message
#define IMAGE_TOKENS 800         // a picture of usual size; providers count 85 to 1600
#define ANSWER_TOKENS_LEAST 256  // the guess of an answer's length: from here for the simplest request ...
#define ANSWER_TOKENS_MORE 768   // ... to so many more for the most complex one

static size_t least(size_t a, size_t b) { return a < b ? a : b; }

// Reads the beginning and the end of a text; its tokens as a whole.
static double scan_bounded(rh_scan *scan, const char *text, size_t length) {
  if (length <= HEAD_BYTES + TAIL_BYTES) {
    rh_scan_text(scan, text, length);
    return scan->tokens;
  }
  rh_scan_text(scan, text, HEAD_BYTES);
  rh_scan_text(scan, text + length - TAIL_BYTES, TAIL_BYTES);
  return scan->tokens * (double)length / (double)(HEAD_BYTES + TAIL_BYTES);
}

// Everything but the user's last message, the newest first, within its own bound.
typedef struct others {
  rh_scan scan;
  size_t room, bytes;
} others;

static void read_rest(others *rest, const char *text, size_t length) {
  size_t part = least(length, rest->room);
  rest->bytes += length;
  if (part == 0) return;
  rh_scan_text(&rest->scan, text, part);
  rest->room -= part;
}

static double rest_tokens(const others *rest) {
  if (rest->scan.bytes == 0) return 0;
  return rest->scan.tokens * (double)rest->bytes / (double)rest->scan.bytes;
}

static bool is_role(const rh_message *message, const char *role) { return strcmp(message->role, role) == 0; }

// Images, and calls of tools, which stand in no content.
static void read_pieces(const rh_message *message, rh_features *out, others *rest, size_t *images) {
  for (size_t i = 0; i < message->piece_count; i++) {
    const rh_piece *piece = &message->pieces[i];
    if (piece->kind == RH_PIECE_IMAGE) (*images)++;
    if (piece->kind == RH_PIECE_TOOL_CALL && piece->arguments != NULL)
      read_rest(rest, piece->arguments, strlen(piece->arguments));
    if (piece->kind == RH_PIECE_TOOL_RESULT && piece->text != NULL && message->content[0] == '\0')
      read_rest(rest, piece->text, strlen(piece->text));
  }
  if (*images > 0) out->has_images = true;
}

static double read_messages(const rh_prompt *prompt, rh_features *out, rh_scan *last, others *rest, size_t *images) {
  double tokens = 0;
  bool found = false;
  for (size_t i = prompt->count; i-- > 0;) {
    const rh_message *message = &prompt->messages[i];
    bool user = is_role(message, "user");
    out->turns += user;
    if (user && !found) {
      found = true;
      tokens = scan_bounded(last, message->content, strlen(message->content));
    } else {
      read_rest(rest, message->content, strlen(message->content));
    }
    if (message->piece_count > 0) read_pieces(message, out, rest, images);
  }
  out->messages += (int64_t)prompt->count;
  return tokens;
}

static void read_tools(const rh_extras *extras, others *rest) {
  for (size_t i = 0; i < extras->tool_count; i++) {
    const rh_tool *tool = &extras->tools[i];
    if (tool->description != NULL) read_rest(rest, tool->description, strlen(tool->description));
    if (tool->schema != NULL) read_rest(rest, tool->schema, strlen(tool->schema));
  }
}

static double read_items(const rh_infer *infer, rh_scan *last, others *rest) {
  double tokens = 0;
  for (size_t i = 0; i < infer->item_count; i++) {
    const rh_item *item = &infer->items[i];
    tokens += (double)item->token_count;
    if (item->pair != NULL) read_rest(rest, item->pair, item->pair_length);
    if (item->text == NULL) continue;
    if (i == 0)
      tokens += scan_bounded(last, item->text, item->length);
    else
      read_rest(rest, item->text, item->length);
  }
  return tokens;
}

// Vocabularies were made from English more than from anything else: other languages' Latin words fall into more pieces.
static double language_factor(const char *language) {
  static const char *const latin = "de fr es it pt nl sv da pl cs tr";
  return language[0] != '\0' && strstr(latin, language) != NULL ? 1.25 : 1.0;
}

// Of the words before they are counted together: what the last message says by itself, and the sum.
static void read_all(const rh_request *request, rh_features *out, rh_scan *last, double *last_tokens) {
  others rest = {.room = REST_BYTES};
  size_t images = 0;
  double tokens = 0;
  for (size_t i = 0; i < request->prompt_count; i++) {
    const rh_prompt *prompt = &request->prompts[i];
    if (prompt->kind == RH_PROMPT_TOKENS) tokens += (double)prompt->count;
    if (prompt->kind == RH_PROMPT_TEXT && i > 0) read_rest(&rest, prompt->text, prompt->count);
    if (prompt->kind == RH_PROMPT_TEXT && i == 0) *last_tokens = scan_bounded(last, prompt->text, prompt->count);
    if (prompt->kind == RH_PROMPT_MESSAGES) *last_tokens += read_messages(prompt, out, last, &rest, &images);
  }
  if (request->infer != NULL) *last_tokens += read_items(request->infer, last, &rest);
  if (request->extras != NULL) read_tools(request->extras, &rest);
  rh_language_of(last, out->language);
  *last_tokens *= language_factor(out->language);
  tokens += *last_tokens + rest_tokens(&rest) * language_factor(out->language);
  tokens += (double)out->messages * MESSAGE_TOKENS + (double)images * IMAGE_TOKENS;
  out->prompt_tokens = (int64_t)ceil(tokens);
  if (out->turns == 0) out->turns = request->prompt_count > 0 || request->infer != NULL;

  // Code that was quoted earlier makes this a request about code too, but for less than what the user says now.
  double before = rest.scan.fences > 0 ? 0.5 * rh_code_of(&rest.scan) : 0;
  out->code = fmax(rh_code_of(last), before);
  out->math = rh_math_of(last);
  out->has_code = out->code >= 0.3;
  out->has_math = out->math >= 0.3;
}

static rh_level level_of_word(const char *word) {
  if (word == NULL) return RH_LEVEL_UNSET;
  if (strcmp(word, "low") == 0) return RH_LEVEL_LOW;
  if (strcmp(word, "medium") == 0) return RH_LEVEL_MEDIUM;
  return strcmp(word, "high") == 0 ? RH_LEVEL_HIGH : RH_LEVEL_UNSET;
}

// The client's word wins; the number then is the middle of its band, unless it lies in it already.
static void apply_word(const char *word, rh_features *out) {
  static const double middle[] = {[RH_LEVEL_LOW] = 0.17, [RH_LEVEL_MEDIUM] = 0.5, [RH_LEVEL_HIGH] = 0.83};
  rh_level level = level_of_word(word);
  out->level = rh_complexity_level(out->complexity);
  if (level == RH_LEVEL_UNSET || level == out->level) return;
  out->level = level;
  out->complexity = middle[level];
}

// --- the session ---------------------------------------------------------------------------------------------------

static uint64_t hash_text(uint64_t seed, const char *text) {
  return rh_hash_bytes(seed, text, strnlen(text, HASHED_BYTES));
}

// A conversation is known by its beginning: everything up to the first message of the user stays the same from turn to turn.
static uint64_t session_hash(const rh_request *request) {
  if (request->session != NULL && request->session[0] != '\0') return hash_text(1, request->session) | 1;
  if (request->prompt_count == 0) return 0;
  const rh_prompt *prompt = &request->prompts[0];
  if (prompt->kind == RH_PROMPT_TEXT) return rh_hash_bytes(2, prompt->text, least(prompt->count, HASHED_BYTES / 4)) | 1;
  if (prompt->kind == RH_PROMPT_TOKENS)
    return rh_hash_bytes(3, prompt->tokens, least(prompt->count, 64) * sizeof *prompt->tokens) | 1;
  uint64_t hash = 4;
  for (size_t i = 0; i < prompt->count && i < 8; i++) {
    hash = hash_text(hash, prompt->messages[i].content);
    if (is_role(&prompt->messages[i], "user")) break;
  }
  return hash | 1;
}

static void read_clock(rh_features *out) {
  time_t time = (time_t)out->wall_s;
  struct tm local = {0};
  if (localtime_r(&time, &local) == NULL) return;
  out->minute_of_day = local.tm_hour * 60 + local.tm_min;
  out->weekday = local.tm_wday;
}

static void read_text(const rh_request *request, rh_features *out) {
  rh_scan last = {0};
  double last_tokens = 0;
  read_all(request, out, &last, &last_tokens);
  out->complexity = rh_complexity_of(&last, last_tokens, out);
  apply_word(request->hints.complexity, out);
  if (!rh_task_generates(request->task)) return;
  bool given = (request->generate.given & RH_GIVEN_MAX_TOKENS) != 0 && request->generate.max_tokens > 0;
  int64_t guess = ANSWER_TOKENS_LEAST + (int64_t)(out->complexity * ANSWER_TOKENS_MORE);
  out->answer_tokens = given ? request->generate.max_tokens : guess;
}

void rh_features_begin(const rh_request *request, const char *key, int64_t wall_s, rh_features *out) {
  *out = (rh_features){
      .wall_s = wall_s,
      .task = request->task,
      .tools = request->extras != NULL ? (int64_t)request->extras->tool_count : 0,
      .has_tools = (request->needs & RH_NEEDS_TOOLS) != 0,
      .has_images = (request->needs & RH_NEEDS_IMAGES) != 0,
      .wants_json = (request->needs & RH_NEEDS_JSON) != 0,
      .stream = request->stream,
      .privacy = request->hints.privacy,
      .local_only = request->hints.local_only || request->hints.privacy == RH_PRIVACY_HIGH,
      .agent_type = request->hints.agent_type,
      .key = key,
      .session = request->session,
      .user = request->user,
      .model = request->model,
  };
  if (out->tools > 0) out->has_tools = true;
}

void rh_features_read(const rh_request *request, rh_features *features, unsigned parts) {
  unsigned missing = parts & ~features->read;
  if ((missing & RH_FEATURES_TEXT) != 0) read_text(request, features);
  if ((missing & RH_FEATURES_CLOCK) != 0) read_clock(features);
  if ((missing & RH_FEATURES_SESSION) != 0) features->session_hash = session_hash(request);
  features->read |= parts;
}

void rh_features_extract(const rh_request *request, const char *key, int64_t wall_s, rh_features *out) {
  rh_features_begin(request, key, wall_s, out);
  rh_features_read(request, out, RH_FEATURES_ALL);
}
