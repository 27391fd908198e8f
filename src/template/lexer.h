// SPDX-License-Identifier: Apache-2.0
//
// A template's text as tokens. Nobody outside includes this.
#ifndef RH_TEMPLATE_LEXER_H
#define RH_TEMPLATE_LEXER_H

#include "template/node.h"

typedef enum tpl_token_kind {
  T_END,
  T_DATA,
  T_BLOCK_BEGIN,
  T_BLOCK_END,
  T_VARIABLE_BEGIN,
  T_VARIABLE_END,
  T_NAME,
  T_STRING,
  T_INTEGER,
  T_FLOAT,
  T_ADD,
  T_SUB,
  T_MUL,
  T_DIV,
  T_FLOORDIV,
  T_MOD,
  T_POW,
  T_TILDE,
  T_LPAREN,
  T_RPAREN,
  T_LBRACKET,
  T_RBRACKET,
  T_LBRACE,
  T_RBRACE,
  T_EQ,
  T_NE,
  T_GT,
  T_GE,
  T_LT,
  T_LE,
  T_ASSIGN,
  T_DOT,
  T_COLON,
  T_PIPE,
  T_COMMA,
  T_SEMICOLON,
} tpl_token_kind;

typedef struct tpl_token {
  uint8_t kind;
  uint32_t line;
  tpl_value value;  // names, strings and data: a text; numbers: the number
} tpl_token;

// Texts of the tokens lie in `arena`; the array is malloc'ed, the caller frees it. It ends with T_END.
rh_status rh_tpl_tokenize(rh_arena *arena, const char *source, size_t length, tpl_token **out, size_t *count,
                          rh_error *error) RH_MUST_CHECK;

#endif
