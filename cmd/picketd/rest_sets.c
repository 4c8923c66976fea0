/* The locks of many machines in one request: each set is a command of its own, checked, taken or
 * refused by itself; all of them are submitted at once, so that one log entry carries them. */

#include <stdlib.h>

#include "api/json_path.h"
#include "base/obj.h"
#include "cmd/picketd/rest_ops.h"

#define SETS_MAX 256U

struct set_one {
    struct set_all *all;
    size_t index;
};

struct set_all {
    struct rest *r;
    size_t n, open;
    json_t **answers;
    uint64_t revision;
    struct set_one *ones;
};

static void all_answer(struct set_all *s)
{
    json_t *list = json_array();

    for (size_t i = 0; i < s->n; i++) {
        (void)json_array_append_new(list, s->answers[i]);
    }
    rest_json(s->r, 200,
              json_pack("{s:o, s:I}", "sets", list, "revision", (json_int_t)s->revision));
    free(s->answers);
    free(s->ones);
    free(s);
}

static json_t *error_item(const struct err *err)
{
    return json_pack("{s:s, s:o}", "error", err_name(err->code), "message",
                     json_string_lossy(err->msg));
}

static json_t *tokens_item(const struct cmd_answer *ans)
{
    json_t *tokens = json_array();

    for (size_t i = 0; i < ans->n_values; i++) {
        (void)json_array_append_new(tokens, json_integer((json_int_t)ans->values[i]));
    }
    return json_pack("{s:o}", "tokens", tokens);
}

static void one_over(struct set_all *s, size_t index, json_t *answer)
{
    CHECK(s->answers[index] == NULL && s->open > 0);
    s->answers[index] = answer;
    if (--s->open == 0) {
        all_answer(s);
    }
}

static void one_done(void *data, const struct err *err, const struct cmd_answer *ans)
{
    const struct set_one *o = data;
    struct set_all *s = o->all;

    if (err == NULL && ans->rev > s->revision) {
        s->revision = ans->rev;
    }
    one_over(s, o->index, err != NULL ? error_item(err) : tokens_item(ans));
}

static void one_submit(struct set_all *s, enum cmd_op op, size_t index)
{
    struct rest *r = s->r;
    struct cmd c = { .op = op, .actor = ops_agent(r), .epoch = ops_u64(r, "epoch") };
    struct arena a = { 0 };
    struct err err;

    s->ones[index] = (struct set_one){ .all = s, .index = index };
    if (ops_locks(r, json_array_get(json_object_get(r->body, "sets"), index), &a, &c.safety,
                  &err) == 0) {
        node_submit(r->node, &c, true, one_done, &s->ones[index]);
    } else {
        one_over(s, index, error_item(&err));
    }
    arena_done(&a);
}

void rest_sets_go(struct rest *r, enum cmd_op op)
{
    size_t n = json_array_size(json_object_get(r->body, "sets"));
    struct set_all *s;
    struct err err;

    if (n == 0 || n > SETS_MAX) {
        (void)err_set(&err, ERR_INVALID, "sets: 1 to %u are expected, not %zu", SETS_MAX, n);
        rest_err(r, &err);
        return;
    }
    s = OBJ_NEW(struct set_all);
    s->r = r;
    s->n = n;
    s->open = n + 1; /* nobody answers before all are submitted */
    s->answers = mem_alloc(n * sizeof(json_t *));
    s->ones = mem_alloc(n * sizeof(*s->ones));
    for (size_t i = 0; i < n; i++) {
        one_submit(s, op, i);
    }
    if (--s->open == 0) {
        all_answer(s);
    }
}
