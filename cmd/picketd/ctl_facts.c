#include "cmd/picketd/ctl_facts.h"

#include <stdlib.h>
#include <string.h>

#include "api/valid.h"
#include "base/obj.h"
#include "base/str.h"

#define SUM_START 0xcbf29ce484222325ULL

uint64_t sum_add(uint64_t sum, const void *data, size_t len)
{
    const uint8_t *p = data;

    sum = sum == 0 ? SUM_START : sum;
    for (size_t i = 0; i < len; i++) {
        sum = (sum ^ p[i]) * 0x100000001b3ULL;
    }
    return sum;
}

uint64_t sum_u64(uint64_t sum, uint64_t v)
{
    return sum_add(sum, &v, sizeof(v));
}

uint64_t sum_str(uint64_t sum, const char *s)
{
    return s == NULL ? sum_u64(sum, 1) : sum_add(sum, s, strlen(s) + 1);
}

static uint64_t sum_json(uint64_t sum, const json_t *v)
{
    char *text = v == NULL ? NULL : json_dumps(v, JSON_COMPACT | JSON_SORT_KEYS);

    sum = sum_str(sum, text);
    free(text);
    return sum;
}

bool ctl_vm_wanted(const struct ctl_obj *vm)
{
    return jget(vm->json, "metadata.deletionTimestamp") == NULL &&
           !str_eq(jget_str(vm->json, "spec.runPolicy", "Running"), "Stopped");
}

static enum place_ha ha_of(const char *s)
{
    return str_eq(s, "Never")        ? PLACE_HA_NEVER
           : str_eq(s, "BestEffort") ? PLACE_HA_BEST_EFFORT
                                     : PLACE_HA_RESTART;
}

static void spec_facts(const json_t *obj, struct vm_facts *f)
{
    const json_t *spec = json_object_get(obj, "spec");
    const json_t *place = json_object_get(spec, "placement");

    f->priority = jget_int(spec, "priority", 0);
    f->memory = jget_size(spec, "memory", 0); /* ballooned up only where there is room */
    f->vcpus = (uint32_t)jget_int(spec, "vcpus", 1);
    f->ha = ha_of(jget_str(spec, "ha.policy", "Restart"));
    f->hold = jget_bool(spec, "paused", false);
    f->pinned = str_eq(jget_str(spec, "migration.mode", "Live"), "Never");
    f->failback = jget_str(place, "failback", "");
    f->spread_by = jget_str(place, "spreadBy", NULL);
    f->hosts = json_object_get(place, "hosts");
    f->not_hosts = json_object_get(place, "notHosts");
    f->selector = json_object_get(place, "hostSelector");
    f->after = json_object_get(spec, "startAfter");
    f->disks = json_object_get(spec, "disks");
    f->nics = json_object_get(spec, "nics");
}

static void status_facts(const json_t *obj, struct vm_facts *f)
{
    const json_t *st = json_object_get(obj, "status");
    const json_t *halted = json_object_get(st, "halted");
    const json_t *ready = cond_get(obj, "Ready");
    const char *phase = jget_str(st, "phase", "");

    f->assigned = jget_str(st, "assignedHost", "");
    f->moving_to = jget_str(st, "migration.target", "");
    f->running = str_eq(phase, "Running");
    f->seen = f->running || str_eq(phase, "Paused") || str_eq(phase, "Stopping")
                  ? jget_str(st, "host", "")
                  : "";
    f->ready = f->running && str_eq(jget_str(ready, "status", ""), "True");
    f->halted = halted != NULL && (uint64_t)jget_int(halted, "generation", -1) == f->generation;
    f->avoid = json_object_get(st, "avoid");
}

const struct vm_facts *ctl_vm_facts(struct ctl_obj *vm)
{
    struct vm_facts *f = vm->facts;

    if (f != NULL) {
        return f;
    }
    f = OBJ_NEW(struct vm_facts);
    f->generation = (uint64_t)jget_int(vm->json, "metadata.generation", 0);
    f->labels = jget(vm->json, "metadata.labels");
    f->on = ctl_vm_wanted(vm);
    spec_facts(vm->json, f);
    status_facts(vm->json, f);
    f->labels_sum = sum_json(0, f->labels);
    f->avoid_sum = sum_json(0, f->avoid);
    vm->facts = f;
    return f;
}

static uint64_t missing_refs(const struct world *w, const struct ctl_obj *o)
{
    uint64_t n = 0;

    for (size_t i = 0; i < o->n_refs; i++) {
        const struct world_ref *r = &o->refs[i];

        n += !r->owner && world_find(w, r->k, r->name) == NULL;
    }
    return n;
}

uint64_t ctl_place_key(const struct world *w, struct ctl_obj *vm)
{
    const struct vm_facts *f = ctl_vm_facts(vm);
    const struct s_lock *l = world_lock(w, "virtualmachines", vm->name);
    uint64_t sum = sum_u64(0, f->generation);

    sum = sum_u64(sum, f->labels_sum);
    sum = sum_u64(sum, f->avoid_sum);
    sum = sum_u64(sum, (uint64_t)f->on | (uint64_t)f->halted << 1 | (uint64_t)f->running << 2 |
                           (uint64_t)f->ready << 3 | (uint64_t)(missing_refs(w, vm) != 0) << 4);
    if (l == NULL) {
        return sum_str(sum_str(sum, f->assigned), f->seen);
    }
    sum = sum_u64(sum, l->owner.incarnation);
    sum = sum_u64(sum, l->peer.incarnation);
    sum = sum_str(sum, f->moving_to);
    return sum_u64(sum, l->quarantined ? 2 : 3);
}

bool ctl_place_resource(const struct kind *k)
{
    return str_eq(k->name, "Bridge") || str_eq(k->name, "VolumeGroup") ||
           str_eq(k->name, "SharedFilesystem");
}
