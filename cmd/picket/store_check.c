/* `picket store check DIR`: the files of a stopped member, verified from the first byte to the
 * last, and the state that they make. */

#include "cmd/picket/offline.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/obj.h"
#include "base/str.h"
#include "cmd/picket/identity.h"

#define CHECK_PATH_MAX 4096

static const char *role_name(enum rep_member_role role)
{
    return role == REP_VOTER ? "voter" : role == REP_STANDBY ? "standby" : "spare";
}

static void told_file(void *ctx, const char *name, uint64_t size, const char *what)
{
    struct buf *out = ctx;
    char text[32];

    str_format_size(size, text, sizeof(text));
    buf_printf(out, "  %-48s %10s  %s\n", name, text, what);
}

static void tell_state(const struct store *s, struct buf *out)
{
    struct arena a = { 0 };
    struct s_cluster c;
    struct err err;

    if (s_cluster_get(s, &a, &c, &err) == 0) {
        buf_printf(out, "cluster %s, epoch %" PRIu64 "%s\n", c.id, c.epoch,
                   c.quarantined ? ", in quarantine after a recovery" : "");
    }
    buf_printf(out, "state: revision %" PRIu64 ", %zu keys, hash %016" PRIx64 "\n", store_rev(s),
               store_count(s), store_hash(s));
    arena_done(&a);
}

/* What a picketd left behind that must not start any more (operations.md). */
static void tell_marks(const char *dir, struct buf *out)
{
    static const char *const marks[] = { "diverged", "superseded" };

    for (size_t i = 0; i < ARRAY_LEN(marks); i++) {
        char *path = mem_printf("%s/%s", dir, marks[i]), why[256] = "";
        FILE *f = fopen(path, "re");

        if (f != NULL) {
            if (fgets(why, sizeof(why), f) != NULL) {
                why[strcspn(why, "\n")] = 0;
            }
            (void)fclose(f);
            buf_printf(out, "%s: %s: this member does not start any more: enrol it anew\n",
                       marks[i], why);
        }
        free(path);
    }
}

static void tell(const char *dir, const struct rep_offline *o, const struct store *s,
                 struct buf *files)
{
    struct buf out = { 0 };

    buf_printf(&out, "%s\n%s", dir, buf_cstr(files));
    buf_printf(&out, "term %" PRIu64 ", ", o->term);
    if (o->last >= o->first) {
        buf_printf(&out, "log entries %" PRIu64 " to %" PRIu64 "%s\n", o->first, o->last,
                   o->snap_index != 0 ? " behind the newest snapshot" : "");
    } else {
        buf_printf(&out, "no log entries behind the newest snapshot\n");
    }
    for (size_t i = 0; i < o->n_members; i++) {
        const struct rep_peer_info *p = &o->members[i];

        buf_printf(&out, "member %" PRIu64 " %s %s (%s)\n", p->id, p->name, p->address,
                   role_name(p->role));
    }
    tell_state(s, &out);
    if (o->torn) {
        buf_printf(&out, "the last write was torn by a crash; it was never acknowledged and is "
                         "given up at the next start\n");
    }
    tell_marks(dir, &out);
    buf_printf(&out, "ok: every byte is what was written\n");
    cli_flush(&out);
    buf_done(&out);
}

static int check_dir(struct cli *c, const char *arg)
{
    struct store *s = store_new(NULL);
    struct rep_fsm fsm = offline_fsm(s);
    struct buf files = { 0 };
    struct rep_offline o;
    char dir[CHECK_PATH_MAX];
    struct err err = { 0 };
    int lock = -1, rc;

    if (!offline_dir(arg, dir, sizeof(dir))) {
        rc = err_set(&err, ERR_INVALID, "%.64s...: the path is too long", arg);
    } else {
        rc = rep_dir_lock(dir, false, &lock, &err);
    }
    if (rc == 0) {
        rc = rep_offline_check(dir, told_file, &files, &o, &err);
    }
    if (rc == 0) {
        rc = rep_offline_load(dir, &fsm, &o, &err);
    }
    if (rc == 0) {
        tell(dir, &o, s, &files);
    } else {
        rc = cli_fail(c, &err);
    }
    if (lock >= 0) {
        (void)close(lock);
    }
    buf_done(&files);
    store_free(s);
    return rc;
}

const char store_help[] =
    "Reads the log and all snapshots of a member that does not run, verifies every checksum, and\n"
    "rebuilds the state from them. Nothing is changed. A wrong byte is named with its file and\n"
    "place, and what to do about it; the exit code is 1 then.\n"
    "\n"
    "DIR is the member's data folder (/var/lib/picket), or the folder store in it.\n"
    "\n"
    "Examples:\n"
    "  systemctl stop picketd && picket store check /var/lib/picket\n";

int verb_store(struct cli *c, int argc, char **argv)
{
    if (cli_getopt(c, argc, argv, "", NULL) != -1) {
        return cli_usage(c);
    }
    if (argc - optind != 2 || !str_eq(argv[optind], "check")) {
        return cli_bad_usage(c, "want: check DIR");
    }
    return check_dir(c, argv[optind + 1]);
}
