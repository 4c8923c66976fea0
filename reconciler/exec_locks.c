#include "reconciler/exec_priv.h"

#include <stdlib.h>
#include <string.h>

#include "base/obj.h"
#include "base/str.h"

/* What this host knows of locks.  A lock that a full list did not name is free as of that list. */

const char *vmx_vm_lock(struct arena *a, const char *vm)
{
    return arena_printf(a, "virtualmachines/%s", vm);
}

const char *vmx_vol_lock(struct arena *a, const char *vol)
{
    return arena_printf(a, "volumes/%s", vol);
}

struct vmx_lock *vmx_lock_entry(struct vmx *x, const char *lock)
{
    struct vmx_lock *l = map_get(&x->locks, lock);

    if (l == NULL) {
        l = OBJ_NEW(struct vmx_lock);
        if (x->locks_ms != 0) {
            l->state = VM_LOCK_FREE;
            l->confirmed_ms = x->locks_ms;
        }
        (void)map_put(&x->locks, lock, l);
    }
    return l;
}

void vmx_lock_set(struct vmx *x, const char *lock, enum vm_lock_state st, uint64_t token,
                  uint64_t confirmed_ms)
{
    struct vmx_lock *l = vmx_lock_entry(x, lock);

    l->state = st;
    l->token = token;
    l->confirmed_ms = confirmed_ms;
    l->changed_ms = vmx_now(x);
    l->peer_token = 0;
    l->aborted = false;
    l->ownerless = false;
    free(l->holder);
    l->holder = NULL;
}

void vmx_lock_view(const struct vmx *x, const char *lock, struct vm_lock *ret)
{
    const struct vmx_lock *l = map_get(&x->locks, lock);

    *ret = (struct vm_lock){ .state = VM_LOCK_UNKNOWN };
    if (l == NULL) {
        if (x->locks_ms != 0) {
            ret->state = VM_LOCK_FREE;
            ret->confirmed_ms = x->locks_ms;
        }
        return;
    }
    *ret = (struct vm_lock){
        .state = l->state,
        .token = l->token,
        .confirmed_ms = l->confirmed_ms,
        .holder = l->holder,
        .read_ms = l->read_ms,
        .peer_joined = l->peer_token != 0,
        .aborted = l->aborted,
        .ownerless = l->ownerless,
    };
}

static void set_other(struct vmx *x, const char *lock, const char *host, uint64_t incarnation,
                      uint64_t sent_ms)
{
    struct vmx_lock *l = vmx_lock_entry(x, lock);

    vmx_lock_set(x, lock, VM_LOCK_OTHER, 0, sent_ms);
    l->holder = mem_printf("%s (incarnation %llu)", host, (unsigned long long)incarnation);
    l->release_sent = false;
}

static bool ours(enum vm_lock_state st)
{
    return st == VM_LOCK_MINE || st == VM_LOCK_PEER;
}

/* A read shows who owns a lock.  That it is ours does not confirm it for a start: a release of a
 * former process may still be under way; only the answer to an acquire does. */
void vmx_lock_apply(struct vmx *x, const struct vmx_lock_info *info, uint64_t sent_ms)
{
    struct vmx_lock *l = vmx_lock_entry(x, info->lock);
    uint64_t confirmed = l->state == VM_LOCK_MINE && l->token == info->token && !l->release_sent
                             ? l->confirmed_ms
                             : 0;

    if (info->quarantined) {
        vmx_lock_set(x, info->lock, VM_LOCK_QUARANTINED, 0, sent_ms);
    } else if (info->peer_incarnation == x->src.incarnation && info->peer_incarnation != 0) {
        vmx_lock_set(x, info->lock, VM_LOCK_PEER, info->peer_token, 0);
        l->ownerless = info->incarnation == 0;
    } else if (info->incarnation == 0 && info->peer_incarnation != 0) {
        set_other(x, info->lock, info->peer_host, info->peer_incarnation, sent_ms);
    } else if (info->incarnation == 0) {
        vmx_lock_set(x, info->lock, VM_LOCK_FREE, 0, sent_ms);
        l->release_sent = false;
    } else if (info->incarnation == x->src.incarnation) {
        vmx_lock_set(x, info->lock, VM_LOCK_MINE, info->token, confirmed);
        l->peer_token = info->peer_incarnation == 0 ? 0 : info->peer_token;
    } else if (str_eq(info->host, x->src.host)) {
        /* An earlier incarnation of this host: not another host's, and not ours to use either. */
        vmx_lock_set(x, info->lock, VM_LOCK_QUARANTINED, 0, sent_ms);
    } else {
        set_other(x, info->lock, info->host, info->incarnation, sent_ms);
    }
    l->read_ms = sent_ms;
    l->aborted = info->aborted;
}

void vmx_locks_free(struct vmx *x)
{
    const char *key;
    void *v;

    for (size_t i = 0; map_next(&x->locks, &i, &key, &v);) {
        free(((struct vmx_lock *)v)->holder);
        free(v);
    }
    map_done(&x->locks);
}

void vmx_locks_forget(struct vmx *x)
{
    vmx_locks_free(x);
    x->locks_ms = 0;
    vmx_kick_all(x);
}

/* What our own calls said since the list was asked for is newer than the list. */
static bool newer(const struct vmx *x, const char *lock, uint64_t sent_ms)
{
    const struct vmx_lock *l = map_get(&x->locks, lock);

    return l != NULL && l->changed_ms >= sent_ms && l->changed_ms != 0;
}

static void apply_listed(struct vmx *x, const struct vmx_lock_info *info, uint64_t sent_ms)
{
    if (!newer(x, info->lock, sent_ms)) {
        vmx_lock_apply(x, info, sent_ms);
    }
    if ((info->incarnation == x->src.incarnation || info->peer_incarnation == x->src.incarnation) &&
        str_starts(info->lock, "virtualmachines/")) {
        vmx_due(vmx_item(x, info->lock + strlen("virtualmachines/")), vmx_now(x));
    }
}

void vmx_locks(struct vmx *x, const struct vmx_lock_info *infos, size_t n, uint64_t sent_ms,
               enum vmx_list list)
{
    enum vm_lock_state listed = list == VMX_LIST_PEERED ? VM_LOCK_PEER : VM_LOCK_MINE;
    struct map named = { 0 };
    const char *key;
    void *v;

    if (list == VMX_LIST_ALL) {
        x->locks_ms = sent_ms;
    }
    for (size_t i = 0; i < n; i++) {
        (void)map_put(&named, infos[i].lock, x);
        apply_listed(x, &infos[i], sent_ms);
    }
    for (size_t i = 0; map_next(&x->locks, &i, &key, &v);) {
        struct vmx_lock *l = v;

        if (map_get(&named, key) != NULL || newer(x, key, sent_ms)) {
            continue;
        }
        if (list == VMX_LIST_ALL) {
            vmx_lock_set(x, key, VM_LOCK_FREE, 0, sent_ms);
            l->release_sent = false;
        } else if (l->state == listed) {
            vmx_lock_set(x, key, VM_LOCK_UNKNOWN, 0, 0);
        }
    }
    map_done(&named);
    if (list == VMX_LIST_ALL) {
        vmx_kick_all(x);
    }
}

static bool owned(const struct vmx_item *it, const char *lock, uint64_t token)
{
    struct vm_lock l;

    vmx_lock_view(it->x, lock, &l);
    return l.state == VM_LOCK_MINE && (token == 0 || l.token == token) && l.confirmed_ms != 0;
}

/* They were confirmed when it began.  Since then only we could have given them back (P2): while the
 * lease of this incarnation is renewed they are ours, however long it takes. */
bool vmx_start_confirmed(const struct vmx_item *it)
{
    struct arena a = { 0 };
    bool ok = owned(it, vmx_vm_lock(&a, it->rec.vm), it->job.token);

    for (size_t i = 0; ok && i < it->want.n_vols; i++) {
        ok = !it->want.vols[i].exclusive || owned(it, vmx_vol_lock(&a, it->want.vols[i].name), 0);
    }
    arena_done(&a);
    return ok;
}

static size_t count(const struct vmx *x, bool unclear)
{
    const char *key;
    size_t n = 0;
    void *v;

    for (size_t i = 0; map_next(&x->locks, &i, &key, &v);) {
        enum vm_lock_state st = ((const struct vmx_lock *)v)->state;

        n += ours(st) || (unclear && st == VM_LOCK_UNKNOWN);
    }
    return n;
}

size_t vmx_locks_held(const struct vmx *x)
{
    return count(x, false);
}

size_t vmx_locks_unclear(const struct vmx *x)
{
    return x->locks_ms == 0 ? 1 : count(x, true);
}

uint64_t vmx_token(const struct vmx *x, const char *lock)
{
    const struct vmx_lock *l = map_get(&x->locks, lock);

    return l != NULL && ours(l->state) ? l->token : 0;
}
