/* What the agents of hosts report: what they see of machines and volumes, and full inventories. */

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/obj.h"
#include "base/str.h"
#include "cmd/picketd/object.h"
#include "cmd/picketd/rest_ops.h"

#define ITEMS_MAX 4000U

/* --- reports -----------------------------------------------------------------------------------
 */

static void report_put(struct arena *a, struct txn_op *op, const char *key, const json_t *item)
{
    *op = (struct txn_op){ .kind = item == NULL ? TXN_DELETE : TXN_PUT };
    op->key.p = (const uint8_t *)arena_strdup(a, key);
    op->key.n = strlen(key);
    if (item != NULL) {
        char *text = json_dumps(item, JSON_COMPACT | JSON_SORT_KEYS);

        op->value.p = (const uint8_t *)arena_strdup(a, text);
        op->value.n = strlen(text);
        free(text);
    }
}

/* "virtualmachines/vm1" of a report item; false when it names nothing. */
static bool report_object(const json_t *item, char *dst, size_t size)
{
    const struct kind *k = kind_find(jget_str(item, "kind", ""));
    const char *name = jget_str(item, "name", "");

    return k != NULL && str_is_name(name) &&
           (size_t)snprintf(dst, size, "%s/%s", k->plural, name) < size;
}

/* Reports come in order: one that was under way for long (its agent has given up on it and told
 * newer things through another picketd) must not undo them.  The newest number is kept beside the
 * reports, as text that sorts like the numbers. */
static void report_order(struct rest *r, struct arena *a, struct cmd_txn *t)
{
    char *key = arena_printf(a, "r/%s/order", r->name);
    char *value = arena_printf(a, "%016" PRIx64 ".%016" PRIx64, ops_u64(r, "incarnation"),
                               ops_u64(r, "sequence"));
    struct bytes k = { (const uint8_t *)key, strlen(key) };
    struct bytes v = { (const uint8_t *)value, strlen(value) };
    bool first = store_get_str(r->node->store, key) == NULL;

    t->cmp = ARENA_ARRAY(a, struct txn_cmp, 1);
    t->n_cmp = 1;
    t->cmp[0] =
        first ? (struct txn_cmp){ .target = CMP_VERSION, .result = CMP_EQUAL, .key = k }
              : (struct txn_cmp){ .target = CMP_VALUE, .result = CMP_LESS, .key = k, .value = v };
    t->then_ops[t->n_then++] = (struct txn_op){ .kind = TXN_PUT, .key = k, .value = v };
}

struct stale {
    const json_t *items;
    struct arena *a;
    struct cmd_txn *t;
    size_t prefix;
};

/* A full report ends everything that it does not name. */
static bool stale_visit(void *ctx, const struct kv *v)
{
    struct stale *s = ctx;

    if (str_eq(kv_key(v) + s->prefix, "order")) {
        return true;
    }
    for (size_t i = 0; i < json_array_size(s->items); i++) {
        char object[320];

        if (report_object(json_array_get(s->items, i), object, sizeof(object)) &&
            str_eq(object, kv_key(v) + s->prefix)) {
            return true;
        }
    }
    if (s->t->n_then < ITEMS_MAX) {
        report_put(s->a, &s->t->then_ops[s->t->n_then++], kv_key(v), NULL);
    }
    return true;
}

static int report_build(struct rest *r, struct arena *a, struct cmd_txn *t, struct err *err)
{
    const json_t *items = json_object_get(r->body, "items");
    const json_t *gone = json_object_get(r->body, "gone");
    char key[640];
    char object[320];

    t->then_ops = ARENA_ARRAY(a, struct txn_op, ITEMS_MAX + 1);
    for (size_t i = 0; i < json_array_size(items); i++) {
        const json_t *item = json_array_get(items, i);

        if (!report_object(item, object, sizeof(object)) || t->n_then >= ITEMS_MAX) {
            return err_set(err, ERR_INVALID, "items[%zu]: kind and name of an object are needed",
                           i);
        }
        (void)snprintf(key, sizeof(key), "r/%s/%s", r->name, object);
        report_put(a, &t->then_ops[t->n_then++], key, item);
    }
    for (size_t i = 0; i < json_array_size(gone) && t->n_then < ITEMS_MAX; i++) {
        const char *what = json_string_value(json_array_get(gone, i));

        (void)snprintf(key, sizeof(key), "r/%s/%s", r->name, what == NULL ? "" : what);
        report_put(a, &t->then_ops[t->n_then++], key, NULL);
    }
    if (jget_bool(r->body, "full", false)) {
        struct stale s = { .items = items, .a = a, .t = t };

        (void)snprintf(key, sizeof(key), "r/%s/", r->name);
        s.prefix = strlen(key);
        store_prefix(r->node->store, key, stale_visit, &s);
    }
    if (ops_u64(r, "sequence") != 0) { /* agents before this rule do not count */
        report_order(r, a, t);
    }
    return 0;
}

static void inventory_done(void *data, const struct err *err, const struct cmd_answer *ans)
{
    ops_empty(data, err, ans);
}

static void inventory_add(struct rest *r, struct arena *a, struct cmd_safety *s, const char *plural,
                          const char *name)
{
    struct err err;
    json_t *obj = object_read(r->node->store, plural, name, &err);

    if (obj != NULL && s->n_locks == CMD_MAX_LOCKS) {
        s->complete = false; /* what is not named would count as free */
    } else if (obj != NULL) {
        s->locks[s->n_locks++] = (struct cmd_lock_ref){
            .lock = arena_printf(a, "%s/%s", plural, name),
            .uid = arena_strdup(a, jget_str(obj, "metadata.uid", "")),
        };
    }
    json_decref(obj);
}

/* The volumes of a machine's writable disks; one that is declared in place is called VM-DISK. */
static void inventory_volumes(struct rest *r, struct arena *a, struct cmd_safety *s, const char *vm)
{
    struct err err;
    json_t *obj = object_read(r->node->store, "virtualmachines", vm, &err);
    const json_t *disks = jget(obj, "spec.disks");

    for (size_t i = 0; i < json_array_size(disks); i++) {
        const json_t *d = json_array_get(disks, i);
        const char *volume = jget_str(d, "volume", NULL);

        if (volume == NULL && jget(d, "volumeGroup") != NULL) {
            volume = arena_printf(a, "%s-%s", vm, jget_str(d, "name", ""));
        }
        if (volume != NULL) {
            inventory_add(r, a, s, "volumes", volume);
        }
    }
    json_decref(obj);
}

/* After a restore the locks are what the hosts say they hold: everything that runs there. */
static void inventory_locks(struct rest *r, struct arena *a, struct cmd_safety *s)
{
    const json_t *items = json_object_get(r->body, "items");

    s->locks = ARENA_ARRAY(a, struct cmd_lock_ref, CMD_MAX_LOCKS);
    for (size_t i = 0; i < json_array_size(items); i++) {
        const json_t *item = json_array_get(items, i);
        const char *state = jget_str(item, "state", "");
        const char *name = arena_strdup(a, jget_str(item, "name", ""));

        if (str_eq(jget_str(item, "kind", ""), "VirtualMachine") && !str_eq(state, "Absent") &&
            !str_eq(state, "Stopped") && !str_eq(state, "Crashed")) {
            inventory_add(r, a, s, "virtualmachines", name);
            inventory_volumes(r, a, s, name);
        }
    }
}

static void report_done(void *data, const struct err *err, const struct cmd_answer *ans)
{
    struct rest *r = data;
    struct err late;

    if (err == NULL && !ans->succeeded) {
        (void)err_set(
            &late, ERR_CONFLICT,
            "a newer report of %s came first: send what is so now, with a higher sequence",
            r->name);
        rest_err(r, &late);
        return;
    }
    if (err == NULL && jget_bool(r->body, "full", false)) {
        struct cmd c = { .op = CMD_INVENTORY, .actor = ops_agent(r), .epoch = ops_u64(r, "epoch") };

        struct arena a = { 0 };

        c.safety.incarnation = ops_u64(r, "incarnation");
        c.safety.complete = true;
        inventory_locks(r, &a, &c.safety);
        node_submit(r->node, &c, true, inventory_done, r);
        arena_done(&a);
        return;
    }
    ops_empty(r, err, ans);
}

/* Reports are believed only from the newest incarnation of the host. */
static int report_check(struct rest *r, struct err *err)
{
    struct arena a = { 0 };
    struct s_host h;
    int rc = s_host_get(r->node->store, r->name, &a, &h, err);

    if (rc == 0 && h.incarnation != ops_u64(r, "incarnation")) {
        rc = err_set(err, ERR_STALE,
                     "incarnation %" PRIu64 " is not the newest of %s: register again",
                     ops_u64(r, "incarnation"), r->name);
    }
    arena_done(&a);
    return rc;
}

void rest_report_go(struct rest *r)
{
    struct cmd c = { .op = CMD_TXN, .actor = ops_agent(r), .epoch = ops_u64(r, "epoch") };
    struct arena a = { 0 };
    struct err err;

    if (report_check(r, &err) != 0 || report_build(r, &a, &c.txn, &err) != 0) {
        rest_err(r, &err);
    } else {
        node_submit(r->node, &c, true, report_done, r);
    }
    arena_done(&a);
}
