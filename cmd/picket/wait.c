/* Waiting for objects: the helper that other verbs use, and `picket wait`. */

#include "cmd/picket/cli.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "api/valid.h"
#include "base/map.h"
#include "base/obj.h"
#include "base/str.h"

/* ---- the objects as they are now ---- */

struct waiting {
    struct cli *cli;
    const struct cli_wait *w;
    json_t *objects; /* name -> object */
    json_t *fresh;   /* while listing: names seen */
    bool synced;
    bool over;
    bool timed_out;
    bool said;
    uv_timer_t timer;
};

static void ask(struct waiting *wt)
{
    json_t *items = json_array();
    const char *name;
    json_t *v;

    json_object_foreach (wt->objects, name, v) {
        (void)json_array_append(items, v);
    }
    if (wt->synced && !wt->over && wt->w->done(wt->w->ctx, items)) {
        wt->over = true;
        uv_stop(&wt->cli->loop);
    }
    json_decref(items);
}

static void on_begin(void *data)
{
    struct waiting *wt = data;

    json_decref(wt->fresh);
    wt->fresh = json_object();
}

static void on_object(void *data, enum api_event type, json_t *obj)
{
    struct waiting *wt = data;

    if (type == API_DELETED) {
        (void)json_object_del(wt->objects, obj_name(obj));
    } else {
        (void)json_object_set(wt->objects, obj_name(obj), obj);
    }
    if (wt->fresh != NULL) {
        (void)json_object_set_new(wt->fresh, obj_name(obj), json_true());
    } else {
        ask(wt);
    }
}

static void on_synced(void *data)
{
    struct waiting *wt = data;
    const char *name;
    json_t *v;
    void *tmp;

    json_object_foreach_safe(wt->objects, tmp, name, v)
    {
        if (json_object_get(wt->fresh, name) == NULL) {
            (void)json_object_del(wt->objects, name);
        }
    }
    json_decref(wt->fresh);
    wt->fresh = NULL;
    wt->synced = true;
    ask(wt);
}

static void on_disconnected(void *data, const struct err *err)
{
    struct waiting *wt = data;

    if (!wt->said && err != NULL && wt->cli->verbose > 0) {
        cli_say("picket: the watch was interrupted and goes on: %s", err->msg);
        wt->said = true;
    }
}

static void on_timeout(uv_timer_t *t)
{
    struct waiting *wt = t->data;

    wt->timed_out = true;
    uv_stop(t->loop);
}

int cli_wait(struct cli *c, const struct cli_wait *w)
{
    static const struct api_watch_cbs cbs = { .on_sync_begin = on_begin,
                                              .on_object = on_object,
                                              .on_synced = on_synced,
                                              .on_disconnected = on_disconnected };
    struct waiting wt = { .cli = c, .w = w, .objects = json_object() };
    struct api_watch *watch;
    struct buf q = { 0 };

    cli_query(&q, "labelSelector", w->labels);
    cli_query(&q, "fieldSelector", w->fields);
    CHECK(uv_timer_init(&c->loop, &wt.timer) == 0);
    wt.timer.data = &wt;
    if (w->timeout_ms > 0) {
        uv_update_time(&c->loop);
        (void)uv_timer_start(&wt.timer, on_timeout, w->timeout_ms, 0);
    }
    watch = api_watch_query(c->client, w->plural, q.len > 0 ? buf_cstr(&q) : NULL, &cbs, &wt);
    while (!wt.over && !wt.timed_out) {
        (void)uv_run(&c->loop, UV_RUN_DEFAULT);
    }
    api_watch_free(watch);
    uv_close((uv_handle_t *)&wt.timer, NULL);
    (void)uv_run(&c->loop, UV_RUN_NOWAIT);
    buf_done(&q);
    json_decref(wt.objects);
    json_decref(wt.fresh);
    return wt.over ? CLI_OK : CLI_TIMEOUT;
}

/* ---- picket wait ---- */

enum wait_for { FOR_CONDITION, FOR_PHASE, FOR_DELETE };

struct wait_args {
    enum wait_for what;
    char type[128]; /* of the condition, or the phase */
    char value[64]; /* "True" */
    uint64_t timeout_ms;
    const char *labels;
};

/* One object (name), or all that match (name NULL). */
struct wait_one {
    const struct wait_args *args;
    const char *name;
    char now[256]; /* what the last one that is not ready says */
};

static bool parse_for(const char *text, struct wait_args *a)
{
    const char *eq;

    if (str_eq(text, "delete")) {
        a->what = FOR_DELETE;
        return true;
    }
    if (str_starts(text, "phase=")) {
        a->what = FOR_PHASE;
        return text[6] != 0 && str_copy(a->type, sizeof(a->type), text + 6);
    }
    if (!str_starts(text, "condition=")) {
        return false;
    }
    text += 10;
    eq = strchr(text, '=');
    a->what = FOR_CONDITION;
    (void)str_copy(a->value, sizeof(a->value), eq != NULL ? eq + 1 : "True");
    if (eq == NULL) {
        return *text != 0 && str_copy(a->type, sizeof(a->type), text);
    }
    (void)snprintf(a->type, sizeof(a->type), "%.*s", (int)(eq - text), text);
    return eq > text;
}

static bool holds(struct wait_one *o, const json_t *obj)
{
    const struct wait_args *a = o->args;
    const json_t *cond;
    const char *is;

    switch (a->what) {
    case FOR_PHASE:
        is = jget_str(obj, "status.phase", jget_str(obj, "status.state", "none yet"));
        (void)snprintf(o->now, sizeof(o->now), "%s: phase is %s", obj_name(obj), is);
        return str_eq(is, a->type);
    case FOR_CONDITION:
        cond = cond_get(obj, a->type);
        is = jget_str(cond, "status", "not reported yet");
        (void)snprintf(o->now, sizeof(o->now), "%s: %s is %s%s%s", obj_name(obj), a->type, is,
                       cond != NULL ? ": " : "", jget_str(cond, "message", ""));
        return str_eq(is, a->value);
    case FOR_DELETE:
        (void)snprintf(o->now, sizeof(o->now), "%s still exists", obj_name(obj));
        return false;
    }
    CHECK_UNREACHABLE();
}

static bool wait_done(void *ctx, const json_t *items)
{
    struct wait_one *o = ctx;
    size_t i, n = 0;
    bool all = true;
    json_t *v;

    json_array_foreach (items, i, v) {
        if (o->name == NULL || str_eq(obj_name(v), o->name)) {
            n++;
            all = all && holds(o, v);
        }
    }
    if (n == 0) {
        (void)snprintf(o->now, sizeof(o->now), "%s does not exist",
                       o->name != NULL ? o->name : "an object that matches");
        return o->args->what == FOR_DELETE;
    }
    return all;
}

static int wait_ref(struct cli *c, const struct cli_ref *ref, const struct wait_args *a)
{
    struct wait_one one = { .args = a, .name = ref->name };
    struct buf fields = { 0 };
    struct cli_wait w = { .plural = ref->kind->plural,
                          .labels = a->labels,
                          .timeout_ms = a->timeout_ms,
                          .done = wait_done,
                          .ctx = &one };
    int rc;

    if (ref->name != NULL) {
        buf_printf(&fields, "metadata.name=%s", ref->name);
        w.fields = buf_cstr(&fields);
    }
    rc = cli_wait(c, &w);
    if (rc == CLI_OK) {
        (void)printf("%s%s%s condition met\n",
                     ref->name != NULL ? ref->kind->singular : ref->kind->plural,
                     ref->name != NULL ? "/" : "", ref->name != NULL ? ref->name : "");
    } else {
        cli_say("picket wait: timed out waiting for %s%s%s: %s", ref->kind->singular,
                ref->name != NULL ? "/" : "", ref->name != NULL ? ref->name : "",
                *one.now != 0 ? one.now : "no member of the cluster answers");
    }
    buf_done(&fields);
    return rc;
}

static int wait_options(struct cli *c, int argc, char **argv, struct wait_args *a)
{
    static const struct option options[] = { { "for", required_argument, NULL, 1 },
                                             { "timeout", required_argument, NULL, 2 },
                                             { "selector", required_argument, NULL, 'l' },
                                             { NULL, 0, NULL, 0 } };
    bool given = false;
    int o;

    a->timeout_ms = 30000;
    while ((o = cli_getopt(c, argc, argv, "l:", options)) != -1) {
        switch (o) {
        case 1:
            given = parse_for(optarg, a);
            if (!given) {
                return cli_bad_usage(
                    c, "--for=%s: want condition=TYPE[=STATUS], phase=PHASE or delete", optarg);
            }
            break;
        case 2:
            if (!str_parse_duration(optarg, &a->timeout_ms)) {
                return cli_bad_usage(c, "--timeout %s: want a duration such as 30s", optarg);
            }
            break;
        case 'l':
            a->labels = optarg;
            break;
        default:
            return cli_usage(c);
        }
    }
    return given ? CLI_OK : cli_bad_usage(c, "--for says what to wait for");
}

int verb_wait(struct cli *c, int argc, char **argv)
{
    struct wait_args a = { 0 };
    struct cli_refs refs;
    int rc = wait_options(c, argc, argv, &a);

    if (rc != CLI_OK || c->usage_only) {
        return rc;
    }
    rc = cli_parse_refs(c, argv + optind, (size_t)(argc - optind), &refs);
    if (rc != CLI_OK) {
        return rc;
    }
    rc = cli_connect(c);
    for (size_t i = 0; rc == CLI_OK && i < refs.n; i++) {
        rc = wait_ref(c, &refs.items[i], &a);
    }
    cli_refs_done(&refs);
    return rc;
}
