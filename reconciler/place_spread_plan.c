#include <string.h>

#include "base/obj.h"
#include "base/str.h"
#include "reconciler/place_priv.h"

/* spec.placement.spreadBy: each group of virtual machines becomes a preferred Apart rule. */

static int cmp_text(const char *x, const char *y)
{
    return strcmp(x == NULL ? "" : x, y == NULL ? "" : y);
}

static int cmp_spread(const struct place_ctx *c, uint32_t x, uint32_t y)
{
    const struct place_vm *p = &c->in->vms[x];
    const struct place_vm *q = &c->in->vms[y];
    int d = cmp_text(p->spread_by, q->spread_by);

    return d != 0 ? d : cmp_text(p->spread_key, q->spread_key);
}

/* Those with spread_by, sorted so that groups are runs. */
static uint32_t *list_spread(const struct place_input *in, struct arena *a, size_t *ret_n)
{
    const struct place_ctx c = { .in = in };
    uint32_t *list, *scratch;
    size_t n = 0;

    for (size_t i = 0; i < in->n_vms; i++) {
        n += in->vms[i].spread_by != NULL;
    }
    list = ARENA_ARRAY(a, uint32_t, n);
    scratch = ARENA_ARRAY(a, uint32_t, n);
    *ret_n = 0;
    for (uint32_t i = 0; i < in->n_vms; i++) {
        if (in->vms[i].spread_by != NULL) {
            list[(*ret_n)++] = i;
        }
    }
    place_sort(&c, list, n, scratch, cmp_spread);
    return list;
}

static struct place_rule spread_rule(const struct place_vm *v, struct arena *a, const uint32_t *vms,
                                     size_t n)
{
    return (struct place_rule){
        /* '/' is in no object's name, so that this is nobody else's */
        .name = arena_printf(a, "spreadBy/%s/%s", v->spread_by,
                             v->spread_key == NULL ? "" : v->spread_key),
        .type = PLACE_APART,
        .weight = 1,
        .topology = v->spread_by,
        .vms = vms,
        .n_vms = n,
    };
}

const struct place_input *place_with_spread(const struct place_input *in, struct arena *a)
{
    const struct place_ctx c = { .in = in };
    struct place_input *out;
    struct place_rule *rules;
    size_t n, begin = 0;
    uint32_t *list = list_spread(in, a, &n);

    if (n == 0) {
        return in;
    }
    rules = ARENA_ARRAY(a, struct place_rule, in->n_rules + n);
    if (in->n_rules > 0) {
        memcpy(rules, in->rules, in->n_rules * sizeof(*rules));
    }
    out = ARENA_NEW(a, struct place_input);
    *out = *in;
    out->rules = rules;
    for (size_t i = 1; i <= n; i++) {
        if (i == n || cmp_spread(&c, list[begin], list[i]) != 0) {
            rules[out->n_rules++] = spread_rule(&in->vms[list[begin]], a, list + begin, i - begin);
            begin = i;
        }
    }
    return out;
}
