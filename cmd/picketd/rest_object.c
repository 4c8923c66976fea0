/* GET of one object and of collections. */

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "api/table.h"
#include "base/clock.h"
#include "base/obj.h"
#include "base/str.h"
#include "cmd/picketd/object.h"
#include "cmd/picketd/rest.h"

/* resourceVersion=0 means: any state will do, answer from the local one. */
static bool any_version(const struct rest *r)
{
    return str_eq(http_req_query(r->req, "resourceVersion"), "0");
}

static void get_answer(struct rest *r)
{
    struct err err;
    json_t *obj = object_read(r->node->store, r->k->plural, r->name, &err);

    if (obj == NULL) {
        rest_err(r, &err);
        return;
    }
    if (rest_wants_table(r)) {
        json_t *items = json_pack("[o]", obj);
        const char *include = http_req_query(r->req, "includeObject");
        json_t *table = table_build(r->k, items, jget_str(obj, "metadata.resourceVersion", ""),
                                    include == NULL ? "Metadata" : include, clock_wall_ms());

        json_decref(items);
        obj = table;
    }
    rest_json(r, 200, obj);
}

void rest_get(struct rest *r)
{
    if (any_version(r)) {
        get_answer(r);
    } else {
        rest_read_then(r, get_answer);
    }
}

/* --- collections -------------------------------------------------------------------------------
 */

struct list {
    struct rest *r;
    const char *labels, *fields;
    uint64_t limit;
    json_t *items;
    char *last_key; /* of the last item, when there are more behind it */
    bool more;
    struct err err;
};

static bool list_visit(void *ctx, const struct kv *v)
{
    struct list *l = ctx;
    json_t *obj;
    bool match = true;

    if (l->limit != 0 && json_array_size(l->items) >= l->limit) {
        l->more = true;
        return false;
    }
    obj = object_present(l->r->k, v, &l->err);
    if (obj == NULL) {
        return false;
    }
    if (l->labels != NULL &&
        selector_match(l->labels, jget(obj, "metadata.labels"), &match, &l->err) != 0) {
        json_decref(obj);
        return false;
    }
    if (match && l->fields != NULL && field_selector_match(l->fields, obj, &match, &l->err) != 0) {
        json_decref(obj);
        return false;
    }
    if (match) {
        (void)json_array_append(l->items, obj);
        free(l->last_key);
        l->last_key = mem_strdup(kv_key(v));
    }
    json_decref(obj);
    return true;
}

/* continue = base64 of "REVISION KEY": go on behind KEY at REVISION. */
static char *continue_make(uint64_t rev, const char *key)
{
    char *plain = mem_printf("%" PRIu64 " %s", rev, key);
    size_t n = strlen(plain);
    char *out = mem_alloc(4 * ((n + 2) / 3) + 1);

    str_b64_encode(plain, n, out);
    free(plain);
    return out;
}

static bool continue_parse(const char *text, uint64_t *rev, char *key, size_t size)
{
    char plain[OBJECT_KEY_MAX + 32];
    size_t n = strlen(text);
    char *space;

    if (!str_b64_decode(text, n, (uint8_t *)plain, sizeof(plain) - 1, &n)) {
        return false;
    }
    plain[n] = 0;
    space = strchr(plain, ' ');
    if (space == NULL) {
        return false;
    }
    *space = 0;
    return str_parse_u64(plain, rev) && str_copy(key, size, space + 1);
}

static json_t *list_json(struct list *l, uint64_t rev)
{
    struct rest *r = l->r;
    char kind[80];
    char text[24];
    json_t *list;

    (void)snprintf(text, sizeof(text), "%" PRIu64, rev);
    if (rest_wants_table(r)) {
        const char *include = http_req_query(r->req, "includeObject");

        list = table_build(r->k, l->items, text, include == NULL ? "Metadata" : include,
                           clock_wall_ms());
    } else {
        (void)snprintf(kind, sizeof(kind), "%sList", r->k->name);
        list = json_pack("{s:s, s:s, s:{s:s}, s:O}", "apiVersion", API_VERSION, "kind", kind,
                         "metadata", "resourceVersion", text, "items", l->items);
    }
    if (l->more) {
        char *token = continue_make(rev, l->last_key);

        jset(list, "metadata.continue", json_string(token));
        free(token);
    }
    return list;
}

static int list_start(struct list *l, uint64_t *rev, char *from, size_t size)
{
    const char *token = http_req_query(l->r->req, "continue");
    const char *limit = http_req_query(l->r->req, "limit");
    struct store *s = l->r->node->store;

    if (limit != NULL && !str_parse_u64(limit, &l->limit)) {
        return err_set(&l->err, ERR_BAD_REQUEST, "limit=%.40s is not a number", limit);
    }
    *rev = store_rev(s);
    if (token != NULL && *token != 0) {
        if (!continue_parse(token, rev, from, size)) {
            return err_set(&l->err, ERR_BAD_REQUEST, "the continue token is damaged: list again");
        }
        if (*rev < store_compact_rev(s) || *rev > store_rev(s)) {
            return err_set(&l->err, ERR_COMPACTED, "the continue token has expired: list again");
        }
    }
    return 0;
}

static void list_answer(struct rest *r)
{
    struct list l = { .r = r, .items = json_array() };
    char prefix[OBJECT_KEY_MAX];
    char from[OBJECT_KEY_MAX + 2];
    char end[OBJECT_KEY_MAX];
    uint64_t rev;
    size_t n;

    object_prefix(r->k, prefix, sizeof(prefix));
    (void)str_copy(from, sizeof(from), prefix);
    l.labels = http_req_query(r->req, "labelSelector");
    l.fields = http_req_query(r->req, "fieldSelector");
    if (list_start(&l, &rev, from, sizeof(from) - 1) == 0) {
        n = strlen(from);
        if (strcmp(from, prefix) != 0) {
            from[++n] = 0; /* the key right behind the last one: it plus a NUL byte */
        }
        (void)str_copy(end, sizeof(end), prefix);
        end[strlen(end) - 1]++; /* '/' + 1: the end of the prefix */
        store_range(r->node->store, from, n, end, strlen(end), rev, list_visit, &l);
    }
    if (l.err.code != 0) {
        rest_err(r, &l.err);
    } else {
        rest_json(r, 200, list_json(&l, rev));
    }
    free(l.last_key);
    json_decref(l.items);
}

void rest_list(struct rest *r)
{
    if (any_version(r)) {
        list_answer(r);
    } else {
        rest_read_then(r, list_answer);
    }
}
