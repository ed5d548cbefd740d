#include "json.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>

typedef struct {
  const char *at;
  int failed;
  int depth;
} Reader;

static Json *read_value(Reader *r);

static void skip_space(Reader *r) {
  while (isspace((unsigned char)*r->at)) r->at++;
}

static int accept(Reader *r, char c) {
  skip_space(r);
  if (*r->at != c) return 0;
  r->at++;
  return 1;
}

static unsigned read_hex4(Reader *r) {
  unsigned value = 0;
  for (int i = 0; i < 4; i++, r->at++) {
    if (!isxdigit((unsigned char)*r->at)) {
      r->failed = 1;
      return 0;
    }
    int c = tolower((unsigned char)*r->at);
    value = value * 16 + (unsigned)(c <= '9' ? c - '0' : c - 'a' + 10);
  }
  return value;
}

static char *put_rune(char *out, unsigned rune) {
  if (rune >= 0xDC80 && rune <= 0xDCFF) {
    *out++ = (char)(rune & 0xFF);
  } else if (rune < 0x80) {
    *out++ = (char)rune;
  } else if (rune < 0x800) {
    *out++ = (char)(0xC0 | rune >> 6);
    *out++ = (char)(0x80 | (rune & 0x3F));
  } else {
    *out++ = (char)(0xE0 | rune >> 12);
    *out++ = (char)(0x80 | (rune >> 6 & 0x3F));
    *out++ = (char)(0x80 | (rune & 0x3F));
  }
  return out;
}

/* The string behind an opening quote. An escape is never shorter than what it stands for. */
static char *read_string(Reader *r) {
  char *text = malloc(strlen(r->at) + 1), *out = text;
  while (*r->at && *r->at != '"') {
    char c = *r->at++;
    if (c != '\\') {
      *out++ = c;
      continue;
    }
    c = *r->at++;
    switch (c) {
      case 'n': *out++ = '\n'; break;
      case 't': *out++ = '\t'; break;
      case 'r': *out++ = '\r'; break;
      case 'b': *out++ = '\b'; break;
      case 'f': *out++ = '\f'; break;
      case 'u': out = put_rune(out, read_hex4(r)); break;
      case '"': case '\\': case '/': *out++ = c; break;
      default: r->failed = 1; r->at--;
    }
    if (r->failed) break;
  }
  if (!accept(r, '"')) r->failed = 1;
  *out = 0;
  return text;
}

static void read_members(Reader *r, Json *parent, char close) {
  Json **tail = &parent->child;
  if (accept(r, close)) return;
  do {
    char *key = NULL;
    if (close == '}') {
      if (!accept(r, '"')) { r->failed = 1; return; }
      key = read_string(r);
      if (!accept(r, ':')) r->failed = 1;
    }
    Json *member = r->failed ? NULL : read_value(r);
    if (!member) { free(key); r->failed = 1; return; }
    member->key = key;
    *tail = member;
    tail = &member->next;
  } while (accept(r, ','));
  if (!accept(r, close)) r->failed = 1;
}

static Json *read_value(Reader *r) {
  Json *json = calloc(1, sizeof *json);
  skip_space(r);
  if (++r->depth > 32) {
    r->failed = 1;
  } else if (accept(r, '{')) {
    json->type = JSON_OBJECT;
    read_members(r, json, '}');
  } else if (accept(r, '[')) {
    json->type = JSON_ARRAY;
    read_members(r, json, ']');
  } else if (accept(r, '"')) {
    json->type = JSON_STRING;
    json->text = read_string(r);
  } else if (!strncmp(r->at, "null", 4)) {
    r->at += 4;
  } else if (!strncmp(r->at, "true", 4)) {
    json->type = JSON_BOOL;
    json->number = 1;
    r->at += 4;
  } else if (!strncmp(r->at, "false", 5)) {
    json->type = JSON_BOOL;
    r->at += 5;
  } else {
    char *end;
    json->type = JSON_NUMBER;
    json->number = strtod(r->at, &end);
    if (end == r->at) r->failed = 1;
    r->at = end;
  }
  r->depth--;
  if (!r->failed) return json;
  json_free(json);
  return NULL;
}

Json *json_parse(const char *text) {
  Reader r = {.at = text};
  Json *json = read_value(&r);
  skip_space(&r);
  if (!*r.at) return json;
  json_free(json);
  return NULL;
}

void json_free(Json *json) {
  while (json) {
    Json *next = json->next;
    json_free(json->child);
    free(json->text);
    free(json->key);
    free(json);
    json = next;
  }
}

Json *json_get(const Json *object, const char *key) {
  if (!object || object->type != JSON_OBJECT) return NULL;
  for (Json *member = object->child; member; member = member->next)
    if (!strcmp(member->key, key)) return member;
  return NULL;
}

Json *json_at(const Json *array, size_t index) {
  if (!array || array->type != JSON_ARRAY) return NULL;
  Json *element = array->child;
  while (element && index--) element = element->next;
  return element;
}

size_t json_size(const Json *array) {
  size_t size = 0;
  if (array && array->type == JSON_ARRAY)
    for (Json *element = array->child; element; element = element->next) size++;
  return size;
}

int json_number(const Json *object, const char *key, double *value) {
  const Json *member = json_get(object, key);
  if (!member || (member->type != JSON_NUMBER && member->type != JSON_BOOL)) return 0;
  *value = member->number;
  return 1;
}

const char *json_text(const Json *object, const char *key, const char *otherwise) {
  const Json *member = json_get(object, key);
  return member && member->type == JSON_STRING ? member->text : otherwise;
}
