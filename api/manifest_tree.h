#ifndef API_MANIFEST_TREE_H
#define API_MANIFEST_TREE_H

/* YAML events to a JSON value and, beside it, a tree of the same shape with the place of every
 * value. Only for manifest*.c.
 */

#include <jansson.h>

#include <stdbool.h>
#include <stddef.h>

#include "base/err.h"

struct mark {
    unsigned line, column; /* from 1 */
    char *key;             /* in an object, else NULL */
    struct mark *kids;     /* members or elements, in the order of the text */
    size_t n_kids;
    size_t cap;
};

void mark_done(struct mark *m);
struct mark *mark_add(struct mark *m, const char *key, unsigned line, unsigned column);

typedef int yaml_doc_cb(void *ctx, json_t *v, struct mark *m, struct err *err);

/* Call fn for each document of the text that is not empty; it takes over v and what m holds. Errors
 * name `source`, line and column. */
int yaml_read(const char *text, size_t len, const char *source, yaml_doc_cb *fn, void *ctx,
              struct err *err) ERR_USED;

/* A plain scalar by the core schema of YAML 1.2, without octal and hexadecimal numbers, infinities
 * and NaN: these are text.  NULL: a number that is too large. */
json_t *yaml_plain(const char *s, size_t len);
/* Is it spelled as a number? */
bool yaml_is_number(const char *s, size_t len);

#endif
