#include "api/manifest.h"

#include "api/json_path.h"
#include "api/manifest_tree.h"
#include "api/valid.h"
#include "base/buf.h"
#include "base/obj.h"
#include "base/str.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define DOCS_MAX 20000

struct doc {
    struct manifest_doc pub;
    struct mark mark;
};

struct manifest {
    struct doc *docs;
    size_t n_docs;
    size_t cap;
    char **sources; /* what pub.source points to */
    size_t n_sources;
};

struct parse {
    struct manifest *m;
    const char *source; /* owned by m */
};

void manifest_free(struct manifest *m)
{
    if (m == NULL) {
        return;
    }
    for (size_t i = 0; i < m->n_docs; i++) {
        json_decref(m->docs[i].pub.obj);
        mark_done(&m->docs[i].mark);
    }
    for (size_t i = 0; i < m->n_sources; i++) {
        free(m->sources[i]);
    }
    free(m->sources);
    free(m->docs);
    free(m);
}

size_t manifest_count(const struct manifest *m)
{
    return m->n_docs;
}

const struct manifest_doc *manifest_doc(const struct manifest *m, size_t i)
{
    CHECK(i < m->n_docs);
    return &m->docs[i].pub;
}

/* Takes over v and what *mark holds. */
static int add_doc(struct parse *p, json_t *v, struct mark *mark, struct err *err)
{
    struct manifest *m = p->m;
    struct doc *d;

    if (m->n_docs >= DOCS_MAX) {
        int rc = err_set(err, ERR_TOO_LARGE, "%.120s:%u: more than %d objects", p->source,
                         mark->line, DOCS_MAX);

        json_decref(v);
        mark_done(mark);
        return rc;
    }
    if (m->n_docs == m->cap) {
        m->cap = m->cap == 0 ? 16 : 2 * m->cap;
        m->docs = mem_realloc(m->docs, m->cap * sizeof(*m->docs));
    }
    d = &m->docs[m->n_docs++];
    d->pub.obj = v;
    d->pub.source = p->source;
    d->pub.line = mark->line;
    d->mark = *mark;
    memset(mark, 0, sizeof(*mark));
    return 0;
}

static struct mark *mark_member(const struct mark *m, const char *key)
{
    for (size_t i = 0; i < m->n_kids; i++) {
        if (str_eq(m->kids[i].key, key)) {
            return &m->kids[i];
        }
    }
    return NULL;
}

/* What `kubectl get -o yaml` prints: a List, or a VirtualMachineList. */
static bool is_list(const json_t *v)
{
    const char *kind = json_string_value(json_object_get(v, "kind"));

    return kind != NULL && str_ends(kind, "List") && json_is_array(json_object_get(v, "items"));
}

static int add_items(struct parse *p, json_t *list, struct mark *mark, struct err *err)
{
    json_t *items = json_object_get(list, "items");
    struct mark *marks = mark_member(mark, "items");
    int rc = 0;

    for (size_t i = 0; i < json_array_size(items) && rc == 0; i++) {
        json_t *item = json_array_get(items, i);
        struct mark one = { .line = mark->line, .column = mark->column };

        if (marks != NULL && i < marks->n_kids) { /* not when the list came from an alias */
            mark_done(&one);
            one = marks->kids[i];
            memset(&marks->kids[i], 0, sizeof(one));
        }
        if (json_is_object(item)) {
            rc = add_doc(p, json_incref(item), &one, err);
        } else {
            rc = err_set(err, ERR_INVALID, "%.120s:%u:%u: items[%zu] is not an object", p->source,
                         one.line, one.column, i);
            mark_done(&one);
        }
    }
    return rc;
}

static int on_doc(void *ctx, json_t *v, struct mark *mark, struct err *err)
{
    struct parse *p = ctx;
    int rc;

    if (!json_is_object(v)) {
        rc = err_set(err, ERR_INVALID,
                     "%.120s:%u:%u: a document has to be a mapping that begins with "
                     "apiVersion: " API_VERSION,
                     p->source, mark->line, mark->column);
    } else if (is_list(v)) {
        rc = add_items(p, v, mark, err);
    } else {
        return add_doc(p, v, mark, err);
    }
    json_decref(v);
    mark_done(mark);
    return rc;
}

static const char *keep_source(struct manifest *m, const char *source)
{
    m->sources = mem_realloc(m->sources, (m->n_sources + 1) * sizeof(*m->sources));
    m->sources[m->n_sources] = mem_strdup(source);
    return m->sources[m->n_sources++];
}

/* JSON that libyaml does not take (surrogate pairs, tabs): no marks then. */
static int parse_as_json(struct parse *p, const char *text, size_t len, struct err *err)
{
    struct mark mark = { .line = 1, .column = 1 };
    struct err why;
    json_t *v;
    int rc = json_parse_strict(text, len, &v, &why);

    if (rc != 0) {
        return err_set(err, rc, "%.120s: %s", p->source, why.msg);
    }
    return on_doc(p, v, &mark, err);
}

int manifest_parse(const char *text, size_t len, const char *source, struct manifest **ret,
                   struct err *err)
{
    struct manifest *m = *ret != NULL ? *ret : OBJ_NEW(struct manifest);
    struct parse p = { .m = m, .source = keep_source(m, source) };
    size_t before = m->n_docs;
    size_t space = 0;
    bool json;
    int rc;

    while (space < len && strchr(" \t\r\n", text[space]) != NULL && text[space] != 0) {
        space++;
    }
    json = space < len && (text[space] == '{' || text[space] == '[');
    *ret = m;
    rc = yaml_read(text, len, p.source, on_doc, &p, err);
    if (rc != 0 && json && m->n_docs == before) {
        struct err other;
        int rc_json = parse_as_json(&p, text, len, &other);

        if (rc_json == 0 || str_ends(source, ".json")) {
            *err = rc_json == 0 ? *err : other;
            rc = rc_json;
        }
    }
    return rc;
}

bool manifest_where(const struct manifest *m, size_t doc, const char *path, char *dst, size_t size)
{
    char step[PATH_STEP_MAX];
    const struct mark *at;

    if (doc >= m->n_docs) {
        return false;
    }
    at = &m->docs[doc].mark;
    while (path_next(&path, step)) {
        uint64_t i;
        const struct mark *kid = mark_member(at, step);

        if (kid == NULL && str_parse_u64(step, &i) && i < at->n_kids && at->kids[i].key == NULL) {
            kid = &at->kids[i];
        }
        if (kid == NULL) {
            break;
        }
        at = kid;
    }
    (void)snprintf(dst, size, "%s:%u:%u", m->docs[doc].pub.source, at->line, at->column);
    return true;
}
