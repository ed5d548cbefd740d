/* A small JSON reader for scenario files: what Python's json.dump writes. */
#ifndef STANDIN_JSON_H
#define STANDIN_JSON_H

#include <stddef.h>

typedef enum { JSON_NULL, JSON_BOOL, JSON_NUMBER, JSON_STRING, JSON_ARRAY, JSON_OBJECT } JsonType;

typedef struct Json {
  JsonType type;
  double number;      /* of a number; 1 or 0 of a bool */
  char *text;         /* of a string, UTF-8; U+DC80..U+DCFF (Python's surrogateescape) is the raw byte */
  char *key;          /* of an object's member */
  struct Json *child; /* first member of an array or object */
  struct Json *next;
} Json;

/* The tree of `text`, or NULL where that is no JSON. Freed with json_free. */
Json *json_parse(const char *text);
void json_free(Json *json);

/* A member of an object; NULL where there is none, or where `object` is none. */
Json *json_get(const Json *object, const char *key);
/* An element of an array; NULL behind its end. */
Json *json_at(const Json *array, size_t index);
size_t json_size(const Json *array);
/* The number of a member; 0 is returned and `*value` left alone where it is null, absent or no number. */
int json_number(const Json *object, const char *key, double *value);
/* The string of a member, or `otherwise`. */
const char *json_text(const Json *object, const char *key, const char *otherwise);

#endif
