/* POST apply: many objects in one transaction. */

#include <stdlib.h>
#include <string.h>

#include "base/obj.h"
#include "base/str.h"
#include "cmd/picketd/auth.h"
#include "cmd/picketd/capacity.h"
#include "cmd/picketd/change.h"
#include "cmd/picketd/object.h"
#include "cmd/picketd/request.h"
#include "cmd/picketd/rest.h"
#include "cmd/picketd/roles.h"

#define ITEMS_MAX 2000U

static const char *result_name(enum change_result res)
{
    switch (res) {
    case CHANGE_CREATED:
        return "created";
    case CHANGE_CONFIGURED:
        return "configured";
    case CHANGE_UNCHANGED:
        return "unchanged";
    case CHANGE_DELETED:
        return "deleted";
    }
    CHECK_UNREACHABLE();
}

static void apply_answer(struct rest *r, uint64_t rev)
{
    json_t *items = json_array();
    json_t *warnings = json_array();

    for (size_t i = 0; i < r->n_changes; i++) {
        struct change *c = &r->changes[i];
        bool same = c->result == CHANGE_UNCHANGED || rev == 0;
        json_t *live = NULL;
        json_t *obj = object_dress(c->k, c->stored, same ? c->old_rev : rev);

        if (c->old != NULL && r->dry_run) { /* for diffs */
            live = object_dress(c->k, json_deep_copy(c->old), c->old_rev);
        }
        (void)json_array_append_new(
            items, json_pack("{s:s, s:s, s:s, s:o, s:o*}", "kind", c->k->name, "name", c->name,
                             "result", result_name(c->result), "object", obj, "live", live));
        c->stored = NULL;
    }
    for (size_t i = 0; i < r->problems.n; i++) {
        (void)json_array_append_new(warnings, json_sprintf("%s: %s", r->problems.items[i].path,
                                                           r->problems.items[i].message));
    }
    problems_done(&r->problems);
    r->problems = (struct problems){ 0 };
    rest_json(r, 200, json_pack("{s:o, s:o}", "items", items, "warnings", warnings));
}

static void apply_done(void *data, const struct err *err, const struct cmd_answer *ans)
{
    struct rest *r = data;

    if (err == NULL) {
        apply_answer(r, ans->rev);
        return;
    }
    if (err->code != ERR_CONFLICT || !rest_again(r)) {
        rest_err(r, err);
    }
}

/* Put "Kind/name: " in front of the problems that one item added. */
static void name_problems(struct problems *p, size_t from, const struct kind *k, const char *name)
{
    for (size_t i = from; i < p->n; i++) {
        char *path = mem_strdup(p->items[i].path);

        (void)snprintf(p->items[i].path, sizeof(p->items[i].path), "%s/%.60s: %s", k->singular,
                       name, path);
        free(path);
    }
}

/* Told once, however often the transaction was tried. */
static void tell(struct rest *r, struct problems *mine)
{
    for (size_t i = 0; i < mine->n; i++) {
        const struct problem *p = &mine->items[i];
        bool told = false;

        for (size_t k = 0; k < r->problems.n && !told; k++) {
            told = str_eq(r->problems.items[k].path, p->path) &&
                   str_eq(r->problems.items[k].message, p->message);
        }
        if (told) {
            continue;
        }
        if (p->warning) {
            problem_warn(&r->problems, p->path, "%s", p->message);
        } else {
            problem_add(&r->problems, p->reason, p->path, "%s", p->message);
        }
    }
    problems_done(mine);
}

static int apply_item(struct rest *r, json_t *want, struct change *ret, struct err *err)
{
    const char *manager = jget_str(r->body, "fieldManager", "picket");
    const struct kind *k;
    const char *name = obj_name(want);
    struct problems mine = { 0 };
    int rc;

    if (obj_kind(want, &k, err) != 0) {
        return err->code;
    }
    if (k->read_only) {
        return err_set(err, ERR_METHOD,
                       "%s \"%s\": a view of what the cluster did cannot be applied", k->name,
                       name);
    }
    if (auth_may(r->node, &r->req->peer, k, "", name, "patch", err) != 0) {
        return err->code;
    }
    rc = change_prepare(r->node, k, name, want, CHANGE_APPLY, manager, &mine, ret, err);
    if (rc == 0 && ret->old == NULL) {
        rc = auth_may(r->node, &r->req->peer, k, "", "", "create", err);
        if (rc != 0) {
            change_done(ret);
        }
    }
    name_problems(&mine, 0, k, name);
    tell(r, &mine);
    return rc;
}

/* The same object twice in one apply would be two operations on one revision. */
static int check_twice(const struct rest *r, struct err *err)
{
    const struct change *last = &r->changes[r->n_changes - 1];

    for (size_t i = 0; i + 1 < r->n_changes; i++) {
        if (r->changes[i].k == last->k && str_eq(r->changes[i].name, last->name)) {
            return err_set(err, ERR_INVALID, "%s \"%s\" is declared twice", last->k->name,
                           last->name);
        }
    }
    return 0;
}

static int apply_prepare(struct rest *r, struct err *err)
{
    const json_t *items = json_object_get(r->body, "items");
    struct err first = { 0 };

    for (size_t i = 0; i < json_array_size(items); i++) {
        int rc = apply_item(r, json_array_get(items, i), &r->changes[r->n_changes], err);

        if (rc == 0) {
            r->n_changes++;
            rc = check_twice(r, err);
        }
        /* Go on through invalid ones, so that all problems are told at once. */
        if (rc != 0 && first.code == 0) {
            first = *err;
        }
        if (rc != 0 && rc != ERR_INVALID) {
            return rc;
        }
    }
    *err = first;
    return first.code;
}

/* Once more, after a conflict: only what was changed meanwhile is prepared anew, so that many
 * objects have not all to be left alone for as long as it takes to look at all of them. */
static int apply_refresh(struct rest *r, struct err *err)
{
    const json_t *items = json_object_get(r->body, "items");

    CHECK(r->n_changes == json_array_size(items));
    for (size_t i = 0; i < r->n_changes; i++) {
        if (change_stale(r->node, &r->changes[i])) {
            change_done(&r->changes[i]);
            if (apply_item(r, json_array_get(items, i), &r->changes[i], err) != 0) {
                return err->code;
            }
        }
    }
    return 0;
}

static int apply_admit(struct rest *r, struct err *err)
{
    struct problems mine = { 0 };
    int rc = capacity_admit(r->node, r->changes, r->n_changes, &mine, err);

    tell(r, &mine);
    return rc;
}

static void apply_go(struct rest *r)
{
    struct actor actor = auth_actor(&r->req->peer);
    struct err err = { 0 };
    bool any = false;

    if ((r->tries == 0 ? apply_prepare(r, &err) : apply_refresh(r, &err)) != 0 ||
        apply_admit(r, &err) != 0) {
        rest_err(r, &err);
        return;
    }
    for (size_t i = 0; i < r->n_changes; i++) {
        any = any || r->changes[i].result != CHANGE_UNCHANGED;
    }
    if (r->dry_run || !any) {
        apply_answer(r, 0);
        return;
    }
    request_submit(r, &actor, apply_done);
}

/* --- plan --------------------------------------------------------------------------------------
 */

#define FAIL_MAX 64U

static void plan_go(struct rest *r)
{
    const json_t *fail = json_object_get(r->body, "fail");
    const char *hosts[FAIL_MAX];
    size_t n = json_array_size(fail);
    struct buf text = { 0 };
    struct err err = { 0 };

    if (n > FAIL_MAX) {
        (void)err_set(&err, ERR_INVALID, "fail: at most %u hosts", FAIL_MAX);
    }
    for (size_t i = 0; i < n && err.code == 0; i++) {
        const char *name = json_string_value(json_array_get(fail, i));

        hosts[i] = name == NULL ? "" : name;
    }
    if (err.code != 0 || capacity_plan(r->node, hosts, n, &text, &err) != 0) {
        rest_err(r, &err);
    } else {
        rest_json(r, 200, json_pack("{s:s}", "text", buf_cstr(&text)));
    }
    buf_done(&text);
}

void rest_plan(struct rest *r)
{
    struct err err;

    if (auth_may(r->node, &r->req->peer, kind_find("VirtualMachine"), "", "", "list", &err) != 0) {
        rest_err(r, &err);
    } else if (rest_body(r)) {
        rest_read_then(r, plan_go);
    }
}

/* --- apply -------------------------------------------------------------------------------------
 */

void rest_apply(struct rest *r)
{
    struct err err;
    size_t n;

    if (!str_eq(r->req->method, "POST")) {
        (void)err_set(&err, ERR_METHOD, "apply needs POST");
        rest_err(r, &err);
        return;
    }
    if (r->req->peer.role[0] == 0) {
        (void)err_set(&err, ERR_UNAUTHORIZED, "a client certificate of this cluster is needed");
        rest_err(r, &err);
        return;
    }
    if (!rest_body(r)) {
        return;
    }
    n = json_array_size(json_object_get(r->body, "items"));
    if (n == 0 || n > ITEMS_MAX) {
        (void)err_set(&err, ERR_BAD_REQUEST, "items: 1 to %u objects are expected, not %zu",
                      ITEMS_MAX, n);
        rest_err(r, &err);
        return;
    }
    r->dry_run = r->dry_run || jget_bool(r->body, "dryRun", false);
    r->changes = mem_alloc(n * sizeof(*r->changes));
    rest_read_then(r, apply_go);
}
