// SPDX-License-Identifier: Apache-2.0
//
// Purpose: "..." % values, and "...".format(values).
// Data owned: none. Threads: the render's.
// Not here: how one value is written by a specification (format_spec.c).
#include <ctype.h>
#include <stdio.h>
#include <string.h>

#include "template/render.h"
#include "template/unicode.h"

#define NAME_MAX_BYTES 200

// --- "%5.2f" % values -----------------------------------------------------------------------------------------------

typedef struct percent_code {
  tpl_value value;
  bool left, plus, space, zero, alternate;
  int64_t width, precision;
  char type;
} percent_code;

typedef struct percent {
  tpl_render *render;
  tpl_value format;
  size_t at;
  const tpl_args *args;
  size_t taken;
  bool named;  // a value was taken by its name
  rh_dynbuf *out;
} percent;

static char now(const percent *self) { return self->at < self->format.length ? self->format.as.text[self->at] : '\0'; }

static bool take(percent *self, tpl_value *out) {
  if (self->taken >= self->args->count) return rh_tpl_fail(self->render, "not enough arguments for format string");
  *out = self->args->items[self->taken++];
  return true;
}

static bool take_named(percent *self, tpl_value *out) {
  const char *text = self->format.as.text;
  size_t from = ++self->at;
  while (self->at < self->format.length && text[self->at] != ')') self->at++;
  if (self->at >= self->format.length) return rh_tpl_fail(self->render, "incomplete format key");
  tpl_value name = tpl_text(text + from, self->at++ - from), *found = NULL;
  self->named = true;
  if (!rh_tpl_spend(self->render, self->args->keyword_count / 16)) return false;
  for (size_t i = 0; i < self->args->keyword_count; i++) {
    if (self->args->keywords[i].name.length == name.length &&
        memcmp(self->args->keywords[i].name.as.text, name.as.text, name.length) == 0)
      found = &self->args->keywords[i].value;
  }
  if (found == NULL && self->args->count == 1 && self->args->items[0].kind == V_DICT) {
    if (!rh_tpl_dict_find(self->render, self->args->items[0].as.dict, name, &found)) return false;
  }
  if (found == NULL)
    return rh_tpl_fail(self->render, "the format asks for '%.*s', which is not given",
                       (int)(name.length < 64 ? name.length : 64), name.as.text);
  *out = *found;
  return true;
}

static bool read_size(percent *self, int64_t *out) {
  tpl_value given;
  if (now(self) == '*') {
    self->at++;
    if (!take(self, &given) || !rh_tpl_want_int(self->render, "* in a format", given, 0, out)) return false;
    return (*out >= -1000000 && *out <= 1000000) || rh_tpl_fail(self->render, "a width of more than 1000000");
  }
  while (isdigit((unsigned char)now(self))) {
    *out = *out * 10 + (now(self) - '0');
    if (*out > 1000000) return rh_tpl_fail(self->render, "a width of more than 1000000");
    self->at++;
  }
  return true;
}

static bool read_code(percent *self, percent_code *code) {
  *code = (percent_code){.precision = -1};
  bool named = now(self) == '(';
  if (named && !take_named(self, &code->value)) return false;
  for (;; self->at++) {
    char c = now(self);
    if (c == '-')
      code->left = true;
    else if (c == '+')
      code->plus = true;
    else if (c == ' ')
      code->space = true;
    else if (c == '0')
      code->zero = true;
    else if (c == '#')
      code->alternate = true;
    else
      break;
  }
  if (!read_size(self, &code->width)) return false;
  if (code->width < 0) {
    code->left = true;
    code->width = -code->width;
  }
  if (now(self) == '.') {
    self->at++;
    code->precision = 0;
    if (!read_size(self, &code->precision)) return false;
  }
  if (now(self) == 'h' || now(self) == 'l' || now(self) == 'L') self->at++;
  code->type = now(self);
  if (self->at >= self->format.length) return rh_tpl_fail(self->render, "incomplete format");
  self->at++;
  return named || code->type == '%' || take(self, &code->value);
}

static bool write_padded(percent *self, const percent_code *code, tpl_value text) {
  if (code->precision >= 0) text.length = rh_tpl_char_offset(text.as.text, text.length, (size_t)code->precision);
  tpl_value padded;
  if (!rh_tpl_center(self->render, text, code->width, code->left ? 'l' : 'r', TPL_LITERAL(" "), &padded)) return false;
  (void)rh_dynbuf_append(self->out, padded.as.text, padded.length);
  return true;
}

static bool write_text(percent *self, const percent_code *code) {
  rh_dynbuf buffer;
  tpl_value text;
  rh_tpl_buffer(&buffer);
  bool ok = code->type == 's' ? rh_tpl_write(self->render, code->value, &buffer)
                              : rh_tpl_write_repr(self->render, code->value, &buffer);
  if (!ok) {
    rh_dynbuf_free(&buffer);
    return false;
  }
  return rh_tpl_text_take(self->render, &buffer, &text) && write_padded(self, code, text);
}

static bool write_number(percent *self, const percent_code *code) {
  char spec[80];
  tpl_value value = code->value;
  bool whole = strchr("diuxXo", code->type) != NULL;
  if (value.kind == V_UNDEFINED) return rh_tpl_fail_undefined(self->render, value);
  if (!tpl_is_number(value))
    return rh_tpl_fail(self->render, "%%%c format: a real number is required, not %s", code->type, rh_tpl_type(value));
  if (whole && value.kind == V_FLOAT) {
    if (code->type == 'x' || code->type == 'X' || code->type == 'o') {
      return rh_tpl_fail(self->render, "%%%c format: an integer is required, not float", code->type);
    }
    if (!(value.as.number > -9.2e18 && value.as.number < 9.2e18))
      return rh_tpl_fail(self->render, "a whole number of more than 64 bits");
    value = tpl_int((int64_t)value.as.number);
  }
  if (value.kind == V_BOOL) value = tpl_int(tpl_whole(value));
  char type = strchr("iu", code->type) != NULL ? 'd' : code->type;
  char precision[24] = "";
  if (!whole && code->precision >= 0) (void)snprintf(precision, sizeof precision, ".%lld", (long long)code->precision);
  if (whole && code->precision > 0)
    return rh_tpl_fail(self->render, "a precision for a whole number is not known here");
  (void)snprintf(spec, sizeof spec, "%s%s%s%s%lld%s%c",
                 code->left   ? "<"
                 : code->zero ? ""
                              : ">",
                 code->plus    ? "+"
                 : code->space ? " "
                               : "",
                 code->alternate ? "#" : "", code->zero && !code->left ? "0" : "", (long long)code->width, precision,
                 type);
  // A width of 0 would be read as the flag.
  if (code->width == 0) {
    (void)snprintf(spec, sizeof spec, "%s%s%s%c",
                   code->plus    ? "+"
                   : code->space ? " "
                                 : "",
                   code->alternate ? "#" : "", precision, type);
  }
  return rh_tpl_write_spec(self->render, value, spec, strlen(spec), self->out);
}

static bool write_code(percent *self) {
  percent_code code;
  if (!rh_tpl_spend(self->render, 1) || !read_code(self, &code)) return false;
  switch (code.type) {
    case '%': return rh_dynbuf_append_char(self->out, '%') == RH_OK || rh_tpl_fail_memory(self->render);
    case 's':
    case 'r':
    case 'a': return write_text(self, &code);
    case 'c':
      if (tpl_is_whole(code.value)) return rh_tpl_write_spec(self->render, code.value, "c", 1, self->out);
      if (code.value.kind != V_STRING || rh_tpl_count_chars(code.value.as.text, code.value.length) != 1)
        return rh_tpl_fail(self->render, "%%c requires int or char");
      return write_padded(self, &code, code.value);
    default:
      if (code.type != '\0' && strchr("diuxXoeEfFgG", code.type) != NULL) return write_number(self, &code);
      return rh_tpl_fail(self->render, "unsupported format character '%c'",
                         isprint((unsigned char)code.type) ? code.type : '?');
  }
}

bool rh_tpl_percent(tpl_render *render, tpl_value format, const tpl_args *args, tpl_value *out) {
  rh_dynbuf buffer;
  rh_tpl_buffer(&buffer);
  percent self = {.render = render, .format = format, .args = args, .out = &buffer};
  bool ok = rh_tpl_spend(render, format.length / 64);
  while (ok && !buffer.failed && self.at < format.length) {
    const char *next = memchr(format.as.text + self.at, '%', format.length - self.at);
    size_t end = next != NULL ? (size_t)(next - format.as.text) : format.length;
    (void)rh_dynbuf_append(&buffer, format.as.text + self.at, end - self.at);
    self.at = next != NULL ? end + 1 : end;
    if (next != NULL) ok = write_code(&self);
  }
  bool mapping = args->count == 1 &&
                 (args->items[0].kind == V_DICT || args->items[0].kind == V_LIST || args->items[0].kind == V_UNDEFINED);
  if (ok && !buffer.failed && self.taken < args->count && !self.named && !mapping)
    ok = rh_tpl_fail(render, "not all arguments converted during string formatting");
  if (ok && rh_tpl_text_take(render, &buffer, out)) {
    out->markup = format.markup;
    return true;
  }
  if (!ok) rh_dynbuf_free(&buffer);
  return false;
}

// --- "{0.name!r:>8}".format(values) ---------------------------------------------------------------------------------

typedef struct braces {
  tpl_render *render;
  const tpl_args *args;
  int64_t next;  // the number of the next "{}"; -1 once numbers were written
  rh_dynbuf *out;
} braces;

static bool first_value(braces *self, tpl_value name, tpl_value *out) {
  int64_t number = 0;
  bool digits = name.length > 0 && name.length < 10;
  for (size_t i = 0; i < name.length && digits; i++) {
    digits = isdigit((unsigned char)name.as.text[i]) != 0;
    number = number * 10 + (name.as.text[i] - '0');
  }
  if (name.length == 0) {
    if (self->next < 0)
      return rh_tpl_fail(self->render, "cannot switch from manual field specification to automatic field numbering");
    number = self->next++;
  } else if (digits) {
    if (self->next > 0)
      return rh_tpl_fail(self->render, "cannot switch from automatic field numbering to manual field specification");
    self->next = -1;
  } else {
    if (!rh_tpl_spend(self->render, self->args->keyword_count / 16)) return false;
    for (size_t i = 0; i < self->args->keyword_count; i++) {
      *out = self->args->keywords[i].value;
      if (self->args->keywords[i].name.length == name.length &&
          memcmp(self->args->keywords[i].name.as.text, name.as.text, name.length) == 0)
        return true;
    }
    return rh_tpl_fail(self->render, "the format asks for '%.*s', which is not given",
                       (int)(name.length < 64 ? name.length : 64), name.as.text);
  }
  if ((size_t)number >= self->args->count)
    return rh_tpl_fail(self->render, "Replacement index %lld out of range for positional args tuple",
                       (long long)number);
  *out = self->args->items[number];
  return true;
}

// "name.attribute[item]"
static bool field_value(braces *self, tpl_value field, tpl_value *out) {
  size_t at = 0;
  while (at < field.length && field.as.text[at] != '.' && field.as.text[at] != '[') at++;
  if (!first_value(self, tpl_text(field.as.text, at), out)) return false;
  while (at < field.length) {
    bool item = field.as.text[at++] == '[';
    size_t from = at;
    while (at < field.length &&
           (item ? field.as.text[at] != ']' : field.as.text[at] != '.' && field.as.text[at] != '['))
      at++;
    tpl_value name = tpl_text(field.as.text + from, at - from);
    bool number = item && name.length > 0 && name.length < 10;
    int64_t index = 0;
    for (size_t i = 0; i < name.length && number; i++) {
      number = isdigit((unsigned char)name.as.text[i]) != 0;
      index = index * 10 + (name.as.text[i] - '0');
    }
    if (item ? !rh_tpl_item(self->render, *out, number ? tpl_int(index) : name, out)
             : !rh_tpl_attribute(self->render, *out, name, out))
      return false;
    if (item && at < field.length) at++;
  }
  return true;
}

// The specification may have fields of its own, one level deep.
static bool expand_spec(braces *self, tpl_value spec, rh_dynbuf *out) {
  for (size_t at = 0; at < spec.length; at++) {
    if (spec.as.text[at] != '{') {
      (void)rh_dynbuf_append_char(out, spec.as.text[at]);
      continue;
    }
    const char *end = memchr(spec.as.text + at, '}', spec.length - at);
    tpl_value value;
    if (end == NULL) return rh_tpl_fail(self->render, "expected '}' before end of string");
    if (!field_value(self, tpl_text(spec.as.text + at + 1, (size_t)(end - spec.as.text) - at - 1), &value))
      return false;
    if (!rh_tpl_write(self->render, value, out)) return false;
    at = (size_t)(end - spec.as.text);
  }
  return true;
}

static bool write_field(braces *self, tpl_value field) {
  size_t at = 0;
  bool in_item = false;
  for (; at < field.length && (in_item || (field.as.text[at] != '!' && field.as.text[at] != ':')); at++) {
    if (field.as.text[at] == '[') in_item = true;
    if (field.as.text[at] == ']') in_item = false;
  }
  tpl_value value;
  if (!rh_tpl_spend(self->render, 1) || !field_value(self, tpl_text(field.as.text, at), &value)) return false;
  if (at < field.length && field.as.text[at] == '!') {
    char how = at + 1 < field.length ? field.as.text[at + 1] : '\0';
    if (how != 's' && how != 'r') return rh_tpl_fail(self->render, "Unknown conversion specifier in a format");
    rh_dynbuf text;
    rh_tpl_buffer(&text);
    if (how == 's' ? !rh_tpl_write(self->render, value, &text) : !rh_tpl_write_repr(self->render, value, &text)) {
      rh_dynbuf_free(&text);
      return false;
    }
    if (!rh_tpl_text_take(self->render, &text, &value)) return false;
    at += 2;
  }
  if (at < field.length && field.as.text[at] != ':')
    return rh_tpl_fail(self->render, "expected ':' after conversion specifier");
  if (at < field.length) at++;
  rh_dynbuf spec;
  rh_dynbuf_init(&spec, NAME_MAX_BYTES);
  bool ok = expand_spec(self, tpl_text(field.as.text + at, field.length - at), &spec);
  if (ok && spec.failed) ok = rh_tpl_fail(self->render, "a format specification of more than %d bytes", NAME_MAX_BYTES);
  ok = ok && rh_tpl_write_spec(self->render, value, rh_dynbuf_data(&spec), spec.length, self->out);
  rh_dynbuf_free(&spec);
  return ok;
}

// Where the brace opened before `at` closes; the length when it does not.
static size_t close_of(tpl_value format, size_t at) {
  for (unsigned depth = 1; at < format.length; at++) {
    if (format.as.text[at] == '{') depth++;
    if (format.as.text[at] == '}' && --depth == 0) break;
  }
  return at;
}

bool rh_tpl_format(tpl_render *render, tpl_value format, const tpl_args *args, tpl_value *out) {
  rh_dynbuf buffer;
  rh_tpl_buffer(&buffer);
  braces self = {.render = render, .args = args, .out = &buffer};
  bool ok = rh_tpl_spend(render, format.length / 16);
  for (size_t at = 0; ok && !buffer.failed && at < format.length; at++) {
    char c = format.as.text[at];
    bool twice = at + 1 < format.length && format.as.text[at + 1] == c;
    if ((c != '{' && c != '}') || twice) {
      (void)rh_dynbuf_append_char(&buffer, c);
      at += c == '{' || c == '}' ? 1 : 0;
    } else if (c == '}') {
      ok = rh_tpl_fail(render, "Single '}' encountered in format string");
    } else {
      size_t end = close_of(format, at + 1);
      if (end >= format.length)
        ok = rh_tpl_fail(render, at + 1 == format.length ? "Single '{' encountered in format string"
                                                         : "expected '}' before end of string");
      ok = ok && write_field(&self, tpl_text(format.as.text + at + 1, end - at - 1));
      at = end;
    }
  }
  if (ok) return rh_tpl_text_take(render, &buffer, out);
  rh_dynbuf_free(&buffer);
  return false;
}
