/* A picketd for tests/dev/replicas_test.py: when its data folder has a file `fault-diverge`, its
 * state changes without an entry of the log, as a bug in the state machine would do it.  Linked
 * into picketd's own objects in front of upkeep_tick (dev.mk); no part of the product. */

#include <stdlib.h>
#include <unistd.h>

#include "base/log.h"
#include "base/obj.h"
#include "base/str.h"
#include "cmd/picketd/upkeep.h"

/* NOLINTBEGIN(bugprone-reserved-identifier): the linker's names, --wrap */
void __real_upkeep_tick(struct node *n);
void __wrap_upkeep_tick(struct node *n);

static void diverge(struct node *n)
{
    static const char key[] = "k/fault";
    struct txn_op op = { .kind = TXN_PUT,
                         .key = { (const uint8_t *)key, sizeof(key) - 1 },
                         .value = { (const uint8_t *)key, sizeof(key) - 1 } };
    struct cmd c = { .op = CMD_TXN,
                     .actor = { .role = ACTOR_RAW, .name = "fault" },
                     .txn = { .then_ops = &op, .n_then = 1 } };
    struct buf b = { 0 }, out = { 0 };
    struct err err;

    CHECK(cmd_encode(&c, &b, &err) == 0);
    store_apply(n->store, store_index(n->store), rep_term(n->rep), 0, b.data, b.len, &out);
    buf_done(&b);
    buf_done(&out);
}

void __wrap_upkeep_tick(struct node *n)
{
    char *path = mem_printf("%s/fault-diverge", n->opts.data);

    if (unlink(path) == 0) {
        lg_warn("fault", "msg=\"told to diverge, for a test\"");
        diverge(n);
    }
    free(path);
    __real_upkeep_tick(n);
}
/* NOLINTEND(bugprone-reserved-identifier) */
