/* What the two agents of a live migration are told: VirtualMachine.status.migration, made of the
 * Migration, and of the lock when the Migration is gone. */

#include <string.h>

#include "api/valid.h"
#include "base/obj.h"
#include "base/str.h"
#include "cmd/picketd/ctl_mig.h"
#include "reconciler/vm_live.h"

/* --- can it? -----------------------------------------------------------------------------------
 */

static const char *host_not_live(struct pass *p, const char *name, bool *ret_pv)
{
    const struct ctl_obj *h = name == NULL ? NULL : ctl_find(p->c, "hosts", name);

    if (h == NULL) {
        return NULL;
    }
    *ret_pv = *ret_pv && jget_bool(h->json, "status.capacity.liveMigrationPV", false);
    if (jget_bool(h->json, "status.capacity.liveMigration", false)) {
        return NULL;
    }
    return arena_printf(&p->a, "host %s cannot migrate live", name);
}

const char *mig_not_live(struct pass *p, struct ctl_obj *vm, const char *from, const char *to)
{
    bool pv = true;
    const char *why = host_not_live(p, from, &pv);

    why = why == NULL ? host_not_live(p, to, &pv) : why;
    return why == NULL ? vm_not_live(vm->json, pv) : why;
}

static void condition(struct pass *p, struct ctl_obj *vm, json_t *next)
{
    const struct s_lock *l = pass_lock(p, "virtualmachines", vm->name);
    const char *mode = jget_str(vm->json, "spec.migration.mode", "Live");
    const char *why;

    if (!str_eq(mode, "Live")) {
        (void)cond_set(next, "LiveMigratable", "False", "Policy",
                       arena_printf(&p->a, "spec.migration.mode is %s", mode), p->wall_ms);
        return;
    }
    why = mig_not_live(p, vm, l == NULL || l->owner.incarnation == 0 ? NULL : l->owner.host, NULL);
    (void)cond_set(next, "LiveMigratable", why == NULL ? "True" : "False",
                   why == NULL ? "Possible" : "CannotGoLive", why == NULL ? "" : why, p->wall_ms);
}

/* --- status.migration --------------------------------------------------------------------------
 */

const struct ctl_obj *ctl_migration_of(struct pass *p, const char *vm)
{
    const struct kind *k = kind_by_plural("migrations");
    const struct ctl_obj *o;

    for (size_t pos = 0; (o = ctl_next(p->c, k, &pos)) != NULL;) {
        if (str_eq(jget_str(o->json, "spec.vm", ""), vm) && migration_live(o->json)) {
            return o;
        }
    }
    return NULL;
}

static json_t *of_migration(const struct ctl_obj *vm, const struct ctl_obj *o)
{
    const json_t *st = json_object_get(o->json, "status");
    uint64_t limit = jget_duration(vm->json, "spec.migration.timeout", 600000);

    return json_pack("{s:s, s:s, s:s, s:s, s:I, s:s, s:I, s:s, s:I, s:I}", "name", o->name, "uid",
                     jget_str(o->json, "metadata.uid", ""), "phase", jget_str(st, "phase", ""),
                     "source", jget_str(st, "source", ""), "sourceIncarnation",
                     (json_int_t)jget_int(st, "sourceIncarnation", 0), "target",
                     jget_str(st, "target", ""), "targetIncarnation",
                     (json_int_t)jget_int(st, "targetIncarnation", 0), "address",
                     jget_str(st, "address", ""), "bandwidth",
                     (json_int_t)jget_int(st, "bandwidth", 0), "timeoutMs", (json_int_t)limit);
}

/* The Migration is over or was deleted, and both are still in the lock: called back, or done. */
static json_t *of_lock(const struct ctl_obj *vm, const struct s_lock *l)
{
    const json_t *was = jget(vm->json, "status.migration");
    bool moved = (uint64_t)jget_int(was, "targetIncarnation", 0) == l->owner.incarnation;
    const struct s_lock_slot *s = moved ? &l->peer : &l->owner;
    const struct s_lock_slot *t = moved ? &l->owner : &l->peer;

    return json_pack("{s:s, s:s, s:s, s:s, s:I, s:s, s:I}", "name", jget_str(was, "name", ""),
                     "uid", jget_str(was, "uid", "unknown"), "phase",
                     moved ? "Committing" : "Canceling", "source", s->host, "sourceIncarnation",
                     (json_int_t)s->incarnation, "target", t->host, "targetIncarnation",
                     (json_int_t)t->incarnation);
}

void ctl_mig_status(struct pass *p, struct ctl_obj *vm, json_t *next)
{
    const struct s_lock *l = pass_lock(p, "virtualmachines", vm->name);
    const struct ctl_obj *o = ctl_migration_of(p, vm->name);

    condition(p, vm, next);
    if (o != NULL) {
        jset(next, "status.migration", of_migration(vm, o));
    } else if (l != NULL && l->owner.incarnation != 0 && l->peer.incarnation != 0 &&
               !l->quarantined) {
        jset(next, "status.migration", of_lock(vm, l));
    } else {
        (void)json_object_del(json_object_get(next, "status"), "migration");
    }
}
