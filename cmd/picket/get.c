/* picket get, get -w, describe. */

#include "cmd/picket/cli.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "api/table.h"
#include "api/valid.h"
#include "base/clock.h"
#include "base/obj.h"
#include "base/str.h"

struct get_args {
    enum cli_output out;
    const char *labels;
    const char *fields;
    bool watch;
    bool watch_only;
    bool heads;
    bool events;
    bool ignore_missing;
};

/* ---- once ---- */

/* The objects of one reference: 0, ERR_NOT_FOUND, ... */
static int fetch(struct cli *c, const struct get_args *a, const struct cli_ref *ref,
                 json_t **ret_items, struct err *err)
{
    json_t *obj = NULL;
    int rc;

    if (ref->name == NULL) {
        return cli_list(c, ref->kind->plural, a->labels, a->fields, ret_items, err);
    }
    rc = cli_get(c, ref->kind->plural, ref->name, &obj, err);
    if (rc == 0) {
        *ret_items = json_array();
        (void)json_array_append_new(*ret_items, obj);
    }
    return rc;
}

struct got {
    const struct kind *kind;
    json_t *items;
};

/* References of one kind that stand side by side become one table. */
static void merge(struct got *groups, size_t *n, const struct kind *k, json_t *items)
{
    if (*n > 0 && groups[*n - 1].kind == k) {
        (void)json_array_extend(groups[*n - 1].items, items);
        json_decref(items);
    } else {
        groups[(*n)++] = (struct got){ k, items };
    }
}

static void print_groups(const struct get_args *a, const struct cli_refs *refs,
                         const struct got *groups, size_t n)
{
    bool single = refs->n == 1 && refs->items[0].name != NULL;
    bool tables = a->out == OUT_TABLE || a->out == OUT_WIDE;
    bool first = true;
    json_t *all;

    if (!tables && a->out != OUT_NAME) {
        all = json_array();
        for (size_t i = 0; i < n; i++) {
            (void)json_array_extend(all, groups[i].items);
        }
        if (!single || json_array_size(all) == 1) {
            cli_print(a->out, NULL, all, !single, true, false);
        }
        json_decref(all);
        return;
    }
    for (size_t i = 0; i < n; i++) {
        if (json_array_size(groups[i].items) == 0) {
            continue;
        }
        if (tables && !first) {
            (void)putchar('\n');
        }
        first = false;
        cli_print(a->out, groups[i].kind, groups[i].items, true, a->heads, refs->several_kinds);
    }
}

static int get_once(struct cli *c, const struct get_args *a, const struct cli_refs *refs)
{
    struct got *groups = mem_alloc(refs->n * sizeof(groups[0]));
    size_t n = 0, total = 0;
    int exit_code = CLI_OK;

    for (size_t i = 0; i < refs->n; i++) {
        struct err err = { 0 };
        json_t *items = NULL;
        int rc = fetch(c, a, &refs->items[i], &items, &err);

        if (rc == 0) {
            total += json_array_size(items);
            merge(groups, &n, refs->items[i].kind, items);
        } else if (rc != ERR_NOT_FOUND || !a->ignore_missing) {
            exit_code = cli_fail(c, &err);
            if (rc != ERR_NOT_FOUND) {
                break;
            }
        }
    }
    print_groups(a, refs, groups, n);
    if (total == 0 && exit_code == CLI_OK && (a->out == OUT_TABLE || a->out == OUT_WIDE)) {
        cli_say("No %s found.", refs->several_kinds ? "objects" : refs->items[0].kind->plural);
    }
    for (size_t i = 0; i < n; i++) {
        json_decref(groups[i].items);
    }
    free(groups);
    return exit_code;
}

/* ---- watching ---- */

#define WATCH_COLUMNS 32

struct get_watch {
    const struct get_args *args;
    const struct cli_ref *ref;
    bool several;
    struct api_watch *watch;
    json_t *versions; /* name -> resourceVersion printed last */
    json_t *first;    /* objects of the first list, until it is complete */
    json_t *fresh;    /* names seen in the list that is under way */
    size_t widths[WATCH_COLUMNS];
};

static const char *event_name(enum api_event type)
{
    switch (type) {
    case API_ADDED:
        return "ADDED";
    case API_MODIFIED:
        return "MODIFIED";
    case API_DELETED:
        return "DELETED";
    }
    CHECK_UNREACHABLE();
}

static bool column_shown(const struct get_args *a, const struct column *col)
{
    return !col->wide || a->out == OUT_WIDE;
}

static char *cell(const struct get_watch *w, const struct column *col, const json_t *obj,
                  bool is_name)
{
    char *text = column_text(col, obj, clock_wall_ms());
    char *with_kind;

    if (!is_name || !w->several) {
        return text;
    }
    with_kind = mem_printf("%s/%s", w->ref->kind->singular, text);
    free(text);
    return with_kind;
}

static void fit(struct get_watch *w, const json_t *items)
{
    json_t *v;
    size_t i, n = 0;

    for (const struct column *col = w->ref->kind->columns; col->title != NULL; col++, n++) {
        CHECK(n < WATCH_COLUMNS);
        w->widths[n] = strlen(col->title);
        json_array_foreach (items, i, v) {
            char *text = cell(w, col, v, n == 0);

            w->widths[n] = strlen(text) > w->widths[n] ? strlen(text) : w->widths[n];
            free(text);
        }
    }
}

static void upper(char *s)
{
    for (; *s != 0; s++) {
        *s = *s >= 'a' && *s <= 'z' ? (char)(*s - 'a' + 'A') : *s;
    }
}

/* One line; obj NULL: the headings. */
static void row(struct get_watch *w, const char *event, const json_t *obj)
{
    struct buf b = { 0 };
    size_t n = 0;

    if (w->args->events) {
        buf_printf(&b, "%-10s", obj == NULL ? "EVENT" : event);
    }
    for (const struct column *col = w->ref->kind->columns; col->title != NULL; col++, n++) {
        char *text;

        if (!column_shown(w->args, col)) {
            continue;
        }
        text = obj == NULL ? mem_strdup(col->title) : cell(w, col, obj, n == 0);
        if (obj == NULL) {
            upper(text);
        }
        buf_printf(&b, "%-*s   ", (int)w->widths[n], text);
        free(text);
    }
    while (b.len > 0 && b.data[b.len - 1] == ' ') {
        b.len--;
    }
    if (obj != NULL && str_eq(event, "DELETED") && !w->args->events) {
        buf_add_str(&b, "   (deleted)");
    }
    buf_add_byte(&b, '\n');
    cli_flush(&b);
    buf_done(&b);
}

static void print_change(struct get_watch *w, enum api_event type, json_t *obj)
{
    switch (w->args->out) {
    case OUT_TABLE:
    case OUT_WIDE:
        row(w, event_name(type), obj);
        break;
    case OUT_NAME:
        (void)printf("%s/%s\n", w->ref->kind->singular, obj_name(obj));
        break;
    case OUT_JSON:
    case OUT_YAML:
        if (w->args->events) {
            obj = json_pack("{s:s, s:O}", "type", event_name(type), "object", obj);
        } else {
            obj = json_incref(obj);
        }
        if (w->args->out == OUT_JSON) {
            cli_print_json(obj);
        } else {
            (void)puts("---");
            cli_print_yaml(obj);
        }
        json_decref(obj);
        break;
    }
    (void)fflush(stdout);
}

static void on_begin(void *data)
{
    struct get_watch *w = data;

    json_decref(w->fresh);
    w->fresh = json_object();
}

static bool is_ours(const struct get_watch *w, const json_t *obj)
{
    return w->ref->name == NULL || str_eq(w->ref->name, obj_name(obj));
}

static void on_object(void *data, enum api_event type, json_t *obj)
{
    struct get_watch *w = data;
    const char *version = jget_str(obj, "metadata.resourceVersion", "");
    const char *before = json_string_value(json_object_get(w->versions, obj_name(obj)));

    if (!is_ours(w, obj)) {
        return;
    }
    if (w->fresh != NULL) {
        (void)json_object_set_new(w->fresh, obj_name(obj), json_true());
    }
    if (type == API_DELETED) {
        (void)json_object_del(w->versions, obj_name(obj));
        print_change(w, type, obj);
        return;
    }
    if (str_eq(before, version)) {
        return; /* listed again after a reconnect */
    }
    type = before == NULL ? API_ADDED : API_MODIFIED;
    (void)json_object_set_new(w->versions, obj_name(obj), json_string(version));
    if (w->first != NULL) {
        (void)json_array_append(w->first, obj);
    } else {
        print_change(w, type, obj);
    }
}

static void first_list(struct get_watch *w)
{
    json_t *v;
    size_t i;

    fit(w, w->first);
    if (w->args->heads && (w->args->out == OUT_TABLE || w->args->out == OUT_WIDE)) {
        row(w, "", NULL);
    }
    if (!w->args->watch_only) {
        json_array_foreach (w->first, i, v) {
            print_change(w, API_ADDED, v);
        }
    }
    json_decref(w->first);
    w->first = NULL;
}

static void on_synced(void *data)
{
    struct get_watch *w = data;
    const char *name;
    json_t *v;
    void *tmp;

    if (w->first != NULL) {
        first_list(w);
    }
    /* What went away while the watch was interrupted. */
    json_object_foreach_safe(w->versions, tmp, name, v)
    {
        if (json_object_get(w->fresh, name) == NULL) {
            json_t *gone = json_pack("{s:s, s:s, s:{s:s}}", "apiVersion", API_VERSION, "kind",
                                     w->ref->kind->name, "metadata", "name", name);

            print_change(w, API_DELETED, gone);
            json_decref(gone);
            (void)json_object_del(w->versions, name);
        }
    }
    json_decref(w->fresh);
    w->fresh = NULL;
}

static void on_disconnected(void *data, const struct err *err)
{
    struct get_watch *w = data;

    (void)w;
    if (err != NULL) {
        cli_say("picket: the watch was interrupted and goes on: %s", err->msg);
    }
}

static int get_watch(struct cli *c, const struct get_args *a, const struct cli_refs *refs)
{
    static const struct api_watch_cbs cbs = { .on_sync_begin = on_begin,
                                              .on_object = on_object,
                                              .on_synced = on_synced,
                                              .on_disconnected = on_disconnected };
    struct get_watch *ws = mem_alloc(refs->n * sizeof(ws[0]));
    struct buf q = { 0 };

    cli_query(&q, "labelSelector", a->labels);
    cli_query(&q, "fieldSelector", a->fields);
    for (size_t i = 0; i < refs->n; i++) {
        ws[i] = (struct get_watch){ .args = a,
                                    .ref = &refs->items[i],
                                    .several = refs->several_kinds,
                                    .versions = json_object(),
                                    .first = json_array() };
        ws[i].watch = api_watch_query(c->client, refs->items[i].kind->plural,
                                      q.len > 0 ? buf_cstr(&q) : NULL, &cbs, &ws[i]);
    }
    (void)uv_run(&c->loop, UV_RUN_DEFAULT); /* until a signal ends the program */
    buf_done(&q);
    for (size_t i = 0; i < refs->n; i++) {
        api_watch_free(ws[i].watch);
        json_decref(ws[i].versions);
        json_decref(ws[i].first);
        json_decref(ws[i].fresh);
    }
    free(ws);
    return CLI_OK;
}

static int get_options(struct cli *c, int argc, char **argv, struct get_args *a)
{
    static const struct option options[] = {
        { "output", required_argument, NULL, 'o' },
        { "selector", required_argument, NULL, 'l' },
        { "field-selector", required_argument, NULL, 1 },
        { "watch", no_argument, NULL, 'w' },
        { "watch-only", no_argument, NULL, 2 },
        { "no-headers", no_argument, NULL, 3 },
        { "output-watch-events", no_argument, NULL, 4 },
        { "ignore-not-found", no_argument, NULL, 5 },
        { NULL, 0, NULL, 0 },
    };
    int o;

    *a = (struct get_args){ .heads = true };
    while ((o = cli_getopt(c, argc, argv, "o:l:w", options)) != -1) {
        switch (o) {
        case 'o':
            if (!cli_parse_output(optarg, &a->out)) {
                return cli_bad_usage(c, "-o %s: want json, yaml, wide or name", optarg);
            }
            break;
        case 'l':
            a->labels = optarg;
            break;
        case 1:
            a->fields = optarg;
            break;
        case 2:
            a->watch_only = true;
            a->watch = true;
            break;
        case 'w':
            a->watch = true;
            break;
        case 3:
            a->heads = false;
            break;
        case 4:
            a->events = true;
            break;
        case 5:
            a->ignore_missing = true;
            break;
        default:
            return cli_usage(c);
        }
    }
    return CLI_OK;
}

int verb_get(struct cli *c, int argc, char **argv)
{
    struct get_args a;
    struct cli_refs refs;
    int rc = get_options(c, argc, argv, &a);

    if (rc != CLI_OK || c->usage_only) {
        return rc;
    }
    rc = cli_parse_refs(c, argv + optind, (size_t)(argc - optind), &refs);
    if (rc != CLI_OK) {
        return rc;
    }
    if (refs.items[0].name != NULL && (a.labels != NULL || a.fields != NULL)) {
        rc = cli_bad_usage(c, "give names or a selector, not both");
    } else {
        rc = cli_connect(c);
    }
    if (rc == CLI_OK) {
        rc = a.watch ? get_watch(c, &a, &refs) : get_once(c, &a, &refs);
    }
    cli_refs_done(&refs);
    return rc;
}

/* ---- describe ---- */

static int describe_ref(struct cli *c, const char *labels, const struct cli_ref *ref, bool *first)
{
    struct get_args a = { .labels = labels };
    struct err err = { 0 };
    json_t *items = NULL, *v;
    struct buf b = { 0 };
    size_t i;

    if (fetch(c, &a, ref, &items, &err) != 0) {
        return cli_fail(c, &err);
    }
    json_array_foreach (items, i, v) {
        if (!*first) {
            buf_add_str(&b, "\n\n");
        }
        *first = false;
        describe_print(ref->kind, v, clock_wall_ms(), &b);
        cli_flush(&b);
    }
    buf_done(&b);
    json_decref(items);
    return CLI_OK;
}

int verb_describe(struct cli *c, int argc, char **argv)
{
    static const struct option options[] = { { "selector", required_argument, NULL, 'l' },
                                             { NULL, 0, NULL, 0 } };
    const char *labels = NULL;
    struct cli_refs refs;
    bool first = true;
    int o, rc, exit_code = CLI_OK;

    while ((o = cli_getopt(c, argc, argv, "l:", options)) != -1) {
        if (o != 'l') {
            return cli_usage(c);
        }
        labels = optarg;
    }
    rc = cli_parse_refs(c, argv + optind, (size_t)(argc - optind), &refs);
    if (rc != CLI_OK) {
        return rc;
    }
    rc = cli_connect(c);
    for (size_t i = 0; rc == CLI_OK && i < refs.n; i++) {
        int one = describe_ref(c, labels, &refs.items[i], &first);

        exit_code = one != CLI_OK ? one : exit_code;
    }
    cli_refs_done(&refs);
    return rc != CLI_OK ? rc : exit_code;
}

/* ---- explain, api-resources ---- */

int verb_resources(struct cli *c, int argc, char **argv)
{
    static const struct option options[] = { { NULL, 0, NULL, 0 } };

    if (cli_getopt(c, argc, argv, "", options) != -1) {
        return cli_usage(c);
    }
    if (argc != optind) {
        return cli_bad_usage(c, "takes no arguments");
    }
    (void)printf("%-20s%-12s%-20s%s\n", "NAME", "SHORTNAMES", "KIND", "DESCRIPTION");
    for (size_t i = 0; i < kind_count(); i++) {
        const struct kind *k = kind_at(i);
        struct buf shorts = { 0 };

        for (size_t j = 0; k->short_names != NULL && k->short_names[j] != NULL; j++) {
            buf_printf(&shorts, "%s%s", j > 0 ? "," : "", k->short_names[j]);
        }
        (void)printf("%-20s%-12s%-20s%s\n", k->plural, buf_cstr(&shorts), k->name, k->text);
        buf_done(&shorts);
    }
    return CLI_OK;
}
