/* `picket restore` and `picket recover`: a new first voter from a backup, or from what one member
 * of a cluster that lost its majority for good has on its disk. */

#include "cmd/picket/offline.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "api/valid.h"
#include "base/clock.h"
#include "base/obj.h"
#include "base/str.h"
#include "cmd/picket/identity.h"

#define JOINED_MAX 256

#define RISK                                                                                       \
    "Everything starts quarantined under a new epoch: no guest is started until every host has\n"  \
    "reported what it runs, was proved off, or was confirmed (docs/safety.md 5). Guests that "     \
    "run\n"                                                                                        \
    "go on.\n"

const char restore_help[] =
    "Makes the store of the first voter of a cluster from a backup; what happened after the "
    "backup\n"
    "is lost.\n" RISK
    "No old voter may ever be started again: stop them all first, and enrol them anew afterwards.\n"
    "\n"
    "  --name HOST         this host\n"
    "  --address IP:PORT   of its picketd for the other members\n"
    "  --data DIR          the data folder of its picketd; must have no store\n"
    "  --joined A,B        hosts that joined after the backup was taken\n"
    "\n"
    "Examples:\n"
    "  picket restore picket-monday.backup --name node1 --address 10.0.0.1:7443 \\\n"
    "    --data /var/lib/picket\n";

const char recover_help[] =
    "For a cluster that has lost the majority of its voters for good, and for nothing else: makes\n"
    "this member the only voter, with what it has on its disk.\n"
    "\n"
    "THE RISK: what the lost voters had acknowledged and this member had not received is gone, "
    "and\n"
    "what it received but nobody had acknowledged becomes true. If a lost voter runs, or is ever\n"
    "started again, there are two clusters that both believe to own the machines.\n" RISK "\n"
    "Choose the member whose `picket store check` shows the highest term, then the highest entry.\n"
    "Its picketd must be stopped. Its old store is kept beside the new one.\n"
    "\n"
    "  --name HOST         this host\n"
    "  --address IP:PORT   of its picketd for the other members\n"
    "  --data DIR          the data folder of its picketd\n"
    "  --joined A,B        hosts that may have joined without this member knowing\n"
    "  --lost-for-good     you have made sure that the other voters are off and stay off\n"
    "\n"
    "Examples:\n"
    "  systemctl stop picketd\n"
    "  picket recover --name node1 --address 10.0.0.1:7443 --data /var/lib/picket "
    "--lost-for-good\n";

struct seed_args {
    const char *name, *address, *data;
    const char *joined[JOINED_MAX];
    size_t n_joined;
    bool lost;
};

/* No id ever comes again: above all that the state knows. */
static uint64_t next_id(const struct store *s, const struct rep_offline *o)
{
    const struct kv *v = store_get_str(s, "o/_members/ids");
    uint64_t generation, id = 0;
    const char *text;
    uint32_t flags;
    struct err err;
    size_t len;

    if (v != NULL &&
        objval_decode(kv_value(v), v->vlen, &generation, &flags, &text, &len, &err) == 0) {
        json_t *ids = json_loadb(text, len, 0, NULL);

        id = (uint64_t)jget_int(ids, "lastID", 0);
        json_decref(ids);
    }
    for (size_t i = 0; i < o->n_members; i++) {
        id = o->members[i].id > id ? o->members[i].id : id;
    }
    return id + 1;
}

/* The state under a new epoch into DIR. */
static int seed(const struct seed_args *a, struct store *s, const struct rep_offline *o,
                uint64_t index, uint64_t term, const char *dir, struct err *err)
{
    struct rep_member me = { .name = a->name, .address = a->address, .role = REP_VOTER };
    struct rep_fsm fsm = offline_fsm(s);
    struct arena arena = { 0 };
    struct s_cluster c = { 0 };
    uint64_t epoch;
    int rc;

    me.id = next_id(s, o);
    rc = offline_recover(s, index + 1, term + 1, (const char **)(uintptr_t)a->joined, a->n_joined,
                         &epoch, err);
    if (rc == 0) {
        rc = rep_offline_seed(dir, &me, index + 1, term + 1, &fsm, err);
    }
    if (rc == 0) {
        rc = s_cluster_get(s, &arena, &c, err);
    }
    if (rc == 0) {
        (void)printf("%s is the only voter of cluster %s now: id %" PRIu64 ", epoch %" PRIu64
                     ", revision %" PRIu64 "\n"
                     "Next: start its picketd with --id %" PRIu64
                     " and without --bootstrap, watch `picket get hosts`, then enrol the other "
                     "voters\n",
                     a->name, c.id, me.id, epoch, store_rev(s), me.id);
    }
    arena_done(&arena);
    return rc;
}

static int do_restore(const struct seed_args *a, const char *file, struct err *err)
{
    char *dir = mem_printf("%s/store", a->data);
    struct store *s = store_new(NULL);
    struct rep_fsm fsm = offline_fsm(s);
    struct rep_offline o;
    int lock = -1, rc;

    rc = rep_backup_load(file, &fsm, &o, err);
    if (rc == 0) {
        rc = rep_dir_lock(dir, true, &lock, err);
    }
    if (rc == 0) {
        rc = seed(a, s, &o, o.snap_index, o.snap_term, dir, err);
    }
    if (lock >= 0) {
        (void)close(lock);
    }
    store_free(s);
    free(dir);
    return rc;
}

/* The new store is whole before the old one leaves its place. */
static int do_recover(const struct seed_args *a, struct err *err)
{
    char *dir = mem_printf("%s/store", a->data), *fresh = mem_printf("%s/store.new", a->data);
    char *kept = mem_printf("%s/store.before-%" PRIu64, a->data, clock_wall_ms() / 1000);
    struct store *s = store_new(NULL);
    struct rep_fsm fsm = offline_fsm(s);
    struct rep_offline o;
    int lock = -1, rc;

    rc = rep_dir_lock(dir, false, &lock, err);
    if (rc == 0) {
        rc = rep_offline_load(dir, &fsm, &o, err);
    }
    if (rc == 0) {
        uint64_t term = o.term > o.snap_term ? o.term : o.snap_term;

        rc = seed(a, s, &o, o.last, term, fresh, err);
    }
    if (rc == 0 && (rename(dir, kept) != 0 || rename(fresh, dir) != 0)) {
        rc = err_native(err, ERR_SYS, "errno", errno, "move %s to the place of %s", fresh, dir);
    }
    if (rc == 0) {
        (void)printf("the old store is kept in %s\n", kept);
    }
    if (lock >= 0) {
        (void)close(lock);
    }
    store_free(s);
    free(dir);
    free(fresh);
    free(kept);
    return rc;
}

/* --- options --- */

static int take_joined(struct cli *c, struct seed_args *a, char *list)
{
    char *save = NULL;

    for (char *p = strtok_r(list, ",", &save); p != NULL; p = strtok_r(NULL, ",", &save)) {
        if (!str_is_name(p) || a->n_joined == JOINED_MAX) {
            return cli_bad_usage(c, "--joined: \"%s\" is no host name", p);
        }
        a->joined[a->n_joined++] = p;
    }
    return CLI_OK;
}

static int take_args(struct cli *c, struct seed_args *a, int argc, char **argv)
{
    static const struct option options[] = {
        { "name", required_argument, NULL, 1 },    { "address", required_argument, NULL, 2 },
        { "data", required_argument, NULL, 3 },    { "joined", required_argument, NULL, 4 },
        { "lost-for-good", no_argument, NULL, 5 }, { NULL, 0, NULL, 0 }
    };
    int o;

    while ((o = cli_getopt(c, argc, argv, "", options)) != -1) {
        if (o == 1) {
            a->name = optarg;
        } else if (o == 2) {
            a->address = optarg;
        } else if (o == 3) {
            a->data = optarg;
        } else if (o == 5) {
            a->lost = true;
        } else if (o != 4) {
            return -1;
        } else if (take_joined(c, a, optarg) != CLI_OK) {
            return CLI_USAGE;
        }
    }
    if (a->name == NULL || a->address == NULL || a->data == NULL || !str_is_name(a->name) ||
        strchr(a->address, ':') == NULL) {
        return cli_bad_usage(c, "--name HOST, --address IP:PORT and --data DIR are needed");
    }
    return CLI_OK;
}

int verb_restore(struct cli *c, int argc, char **argv)
{
    struct seed_args a = { 0 };
    struct err err = { 0 };
    int rc = take_args(c, &a, argc, argv);

    if (rc != CLI_OK) {
        return rc < 0 ? cli_usage(c) : rc;
    }
    if (argc - optind != 1) {
        return cli_bad_usage(c, "name one backup");
    }
    return do_restore(&a, argv[optind], &err) == 0 ? CLI_OK : cli_fail(c, &err);
}

int verb_recover(struct cli *c, int argc, char **argv)
{
    struct seed_args a = { 0 };
    struct err err = { 0 };
    int rc = take_args(c, &a, argc, argv);

    if (rc != CLI_OK) {
        return rc < 0 ? cli_usage(c) : rc;
    }
    if (argc != optind) {
        return cli_bad_usage(c, "\"%s\" is too much", argv[optind]);
    }
    if (!a.lost) {
        cli_say("%s", recover_help);
        cli_say("picket: nothing was done. Say --lost-for-good when you have made sure that the "
                "other voters are off and stay off");
        return CLI_USAGE;
    }
    return do_recover(&a, &err) == 0 ? CLI_OK : cli_fail(c, &err);
}
