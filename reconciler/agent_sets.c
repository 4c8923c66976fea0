#include <stdlib.h>

#include "base/log.h"
#include "base/obj.h"
#include "base/str.h"
#include "reconciler/agent_priv.h"

/* Acquires and releases of one moment travel together.
 *
 * After a takeover fifty machines ask for their locks at once.  Each set (the locks of one machine)
 * stays a command of its own, taken or refused whole; but all sets of a turn of the loop go in one
 * request, and picketd puts them into one log entry.  While SETS_FLYING requests are under way,
 * what comes gathers for the next one. */

#define SETS_MAX 128U  /* in one request */
#define SETS_FLYING 4U /* requests of one operation */
#define SETS_MS 5000U  /* of a request */

struct agent_set {
    STAILQ_ENTRY(agent_set) entry;
    json_t *json;
    uint64_t incarnation, epoch; /* in which it was asked for */
    agent_set_cb *cb;
    void *data;
};

struct agent_batch {
    struct agent *a;
    enum agent_set_op op;
    struct agent_sets sets;
    LIST_ENTRY(agent_batch) link;
};

static const char *op_name(enum agent_set_op op)
{
    switch (op) {
    case AGENT_SET_ACQUIRE:
        return "acquire";
    case AGENT_SET_RELEASE:
        return "release";
    case AGENT_SET_OPS:
        break;
    }
    CHECK_UNREACHABLE();
}

static void set_free(struct agent_set *s)
{
    json_decref(s->json);
    free(s);
}

static void list_free(struct agent_sets *list)
{
    struct agent_set *s;

    while ((s = STAILQ_FIRST(list)) != NULL) {
        STAILQ_REMOVE_HEAD(list, entry);
        set_free(s);
    }
}

void agent_sets_init(struct agent *a)
{
    LIST_INIT(&a->batches);
    for (size_t i = 0; i < AGENT_SET_OPS; i++) {
        STAILQ_INIT(&a->sets[i]);
    }
}

void agent_sets_done(struct agent *a)
{
    struct agent_batch *b;

    for (size_t i = 0; i < AGENT_SET_OPS; i++) {
        list_free(&a->sets[i]);
    }
    while ((b = LIST_FIRST(&a->batches)) != NULL) {
        LIST_REMOVE(b, link);
        list_free(&b->sets);
        free(b);
    }
}

/* --- answers -----------------------------------------------------------------------------------
 */

/* One set's part of the answer. */
static void set_answer(struct agent_set *s, const struct err *err, const json_t *answer)
{
    struct err e;

    if (err == NULL && answer == NULL) {
        (void)err_set(&e, ERR_UNKNOWN_OUTCOME, "the answer does not name it");
        err = &e;
    } else if (err == NULL && json_object_get(answer, "error") != NULL) {
        (void)api_error_from_item(answer, &e);
        err = &e;
    }
    s->cb(s->data, err, err == NULL ? answer : NULL);
    set_free(s);
}

static void on_answer(void *data, const struct err *err, json_t *j)
{
    struct agent_batch *b = data;
    struct agent *a = b->a;
    const json_t *answers = json_object_get(j, "sets");
    struct agent_set *s;
    size_t i = 0;

    LIST_REMOVE(b, link);
    CHECK(a->sets_flying[b->op] > 0);
    a->sets_flying[b->op]--;
    if (!STAILQ_EMPTY(&a->sets[b->op])) {
        agent_sets_send(a);
    }
    while ((s = STAILQ_FIRST(&b->sets)) != NULL) {
        STAILQ_REMOVE_HEAD(&b->sets, entry);
        set_answer(s, err, json_array_get(answers, i++));
    }
    free(b);
    agent_wake(a);
}

/* --- sending -----------------------------------------------------------------------------------
 */

/* As many as fit into one request and were asked for by one incarnation. */
static void batch_send(struct agent *a, enum agent_set_op op)
{
    struct agent_batch *b = OBJ_NEW(struct agent_batch);
    const struct agent_set *first = STAILQ_FIRST(&a->sets[op]);
    json_t *list = json_array();
    json_t *body = json_pack("{s:I, s:I}", "incarnation", (json_int_t)first->incarnation, "epoch",
                             (json_int_t)first->epoch);
    struct agent_set *s;

    b->a = a;
    b->op = op;
    STAILQ_INIT(&b->sets);
    LIST_INSERT_HEAD(&a->batches, b, link);
    while ((s = STAILQ_FIRST(&a->sets[op])) != NULL && json_array_size(list) < SETS_MAX &&
           s->incarnation == first->incarnation && s->epoch == first->epoch) {
        STAILQ_REMOVE_HEAD(&a->sets[op], entry);
        STAILQ_INSERT_TAIL(&b->sets, s, entry);
        (void)json_array_append(list, s->json);
    }
    (void)json_object_set_new(body, "sets", list);
    a->sets_flying[op]++;
    /* To acquire again is harmless: it gives newer tokens. */
    (void)agent_post(a, op_name(op), body, op == AGENT_SET_ACQUIRE, SETS_MS, on_answer, b);
}

void agent_sets_send(struct agent *a)
{
    for (size_t op = 0; op < AGENT_SET_OPS && !a->stopping; op++) {
        while (!STAILQ_EMPTY(&a->sets[op]) && a->sets_flying[op] < SETS_FLYING) {
            batch_send(a, (enum agent_set_op)op);
        }
    }
}

static void on_timer(uv_timer_t *t)
{
    agent_sets_send(t->data);
}

void agent_set_add(struct agent *a, enum agent_set_op op, json_t *set, agent_set_cb *cb, void *data)
{
    struct agent_set *s = OBJ_NEW(struct agent_set);

    s->json = set;
    s->incarnation = a->incarnation;
    s->epoch = a->epoch;
    s->cb = cb;
    s->data = data;
    STAILQ_INSERT_TAIL(&a->sets[op], s, entry);
    if (!a->stopping && !uv_is_active((uv_handle_t *)&a->sets_timer)) {
        CHECK(uv_timer_start(&a->sets_timer, on_timer, 0, 0) == 0);
    }
}
