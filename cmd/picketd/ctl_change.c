/* Changes and commands of a pass. */

#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/obj.h"
#include "base/str.h"
#include "cmd/picketd/ctl_priv.h"

#define REFUSED_MS 50U /* a full disk answers at once, and would be asked without end */
#define BATCH_MIN 8U

bool pass_full(const struct pass *p)
{
    return p->n_changes >= p->c->batch_max || p->bytes >= PASS_BYTES_MAX;
}

/* `cause` is looked at again when the transaction fails. */
static struct change *pass_change(struct pass *p, const struct kind *k, const char *name,
                                  const struct ctl_obj *cause)
{
    struct change *ch;

    for (size_t i = 0; i < p->n_changes; i++) {
        ch = &p->changes[i];
        if (ch->k == k && str_eq(ch->name, name)) {
            p->more = true; /* one change per object and pass: the rest in the next one */
            return NULL;
        }
    }
    if (p->n_changes == PASS_CHANGES_MAX) {
        p->more = true;
        return NULL;
    }
    p->causes[p->n_changes] = cause;
    ch = &p->changes[p->n_changes++];
    *ch = (struct change){ .k = k };
    (void)str_copy(ch->name, sizeof(ch->name), name);
    return ch;
}

/* A change that found no place is decided again. */
static void later(struct pass *p, const struct ctl_obj *cause)
{
    struct ctl_obj *o = world_find(p->c->world, cause->k, cause->name);

    if (o != NULL) {
        ctl_mark(p->c, o);
    }
}

void pass_update(struct pass *p, const struct ctl_obj *o, json_t *next)
{
    struct change *ch;

    if (json_equal(o->json, next)) {
        json_decref(next);
        return;
    }
    ch = pass_change(p, o->k, o->name, o);
    if (ch == NULL) {
        later(p, o);
        json_decref(next);
        return;
    }
    p->bytes += o->size + 1024;
    ch->old_rev = o->rev;
    ch->stored = next;
    ch->result = CHANGE_CONFIGURED;
}

void pass_create(struct pass *p, const struct kind *k, const char *name, json_t *obj,
                 const struct ctl_obj *cause)
{
    struct change *ch = pass_change(p, k, name, cause);

    if (ch == NULL) {
        later(p, cause);
        json_decref(obj);
        return;
    }
    p->bytes += 2048;
    ch->stored = obj;
    ch->result = CHANGE_CREATED;
}

void pass_delete(struct pass *p, const struct ctl_obj *o)
{
    struct change *ch = pass_change(p, o->k, o->name, o);

    if (ch != NULL) {
        ch->old_rev = o->rev;
        ch->result = CHANGE_DELETED;
    } else {
        later(p, o);
    }
}

/* --- commands ----------------------------------------------------------------------------------
 */

static void answered(void *data, const struct err *err, const struct cmd_answer *ans)
{
    struct controller *c = data;

    (void)ans;
    CHECK(c->inflight > 0);
    c->inflight--;
    c->dirty = true;
    if (err != NULL && err->code != ERR_CONFLICT) {
        c->refused_ms = clock_now_ms() + REFUSED_MS;
        lg_debug("ctl", "msg=\"%s\"", err->msg);
    }
    (void)uv_async_send(&c->wake);
}

/* One user's write makes the whole transaction fail: then smaller ones, so that a storm of writes
 * does not keep everybody else's status from being written. */
static void batch_answered(void *data, const struct err *err, const struct cmd_answer *ans)
{
    struct controller *c = data;

    if (err != NULL) {
        ctl_mark_batch(c);
        c->batch_max = c->batch_max / 2 < BATCH_MIN ? BATCH_MIN : c->batch_max / 2;
    } else if (c->batch_max < PASS_CHANGES_MAX) {
        c->batch_max = c->batch_max * 2 > PASS_CHANGES_MAX ? PASS_CHANGES_MAX : c->batch_max * 2;
    }
    c->n_batch = 0;
    answered(data, err, ans);
}

void ctl_submit(struct controller *c, struct cmd *cmd)
{
    cmd->actor =
        (struct actor){ .role = ACTOR_CONTROLLER, .name = c->node->opts.name, .term = c->term };
    c->inflight++;
    node_submit(c->node, cmd, false, answered, c);
}

/* The store has noted the boots that may never come back (safety.h: s/boot/): without that note the
 * proof was refused, and what counts on it is decided anew. */
static size_t proved_cmps(struct pass *p, struct txn_cmp *out)
{
    for (size_t i = 0; i < p->n_proved; i++) {
        const struct s_inc *inc = &p->proved[i];
        const char *key = arena_printf(&p->a, "s/boot/%s/%s", inc->host_uid, inc->boot_id);

        out[i] = (struct txn_cmp){ .target = CMP_VERSION,
                                   .result = CMP_GREATER,
                                   .key = { .p = (const uint8_t *)key, .n = strlen(key) } };
    }
    return p->n_proved;
}

void pass_submit(struct pass *p)
{
    struct controller *c = p->c;
    struct actor actor = { .role = ACTOR_CONTROLLER, .name = c->node->opts.name, .term = c->term };
    struct txn_cmp cmps[PASS_PROVED_MAX];

    if (p->n_changes > 0) {
        c->n_batch = p->n_changes;
        for (size_t i = 0; i < p->n_changes; i++) {
            c->batch[i].k = p->causes[i]->k;
            (void)str_copy(c->batch[i].name, sizeof(c->batch[i].name), p->causes[i]->name);
        }
        c->inflight++;
        change_submit_if(c->node, p->changes, p->n_changes, &actor, cmps, proved_cmps(p, cmps),
                         batch_answered, c);
    }
    for (size_t i = 0; i < p->n_changes; i++) {
        change_done(&p->changes[i]);
    }
}
