/* YAML text to values with marks, on libyaml's events.
 *
 * The happy path: yaml_read() sees STREAM-START, then for each DOCUMENT-START calls read_doc(),
 * which reads one node with read_node(); that calls itself for mappings and sequences, at most
 * DEPTH_MAX deep. An anchor copies the value and its marks into the reader when its node is
 * complete, so that an alias can only name something that ended before it: no cycles.  An alias
 * copies again; how many values are copied in a document is bounded, since nine lines of aliases
 * can ask for a billion of them.
 */

#include "api/json_path.h"
#include "api/manifest_tree.h"
#include "base/obj.h"
#include "base/str.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <yaml.h>

#define DEPTH_MAX 64
#define LINE_MAX_BYTES (1U << 20)
#define DOC_MAX_BYTES (4U << 20)
#define ANCHORS_MAX 64
#define COPIES_MAX 4096

struct anchor {
    char *name;
    json_t *value; /* borrowed: lives in the document */
};

struct reader {
    yaml_parser_t parser;
    const char *source;
    struct err *err;
    yaml_event_t event; /* the current one */
    bool have_event;
    struct anchor anchors[ANCHORS_MAX];
    size_t n_anchors;
    size_t copies; /* values copied by aliases in this document */
};

static unsigned line_of(yaml_mark_t m)
{
    return (unsigned)m.line + 1;
}

static unsigned column_of(yaml_mark_t m)
{
    return (unsigned)m.column + 1;
}

__attribute__((format(printf, 3, 4))) static int fail_at(struct reader *r, yaml_mark_t m,
                                                         const char *fmt, ...)
{
    char msg[300];
    va_list ap;

    va_start(ap, fmt);
    (void)vsnprintf(msg, sizeof(msg), fmt, ap);
    va_end(ap);
    return err_set(r->err, ERR_INVALID, "%.120s:%u:%u: %s", r->source, line_of(m), column_of(m),
                   msg);
}

/* What to do about the commonest complaints of libyaml. */
static const char *parser_help(const char *problem)
{
    static const char *const table[][2] = {
        { "cannot start any token",
          "indent with spaces, and put text with special characters in quotes" },
        { "mapping values are not allowed",
          "text with a colon needs quotes, and the fields of a mapping have to begin in "
          "the same column" },
        { "did not find expected key", "the fields of a mapping have to begin in the same column" },
        { "did not find expected '-' indicator",
          "the elements of a list have to begin in the same column" },
        { "could not find expected ':'", "is a colon with a space behind it missing?" },
        { "unexpected end of stream", "is a closing quote or bracket missing?" },
        { "did not find expected ','", "is a closing bracket or a comma missing?" },
    };

    for (size_t i = 0; i < ARRAY_LEN(table); i++) {
        if (strstr(problem, table[i][0]) != NULL) {
            return table[i][1];
        }
    }
    return NULL;
}

/* What libyaml says, with its context. */
static int fail_parser(struct reader *r)
{
    const yaml_parser_t *p = &r->parser;
    const char *problem = p->problem != NULL ? p->problem : "cannot be read";
    const char *help = parser_help(problem);
    char context[120] = "";

    if (p->error == YAML_READER_ERROR) {
        return err_set(r->err, ERR_INVALID, "%.120s: byte %zu: not UTF-8 text (%s)", r->source,
                       p->problem_offset, problem);
    }
    if (p->context != NULL) {
        (void)snprintf(context, sizeof(context), " %s that begins in line %u", p->context,
                       line_of(p->context_mark));
    }
    if (strstr(problem, "cannot start any token") != NULL) {
        context[0] = 0;
    }
    return fail_at(r, p->problem_mark, "%s%s%s%s", problem, context, help != NULL ? "; " : "",
                   help != NULL ? help : "");
}

static int next_event(struct reader *r)
{
    if (r->have_event) {
        yaml_event_delete(&r->event);
        r->have_event = false;
    }
    if (yaml_parser_parse(&r->parser, &r->event) == 0) {
        return fail_parser(r);
    }
    r->have_event = true;
    return 0;
}

/* --- scalars ------------------------------------------------------------------------- */

static int check_text(struct reader *r, const yaml_event_t *e)
{
    if (memchr(e->data.scalar.value, 0, e->data.scalar.length) != NULL) {
        return fail_at(r, e->start_mark, "a NUL character (\\0) is not allowed");
    }
    return 0;
}

static int check_tag(struct reader *r, const yaml_char_t *tag, yaml_mark_t m)
{
    if (tag != NULL) {
        return fail_at(r, m, "tags such as \"%.40s\" are not used here; leave it out",
                       (const char *)tag);
    }
    return 0;
}

static int read_scalar(struct reader *r, json_t **ret)
{
    const yaml_event_t *e = &r->event;
    const char *s = (const char *)e->data.scalar.value;
    size_t len = e->data.scalar.length;

    if (check_tag(r, e->data.scalar.tag, e->start_mark) != 0 || check_text(r, e) != 0) {
        return r->err->code;
    }
    *ret =
        e->data.scalar.style == YAML_PLAIN_SCALAR_STYLE ? yaml_plain(s, len) : json_stringn(s, len);
    if (*ret == NULL) {
        return fail_at(r, e->start_mark,
                       "the number %.60s is too large; put it in quotes if it is text", s);
    }
    return 0;
}

/* --- anchors ------------------------------------------------------------------------- */

static void forget_anchors(struct reader *r)
{
    for (size_t i = 0; i < r->n_anchors; i++) {
        free(r->anchors[i].name);
    }
    r->n_anchors = 0;
    r->copies = 0;
}

static int set_anchor(struct reader *r, char *name, json_t *value, yaml_mark_t at)
{
    if (name == NULL) {
        return 0;
    }
    if (r->n_anchors == ANCHORS_MAX) {
        free(name);
        return fail_at(r, at, "more than %d anchors in one document", ANCHORS_MAX);
    }
    r->anchors[r->n_anchors].name = name;
    r->anchors[r->n_anchors].value = value;
    r->n_anchors++;
    return 0;
}

/* Values in a tree, itself included, and how deep it is; stops counting at `limit`. */
static size_t count_values(const json_t *v, size_t limit, unsigned depth, unsigned *ret_depth)
{
    size_t n = 1;
    const char *key;
    json_t *item;

    *ret_depth = depth > *ret_depth ? depth : *ret_depth;
    for (size_t i = 0; i < json_array_size(v) && n < limit; i++) {
        n += count_values(json_array_get(v, i), limit - n, depth + 1, ret_depth);
    }
    json_object_foreach (json_loose(v), key, item) {
        n += n < limit ? count_values(item, limit - n, depth + 1, ret_depth) : 0;
    }
    return n;
}

static int read_alias(struct reader *r, unsigned depth, json_t **ret)
{
    const char *name = (const char *)r->event.data.alias.anchor;
    unsigned deepest = 0;

    for (size_t i = r->n_anchors; i > 0; i--) {
        const struct anchor *a = &r->anchors[i - 1];

        if (!str_eq(a->name, name)) {
            continue;
        }
        r->copies += count_values(a->value, COPIES_MAX + 1 - r->copies, depth, &deepest);
        if (deepest >= DEPTH_MAX) {
            return fail_at(r, r->event.start_mark, "nested more than %d levels deep", DEPTH_MAX);
        }
        if (r->copies > COPIES_MAX) {
            return fail_at(r, r->event.start_mark,
                           "the aliases of this document stand for more than %d values",
                           COPIES_MAX);
        }
        *ret = json_deep_copy(a->value);
        return 0;
    }
    return fail_at(r, r->event.start_mark, "there is no anchor \"%.60s\" before this alias", name);
}

/* --- nodes --------------------------------------------------------------------------- */

static int read_node(struct reader *r, unsigned depth, struct mark *m, json_t **ret);

static int read_key(struct reader *r, json_t *obj, char **ret)
{
    const yaml_event_t *e = &r->event;
    const char *key = (const char *)e->data.scalar.value;

    if (e->type != YAML_SCALAR_EVENT) {
        return fail_at(r, e->start_mark, "a field name has to be a plain word%s",
                       e->type == YAML_MAPPING_START_EVENT ? "; is a { .. } missing its quotes?"
                                                           : "");
    }
    if (check_tag(r, e->data.scalar.tag, e->start_mark) != 0 || check_text(r, e) != 0) {
        return r->err->code;
    }
    if (e->data.scalar.anchor != NULL) {
        return fail_at(r, e->start_mark, "a field name cannot have an anchor");
    }
    if (e->data.scalar.length == 0) {
        return fail_at(r, e->start_mark, "an empty field name");
    }
    if (str_eq(key, "<<") && e->data.scalar.style == YAML_PLAIN_SCALAR_STYLE) {
        return fail_at(r, e->start_mark, "merge keys (<<) are not used here; write the fields out");
    }
    if (json_object_get(obj, key) != NULL) {
        return fail_at(r, e->start_mark, "the field \"%.60s\" is given twice", key);
    }
    *ret = mem_strndup(key, e->data.scalar.length);
    return 0;
}

/* The event after MAPPING-START is current at each turn. */
static int read_mapping(struct reader *r, unsigned depth, struct mark *m, json_t **ret)
{
    json_t *obj = json_object();
    char *key = NULL;
    int rc;

    for (;;) {
        json_t *v = NULL;
        struct mark *kid;

        rc = next_event(r);
        if (rc != 0 || r->event.type == YAML_MAPPING_END_EVENT) {
            break;
        }
        rc = read_key(r, obj, &key);
        if (rc != 0) {
            break;
        }
        kid = mark_add(m, key, line_of(r->event.start_mark), column_of(r->event.start_mark));
        rc = next_event(r);
        rc = rc != 0 ? rc : read_node(r, depth, kid, &v);
        if (rc != 0) {
            break;
        }
        json_object_set_new(obj, key, v);
        free(key);
        key = NULL;
    }
    free(key);
    if (rc != 0) {
        json_decref(obj);
        return rc;
    }
    *ret = obj;
    return 0;
}

static int read_sequence(struct reader *r, unsigned depth, struct mark *m, json_t **ret)
{
    json_t *list = json_array();
    int rc;

    for (;;) {
        json_t *v = NULL;
        struct mark *kid;

        rc = next_event(r);
        if (rc != 0 || r->event.type == YAML_SEQUENCE_END_EVENT) {
            break;
        }
        kid = mark_add(m, NULL, line_of(r->event.start_mark), column_of(r->event.start_mark));
        rc = read_node(r, depth, kid, &v);
        if (rc != 0) {
            break;
        }
        json_array_append_new(list, v);
    }
    if (rc != 0) {
        json_decref(list);
        return rc;
    }
    *ret = list;
    return 0;
}

static const yaml_char_t *event_anchor(const yaml_event_t *e)
{
    switch ((int)e->type) {
    case YAML_SCALAR_EVENT:
        return e->data.scalar.anchor;
    case YAML_MAPPING_START_EVENT:
        return e->data.mapping_start.anchor;
    case YAML_SEQUENCE_START_EVENT:
        return e->data.sequence_start.anchor;
    default:
        return NULL;
    }
}

/* The node that the current event begins.  The place of a member is that of its name, which is what
 * people look for; that of an element its own. */
static int read_node(struct reader *r, unsigned depth, struct mark *m, json_t **ret)
{
    yaml_mark_t at = r->event.start_mark;
    char *anchor = mem_strdup((const char *)event_anchor(&r->event));
    json_t *v = NULL;
    int rc = 0;

    if (depth >= DEPTH_MAX) {
        rc = fail_at(r, at, "nested more than %d levels deep", DEPTH_MAX);
    } else if (r->event.type == YAML_SCALAR_EVENT) {
        rc = read_scalar(r, &v);
    } else if (r->event.type == YAML_ALIAS_EVENT) {
        rc = read_alias(r, depth, &v);
    } else if (r->event.type == YAML_MAPPING_START_EVENT) {
        rc = check_tag(r, r->event.data.mapping_start.tag, at);
        rc = rc != 0 ? rc : read_mapping(r, depth + 1, m, &v);
    } else {
        CHECK(r->event.type == YAML_SEQUENCE_START_EVENT);
        rc = check_tag(r, r->event.data.sequence_start.tag, at);
        rc = rc != 0 ? rc : read_sequence(r, depth + 1, m, &v);
    }
    if (rc != 0) {
        free(anchor);
        return rc;
    }
    rc = set_anchor(r, anchor, v, at);
    if (rc != 0) {
        json_decref(v);
        return rc;
    }
    *ret = v;
    return 0;
}

/* --- documents ----------------------------------------------------------------------- */

static int read_doc(struct reader *r, yaml_doc_cb *fn, void *ctx)
{
    size_t begin = r->event.start_mark.index;
    struct mark m = { 0 };
    json_t *v = NULL;
    int rc;

    rc = next_event(r);
    if (rc != 0) {
        return rc;
    }
    m.line = line_of(r->event.start_mark);
    m.column = column_of(r->event.start_mark);
    rc = read_node(r, 0, &m, &v);
    forget_anchors(r);
    if (rc == 0) {
        rc = next_event(r); /* DOCUMENT-END */
    }
    if (rc == 0 && r->event.start_mark.index - begin > DOC_MAX_BYTES) {
        rc = fail_at(r, r->event.start_mark, "a document of more than %u MiB", DOC_MAX_BYTES >> 20);
    }
    if (rc == 0 && json_is_null(v)) { /* nothing between two "---" */
        json_decref(v);
        mark_done(&m);
        return 0;
    }
    if (rc != 0) {
        json_decref(v);
        mark_done(&m);
        return rc;
    }
    return fn(ctx, v, &m, r->err);
}

/* libyaml takes lines of any length and needs a while for them. */
static int check_lines(const char *text, size_t len, const char *source, struct err *err)
{
    size_t begin = 0;
    unsigned line = 1;

    for (size_t i = 0; i < len; i++) {
        if (text[i] == 0) {
            return err_set(err, ERR_INVALID, "%.120s:%u:%zu: a NUL byte; this is not a text file",
                           source, line, i - begin + 1);
        }
        if (text[i] == '\n') {
            begin = i + 1;
            line++;
        } else if (i - begin >= LINE_MAX_BYTES) {
            return err_set(err, ERR_INVALID, "%.120s:%u:1: a line of more than %u MiB", source,
                           line, LINE_MAX_BYTES >> 20);
        }
    }
    return 0;
}

int yaml_read(const char *text, size_t len, const char *source, yaml_doc_cb *fn, void *ctx,
              struct err *err)
{
    struct reader r = { .source = source, .err = err };
    int rc = check_lines(text, len, source, err);

    if (rc != 0) {
        return rc;
    }
    CHECK(yaml_parser_initialize(&r.parser) == 1);
    yaml_parser_set_encoding(&r.parser, YAML_UTF8_ENCODING);
    yaml_parser_set_input_string(&r.parser, (const unsigned char *)text, len);
    do {
        rc = next_event(&r);
        if (rc == 0 && r.event.type == YAML_DOCUMENT_START_EVENT) {
            rc = read_doc(&r, fn, ctx);
        }
    } while (rc == 0 && r.event.type != YAML_STREAM_END_EVENT);
    forget_anchors(&r);
    if (r.have_event) {
        yaml_event_delete(&r.event);
    }
    yaml_parser_delete(&r.parser);
    return rc;
}
