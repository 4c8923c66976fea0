/* What nw_host does in libuv's pool: netlink and files. */

#include <stdlib.h>
#include <string.h>

#include "api/valid.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/obj.h"
#include "base/str.h"
#include "net/nw_drv.h"
#include "net/nw_files.h"
#include "net/nw_host_priv.h"
#include "net/nw_journal_codec.h"

#define WORK_MS 10000 /* longest wait for the kernel in one piece of work */

/* --- files -------------------------------------------------------------------------------------
 */

json_t *nw_host_record_json(const struct nw_host *h)
{
    json_t *refused = json_object();
    const char *name;
    void *v;

    for (size_t i = 0; map_next(&h->refused, &i, &name, &v);) {
        const struct nw_refusal *r = v;

        if (r->retry_ms != 0) {
            continue;
        }
        CHECK(json_object_set_new(
                  refused, name,
                  json_pack("{s:s, s:s}", "digest", r->digest, "message", r->message)) == 0);
    }
    return json_pack("{s:s, s:o, s:o}", "bootID", h->boot_id, "interfaces",
                     nw_record_encode(&h->record), "refused", refused);
}

static int save_record(struct nw_host *h, struct err *err)
{
    json_t *v = nw_host_record_json(h);
    int rc = nw_file_write(h->dir, NW_RECORD_FILE, v, err);

    json_decref(v);
    return rc;
}

static int write_journal(struct nw_host *h, struct err *err)
{
    json_t *v = json_pack("{s:s, s:O, s:o}", "bootID", h->boot_id, "part", h->part, "undo",
                          nw_ops_encode(h->undo, h->n_undo));
    int rc;

    CHECK(v != NULL);
    rc = nw_file_write(h->dir, NW_JOURNAL_FILE, v, err);
    json_decref(v);
    return rc;
}

static void load_refused(struct nw_host *h, const json_t *v)
{
    const char *name;
    json_t *r;

    json_object_foreach ((json_t *)(uintptr_t)v, name, r) {
        nw_host_refuse(h, name, jget_str(r, "digest", ""), jget_str(r, "message", ""), 0);
    }
}

static int load_record(struct nw_host *h, struct err *err)
{
    json_t *v = NULL;
    int rc = nw_file_read(h->dir, NW_RECORD_FILE, &v, err);

    if (rc != 0 || v == NULL) {
        return rc;
    }
    load_refused(h, json_object_get(v, "refused"));
    /* What was made in another boot is gone; what has its name now was made by somebody else. */
    if (str_eq(jget_str(v, "bootID", ""), h->boot_id)) {
        rc = nw_record_decode(json_object_get(v, "interfaces"), &h->record_arena, &h->record, err);
    }
    json_decref(v);
    return rc;
}

static void refuse_part(struct nw_host *h, const json_t *part, const char *message)
{
    const char *object;
    json_t *digest;

    json_object_foreach ((json_t *)(uintptr_t)part, object, digest) {
        nw_host_refuse(h, object, json_string_value(digest), message, 0);
    }
}

static int load_journal(struct nw_host *h, struct err *err)
{
    json_t *v = NULL;
    int rc = nw_file_read(h->dir, NW_JOURNAL_FILE, &v, err);

    if (rc != 0 || v == NULL) {
        return rc;
    }
    if (str_eq(jget_str(v, "bootID", ""), h->boot_id)) {
        rc = nw_ops_decode(json_object_get(v, "undo"), &h->cycle, &h->undo, &h->n_undo, err);
        h->recover = rc == 0;
        h->part = json_incref(json_object_get(v, "part"));
    } else {
        refuse_part(h, json_object_get(v, "part"),
                    "the host was reset before it had reached the quorum after this change; "
                    "change the object to try again");
        rc = save_record(h, err);
        rc = rc != 0 ? rc : nw_file_remove(h->dir, NW_JOURNAL_FILE, err);
    }
    json_decref(v);
    return rc;
}

int nw_host_load(struct nw_host *h, struct err *err)
{
    int rc = load_record(h, err);

    return rc != 0 ? rc : load_journal(h, err);
}

/* --- look and plan -----------------------------------------------------------------------------
 */

static int observe(struct nw_host *h, struct nw_drv *d, struct err *err)
{
    int rc;

    arena_done(&h->obs_arena);
    rc = nw_drv_observe(d, &h->obs_arena, clock_now_ms() + WORK_MS, &h->obs, err);
    h->have_obs = rc == 0;
    return rc;
}

static void note_part(struct nw_host *h)
{
    json_decref(h->part);
    h->part = json_object();
    for (size_t i = 0; i < h->plan.n_ops; i++) {
        const char *object = h->plan.ops[i].object;
        const char *digest = "deleted";

        for (size_t k = 0; k < h->want.n_ifaces; k++) {
            digest = str_eq(h->want.ifaces[k].object, object) ? h->want.ifaces[k].digest : digest;
        }
        CHECK(json_object_set_new(h->part, object, json_string(digest)) == 0);
    }
}

static bool record_differs(const struct nw_host *h)
{
    json_t *a = nw_record_encode(&h->record);
    json_t *b = nw_record_encode(&h->plan.next);
    bool differs = !json_equal(a, b);

    json_decref(a);
    json_decref(b);
    return differs;
}

static void take_record(struct nw_host *h)
{
    struct arena fresh = { 0 };
    json_t *v = nw_record_encode(&h->plan.next);
    struct err err;

    CHECK(nw_record_decode(v, &fresh, &h->record, &err) == 0);
    arena_done(&h->record_arena);
    h->record_arena = fresh;
    json_decref(v);
}

static int look(struct nw_host *h, struct nw_drv *d, struct err *err)
{
    int rc = observe(h, d, err);

    if (rc != 0) {
        return rc;
    }
    nw_plan_make(&h->want, &h->obs, &h->record, &h->cycle, &h->plan);
    if (h->plan.n_ops == 0) {
        if (!record_differs(h)) {
            return 0;
        }
        take_record(h);
        return save_record(h, err);
    }
    h->undo = h->plan.undo;
    h->n_undo = h->plan.n_undo;
    note_part(h);
    return h->may_change ? write_journal(h, err) : 0;
}

static void log_ops(const char *what, const struct nw_op *ops, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        struct buf b = { 0 };

        nw_op_format(&ops[i], &b);
        lg_info("net", "%s=\"%s\" object=%s why=\"%s\"", what, buf_cstr(&b), ops[i].object,
                ops[i].why);
        buf_done(&b);
    }
}

static int change(struct nw_host *h, struct nw_drv *d, struct err *err)
{
    struct err ignored;
    int rc;

    log_ops("do", h->plan.ops, h->plan.n_ops);
    rc = nw_drv_apply(d, h->plan.ops, h->plan.n_ops, clock_now_ms() + WORK_MS, NULL, err);
    (void)!observe(h, d, &ignored);
    return rc;
}

static int undo(struct nw_host *h, struct nw_drv *d, struct err *err)
{
    struct err ignored;
    int rc;

    log_ops("undo", h->undo, h->n_undo);
    rc = nw_drv_undo(d, h->undo, h->n_undo, clock_now_ms() + WORK_MS, err);
    (void)!observe(h, d, &ignored);
    return rc;
}

static int save(struct nw_host *h, struct err *err)
{
    int rc = save_record(h, err);

    return rc != 0 ? rc : nw_file_remove(h->dir, NW_JOURNAL_FILE, err);
}

static int run(struct nw_host *h, struct nw_drv *d, struct err *err)
{
    switch (h->doing) {
    case NW_WORK_LOOK:
        return look(h, d, err);
    case NW_WORK_APPLY:
        return change(h, d, err);
    case NW_WORK_STATUS:
        return observe(h, d, err);
    case NW_WORK_UNDO:
        return undo(h, d, err);
    case NW_WORK_SAVE:
        if (h->have_plan && h->confirm.why == NW_WHY_NONE) {
            take_record(h);
        }
        return save(h, err);
    }
    CHECK_UNREACHABLE();
}

void nw_host_run(struct nw_host *h)
{
    struct nw_drv *d = NULL;

    h->rc = nw_drv_open(&d, &h->err);
    if (h->rc == 0) {
        h->rc = run(h, d, &h->err);
    }
    nw_drv_close(d);
}
