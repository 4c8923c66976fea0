#include "cmd/picketd/fence_test.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/obj.h"
#include "base/str.h"
#include "cmd/picketd/exec.h"
#include "cmd/picketd/object.h"
#include "cmd/picketd/probe.h"
#include "cmd/picketd/view.h"
#include "fence/decide_plan.h"

#define PEERS_MAX 32
#define HOLD_MS 180000U    /* longer than all picketds take; given back at the end */
#define PATIENCE_MS 30000U /* a probe, or another test; then it is asked all the same */
#define HOLD_AGAIN_MS 200U

struct test {
    struct rest *r;
    json_t *answer;
    struct rep_peer_info peers[PEERS_MAX];
    size_t n_peers;
    unsigned left; /* devices under way, and one for the walk itself */
};

/* One device, asked by one picketd after the other. */
struct asked {
    struct test *t;
    char device[256];
    json_t *executors; /* borrowed */
    size_t next;
    uint64_t began_ms;
    uint64_t owner;       /* of the hold */
    uint64_t patience_ms; /* until then a probe that is under way may end first */
    uv_timer_t timer;
};

static void test_done(struct test *t)
{
    if (--t->left == 0) {
        rest_json(t->r, 200, t->answer);
        free(t);
    }
}

static void ask_next(struct asked *q);
static void hold_probes(struct asked *q);

/* The device hears one client at a time: probes are held back, and one that is under way ends
 * first. */
static void on_hold_again(uv_timer_t *t)
{
    hold_probes(t->data);
}

static void on_held(void *ctx, bool free)
{
    struct asked *q = ctx;

    if (free || clock_now_ms() >= q->patience_ms) {
        ask_next(q);
    } else {
        CHECK(uv_timer_start(&q->timer, on_hold_again, HOLD_AGAIN_MS, 0) == 0);
    }
}

static void hold_probes(struct asked *q)
{
    prober_hold(q->t->r->node->prober, q->device, q->owner, HOLD_MS, on_held, q);
}

static void on_timer_closed(uv_handle_t *h)
{
    struct asked *q = h->data;
    struct test *t = q->t;

    free(q);
    test_done(t);
}

static void on_answer(void *ctx, const struct fence_answer *ans)
{
    struct asked *q = ctx;

    (void)json_array_append_new(
        q->executors,
        json_pack("{s:s, s:s, s:s, s:s, s:I}", "name", q->t->peers[q->next - 1].name, "result",
                  fence_outcome_name(ans->result), "power", fence_power_name(ans->power), "message",
                  ans->detail, "ms", (json_int_t)(clock_now_ms() - q->began_ms)));
    ask_next(q);
}

static void ask_next(struct asked *q)
{
    struct test *t = q->t;

    while (q->next < t->n_peers && str_eq(t->peers[q->next].name, t->r->name)) {
        q->next++; /* nobody fences himself */
    }
    if (q->next == t->n_peers) {
        prober_hold(t->r->node->prober, q->device, q->owner, 0, NULL, NULL);
        uv_close((uv_handle_t *)&q->timer, on_timer_closed);
        return;
    }
    q->began_ms = clock_now_ms();
    q->next++;
    prober_ask(t->r->node->prober, t->peers[q->next - 1].id, q->device, t->r->name,
               FENCE_ACTION_STATUS, on_answer, q);
}

/* Is there anything to ask? */
static const char *device_problem(enum fence_type type, const json_t *dev)
{
    if (dev == NULL) {
        return "there is no such FenceDevice";
    }
    if (jget_bool(dev, "spec.paused", false)) {
        return "it is paused";
    }
    if (type == FENCE_TYPE_MANUAL) {
        return "a person has to confirm: picket confirm-off";
    }
    return type == FENCE_TYPE_WATCHDOG ? "see watchdog" : NULL;
}

static const char *class_name(enum fence_class c)
{
    switch (c) {
    case FENCE_CLASS_NONE:
        return "None";
    case FENCE_CLASS_POWER:
        return "Power";
    case FENCE_CLASS_STORAGE:
        return "Storage";
    }
    CHECK_UNREACHABLE();
}

static json_t *add_device(struct test *t, const char *name)
{
    struct node *n = t->r->node;
    struct err err;
    json_t *dev = object_read(n->store, "fencedevices", name, &err);
    enum fence_type type = fence_type_parse(jget_str(dev, "spec.type", ""));
    enum fence_class c = fence_class_of(type, jget_str(dev, "spec.agent", NULL),
                                        jget_str(dev, "spec.provides", NULL), n->opts.lab);
    const char *problem = device_problem(type, dev);
    json_t *tested = json_object_get(jget(dev, "status.tested"), t->r->name);
    json_t *out = json_pack("{s:s, s:s, s:s, s:I, s:[]}", "name", name, "type",
                            fence_type_name(type), "proves", class_name(c), "generation",
                            (json_int_t)jget_int(dev, "metadata.generation", 0), "executors");

    if (problem != NULL) {
        (void)json_object_set_new(out, "problem", json_string(problem));
    } else {
        struct asked *q = OBJ_NEW(struct asked);

        q->t = t;
        (void)str_copy(q->device, sizeof(q->device), name);
        q->executors = json_object_get(out, "executors");
        t->left++;
        CHECK(uv_timer_init(n->loop, &q->timer) == 0);
        q->timer.data = q;
        clock_random(&q->owner, sizeof(q->owner));
        q->owner >>= 1; /* JSON has no unsigned ones */
        q->patience_ms = clock_now_ms() + PATIENCE_MS;
        hold_probes(q);
    }
    if (tested != NULL) {
        (void)json_object_set(out, "tested", tested);
    }
    json_decref(dev);
    return out;
}

static json_t *watchdog(struct node *n, const struct s_inc *inc)
{
    const struct terms *l = &inc->loosest;
    struct decide_terms t = { .lease_ms = l->lease_ms,
                              .watchdog_ms = l->watchdog_ms,
                              .feed_ms = l->feed_ms,
                              .wd = (enum decide_wd)l->wd,
                              .nowayout = l->nowayout,
                              .guarded = l->guarded && !inc->ever_unguarded,
                              .freeze = l->on_quorum_loss == QUORUM_LOSS_FREEZE };
    const char *why =
        inc->number == 0 ? "it has never registered" : decide_watchdog_refusal(&t, n->opts.lab);

    return json_pack("{s:s, s:b, s:s}", "kind", wd_name(l->wd), "counts", why == NULL, "why",
                     why == NULL ? "" : why);
}

static bool host_inc(struct rest *r, struct arena *a, struct s_inc *ret)
{
    struct s_host h;
    struct err err;

    memset(ret, 0, sizeof(*ret));
    return s_host_get(r->node->store, r->name, a, &h, &err) == 0 && h.incarnation != 0 &&
           s_inc_get(r->node->store, h.incarnation, a, ret, &err) == 0;
}

static void add_levels(struct test *t, const json_t *host)
{
    const json_t *levels = jget(host, "spec.fencing");
    json_t *list = json_array();

    (void)json_object_set_new(t->answer, "levels", list);
    for (size_t i = 0; i < json_array_size(levels); i++) {
        const json_t *names = jget(json_array_get(levels, i), "devices");
        json_t *devices = json_array();

        (void)json_array_append_new(list, json_pack("{s:o}", "devices", devices));
        for (size_t k = 0; k < json_array_size(names); k++) {
            const char *name = json_string_value(json_array_get(names, k));

            (void)json_array_append_new(devices, add_device(t, name == NULL ? "" : name));
        }
    }
}

void fence_test_go(struct rest *r)
{
    struct arena a = { 0 };
    struct test *t;
    struct s_inc inc;
    struct err err;
    json_t *host = object_read(r->node->store, "hosts", r->name, &err);

    if (host == NULL) {
        rest_err(r, &err);
        return;
    }
    (void)host_inc(r, &a, &inc);
    t = OBJ_NEW(struct test);
    t->r = r;
    t->left = 1;
    t->n_peers = rep_peers(r->node->rep, t->peers, PEERS_MAX);
    t->answer = json_pack(
        "{s:s, s:I, s:s, s:o}", "host", r->name, "incarnation", (json_int_t)inc.number, "state",
        inc.number == 0 ? "None" : inc_state_name(inc.state), "watchdog", watchdog(r->node, &inc));
    add_levels(t, host);
    json_decref(host);
    arena_done(&a);
    test_done(t);
}

/* --- switching on -------------------------------------------------------------------------------
 */

struct power {
    struct rest *r;
    json_t *devices;
    unsigned left;
};

struct power_device {
    struct power *p;
    char name[256];
};

static void power_done(struct power *p)
{
    if (--p->left == 0) {
        rest_json(p->r, 200, json_pack("{s:o}", "devices", p->devices));
        free(p);
    }
}

static void on_powered(void *ctx, const struct fence_answer *ans)
{
    struct power_device *d = ctx;

    (void)json_array_append_new(d->p->devices,
                                json_pack("{s:s, s:s, s:s}", "name", d->name, "result",
                                          fence_outcome_name(ans->result), "message", ans->detail));
    power_done(d->p);
    free(d);
}

/* The level whose proof ended the newest incarnation; the first one when there is none. */
struct proved {
    uint64_t incarnation;
    uint32_t level;
};

static bool proved_visit(void *ctx, const struct kv *v)
{
    struct proved *pr = ctx;
    struct arena a = { 0 };
    struct s_fencing f;
    struct err err;

    if (s_fencing_decode(kv_value(v), v->vlen, &a, &f, &err) == 0 &&
        f.incarnation == pr->incarnation && f.state == FENCING_SUCCEEDED) {
        pr->level = f.level;
    }
    arena_done(&a);
    return true;
}

static void power_start(struct rest *r, const json_t *names)
{
    struct power *p = OBJ_NEW(struct power);

    p->r = r;
    p->devices = json_array();
    p->left = 1;
    for (size_t i = 0; i < json_array_size(names); i++) {
        const char *name = json_string_value(json_array_get(names, i));
        struct power_device *d = OBJ_NEW(struct power_device);

        d->p = p;
        (void)str_copy(d->name, sizeof(d->name), name == NULL ? "" : name);
        p->left++;
        executor_on(r->node->exec, r->name, d->name, on_powered, d);
    }
    power_done(p);
}

void fence_power_on_go(struct rest *r)
{
    struct arena a = { 0 };
    struct proved pr = { 0 };
    struct s_inc inc;
    struct err err;
    json_t *host = object_read(r->node->store, "hosts", r->name, &err);
    const json_t *levels = jget(host, "spec.fencing");

    if (host == NULL) {
        rest_err(r, &err);
        return;
    }
    if (host_inc(r, &a, &inc) && inc.state != INC_FENCED) {
        (void)err_set(&err, ERR_REFUSED,
                      "incarnation %" PRIu64
                      " of %s is %s: only a host that is proved to be off is "
                      "switched on",
                      inc.number, r->name, inc_state_name(inc.state));
        rest_err(r, &err);
    } else if (json_array_size(levels) == 0) {
        (void)err_set(&err, ERR_REFUSED, "%s has no fence devices: switch it on by hand", r->name);
        rest_err(r, &err);
    } else {
        pr.incarnation = inc.number;
        store_prefix(r->node->store, "s/fencing/", proved_visit, &pr);
        power_start(r,
                    jget(json_array_get(levels, pr.level < json_array_size(levels) ? pr.level : 0),
                         "devices"));
    }
    arena_done(&a);
    json_decref(host);
}
