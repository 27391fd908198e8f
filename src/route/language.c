// SPDX-License-Identifier: Apache-2.0
//
// Purpose: the language of a text from what a scan counted: by its script where that tells, by its short words where several
// languages share the Latin one.
// Data owned: none. Threads: any. Not here: the words (words.c).
#include <string.h>

#include "route/scan.h"

static const char latin[RH_LATIN_LANGUAGES][4] = {"en", "de", "fr", "es", "it", "pt",
                                                  "nl", "sv", "da", "pl", "cs", "tr"};

// A Latin text's language is said when its words were seen at least twice, or once in a text of a few words, and more often
// than any other language's.
static const char *latin_language(const rh_scan *scan) {
  size_t best = 0;
  unsigned second = 0;
  for (size_t i = 1; i < RH_LATIN_LANGUAGES; i++) {
    unsigned hits = scan->language_words[i];
    if (hits > scan->language_words[best]) {
      second = scan->language_words[best];
      best = i;
    } else if (hits > second) {
      second = hits;
    }
  }
  unsigned hits = scan->language_words[best];
  if (hits <= second) return "";
  return hits >= 2 || (hits == 1 && scan->words <= 6) ? latin[best] : "";
}

static const char *script_language(const rh_scan *scan, size_t script) {
  switch ((rh_script)script) {
    case RH_SCRIPT_CYRILLIC: return scan->ukrainian > 0 ? "uk" : "ru";
    case RH_SCRIPT_GREEK: return "el";
    case RH_SCRIPT_HEBREW: return "he";
    case RH_SCRIPT_ARABIC: return scan->persian > 0 ? "fa" : "ar";
    case RH_SCRIPT_DEVANAGARI: return "hi";
    case RH_SCRIPT_THAI: return "th";
    case RH_SCRIPT_HAN: return scan->letters[RH_SCRIPT_KANA] * 10 > scan->letters[RH_SCRIPT_HAN] ? "ja" : "zh";
    case RH_SCRIPT_KANA: return "ja";
    case RH_SCRIPT_HANGUL: return "ko";
    default: return latin_language(scan);
  }
}

void rh_language_of(const rh_scan *scan, char out[4]) {
  // A letter of a syllabic or ideographic script says as much as three Latin ones.
  uint32_t most = 0;
  size_t script = RH_SCRIPT_LATIN;
  for (size_t i = 0; i < RH_SCRIPT_OTHER; i++) {
    uint32_t letters = scan->letters[i] * (i >= RH_SCRIPT_HAN ? 3 : 1);
    if (letters <= most) continue;
    most = letters;
    script = i;
  }
  memset(out, 0, 4);
  if (most > 0) strncpy(out, script_language(scan, script), 3);
}
