#include "cmd/picketd/change.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/obj.h"
#include "base/str.h"
#include "cmd/picketd/admit.h"
#include "cmd/picketd/macs.h"
#include "cmd/picketd/object.h"
#include "cmd/picketd/seal.h"

void change_done(struct change *c)
{
    json_decref(c->old);
    json_decref(c->stored);
    c->old = NULL;
    c->stored = NULL;
}

/* What the API shows of a stored form, but without a resourceVersion: the base of merges. */
static json_t *api_form(const struct kind *k, const json_t *stored)
{
    json_t *live = json_deep_copy(stored);

    live = object_dress(k, live, 0);
    (void)json_object_del(json_object_get(live, "metadata"), "resourceVersion");
    return live;
}

static int check_version(const struct change *c, const json_t *want, struct err *err)
{
    const char *rv = jget_str(want, "metadata.resourceVersion", "");
    const char *uid = jget_str(want, "metadata.uid", "");
    uint64_t rev = 0;

    if (*rv != 0 && !str_eq(rv, "0") && (!str_parse_u64(rv, &rev) || rev != c->old_rev)) {
        return err_set(err, ERR_CONFLICT,
                       "%s \"%s\" was changed meanwhile (version %" PRIu64
                       ", you have %.24s): get it again and repeat the change",
                       c->k->plural, c->name, c->old_rev, rv);
    }
    if (*uid != 0 && c->old != NULL && !str_eq(uid, jget_str(c->old, "metadata.uid", ""))) {
        return err_set(err, ERR_CONFLICT, "%s \"%s\" is another object than uid %.40s",
                       c->k->plural, c->name, uid);
    }
    return 0;
}

/* The fields of metadata that belong to the server come from the old object, or are made. */
static void server_metadata(const struct kind *k, const json_t *old, json_t *obj)
{
    static const char *const kept[] = { "uid", "creationTimestamp", "deletionTimestamp" };
    json_t *meta = json_object_get(obj, "metadata");
    const json_t *before = json_object_get(old, "metadata");
    char text[40];

    (void)json_object_del(meta, "resourceVersion");
    (void)json_object_del(meta, "managedFields");
    (void)json_object_del(meta, "generation");
    for (size_t i = 0; i < ARRAY_LEN(kept); i++) {
        (void)json_object_del(meta, kept[i]);
        if (json_object_get(before, kept[i]) != NULL) {
            (void)json_object_set(meta, kept[i], json_object_get(before, kept[i]));
        }
    }
    if (old != NULL) {
        return;
    }
    clock_uuid(text);
    (void)json_object_set_new(meta, "uid", json_string(text));
    str_format_time(clock_wall_ms(), text, sizeof(text));
    (void)json_object_set_new(meta, "creationTimestamp", json_string(text));
    if (str_eq(k->name, "VirtualMachine")) {
        (void)json_object_set_new(meta, "finalizers", json_pack("[s]", "picket/guest"));
    }
}

/* Where jansson's json_equal takes two absent values for different. */
static bool same_value(const json_t *a, const json_t *b)
{
    return a == b || json_equal(a, b);
}

static void next_generation(const struct kind *k, const json_t *old, json_t *obj)
{
    int64_t g = jget_int(old, "metadata.generation", 0);
    bool same = old != NULL && obj_spec_equal(k, old, obj) &&
                same_value(json_object_get(old, "data"), json_object_get(obj, "data"));

    jset(obj, "metadata.generation", json_integer(same ? g : g + 1));
}

/* What the manager declares, remembered for its next apply; without values of secrets. */
static void remember_applied(const struct kind *k, json_t *stored, const json_t *old,
                             const char *manager, const json_t *want)
{
    json_t *all = json_deep_copy(json_object_get(old, "_applied"));
    json_t *mine = json_deep_copy(want);
    const char *key;
    json_t *value;

    if (all == NULL) {
        all = json_object();
    }
    (void)json_object_del(mine, "status");
    if (str_eq(k->name, "Secret")) {
        json_t *data = json_object_get(mine, "stringData");

        json_object_foreach (data, key, value) {
            (void)json_object_set_new(data, key, json_string("***"));
        }
        (void)json_object_del(mine, "data");
    }
    (void)json_object_set_new(all, manager, mine);
    (void)json_object_set_new(stored, "_applied", all);
}

static json_t *merged(const struct change *c, json_t *want, enum change_mode mode,
                      const char *manager)
{
    json_t *live, *obj;
    const json_t *last = NULL;

    if (mode == CHANGE_STATUS) {
        obj = api_form(c->k, c->old);
        if (json_object_get(want, "status") != NULL) {
            (void)json_object_set(obj, "status", json_object_get(want, "status"));
        }
        return obj;
    }
    if (mode != CHANGE_APPLY || c->old == NULL) {
        return json_deep_copy(want);
    }
    live = api_form(c->k, c->old);
    last = json_object_get(json_object_get(c->old, "_applied"), manager);
    obj = obj_apply(c->k, last, live, want);
    json_decref(live);
    return obj;
}

/* Spec and metadata of users, status of controllers: each writes only its half. */
static void keep_other_half(const struct change *c, json_t *obj, enum change_mode mode)
{
    const json_t *status = json_object_get(c->old, "status");

    if (mode == CHANGE_STATUS) {
        return;
    }
    (void)json_object_del(obj, "status");
    if (status != NULL) {
        (void)json_object_set_new(obj, "status", json_deep_copy(status));
    }
}

static int change_build(struct node *n, struct change *c, json_t *want, enum change_mode mode,
                        const char *manager, struct problems *problems, struct err *err)
{
    json_t *obj = merged(c, want, mode, manager);
    int rc;

    (void)json_object_set_new(obj, "apiVersion", json_string(API_VERSION));
    (void)json_object_set_new(obj, "kind", json_string(c->k->name));
    jset(obj, "metadata.name", json_string(c->name));
    rc = admit_validate(n, c->k, c->old, obj, mode == CHANGE_STATUS, problems, err);
    if (rc == 0 && str_eq(c->k->name, "Secret")) {
        rc = seal_secret(n, obj, c->old, mode == CHANGE_APPLY, err);
    }
    if (rc != 0) {
        json_decref(obj);
        return rc;
    }
    if (mode != CHANGE_STATUS) {
        obj_default(c->k, obj);
        if (str_eq(c->k->name, "VirtualMachine")) {
            macs_fill(c->old, obj);
        }
    }
    keep_other_half(c, obj, mode);
    server_metadata(c->k, c->old, obj);
    next_generation(c->k, c->old, obj);
    if (json_object_get(c->old, "_applied") != NULL) {
        (void)json_object_set(obj, "_applied", json_object_get(c->old, "_applied"));
    }
    if (mode == CHANGE_APPLY) {
        remember_applied(c->k, obj, c->old, manager, want);
    }
    c->stored = obj;
    c->result = c->old == NULL                  ? CHANGE_CREATED
                : json_equal(c->old, c->stored) ? CHANGE_UNCHANGED
                                                : CHANGE_CONFIGURED;
    return 0;
}

int change_prepare(struct node *n, const struct kind *k, const char *name, json_t *want,
                   enum change_mode mode, const char *manager, struct problems *problems,
                   struct change *ret, struct err *err)
{
    struct change c = { .k = k };
    struct err missing;
    int rc;

    (void)str_copy(c.name, sizeof(c.name), name);
    c.old = object_load(n->store, k, name, &c.old_rev, &missing);
    if (c.old == NULL && missing.code != ERR_NOT_FOUND) {
        *err = missing;
        return err->code;
    }
    if (c.old == NULL && (mode == CHANGE_UPDATE || mode == CHANGE_STATUS)) {
        *err = missing;
        return err->code;
    }
    if (c.old != NULL && mode == CHANGE_CREATE) {
        json_decref(c.old);
        return err_set(err, ERR_EXISTS, "%s.%s \"%s\" already exists", k->plural, API_GROUP, name);
    }
    rc = check_version(&c, want, err);
    if (rc == 0) {
        rc = change_build(n, &c, want, mode, manager, problems, err);
    }
    if (rc != 0) {
        change_done(&c);
        return rc;
    }
    *ret = c;
    return 0;
}

bool change_stale(const struct node *n, const struct change *c)
{
    char key[OBJECT_KEY_MAX];
    const struct kv *v;

    CHECK(object_key(c->k, c->name, key, sizeof(key)));
    v = store_get_str(n->store, key);
    return (v == NULL ? 0 : v->mod_rev) != c->old_rev;
}

int change_delete(struct node *n, const struct kind *k, const char *name, const json_t *options,
                  struct change *ret, struct err *err)
{
    struct change c = { .k = k, .result = CHANGE_DELETED };
    json_t *pre;
    char when[32];
    int rc;

    if (k->singleton != NULL) {
        return err_set(
            err, ERR_REFUSED,
            "the %s \"%s\" is what this cluster is configured by: it can be changed, not "
            "deleted; apply one without a field to get the field's default",
            k->name, k->singleton);
    }
    pre = json_pack("{s:{}}", "metadata");
    (void)str_copy(c.name, sizeof(c.name), name);
    c.old = object_load(n->store, k, name, &c.old_rev, err);
    if (c.old == NULL) {
        json_decref(pre);
        return err->code;
    }
    jset(pre, "metadata.uid", json_string(jget_str(options, "preconditions.uid", "")));
    jset(pre, "metadata.resourceVersion",
         json_string(jget_str(options, "preconditions.resourceVersion", "")));
    rc = check_version(&c, pre, err);
    json_decref(pre);
    if (rc != 0) {
        change_done(&c);
        return rc;
    }
    if (json_array_size(jget(c.old, "metadata.finalizers")) > 0) {
        c.stored = json_deep_copy(c.old);
        if (jget(c.old, "metadata.deletionTimestamp") == NULL) {
            str_format_time(clock_wall_ms(), when, sizeof(when));
            jset(c.stored, "metadata.deletionTimestamp", json_string(when));
        }
        c.result = json_equal(c.old, c.stored) ? CHANGE_UNCHANGED : CHANGE_CONFIGURED;
    }
    *ret = c;
    return 0;
}

/* --- the transaction ---------------------------------------------------------------------------
 */

struct submit {
    node_cb *cb;
    void *data;
};

static void submit_done(void *data, const struct err *err, const struct cmd_answer *ans)
{
    struct submit *s = data;
    struct err e;

    if (err == NULL && !ans->succeeded) {
        (void)err_set(&e, ERR_CONFLICT, "an object was changed meanwhile: repeat the request");
        s->cb(s->data, &e, NULL);
    } else {
        s->cb(s->data, err, ans);
    }
    free(s);
}

static void add_change(const struct change *c, struct arena *a, struct cmd_txn *t)
{
    char key[OBJECT_KEY_MAX];
    struct bytes kb;
    struct txn_op *op = &t->then_ops[t->n_then++];
    struct txn_cmp *cmp = &t->cmp[t->n_cmp++];

    CHECK(object_key(c->k, c->name, key, sizeof(key)));
    kb.p = (const uint8_t *)arena_strdup(a, key);
    kb.n = strlen(key);
    *cmp =
        (struct txn_cmp){ .target = CMP_MOD, .result = CMP_EQUAL, .key = kb, .number = c->old_rev };
    if (c->stored == NULL) {
        *op = (struct txn_op){ .kind = TXN_DELETE, .key = kb };
    } else {
        struct buf b = { 0 };
        uint8_t *copy;

        object_encode(c->stored, &b);
        copy = arena_alloc(a, b.len);
        memcpy(copy, b.data, b.len);
        *op = (struct txn_op){ .kind = TXN_PUT, .key = kb, .value = { .p = copy, .n = b.len } };
        buf_done(&b);
    }
}

static void submit_txn(struct node *n, const struct change *changes, size_t count, struct cmd *c,
                       struct arena *a, bool once, struct submit *s)
{
    for (size_t i = 0; i < count; i++) {
        if (changes[i].result != CHANGE_UNCHANGED) {
            add_change(&changes[i], a, &c->txn);
        }
    }
    node_submit(n, c, once, submit_done, s);
}

void change_submit_with(struct node *n, const struct change *changes, size_t count,
                        const struct actor *actor, const struct txn_cmp *cmp,
                        const struct txn_op *put, node_cb *cb, void *data)
{
    struct arena a = { 0 };
    struct cmd c = { .op = CMD_TXN, .actor = *actor };
    struct submit *s = OBJ_NEW(struct submit);

    s->cb = cb;
    s->data = data;
    c.txn.cmp = ARENA_ARRAY(&a, struct txn_cmp, count + 1);
    c.txn.then_ops = ARENA_ARRAY(&a, struct txn_op, count + 1);
    c.txn.cmp[c.txn.n_cmp++] = *cmp;
    c.txn.then_ops[c.txn.n_then++] = *put;
    submit_txn(n, changes, count, &c, &a, true, s);
    arena_done(&a);
}

void change_submit_if(struct node *n, const struct change *changes, size_t count,
                      const struct actor *actor, const struct txn_cmp *cmps, size_t n_cmps,
                      node_cb *cb, void *data)
{
    struct arena a = { 0 };
    struct cmd c = { .op = CMD_TXN, .actor = *actor };
    struct submit *s = OBJ_NEW(struct submit);

    s->cb = cb;
    s->data = data;
    c.txn.cmp = ARENA_ARRAY(&a, struct txn_cmp, count + n_cmps + 1);
    c.txn.then_ops = ARENA_ARRAY(&a, struct txn_op, count + 1);
    for (size_t i = 0; i < n_cmps; i++) {
        c.txn.cmp[c.txn.n_cmp++] = cmps[i];
    }
    submit_txn(n, changes, count, &c, &a, false, s);
    arena_done(&a);
}

void change_submit(struct node *n, const struct change *changes, size_t count,
                   const struct actor *actor, bool once, node_cb *cb, void *data)
{
    struct arena a = { 0 };
    struct cmd c = { .op = CMD_TXN, .actor = *actor };
    struct submit *s = OBJ_NEW(struct submit);

    s->cb = cb;
    s->data = data;
    c.txn.cmp = ARENA_ARRAY(&a, struct txn_cmp, count + 1);
    c.txn.then_ops = ARENA_ARRAY(&a, struct txn_op, count + 1);
    submit_txn(n, changes, count, &c, &a, once, s);
    arena_done(&a);
}
