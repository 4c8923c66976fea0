/* JSON as Picket itself writes it, read quickly: objects, arrays, plain strings, whole numbers.  A
 * text with anything else in it (escapes, bytes above ASCII, fractions, errors) goes to jansson, so
 * that there is one meaning and one set of error messages. */

#include <string.h>

#include "api/json_path.h"

#define QUICK_DEPTH 32U
#define QUICK_DIGITS 18U /* always fit */

struct quick {
    const char *p, *end;
    struct {
        json_t *v; /* owned */
        const char *key;
        size_t key_len;
        size_t n; /* members so far */
    } up[QUICK_DEPTH];
    unsigned depth;
};

static void skip_space(struct quick *q)
{
    while (q->p < q->end && (*q->p == ' ' || *q->p == '\n' || *q->p == '\t' || *q->p == '\r')) {
        q->p++;
    }
}

static bool take(struct quick *q, char c)
{
    skip_space(q);
    if (q->p == q->end || *q->p != c) {
        return false;
    }
    q->p++;
    return true;
}

/* After the opening quote: to the closing one. */
static bool plain(struct quick *q, const char **ret, size_t *ret_len)
{
    const char *from = q->p;

    while (q->p < q->end && *q->p >= ' ' && *q->p < 0x7f && *q->p != '"' && *q->p != '\\') {
        q->p++;
    }
    if (q->p == q->end || *q->p != '"') {
        return false;
    }
    *ret = from;
    *ret_len = (size_t)(q->p++ - from);
    return true;
}

static json_t *word(struct quick *q, const char *text, json_t *v)
{
    size_t len = strlen(text);

    if ((size_t)(q->end - q->p) < len || memcmp(q->p, text, len) != 0) {
        return NULL;
    }
    q->p += len;
    return v;
}

static json_t *whole(struct quick *q)
{
    bool minus = *q->p == '-';
    const char *from = q->p += minus;
    json_int_t n = 0;
    unsigned digits = 0;

    while (q->p < q->end && *q->p >= '0' && *q->p <= '9' && digits++ < QUICK_DIGITS) {
        n = n * 10 + (*q->p++ - '0');
    }
    if (q->p == from || (*from == '0' && (q->p > from + 1 || minus)) || q->p == q->end ||
        (*q->p >= '0' && *q->p <= '9') || *q->p == '.' || *q->p == 'e' || *q->p == 'E') {
        return NULL;
    }
    return json_integer(minus ? -n : n);
}

/* A value that holds no others; NULL: not one of ours. */
static json_t *leaf(struct quick *q)
{
    const char *text;
    size_t len;

    if (q->p == q->end) {
        return NULL;
    }
    switch (*q->p) {
    case '"':
        q->p++;
        return plain(q, &text, &len) ? json_stringn_nocheck(text, len) : NULL;
    case 't':
        return word(q, "true", json_true());
    case 'f':
        return word(q, "false", json_false());
    case 'n':
        return word(q, "null", json_null());
    default:
        return whole(q);
    }
}

static bool key(struct quick *q)
{
    return take(q, '"') && plain(q, &q->up[q->depth - 1].key, &q->up[q->depth - 1].key_len) &&
           take(q, ':');
}

/* One more value for the innermost container; steals v. */
static bool attach(struct quick *q, json_t *v)
{
    json_t *to = q->up[q->depth - 1].v;

    q->up[q->depth - 1].n++;
    if (json_is_array(to)) {
        return json_array_append_new(to, v) == 0;
    }
    return json_object_setn_new_nocheck(to, q->up[q->depth - 1].key, q->up[q->depth - 1].key_len,
                                        v) == 0;
}

/* The next value: a leaf, or a container that is empty; a container with something in it is opened,
 * and *ret is NULL. */
static bool begin(struct quick *q, json_t **ret)
{
    bool object;

    *ret = NULL;
    skip_space(q);
    if (q->p == q->end || (*q->p != '{' && *q->p != '[')) {
        *ret = leaf(q);
        return *ret != NULL;
    }
    if (q->depth == QUICK_DEPTH) {
        return false;
    }
    object = *q->p++ == '{';
    if (take(q, object ? '}' : ']')) {
        *ret = object ? json_object() : json_array();
        return *ret != NULL;
    }
    q->up[q->depth].n = 0;
    q->up[q->depth++].v = object ? json_object() : json_array();
    return q->up[q->depth - 1].v != NULL && (!object || key(q));
}

/* A value is complete: it, and every container that ends with it, goes where it belongs.  *ret: the
 * whole, once it is. */
static bool finish(struct quick *q, json_t *v, json_t **ret)
{
    for (;;) {
        json_t *up;

        if (q->depth == 0) {
            *ret = v;
            return true;
        }
        up = q->up[q->depth - 1].v;
        if (!attach(q, v)) {
            return false;
        }
        if (take(q, ',')) {
            return json_is_array(up) || key(q);
        }
        if (!take(q, json_is_array(up) ? ']' : '}') ||
            (json_is_object(up) && json_object_size(up) != q->up[q->depth - 1].n)) {
            return false; /* a member twice: whether that is right depends on the flags */
        }
        v = up;
        q->depth--;
    }
}

static json_t *quick(const char *text, size_t len)
{
    struct quick q = { .p = text, .end = text + len };
    json_t *v, *whole_text = NULL;
    bool ours = true;

    while (ours && whole_text == NULL) {
        ours = begin(&q, &v) && (v == NULL || finish(&q, v, &whole_text));
    }
    while (q.depth > 0) {
        json_decref(q.up[--q.depth].v);
    }
    skip_space(&q);
    if (whole_text != NULL &&
        (q.p != q.end || !(json_is_object(whole_text) || json_is_array(whole_text)))) {
        json_decref(whole_text);
        return NULL;
    }
    return whole_text;
}

json_t *json_load_quick(const char *text, size_t len, size_t flags, json_error_t *ret_err)
{
    json_t *v = quick(text, len);

    return v != NULL ? v : json_loadb(text, len, flags, ret_err);
}
