#ifndef TESTS_CTL_FAKE_NODE_H
#define TESTS_CTL_FAKE_NODE_H

/* A picketd of which only the store and the controllers are real: commands are applied at once,
 * leases are what the test says, no device answers. */

#include <jansson.h>
#include <uv.h>

#include "base/clock.h"
#include "base/map.h"
#include "cmd/picketd/ctl.h"
#include "cmd/picketd/node.h"

struct fake {
    struct node n; /* first */
    uv_loop_t loop;
    uint64_t index, term, ms;
    struct map leases;     /* host -> "" while it holds its lease */
    bool ask;              /* those who lost theirs ask for it again */
    uint64_t late_ms[2];   /* how late renewals of every host were, in this window and the last */
    uint64_t writes;       /* transactions of the controllers */
    uint64_t turns;        /* of the loop */
    uint64_t worst_us;     /* longest turn */
    uint64_t fail_percent; /* of the controllers' transactions, as if somebody had been faster */
    enum cmd_op refuse;    /* the controllers' next command of this kind is refused; CMD_NONE */
    struct prng prng;
    int last_code;
    uint64_t last_value;
    char last_msg[ERR_MSG_MAX];
};

struct fake *fake_new(uint64_t seed);
void fake_free(struct fake *f);
/* Give a command; the answer's code is kept, too. */
int fake_cmd(struct fake *f, struct cmd *c);

/* Objects as users write them (JSON text); defaults are filled in, generation counts. */
void fake_put(struct fake *f, json_t *obj);
void fake_delete(struct fake *f, const char *plural, const char *name);
json_t *fake_get(struct fake *f, const char *plural, const char *name); /* NULL: none */
/* A host with an incarnation, a lease, and its capacity told. */
void fake_host(struct fake *f, const char *name, const char *memory, int cpus, const char *rack);
uint64_t fake_incarnation(struct fake *f, const char *host);
void fake_lease(struct fake *f, const char *host, bool on);
/* The agent of a host: take or give back a machine's lock, report on it. */
int fake_acquire(struct fake *f, const char *host, const char *vm);
int fake_release(struct fake *f, const char *host, const char *vm);
void fake_report(struct fake *f, const char *host, const char *plural, const char *name,
                 json_t *report); /* NULL: gone */
/* Turn the loop until the controllers have nothing to do. */
void fake_settle(struct fake *f);
/* As a new leader would: look at everything again. */
void fake_again(struct fake *f);

#endif
