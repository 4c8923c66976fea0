#include "reconciler/exec_priv.h"

#include "base/obj.h"
#include "base/str.h"

/* From the tables of the executor to the planner's view of one vm. */

void vmx_full_env(const struct vmx *x, struct vm_env *ret)
{
    *ret = (struct vm_env){ 0 };
    x->ops.env(x->ctx, ret);
    ret->now_ms = vmx_now(x);
    ret->incarnation = x->src.incarnation;
}

/* Does this item have, or may it have, something of its own on this host? */
static bool present(const struct vmx_item *it)
{
    struct obs_domain d;

    obs_domain_get(it->x->obs, it->rec.vm, vmx_now(it->x), &d);
    return d.state != DOM_ABSENT;
}

const char *vmx_vol_user(const struct vmx_item *it, const char *vol, bool exclusive)
{
    const char *vm;
    void *v;

    for (size_t i = 0; map_next(&it->x->items, &i, &vm, &v);) {
        const struct vmx_item *other = v;

        if (other != it && intent_has_vol(&other->rec, vol) && (exclusive || present(other))) {
            return other->rec.vm;
        }
    }
    return NULL;
}

static void fill_vol(const struct vmx_item *it, struct arena *a, const char *group,
                     const char *name, struct vm_vol *v)
{
    const struct vmx *x = it->x;
    struct obs_volume o;

    obs_volume_get(x->obs, group, name, vmx_now(x), &o);
    v->name = name;
    v->state = o.state;
    v->seen_ms = o.seen_ms;
    v->size_bytes = o.size_bytes;
    vmx_lock_view(x, vmx_vol_lock(a, name), &v->lock);
    v->used_by = vmx_vol_user(it, name, v->exclusive);
}

static bool wanted(const struct vmx_item *it, const char *vol)
{
    for (size_t i = 0; i < it->want.n_vols; i++) {
        if (str_eq(it->want.vols[i].name, vol)) {
            return true;
        }
    }
    return false;
}

/* A volume whose lock is ours and that nobody accounts for belongs to the vm that names it: the
 * record of a former process was lost. */
static void take_in(struct vmx_item *it, const struct plan_vol *pv, const struct vm_vol *v)
{
    if ((v->lock.state == VM_LOCK_MINE || v->lock.state == VM_LOCK_PEER) && v->used_by == NULL) {
        intent_add_vol(&it->rec, pv->group, pv->name);
    }
}

static void have_vols(struct vmx_item *it, struct vm_have *ret)
{
    size_t max = it->want.n_vols + it->rec.n_vols;
    struct vm_vol *vols = ARENA_ARRAY(&it->a, struct vm_vol, max + 1);
    size_t n = 0;

    for (size_t i = 0; i < it->want.n_vols; i++) {
        const struct plan_vol *pv = &it->want.vols[i];
        struct vm_vol *v = &vols[n++];

        v->wanted = true;
        v->exclusive = pv->exclusive;
        v->creatable = pv->size_bytes != 0;
        v->want_bytes = pv->size_bytes;
        fill_vol(it, &it->a, pv->group, pv->name, v);
        if (pv->exclusive) {
            take_in(it, pv, v);
        }
    }
    for (size_t i = 0; i < it->rec.n_vols; i++) {
        const struct intent_vol *iv = &it->rec.vols[i];
        struct plan_vol pv = { .exclusive = true };

        if (wanted(it, iv->name)) {
            continue;
        }
        (void)plan_vol_make(&it->x->src, iv->name, &it->a, &pv);
        vols[n].exclusive = pv.exclusive;
        fill_vol(it, &it->a, arena_strdup(&it->a, iv->group), arena_strdup(&it->a, iv->name),
                 &vols[n]);
        n++;
    }
    CHECK(n <= max);
    ret->vols = vols;
    ret->n_vols = n;
}

void vmx_have(struct vmx_item *it, const struct vm_env *env, struct vm_have *ret)
{
    struct obs_domain d;

    obs_domain_get(it->x->obs, it->rec.vm, env->now_ms, &d);
    *ret = (struct vm_have){
        .state = d.state,
        .reason = d.reason,
        .detail = arena_strdup(&it->a, d.detail),
        .uid = arena_strdup(&it->a, d.uid),
        .seen_ms = d.seen_ms,
        .look_after_ms = d.look_after_ms,
        .memory_target_bytes = d.memory_target_bytes,
        .vcpus = d.vcpus,
        .adjusted = it->want.vm.exists && it->adjusted_generation == it->want.vm.generation,
        .last_error = arena_strdup(&it->a, it->last_error),
    };
    ret->grow_failed = it->failures > 0 && it->failed_kind == ACT_GROW_VOLUME;
    if (it->failed_kind == ACT_ACTIVATE || it->failed_kind == ACT_CREATE_VOLUME) {
        ret->setup_failures = it->failures;
        ret->setup_since_ms = it->first_failed_ms;
    }
    vmx_lock_view(it->x, vmx_vm_lock(&it->a, it->rec.vm), &ret->lock);
    have_vols(it, ret);
    vmx_mig_have(it, ret);
}
