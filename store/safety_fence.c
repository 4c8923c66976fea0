/* A fencing: opened for one incarnation with its levels pinned, worked on in numbered attempts,
 * each reported by its one executor. */

#include "store/store_priv.h"

#include <inttypes.h>
#include <string.h>

#include "base/obj.h"
#include "base/str.h"

/* --- proof classes -----------------------------------------------------------------------------
 */

static enum proof_class class_of_type(const char *type, bool lab)
{
    static const char *const POWER[] = { "ApcSnmp", "Ipmi", "Redfish", "Agent" };

    for (size_t i = 0; i < ARRAY_LEN(POWER); i++) {
        if (str_eq(type, POWER[i])) {
            return CLASS_POWER;
        }
    }
    if (str_eq(type, "Null")) {
        return lab ? CLASS_POWER : CLASS_NONE;
    }
    return str_eq(type, "ScsiReservation") ? CLASS_STORAGE : CLASS_NONE;
}

/* What a success of the device proves: its type's class, or for a program the one that was pinned.
 */
enum proof_class sf_device_class(const struct cmd_fence_device *d, bool lab)
{
    if (str_eq(d->type, "Agent") && d->provides != CLASS_BY_TYPE) {
        return d->provides;
    }
    return class_of_type(d->type, lab);
}

/* Programs whose success says nothing about power, whatever a device claims (safety.md 4). */
static bool never_power(const char *program)
{
    static const char *const NEVER[] = {
        "fence_scsi", "fence_mpath", "fence_kdump", "fence_dummy", "fence_ack_manual",
    };

    for (size_t i = 0; program != NULL && i < ARRAY_LEN(NEVER); i++) {
        if (str_eq(program, NEVER[i])) {
            return true;
        }
    }
    return false;
}

/* The object may lower what the command says, never raise it. */
static enum proof_class agent_class(const struct obj_info *o, enum proof_class said)
{
    const char *provides = obj_spec_str(o, "provides");

    if (never_power(obj_spec_str(o, "agent"))) {
        return said == CLASS_STORAGE ? said : CLASS_NONE;
    }
    if (provides != NULL && !str_eq(provides, "Power")) {
        return str_eq(provides, "Storage") ? CLASS_STORAGE : CLASS_NONE;
    }
    return said;
}

/* --- open --------------------------------------------------------------------------------------
 */

static int pin_device(struct ap *x, struct cmd_fence_device *d)
{
    struct obj_info o;
    const char *type;
    int rc;

    rc = obj_open(x->s, "fencedevices", d->name, &o, x->err);
    if (rc == ERR_NOT_FOUND && d->generation == 0) {
        /* one level that cannot work must not keep the others from being tried */
        d->provides = CLASS_NONE;
        d->create_rev = UINT64_MAX; /* and never equals anything: pinned() */
        return 0;
    }
    if (rc != 0) {
        return rc;
    }
    type = obj_spec_str(&o, "type");
    if (o.generation != d->generation) {
        rc = err_set(x->err, ERR_CONFLICT,
                     "FenceDevice %s is at generation %" PRIu64 ", not %" PRIu64 ": read it again",
                     d->name, o.generation, d->generation);
    } else if (!str_eq(type, d->type)) {
        rc = err_set(x->err, ERR_REFUSED, "FenceDevice %s is of type %s, not %s", d->name,
                     type == NULL ? "?" : type, d->type);
    } else {
        d->create_rev = o.create_rev;
        if (str_eq(d->type, "Agent")) {
            d->provides = agent_class(&o, d->provides);
        }
    }
    obj_done(&o);
    return rc;
}

/* The levels are copied with what each device is now; each must be one that the Host declares. */
static int pin_levels(struct ap *x, const struct obj_info *host, struct s_fencing *f)
{
    const struct cmd_safety *c = &x->c->safety;

    f->n_levels = c->n_levels;
    f->levels = ARENA_ARRAY(x->a, struct cmd_fence_level, c->n_levels);
    for (size_t i = 0; i < c->n_levels; i++) {
        struct cmd_fence_level *lv = &f->levels[i];

        if (!obj_host_declares_level(host, &c->levels[i])) {
            return err_set(
                x->err, ERR_REFUSED,
                "Host %s declares no fencing level with exactly these %zu devices (%s...)", f->host,
                c->levels[i].n_devices, c->levels[i].devices[0].name);
        }
        lv->n_devices = c->levels[i].n_devices;
        lv->devices = ARENA_ARRAY(x->a, struct cmd_fence_device, lv->n_devices);
        memcpy(lv->devices, c->levels[i].devices, lv->n_devices * sizeof(*lv->devices));
        for (size_t j = 0; j < lv->n_devices; j++) {
            int rc = pin_device(x, &lv->devices[j]);

            if (rc != 0) {
                return rc;
            }
        }
    }
    return 0;
}

static int pin_host(struct ap *x, struct s_fencing *f)
{
    const struct cmd_safety *c = &x->c->safety;
    struct obj_info o;
    int rc;

    rc = obj_open(x->s, "hosts", f->host, &o, x->err);
    if (rc != 0) {
        return rc;
    }
    if (o.generation != c->host_generation) {
        rc = err_set(x->err, ERR_CONFLICT,
                     "Host %s is at generation %" PRIu64 ", not %" PRIu64 ": read it again",
                     f->host, o.generation, c->host_generation);
    } else {
        rc = pin_levels(x, &o, f);
    }
    obj_done(&o);
    return rc;
}

static int open_check(struct ap *x, const struct s_inc *inc)
{
    const struct cmd_safety *c = &x->c->safety;

    if (!str_eq(c->host, inc->host)) {
        return err_set(x->err, ERR_INVALID, "incarnation %" PRIu64 " is of host %s, not %s",
                       inc->number, inc->host, c->host == NULL ? "(none)" : c->host);
    }
    if (inc->state == INC_FENCING && c->fencing == inc->fencing) {
        return 0; /* replaces that one, with new pins */
    }
    if (inc->state == INC_FENCING) {
        return err_set(x->err, ERR_REFUSED, "host %s has fencing %" PRIu64 " open already",
                       inc->host, inc->fencing);
    }
    if (inc->state != INC_LOST && !(inc->state == INC_LIVE && c->by_user)) {
        return err_set(x->err, ERR_REFUSED, "incarnation %" PRIu64 " of %s is %s: not to be fenced",
                       inc->number, inc->host, inc_state_name(inc->state));
    }
    return 0;
}

/* History is kept, but not without end. */
static void forget_old(struct ap *x, uint64_t id)
{
    struct s_fencing f;

    if (id > STORE_FENCINGS_KEPT &&
        s_fencing_get(x->s, id - STORE_FENCINGS_KEPT, x->a, &f, x->err) == 0 &&
        f.state != FENCING_OPEN) {
        st_del_str(x->s, s_key_fencing(x->a, f.id));
    }
}

int ap_fence_open(struct ap *x)
{
    const struct cmd_safety *c = &x->c->safety;
    struct s_fencing f = { 0 };
    struct s_inc inc;
    int rc;

    rc = sf_inc(x, c->incarnation, &inc);
    if (rc == 0) {
        rc = open_check(x, &inc);
    }
    if (rc != 0) {
        return rc;
    }
    f.incarnation = inc.number;
    f.host = inc.host;
    f.state = FENCING_OPEN;
    f.reason = c->reason;
    f.by = ap_who(x);
    f.opened_wall_ms = x->s->wall_ms;
    f.host_generation = c->host_generation;
    rc = pin_host(x, &f);
    if (rc != 0) {
        return rc;
    }
    if (inc.fencing != 0) {
        sf_fencing_close(x, inc.fencing, FENCING_CANCELED, PROOF_NONE);
    }
    f.id = ++x->s->last_fencing;
    s_fencing_put(x, &f);
    forget_old(x, f.id);
    inc.fencing = f.id;
    sf_set_state(x, &inc, INC_FENCING, c->reason);
    s_inc_put(x, &inc);
    ap_value(x, f.id);
    return 0;
}

/* --- attempts ----------------------------------------------------------------------------------
 */

/* An executor is not the target, and if its host is part of the cluster then its lease is good: one
 * that is cut off itself must not cut off others. */
static int executor_check(struct ap *x, const char *target, const char *executor)
{
    struct s_host h;
    struct s_inc inc;
    int rc;

    if (executor == NULL || executor[0] == 0) {
        return err_set(x->err, ERR_INVALID, "fencing of %s: no executor named", target);
    }
    if (str_eq(executor, target)) {
        return err_set(x->err, ERR_REFUSED, "host %s cannot execute its own fencing", target);
    }
    rc = sf_host(x, executor, &h);
    if (rc != 0 || h.incarnation == 0) {
        return rc;
    }
    rc = sf_inc(x, h.incarnation, &inc);
    if (rc != 0) {
        return rc;
    }
    if (inc.state != INC_LIVE || h.conflict[0] != 0) {
        return err_set(x->err, ERR_REFUSED, "executor %s is itself %s", executor,
                       h.conflict[0] != 0 ? "in an IdentityConflict" : inc_state_name(inc.state));
    }
    return 0;
}

int sf_executor_check(struct ap *x, const struct s_fencing *f)
{
    return executor_check(x, f->host, f->executor);
}

static void remember_attempt(struct ap *x, struct s_fencing *f)
{
    size_t keep = f->n_attempts < STORE_RESULTS_KEPT ? f->n_attempts : STORE_RESULTS_KEPT - 1;
    struct s_fencing_attempt *all = ARENA_ARRAY(x->a, struct s_fencing_attempt, keep + 1);

    if (keep > 0) {
        memcpy(all, f->attempts + (f->n_attempts - keep), keep * sizeof(*all));
    }
    all[keep] = (struct s_fencing_attempt){ f->attempt, f->level, f->executor };
    f->attempts = all;
    f->n_attempts = keep + 1;
}

int ap_fence_attempt(struct ap *x)
{
    const struct cmd_safety *c = &x->c->safety;
    struct s_fencing f;
    struct s_inc inc;
    int rc;

    rc = sf_fencing_open(x, c->fencing, &f, &inc);
    if (rc == 0 && c->level >= f.n_levels) {
        rc =
            err_set(x->err, ERR_INVALID, "fencing %" PRIu64 " has %zu levels, there is no level %u",
                    f.id, f.n_levels, c->level);
    }
    if (rc == 0) {
        rc = executor_check(x, f.host, c->executor);
    }
    if (rc != 0) {
        return rc;
    }
    f.attempt++;
    f.level = c->level;
    f.executor = c->executor;
    f.vetoed = false;
    f.veto_reason = "";
    f.life_sign = false;
    remember_attempt(x, &f);
    s_fencing_put(x, &f);
    ap_value(x, f.attempt);
    return 0;
}

static const struct s_fencing_attempt *find_attempt(const struct s_fencing *f, uint64_t number)
{
    for (size_t i = 0; i < f->n_attempts; i++) {
        if (f->attempts[i].number == number) {
            return &f->attempts[i];
        }
    }
    return NULL;
}

static bool level_has(const struct cmd_fence_level *lv, const char *device)
{
    for (size_t i = 0; i < lv->n_devices; i++) {
        if (str_eq(lv->devices[i].name, device)) {
            return true;
        }
    }
    return false;
}

static int result_check(struct ap *x, const struct s_fencing *f)
{
    const struct cmd_safety *c = &x->c->safety;
    const struct s_fencing_attempt *at = find_attempt(f, c->attempt);

    if (at == NULL) {
        return err_set(x->err, ERR_STALE, "fencing %" PRIu64 " has no attempt %" PRIu64, f->id,
                       c->attempt);
    }
    if (!str_eq(at->executor, x->c->actor.name)) {
        return err_set(x->err, ERR_DENIED,
                       "attempt %" PRIu64 " of fencing %" PRIu64 " is executed by %s, not by %s",
                       c->attempt, f->id, at->executor, ap_who(x));
    }
    if (!level_has(&f->levels[at->level], c->device)) {
        return err_set(x->err, ERR_INVALID, "device %s is not in level %u of fencing %" PRIu64,
                       c->device == NULL ? "(none)" : c->device, at->level, f->id);
    }
    return executor_check(x, f->host, x->c->actor.name);
}

int ap_fence_result(struct ap *x)
{
    const struct cmd_safety *c = &x->c->safety;
    struct s_fencing_result *all;
    struct s_fencing f;
    struct s_inc inc;
    size_t keep;
    int rc;

    rc = sf_fencing_open(x, c->fencing, &f, &inc);
    if (rc == 0) {
        rc = result_check(x, &f);
    }
    if (rc != 0) {
        return rc;
    }
    keep = f.n_results < STORE_RESULTS_KEPT ? f.n_results : STORE_RESULTS_KEPT - 1;
    all = ARENA_ARRAY(x->a, struct s_fencing_result, keep + 1);
    if (keep > 0) {
        memcpy(all, f.results + (f.n_results - keep), keep * sizeof(*all));
    }
    all[keep] = (struct s_fencing_result){
        .device = c->device,
        .attempt = c->attempt,
        .result = c->result,
        .detail = c->detail,
        .wall_ms = x->s->wall_ms,
    };
    f.results = all;
    f.n_results = keep + 1;
    s_fencing_put(x, &f);
    return 0;
}

/* A life sign, or a change of what was pinned: this attempt proves nothing any more.  After a life
 * sign the wait for the watchdog begins again, too. */
int ap_fence_veto(struct ap *x)
{
    const struct cmd_safety *c = &x->c->safety;
    struct s_fencing f;
    struct s_inc inc;
    int rc;

    rc = sf_fencing_open(x, c->fencing, &f, &inc);
    if (rc != 0) {
        return rc;
    }
    if (c->attempt != f.attempt) {
        return err_set(x->err, ERR_STALE,
                       "veto of attempt %" PRIu64 ", but attempt %" PRIu64 " is running",
                       c->attempt, f.attempt);
    }
    f.vetoed = true;
    f.veto_reason = c->reason;
    f.life_sign = f.life_sign || c->life_sign;
    s_fencing_put(x, &f);
    if (c->life_sign && inc.wait_term != 0) {
        inc.wait_term = 0;
        inc.wait_rev = 0;
        s_inc_put(x, &inc);
    }
    return 0;
}
