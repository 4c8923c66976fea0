/* A user who now and then writes a number into an object and watches it: what was acknowledged must
 * be there afterwards (P6), and a watcher sees every change once, in order, or is told to list
 * again (P7). */

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "api/client.h"
#include "api/valid.h"
#include "base/str.h"
#include "tests/sim/sim_priv.h"

#define NOTE "note"
#define EVERY_MS 1500U

struct simwriter { /* in the user's heap */
    struct sim *s;
    struct proc *p;
    struct api_watch *watch;
    uv_timer_t timer;
    bool on, busy, listing;
    uint64_t n;      /* being written, or written last */
    uint64_t acked;  /* the newest that was acknowledged */
    uint64_t unsure; /* the newest that was once not answered: that attempt may still be applied */
    uint64_t seen;   /* by the watcher */
    uint64_t most;   /* the highest that it saw */
    uint64_t seen_rv;
};

static uint64_t number_of(const json_t *obj)
{
    const json_t *v = json_object_get(jget(obj, "metadata.annotations"), "n");
    uint64_t n = 0;

    return json_is_string(v) && str_parse_u64(json_string_value(v), &n) ? n : 0;
}

static void on_written(void *data, const struct err *err, json_t *obj)
{
    struct simwriter *w = data;

    w->busy = false;
    if (err != NULL) {
        w->unsure = w->n;
        return; /* the same again: a merge patch may happen twice */
    }
    w->s->stats.requests++;
    if (number_of(obj) != w->n) {
        sim_violate(w->s, "P6: a write of %" PRIu64 " was acknowledged with %" PRIu64, w->n,
                    number_of(obj));
    }
    w->acked = w->n;
}

static void on_timer(uv_timer_t *t)
{
    struct simwriter *w = t->data;
    char text[32];
    json_t *patch;

    if (!w->on || w->busy) {
        return;
    }
    if (w->acked == w->n) {
        w->n++;
    }
    w->busy = true;
    (void)snprintf(text, sizeof(text), "%" PRIu64, w->n);
    patch = json_pack("{s:{s:{s:s}}}", "metadata", "annotations", "n", text);
    (void)api_patch(w->p->api, "volumes", NOTE, NULL, "application/merge-patch+json", NULL, patch,
                    on_written, w);
    json_decref(patch);
}

static void on_sync_begin(void *data)
{
    ((struct simwriter *)data)->listing = true;
}

static void on_synced(void *data)
{
    ((struct simwriter *)data)->listing = false;
}

static void on_object(void *data, enum api_event type, json_t *obj)
{
    struct simwriter *w = data;
    uint64_t n = number_of(obj), rv = 0;

    if (!str_eq(jget_str(obj, "metadata.name", ""), NOTE) || type == API_DELETED) {
        return;
    }
    (void)str_parse_u64(jget_str(obj, "metadata.resourceVersion", "0"), &rv);
    if (rv == w->seen_rv) {
        return; /* named a second time after a reconnect */
    }
    if (rv < w->seen_rv || (n < w->seen && n > w->unsure)) {
        sim_violate(w->s, "P7: a watcher saw %" PRIu64 " after %" PRIu64, n, w->seen);
    } else if (n > w->most + 1 && !w->listing) {
        sim_violate(w->s, "P7: a watcher missed %" PRIu64 " to %" PRIu64, w->most + 1, n - 1);
    }
    w->seen = n;
    w->most = n > w->most ? n : w->most;
    w->seen_rv = rv;
}

static const char note_yaml[] =
    "apiVersion: picket/v1\nkind: VolumeGroup\nmetadata: {name: vgnote}\n"
    "spec: {luns: [lunnote]}\n---\napiVersion: picket/v1\nkind: LUN\n"
    "metadata: {name: lunnote}\nspec: {wwid: naa-note}\n"
    "---\napiVersion: picket/v1\nkind: Volume\nmetadata: {name: " NOTE
    "}\nspec: {volumeGroup: vgnote, size: 1Gi, access: Exclusive}\n";

static void begin(struct sim *s)
{
    static const struct api_watch_cbs cbs = { .on_sync_begin = on_sync_begin,
                                              .on_object = on_object,
                                              .on_synced = on_synced };
    struct proc *p = &s->admin->procs[0];
    struct proc *before = sim_enter(p);
    struct simwriter *w = OBJ_NEW(struct simwriter);

    w->s = s;
    w->p = p;
    CHECK(uv_timer_init(p->loop, &w->timer) == 0);
    w->timer.data = w;
    CHECK(uv_timer_start(&w->timer, on_timer, EVERY_MS, EVERY_MS) == 0);
    w->watch = api_watch_new(p->api, "volumes", &cbs, w);
    s->writer = w;
    sim_leave(before);
}

void sim_writers(struct sim *s, bool on)
{
    struct err err;

    if (s->writer == NULL && on) {
        if (sim_apply(s, note_yaml, 60000, &err) != 0) {
            sim_violate(s, "the writer's object was not taken: %s", err.msg);
            return;
        }
        begin(s);
    }
    if (s->writer != NULL) {
        s->writer->on = on;
    }
}

/* What is under way has ended, and the watcher has seen it. */
static bool caught_up(struct sim *s, void *ctx)
{
    const struct simwriter *w = ctx;

    (void)s;
    return !w->busy && w->acked == w->n && w->seen == w->n;
}

/* When everything is well again. */
void writer_final(struct sim *s)
{
    struct simwriter *w = s->writer;
    json_t *obj = NULL;
    struct err err;
    uint64_t n;

    if (w == NULL) {
        return;
    }
    w->on = false;
    (void)sim_run_until(s, caught_up, w, 15000);
    if (sim_get(s, "volumes", NOTE, &obj, &err) != 0) {
        sim_violate(s, "P6: the writer's object cannot be read: %s", err.msg);
        return;
    }
    n = number_of(obj);
    json_decref(obj);
    sim_log(s, "user: wrote %" PRIu64 ", acknowledged %" PRIu64 ", seen %" PRIu64 ", read %" PRIu64,
            w->n, w->acked, w->seen, n);
    if ((n < w->acked && n > w->unsure) || n > w->n) {
        sim_violate(s, "P6: %" PRIu64 " was acknowledged, and %" PRIu64 " is there", w->acked, n);
    }
    if (w->seen != n) {
        sim_violate(s, "P7: %" PRIu64 " is there, and the watcher saw %" PRIu64, n, w->seen);
    }
}
