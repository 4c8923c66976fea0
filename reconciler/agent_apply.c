#include <stdlib.h>

#include "api/json_path.h"
#include "api/kind.h"
#include "api/valid.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/obj.h"
#include "base/str.h"
#include "fence/pr.h"
#include "reconciler/agent_priv.h"
#include "reconciler/host_parts.h"

/* Objects of the host (LUNs, groups, bonds, bridges ...) put into effect through the driver.
 *
 * A few at a time, since one may hang; of one object never two at once.  What the driver wants to
 * look at again comes again.  A group whose metadata has to be written is applied again under its
 * lock, while the lease outlives the write. */

#define APPLY_MAX 8
#define APPLY_MS 60000U
#define SECRETS_MS 10000U /* less than a retired client is kept */
#define APPLY_MAGIC 0x61706c79U
#define FAILED_AGAIN_MS 5000U

struct agent_apply {
    unsigned magic;
    struct agent *a;
    struct agent_apply *next;
    struct drv_job job;
    char *plural, *name, *lock;
    json_t *object;  /* NULL: it was deleted */
    json_t *secrets; /* what its driver needs in plain; wiped as soon as it was told */
    struct vmx_lock_ref ref;
    bool in_flight; /* the driver has the job */
};

static void apply_free(struct agent_apply *ap)
{
    struct agent_apply **at = &ap->a->applies;

    while (*at != ap) {
        CHECK(*at != NULL);
        at = &(*at)->next;
    }
    *at = ap->next;
    ap->a->n_applies--;
    if (ap->lock != NULL) {
        vmx_group_busy(ap->a->vmx, ap->name, false);
    }
    json_wipe(ap->secrets);
    json_decref(ap->object);
    free(ap->plural);
    free(ap->name);
    free(ap->lock);
    ap->magic = 0;
    free(ap);
}

static bool under_way(const struct agent *a, const char *plural, const char *name)
{
    for (const struct agent_apply *ap = a->applies; ap != NULL; ap = ap->next) {
        if (str_eq(ap->plural, plural) && str_eq(ap->name, name)) {
            return true;
        }
    }
    return false;
}

/* --- what came of it ---------------------------------------------------------------------------
 */

static void report(const struct agent_apply *ap, const struct err *err)
{
    const struct kind *k = kind_by_plural(ap->plural);
    const struct drv_result *r = &ap->job.result;
    json_t *item;

    if (k == NULL || ap->object == NULL || agent_object(ap->a, ap->plural, ap->name) == NULL) {
        return;
    }
    if (err == NULL && str_eq(r->reason, HOST_NOT_HERE)) {
        agent_report_put(ap->a, ap->plural, ap->name, NULL);
        return;
    }
    item = json_pack("{s:s, s:s, s:s, s:s, s:s, s:s, s:I}", "kind", k->name, "name", ap->name,
                     "uid", jget_str(ap->object, "metadata.uid", ""), "state",
                     err == NULL && r->ready ? "Ready" : "NotReady", "reason",
                     err != NULL ? err_name(err->code) : r->reason, "message",
                     err != NULL ? err->msg : r->message, "generation",
                     (json_int_t)jget_int(ap->object, "metadata.generation", 0));
    if (err == NULL && r->detail != NULL) {
        (void)json_object_set_new(item, "status", json_deep_copy(r->detail));
    }
    agent_report_put(ap->a, ap->plural, ap->name, item);
}

static void again(const struct agent_apply *ap, uint64_t in_ms)
{
    struct agent_obj *o = agent_find(ap->a, ap->plural, ap->name);

    if (o != NULL && in_ms != 0) {
        o->apply_ms = clock_now_ms() + in_ms;
    }
}

/* A LUN has a new path or a new size: its groups look at it at once, before the path is used
 * without a registration. */
static void wake_groups(struct agent *a)
{
    for (size_t i = 0; i < a->n_caches; i++) {
        const char *name;
        void *v;

        for (size_t k = 0; str_eq(a->caches[i].plural, "volumegroups") &&
                           map_next(&a->caches[i].objects, &k, &name, &v);) {
            struct agent_obj *o = v;

            o->apply_ms = o->apply_ms == 1 ? 1 : clock_now_ms();
        }
    }
}

static void apply_end(struct agent_apply *ap)
{
    struct agent *a = ap->a;

    apply_free(ap);
    if (!a->stopping) {
        agent_apply_next(a);
    }
}

static void on_released(void *data, const struct err *err)
{
    struct agent_apply *ap;

    OBJ_FROM(ap, data, APPLY_MAGIC);
    if (err != NULL) {
        lg_info("agent", "lock=%s err=\"%s\" msg=\"not given back; the sweep does it\"", ap->lock,
                err->msg);
    }
    apply_end(ap);
}

/* --- under the group's lock --------------------------------------------------------------------
 */

static void submit(struct agent_apply *ap, uint64_t deadline_ms);

static void give_up(struct agent_apply *ap)
{
    again(ap, FAILED_AGAIN_MS);
    apply_end(ap);
}

static void on_acquired(void *data, const struct err *err, const uint64_t *tokens, size_t n)
{
    struct agent_apply *ap;
    struct vm_env env;

    OBJ_FROM(ap, data, APPLY_MAGIC);
    if (err != NULL || n != 1) {
        give_up(ap);
        return;
    }
    ap->ref.token = tokens[0];
    agent_env(ap->a, &env);
    /* Group metadata is an effect outside the host: the lease outlives its hard timeout. */
    if (ap->a->stopping || !vm_lease_good(&env) ||
        env.lease_until_ms < env.now_ms + env.effect_ms) {
        agent_vmx_ops.release(ap->a, &ap->ref, 1, on_released, ap);
        return;
    }
    submit(ap, env.now_ms + env.effect_ms);
}

static bool take_lock(struct agent_apply *ap)
{
    const char *uid = jget_str(ap->object, "metadata.uid", "");

    if (ap->a->phase != AGENT_RUN || !str_eq(ap->plural, "volumegroups") ||
        !vmx_group_busy(ap->a->vmx, ap->name, true)) {
        return false;
    }
    ap->lock = mem_printf("volumegroups/%s", ap->name);
    ap->ref = (struct vmx_lock_ref){ .lock = ap->lock, .uid = uid };
    agent_vmx_ops.acquire(ap->a, &ap->ref, 1, "write the group's metadata", on_acquired, ap);
    return true;
}

static void on_applied(struct drv_job *job, const struct err *err)
{
    struct agent_apply *ap;
    struct agent *a;

    OBJ_FROM(ap, job->data, APPLY_MAGIC);
    a = ap->a;
    ap->in_flight = false;
    if (a->stopping) {
        apply_free(ap);
        return;
    }
    report(ap, err);
    if (err == NULL && job->result.cut_off && a->on_reset != NULL) {
        lg_err("agent", "object=%s/%s err=\"%s\" msg=\"the host has to be reset\"", ap->plural,
               ap->name, job->result.message);
        a->on_reset(a->ctx, job->result.message);
    }
    again(ap, err != NULL ? FAILED_AGAIN_MS : job->result.again_ms);
    if (err == NULL && job->result.changed && str_eq(ap->plural, "luns")) {
        wake_groups(a);
    }
    if (ap->ref.token != 0) {
        agent_vmx_ops.release(a, &ap->ref, 1, on_released, ap);
    } else if (err != NULL || !job->result.lock_needed || !take_lock(ap)) {
        apply_end(ap);
    }
}

static uint64_t reservation_key(const struct agent_apply *ap)
{
    const struct agent *a = ap->a;
    uint64_t key = 0;
    struct err err;

    if (str_eq(ap->plural, "volumegroups") && a->incarnation != 0 &&
        pr_key(a->seen.cluster, a->epoch, a->incarnation, &key, &err) != 0) {
        lg_warn("agent", "err=\"%s\" msg=\"no reservation key\"", err.msg);
    }
    return key;
}

static void submit(struct agent_apply *ap, uint64_t deadline_ms)
{
    ap->job = (struct drv_job){ .magic = DRV_JOB_MAGIC,
                                .op = DRV_APPLY,
                                .kind = ap->plural,
                                .name = ap->name,
                                .object = ap->object,
                                .secrets = ap->secrets,
                                .token = ap->ref.token,
                                .deadline_ms = deadline_ms,
                                .cb = on_applied,
                                .data = ap };
    ap->job.reservation_key = reservation_key(ap);
    ap->in_flight = true;
    drv_submit(ap->a->drv, &ap->job);
    json_wipe(ap->secrets);
    ap->secrets = NULL;
    ap->job.secrets = NULL;
}

/* --- secrets -----------------------------------------------------------------------------------
 */

static void on_secrets(void *data, const struct err *err, json_t *j)
{
    struct agent_apply *ap;

    OBJ_FROM(ap, data, APPLY_MAGIC);
    if (err != NULL) { /* what is set up goes on without; the driver says what it lacks */
        lg_warn("agent", "object=%s/%s err=\"%s\" msg=\"its secrets are not to be had\"",
                ap->plural, ap->name, err->msg);
    } else {
        ap->secrets = json_deep_copy(jget(j, "values"));
        json_blank(j); /* what the client holds of it */
    }
    if (ap->a->stopping) {
        apply_free(ap);
    } else {
        submit(ap, clock_now_ms() + APPLY_MS);
    }
}

static bool wants_secrets(const struct agent_apply *ap)
{
    return ap->a->phase == AGENT_RUN && str_eq(ap->plural, "iscsitargets") &&
           jget(ap->object, "spec.chap") != NULL;
}

static void apply(struct agent *a, const char *plural, const char *name, const json_t *object)
{
    struct agent_apply *ap = OBJ_NEW(struct agent_apply);

    ap->magic = APPLY_MAGIC;
    ap->a = a;
    ap->plural = mem_strdup(plural);
    ap->name = mem_strdup(name);
    ap->object = json_deep_copy(object);
    ap->next = a->applies;
    a->applies = ap;
    a->n_applies++;
    if (wants_secrets(ap)) {
        (void)agent_post(a, "secrets", json_pack("{s:s, s:s}", "kind", "ISCSITarget", "name", name),
                         true, SECRETS_MS, on_secrets, ap);
    } else {
        submit(ap, clock_now_ms() + APPLY_MS);
    }
}

/* --- what is due -------------------------------------------------------------------------------
 */

void agent_apply_deleted(struct agent *a, const char *plural, const char *name)
{
    agent_report_put(a, plural, name, NULL);
    apply(a, plural, name, NULL);
}

static void cache_next(struct agent *a, struct agent_cache *c, uint64_t now)
{
    const char *name;
    void *v;

    for (size_t k = 0; map_next(&c->objects, &k, &name, &v) && a->n_applies < APPLY_MAX;) {
        struct agent_obj *o = v;

        if (o->apply_ms != 0 && o->apply_ms <= now && !under_way(a, c->plural, name)) {
            o->apply_ms = 0;
            apply(a, c->plural, name, agent_object(a, c->plural, name));
        }
    }
}

void agent_apply_next(struct agent *a)
{
    uint64_t now = clock_now_ms();

    for (size_t i = 0; i < a->n_caches; i++) {
        if (a->caches[i].apply) {
            cache_next(a, &a->caches[i], now);
        }
    }
}

/* Nothing waits for its first application any more, and every kind is known. */
static bool all_applied(const struct agent *a)
{
    const char *name;
    void *v;

    for (size_t i = 0; i < a->n_caches; i++) {
        const struct agent_cache *c = &a->caches[i];

        for (size_t k = 0; c->apply && map_next(&c->objects, &k, &name, &v);) {
            if (((const struct agent_obj *)v)->apply_ms == 1) {
                return false;
            }
        }
        if (!c->synced) {
            return false;
        }
    }
    return a->n_caches > 0;
}

void agent_apply_tick(struct agent *a, uint64_t now)
{
    if (!a->told_synced && a->on_synced != NULL && all_applied(a)) {
        a->told_synced = true;
        a->on_synced(a->ctx);
    }
    for (struct agent_apply *ap = a->applies; ap != NULL; ap = ap->next) {
        if (ap->in_flight && now > ap->job.deadline_ms) {
            ap->job.deadline_ms = UINT64_MAX;
            drv_abort(a->drv, &ap->job);
        }
    }
    agent_apply_next(a);
}

void agent_apply_done(struct agent *a)
{
    while (a->applies != NULL) {
        apply_free(a->applies);
    }
}
