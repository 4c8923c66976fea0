#include <inttypes.h>
#include <string.h>

#include "base/obj.h"
#include "base/str.h"
#include "fence/decide_priv.h"

/* Which levels can be attempted, and who can do it. */

/* Nothing to carry out: a person, or the host's own watchdog, does it. */
static bool device_silent(const struct decide_device *d)
{
    switch (d->type) {
    case FENCE_TYPE_WATCHDOG:
    case FENCE_TYPE_MANUAL:
        return true;
    case FENCE_TYPE_NONE:
    case FENCE_TYPE_APC_SNMP:
    case FENCE_TYPE_IPMI:
    case FENCE_TYPE_REDFISH:
    case FENCE_TYPE_SCSI_RESERVATION:
    case FENCE_TYPE_AGENT:
    case FENCE_TYPE_SSH:
    case FENCE_TYPE_NULL:
        return false;
    }
    CHECK_UNREACHABLE();
}

static bool device_usable(const struct decide_device *d)
{
    return !d->missing && !d->paused && d->type != FENCE_TYPE_NONE && !device_silent(d);
}

/* All devices of a level have to succeed, and to be of one kind: what each of them proves has to be
 * the whole proof. */
enum decide_level_kind decide_level_kind(const struct decide_level *l, bool lab)
{
    enum decide_level_kind kind = DECIDE_LEVEL_USELESS;

    for (size_t i = 0; i < l->n_devices; i++) {
        const struct decide_device *d = &l->devices[i];
        enum decide_level_kind k = DECIDE_LEVEL_USELESS;

        if (!device_usable(d)) {
            return DECIDE_LEVEL_USELESS;
        }
        if (d->proof_class == FENCE_CLASS_POWER) {
            k = DECIDE_LEVEL_POWER;
        } else if (d->type == FENCE_TYPE_SCSI_RESERVATION) {
            k = DECIDE_LEVEL_STORAGE;
        } else if (d->type == FENCE_TYPE_SSH && lab) {
            k = DECIDE_LEVEL_ASK;
        }
        if (k == DECIDE_LEVEL_USELESS || (i > 0 && k != kind)) {
            return DECIDE_LEVEL_USELESS;
        }
        kind = k;
    }
    return kind;
}

/* A reservation that would release nothing (any more) is not worth an attempt. */
bool decide_level_attemptable(const struct decide_run *r, const struct decide_level *l)
{
    switch (decide_level_kind(l, r->f->policy.lab)) {
    case DECIDE_LEVEL_USELESS:
        return false;
    case DECIDE_LEVEL_STORAGE:
        return l->covers > 0;
    case DECIDE_LEVEL_POWER:
    case DECIDE_LEVEL_ASK:
        return true;
    }
    CHECK_UNREACHABLE();
}

const char *decide_level_names(struct arena *a, const struct decide_level *l)
{
    const char *s = "";

    for (size_t i = 0; i < l->n_devices; i++) {
        s = arena_printf(a, "%s%s%s", s, i > 0 ? "+" : "", l->devices[i].name);
    }
    return s;
}

bool decide_levels_have(const struct decide_level *l, size_t n, enum fence_type t)
{
    for (size_t i = 0; i < n; i++) {
        for (size_t k = 0; k < l[i].n_devices; k++) {
            if (l[i].devices[k].type == t) {
                return true;
            }
        }
    }
    return false;
}

const struct decide_candidate *decide_find_candidate(const struct decide_facts *f, const char *name)
{
    for (size_t i = 0; i < f->n_candidates; i++) {
        if (str_eq(f->candidates[i].name, name)) {
            return &f->candidates[i];
        }
    }
    return NULL;
}

/* --- one client at a time on a device ------------------------------------------------------------
 */

/* The level that a host's running attempt (also one that this plan starts) works on, or NULL. */
static const struct decide_level *busy_level(const struct decide_run *r, size_t host)
{
    const struct decide_host *h = &r->f->hosts[host];

    if (r->attempting[host]) {
        for (size_t i = r->n_items; i > 0; i--) {
            const struct decide_item *it = &r->items[i - 1];

            if (it->kind == DECIDE_FENCE_ATTEMPT && it->host == h->name) {
                return &h->fencing->levels[it->level];
            }
        }
    }
    if (decide_attempt_running(r->f, h)) {
        return &h->fencing->levels[h->fencing->level];
    }
    return NULL;
}

static uint32_t device_users(const struct decide_run *r, const struct decide_host *h,
                             const char *device)
{
    uint32_t n = 0;

    for (size_t i = 0; i < r->f->n_hosts; i++) {
        const struct decide_level *l = busy_level(r, i);

        if (l == NULL || &r->f->hosts[i] == h) {
            continue;
        }
        for (size_t k = 0; k < l->n_devices; k++) {
            n += str_eq(l->devices[k].name, device) ? 1 : 0;
        }
    }
    return n;
}

const char *decide_busy_device(struct decide_run *r, const struct decide_host *h,
                               const struct decide_level *l)
{
    for (size_t i = 0; i < l->n_devices; i++) {
        const struct decide_device *d = &l->devices[i];

        uint32_t users = device_users(r, h, d->name);

        if (d->probing_ms != 0 && decide_age(r->f, d->probing_ms) < DECIDE_PROBE_WAIT_MS) {
            decide_recheck(r, d->probing_ms + DECIDE_PROBE_WAIT_MS);
            users++;
        }
        if (d->max_concurrent > 0 && users >= d->max_concurrent) {
            return d->name;
        }
    }
    return NULL;
}

/* --- executors -----------------------------------------------------------------------------------
 */

/* NULL: it may execute; else why not. */
static const char *executor_refusal(const struct decide_facts *f, const struct decide_candidate *k,
                                    const struct decide_host *target)
{
    const struct decide_host *h = decide_find_host(f, k->name);

    if (str_eq(k->name, target->name)) {
        return "is the target";
    }
    if (!k->reachable) {
        return "is not reachable";
    }
    if (k->fresh) {
        return "has just booted and may not fence yet";
    }
    switch (k->state) {
    case DECIDE_INC_NONE:
        return NULL; /* a witness */
    case DECIDE_INC_LIVE:
        return h == NULL || decide_has_lease(f, h) ? NULL : "has lost its own lease";
    case DECIDE_INC_LOST:
    case DECIDE_INC_FENCING:
    case DECIDE_INC_FENCED:
        return "is not Live itself";
    }
    CHECK_UNREACHABLE();
}

static uint64_t probe_max_age_ms(const struct decide_facts *f, const struct decide_device *d)
{
    return d->probe_max_age_ms != 0 ? d->probe_max_age_ms : f->probe_max_age_ms;
}

static bool probed_lately(const struct decide_facts *f, const struct decide_candidate *k,
                          const struct decide_device *d)
{
    for (size_t i = 0; i < k->n_probed; i++) {
        if (str_eq(k->probed_devices[i], d->name) &&
            decide_age(f, k->probed_ms[i]) <= probe_max_age_ms(f, d)) {
            return true;
        }
    }
    return false;
}

static bool probed_level(const struct decide_facts *f, const struct decide_candidate *k,
                         const struct decide_level *l)
{
    for (size_t i = 0; i < l->n_devices; i++) {
        if (!probed_lately(f, k, &l->devices[i])) {
            return false;
        }
    }
    return true;
}

/* Somebody else than last time first, then who reached the device lately, then the leader (its
 * result has the shortest way); equal ones in the order of the facts. */
static int executor_score(const struct decide_facts *f, const struct decide_candidate *k,
                          const struct decide_level *l, const char *previous)
{
    return (previous == NULL || !str_eq(k->name, previous) ? 4 : 0) +
           (probed_level(f, k, l) ? 2 : 0) + (k->leader ? 1 : 0);
}

const struct decide_candidate *decide_executor(struct decide_run *r, const struct decide_host *h,
                                               const struct decide_level *l, const char *previous,
                                               const char **ret_why_not)
{
    const struct decide_facts *f = r->f;
    const struct decide_candidate *best = NULL;
    const char *why_not = "";
    int best_score = -1;

    for (size_t i = 0; i < f->n_candidates; i++) {
        const struct decide_candidate *k = &f->candidates[i];
        const char *refusal = executor_refusal(f, k, h);
        int score;

        if (refusal != NULL) {
            why_not = arena_printf(r->a, "%s%s%s %s", why_not, why_not[0] != '\0' ? ", " : "",
                                   k->name, refusal);
            continue;
        }
        score = executor_score(f, k, l, previous);
        if (score > best_score) {
            best_score = score;
            best = k;
        }
    }
    if (best == NULL) {
        *ret_why_not = why_not[0] != '\0' ? why_not : "there is no other picketd";
    }
    return best;
}

/* --- the standing condition: could it be fenced?
 * --------------------------------------------------- */

static void ready_set(struct decide_cond *c, const char *status, const char *reason,
                      const char *message)
{
    c->fencing_ready = status;
    c->fencing_reason = reason;
    c->fencing_message = message;
}

/* 2: a level works, 1: not known, 0: no. */
static int level_health(struct decide_run *r, const struct decide_level *l, const char **ret_why)
{
    int health = 2;

    if (decide_level_kind(l, r->f->policy.lab) != DECIDE_LEVEL_POWER) {
        return 0;
    }
    for (size_t i = 0; i < l->n_devices; i++) {
        const struct decide_device *d = &l->devices[i];

        if (d->probe_ms == 0 || decide_age(r->f, d->probe_ms) > probe_max_age_ms(r->f, d)) {
            *ret_why = arena_printf(r->a, "%s was not probed lately", d->name);
            health = health < 1 ? health : 1;
        } else if (d->probe != FENCE_SUCCEEDED) {
            *ret_why =
                arena_printf(r->a, "the last probe of %s did not succeed (%s%s%s)", d->name,
                             fence_outcome_name(d->probe), d->probe_detail != NULL ? ": " : "",
                             d->probe_detail != NULL ? d->probe_detail : "");
            health = 0;
        }
    }
    return health;
}

static const char *useless_device(struct decide_run *r, const struct decide_host *h)
{
    for (size_t i = 0; i < h->n_levels; i++) {
        for (size_t k = 0; k < h->levels[i].n_devices; k++) {
            const struct decide_device *d = &h->levels[i].devices[k];

            if (d->missing) {
                return arena_printf(r->a, "there is no FenceDevice %s", d->name);
            }
            if (d->paused) {
                return arena_printf(r->a, "FenceDevice %s is paused", d->name);
            }
            if (!device_silent(d) && d->proof_class != FENCE_CLASS_POWER) {
                return arena_printf(r->a,
                                    "a success of %s (%s) does not prove that the host is off",
                                    d->name, fence_type_name(d->type));
            }
        }
    }
    return "no level can be attempted";
}

static bool has_level(const struct decide_run *r, const struct decide_host *h,
                      enum decide_level_kind kind)
{
    for (size_t i = 0; i < h->n_levels; i++) {
        if (decide_level_kind(&h->levels[i], r->f->policy.lab) == kind) {
            return true;
        }
    }
    return false;
}

static void ready_without_level(struct decide_run *r, const struct decide_host *h,
                                struct decide_cond *c)
{
    bool declared = decide_levels_have(h->levels, h->n_levels, FENCE_TYPE_WATCHDOG);
    const char *refusal = decide_watchdog_refusal(&h->terms, r->f->policy.lab);

    if ((declared || r->f->policy.watchdog_fallback) && refusal == NULL) {
        ready_set(c, "True", "Watchdog", "its armed watchdog ends it when its lease ends");
    } else if (declared) {
        ready_set(c, "False", "WatchdogDoesNotCount", refusal);
    } else if (has_level(r, h, DECIDE_LEVEL_STORAGE)) {
        ready_set(c, "False", "StorageOnly",
                  "only its disks can be taken from it: of its VMs only those with fencing: "
                  "StorageOnly are started elsewhere, the others wait for picket confirm-off");
    } else if (h->n_levels == 0) {
        ready_set(c, "False", "NoFencing",
                  "no fence device is declared in spec.fencing: when it dies, its VMs wait for "
                  "picket confirm-off");
    } else if (decide_levels_have(h->levels, h->n_levels, FENCE_TYPE_MANUAL)) {
        ready_set(c, "False", "ManualOnly",
                  "only a person can confirm that it is off: when it dies, its VMs wait for picket "
                  "confirm-off");
    } else {
        ready_set(c, "False", "NoUsableDevice", useless_device(r, h));
    }
}

void decide_fencing_ready(struct decide_run *r, const struct decide_host *h, struct decide_cond *c)
{
    const char *why = NULL;
    bool attemptable = false;
    int best = 0;

    for (size_t i = 0; i < h->n_levels; i++) {
        int health = level_health(r, &h->levels[i], &why);

        attemptable =
            attemptable || decide_level_kind(&h->levels[i], r->f->policy.lab) == DECIDE_LEVEL_POWER;
        best = health > best ? health : best;
    }
    if (!attemptable) {
        ready_without_level(r, h, c);
    } else if (best == 2) {
        ready_set(c, "True", "ProbeSucceeded", "a level of its fence devices answers");
    } else if (best == 1) {
        ready_set(c, "Unknown", "NotProbed", why);
    } else {
        ready_set(c, "False", "ProbeFailed", why);
    }
}
