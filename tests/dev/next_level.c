/* A picketd of a release to come, for tests/dev/upgrade_test.py: it knows feature level
 * STORE_FEATURE_MAX, one more than ours, and a command that this level brings.  Linked in front of
 * store_apply and upkeep_tick (dev.mk); no part of the product.
 *
 * The command has the first number that no command has yet.  It writes k/next, once the cluster is
 * at its level; before, it is no command, as it is to an older picketd.  A file `next-command` in
 * the data folder has it proposed, and the log tells what the answer was. */

#include <stdlib.h>
#include <unistd.h>

#include "base/log.h"
#include "base/obj.h"
#include "base/str.h"
#include "cmd/picketd/upkeep.h"
#include "store/cmd.h"

#define OP_AT 1U /* behind the array's head */
#define OP_NEXT (CMD_OP_MAX + 1U)
#define TIMEOUT_MS 5000U

_Static_assert(STORE_FEATURE_MAX == 3U, "built with the level to come");
_Static_assert(OP_NEXT < 128U, "one byte of msgpack");

/* NOLINTBEGIN(bugprone-reserved-identifier): the linker's names, --wrap */
void __real_upkeep_tick(struct node *n);
void __wrap_upkeep_tick(struct node *n);
void __real_store_apply(struct store *s, uint64_t index, uint64_t term, uint64_t leader_ms,
                        const void *cmd, size_t len, struct buf *result);
void __wrap_store_apply(struct store *s, uint64_t index, uint64_t term, uint64_t leader_ms,
                        const void *cmd, size_t len, struct buf *result);

/* It is a transaction by another number. */
void __wrap_store_apply(struct store *s, uint64_t index, uint64_t term, uint64_t leader_ms,
                        const void *cmd, size_t len, struct buf *result)
{
    struct buf known = { 0 };

    buf_add(&known, cmd, len);
    if (len > OP_AT && known.data[OP_AT] == OP_NEXT && store_level(s) >= STORE_FEATURE_MAX) {
        known.data[OP_AT] = CMD_TXN;
    }
    __real_store_apply(s, index, term, leader_ms, known.data, known.len, result);
    buf_done(&known);
}

static void answered(struct rep_req *req, const struct err *err, uint64_t index,
                     const uint8_t *result, size_t len)
{
    struct arena a = { 0 };
    struct cmd_answer ans = { 0 };
    struct err e;

    (void)index;
    if (err != NULL) {
        lg_warn("next", "msg=\"next command: %s\"", err->msg);
    } else if (cmd_answer_decode(result, len, &a, &ans, &e) == 0 && ans.code == 0) {
        lg_warn("next", "msg=\"next command: done\"");
    } else {
        lg_warn("next", "msg=\"next command: refused, %s\"", ans.msg == NULL ? "" : ans.msg);
    }
    arena_done(&a);
    free(req);
}

static void propose(struct node *n)
{
    static const char key[] = "k/next";
    struct txn_op op = { .kind = TXN_PUT,
                         .key = { (const uint8_t *)key, sizeof(key) - 1 },
                         .value = { (const uint8_t *)"x", 1 } };
    struct cmd c = { .op = CMD_TXN,
                     .actor = { .role = ACTOR_RAW, .name = "next" },
                     .txn = { .then_ops = &op, .n_then = 1 } };
    struct buf b = { 0 };
    struct err err;

    CHECK(cmd_encode(&c, &b, &err) == 0);
    CHECK(b.data[OP_AT] == CMD_TXN);
    b.data[OP_AT] = OP_NEXT;
    rep_propose(n->rep, OBJ_NEW(struct rep_req), b.data, b.len, TIMEOUT_MS, answered);
    buf_done(&b);
}

void __wrap_upkeep_tick(struct node *n)
{
    char *path = mem_printf("%s/next-command", n->opts.data);

    if (unlink(path) == 0) {
        propose(n);
    }
    free(path);
    __real_upkeep_tick(n);
}
/* NOLINTEND(bugprone-reserved-identifier) */
