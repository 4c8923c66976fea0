/* What the newest run of placement says of single machines. */

#include "base/obj.h"
#include "base/str.h"
#include "cmd/picketd/ctl_place.h"

#define TEXT_HOSTS 8U /* named in a message */

/* It stays on a host that is drained, since it fits nowhere else, and the drain is over. */
static bool drain_stops(const struct vm_places *s, uint32_t vm)
{
    const struct place_result *r = &s->plan.vms[vm];
    const struct place_vm *v = &s->vms[vm];

    return r->host != PLACE_NONE && s->stops[r->host] && r->host == v->current && v->held &&
           !v->hold && r->action != PLACE_STOP && v->migrating_to == PLACE_NONE &&
           s->targets[vm] == NULL;
}

static uint32_t assigned_of(const struct vm_places *s, uint32_t vm)
{
    const struct place_result *r = &s->plan.vms[vm];
    uint32_t host = r->host;

    if (r->action == PLACE_STOP || drain_stops(s, vm)) {
        host = PLACE_NONE;
    }
    if (s->vms[vm].wanted && s->targets[vm] != NULL) {
        host = places_host(s, s->targets[vm]);
    }
    return host;
}

static struct vm_place place_of(const struct vm_places *s, uint32_t vm)
{
    const struct place_result *r = &s->plan.vms[vm];
    uint32_t host = assigned_of(s, vm);

    if (s->settling && s->vms[vm].current == PLACE_NONE && host != PLACE_NONE) {
        return (struct vm_place){
            .host = "",
            .reason = "Settling",
            .message = "hosts that have just registered are still telling their capacity"
        };
    }
    if (drain_stops(s, vm)) {
        return (struct vm_place){
            .host = "",
            .reason = "DrainTimedOut",
            .message = "it could not leave its host within spec.drainTimeout and is stopped "
                       "(spec.onDrainTimeout: Stop)"
        };
    }
    return (struct vm_place){ .host = host == PLACE_NONE ? "" : s->hosts[host].name,
                              .reason = place_reason_name(r->reason),
                              .message = r->message };
}

/* "0 of 3 hosts fit, 3 NotEnoughMemory: node1 needs 4Gi, 1Gi free; node2 ..." */
const char *ctl_place_text(const struct controller *c, const char *vm, struct arena *a)
{
    uint32_t i = c->places == NULL ? PLACE_NONE : places_vm(c->places, vm);
    const struct place_result *r = i == PLACE_NONE ? NULL : &c->places->plan.vms[i];
    const char *sep = ": ";
    char *text;

    if (r == NULL) {
        return "";
    }
    text = arena_strdup(a, place_of(c->places, i).message);
    for (size_t k = 0; k < r->n_rejects && k < TEXT_HOSTS; k++) {
        char why[256];

        place_reject_text(&c->places->in, i, &r->rejects[k], why, sizeof(why));
        text =
            arena_printf(a, "%s%s%s %s", text, sep, c->places->hosts[r->rejects[k].host].name, why);
        sep = "; ";
    }
    if (r->n_rejects > TEXT_HOSTS) {
        text = arena_printf(a, "%s; and %zu more (status.placement.rejected)", text,
                            r->n_rejects - TEXT_HOSTS);
    }
    return text;
}

struct vm_place ctl_place_of(const struct controller *c, const char *vm)
{
    uint32_t i = c->places == NULL ? PLACE_NONE : places_vm(c->places, vm);

    return i == PLACE_NONE ? (struct vm_place){ .host = "", .reason = "", .message = "" }
                           : place_of(c->places, i);
}

bool ctl_place_moves(const struct controller *c, const char *vm)
{
    uint32_t i = c->places == NULL ? PLACE_NONE : places_vm(c->places, vm);
    const struct place_result *r = i == PLACE_NONE ? NULL : &c->places->plan.vms[i];

    return r != NULL && (r->action == PLACE_MIGRATE || r->reason == PLACE_MIGRATING);
}

json_t *ctl_place_rejected(const struct controller *c, const char *vm)
{
    uint32_t i = c->places == NULL ? PLACE_NONE : places_vm(c->places, vm);
    const struct place_result *r = i == PLACE_NONE ? NULL : &c->places->plan.vms[i];
    json_t *list = json_array();

    for (size_t k = 0; r != NULL && k < r->n_rejects; k++) {
        char text[256];

        place_reject_text(&c->places->in, i, &r->rejects[k], text, sizeof(text));
        (void)json_array_append_new(
            list, json_pack("{s:s, s:s, s:s}", "host", c->places->hosts[r->rejects[k].host].name,
                            "reason", place_reason_name(r->rejects[k].reason), "message", text));
    }
    return list;
}

/* What was decided for one machine, as a sum. */
uint64_t places_sum(const struct vm_places *s, uint32_t vm)
{
    const struct place_result *r = &s->plan.vms[vm];
    struct vm_place pl = place_of(s, vm);
    uint64_t sum = sum_str(0, pl.host);

    sum = sum_str(sum, pl.reason);
    sum = sum_str(sum, pl.message);
    for (size_t i = 0; i < r->n_rejects; i++) {
        const struct place_reject *x = &r->rejects[i];
        char text[256] = "";

        if (s->hosts[x->host].why != NULL || x->ref != PLACE_NONE || x->vm != PLACE_NONE) {
            place_reject_text(&s->in, vm, x, text, sizeof(text)); /* with texts of others */
        }
        sum = sum_str(sum, s->hosts[x->host].name);
        sum = sum_u64(sum, (uint64_t)x->reason);
        sum = sum_u64(sum, x->need);
        sum = sum_u64(sum, x->free);
        sum = sum_str(sum, text);
    }
    return sum;
}
