/* Migrations: what is asked for, how it is done, and cold ones to their end (live ones:
 * ctl_mig_live.c). */

#include <inttypes.h>
#include <string.h>

#include "api/valid.h"
#include "base/log.h"
#include "base/obj.h"
#include "base/str.h"
#include "cmd/picketd/ctl_mig.h"

#define JOURNAL_MAX 32U

/* --- phases ------------------------------------------------------------------------------------
 */

bool migration_live(const json_t *m)
{
    return str_eq(jget_str(m, "status.method", ""), "Live") && !migration_over(m);
}

bool migration_cold(const json_t *m)
{
    return str_eq(jget_str(m, "status.method", ""), "Cold") && !migration_over(m);
}

static void journal(struct mig *m, const char *when, const char *phase, const char *message)
{
    json_t *list = json_object_get(json_object_get(m->next, "status"), "journal");

    if (list == NULL) {
        list = json_array();
        jset(m->next, "status.journal", list);
    }
    if (json_array_size(list) >= JOURNAL_MAX) {
        (void)json_array_remove(list, 1); /* the beginning stays */
    }
    (void)json_array_append_new(
        list, json_pack("{s:s, s:s, s:s}", "time", when, "phase", phase, "message", message));
}

void mig_phase(struct mig *m, const char *phase, const char *message)
{
    bool same = str_eq(jget_str(m->next, "status.phase", ""), phase);
    char when[32];

    if (same && str_eq(jget_str(m->next, "status.message", ""), message)) {
        return;
    }
    str_format_time(m->p->wall_ms, when, sizeof(when));
    if (jget(m->next, "status.started") == NULL) {
        jset(m->next, "status.started", json_string(when));
    }
    if (!same) {
        jset(m->next, "status.phaseSince", json_string(when));
        journal(m, when, phase, message);
        lg_info("mig", "migration=%s vm=%s phase=%s msg=\"%s\"", m->o->name,
                jget_str(m->next, "spec.vm", ""), phase, message);
    }
    jset(m->next, "status.phase", json_string(phase));
    jset(m->next, "status.message", json_string(message));
    if (migration_over(m->next)) {
        jset(m->next, "status.finished", json_string(when));
    }
}

void mig_end(struct mig *m, const char *phase, const char *reason, const char *message)
{
    jset(m->next, "status.reason", json_string(reason));
    mig_phase(m, phase, message);
}

static uint64_t age(const struct mig *m, const char *field)
{
    uint64_t at = 0;

    (void)str_parse_time(jget_str(m->next, field, ""), &at);
    return m->p->wall_ms > at ? m->p->wall_ms - at : 0;
}

uint64_t mig_phase_age_ms(const struct mig *m)
{
    return age(m, "status.phaseSince");
}

/* --- target ------------------------------------------------------------------------------------
 */

struct choice {
    const char *host; /* NULL: none */
    const char *why;  /* then */
};

/* Ask placement as if the machine had to be placed anew: anywhere else, or on one host only. */
static struct choice choose(struct mig *m, uint32_t only)
{
    struct vm_places *s = m->s;
    struct arena *a = &m->p->a;
    struct place_vm saved = s->vms[m->vm];
    uint32_t *hosts = ARENA_ARRAY(a, uint32_t, saved.n_not_hosts + s->in.n_hosts + 1);
    struct place_vm *v = &s->vms[m->vm];
    struct place_plan plan;
    size_t n = saved.n_not_hosts;

    if (n > 0) {
        memcpy(hosts, saved.not_hosts, n * sizeof(*hosts));
    }
    for (uint32_t h = 0; h < s->in.n_hosts; h++) {
        if (only == PLACE_NONE ? h == saved.current : h != only) {
            hosts[n++] = h;
        }
    }
    v->not_hosts = hosts;
    v->n_not_hosts = n;
    v->held = false;
    v->current = PLACE_NONE;
    v->migrating_to = PLACE_NONE;
    v->n_after = 0;
    m->p->c->mig_asks++;
    place_decide(&s->in, a, &plan);
    *v = saved;
    if (plan.vms[m->vm].host != PLACE_NONE) {
        return (struct choice){ .host = s->hosts[plan.vms[m->vm].host].name };
    }
    for (size_t i = 0; i < plan.vms[m->vm].n_rejects; i++) {
        const struct place_reject *r = &plan.vms[m->vm].rejects[i];
        char text[256];

        if (r->host == only) {
            place_reject_text(&s->in, m->vm, r, text, sizeof(text));
            return (struct choice){ .why =
                                        arena_printf(a, "host %s: %s", s->hosts[only].name, text) };
        }
    }
    return (struct choice){ .why = arena_printf(a, "no other host can take it: %s",
                                                plan.vms[m->vm].message) };
}

/* What the name of the target alone decides. False: placement has to be asked. */
static bool target_named(struct mig *m, struct choice *ret)
{
    const char *want = jget_str(m->o->json, "spec.target", "Auto");
    uint32_t h = places_host(m->s, want);

    *ret = (struct choice){ 0 };
    if (str_eq(want, "Auto")) {
        return false;
    }
    if (h == PLACE_NONE) {
        ret->why =
            arena_printf(&m->p->a, "there is no host %s: `picket get hosts` lists them", want);
        return true;
    }
    if (m->s->hosts[h].state != PLACE_HOST_READY) {
        ret->why = arena_printf(&m->p->a,
                                "host %s is not ready to take it: `picket why host %s` tells why",
                                want, want);
        return true;
    }
    ret->host = m->s->vms[m->vm].current == h ? m->s->hosts[h].name : NULL;
    return ret->host != NULL;
}

static struct choice target_of(struct mig *m)
{
    struct choice c;

    if (target_named(m, &c)) {
        return c;
    }
    return choose(m, places_host(m->s, jget_str(m->o->json, "spec.target", "Auto")));
}

/* --- beginning ---------------------------------------------------------------------------------
 */

bool mig_may_fall_back(const struct mig *m)
{
    const char *mode = jget_str(m->o->json, "spec.mode", "Auto");
    const char *cause = jget_str(m->o->json, "spec.cause", "");
    bool must = *cause == 0 || str_eq(cause, place_reason_name(PLACE_DRAINED)) ||
                str_eq(cause, place_reason_name(PLACE_PREEMPTED));

    return must && str_eq(mode, "Auto") &&
           str_eq(jget_str(m->vm_obj->json, "spec.migration.fallback", "Cold"), "Cold");
}

void mig_cold(struct mig *m, const char *why)
{
    jset(m->next, "status.method", json_string("Cold"));
    mig_phase(m, "Running",
              arena_printf(&m->p->a,
                           "cold (%s): it is stopped on its host and started on the "
                           "target",
                           why));
}

static const char *no_live(struct mig *m, const char *source, const char *target)
{
    const struct place_vm *v = &m->s->vms[m->vm];
    const char *policy = jget_str(m->vm_obj->json, "spec.migration.mode", "Live");

    if (!v->held || !str_eq(jget_str(m->vm_obj->json, "status.phase", ""), "Running")) {
        return "it does not run";
    }
    if (!str_eq(policy, "Live")) {
        return arena_printf(&m->p->a, "spec.migration.mode is %s", policy);
    }
    return mig_not_live(m->p, m->vm_obj, source, target);
}

/* "IP:PORT" of a host for migrations. */
static const char *address_of(struct mig *m, const char *host)
{
    const struct ctl_obj *h = ctl_find(m->p->c, "hosts", host);
    const char *a = jget_str(h == NULL ? NULL : h->json, "spec.migrationAddress",
                             jget_str(h == NULL ? NULL : h->json, "spec.addresses.0", ""));
    const char *colon = strrchr(a, ':');
    bool v6 = colon != NULL && strchr(a, ':') != colon;

    if (colon != NULL && (!v6 || colon[-1] == ']')) {
        return a;
    }
    return arena_printf(&m->p->a, v6 && *a != '[' ? "[%s]:%d" : "%s:%d", a, MIGRATION_PORT);
}

static void live(struct mig *m, const char *source, const char *target)
{
    const struct s_inc *si = pass_inc(m->p, source);
    const struct s_inc *ti = pass_inc(m->p, target);
    uint64_t limit = jget_size(m->o->json, "spec.bandwidth",
                               jget_size(m->p->cluster, "spec.migration.bandwidth", 0));

    if (si == NULL || ti == NULL) {
        mig_end(m, "Failed", "HostNotReady", "a host of it is not registered");
        return;
    }
    m->begun->source[m->begun->n] = source;
    m->begun->target[m->begun->n++] = target;
    jset(m->next, "status.method", json_string("Live"));
    jset(m->next, "status.sourceIncarnation", json_integer((json_int_t)si->number));
    jset(m->next, "status.targetIncarnation", json_integer((json_int_t)ti->number));
    jset(m->next, "status.address", json_string(address_of(m, target)));
    jset(m->next, "status.bandwidth", json_integer((json_int_t)limit));
    mig_phase(m, "Preparing", arena_printf(&m->p->a, "%s gets ready to take it", target));
}

/* Live migrations that leave one host, or come to one, now (NULL: not asked); the limit is per
 * host.
 */
static bool busy(struct mig *m, const char *source, const char *target)
{
    const struct kind *k = kind_by_plural("migrations");
    int64_t limit = jget_int(m->p->cluster, "spec.migration.parallel", 2);
    int64_t leave = 0, come = 0;
    const struct ctl_obj *o;

    for (size_t pos = 0; (o = ctl_next(m->p->c, k, &pos)) != NULL;) {
        if (o != m->o && migration_live(o->json)) {
            leave += str_eq(jget_str(o->json, "status.source", ""), source);
            come += str_eq(jget_str(o->json, "status.target", ""), target);
        }
    }
    for (size_t i = 0; i < m->begun->n; i++) {
        leave += str_eq(m->begun->source[i], source);
        come += str_eq(m->begun->target[i], target);
    }
    return leave >= limit || come >= limit || m->begun->n == ARRAY_LEN(m->begun->source);
}

static void wait_for_others(struct mig *m)
{
    (void)json_object_del(json_object_get(m->next, "status"), "target");
    mig_phase(m, "Pending", "waits for others: spec.migration.parallel of the Cluster");
}

/* It would go live, and its host sends as many as it may: no need to ask where to.  A drain of a
 * hundred machines would ask placement for each of them whenever one has left. */
static bool source_full(struct mig *m, const char *source)
{
    return !str_eq(jget_str(m->o->json, "spec.mode", "Auto"), "Cold") && m->s->vms[m->vm].held &&
           str_eq(jget_str(m->vm_obj->json, "status.phase", ""), "Running") &&
           str_eq(jget_str(m->vm_obj->json, "spec.migration.mode", "Live"), "Live") &&
           busy(m, source, NULL);
}

/* Another one of this machine is under way. */
static const char *other(struct mig *m)
{
    const struct kind *k = kind_by_plural("migrations");
    const char *vm = jget_str(m->o->json, "spec.vm", "");
    const struct ctl_obj *o;

    for (size_t pos = 0; (o = ctl_next(m->p->c, k, &pos)) != NULL;) {
        if (o != m->o && str_eq(jget_str(o->json, "spec.vm", ""), vm) &&
            (migration_live(o->json) || migration_cold(o->json))) {
            return o->name;
        }
    }
    return NULL;
}

static void decide(struct mig *m, const char *source, const char *target)
{
    const char *mode = jget_str(m->o->json, "spec.mode", "Auto");
    const char *why = str_eq(mode, "Cold") ? "as asked for" : no_live(m, source, target);
    bool stopped = !m->s->vms[m->vm].held; /* then nothing is interrupted */

    jset(m->next, "status.source", json_string(source));
    jset(m->next, "status.target", json_string(target));
    if (why == NULL && busy(m, source, target)) {
        wait_for_others(m);
    } else if (why == NULL) {
        live(m, source, target);
    } else if (str_eq(mode, "Cold") || (stopped && str_eq(mode, "Auto")) || mig_may_fall_back(m)) {
        mig_cold(m, why);
    } else {
        mig_end(m, "Failed", "CannotGoLive",
                arena_printf(&m->p->a, "it cannot move live: %s%s", why,
                             str_eq(mode, "Auto") ? " (and spec.migration.fallback is Stay)"
                                                  : "; --cold moves it stopped"));
    }
}

static void migration_start(struct mig *m)
{
    const struct place_vm *v = &m->s->vms[m->vm];
    const char *source = v->current == PLACE_NONE ? "" : m->s->hosts[v->current].name;
    const char *running = other(m);
    struct choice c;

    if (running != NULL) { /* often that of a drain, whose source has only to tidy up */
        mig_phase(
            m, "Pending",
            arena_printf(&m->p->a, "waits for migration/%s of it, which is under way", running));
        return;
    }
    if (!v->wanted) {
        mig_end(m, "Failed", "NotWanted", "it shall not run, so there is nothing to move");
        return;
    }
    if (!target_named(m, &c) && source_full(m, source)) {
        wait_for_others(m);
        return;
    }
    c = target_of(m);
    if (c.host == NULL) {
        mig_end(m, "Failed", "NoTarget", c.why);
    } else if (str_eq(source, c.host)) {
        mig_end(m, "Succeeded", "Already", "it is there already");
    } else {
        decide(m, source, c.host);
    }
}

/* --- cold --------------------------------------------------------------------------------------
 */

static void cold_watch(struct mig *m)
{
    const char *target = jget_str(m->o->json, "status.target", "");
    const json_t *st = m->vm_obj->json;
    uint64_t limit = jget_duration(m->o->json, "spec.timeout", 600000);

    if (str_eq(jget_str(st, "status.host", ""), target) &&
        str_eq(jget_str(st, "status.phase", ""), "Running")) {
        mig_end(m, "Succeeded", "Moved", "runs on the target");
    } else if (age(m, "status.phaseSince") > limit) {
        mig_end(m, "Failed", "Timeout", "timeout");
    } else if (!m->s->vms[m->vm].wanted) {
        mig_end(m, "Canceled", "NotWanted", "the machine shall not run any more");
    } else if (m->s->targets[m->vm] == NULL) {
        mig_end(m, "Failed", "HostNotReady", "the target is not ready any more");
    } else {
        pass_recheck(m->p, m->p->now_ms + limit - age(m, "status.phaseSince") + 1);
    }
}

/* What one that waits depends on: who moves, and what placement sees. */
static uint64_t waits_on(struct pass *p)
{
    const struct kind *k = kind_by_plural("migrations");
    uint64_t sum = sum_u64(p->c->term, p->c->place_runs);
    const struct ctl_obj *o;

    sum = sum_u64(sum, (uint64_t)jget_int(p->cluster, "spec.migration.parallel", 2));
    for (size_t pos = 0; (o = ctl_next(p->c, k, &pos)) != NULL;) {
        sum = migration_live(o->json) || migration_cold(o->json) ? sum_str(sum, o->name) : sum;
    }
    return sum;
}

/* place_key: of what it waited on when it was looked at last. */
static void migration_one(struct pass *p, struct ctl_obj *o, struct mig_begun *begun)
{
    const char *vm = jget_str(o->json, "spec.vm", "");
    struct mig m = { .begun = begun,
                     .p = p,
                     .s = p->c->places,
                     .o = o,
                     .vm_obj = ctl_find(p->c, "virtualmachines", vm),
                     .vm = places_vm(p->c->places, vm),
                     .next = json_deep_copy(o->json) };

    if (m.vm == PLACE_NONE || m.vm_obj == NULL) {
        mig_end(&m, "Failed", "NotFound", "there is no such VirtualMachine");
    } else if (migration_live(o->json)) {
        mig_live_watch(&m);
    } else if (migration_cold(o->json)) {
        cold_watch(&m);
    } else if (o->place_key != begun->sum || *jget_str(o->json, "status.phase", "") == 0) {
        migration_start(&m);
        o->place_key = begun->sum;
    }
    pass_update(p, o, m.next);
}

void ctl_migration_pass(struct pass *p)
{
    const struct kind *k = kind_by_plural("migrations");
    struct mig_begun begun = { .sum = waits_on(p) };
    struct ctl_obj *o;

    for (size_t pos = 0; (o = ctl_next(p->c, k, &pos)) != NULL;) {
        if (!migration_over(o->json) && !pass_full(p)) {
            migration_one(p, o, &begun);
        }
    }
    ctl_mig_auto(p);
}
