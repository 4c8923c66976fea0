#include "tests/ctl/fake_node.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "api/valid.h"
#include "base/clock.h"
#include "base/obj.h"
#include "base/str.h"
#include "cmd/picketd/ctl_priv.h"
#include "cmd/picketd/exec.h"
#include "cmd/picketd/lease.h"
#include "cmd/picketd/object.h"
#include "cmd/picketd/probe.h"
#include "cmd/picketd/upkeep.h"

/* --- what the controllers call -----------------------------------------------------------------
 */

bool node_leads(const struct node *n)
{
    (void)n;
    return true;
}

static int apply(struct fake *f, struct cmd *c, struct arena *a, struct cmd_answer *ans)
{
    struct buf in = { 0 };
    struct buf out = { 0 };
    struct err err = { 0 };
    int rc = cmd_encode(c, &in, &err);

    if (rc == 0) {
        f->ms += 3;
        store_apply(f->n.store, ++f->index, f->term, f->ms, in.data, in.len, &out);
        rc = cmd_answer_decode(out.data, out.len, a, ans, &err);
        CHECK(rc == 0);
        rc = ans->code;
    }
    f->last_code = rc;
    f->last_value = rc == 0 && ans->n_values > 0 ? ans->values[0] : 0;
    (void)snprintf(f->last_msg, sizeof(f->last_msg), "%s",
                   rc == 0 || ans->msg == NULL ? err.msg : ans->msg);
    buf_done(&in);
    buf_done(&out);
    return rc;
}

void node_submit(struct node *n, struct cmd *cmd, bool once, node_cb *cb, void *data)
{
    struct fake *f = CONTAINER_OF(n, struct fake, n);
    struct cmd_answer ans = { 0 };
    struct arena a = { 0 };
    struct err err = { 0 };

    (void)once;
    f->writes++;
    if (prng_below(&f->prng, 100) < f->fail_percent) {
        (void)err_set(&err, ERR_CONFLICT, "somebody was faster");
    } else if (f->refuse != CMD_NONE && cmd->op == f->refuse) {
        (void)err_set(&err, ERR_REFUSED, "refused by the test");
        f->refuse = CMD_NONE;
    } else if (apply(f, cmd, &a, &ans) != 0) {
        (void)err_set(&err, f->last_code, "%s", f->last_msg);
    }
    cb(data, err.code == 0 ? NULL : &err, err.code == 0 ? &ans : NULL);
    arena_done(&a);
}

bool lease_table_get(const struct lease_table *t, const char *host, struct lease_info *ret)
{
    struct fake *f = (struct fake *)(uintptr_t)t;

    *ret = (struct lease_info){ .incarnation = fake_incarnation(f, host) };
    ret->until_ms = map_get(&f->leases, host) != NULL ? clock_now_ms() + 3600000 : 1;
    ret->asked_ms = f->ask && ret->until_ms == 1 ? clock_now_ms() : 0;
    ret->last_ms = f->late_ms[0] + f->late_ms[1] != 0 ? clock_now_ms() : 0;
    memcpy(ret->late_ms, f->late_ms, sizeof(ret->late_ms));
    return ret->incarnation != 0;
}

void lease_table_grant(struct lease_table *t, const char *host, uint64_t incarnation,
                       uint32_t lease_ms)
{
    (void)t;
    (void)host;
    (void)incarnation;
    (void)lease_ms;
}

void lease_table_follow(struct lease_table *t, const struct timing *timing)
{
    (void)t;
    (void)timing;
}

void lease_table_lost(struct lease_table *t, const char *host)
{
    (void)t;
    (void)host;
}

void lease_table_reprieve(struct lease_table *t, const char *host)
{
    (void)t;
    (void)host;
}

uint64_t lease_links(const struct lease_table *t, const struct lease_info *l, uint64_t now_ms)
{
    (void)t;
    (void)l;
    (void)now_ms;
    return 0;
}

void lease_timing(struct node *n, struct timing *ret)
{
    struct timing_in in = { .heartbeat_ms = 500, .host_timeout_ms = 3000, .dev = true };
    struct err err;

    (void)n;
    CHECK(timing_derive(&in, ret, &err) == 0);
}

bool prober_get(const struct prober *pr, const char *device, const char *host,
                struct probe_result *ret)
{
    (void)pr;
    (void)device;
    (void)host;
    (void)ret;
    return false;
}

bool prober_by(const struct prober *pr, const char *device, const char *executor,
               struct probe_result *ret)
{
    return prober_get(pr, device, executor, ret);
}

bool prober_summary(const struct prober *pr, const char *device, struct probe_result *ret)
{
    return prober_get(pr, device, NULL, ret);
}

uint64_t prober_busy_ms(const struct prober *pr, const char *device)
{
    (void)pr;
    (void)device;
    return 0;
}

void upkeep_view(const struct node *n, struct upkeep_view *ret)
{
    (void)n;
    *ret = (struct upkeep_view){ .level = 1, .max_level = 1 };
}

json_t *upkeep_versions(const struct node *n)
{
    (void)n;
    return json_array();
}

void executor_power_on(struct executor *x, const char *host, const char *device)
{
    (void)x;
    (void)host;
    (void)device;
}

size_t rep_peers(const struct rep *r, struct rep_peer_info *dst, size_t max)
{
    (void)r;
    CHECK(max > 0);
    dst[0] = (struct rep_peer_info){ .id = 1, .reachable = true, .role = REP_VOTER };
    (void)str_copy(dst[0].name, sizeof(dst[0].name), "witness");
    return 1;
}

int rep_transfer(struct rep *r, uint64_t to, struct err *err)
{
    (void)r;
    (void)to;
    return err_set(err, ERR_UNSUPPORTED, "nobody else");
}

/* --- objects -----------------------------------------------------------------------------------
 */

int fake_cmd(struct fake *f, struct cmd *c)
{
    struct cmd_answer ans = { 0 };
    struct arena a = { 0 };
    int rc = apply(f, c, &a, &ans);

    arena_done(&a);
    return rc;
}

static void txn_put(struct fake *f, const char *key, const char *data, size_t len,
                    struct actor actor)
{
    struct txn_op op = { .kind = data == NULL ? TXN_DELETE : TXN_PUT };
    struct cmd c = { .op = CMD_TXN, .actor = actor };

    op.key = (struct bytes){ (const uint8_t *)key, strlen(key) };
    op.value = (struct bytes){ (const uint8_t *)data, len };
    c.txn.then_ops = &op;
    c.txn.n_then = 1;
    if (fake_cmd(f, &c) != 0) {
        (void)fprintf(stderr, "%s: %s\n", key, f->last_msg);
        CHECK_UNREACHABLE();
    }
}

static void put_stored(struct fake *f, const struct kind *k, const json_t *obj)
{
    struct actor admin = { .role = ACTOR_ADMIN, .name = "admin" };
    struct buf b = { 0 };
    char key[512];

    CHECK(object_key(k, obj_name(obj), key, sizeof(key)));
    object_encode(obj, &b);
    txn_put(f, key, (const char *)b.data, b.len, admin);
    buf_done(&b);
}

json_t *fake_get(struct fake *f, const char *plural, const char *name)
{
    struct err err;
    uint64_t rev;

    return object_load(f->n.store, kind_by_plural(plural), name, &rev, &err);
}

void fake_put(struct fake *f, json_t *obj)
{
    const struct kind *k = kind_find(jget_str(obj, "kind", ""));
    json_t *old = fake_get(f, k->plural, obj_name(obj));
    char uid[37];

    obj_default(k, obj);
    if (old == NULL) {
        clock_uuid(uid);
        jset(obj, "metadata.uid", json_string(uid));
        jset(obj, "metadata.generation", json_integer(1));
    } else {
        bool same = obj_spec_equal(k, old, obj);
        int64_t g = jget_int(old, "metadata.generation", 1);

        jset(obj, "metadata.uid", json_string(jget_str(old, "metadata.uid", "")));
        jset(obj, "metadata.generation", json_integer(same ? g : g + 1));
        if (json_object_get(old, "status") != NULL && json_object_get(obj, "status") == NULL) {
            (void)json_object_set(obj, "status", json_object_get(old, "status"));
        }
    }
    put_stored(f, k, obj);
    json_decref(old);
    json_decref(obj);
}

void fake_delete(struct fake *f, const char *plural, const char *name)
{
    struct actor admin = { .role = ACTOR_ADMIN, .name = "admin" };
    const struct kind *k = kind_by_plural(plural);
    json_t *old = fake_get(f, plural, name);
    char key[512];

    if (old == NULL) {
        return;
    }
    if (str_eq(k->name, "VirtualMachine")) { /* its finalizer: the guest has to stop first */
        jset(old, "metadata.deletionTimestamp", json_string("2026-01-01T00:00:00Z"));
        put_stored(f, k, old);
    } else {
        CHECK(object_key(k, name, key, sizeof(key)));
        txn_put(f, key, NULL, 0, admin);
    }
    json_decref(old);
}

/* --- hosts and their agents --------------------------------------------------------------------
 */

uint64_t fake_incarnation(struct fake *f, const char *host)
{
    struct arena a = { 0 };
    struct s_host h = { 0 };
    struct err err;
    uint64_t n = s_host_get(f->n.store, host, &a, &h, &err) == 0 ? h.incarnation : 0;

    arena_done(&a);
    return n;
}

static struct actor agent(const char *host)
{
    return (struct actor){ .role = ACTOR_AGENT, .name = host };
}

void fake_lease(struct fake *f, const char *host, bool on)
{
    static char held;

    if (on) {
        (void)map_put(&f->leases, host, &held);
    } else {
        (void)map_del(&f->leases, host);
    }
    controller_wake(f->n.ctl);
}

void fake_host(struct fake *f, const char *name, const char *memory, int cpus, const char *rack)
{
    struct cmd c = { .op = CMD_REGISTER, .actor = agent(name) };
    char boot[37], nonce[37], hw[300];
    json_t *obj;

    fake_put(f, json_pack("{s:s, s:s, s:{s:s, s:{s:s}}, s:{s:[s]}}", "apiVersion", API_VERSION,
                          "kind", "Host", "metadata", "name", name, "labels", "rack", rack, "spec",
                          "addresses", "192.0.2.1"));
    obj = fake_get(f, "hosts", name);
    clock_uuid(boot);
    clock_uuid(nonce);
    (void)snprintf(hw, sizeof(hw), "hw-%s", name);
    c.reg = (struct cmd_register){ .host = name,
                                   .host_uid = jget_str(obj, "metadata.uid", ""),
                                   .boot_id = boot,
                                   .hardware_id = hw,
                                   .expected = fake_incarnation(f, name),
                                   .nonce = nonce,
                                   .terms = { .lease_ms = 3000 } };
    if (fake_cmd(f, &c) != 0) {
        (void)fprintf(stderr, "register %s: %s\n", name, f->last_msg);
        CHECK_UNREACHABLE();
    }
    jset(obj, "status.capacity", json_pack("{s:s, s:i}", "memory", memory, "cpus", cpus));
    put_stored(f, kind_by_plural("hosts"), obj);
    json_decref(obj);
    fake_lease(f, name, true);
}

static int lock_cmd(struct fake *f, enum cmd_op op, const char *host, const char *vm,
                    uint64_t token)
{
    json_t *obj = fake_get(f, "virtualmachines", vm);
    struct cmd c = { .op = op, .actor = agent(host) };
    struct cmd_lock_ref ref = { .uid = jget_str(obj, "metadata.uid", ""), .token = token };
    char lock[300];
    int rc;

    (void)snprintf(lock, sizeof(lock), "virtualmachines/%s", vm);
    ref.lock = lock;
    c.safety.incarnation = fake_incarnation(f, host);
    c.safety.reason = "test";
    c.safety.locks = &ref;
    c.safety.n_locks = 1;
    rc = fake_cmd(f, &c);
    json_decref(obj);
    return rc;
}

int fake_acquire(struct fake *f, const char *host, const char *vm)
{
    return lock_cmd(f, CMD_ACQUIRE, host, vm, 0);
}

int fake_release(struct fake *f, const char *host, const char *vm)
{
    struct arena a = { 0 };
    struct s_lock l = { 0 };
    char lock[300];
    struct err err;
    uint64_t token;

    (void)snprintf(lock, sizeof(lock), "virtualmachines/%s", vm);
    token = s_lock_get(f->n.store, lock, &a, &l, &err) == 0 ? l.owner.token : 0;
    arena_done(&a);
    return lock_cmd(f, CMD_RELEASE, host, vm, token);
}

void fake_report(struct fake *f, const char *host, const char *plural, const char *name,
                 json_t *report)
{
    char *text = report == NULL ? NULL : json_dumps(report, JSON_COMPACT | JSON_SORT_KEYS);
    char key[600];

    (void)snprintf(key, sizeof(key), "r/%s/%s/%s", host, plural, name);
    txn_put(f, key, text, text == NULL ? 0 : strlen(text), agent(host));
    free(text);
    json_decref(report);
}

/* --- life --------------------------------------------------------------------------------------
 */

/* CPU time: others may use this machine, too. */
static uint64_t cpu_us(void)
{
    struct timespec ts;

    CHECK(clock_gettime(CLOCK_THREAD_CPUTIME_ID, &ts) == 0);
    return (uint64_t)ts.tv_sec * 1000000 + (uint64_t)ts.tv_nsec / 1000;
}

static void turn(struct fake *f)
{
    uint64_t t = cpu_us();

    (void)uv_run(&f->loop, UV_RUN_NOWAIT);
    t = cpu_us() - t;
    f->worst_us = t > f->worst_us ? t : f->worst_us;
    f->turns++;
}

void fake_settle(struct fake *f)
{
    struct controller *c = f->n.ctl;
    unsigned quiet = 0;

    for (uint64_t n = 0; quiet < 4; n++) {
        uint64_t rev = store_rev(f->n.store);

        c->capacity_ms = 0; /* not only once a second */

        if (n == 20000) {
            (void)fprintf(stderr,
                          "no rest: dirty %d, %zu objects, %u under way, revision %" PRIu64
                          ", placed %" PRIu64 " times\n",
                          c->dirty, c->n_dirty, c->inflight, rev, c->place_runs);
            CHECK_UNREACHABLE(); /* two controllers undo each other's work */
        }
        turn(f);
        quiet = rev == store_rev(f->n.store) && !c->dirty && c->n_dirty == 0 ? quiet + 1 : 0;
    }
}

void fake_again(struct fake *f)
{
    controller_start(f->n.ctl, f->term);
    fake_settle(f);
}

struct fake *fake_new(uint64_t seed)
{
    struct fake *f = OBJ_NEW(struct fake);
    struct cmd c = { .op = CMD_INIT, .text = "5a8d43e1-0e1a-4d2c-8d0f-1f2a3b4c5d6e", .number = 1 };

    f->term = 1;
    f->ms = 1700000000000;
    prng_init(&f->prng, seed);
    f->n.opts.name = "witness";
    f->n.opts.cluster = "5a8d43e1-0e1a-4d2c-8d0f-1f2a3b4c5d6e";
    f->n.opts.lab = true;
    f->n.id = 1;
    CHECK(uv_loop_init(&f->loop) == 0);
    f->n.loop = &f->loop;
    f->n.store = store_new(NULL);
    f->n.leases = (struct lease_table *)(void *)f;
    c.actor = (struct actor){ .role = ACTOR_CONTROLLER, .name = "witness", .term = 1 };
    CHECK(fake_cmd(f, &c) == 0);
    f->n.ctl = controller_new(&f->n);
    fake_put(f, json_pack("{s:s, s:s, s:{s:s}, s:{}}", "apiVersion", API_VERSION, "kind", "Cluster",
                          "metadata", "name", "cluster", "spec"));
    controller_start(f->n.ctl, 1);
    return f;
}

static void close_handle(uv_handle_t *h, void *ctx)
{
    (void)ctx;
    if (!uv_is_closing(h)) {
        uv_close(h, NULL);
    }
}

void fake_free(struct fake *f)
{
    controller_stop(f->n.ctl);
    uv_walk(&f->loop, close_handle, NULL);
    (void)uv_run(&f->loop, UV_RUN_DEFAULT);
    CHECK(uv_loop_close(&f->loop) == 0);
    world_free(f->n.ctl->world);
    free(f->n.ctl->batch);
    free(f->n.ctl);
    store_free(f->n.store);
    map_done(&f->leases);
    free(f);
}
