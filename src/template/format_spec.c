// SPDX-License-Identifier: Apache-2.0
//
// Purpose: one value by a format specification, as Python's format(value, "08.3f") writes it.
// Data owned: none. Threads: the render's.
// Not here: the locale's separators ('n' is plain).
#include <ctype.h>
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "template/render.h"
#include "template/unicode.h"

#define WIDTH_MAX 1000000
#define PRECISION_MAX 300

typedef struct format_spec {
  tpl_value fill;
  char align, sign, group, type;  // '\0': not given
  bool alternate, zeros;
  int64_t width, precision;  // -1: not given
} format_spec;

static bool read_number(const char *spec, size_t length, size_t *at, int64_t *out) {
  if (*at >= length || !isdigit((unsigned char)spec[*at])) return true;
  *out = 0;
  for (; *at < length && isdigit((unsigned char)spec[*at]); (*at)++) {
    *out = *out * 10 + (spec[*at] - '0');
    if (*out > WIDTH_MAX) return false;
  }
  return true;
}

static bool is_align(char c) { return c == '<' || c == '>' || c == '=' || c == '^'; }

// [[fill]align][sign][#][0][width][grouping][.precision][type]
static bool parse_spec(tpl_render *render, const char *spec, size_t length, format_spec *out) {
  *out = (format_spec){.fill = TPL_LITERAL(" "), .width = -1, .precision = -1};
  size_t at = 0, used = 0;
  if (length > 0) (void)rh_tpl_decode_utf8(spec, length, &used);
  if (used < length && is_align(spec[used])) {
    out->fill = tpl_text(spec, used);
    out->align = spec[used];
    at = used + 1;
  } else if (length > 0 && is_align(spec[0])) {
    out->align = spec[at++];
  }
  if (at < length && strchr("+- ", spec[at]) != NULL && spec[at] != '\0') out->sign = spec[at++];
  if (at < length && spec[at] == '#') out->alternate = at++ < length;
  if (at < length && spec[at] == '0') {
    out->zeros = at++ < length;
    if (out->align == '\0') {
      out->fill = TPL_LITERAL("0");
      out->align = '=';
    }
  }
  bool ok = read_number(spec, length, &at, &out->width);
  if (at < length && (spec[at] == ',' || spec[at] == '_')) out->group = spec[at++];
  if (ok && at < length && spec[at] == '.') {
    at++;
    ok = read_number(spec, length, &at, &out->precision) && out->precision >= 0;
  }
  if (at < length) out->type = spec[at++];
  return (ok && at == length) || rh_tpl_fail(render, "Invalid format specifier");
}

// The sign and digits to the width: fill before, behind, around or between them.
static bool put_padded(const format_spec *spec, const char *prefix, const char *text, size_t length, char usual,
                       rh_dynbuf *out) {
  int64_t chars = (int64_t)(strlen(prefix) + rh_tpl_count_chars(text, length));
  int64_t more = spec->width > chars ? spec->width - chars : 0;
  char align = spec->align != '\0' ? spec->align : usual;
  int64_t left = align == '>' ? more : align == '^' ? more / 2 : 0, between = align == '=' ? more : 0;
  for (int64_t i = 0; i < left; i++) (void)rh_dynbuf_append(out, spec->fill.as.text, spec->fill.length);
  (void)rh_dynbuf_append_text(out, prefix);
  for (int64_t i = 0; i < between; i++) (void)rh_dynbuf_append(out, spec->fill.as.text, spec->fill.length);
  (void)rh_dynbuf_append(out, text, length);
  for (int64_t i = left + between; i < more; i++) (void)rh_dynbuf_append(out, spec->fill.as.text, spec->fill.length);
  return true;
}

static bool write_text(tpl_render *render, tpl_value text, const format_spec *spec, rh_dynbuf *out) {
  if (spec->type != '\0' && spec->type != 's')
    return rh_tpl_fail(render, "Unknown format code '%c' for object of type 'str'", spec->type);
  if (spec->sign != '\0' || spec->alternate || spec->group != '\0' || (spec->align == '=' && !spec->zeros)) {
    return rh_tpl_fail(render, "a format specification that strings do not know");
  }
  format_spec padded = *spec;
  if (spec->zeros && spec->align == '=') padded.align = '<';
  size_t length =
      spec->precision >= 0 ? rh_tpl_char_offset(text.as.text, text.length, (size_t)spec->precision) : text.length;
  if (!rh_tpl_spend_text(render, length)) return false;
  return put_padded(&padded, "", text.as.text, length, '<', out);
}

// Separators between groups of digits of the whole part.
static void group_digits(char *text, size_t room, char separator, size_t size) {
  size_t digits = 0, length = strlen(text);
  while (isxdigit((unsigned char)text[digits]) && (size == 4 || isdigit((unsigned char)text[digits]))) digits++;
  for (size_t at = digits; at > size && length + 1 < room;) {
    at -= size;
    memmove(text + at + 1, text + at, length - at + 1);
    text[at] = separator;
    length++;
  }
}

static const char *sign_of(bool negative, char sign) {
  return negative ? "-" : sign == '+' ? "+" : sign == ' ' ? " " : "";
}

// Zeros that fill the width are grouped like the other digits; only that case needs more of them.
static bool put_number(const format_spec *spec, const char *prefix, char *digits, size_t room, size_t group,
                       rh_dynbuf *out) {
  if (spec->group != '\0') group_digits(digits, room, spec->group, group);
  return put_padded(spec, prefix, digits, strlen(digits), '>', out);
}

static bool write_whole(tpl_render *render, int64_t number, const format_spec *spec, rh_dynbuf *out) {
  char digits[160], prefix[8];
  uint64_t size = number < 0 ? 0 - (uint64_t)number : (uint64_t)number;
  const char *mark = "";
  if (spec->precision >= 0) return rh_tpl_fail(render, "Precision not allowed in integer format specifier");
  switch (spec->type) {
    case '\0':
    case 'n':
    case 'd': (void)snprintf(digits, sizeof digits, "%" PRIu64, size); break;
    case 'x': (void)snprintf(digits, sizeof digits, "%" PRIx64, size), mark = "0x"; break;
    case 'X': (void)snprintf(digits, sizeof digits, "%" PRIX64, size), mark = "0X"; break;
    case 'o': (void)snprintf(digits, sizeof digits, "%" PRIo64, size), mark = "0o"; break;
    case 'b': {
      size_t count = 0;
      for (int bit = 63; bit >= 0; bit--) {
        if (count > 0 || (size >> bit & 1) != 0 || bit == 0) digits[count++] = (char)('0' + (int)(size >> bit & 1));
      }
      digits[count] = '\0';
      mark = "0b";
      break;
    }
    case 'c': {
      char bytes[4];
      if (number < 0 || number > 0x10FFFF || (number >= 0xD800 && number <= 0xDFFF))
        return rh_tpl_fail(render, "%%c arg not in range(0x110000)");
      return put_padded(spec, "", bytes, rh_tpl_encode_utf8((uint32_t)number, bytes), '<', out);
    }
    default: return rh_tpl_fail(render, "Unknown format code '%c' for object of type 'int'", spec->type);
  }
  (void)snprintf(prefix, sizeof prefix, "%s%s", sign_of(number < 0, spec->sign), spec->alternate ? mark : "");
  return put_number(spec, prefix, digits, sizeof digits, mark[0] != '\0' ? 4 : 3, out);
}

// Without a type, or with precision but without one: like 'g', but a whole number keeps its ".0".
static void write_plain(double size, const format_spec *spec, char *digits, size_t room) {
  if (spec->precision < 0) {
    rh_dynbuf text;
    rh_dynbuf_init(&text, 64);
    rh_tpl_write_float(size, &text);
    (void)snprintf(digits, room, "%s", rh_dynbuf_data(&text));
    rh_dynbuf_free(&text);
    return;
  }
  int precision = spec->precision > 0 ? (int)spec->precision : 1;
  (void)snprintf(digits, room, "%.*g", precision, size);
  if (strpbrk(digits, ".en") != NULL) return;
  int exponent = (int)strlen(digits) - 1;
  if (exponent >= precision - 1 && precision > 0) {
    (void)snprintf(digits, room, "%.*e", 0, size);
    return;
  }
  (void)snprintf(digits + strlen(digits), room - strlen(digits), ".0");
}

static bool write_real(tpl_render *render, double number, const format_spec *spec, rh_dynbuf *out) {
  char digits[800], pattern[16];
  if (spec->precision > PRECISION_MAX) return rh_tpl_fail(render, "a precision of more than %d", PRECISION_MAX);
  int precision = spec->precision < 0 ? 6 : (int)spec->precision;
  if (!rh_tpl_spend(render, TPL_STEPS_FLOAT + (uint64_t)precision)) return false;
  double size = fabs(number);
  switch (spec->type) {
    case '\0': write_plain(size, spec, digits, sizeof digits); break;
    case '%':
      (void)snprintf(digits, sizeof digits - 1, "%.*f", precision, size * 100);
      (void)snprintf(digits + strlen(digits), 2, "%%");
      break;
    case 'n':
    case 'e':
    case 'E':
    case 'f':
    case 'F':
    case 'g':
    case 'G':
      (void)snprintf(pattern, sizeof pattern, spec->alternate ? "%%#.*%c" : "%%.*%c",
                     spec->type == 'n' ? 'g' : spec->type);
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wformat-nonliteral"
      (void)snprintf(digits, sizeof digits, pattern, precision, size);  // the pattern was made two lines above
#pragma GCC diagnostic pop
      break;
    default: return rh_tpl_fail(render, "Unknown format code '%c' for object of type 'float'", spec->type);
  }
  return put_number(spec, sign_of(signbit(number) && !isnan(number), spec->sign), digits, sizeof digits, 3, out);
}

bool rh_tpl_write_spec(tpl_render *render, tpl_value value, const char *text, size_t length, rh_dynbuf *out) {
  format_spec spec;
  if (length == 0 || value.kind == V_UNDEFINED) return rh_tpl_write(render, value, out);
  if (!parse_spec(render, text, length, &spec)) return false;
  if (spec.width > 0 && !rh_tpl_spend(render, (uint64_t)spec.width / 16)) return false;
  bool real = spec.type != '\0' && strchr("eEfFgG%", spec.type) != NULL;
  if (value.kind == V_STRING) return write_text(render, value, &spec, out);
  if (value.kind == V_FLOAT || (tpl_is_whole(value) && real)) return write_real(render, tpl_real(value), &spec, out);
  if (value.kind == V_BOOL && spec.type == '\0') {
    return put_padded(&spec, "", value.as.boolean ? "1" : "0", 1, '>', out);
  }
  if (tpl_is_whole(value)) return write_whole(render, tpl_whole(value), &spec, out);
  return rh_tpl_fail(render, "unsupported format string passed to %s.__format__", rh_tpl_type(value));
}
