/* The controllers look only at what changed.  Whatever happens in whatever order: when they have
 * come to rest, somebody who looks at everything from scratch finds nothing to write. */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "api/valid.h"
#include "base/clock.h"
#include "base/obj.h"
#include "base/str.h"
#include "cmd/picketd/capacity.h"
#include "cmd/picketd/ctl_priv.h"
#include "cmd/picketd/macs.h"
#include "tests/ctl/fake_node.h"

#define HOSTS 5U
#define VMS 14U

static void name_of(char *dst, size_t size, const char *what, uint64_t i)
{
    (void)snprintf(dst, size, "%s%u", what, (unsigned)i);
}

static json_t *vm_json(struct fake *f, const char *name)
{
    char disk[16], bridge[16];
    json_t *vm =
        json_pack("{s:s, s:s, s:{s:s, s:{s:s}}, s:{s:s, s:i, s:i}}", "apiVersion", API_VERSION,
                  "kind", "VirtualMachine", "metadata", "name", name, "labels", "app",
                  prng_below(&f->prng, 2) ? "web" : "db", "spec", "memory",
                  prng_below(&f->prng, 3) ? "1Gi" : "3Gi", "vcpus",
                  (int)prng_below(&f->prng, 3) + 1, "priority", (int)prng_below(&f->prng, 3));

    name_of(disk, sizeof(disk), "v", prng_below(&f->prng, VMS));
    name_of(bridge, sizeof(bridge), "br", prng_below(&f->prng, 3));
    jset(vm, "spec.nics", json_pack("[{s:s, s:s}]", "name", "nic0", "bridge", bridge));
    if (prng_below(&f->prng, 2)) {
        jset(vm, "spec.disks", json_pack("[{s:s, s:s}]", "name", "root", "volume", disk));
    } else if (prng_below(&f->prng, 2)) {
        jset(vm, "spec.disks",
             json_pack("[{s:s, s:s, s:s}]", "name", "root", "volumeGroup", "vg0", "size", "1Gi"));
    }
    if (prng_below(&f->prng, 4) == 0) {
        jset(vm, "spec.runPolicy", json_string("Stopped"));
    }
    if (prng_below(&f->prng, 4) == 0) {
        name_of(disk, sizeof(disk), "vm", prng_below(&f->prng, VMS));
        if (!str_eq(disk, name)) {
            jset(vm, "spec.startAfter", json_pack("[{s:s}]", "vm", disk));
        }
    }
    if (prng_below(&f->prng, 4) == 0) {
        name_of(disk, sizeof(disk), "host", prng_below(&f->prng, HOSTS));
        jset(vm, "spec.placement.notHosts", json_pack("[s]", disk));
    }
    return vm;
}

static json_t *simple(const char *kind, const char *name, json_t *spec)
{
    return json_pack("{s:s, s:s, s:{s:s}, s:o}", "apiVersion", API_VERSION, "kind", kind,
                     "metadata", "name", name, "spec", spec);
}

static void change_rule(struct fake *f)
{
    static const char *const types[] = { "Together", "Apart", "OnHosts" };
    size_t t = (size_t)prng_below(&f->prng, 3);
    json_t *spec = json_pack("{s:s, s:s, s:{s:s}}", "type", types[t], "strength",
                             prng_below(&f->prng, 2) ? "Required" : "Preferred", "selector", "app",
                             prng_below(&f->prng, 2) ? "web" : "db");

    if (t == 2) {
        (void)json_object_set_new(spec, "hosts", json_pack("[s, s]", "host0", "host1"));
    }
    if (prng_below(&f->prng, 3) == 0) {
        fake_delete(f, "placementrules", "rule");
        json_decref(spec);
    } else {
        fake_put(f, simple("PlacementRule", "rule", spec));
    }
}

static void change_object(struct fake *f)
{
    char name[16];
    bool away = prng_below(&f->prng, 3) == 0;

    switch (prng_below(&f->prng, 6)) {
    case 0:
        name_of(name, sizeof(name), "br", prng_below(&f->prng, 3));
        if (away) {
            fake_delete(f, "bridges", name);
        } else {
            fake_put(f, simple("Bridge", name, json_object()));
        }
        return;
    case 1:
        name_of(name, sizeof(name), "v", prng_below(&f->prng, VMS));
        if (away) { /* also one that a machine declares in place */
            char own[32];

            (void)snprintf(own, sizeof(own), "vm%u-root", (unsigned)prng_below(&f->prng, VMS));
            fake_delete(f, "volumes", prng_below(&f->prng, 2) ? own : name);
        } else {
            fake_put(f, simple("Volume", name,
                               json_pack("{s:s, s:s}", "volumeGroup", "vg0", "size", "1Gi")));
        }
        return;
    case 2:
        change_rule(f);
        return;
    default:
        name_of(name, sizeof(name), "vm", prng_below(&f->prng, VMS));
        if (away) {
            fake_delete(f, "virtualmachines", name);
        } else {
            json_t *old = fake_get(f, "virtualmachines", name);
            json_t *vm = vm_json(f, name);

            if (jget(old, "metadata.deletionTimestamp") == NULL) {
                fake_put(f, json_incref(vm));
            }
            json_decref(vm);
            json_decref(old);
        }
        return;
    }
}

static void change_host(struct fake *f)
{
    char name[16];
    json_t *h;

    name_of(name, sizeof(name), "host", prng_below(&f->prng, HOSTS));
    h = fake_get(f, "hosts", name);
    if (h == NULL) {
        return;
    }
    switch (prng_below(&f->prng, 5)) {
    case 0:
        jset(h, "spec.unschedulable", json_boolean(prng_below(&f->prng, 2) == 1));
        break;
    case 1:
        jset(h, "spec.maintenance", json_boolean(prng_below(&f->prng, 2) == 1));
        break;
    case 2:
        jset(h, "metadata.labels.rack", json_string(prng_below(&f->prng, 2) ? "r1" : "r2"));
        break;
    case 3:
        jset(h, "status.capacity.memory", json_string(prng_below(&f->prng, 2) ? "4Gi" : "9Gi"));
        break;
    default:
        fake_lease(f, name, prng_below(&f->prng, 3) != 0);
        json_decref(h);
        return;
    }
    fake_put(f, json_incref(h));
    json_decref(h);
}

static void report_vm(struct fake *f, const char *host, const char *vm)
{
    static const char *const states[] = { "Running", "Starting", "Stopping",
                                          "Stopped", "Crashed",  "Absent" };
    const char *state = states[prng_below(&f->prng, ARRAY_LEN(states))];
    json_t *rep;

    if (prng_below(&f->prng, 6) == 0) {
        fake_report(f, host, "virtualmachines", vm, NULL);
        return;
    }
    rep = json_pack("{s:s, s:s, s:s, s:I, s:s, s:s, s:i}", "kind", "VirtualMachine", "name", vm,
                    "state", state, "incarnation", (json_int_t)fake_incarnation(f, host), "reason",
                    state, "message", "", "restarts", (int)prng_below(&f->prng, 3));
    fake_report(f, host, "virtualmachines", vm, rep);
}

/* An agent does something sensible, or reports something. */
static void change_agent(struct fake *f)
{
    char host[16], name[16];
    json_t *vm;
    const char *assigned;

    name_of(host, sizeof(host), "host", prng_below(&f->prng, HOSTS));
    name_of(name, sizeof(name), "vm", prng_below(&f->prng, VMS));
    vm = fake_get(f, "virtualmachines", name);
    assigned = jget_str(vm, "status.assignedHost", "");
    if (vm == NULL) {
        json_decref(vm);
        return;
    }
    switch (prng_below(&f->prng, 4)) {
    case 0:
        if (*assigned != 0) {
            (void)fake_acquire(f, assigned, name);
        }
        break;
    case 1:
        (void)fake_release(f, host, name);
        break;
    case 2:
        report_vm(f, *assigned == 0 ? host : assigned, name);
        break;
    default:
        name_of(name, sizeof(name), "br", prng_below(&f->prng, 3));
        fake_report(f, host, "bridges", name,
                    json_pack("{s:s, s:s, s:s, s:s}", "kind", "Bridge", "name", name, "state",
                              prng_below(&f->prng, 2) ? "Ready" : "NotReady", "reason", "Test"));
        break;
    }
    json_decref(vm);
}

static void change_something(struct fake *f)
{
    switch (prng_below(&f->prng, 6)) {
    case 0:
        change_host(f);
        return;
    case 1:
    case 2:
        change_object(f);
        return;
    default:
        change_agent(f);
        return;
    }
}

struct copy {
    struct map objects; /* key -> JSON text */
};

static bool copy_visit(void *ctx, const struct kv *v)
{
    struct copy *c = ctx;

    free(map_put(&c->objects, kv_key(v),
                 mem_strndup((const char *)kv_value(v) + OBJVAL_HEADER, v->vlen - OBJVAL_HEADER)));
    return true;
}

static void copy_done(struct copy *c)
{
    const char *key;
    void *v;

    for (size_t i = 0; map_next(&c->objects, &i, &key, &v);) {
        free(v);
    }
    map_done(&c->objects);
}

/* From scratch nothing else comes out. */
static void check_same(struct fake *f, uint64_t seed, unsigned step)
{
    struct copy before = { 0 };
    uint64_t rev = store_rev(f->n.store);
    const char *key;
    void *v;

    store_prefix(f->n.store, "o/", copy_visit, &before);
    fake_again(f);
    if (store_rev(f->n.store) != rev) {
        for (size_t i = 0; map_next(&before.objects, &i, &key, &v);) {
            const struct kv *now = store_get_str(f->n.store, key);

            if (now == NULL || strcmp(v, (const char *)kv_value(now) + OBJVAL_HEADER) != 0) {
                print_error("%s\n  changes: %s\n  scratch: %s\n", key, (char *)v,
                            now == NULL ? "(gone)" : (const char *)kv_value(now) + OBJVAL_HEADER);
            }
        }
        fail_msg("seed %u step %u: from scratch something else comes out", (unsigned)seed, step);
    }
    copy_done(&before);
}

static void run_seed(uint64_t seed, unsigned steps)
{
    struct fake *f = fake_new(seed);
    char name[16];

    for (unsigned i = 0; i < HOSTS; i++) {
        name_of(name, sizeof(name), "host", i);
        fake_host(f, name, "6Gi", 4, i % 2 ? "r1" : "r2");
    }
    f->fail_percent = seed % 3 == 0 ? 20 : 0;
    for (unsigned i = 0; i < steps; i++) {
        uint64_t burst = 1 + prng_below(&f->prng, 6);

        for (uint64_t k = 0; k < burst; k++) {
            change_something(f);
        }
        if (prng_below(&f->prng, 3) != 0) {
            fake_settle(f);
        }
        if (i % 10 == 9) {
            fake_settle(f);
            f->fail_percent = 0;
            check_same(f, seed, i);
            f->fail_percent = seed % 3 == 0 ? 20 : 0;
        }
    }
    fake_free(f);
}

static void test_random(void **state)
{
    const char *first = getenv("CTL_SEED");
    uint64_t seed = first == NULL ? 1 : strtoull(first, NULL, 10);
    uint64_t n = first == NULL ? 12 : 1;

    (void)state;
    for (uint64_t s = seed; s < seed + n; s++) {
        run_seed(s, 60);
    }
}

/* Nothing to do: no write, whatever the time. */
static void test_idle(void **state)
{
    struct fake *f = fake_new(7);
    uint64_t writes;

    (void)state;
    fake_host(f, "host0", "6Gi", 4, "r1");
    fake_host(f, "host1", "6Gi", 4, "r1");
    for (unsigned i = 0; i < 50; i++) {
        change_something(f);
    }
    fake_settle(f);
    writes = f->writes;
    for (unsigned i = 0; i < 100; i++) {
        controller_wake(f->n.ctl);
        fake_settle(f);
    }
    assert_int_equal(f->writes, writes);
    fake_free(f);
}

/* A change of one object makes the controllers look at few. */
static void test_few(void **state)
{
    struct fake *f = fake_new(9);
    struct controller *c = f->n.ctl;
    uint64_t runs;
    char name[16];

    (void)state;
    fake_host(f, "host0", "60Gi", 40, "r1");
    fake_host(f, "host1", "60Gi", 40, "r1");
    for (unsigned i = 0; i < 40; i++) {
        name_of(name, sizeof(name), "vm", i);
        fake_put(f, simple("VirtualMachine", name, json_pack("{s:s}", "memory", "1Gi")));
    }
    fake_settle(f);
    runs = c->place_runs;
    fake_report(f, "host0", "virtualmachines", "vm3",
                json_pack("{s:s, s:s, s:s, s:I, s:s}", "kind", "VirtualMachine", "name", "vm3",
                          "state", "Starting", "incarnation",
                          (json_int_t)fake_incarnation(f, "host0"), "message", "x"));
    (void)world_turn(c->world);
    assert_int_equal(c->n_dirty, 1);
    fake_settle(f);
    assert_int_equal(c->place_runs, runs);
    fake_free(f);
}

/* A machine that is not wanted any more, and whose lock is with a host that has not reported it:
 * when that host falls silent or comes back, nothing but the lock leads to the machine. */
static void test_held_without_report(void **state)
{
    struct fake *f = fake_new(13);
    json_t *vm;

    (void)state;
    fake_host(f, "host0", "6Gi", 4, "r1");
    fake_put(f, simple("VirtualMachine", "vm1", json_pack("{s:s}", "memory", "1Gi")));
    fake_settle(f);
    assert_int_equal(fake_acquire(f, "host0", "vm1"), 0);
    fake_put(f, simple("VirtualMachine", "vm1",
                       json_pack("{s:s, s:s}", "memory", "1Gi", "runPolicy", "Stopped")));
    fake_settle(f);
    for (unsigned i = 0; i < 2; i++) {
        fake_lease(f, "host0", i == 1);
        fake_settle(f);
        vm = fake_get(f, "virtualmachines", "vm1");
        assert_string_equal(jget_str(vm, "status.phase", ""), i == 0 ? "Unknown" : "Stopped");
        json_decref(vm);
    }
    check_same(f, 13, 0);
    fake_free(f);
}

/* Not everything that is locked is an object. */
static void test_lock_of_a_file(void **state)
{
    struct fake *f = fake_new(17);
    struct cmd_lock_ref ref = { .lock = "files/a", .uid = "a" };
    struct cmd c = { .op = CMD_ACQUIRE };

    (void)state;
    fake_host(f, "host0", "6Gi", 4, "r1");
    fake_settle(f);
    c.actor = (struct actor){ .role = ACTOR_AGENT, .name = "host0" };
    c.safety.incarnation = fake_incarnation(f, "host0");
    c.safety.reason = "test";
    c.safety.locks = &ref;
    c.safety.n_locks = 1;
    assert_int_equal(fake_cmd(f, &c), 0);
    fake_settle(f);
    check_same(f, 17, 0);
    fake_free(f);
}

static void test_what_if(void **state)
{
    struct fake *f = fake_new(3);
    struct change ch = { .k = kind_find("VirtualMachine"),
                         .name = "big",
                         .result = CHANGE_CREATED };
    struct problems ps = { 0 };
    struct err err = { 0 };

    (void)state;
    fake_host(f, "host0", "6Gi", 4, "r1");
    fake_host(f, "host1", "6Gi", 4, "r1");
    fake_settle(f);
    ch.stored = simple("VirtualMachine", "big", json_pack("{s:s}", "memory", "4Gi"));
    assert_int_equal(capacity_admit(&f->n, &ch, 1, &ps, &err), 0);
    assert_int_equal(ps.n, 0);
    json_decref(ch.stored);
    ch.stored = simple("VirtualMachine", "big", json_pack("{s:s}", "memory", "8Gi"));
    assert_int_equal(capacity_admit(&f->n, &ch, 1, &ps, &err), 0);
    assert_int_equal(ps.n, 1);
    assert_non_null(strstr(ps.items[0].message, "big"));
    json_decref(ch.stored);
    problems_done(&ps);
    assert_null(ctl_find(f->n.ctl, "virtualmachines", "big"));
    fake_free(f);
}

static const char *assigned(struct fake *f, const char *vm, char *dst, size_t size)
{
    json_t *o = fake_get(f, "virtualmachines", vm);

    (void)snprintf(dst, size, "%s", jget_str(o, "status.assignedHost", "?"));
    json_decref(o);
    return dst;
}

/* Where it failed to start too often it is not tried for a while. */
static void test_relocate(void **state)
{
    struct fake *f = fake_new(5);
    char first[32], second[32];
    json_t *o;

    (void)state;
    fake_host(f, "host0", "6Gi", 4, "r1");
    fake_host(f, "host1", "6Gi", 4, "r1");
    fake_put(f, simple("VirtualMachine", "vm1", json_pack("{s:s}", "memory", "1Gi")));
    fake_settle(f);
    (void)assigned(f, "vm1", first, sizeof(first));
    fake_report(f, first, "virtualmachines", "vm1",
                json_pack("{s:s, s:s, s:s, s:I, s:s, s:s, s:i, s:i}", "kind", "VirtualMachine",
                          "name", "vm1", "state", "Crashed", "incarnation",
                          (json_int_t)fake_incarnation(f, first), "reason", "StartFailed",
                          "message", "no such kernel", "restarts", 4, "generation", 1));
    fake_settle(f);
    assert_string_not_equal(assigned(f, "vm1", second, sizeof(second)), first);
    o = fake_get(f, "virtualmachines", "vm1");
    assert_string_equal(jget_str(o, "status.avoid.0.host", ""), first);
    assert_int_equal(jget_int(o, "status.avoid.0.failures", 0), 1);
    assert_int_equal(json_array_size(jget(o, "status.avoid")), 1);
    json_decref(o);
    fake_put(f, simple("VirtualMachine", "vm1", json_pack("{s:s}", "memory", "2Gi")));
    fake_settle(f); /* another spec: tried everywhere */
    o = fake_get(f, "virtualmachines", "vm1");
    assert_null(jget(o, "status.avoid"));
    json_decref(o);
    fake_free(f);
}

/* Not on a host that says it has not got the bridge; and the message names every host's reason. */
static void test_lacks(void **state)
{
    struct fake *f = fake_new(6);
    char host[32];
    json_t *vm, *o;

    (void)state;
    fake_host(f, "host0", "6Gi", 4, "r1");
    fake_host(f, "host1", "3Gi", 4, "r1");
    fake_put(f, simple("Bridge", "br0", json_object()));
    fake_report(f, "host0", "bridges", "br0",
                json_pack("{s:s, s:s, s:s, s:s, s:s}", "kind", "Bridge", "name", "br0", "state",
                          "NotReady", "reason", "NoSuchDevice", "message", "eth7 is missing"));
    vm = simple("VirtualMachine", "vm1", json_pack("{s:s}", "memory", "1Gi"));
    jset(vm, "spec.nics", json_pack("[{s:s, s:s}]", "name", "nic0", "bridge", "br0"));
    fake_put(f, vm);
    fake_settle(f);
    assert_string_equal(assigned(f, "vm1", host, sizeof(host)), "host1");
    vm = simple("VirtualMachine", "vm2", json_pack("{s:s}", "memory", "4Gi"));
    jset(vm, "spec.nics", json_pack("[{s:s, s:s}]", "name", "nic0", "bridge", "br0"));
    fake_put(f, vm);
    fake_settle(f);
    o = fake_get(f, "virtualmachines", "vm2");
    assert_string_equal(jget_str(o, "status.assignedHost", "?"), "");
    assert_non_null(strstr(jget_str(o, "status.placement.message", ""), "host0"));
    assert_non_null(strstr(jget_str(o, "status.placement.message", ""), "eth7 is missing"));
    assert_non_null(strstr(jget_str(o, "status.placement.message", ""), "host1 needs 4Gi"));
    json_decref(o);
    fake_report(f, "host0", "bridges", "br0",
                json_pack("{s:s, s:s, s:s}", "kind", "Bridge", "name", "br0", "state", "Ready"));
    fake_settle(f);
    assert_string_equal(assigned(f, "vm2", host, sizeof(host)), "host0");
    fake_free(f);
}

static void found(struct fake *f, const char *host, const char *state)
{
    fake_report(f, host, "networkchecks", "users",
                json_pack("{s:s, s:s, s:s, s:s, s:{s:s, s:i, s:s}}", "kind", "NetworkCheck", "name",
                          "users", "state", str_eq(state, "Passing") ? "Ready" : "NotReady",
                          "message", "no answer from 192.168.1.254", "status", "state", state,
                          "reachable", 0, "since", "2026-01-01T00:00:00Z"));
    fake_settle(f);
}

static void reachable(struct fake *f, const char *host, const char *reason)
{
    json_t *h = fake_get(f, "hosts", host);

    assert_string_equal(jget_str(cond_get(h, "NetworkReachable"), "reason", "-"), reason);
    json_decref(h);
}

/* A host that alone lost the users' network is left after a while; when all lost it, nobody moves.
 */
static void test_netcheck(void **state)
{
    struct fake *f = fake_new(12);
    char host[32];
    json_t *o;

    (void)state;
    fake_host(f, "host0", "6Gi", 4, "r1");
    fake_host(f, "host1", "5Gi", 4, "r1");
    fake_put(f, simple("VirtualMachine", "vm1", json_pack("{s:s}", "memory", "2Gi")));
    fake_settle(f);
    assert_string_equal(assigned(f, "vm1", host, sizeof(host)), "host0");
    assert_int_equal(fake_acquire(f, "host0", "vm1"), 0);
    reachable(f, "host0", "-");
    fake_put(f, simple("NetworkCheck", "users",
                       json_pack("{s:[s], s:s, s:s}", "targets", "192.168.1.254", "action",
                                 "MigrateAway", "interval", "100ms")));
    fake_settle(f);
    reachable(f, "host0", "NotAsked");
    found(f, "host0", "Failing");
    reachable(f, "host0", "FailsEverywhere"); /* nobody passes: where should they go? */
    found(f, "host1", "Failing");
    fake_again(f);
    fake_settle(f);
    reachable(f, "host0", "FailsEverywhere");
    assert_string_equal(assigned(f, "vm1", host, sizeof(host)), "host0");
    found(f, "host1", "Passing");
    reachable(f, "host0", "NoAnswer"); /* host0 may be a round behind */
    assert_string_equal(assigned(f, "vm1", host, sizeof(host)), "host0");
    for (int i = 0; i < 600 && !str_eq(assigned(f, "vm1", host, sizeof(host)), "host1"); i++) {
        (void)usleep(20000); /* in the end it is believed */
        fake_settle(f);
    }
    reachable(f, "host0", "MigrateAway");
    fake_again(f);
    fake_settle(f);
    reachable(f, "host0", "MigrateAway");
    assert_string_equal(assigned(f, "vm1", host, sizeof(host)), "host1");
    o = fake_get(f, "networkchecks", "users");
    assert_string_equal(jget_str(cond_get(o, "Ready"), "reason", "-"), "FailsOnSomeHosts");
    assert_string_equal(jget_str(o, "status.hosts.host0.state", "-"), "Failing");
    json_decref(o);
    fake_delete(f, "networkchecks", "users");
    fake_settle(f);
    reachable(f, "host0", "-");
    fake_free(f);
}

/* --- volumes --- */

static void volume_on(struct fake *f, const char *host, bool active, json_int_t size)
{
    fake_report(f, host, "volumes", "v1",
                json_pack("{s:s, s:s, s:s, s:s, s:b, s:I}", "kind", "Volume", "name", "v1", "state",
                          "Ready", "reason", active ? "Active" : "Inactive", "active", active,
                          "size", size));
}

static void volume_is(struct fake *f, const char *size, const char *phase, const char *on)
{
    json_t *v = fake_get(f, "volumes", "v1");

    assert_string_equal(jget_str(v, "status.size", ""), size);
    assert_string_equal(jget_str(v, "status.phase", ""), phase);
    assert_string_equal(jget_str(v, "status.activeOn.0", ""), on);
    assert_null(jget(v, "status.activeOn.1"));
    json_decref(v);
}

/* How big it really is, and where it is active, as the hosts say. */
static void test_volume(void **state)
{
    struct fake *f = fake_new(1);

    (void)state;
    fake_host(f, "host0", "8Gi", 4, "a");
    fake_host(f, "host1", "8Gi", 4, "a");
    fake_lease(f, "host0", true);
    fake_lease(f, "host1", true);
    fake_put(f, simple("VolumeGroup", "vg0", json_pack("{s:[s]}", "luns", "lun1")));
    fake_put(
        f, simple("Volume", "v1", json_pack("{s:s, s:s}", "volumeGroup", "vg0", "size", "1000Mi")));
    fake_settle(f);
    volume_is(f, "", "", "");
    volume_on(f, "host0", false, 1004LL << 20);
    volume_on(f, "host1", true, 0);
    fake_settle(f);
    volume_is(f, "1004Mi", "InUse", "host1");
    volume_on(f, "host1", false, 2000LL << 20); /* grown there, host0 has not looked again */
    fake_settle(f);
    volume_is(f, "2000Mi", "Available", "");
    volume_on(f, "host0", true, 2000LL << 20);
    fake_settle(f);
    fake_lease(f, "host0", false); /* without its lock: what it said is of no more use */
    fake_settle(f);
    volume_is(f, "2000Mi", "Available", "");
    fake_free(f);
}

static void maintain(struct fake *f, const char *host, bool on)
{
    json_t *h = fake_get(f, "hosts", host);

    jset(h, "spec.maintenance", json_boolean(on));
    fake_put(f, h);
    fake_settle(f);
}

static void drained(struct fake *f, const char *status, const char *reason, size_t left,
                    size_t blocked)
{
    json_t *h = fake_get(f, "hosts", "host0");

    assert_string_equal(jget_str(cond_get(h, "Drained"), "status", "-"), status);
    assert_string_equal(jget_str(cond_get(h, "Drained"), "reason", "-"), reason);
    assert_int_equal(json_array_size(jget(h, "status.drain.remaining")), left);
    assert_int_equal(json_array_size(jget(h, "status.drain.blockedBy")), blocked);
    json_decref(h);
}

/* Drained only when empty; what cannot leave is named with its reason. */
static void test_drain(void **state)
{
    struct fake *f = fake_new(11);
    char host[32];
    json_t *h;

    (void)state;
    fake_host(f, "host0", "6Gi", 4, "r1");
    fake_put(f, simple("VirtualMachine", "vm1", json_pack("{s:s}", "memory", "2Gi")));
    fake_settle(f);
    assert_int_equal(fake_acquire(f, "host0", "vm1"), 0);
    maintain(f, "host0", true);
    drained(f, "False", "Blocked", 1, 1);
    h = fake_get(f, "hosts", "host0");
    assert_true(str_starts(jget_str(h, "status.drain.blockedBy.0", ""), "vm1: "));
    json_decref(h);
    fake_host(f, "host1", "6Gi", 4, "r1");
    fake_settle(f);
    controller_wake(f->n.ctl);
    fake_settle(f);
    drained(f, "False", "GuestsRemain", 1, 0);
    assert_string_equal(assigned(f, "vm1", host, sizeof(host)), "host1");
    assert_int_equal(fake_release(f, "host0", "vm1"), 0);
    fake_settle(f);
    drained(f, "True", "Empty", 0, 0);
    maintain(f, "host0", false);
    drained(f, "-", "-", 0, 0);
    fake_free(f);
}

static struct change vm_change(const char *name, const char *mac)
{
    struct change ch = { .k = kind_find("VirtualMachine"), .result = CHANGE_CREATED };

    (void)str_copy(ch.name, sizeof(ch.name), name);
    ch.stored = simple("VirtualMachine", name, json_pack("{s:s}", "memory", "1Gi"));
    jset(ch.stored, "spec.nics", json_pack("[{s:s, s:s}]", "name", "nic0", "bridge", "br0"));
    if (mac != NULL) {
        jset(ch.stored, "spec.nics",
             json_pack("[{s:s, s:s, s:s}]", "name", "nic0", "bridge", "br0", "mac", mac));
    }
    return ch;
}

/* Addresses are made once, kept, and never shared. */
static void test_macs(void **state)
{
    struct fake *f = fake_new(8);
    struct change ch[2] = { vm_change("vm1", "00:16:3E:00:00:01"), vm_change("vm2", NULL) };
    struct err err = { 0 };
    char made[32];
    json_t *same;

    (void)state;
    assert_int_equal(macs_admit(&f->n, ch, 2, &err), 0);
    macs_fill(NULL, ch[1].stored);
    (void)snprintf(made, sizeof(made), "%s", jget_str(ch[1].stored, "spec.nics.0.mac", ""));
    assert_true(str_starts(made, "00:16:3e:"));
    same = json_deep_copy(ch[0].stored);
    jset(same, "spec.nics", json_pack("[{s:s, s:s}]", "name", "nic0", "bridge", "br1"));
    macs_fill(ch[0].stored, same);
    assert_string_equal(jget_str(same, "spec.nics.0.mac", ""), "00:16:3E:00:00:01");
    json_decref(same);
    fake_put(f, json_incref(ch[0].stored));
    fake_settle(f);
    assert_int_equal(macs_admit(&f->n, ch, 2, &err), 0); /* its own */
    json_decref(ch[1].stored);
    ch[1] = vm_change("vm2", "00:16:3e:00:00:01");
    assert_int_equal(macs_admit(&f->n, &ch[1], 1, &err), ERR_INVALID);
    assert_non_null(strstr(err.msg, "vm1"));
    assert_int_equal(macs_admit(&f->n, ch, 2, &err), ERR_INVALID);
    json_decref(ch[0].stored);
    json_decref(ch[1].stored);
    fake_free(f);
}

/* Renewals that come late are said before a guest is stopped for it: at half and at three quarters
 * of the 1000 ms that half a lease leaves beside the heartbeat. */
static void test_margins(void **state)
{
    static const struct {
        uint64_t late[2];
        const char *status, *reason;
    } cases[] = {
        { { 499, 0 }, "True", "Good" },
        { { 500, 0 }, "False", "HalfUsed" },
        { { 0, 500 }, "False", "HalfUsed" }, /* in the window before: not forgotten yet */
        { { 749, 1 }, "False", "HalfUsed" },
        { { 750, 0 }, "False", "ThreeQuartersUsed" },
        { { 5000, 0 }, "False", "ThreeQuartersUsed" },
        { { 1, 0 }, "True", "Good" },
    };
    struct fake *f = fake_new(1);

    (void)state;
    fake_host(f, "node1", "8Gi", 4, "r1");
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        json_t *host;

        memcpy(f->late_ms, cases[i].late, sizeof(f->late_ms));
        fake_again(f);
        fake_settle(f);
        host = fake_get(f, "hosts", "node1");
        assert_string_equal(jget_str(cond_get(host, "LeaseMargin"), "status", "-"),
                            cases[i].status);
        assert_string_equal(jget_str(cond_get(host, "LeaseMargin"), "reason", "-"),
                            cases[i].reason);
        json_decref(host);
    }
    fake_free(f);
}

/* --- takeover ----------------------------------------------------------------------------------
 */

static uint64_t fencing_of(struct fake *f, const char *host)
{
    struct arena a = { 0 };
    struct s_inc inc = { 0 };
    struct err err;
    uint64_t id =
        s_inc_get(f->n.store, fake_incarnation(f, host), &a, &inc, &err) == 0 ? inc.fencing : 0;

    arena_done(&a);
    return id;
}

static void result_arrives(struct fake *f, const char *host, enum fence_result result)
{
    struct cmd c = { .op = CMD_FENCE_RESULT,
                     .actor = { .role = ACTOR_EXECUTOR, .name = "witness" } };

    c.safety.fencing = fencing_of(f, host);
    c.safety.attempt = 1;
    c.safety.device = "pdu";
    c.safety.result = result;
    assert_int_equal(fake_cmd(f, &c), 0);
    controller_wake(f->n.ctl);
}

/* Three hosts; vm1 runs on host0, the only one with a device. */
static struct fake *with_device(void)
{
    struct fake *f = fake_new(21);
    static const char *const names[] = { "host0", "host1", "host2" };
    json_t *h;

    fake_put(f, simple("FenceDevice", "pdu",
                       json_pack("{s:s, s:s}", "type", "ApcSnmp", "address", "192.0.2.9")));
    for (size_t i = 0; i < ARRAY_LEN(names); i++) {
        fake_host(f, names[i], "6Gi", 4, "r1");
    }
    h = fake_get(f, "hosts", "host0");
    jset(h, "spec.fencing", json_pack("[{s:[s]}]", "devices", "pdu"));
    jset(h, "metadata.labels.role", json_string("old"));
    fake_put(f, h);
    fake_put(f, simple("VirtualMachine", "vm1",
                       json_pack("{s:s, s:{s:{s:s}}}", "memory", "2Gi", "placement", "hostSelector",
                                 "role", "old")));
    fake_settle(f);
    assert_int_equal(fake_acquire(f, "host0", "vm1"), 0);
    h = fake_get(f, "virtualmachines", "vm1");
    (void)json_object_del(json_object_get(h, "spec"), "placement");
    fake_put(f, h);
    fake_settle(f);
    f->n.ctl->since_ms = 1; /* it has led for long: leases are what they are */
    f->n.ctl->grace_ms = 0;
    return f;
}

/* host0 stopped renewing; the executor has just read it back as off. */
static struct fake *about_to_be_proved(void)
{
    struct fake *f = with_device();

    fake_lease(f, "host0", false);
    fake_settle(f);
    result_arrives(f, "host0", FENCE_RESULT_SUCCEEDED);
    return f;
}

/* Turn the loop until the leader has ended the fencing, and not once more. */
static void until_over(struct fake *f)
{
    for (unsigned i = 0; i < 1000 && fencing_of(f, "host0") != 0; i++) {
        (void)uv_run(&f->loop, UV_RUN_NOWAIT);
    }
    assert_int_equal(fencing_of(f, "host0"), 0);
}

/* The new hosts of its machines are written along with the proof, not a round later. */
static void test_takeover_in_one_pass(void **state)
{
    struct fake *f = about_to_be_proved();
    char host[32];

    (void)state;
    assert_string_equal(assigned(f, "vm1", host, sizeof(host)), "host0");
    until_over(f);
    assert_string_not_equal(assigned(f, "vm1", host, sizeof(host)), "host0");
    assert_string_not_equal(host, "");
    assert_int_equal(fake_acquire(f, host, "vm1"), 0);
    fake_settle(f);
    fake_free(f);
}

/* The store knows better than the leader: without the proof nothing of what counted on it is
 * written. */
static void test_takeover_needs_the_proof(void **state)
{
    struct fake *f = about_to_be_proved();
    char host[32];

    (void)state;
    f->refuse = CMD_PROOF;
    for (unsigned i = 0; i < 1000 && f->refuse != CMD_NONE; i++) {
        (void)uv_run(&f->loop, UV_RUN_NOWAIT);
    }
    assert_int_equal(f->refuse, CMD_NONE);
    assert_int_not_equal(fencing_of(f, "host0"), 0);
    assert_string_equal(assigned(f, "vm1", host, sizeof(host)), "host0");
    usleep(60000); /* after a refusal the controllers wait */
    until_over(f);
    fake_settle(f);
    assert_string_not_equal(assigned(f, "vm1", host, sizeof(host)), "host0");
    fake_free(f);
}

static void user_fences(struct fake *f, const char *host)
{
    struct cmd c = { .op = CMD_FENCE_OPEN, .actor = { .role = ACTOR_OPERATOR, .name = "olga" } };
    struct arena a = { 0 };
    struct err err = { 0 };

    assert_int_equal(fence_user_check(&f->n, host, &err), 0);
    c.safety.incarnation = fake_incarnation(f, host);
    assert_int_equal(fence_levels(&f->n, host, &a, &c.safety, &err), 0);
    c.safety.by_user = true;
    c.safety.reason = "it smells of smoke";
    assert_int_equal(fake_cmd(f, &c), 0);
    arena_done(&a);
}

static uint64_t attempt_of(struct fake *f, const char *host)
{
    struct arena a = { 0 };
    struct s_fencing fc = { 0 };
    struct err err;
    uint64_t n =
        s_fencing_get(f->n.store, fencing_of(f, host), &a, &fc, &err) == 0 ? fc.attempt : 0;

    arena_done(&a);
    return n;
}

/* An edit makes what was tried worthless, not what was asked for: the host is fenced, however much
 * it asks for its lease. */
static void test_user_fencing_survives_an_edit(void **state)
{
    struct fake *f = with_device();
    uint64_t first;
    json_t *h;

    (void)state;
    user_fences(f, "host0");
    f->ask = true;
    fake_lease(f, "host0", false);
    fake_settle(f);
    first = fencing_of(f, "host0");
    assert_int_equal(attempt_of(f, "host0"), 1);
    for (unsigned i = 0; i < 2; i++) { /* also what was opened anew is edited */
        h = fake_get(f, "hosts", "host0");
        jset(h, "spec.memoryReserve", json_string(i == 0 ? "3Gi" : "2Gi"));
        fake_put(f, h);
        fake_settle(f);
        result_arrives(f, "host0", FENCE_RESULT_FAILED);
        fake_settle(f);
        assert_true(fencing_of(f, "host0") > first);
        assert_int_equal(attempt_of(f, "host0"), 1);
        first = fencing_of(f, "host0");
    }
    fake_free(f);
}

/* A fencing that nothing could end is not begun, and one whose device goes away before anything was
 * tried ends when the host is seen to live. */
static void test_user_fencing_without_device(void **state)
{
    struct fake *f = with_device();
    struct err err = { 0 };
    json_t *h;

    (void)state;
    assert_int_equal(fence_user_check(&f->n, "host1", &err), ERR_REFUSED);
    assert_non_null(strstr(err.msg, "confirm-off host1"));
    user_fences(f, "host0");
    h = fake_get(f, "hosts", "host0");
    (void)json_object_del(json_object_get(h, "spec"), "fencing");
    fake_put(f, h);
    fake_lease(f, "host0", false);
    fake_settle(f);
    assert_int_not_equal(fencing_of(f, "host0"),
                         0); /* silent: a person has to say that it is off */
    f->ask = true;
    controller_wake(f->n.ctl);
    until_over(f);
    fake_lease(f, "host0", true);
    fake_settle(f);
    h = fake_get(f, "hosts", "host0");
    assert_string_equal(jget_str(h, "status.incarnationState", ""), "Live");
    json_decref(h);
    fake_free(f);
}

/* --- migrations --------------------------------------------------------------------------------
 */

#define MOVERS 6U

static void can_move_live(struct fake *f, const char *host)
{
    json_t *h = fake_get(f, "hosts", host);

    jset(h, "status.capacity.liveMigration", json_true());
    jset(h, "status.capacity.liveMigrationPV", json_true());
    fake_put(f, h);
}

static size_t migrations(struct fake *f, const char *phase)
{
    const struct kind *k = kind_by_plural("migrations");
    const struct ctl_obj *o;
    size_t n = 0;

    for (size_t pos = 0; (o = ctl_next(f->n.ctl, k, &pos)) != NULL;) {
        n += str_eq(jget_str(o->json, "status.phase", ""), phase);
    }
    return n;
}

/* Six machines run on host0, which is then drained; host1 can take them all, live. */
static struct fake *drained_live(void)
{
    struct fake *f = fake_new(31);
    char name[16];

    fake_host(f, "host0", "20Gi", 8, "r1");
    can_move_live(f, "host0");
    for (unsigned i = 0; i < MOVERS; i++) {
        name_of(name, sizeof(name), "vm", i);
        fake_put(f, simple("VirtualMachine", name, json_pack("{s:s}", "memory", "1Gi")));
        fake_settle(f);
        assert_int_equal(fake_acquire(f, "host0", name), 0);
        fake_report(f, "host0", "virtualmachines", name,
                    json_pack("{s:s, s:s, s:s, s:I, s:s, s:s}", "kind", "VirtualMachine", "name",
                              name, "state", "Running", "incarnation",
                              (json_int_t)fake_incarnation(f, "host0"), "reason", "", "message",
                              ""));
    }
    fake_settle(f);
    fake_host(f, "host1", "20Gi", 8, "r1");
    can_move_live(f, "host1");
    fake_settle(f);
    maintain(f, "host0", true);
    return f;
}

/* All six are asked for in one pass: no more than spec.migration.parallel (2) begin, though the
 * objects do not say yet that the first ones have. */
static void test_parallel_migrations(void **state)
{
    struct fake *f = drained_live();

    (void)state;
    assert_int_equal(migrations(f, "Preparing"), 2);
    assert_int_equal(migrations(f, "Pending"), MOVERS - 2);
    fake_free(f);
}

/* A second one of a machine waits until the first is over: a drain's has often only to tidy up. */
static void test_second_migration_waits(void **state)
{
    struct fake *f = drained_live();
    const struct kind *k = kind_by_plural("migrations");
    struct ctl_obj *o;
    json_t *m, *first = NULL;
    char *name;

    (void)state;
    for (size_t pos = 0; first == NULL && (o = ctl_next(f->n.ctl, k, &pos)) != NULL;) {
        first = str_eq(jget_str(o->json, "status.phase", ""), "Preparing") ? json_deep_copy(o->json)
                                                                           : NULL;
    }
    assert_non_null(first);
    fake_put(f,
             simple("Migration", "again",
                    json_pack("{s:s, s:s}", "vm", jget_str(first, "spec.vm", ""), "to", "host1")));
    fake_settle(f);
    m = fake_get(f, "migrations", "again");
    assert_string_equal(jget_str(m, "status.phase", ""), "Pending");
    name = mem_printf("migration/%s", jget_str(first, "metadata.name", ""));
    assert_non_null(strstr(jget_str(m, "status.message", ""), name));
    json_decref(m);
    jset(first, "status.phase", json_string("Succeeded"));
    fake_put(f, first);
    fake_settle(f);
    m = fake_get(f, "migrations", "again");
    assert_null(strstr(jget_str(m, "status.message", ""), name)); /* it is its turn */
    json_decref(m);
    free(name);
    fake_free(f);
}

/* Those that wait do not ask placement in every pass, nor when one has left that frees no room. */
static void test_waiting_migrations_cost_little(void **state)
{
    struct fake *f = drained_live();
    uint64_t asks = f->n.ctl->mig_asks, passes = f->n.ctl->passes;
    json_t *c;

    (void)state;
    assert_in_range(asks, 2, 2 * MOVERS);
    for (unsigned i = 0; i < 50; i++) {
        controller_wake(f->n.ctl);
        fake_settle(f);
    }
    assert_true(f->n.ctl->passes >= passes + 50);
    assert_int_equal(f->n.ctl->mig_asks, asks);
    c = fake_get(f, "clusters", "cluster");
    jset(c, "spec.migration.parallel", json_integer(3));
    fake_put(f, c);
    fake_settle(f);
    assert_int_equal(migrations(f, "Preparing"), 3); /* and what they wait for wakes them */
    assert_in_range(f->n.ctl->mig_asks, asks + 1, asks + 2);
    fake_free(f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_random),
        cmocka_unit_test(test_margins),
        cmocka_unit_test(test_idle),
        cmocka_unit_test(test_few),
        cmocka_unit_test(test_held_without_report),
        cmocka_unit_test(test_lock_of_a_file),
        cmocka_unit_test(test_what_if),
        cmocka_unit_test(test_relocate),
        cmocka_unit_test(test_lacks),
        cmocka_unit_test(test_macs),
        cmocka_unit_test(test_drain),
        cmocka_unit_test(test_volume),
        cmocka_unit_test(test_netcheck),
        cmocka_unit_test(test_takeover_in_one_pass),
        cmocka_unit_test(test_takeover_needs_the_proof),
        cmocka_unit_test(test_user_fencing_survives_an_edit),
        cmocka_unit_test(test_user_fencing_without_device),
        cmocka_unit_test(test_parallel_migrations),
        cmocka_unit_test(test_second_migration_waits),
        cmocka_unit_test(test_waiting_migrations_cost_little),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
