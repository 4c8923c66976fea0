/* POST, PUT, PATCH and DELETE of objects.  Each is: read point, prepare, one transaction that
 * compares revisions; when something changed meanwhile and the caller named no version, prepare
 * again. */

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

static json_t *status_success(const struct rest *r, const struct change *c)
{
    return json_pack("{s:s, s:s, s:{}, s:s, s:{s:s, s:s, s:s, s:s}}", "apiVersion", "v1", "kind",
                     "Status", "metadata", "status", "Success", "details", "name", r->name, "group",
                     API_GROUP, "kind", r->k->plural, "uid", jget_str(c->old, "metadata.uid", ""));
}

static void write_answer(struct rest *r, uint64_t rev)
{
    struct change *c = &r->changes[0];
    bool created = c->result == CHANGE_CREATED;
    json_t *obj;

    if (c->stored == NULL) {
        rest_json(r, 200, status_success(r, c));
        return;
    }
    obj =
        object_dress(c->k, c->stored, c->result == CHANGE_UNCHANGED || rev == 0 ? c->old_rev : rev);
    c->stored = NULL;
    rest_json(r, created ? 201 : 200, obj);
}

static void drop_changes(struct rest *r)
{
    for (size_t i = 0; i < r->n_changes; i++) {
        change_done(&r->changes[i]);
    }
    r->n_changes = 0;
    problems_done(&r->problems);
    r->problems = (struct problems){ 0 };
}

static void write_done(void *data, const struct err *err, const struct cmd_answer *ans)
{
    struct rest *r = data;

    if (err == NULL) {
        write_answer(r, ans->rev);
        return;
    }
    if (err->code == ERR_CONFLICT && rest_again(r)) {
        drop_changes(r); /* not read before the loop turns */
    } else {
        rest_err(r, err);
    }
}

/* r->changes[0] is prepared (rc == 0) or err says why not. */
static void write_go(struct rest *r, int rc, const struct err *err)
{
    struct actor actor = auth_actor(&r->req->peer);

    struct err refused;

    if (rc != 0) {
        rest_err(r, err);
        return;
    }
    r->n_changes = 1;
    if (capacity_admit(r->node, r->changes, 1, &r->problems, &refused) != 0) {
        rest_err(r, &refused);
        return;
    }
    if (r->dry_run || r->changes[0].result == CHANGE_UNCHANGED) {
        write_answer(r, 0);
        return;
    }
    request_submit(r, &actor, write_done);
}

static bool write_begin(struct rest *r)
{
    if (!rest_body(r)) {
        return false;
    }
    r->changes = mem_alloc(sizeof(*r->changes));
    return true;
}

/* --- create and update -------------------------------------------------------------------------
 */

static void create_go(struct rest *r)
{
    struct err err;
    int rc = change_prepare(r->node, r->k, r->name, r->body, CHANGE_CREATE, "", &r->problems,
                            &r->changes[0], &err);

    write_go(r, rc, &err);
}

/* The body must be of this kind, and name what the path names. */
static bool check_body(struct rest *r)
{
    const struct kind *k;
    struct err err = { 0 };

    if (obj_kind(r->body, &k, &err) == 0 && k != r->k) {
        (void)err_set(&err, ERR_BAD_REQUEST, "the body is a %s, but the path is for %s", k->name,
                      r->k->plural);
    } else if (err.code == 0 && r->name[0] != 0 && !str_eq(r->name, obj_name(r->body))) {
        (void)err_set(&err, ERR_BAD_REQUEST, "metadata.name \"%.200s\" is not the path's \"%s\"",
                      obj_name(r->body), r->name);
    }
    if (err.code != 0) {
        rest_err(r, &err);
        return false;
    }
    return true;
}

void rest_create(struct rest *r)
{
    if (!write_begin(r) || !check_body(r)) {
        return;
    }
    (void)str_copy(r->name, sizeof(r->name), obj_name(r->body));
    rest_read_then(r, create_go);
}

static enum change_mode update_mode(const struct rest *r)
{
    return r->sub[0] != 0 ? CHANGE_STATUS : CHANGE_UPDATE;
}

static void update_go(struct rest *r)
{
    struct err err;
    int rc = change_prepare(r->node, r->k, r->name, r->body, update_mode(r), "", &r->problems,
                            &r->changes[0], &err);

    write_go(r, rc, &err);
}

void rest_update(struct rest *r)
{
    if (write_begin(r) && check_body(r)) {
        rest_read_then(r, update_go);
    }
}

/* --- patch -------------------------------------------------------------------------------------
 */

enum patch_type { PATCH_MERGE, PATCH_JSON, PATCH_APPLY, PATCH_OTHER };

static enum patch_type patch_type(const struct rest *r)
{
    const char *t = http_req_header(r->req, "content-type");

    if (t == NULL) {
        return PATCH_OTHER;
    }
    if (str_starts(t, "application/merge-patch+json")) {
        return PATCH_MERGE;
    }
    if (str_starts(t, "application/json-patch+json")) {
        return PATCH_JSON;
    }
    return str_starts(t, "application/apply-patch+yaml") ? PATCH_APPLY : PATCH_OTHER;
}

static int patched(struct rest *r, json_t **ret, struct err *err)
{
    json_t *live = object_read(r->node->store, r->k->plural, r->name, err);
    int rc = 0;

    if (live == NULL) {
        return err->code;
    }
    /* The version matters only when the patch itself names one. */
    (void)json_object_del(json_object_get(live, "metadata"), "resourceVersion");
    if (patch_type(r) == PATCH_MERGE) {
        *ret = json_merge_patch(live, r->body);
    } else {
        rc = json_patch(live, r->body, ret, err);
    }
    json_decref(live);
    return rc;
}

static void patch_go(struct rest *r)
{
    const char *manager = http_req_query(r->req, "fieldManager");
    json_t *want = NULL;
    struct err err;
    int rc;

    if (patch_type(r) == PATCH_APPLY) {
        rc =
            change_prepare(r->node, r->k, r->name, r->body, CHANGE_APPLY,
                           manager == NULL ? "apply" : manager, &r->problems, &r->changes[0], &err);
        if (rc == 0 && r->changes[0].old == NULL) {
            r->n_changes = 1; /* freed with the request */
            rc = auth_may(r->node, &r->req->peer, r->k, "", "", "create", &err);
        }
    } else {
        rc = patched(r, &want, &err);
        if (rc == 0) {
            rc = change_prepare(r->node, r->k, r->name, want, update_mode(r), "", &r->problems,
                                &r->changes[0], &err);
        }
        json_decref(want);
    }
    write_go(r, rc, &err);
}

void rest_patch(struct rest *r)
{
    struct err err;

    if (patch_type(r) == PATCH_OTHER) {
        const char *t = http_req_header(r->req, "content-type");

        (void)err_set(&err, ERR_UNSUPPORTED,
                      "a patch of type \"%.80s\" is not supported by %s: use "
                      "application/merge-patch+json, application/json-patch+json or "
                      "application/apply-patch+yaml",
                      t == NULL ? "" : t, r->k->plural);
        rest_err(r, &err);
        return;
    }
    if (write_begin(r)) {
        rest_read_then(r, patch_go);
    }
}

/* --- delete ------------------------------------------------------------------------------------
 */

static void delete_go(struct rest *r)
{
    struct err err;
    int rc = change_delete(r->node, r->k, r->name, r->body, &r->changes[0], &err);

    write_go(r, rc, &err);
}

static bool body_dry_run(const json_t *body)
{
    return str_eq(jget_str(body, "dryRun.0", ""), "All");
}

void rest_delete(struct rest *r)
{
    struct err err;

    if (r->name[0] == 0) {
        (void)err_set(&err, ERR_METHOD, "deleting a whole collection is not possible: name the %s",
                      r->k->plural);
        rest_err(r, &err);
        return;
    }
    if (write_begin(r)) {
        r->dry_run = r->dry_run || body_dry_run(r->body);
        rest_read_then(r, delete_go);
    }
}
