#include "cmd/picketd/view.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "api/valid.h"
#include "base/obj.h"
#include "base/str.h"

const char *proof_name(enum proof_kind p)
{
    switch (p) {
    case PROOF_NONE:
        return "";
    case PROOF_OFF:
        return "Off";
    case PROOF_REBOOT:
        return "Reboot";
    case PROOF_WATCHDOG:
        return "Watchdog";
    case PROOF_SCSI:
        return "ScsiReservation";
    case PROOF_CONFIRMATION:
        return "Confirmation";
    }
    CHECK_UNREACHABLE();
}

const char *fence_result_name(enum fence_result r)
{
    switch (r) {
    case FENCE_RESULT_UNKNOWN:
        return "Unknown";
    case FENCE_RESULT_SUCCEEDED:
        return "Succeeded";
    case FENCE_RESULT_FAILED:
        return "Failed";
    }
    CHECK_UNREACHABLE();
}

const char *quorum_loss_name(enum quorum_loss q)
{
    return q == QUORUM_LOSS_FREEZE ? "Freeze" : "Stop";
}

static const char *const wd_names[] = { [WD_NONE] = "None",
                                        [WD_HARDWARE] = "Hardware",
                                        [WD_XEN] = "Xen",
                                        [WD_SOFTDOG] = "Softdog",
                                        [WD_DEV] = "Dev" };

const char *wd_name(enum wd_kind w)
{
    CHECK((size_t)w < ARRAY_LEN(wd_names));
    return wd_names[w];
}

json_t *terms_to_json(const struct terms *t)
{
    return json_pack("{s:I, s:I, s:I, s:s, s:s, s:b, s:b}", "leaseMs", (json_int_t)t->lease_ms,
                     "watchdogMs", (json_int_t)t->watchdog_ms, "feedMs", (json_int_t)t->feed_ms,
                     "onQuorumLoss", quorum_loss_name(t->on_quorum_loss), "watchdog",
                     wd_name(t->wd), "nowayout", t->nowayout, "guarded", t->guarded);
}

#define TERMS_MS_MAX 3600000

static int terms_ms(const json_t *j, const char *name, uint32_t *ret, struct err *err)
{
    int64_t v = jget_int(j, name, 0);

    if (v < 0 || v > TERMS_MS_MAX) {
        return err_set(err, ERR_INVALID, "terms.%s: %" PRId64 " is not within 0..%d ms", name, v,
                       TERMS_MS_MAX);
    }
    *ret = (uint32_t)v;
    return 0;
}

int terms_from_json(const json_t *j, struct terms *ret, struct err *err)
{
    struct terms t = { 0 };
    const char *wd = jget_str(j, "watchdog", "None");
    size_t i = 0;

    if (!json_is_object(j)) {
        return err_set(err, ERR_INVALID, "terms: an object is needed");
    }
    while (i < ARRAY_LEN(wd_names) && !str_eq(wd, wd_names[i])) {
        i++;
    }
    if (i == ARRAY_LEN(wd_names)) {
        return err_set(err, ERR_INVALID,
                       "terms.watchdog: \"%.40s\" is none of None, Hardware, Xen, Softdog, Dev",
                       wd);
    }
    t.wd = (enum wd_kind)i;
    t.on_quorum_loss = str_eq(jget_str(j, "onQuorumLoss", "Stop"), "Freeze") ? QUORUM_LOSS_FREEZE
                                                                             : QUORUM_LOSS_STOP;
    t.nowayout = jget_bool(j, "nowayout", false);
    t.guarded = jget_bool(j, "guarded", false);
    if (terms_ms(j, "leaseMs", &t.lease_ms, err) != 0 ||
        terms_ms(j, "watchdogMs", &t.watchdog_ms, err) != 0 ||
        terms_ms(j, "feedMs", &t.feed_ms, err) != 0) {
        return err->code;
    }
    *ret = t;
    return 0;
}

static json_t *view_meta(const char *kind, char *name, uint64_t created_ms, const char *uid)
{
    char when[32];
    json_t *meta;

    str_format_time(created_ms, when, sizeof(when));
    meta = json_pack("{s:s, s:s, s:s, s:i}", "name", name, "creationTimestamp", when, "uid", uid,
                     "generation", 1);
    return json_pack("{s:s, s:s, s:o, s:{}, s:{}}", "apiVersion", API_VERSION, "kind", kind,
                     "metadata", meta, "spec", "status");
}

static void set_time(json_t *obj, const char *path, uint64_t ms)
{
    char when[32];

    if (ms != 0) {
        str_format_time(ms, when, sizeof(when));
        jset(obj, path, json_string(when));
    }
}

static void set_str(json_t *obj, const char *path, const char *s)
{
    if (s != NULL && *s != 0) {
        jset(obj, path, json_string(s));
    }
}

static json_t *view_lock(const struct s_lock *l)
{
    const struct s_lock_slot *o = l->owner.incarnation != 0 ? &l->owner : &l->peer;
    char name[OBJECT_NAME_MAX];
    char uid[OBJECT_NAME_MAX + 8];
    json_t *obj;
    char *slash;

    (void)str_copy(name, sizeof(name), l->lock);
    slash = strchr(name, '/');
    if (slash != NULL) {
        *slash = '.';
    }
    (void)snprintf(uid, sizeof(uid), "lock-%s", l->uid == NULL ? name : l->uid);
    obj = view_meta("Lock", name, o->since_wall_ms, uid);
    set_str(obj, "spec.object", l->lock);
    if (l->owner.incarnation != 0) {
        set_str(obj, "status.holder", l->owner.host);
        jset(obj, "status.incarnation", json_integer((json_int_t)l->owner.incarnation));
        jset(obj, "status.token", json_integer((json_int_t)l->owner.token));
        set_str(obj, "status.reason", l->owner.reason);
        set_time(obj, "status.since", l->owner.since_wall_ms);
    }
    if (l->peer.incarnation != 0) {
        set_str(obj, "status.peer", l->peer.host);
        jset(obj, "status.peerIncarnation", json_integer((json_int_t)l->peer.incarnation));
        jset(obj, "status.peerToken", json_integer((json_int_t)l->peer.token));
    }
    if (l->peer.incarnation != 0 && l->migration_aborted) {
        jset(obj, "status.aborted", json_true());
    }
    if (l->quarantined) {
        jset(obj, "status.quarantined", json_true());
    }
    set_str(obj, "status.object", l->lock);
    return obj;
}

static json_t *view_levels(const struct s_fencing *f)
{
    json_t *levels = json_array();

    for (size_t i = 0; i < f->n_levels; i++) {
        json_t *devices = json_array();

        for (size_t k = 0; k < f->levels[i].n_devices; k++) {
            (void)json_array_append_new(devices, json_string(f->levels[i].devices[k].name));
        }
        (void)json_array_append_new(levels, json_pack("{s:o}", "devices", devices));
    }
    return levels;
}

static json_t *view_results(const struct s_fencing *f)
{
    json_t *results = json_array();

    for (size_t i = 0; i < f->n_results; i++) {
        const struct s_fencing_result *r = &f->results[i];
        json_t *j = json_pack("{s:s, s:I, s:s, s:s}", "device", r->device, "attempt",
                              (json_int_t)r->attempt, "result", fence_result_name(r->result),
                              "detail", r->detail == NULL ? "" : r->detail);

        set_time(j, "time", r->wall_ms);
        (void)json_array_append_new(results, j);
    }
    return results;
}

static json_t *view_fencing(const struct s_fencing *f)
{
    static const char *const states[] = {
        [FENCING_OPEN] = "Open", [FENCING_SUCCEEDED] = "Succeeded", [FENCING_CANCELED] = "Canceled"
    };
    char name[OBJECT_NAME_MAX];
    char uid[64];
    json_t *obj;

    (void)snprintf(name, sizeof(name), "%s-%" PRIu64, f->host, f->id);
    (void)snprintf(uid, sizeof(uid), "fencing-%" PRIu64, f->id);
    obj = view_meta("Fencing", name, f->opened_wall_ms, uid);
    set_str(obj, "spec.host", f->host);
    jset(obj, "spec.incarnation", json_integer((json_int_t)f->incarnation));
    set_str(obj, "spec.reason", f->reason);
    set_str(obj, "spec.by", f->by);
    jset(obj, "spec.levels", view_levels(f));
    CHECK((size_t)f->state < ARRAY_LEN(states));
    set_str(obj, "status.state", states[f->state]);
    jset(obj, "status.attempt", json_integer((json_int_t)f->attempt));
    jset(obj, "status.level", json_integer(f->attempt == 0 ? 0 : (json_int_t)f->level + 1));
    set_str(obj, "status.executor", f->executor);
    set_str(obj, "status.proof", proof_name(f->proof));
    set_str(obj, "status.veto", f->vetoed ? f->veto_reason : NULL);
    jset(obj, "status.results", view_results(f));
    set_time(obj, "status.opened", f->opened_wall_ms);
    set_time(obj, "status.closed", f->closed_wall_ms);
    return obj;
}

json_t *view_record(const struct kind *k, const struct kv *v, struct err *err)
{
    struct arena a = { 0 };
    json_t *obj = NULL;

    if (str_eq(k->name, "Lock")) {
        struct s_lock lock;

        if (s_lock_decode(kv_value(v), v->vlen, &a, &lock, err) == 0) {
            obj = view_lock(&lock);
        }
    } else {
        struct s_fencing fencing;

        if (s_fencing_decode(kv_value(v), v->vlen, &a, &fencing, err) == 0) {
            obj = view_fencing(&fencing);
        }
    }
    arena_done(&a);
    return obj;
}
