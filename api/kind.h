#ifndef API_KIND_H
#define API_KIND_H

/* The kinds and their field tables: one table per kind drives decoding, defaults, validation,
 * explain, OpenAPI, printer columns and the reference documentation.
 *
 * Objects are jansson trees (json_t) in the JSON form of the API everywhere in the product.  Tables
 * are static and immutable: any thread.
 */

#include <jansson.h>

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

#define API_GROUP "picket"
#define API_VERSION "picket/v1"

enum field_type {
    F_STRING,
    F_BOOL,
    F_INT,
    F_SIZE,     /* "4Gi" or bytes; kept as the user wrote it, compared by value */
    F_DURATION, /* "500ms"; likewise */
    F_ENUM,     /* one of `values` */
    F_NAME,     /* the name of an object of kind `ref` */
    F_ADDRESS,  /* IP address, optionally ":port" (flag) */
    F_CIDR,
    F_MAC,
    F_OBJECT,   /* `fields` */
    F_MAP,      /* string keys; element described by `fields[0]` */
    F_LIST,     /* element described by `fields[0]` */
    F_QUANTITY, /* int or string */
    F_ANY,
};

enum field_flags {
    FF_REQUIRED = 1,
    FF_IMMUTABLE = 2,
    FF_SECRET = 4, /* never printed, never returned */
    FF_STATUS = 8, /* written by controllers and agents only */
    FF_LIST_KEY =
        16, /* identifies the elements of the list around it (x-kubernetes-list-map-keys) */
    FF_PORT_OK = 32, /* F_ADDRESS may carry :port */
    FF_NONEMPTY = 64,
};

struct field {
    const char *name;
    enum field_type type;
    unsigned flags;    /* enum field_flags */
    const char *deflt; /* JSON text of the default; NULL: none; "{}": the object is made, so that
                        * the defaults below it apply; "#" in that of a list key: the index */
    const char *const *values; /* F_ENUM: all values; other types: words that may stand instead of a
                                * value, such as "Auto"; NULL-terminated */
    const char *ref;           /* F_NAME: kind; F_MAP: the keys are names of this kind */
    int64_t min, max; /* F_INT, F_SIZE (bytes), F_DURATION (ms), length of lists, maps and strings;
                       * both 0: none; max < min: no upper limit */
    const struct field *fields; /* F_OBJECT, F_MAP, F_LIST: ends with name == NULL */
    const char *text;           /* one or two sentences, for people; never empty */
    /* F_STRING, map keys with F_MAP: NULL when `value` is good, else what is allowed ("an IQN such
     * as iqn.2026-01.org.example:vm1"). */
    const char *(*check)(const char *value);
    const char *hint; /* added to every message about this field: what to do instead */
};

struct column { /* of `get` */
    const char *title;
    /* ".status.phase", ".spec.disks.*.name" (all elements); "@age"; "@ready" and "@condition:TYPE"
     * (its status);
     * "@reason" (why not ready), "@since:PATH" (age of a time), "@size:PATH", "@schedulable":
     * computed */
    const char *path;
    bool wide; /* only with -o wide (Table priority 1) */
};

struct kind {
    const char *name;   /* "VirtualMachine" */
    const char *plural; /* "virtualmachines" */
    const char *singular;
    const char *const *short_names; /* NULL-terminated */
    const struct field *spec;       /* ends with name == NULL; Secret has its own */
    const struct field *status;
    const struct column *columns; /* ends with title == NULL */
    bool read_only;               /* a view of safety records: Lock, Fencing */
    bool one_shot;                /* Migration, Fencing: history, never re-run */
    const char *singleton;        /* the only legal name (Cluster: "cluster"), or NULL */
    const char *text;
    /* Cross-field rules beyond the table; adds problems (see api/valid.h). */
    void (*check)(const json_t *obj, void *problems);
    /* Fields beside metadata, spec and status (Secret: data, stringData); or NULL. */
    const struct field *top;
    /* Rules about a change beyond FF_IMMUTABLE; or NULL. */
    void (*check_update)(const json_t *old, const json_t *obj, void *problems);
    /* Defaults that depend on other fields, after those of the table; or NULL. */
    void (*fill)(json_t *obj);
};

size_t kind_count(void);
const struct kind *kind_at(size_t i);
/* By kind name, plural, singular or short name, without regard to case; NULL when there is none. */
const struct kind *kind_find(const char *name);
const struct kind *kind_by_plural(const char *plural);
/* The field called `name` in a table (NULL: empty table), or NULL. */
const struct field *field_find(const struct field *fields, const char *name);
/* The field that identifies the elements of a list of objects, or NULL. */
const struct field *field_list_key(const struct field *list);
/* The known word that `word` is probably meant to be (edit distance at most 2, or other case); NULL
 * when none is near.  `next` returns the candidates, NULL at the end. */
const char *word_suggest(const char *word, const char *(*next)(const void *ctx, size_t i),
                         const void *ctx);
const char *word_suggest_in(const char *word, const char *const *words);

#endif
