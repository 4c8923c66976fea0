/* The decisions of fence/decide_plan.h, carried out as commands. */

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "api/valid.h"
#include "base/log.h"
#include "base/obj.h"
#include "base/str.h"
#include "cmd/picketd/ctl_fence_priv.h"
#include "cmd/picketd/exec.h"
#include "cmd/picketd/object.h"

/* What an Agent device can prove depends on its program; for all others the store knows. */
static enum proof_class device_class(const struct node *n, const json_t *dev)
{
    enum fence_type type = fence_type_parse(jget_str(dev, "spec.type", ""));

    if (type != FENCE_TYPE_AGENT) {
        return CLASS_BY_TYPE;
    }
    switch (fence_class_of(type, jget_str(dev, "spec.agent", NULL),
                           jget_str(dev, "spec.provides", NULL), n->opts.lab)) {
    case FENCE_CLASS_POWER:
        return CLASS_POWER;
    case FENCE_CLASS_STORAGE:
        return CLASS_STORAGE;
    case FENCE_CLASS_NONE:
        return CLASS_NONE;
    }
    CHECK_UNREACHABLE();
}

int fence_levels(struct node *n, const char *host, struct arena *a, struct cmd_safety *ret,
                 struct err *err)
{
    uint64_t rev;
    json_t *obj = object_load(n->store, kind_find("Host"), host, &rev, err);
    const json_t *levels = jget(obj, "spec.fencing");
    size_t count = json_array_size(levels);

    if (obj == NULL) {
        return err->code;
    }
    ret->host = arena_strdup(a, host);
    ret->host_generation = (uint64_t)jget_int(obj, "metadata.generation", 0);
    ret->levels = ARENA_ARRAY(a, struct cmd_fence_level, count + 1);
    ret->n_levels = count;
    for (size_t i = 0; i < count; i++) {
        const json_t *names = jget(json_array_get(levels, i), "devices");
        size_t m = json_array_size(names);

        ret->levels[i].devices = ARENA_ARRAY(a, struct cmd_fence_device, m + 1);
        ret->levels[i].n_devices = m;
        for (size_t k = 0; k < m; k++) {
            const char *name = json_string_value(json_array_get(names, k));
            struct err missing;
            json_t *dev = object_load(n->store, kind_find("FenceDevice"), name, &rev, &missing);

            ret->levels[i].devices[k] = (struct cmd_fence_device){
                .name = arena_strdup(a, name),
                .generation = (uint64_t)jget_int(dev, "metadata.generation", 0),
                .type = arena_strdup(a, jget_str(dev, "spec.type", "None")),
                .provides = device_class(n, dev),
            };
            json_decref(dev);
        }
    }
    json_decref(obj);
    return 0;
}

int fence_user_check(struct node *n, const char *host, struct err *err)
{
    struct pass *p = pass_what_if(n, NULL, 0);
    struct fence_facts *fa = ARENA_NEW(&p->a, struct fence_facts);
    int rc = 0;

    fence_facts_make(fa, p);
    for (size_t i = 0; i < fa->f.n_hosts && rc == 0; i++) {
        const struct decide_host *h = &fa->f.hosts[i];
        const char *why = str_eq(h->name, host) ? decide_user_refusal(&fa->f, h, &p->a) : NULL;

        if (why != NULL) {
            rc = err_set(err, ERR_REFUSED, "%s", why);
        }
    }
    pass_what_if_done(p);
    return rc;
}

/* --- decisions to commands ---------------------------------------------------------------------
 */

static void transfer(struct pass *p, const struct decide_item *it)
{
    struct rep_peer_info peers[FENCE_PEERS_MAX];
    size_t n = rep_peers(p->c->node->rep, peers, FENCE_PEERS_MAX);
    struct err err;

    for (size_t i = 0; i < n; i++) {
        if (str_eq(peers[i].name, it->executor) &&
            rep_transfer(p->c->node->rep, peers[i].id, &err) != 0) {
            lg_warn("ctl", "msg=\"transfer to %s: %s\"", it->executor, err.msg);
        }
    }
}

static void power_on(struct pass *p, const struct decide_item *it)
{
    const struct ctl_obj *o = ctl_find(p->c, "hosts", it->host);
    const json_t *levels = o == NULL ? NULL : jget(o->json, "spec.fencing");
    const json_t *names = jget(json_array_get(levels, it->level), "devices");

    fence_host_memory(p, it->host)->powered_inc = it->incarnation;
    for (size_t i = 0; i < json_array_size(names); i++) {
        const char *device = json_string_value(json_array_get(names, i));

        if (device != NULL) {
            executor_power_on(p->c->node->exec, it->host, device);
        }
    }
}

static void carry_out(struct pass *p, const struct decide_item *it)
{
    struct cmd c = { .op = CMD_NONE };
    struct err err;

    c.safety.incarnation = it->incarnation;
    c.safety.fencing = it->fencing;
    c.safety.attempt = it->attempt;
    c.safety.reason = it->why;
    c.safety.host = it->host;
    switch (it->kind) {
    case DECIDE_TRANSFER_LEADERSHIP:
        transfer(p, it);
        return;
    case DECIDE_MARK_LOST:
        lease_table_lost(p->c->node->leases, it->host);
        c.op = CMD_LOST;
        break;
    case DECIDE_REPRIEVE:
        lease_table_reprieve(p->c->node->leases, it->host);
        c.op = CMD_REPRIEVE;
        break;
    case DECIDE_FENCE_OPEN:
    case DECIDE_FENCE_REOPEN:
        c.op = CMD_FENCE_OPEN;
        if (fence_levels(p->c->node, it->host, &p->a, &c.safety, &err) != 0) {
            lg_warn("ctl", "host=%s msg=\"%s\"", it->host, err.msg);
            return;
        }
        break;
    case DECIDE_FENCE_ATTEMPT:
        c.op = CMD_FENCE_ATTEMPT;
        c.safety.level = it->level;
        c.safety.executor = it->executor;
        break;
    case DECIDE_VETO:
        c.op = CMD_FENCE_VETO;
        c.safety.life_sign = str_eq(it->reason, "MisWired");
        break;
    case DECIDE_PROOF:
        c.op = CMD_PROOF;
        c.safety.proof = (enum proof_kind)it->proof;
        c.safety.elapsed_ms = it->elapsed_ms;
        if (it->proof == DECIDE_PROOF_SCSI) {
            fence_proof_locks(p, it, &c.safety);
        }
        break;
    case DECIDE_WATCHDOG_WAIT:
        c.op = CMD_WATCHDOG_WAIT;
        break;
    case DECIDE_POWER_ON:
        power_on(p, it);
        return;
    case DECIDE_HOLD:
    case DECIDE_WAIT:
        return;
    }
    lg_info("ctl", "host=%s incarnation=%" PRIu64 " do=%s why=\"%s\"", it->host, it->incarnation,
            decide_kind_name(it->kind), it->why);
    ctl_submit(p->c, &c);
}

void ctl_fence_pass(struct pass *p)
{
    struct fence_facts *fa = ARENA_NEW(&p->a, struct fence_facts);
    struct decide_plan plan;

    fence_facts_make(fa, p);
    decide_plan(&fa->f, &p->a, &plan);
    for (size_t i = 0; i < plan.n_items; i++) {
        carry_out(p, &plan.items[i]);
    }
    pass_recheck(p, plan.recheck_at_ms);
    fence_record_tests(fa);
    ctl_host_pass(p, &plan);
    for (size_t i = 0; i < plan.n_items; i++) {
        if (plan.items[i].kind == DECIDE_PROOF && plan.items[i].proof != DECIDE_PROOF_SCSI) {
            pass_proved(p, plan.items[i].host);
        }
    }
}
