#include "cmd/picketd/capacity.h"

#include <stdlib.h>
#include <string.h>

#include "api/valid.h"
#include "base/obj.h"
#include "base/str.h"
#include "cmd/picketd/ctl_place.h"
#include "cmd/picketd/macs.h"
#include "reconciler/place.h"

#define CAPACITY_MS 1000U
#define BUDGET 200000U /* host checks for more than one failure at once: some 10 ms */

struct verdict {
    enum place_verdict verdict;
    uint64_t left_memory;
    size_t n_left;
    char *text; /* which hosts, which machines */
    char *failed;
    bool known; /* at least two hosts with a capacity */
};

static char *names_of(const struct place_input *in, const uint32_t *list, size_t n, bool hosts)
{
    struct buf b = { 0 };

    for (size_t i = 0; i < n && i < 8; i++) {
        buf_printf(&b, "%s%s", i == 0 ? "" : ", ",
                   hosts ? in->hosts[list[i]].name : in->vms[list[i]].name);
    }
    if (n > 8) {
        buf_printf(&b, " and %zu more", n - 8);
    }
    return buf_take(&b, NULL);
}

static uint32_t wanted_failures(const struct pass *p)
{
    return (uint32_t)jget_int(p->cluster, "spec.capacity.tolerateHostFailures", 1);
}

static void ask(struct pass *p, struct verdict *ret)
{
    struct vm_places *s = places_facts(p);
    const struct place_input *in = &s->in;
    struct place_capacity cap;
    size_t able = 0;
    char *left;

    for (size_t i = 0; i < in->n_hosts; i++) {
        able += in->hosts[i].state == PLACE_HOST_READY && in->hosts[i].memory > 0;
    }
    *ret = (struct verdict){ .known = able >= 2 };
    if (!ret->known) {
        places_free(s);
        return;
    }
    place_capacity(in, wanted_failures(p), BUDGET, &p->a, &cap);
    ret->verdict = cap.verdict;
    ret->left_memory = cap.left_memory;
    ret->n_left = cap.n_left;
    ret->failed = names_of(in, cap.failed, cap.n_failed, true);
    left = names_of(in, cap.left, cap.n_left, false);
    ret->text = cap.verdict == PLACE_REFUTED
                    ? mem_printf("if %s failed, no room would be left for %s", ret->failed, left)
                    : mem_strdup(cap.message);
    free(left);
    places_free(s);
}

static void verdict_done(struct verdict *v)
{
    free(v->text);
    free(v->failed);
}

/* --- admission ---------------------------------------------------------------------------------
 */

static bool matters(const struct kind *k)
{
    return str_eq(k->name, "VirtualMachine") || str_eq(k->name, "Host") ||
           str_eq(k->name, "Cluster") || str_eq(k->name, "PlacementRule");
}

static bool any_matters(const struct change *changes, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        if (matters(changes[i].k) && changes[i].result != CHANGE_UNCHANGED) {
            return true;
        }
    }
    return false;
}

/* Only what makes it worse is refused: asked when there is something to refuse. */
static bool worse_than_before(struct node *n, const struct verdict *after)
{
    struct pass *p = pass_what_if(n, NULL, 0);
    struct verdict before;
    bool worse;

    ask(p, &before);
    pass_what_if_done(p);
    worse = before.verdict != PLACE_REFUTED || after->left_memory > before.left_memory;
    verdict_done(&before);
    return worse;
}

static int judge(const struct pass *p, const struct verdict *after, struct problems *problems,
                 struct err *err)
{
    const char *mode = jget_str(p->cluster, "spec.capacity.onOvercommit", "Warn");

    if (!after->known || after->verdict != PLACE_REFUTED || str_eq(mode, "Ignore") ||
        !worse_than_before(p->c->node, after)) {
        return 0;
    }
    if (str_eq(mode, "Reject")) {
        return err_set(
            err, ERR_INVALID,
            "not enough capacity for %u host failure%s: %s (add memory or hosts, make a VM "
            "smaller or BestEffort, or set Cluster.spec.capacity.onOvercommit: Warn)",
            wanted_failures(p), wanted_failures(p) == 1 ? "" : "s", after->text);
    }
    problem_warn(problems, "capacity", "%s", after->text);
    return 0;
}

int capacity_admit(struct node *n, const struct change *changes, size_t count,
                   struct problems *problems, struct err *err)
{
    struct verdict after;
    struct pass *p;
    int rc;

    if (!any_matters(changes, count)) {
        return 0;
    }
    if (macs_admit(n, changes, count, err) != 0) {
        return err->code;
    }
    p = pass_what_if(n, changes, count);
    ask(p, &after);
    rc = judge(p, &after, problems, err);
    pass_what_if_done(p);
    verdict_done(&after);
    return rc;
}

/* --- plan --------------------------------------------------------------------------------------
 */

int capacity_plan(struct node *n, const char *const *hosts, size_t count, struct buf *out,
                  struct err *err)
{
    struct pass *p = pass_what_if(n, NULL, 0);
    struct vm_places *s = places_facts(p);
    const struct place_input *in = &s->in;
    uint32_t *failed = ARENA_ARRAY(&p->a, uint32_t, count + 1);
    struct place_plan plan;
    int rc = 0;

    for (size_t i = 0; i < count && rc == 0; i++) {
        failed[i] = PLACE_NONE;
        for (uint32_t h = 0; h < in->n_hosts; h++) {
            failed[i] = str_eq(in->hosts[h].name, hosts[i]) ? h : failed[i];
        }
        if (failed[i] == PLACE_NONE) {
            rc = err_set(err, ERR_INVALID, "there is no host \"%.100s\"", hosts[i]);
        }
    }
    if (rc == 0) {
        place_fail_plan(in, failed, count, &p->a, &plan);
        place_format(&plan, true, out);
    }
    places_free(s);
    pass_what_if_done(p);
    return rc;
}

/* --- status ------------------------------------------------------------------------------------
 */

void capacity_status(struct pass *p, json_t *cluster)
{
    struct controller *c = p->c;
    struct verdict v;

    if (!c->capacity_dirty) {
        return;
    }
    if (p->now_ms < c->capacity_ms) { /* the proof is dear: not for each of many changes */
        pass_recheck(p, c->capacity_ms);
        return;
    }
    c->capacity_dirty = false;
    c->capacity_ms = p->now_ms + CAPACITY_MS;
    ask(p, &v);
    if (!v.known) {
        (void)cond_set(cluster, "CapacityProtected", "Unknown", "HostsUnknown",
                       "fewer than two hosts have told their capacity", p->wall_ms);
        return;
    }
    (void)cond_set(cluster, "CapacityProtected",
                   v.verdict == PLACE_PROVED    ? "True"
                   : v.verdict == PLACE_REFUTED ? "False"
                                                : "Unknown",
                   place_verdict_name(v.verdict), v.text, p->wall_ms);
    jset(cluster, "status.capacity.proof", json_string(place_verdict_name(v.verdict)));
    jset(cluster, "status.capacity.message", json_string(v.text));
    verdict_done(&v);
}
