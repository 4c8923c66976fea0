#include <stdio.h>
#include <string.h>

#include "base/obj.h"
#include "base/str.h"
#include "reconciler/place_priv.h"

/* Words for people: rejections, summaries, and a whole plan (for `picket plan`, logs, goldens). */

static const char *const reason_names[] = {
#define REASON_NAME(name, text) [name] = (text),
    PLACE_REASON_TABLE(REASON_NAME)
#undef REASON_NAME
};

const char *place_reason_name(enum place_reason r)
{
    CHECK((size_t)r < ARRAY_LEN(reason_names));
    return reason_names[r];
}

static const char *state_name(const struct place_host *h)
{
    switch (h->state) {
    case PLACE_HOST_READY:
        return "Ready";
    case PLACE_HOST_CORDONED:
        return "Cordoned";
    case PLACE_HOST_MAINTENANCE:
        return "Maintenance";
    case PLACE_HOST_SUSPECT:
        return "Suspect";
    case PLACE_HOST_DOWN:
        return "Down";
    default:
        CHECK_UNREACHABLE();
    }
}

void place_size_text(uint64_t bytes, char *dst, size_t size)
{
    static const char *const units[] = { "", "Ki", "Mi", "Gi", "Ti", "Pi", "Ei" };
    unsigned u = 0;

    while (u + 1 < ARRAY_LEN(units) && bytes >> (10 * (u + 1)) != 0) {
        u++;
    }
    if (u == 0 || (bytes & ((UINT64_C(1) << (10 * u)) - 1)) == 0) {
        (void)snprintf(dst, size, "%llu%s", (unsigned long long)(bytes >> (10 * u)), units[u]);
        return;
    }
    (void)snprintf(dst, size, "%llu.%llu%s", (unsigned long long)(bytes >> (10 * u)),
                   (unsigned long long)(((bytes >> (10 * (u - 1))) & 1023) * 10 / 1024), units[u]);
}

/* Where rounding would hide why something does not fit, exact numbers. */
static void memory_text(const struct place_host *h, const struct place_reject *r, char *dst,
                        size_t size)
{
    char need[24], free[24], total[24];

    place_size_text(r->need, need, sizeof(need));
    place_size_text(r->free, free, sizeof(free));
    place_size_text(h->memory, total, sizeof(total));
    if (strcmp(need, free) == 0) {
        str_format_size(r->need, need, sizeof(need));
        str_format_size(r->free, free, sizeof(free));
    }
    (void)snprintf(dst, size, "needs %s, %s free of %s", need, free, total);
}

static void rule_text(const struct place_input *in, const struct place_reject *r, char *dst,
                      size_t size)
{
    const struct place_rule *rule = &in->rules[r->ref];
    const char *who = r->vm == PLACE_NONE ? "another member" : in->vms[r->vm].name;
    const char *where = rule->topology == NULL ? "host" : rule->topology;

    if (rule->type == PLACE_APART) {
        (void)snprintf(dst, size, "PlacementRule %s: %s is on the same %s", rule->name, who, where);
    } else {
        (void)snprintf(dst, size, "PlacementRule %s: %s is on another %s", rule->name, who, where);
    }
}

static const char *lack_why(const struct place_host *h, uint32_t resource)
{
    for (size_t i = 0; i < h->n_lacks; i++) {
        if (h->lacks[i].resource == resource) {
            return h->lacks[i].why;
        }
    }
    return NULL;
}

static void with_why(char *dst, size_t size, const char *what, const char *why)
{
    (void)snprintf(dst, size, "%s%s%s", what, why == NULL ? "" : ": ", why == NULL ? "" : why);
}

static void selector_text(const struct place_vm *v, char *dst, size_t size)
{
    size_t n = (size_t)snprintf(dst, size, "hostSelector wants");

    for (size_t i = 0; i < v->n_selector && n < size; i++) {
        n += (size_t)snprintf(dst + n, size - n, "%s %s=%s", i == 0 ? "" : ",", v->selector[i].key,
                              v->selector[i].value);
    }
}

static void lack_text(const struct place_input *in, const struct place_reject *r, char *dst,
                      size_t size)
{
    const char *why = lack_why(&in->hosts[r->host], r->ref);

    (void)snprintf(dst, size, "lacks %s%s%s", in->resources[r->ref], why == NULL ? "" : ": ",
                   why == NULL ? "" : why);
}

void place_reject_text(const struct place_input *in, uint32_t vm, const struct place_reject *r,
                       char *dst, size_t size)
{
    const struct place_host *h = &in->hosts[r->host];
    const struct place_vm *v = &in->vms[vm];

    switch ((int)r->reason) {
    case PLACE_R_NOT_READY:
        with_why(dst, size, h->state == PLACE_HOST_SUSPECT ? "not fenced yet" : "not Ready",
                 h->why);
        return;
    case PLACE_R_CORDONED:
        with_why(dst, size, "unschedulable", h->why);
        return;
    case PLACE_R_MAINTENANCE:
        with_why(dst, size, "in maintenance", h->why);
        return;
    case PLACE_R_HOSTS:
        (void)str_copy(dst, size, "not in spec.placement.hosts");
        return;
    case PLACE_R_NOT_HOSTS:
        (void)str_copy(dst, size, "in spec.placement.notHosts");
        return;
    case PLACE_R_SELECTOR:
        selector_text(v, dst, size);
        return;
    case PLACE_R_RULE_ON:
        (void)snprintf(dst, size, "PlacementRule %s: not one of its hosts", in->rules[r->ref].name);
        return;
    case PLACE_R_RULE_NOT_ON:
        (void)snprintf(dst, size, "PlacementRule %s: not on this host", in->rules[r->ref].name);
        return;
    case PLACE_R_RULE_TOGETHER:
    case PLACE_R_RULE_APART:
        rule_text(in, r, dst, size);
        return;
    case PLACE_R_LACKS:
        lack_text(in, r, dst, size);
        return;
    case PLACE_R_AVOID:
        with_why(dst, size, "could not be started there", v->avoid[r->ref].why);
        return;
    case PLACE_R_MEMORY:
        memory_text(h, r, dst, size);
        return;
    case PLACE_R_CPU:
        (void)snprintf(dst, size, "needs %llu vCPUs, %llu free of %llu (%u CPUs at %u%%)",
                       (unsigned long long)r->need, (unsigned long long)r->free,
                       (unsigned long long)h->cpus * in->policy.cpu_percent / 100, h->cpus,
                       in->policy.cpu_percent);
        return;
    case PLACE_R_GROUP:
        (void)str_copy(dst, size, "it would fit, but not with those it must be together with");
        return;
    case PLACE_R_FAILED:
        (void)str_copy(dst, size, "assumed to have failed");
        return;
    default:
        CHECK_UNREACHABLE();
    }
}

/* "0 of 3 hosts fit: 2 NotEnoughMemory, 1 Cordoned" */
const char *place_summary(struct place_ctx *c, const struct place_reject *r, size_t n,
                          enum place_reason *ret)
{
    size_t counts[ARRAY_LEN(reason_names)] = { 0 };
    const char *text;
    const char *sep = ": ";

    for (size_t i = 0; i < n; i++) {
        counts[r[i].reason]++;
    }
    *ret = counts[PLACE_R_MEMORY] + counts[PLACE_R_CPU] > 0 ? PLACE_NO_CAPACITY
                                                            : PLACE_NO_SUITABLE_HOST;
    if (n == 0) {
        return c->n_hosts == 0 ? "no host is declared" : "there is no other host";
    }
    text = arena_printf(c->a, "0 of %zu hosts fit", n);
    for (size_t most = n; most > 0; most--) {
        for (size_t k = 0; k < ARRAY_LEN(counts); k++) {
            if (counts[k] == most) {
                text = arena_printf(c->a, "%s%s%zu %s", text, sep, most, reason_names[k]);
                sep = ", ";
            }
        }
    }
    return text;
}

const char *place_pick_text(struct place_ctx *c, const struct place_pick *p)
{
    unsigned percent = (unsigned)((p->memory * 100) >> 20);

    if (p->n_fit == 1) {
        return "the only host that fits";
    }
    if (p->by_group) {
        return arena_printf(c->a, "where all it must be together with fits too (%u fit it alone)",
                            p->n_fit);
    }
    if (p->by_prefer) {
        return arena_printf(c->a, "preferred by rules among %u that fit (score %lld)", p->n_fit,
                            (long long)p->prefer);
    }
    return arena_printf(c->a, "the %s of %u that fit: %u%% of its memory stays free",
                        c->in->policy.strategy == PLACE_SPREAD ? "emptiest" : "fullest", p->n_fit,
                        percent);
}

/* ---- a whole plan ---- */

static void format_hosts(const struct place_plan *p, const struct place_load *load, struct buf *out)
{
    for (size_t i = 0; i < p->in->n_hosts; i++) {
        const struct place_host *h = &p->in->hosts[p->host_order[i]];
        const struct place_load *l = &load[p->host_order[i]];
        bool failed = p->failed != NULL && p->failed[p->host_order[i]] && load == p->after;
        char used[24], total[24];

        place_size_text(l->memory, used, sizeof(used));
        place_size_text(h->memory, total, sizeof(total));
        buf_printf(out, "  %-16s %-12s memory %s of %s, vCPUs %llu on %u CPUs\n", h->name,
                   failed ? "Failed" : state_name(h), used, total, (unsigned long long)l->vcpus,
                   h->cpus);
    }
}

static bool is_boring(const struct place_result *r)
{
    return r->reason == PLACE_KEPT || r->reason == PLACE_NOT_WANTED || r->reason == PLACE_HELD;
}

static void format_what(const struct place_plan *p, uint32_t vm, struct buf *out)
{
    const struct place_result *r = &p->vms[vm];
    const char *host = r->host == PLACE_NONE ? "" : p->in->hosts[r->host].name;
    const char *target = r->target == PLACE_NONE ? "" : p->in->hosts[r->target].name;

    if (r->action == PLACE_MIGRATE) {
        buf_printf(out, "migrate %s -> %s", host, target);
    } else if (r->action == PLACE_STOP) {
        buf_printf(out, "stop on %s", p->in->hosts[p->in->vms[vm].current].name);
    } else if (r->reason == PLACE_ASSIGNED) {
        buf_printf(out, "start on %s", host);
    } else if (r->reason == PLACE_NOT_WANTED) {
        buf_add_str(out, "none");
    } else if (r->host == PLACE_NONE) {
        buf_add_str(out, "nowhere");
    } else {
        buf_printf(out, "stay on %s", host);
    }
}

static void format_vm(const struct place_plan *p, uint32_t vm, struct buf *out)
{
    const struct place_result *r = &p->vms[vm];
    char text[512];

    buf_printf(out, "  %s: ", p->in->vms[vm].name);
    format_what(p, vm, out);
    buf_printf(out, "  # %s: %s\n", place_reason_name(r->reason), r->message);
    for (size_t i = 0; i < r->n_rejects; i++) {
        place_reject_text(p->in, vm, &r->rejects[i], text, sizeof(text));
        buf_printf(out, "    not %s: %s: %s\n", p->in->hosts[r->rejects[i].host].name,
                   place_reason_name(r->rejects[i].reason), text);
    }
}

void place_format(const struct place_plan *plan, bool all, struct buf *out)
{
    size_t quiet = 0;

    buf_add_str(out, "before\n");
    format_hosts(plan, plan->before, out);
    buf_add_str(out, "because\n");
    for (size_t i = 0; i < plan->in->n_vms; i++) {
        uint32_t vm = plan->order[i];

        if (!all && is_boring(&plan->vms[vm])) {
            quiet++;
        } else {
            format_vm(plan, vm, out);
        }
    }
    if (quiet > 0) {
        buf_printf(out, "  (%zu unchanged)\n", quiet);
    }
    buf_add_str(out, "after\n");
    format_hosts(plan, plan->after, out);
}
