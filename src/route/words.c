// SPDX-License-Identifier: Apache-2.0
//
// Purpose: the words that tell languages apart and that hint at code, mathematics, questions and constraints.
// Data owned: one table, made from the lists below before its first use and constant from then on. Threads: any.
//
// The lists are our own: each language's most frequent short words, those first that its neighbours lack. They are kept small: they
// decide which model is asked, not what is answered.
#include <assert.h>
#include <pthread.h>
#include <string.h>

#include "route/scan.h"

#define BUCKETS 1024u  // a power of two
#define BUCKET_SLOTS 4u
#define MEANINGS_MAX 128u  // different things that words say

static const struct {
  uint32_t bits;
  const char *words;
} lists[] = {
    {1u << 0,
     "the and is are was were of to in for with that this it you what how can please have not from would should which "
     "i my your do does be by as at or on a an write about there their its will if but me give why"},
    {1u << 1,
     "der die das und ist nicht ein eine einen ich du sie wir mit für auf den dem zu von im wie was warum bitte kann "
     "oder aber auch sind wird haben mir mich es bei nach über schreibe zum zur des als an kannst wenn dass"},
    {1u << 2,
     "le la les des et est une un pas je tu vous nous avec pour dans sur que qui ce cette du au aux mais ou comment "
     "pourquoi être sont peux pouvez il elle moi mon par plus écris quel quelle en de se ne"},
    {1u << 3,
     "el la los las y es una un no por para con en que de del al se como cómo qué por pero más este esta son mi tu lo "
     "puedes quiero escribe cuál está cuando sobre porque hay muy yo"},
    {1u << 4,
     "il lo la gli le e è un una di che non per con come sono del della dei nel nella perché cosa puoi questo questa "
     "ma più anche scrivi mi ti si da al alla quale quando ho hai"},
    {1u << 5,
     "o os a as e é um uma de do da dos das que não para com por em no na se como você mais mas isso este esta são meu "
     "minha porque qual quando ao escreva ser foi muito eu"},
    {1u << 6,
     "de het een en is niet ik je jij wij met voor op van dat die hoe wat waarom kan maar ook zijn wordt hebben mij te "
     "aan bij naar over schrijf als om uit er deze geen"},
    {1u << 7,
     "och är inte en ett jag du vi med för på av som att det den hur vad varför kan men också har till från om skriv "
     "eller när mig min kunde detta sig vara"},
    {1u << 8,
     "og er ikke en et jeg du vi med for på af som at det den hvordan hvad hvorfor kan men også har til fra om skriv "
     "eller når mig min denne sig være"},
    {1u << 9,
     "i w z na nie jest się do to że jak co dlaczego czy ale dla od po przez są mi mnie ja ty oraz lub może ten ta te "
     "który która proszę napisz o za tak być"},
    {1u << 10,
     "a v na je se s že to jak co proč ale pro od po přes jsou mi já ty nebo může ten ta který která prosím napiš o za "
     "tak být není jsem k ve z do by"},
    {1u << 11,
     "ve bir bu için ile ne nasıl neden değil mi mı ben sen biz de da çok daha gibi olarak olan var yok lütfen yaz ama "
     "veya en kadar sonra şu o"},
    {1u << RH_WORD_LANE_QUESTION,
     "why how compare contrast prove derive explain analyze analyse evaluate justify assess design optimize optimise "
     "critique "
     "investigate diagnose architect strategy tradeoffs tradeoff reason reasoning implications consequences "
     "summarize "
     "synthesize debug refactor warum wieso erkläre vergleiche beweise begründe analysiere entwirf pourquoi expliquez "
     "explique "
     "comparez compare prouvez démontrez analysez concevez explica compara demuestra analiza diseña perché spiega "
     "confronta "
     "dimostra analizza explique demonstre analise waarom vergelijk bewijs varför jämför dlaczego porównaj udowodnij "
     "neden"},
    {1u << RH_WORD_LANE_CONSTRAINT,
     "must should only exactly without unless except least most never always every each ensure require requires "
     "required avoid "
     "within limit constraint constraints follow include exclude between maximum minimum step steps muss müssen soll "
     "nur genau "
     "ohne außer mindestens höchstens immer niemals jede jeder doit seulement exactement sans sauf moins jamais "
     "toujours chaque "
     "debe solo exactamente sin excepto nunca siempre cada deve solo esattamente senza mai sempre ogni"},
    {1u << RH_WORD_LANE_CODE,
     "function def class return const import struct void int async await let var elif printf println lambda public "
     "private "
     "static python javascript typescript java golang kotlin cpp sql html css bash regex json yaml api code "
     "coding compile "
     "compiler refactor unittest stacktrace traceback nullptr malloc docker kubernetes git script algorithm php ruby "
     "swift "
     "endpoint codebase bug debug programm skript funktion"},
    {1u << RH_WORD_LANE_MATH,
     "integral theorem equation equations derivative matrix matrices polynomial probability prove proof lemma algebra "
     "calculus "
     "geometry eigenvalue eigenvalues logarithm sqrt irrational prime primes modulo divisible factorial sum solve "
     "triangle "
     "hypotenuse vector vectors limit convergence series gleichung beweis ableitung équation dérivée preuve "
     "ecuación derivada equazione derivata"},
};

// A slot holds sixteen bits of its word's hash in its upper half and the place of what it says in the lower one: all that is looked
// up stays in the fastest cache. A stranger's word is taken for one of ours once in ten thousand times, which harms nobody.
// A word stands in one bucket, and all slots of it are compared: which of them holds it, if any, follows no pattern either.
static uint32_t table[BUCKETS][BUCKET_SLOTS];
static rh_word_lanes meanings[MEANINGS_MAX];  // the first one is nothing
static pthread_once_t once = PTHREAD_ONCE_INIT;

static uint64_t mix(rh_word_key key) {
  uint64_t mixed = (key.low ^ (key.high * 0x9e3779b97f4a7c15u)) * 0xd6e8feb86659fd93u;
  return mixed ^ mixed >> 32;
}

static uint32_t tag_of(uint64_t mixed) { return (uint32_t)(mixed >> 16 & 0xffff); }

static void add_word(rh_word_key key, uint32_t bits) {
  uint64_t mixed = mix(key);
  uint32_t *slots = table[mixed % BUCKETS];
  size_t at = 0;
  while (at < BUCKET_SLOTS && slots[at] != 0 && slots[at] >> 16 != tag_of(mixed)) at++;
  assert(at < BUCKET_SLOTS);  // the lists have grown: more buckets, or another multiplier in mix()
  slots[at] |= tag_of(mixed) << 16 | bits;
}

static void add_list(const char *words, uint32_t bits) {
  rh_word_key key = {0};
  for (const char *at = words;; at++) {
    if (*at != ' ' && *at != '\0') {
      key.high = key.high << 8 | key.low >> 56;
      key.low = key.low << 8 | (unsigned char)*at;
      continue;
    }
    add_word(key, bits);
    key = (rh_word_key){0};
    if (*at == '\0') return;
  }
}

static rh_word_lanes lanes_of(uint32_t bits) {
  rh_word_lanes lanes = {{0}};
  for (unsigned i = 0; i < RH_WORD_LANES; i++) lanes.four[i / 4] |= (uint64_t)(bits >> i & 1) << i % 4 * 16;
  return lanes;
}

// Words that say the same share a meaning.
static void fill(void) {
  uint32_t known[MEANINGS_MAX] = {0};
  uint32_t count = 1;
  for (size_t i = 0; i < sizeof lists / sizeof *lists; i++) add_list(lists[i].words, lists[i].bits);
  for (size_t i = 0; i < BUCKETS * BUCKET_SLOTS; i++) {
    uint32_t *slot = &table[i / BUCKET_SLOTS][i % BUCKET_SLOTS];
    uint32_t bits = *slot & 0xffff;
    uint32_t at = 0;
    while (at < count && known[at] != bits) at++;
    assert(at < MEANINGS_MAX);
    if (at == count) {
      known[count] = bits;
      meanings[count++] = lanes_of(bits);
    }
    *slot = (*slot & 0xffff0000u) | at;
  }
}

void rh_words_prepare(void) { (void)pthread_once(&once, fill); }

const rh_word_lanes *rh_words_find(rh_word_key key) {
  uint64_t mixed = mix(key);
  const uint32_t *slots = table[mixed % BUCKETS];
  uint32_t found = 0;
  for (size_t i = 0; i < BUCKET_SLOTS; i++) found |= slots[i] >> 16 == tag_of(mixed) ? slots[i] & 0xffff : 0;
  return &meanings[found];
}
