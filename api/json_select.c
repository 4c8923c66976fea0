/* Label and field selectors, as Kubernetes has them. */

#include "api/json_path.h"
#include "api/valid.h"
#include "base/str.h"

#include <ctype.h>
#include <stdio.h>
#include <string.h>

#define SELECTOR_MAX 4096

enum sel_op { SEL_EXISTS, SEL_NOT_EXISTS, SEL_EQ, SEL_NE, SEL_IN, SEL_NOT_IN };

struct term {
    enum sel_op op;
    char key[PATH_STEP_MAX * 2];
    const char *values; /* SEL_IN, SEL_NOT_IN: behind "(" */
    char value[PATH_STEP_MAX * 2];
};

static const char *skip_space(const char *p)
{
    return p + strspn(p, " \t");
}

static int bad(const char *what, const char *selector, const char *p, struct err *err)
{
    return err_set(err, ERR_BAD_REQUEST, "selector \"%.100s\", at \"%.30s\": %s", selector, p,
                   what);
}

/* Copy the word at *p; false when there is none or it is too long. */
static bool take_word(const char **p, char *dst, size_t size)
{
    size_t n = 0;

    *p = skip_space(*p);
    while ((*p)[n] != 0 && strchr(" \t,=!()", (*p)[n]) == NULL) {
        n++;
    }
    if (n == 0 || n >= size) {
        return false;
    }
    memcpy(dst, *p, n);
    dst[n] = 0;
    *p = skip_space(*p + n);
    return true;
}

static void take_value(const char **p, char *dst, size_t size)
{
    if (!take_word(p, dst, size)) {
        dst[0] = 0; /* "a=" selects an empty value */
    }
}

/* "(x, y)": leaves t->values at the first word, moves behind ")". */
static int take_set(const char *selector, const char **p, struct term *t, struct err *err)
{
    const char *end;

    if (**p != '(') {
        return bad("a list in parentheses is missing: key in (a,b)", selector, *p, err);
    }
    t->values = *p + 1;
    end = strpbrk(t->values, "()");
    if (end == NULL || *end != ')') {
        return bad("the closing parenthesis is missing", selector, *p, err);
    }
    *p = skip_space(end + 1);
    return 0;
}

static int take_op(const char *selector, const char **p, struct term *t, struct err *err)
{
    if (**p == '=') {
        *p += (*p)[1] == '=' ? 2 : 1;
        t->op = SEL_EQ;
    } else if (str_starts(*p, "!=")) {
        *p += 2;
        t->op = SEL_NE;
    } else if (str_starts(*p, "in") && (strchr(" \t(", (*p)[2]) != NULL) && (*p)[2] != 0) {
        *p = skip_space(*p + 2);
        t->op = SEL_IN;
        return take_set(selector, p, t, err);
    } else if (str_starts(*p, "notin") && (strchr(" \t(", (*p)[5]) != NULL) && (*p)[5] != 0) {
        *p = skip_space(*p + 5);
        t->op = SEL_NOT_IN;
        return take_set(selector, p, t, err);
    } else {
        t->op = SEL_EXISTS;
        return 0;
    }
    take_value(p, t->value, sizeof(t->value));
    return 0;
}

static int take_term(const char *selector, const char **p, struct term *t, struct err *err)
{
    bool negated;
    int rc;

    memset(t, 0, sizeof(*t));
    *p = skip_space(*p);
    negated = **p == '!';
    *p += negated ? 1 : 0;
    if (!take_word(p, t->key, sizeof(t->key))) {
        return bad("a key is missing", selector, *p, err);
    }
    rc = take_op(selector, p, t, err);
    if (rc != 0) {
        return rc;
    }
    if (negated && t->op != SEL_EXISTS) {
        return bad("! goes with a key alone", selector, *p, err);
    }
    if (negated) {
        t->op = SEL_NOT_EXISTS;
    }
    if (**p != 0 && **p != ',') {
        return bad("a comma or the end is expected", selector, *p, err);
    }
    *p += **p == ',' ? 1 : 0;
    return 0;
}

static bool in_set(const char *p, const char *value)
{
    char word[PATH_STEP_MAX * 2];

    while (*p != ')' && *p != 0) {
        take_value(&p, word, sizeof(word));
        if (str_eq(word, value)) {
            return true;
        }
        p += strcspn(p, ",)");
        p += *p == ',' ? 1 : 0;
    }
    return false;
}

/* value: NULL when there is none. */
static bool term_holds(const struct term *t, const char *value)
{
    switch (t->op) {
    case SEL_EXISTS:
        return value != NULL;
    case SEL_NOT_EXISTS:
        return value == NULL;
    case SEL_EQ:
        return str_eq(value, t->value);
    case SEL_NE:
        return !str_eq(value, t->value);
    case SEL_IN:
        return value != NULL && in_set(t->values, value);
    case SEL_NOT_IN:
        return value == NULL || !in_set(t->values, value);
    }
    return false;
}

static int selector_size(const char *selector, struct err *err)
{
    return strlen(selector) <= SELECTOR_MAX
               ? 0
               : err_set(err, ERR_BAD_REQUEST, "a selector of more than %d bytes", SELECTOR_MAX);
}

int selector_match(const char *selector, const json_t *labels, bool *ret, struct err *err)
{
    const char *p = skip_space(selector);
    bool match = true;
    int rc = selector_size(selector, err);

    while (rc == 0 && *p != 0) {
        struct term t;

        rc = take_term(selector, &p, &t, err);
        if (rc == 0) {
            match = term_holds(&t, json_string_value(json_object_get(labels, t.key))) && match;
        }
    }
    if (rc == 0) {
        *ret = match;
    }
    return rc;
}

/* A scalar as text; an absent one is "" as in Kubernetes. */
static void scalar_text(const json_t *v, char *dst, size_t size)
{
    dst[0] = 0;
    if (json_is_string(v)) {
        (void)str_copy(dst, size, json_string_value(v));
    } else if (json_is_integer(v)) {
        (void)snprintf(dst, size, "%lld", (long long)json_integer_value(v));
    } else if (json_is_boolean(v)) {
        (void)str_copy(dst, size, json_is_true(v) ? "true" : "false");
    }
}

int field_selector_match(const char *selector, const json_t *obj, bool *ret, struct err *err)
{
    const char *p = skip_space(selector);
    bool match = true;
    int rc = selector_size(selector, err);

    while (rc == 0 && *p != 0) {
        char value[PATH_STEP_MAX * 2];
        struct term t;

        rc = take_term(selector, &p, &t, err);
        if (rc == 0 && t.op != SEL_EQ && t.op != SEL_NE) {
            rc = err_set(err, ERR_BAD_REQUEST,
                         "field selector \"%.100s\": only path=value and path!=value are known",
                         selector);
        }
        if (rc == 0) {
            scalar_text(jget(obj, t.key), value, sizeof(value));
            match = term_holds(&t, value) && match;
        }
    }
    if (rc == 0) {
        *ret = match;
    }
    return rc;
}

bool labels_match(const json_t *want, const json_t *labels)
{
    const char *key;
    json_t *v;

    json_object_foreach (json_loose(want), key, v) {
        if (!str_eq(json_string_value(v), json_string_value(json_object_get(labels, key))) ||
            !json_is_string(v)) {
            return false;
        }
    }
    return true;
}

bool obj_on_host(const json_t *obj, const char *host, const json_t *labels)
{
    const json_t *hosts = jget(obj, "spec.hosts");
    bool listed = hosts == NULL;

    for (size_t i = 0; i < json_array_size(hosts); i++) {
        listed = listed || str_eq(json_string_value(json_array_get(hosts, i)), host);
    }
    return listed && labels_match(jget(obj, "spec.hostSelector"), labels);
}
