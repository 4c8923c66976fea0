#ifndef API_VALID_WALK_H
#define API_VALID_WALK_H

/* Walking a value along its field table; only for valid*.c.  Pure. */

#include "api/valid.h"

struct walk {
    struct problems *ps;
    char path[sizeof(((struct problem *)NULL)->path)];
    size_t len;
    bool lenient; /* unknown fields are warnings (status) */
};

/* Go down to a member or element; give the result back to walk_up. */
size_t walk_key(struct walk *w, const char *key);
size_t walk_index(struct walk *w, size_t i);
void walk_up(struct walk *w, size_t mark);
void walk_problem(struct walk *w, const char *reason, const struct field *f, const char *fmt, ...)
    __attribute__((format(printf, 4, 5)));

/* One value against its field. */
void walk_value(struct walk *w, const struct field *f, const json_t *v);
/* All members of an object (NULL: an empty one) against a table. */
void walk_object(struct walk *w, const struct field *fields, const json_t *v);
/* A scalar (anything but object, map and list) against its field. */
void walk_scalar(struct walk *w, const struct field *f, const json_t *v);
/* Is it one of the words that may stand instead of a value? */
bool field_is_word(const struct field *f, const json_t *v);
/* A value for a message, shortened; "the value" when it is secret. */
void value_text(const struct field *f, const json_t *v, char *dst, size_t size);
/* Complain that it is of another type than the field's. */
void walk_bad_type(struct walk *w, const struct field *f, const json_t *v);
/* "A, B or C" */
void words_text(const char *const *words, char *dst, size_t size);
/* What the type of a field is called. */
const char *field_type_text(const struct field *f);

/* metadata (valid_meta.c). */
extern const struct field metadata_fields[];
void walk_metadata(struct walk *w, const struct kind *k, const json_t *obj);

#endif
