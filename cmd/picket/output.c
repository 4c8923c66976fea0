#include "cmd/picket/cli.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "api/manifest.h"
#include "api/table.h"
#include "api/valid.h"
#include "base/clock.h"
#include "base/obj.h"
#include "base/str.h"

void cli_flush(struct buf *b)
{
    (void)fwrite(b->data, 1, b->len, stdout);
    (void)fflush(stdout);
    buf_clear(b);
}

bool cli_parse_output(const char *text, enum cli_output *ret)
{
    static const struct {
        const char *name;
        enum cli_output out;
    } names[] = { { "wide", OUT_WIDE },
                  { "json", OUT_JSON },
                  { "yaml", OUT_YAML },
                  { "name", OUT_NAME },
                  { "table", OUT_TABLE } };

    for (size_t i = 0; i < ARRAY_LEN(names); i++) {
        if (str_eq(text, names[i].name)) {
            *ret = names[i].out;
            return true;
        }
    }
    return false;
}

void cli_print_json(const json_t *v)
{
    char *text = json_dumps(v, JSON_INDENT(2) | JSON_ENCODE_ANY);

    CHECK(text != NULL);
    (void)printf("%s\n", text);
    free(text);
}

void cli_print_yaml(const json_t *v)
{
    char *text = json_to_yaml(v);

    (void)fputs(text, stdout);
    if (!str_ends(text, "\n")) {
        (void)fputc('\n', stdout);
    }
    free(text);
}

void cli_kind_name(const struct kind *k, const char *name, struct buf *b)
{
    buf_printf(b, "%s/%s", k->singular, name);
}

/* The objects with "kind/" before their names, as a table of several kinds shows them. */
static json_t *prefixed(const struct kind *k, const json_t *items)
{
    json_t *out = json_array();
    json_t *v;
    size_t i;

    json_array_foreach (items, i, v) {
        json_t *copy = json_copy(v);
        json_t *meta = json_copy(json_object_get(v, "metadata"));

        (void)json_object_set_new(meta, "name", json_sprintf("%s/%s", k->singular, obj_name(v)));
        (void)json_object_set_new(copy, "metadata", meta);
        (void)json_array_append_new(out, copy);
    }
    return out;
}

static void print_table(bool wide, const struct kind *k, const json_t *items, bool heads,
                        bool with_kind)
{
    struct buf b = { 0 };
    json_t *named = with_kind ? prefixed(k, items) : NULL;

    table_print(k, named != NULL ? named : items, wide, heads, clock_wall_ms(), &b);
    json_decref(named);
    cli_flush(&b);
    buf_done(&b);
}

static json_t *as_list_object(const json_t *items)
{
    return json_pack("{s:s, s:s, s:{}, s:O}", "apiVersion", "v1", "kind", "List", "metadata",
                     "items", items);
}

static void print_names(const struct kind *k, const json_t *items)
{
    size_t i;
    json_t *v;

    json_array_foreach (items, i, v) {
        (void)printf("%s/%s\n", k->singular, obj_name(v));
    }
}

void cli_print(enum cli_output out, const struct kind *k, const json_t *items, bool as_list,
               bool heads, bool with_kind)
{
    json_t *all = NULL;
    const json_t *v;

    switch (out) {
    case OUT_TABLE:
    case OUT_WIDE:
        print_table(out == OUT_WIDE, k, items, heads, with_kind);
        return;
    case OUT_NAME:
        print_names(k, items);
        return;
    case OUT_JSON:
    case OUT_YAML:
        all = as_list ? as_list_object(items) : NULL;
        v = all != NULL ? all : json_array_get(items, 0);
        if (out == OUT_JSON) {
            cli_print_json(v);
        } else {
            cli_print_yaml(v);
        }
        json_decref(all);
        return;
    }
    CHECK_UNREACHABLE();
}

/* ---- kinds and names ---- */

#define WORD_MAX 40

static bool alike(char a, char b)
{
    return tolower((unsigned char)a) == tolower((unsigned char)b);
}

static size_t least(size_t a, size_t b)
{
    return a < b ? a : b;
}

/* Edits between two short words, two letters swapped counted as one (optimal string alignment),
 * without regard to case. */
static size_t distance(const char *a, const char *b)
{
    size_t na = strlen(a), nb = strlen(b);
    size_t d[WORD_MAX][WORD_MAX];

    if (na >= WORD_MAX || nb >= WORD_MAX) {
        return SIZE_MAX;
    }
    for (size_t i = 0; i <= na; i++) {
        for (size_t j = 0; j <= nb; j++) {
            if (i == 0 || j == 0) {
                d[i][j] = i + j;
                continue;
            }
            d[i][j] = least(least(d[i - 1][j], d[i][j - 1]) + 1,
                            d[i - 1][j - 1] + (alike(a[i - 1], b[j - 1]) ? 0 : 1));
            if (i > 1 && j > 1 && alike(a[i - 1], b[j - 2]) && alike(a[i - 2], b[j - 1])) {
                d[i][j] = least(d[i][j], d[i - 2][j - 2] + 1);
            }
        }
    }
    return d[na][nb];
}

const char *cli_nearest(const char *word, const char *(*next)(void *ctx), void *ctx)
{
    size_t best = strlen(word) / 3 + 1; /* more edits than that are another word */
    const char *found = NULL;
    const char *w;

    while ((w = next(ctx)) != NULL) {
        size_t d = distance(word, w);

        if (d < best) {
            best = d;
            found = w;
        }
    }
    return found;
}

struct kind_words {
    size_t kind, word;
};

/* Plural, singular, short names of each kind in turn. */
static const char *next_kind_word(void *ctx)
{
    struct kind_words *at = ctx;

    while (at->kind < kind_count()) {
        const struct kind *k = kind_at(at->kind);
        size_t i = at->word++;
        const char *w = i == 0 ? k->plural : i == 1 ? k->singular : NULL;

        if (i >= 2 && k->short_names != NULL) {
            w = k->short_names[i - 2];
        }
        if (w != NULL) {
            return w;
        }
        *at = (struct kind_words){ .kind = at->kind + 1 };
    }
    return NULL;
}

const struct kind *cli_kind(struct cli *c, const char *text)
{
    const struct kind *k = kind_find(text);
    const char *near;
    struct kind_words at = { 0 };

    if (k != NULL) {
        return k;
    }
    near = cli_nearest(text, next_kind_word, &at);
    if (near != NULL) {
        cli_say("picket %s: there is no kind \"%s\"; did you mean \"%s\"?", c->verb, text, near);
    } else {
        cli_say("picket %s: there is no kind \"%s\"; `picket api-resources` lists them", c->verb,
                text);
    }
    return NULL;
}

static void add_ref(struct cli_refs *r, const struct kind *k, const char *name)
{
    r->items = mem_realloc(r->items, (r->n + 1) * sizeof(r->items[0]));
    r->several_kinds = r->several_kinds || (r->n > 0 && r->items[0].kind != k);
    r->items[r->n++] = (struct cli_ref){ k, name };
}

static int add_kinds(struct cli *c, char *words, char **names, size_t n_names, struct cli_refs *ret)
{
    char *save = NULL;

    for (char *w = strtok_r(words, ",", &save); w != NULL; w = strtok_r(NULL, ",", &save)) {
        const struct kind *k = cli_kind(c, w);

        if (k == NULL) {
            return CLI_USAGE;
        }
        if (n_names == 0) {
            add_ref(ret, k, NULL);
        }
        for (size_t i = 0; i < n_names; i++) {
            add_ref(ret, k, names[i]);
        }
    }
    return CLI_OK;
}

static void add_all(struct cli_refs *ret)
{
    for (size_t i = 0; i < kind_count(); i++) {
        add_ref(ret, kind_at(i), NULL);
    }
    ret->several_kinds = true;
}

static int add_pair(struct cli *c, char *pair, struct cli_refs *ret)
{
    char *slash = strchr(pair, '/');
    const struct kind *k;

    if (slash == NULL || slash[1] == 0) {
        return cli_bad_usage(c, "\"%s\": after KIND/NAME every argument must be KIND/NAME", pair);
    }
    *slash = 0;
    k = cli_kind(c, pair);
    if (k == NULL) {
        return CLI_USAGE;
    }
    add_ref(ret, k, slash + 1);
    return CLI_OK;
}

int cli_parse_refs(struct cli *c, char **args, size_t n, struct cli_refs *ret)
{
    char *words;
    int rc = CLI_OK;

    *ret = (struct cli_refs){ 0 };
    if (n == 0) {
        return cli_bad_usage(c, "which kind? `picket api-resources` lists them");
    }
    if (strchr(args[0], '/') != NULL) {
        for (size_t i = 0; rc == CLI_OK && i < n; i++) {
            rc = add_pair(c, args[i], ret);
        }
    } else if (str_eq(args[0], "all") && n == 1) {
        add_all(ret);
    } else {
        words = mem_strdup(args[0]);
        rc = add_kinds(c, words, args + 1, n - 1, ret);
        free(words);
    }
    if (rc != CLI_OK) {
        cli_refs_done(ret);
    }
    return rc;
}

void cli_refs_done(struct cli_refs *r)
{
    free(r->items);
    *r = (struct cli_refs){ 0 };
}
