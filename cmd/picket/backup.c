/* `picket backup`: the whole state of the cluster as one file, and whether such a file is whole. */

#include "cmd/picket/offline.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/obj.h"
#include "base/str.h"
#include "cmd/picket/identity.h"

#define BACKUP_MAX ((size_t)4 << 30)
#define BACKUP_MS (3600U * 1000)

const char backup_help[] =
    "Takes the state of the whole cluster at one revision: objects, locks, fencing, history. "
    "Secrets\n"
    "stay sealed: their key (seal.key beside the CA) and the CA itself are not in it, keep copies "
    "of\n"
    "these files apart from the backups. The file is verified before it gets its name.\n"
    "\n"
    "  -o, --output FILE   where to; a file of that name is never overwritten\n"
    "\n"
    "verify reads every byte of a file, rebuilds the state and says what is in it.\n"
    "\n"
    "Examples:\n"
    "  picket backup -o picket-monday.backup\n"
    "  picket backup verify picket-monday.backup\n";

static void tell(const char *file, const struct store *s, const struct rep_offline *o)
{
    struct arena a = { 0 };
    struct s_cluster c = { 0 };
    struct buf out = { 0 };
    char size[32];
    struct err err;

    str_format_size(o->bytes, size, sizeof(size));
    (void)s_cluster_get(s, &a, &c, &err);
    buf_printf(&out, "%s: %s, cluster %s, epoch %" PRIu64 ", revision %" PRIu64 ", %zu keys\n",
               file, size, c.id == NULL ? "(not initialised)" : c.id, c.epoch, store_rev(s),
               store_count(s));
    for (size_t i = 0; i < o->n_members; i++) {
        buf_printf(&out, "member then: %" PRIu64 " %s %s%s\n", o->members[i].id, o->members[i].name,
                   o->members[i].address, o->members[i].role == REP_VOTER ? "" : " (no vote)");
    }
    cli_flush(&out);
    buf_done(&out);
    arena_done(&a);
}

static int verify(struct cli *c, const char *file, const char *as)
{
    struct store *s = store_new(NULL);
    struct rep_fsm fsm = offline_fsm(s);
    struct rep_offline o;
    struct err err = { 0 };
    int rc = CLI_OK;

    if (rep_backup_load(file, &fsm, &o, &err) != 0) {
        rc = cli_fail(c, &err);
    } else {
        tell(as, s, &o);
    }
    store_free(s);
    return rc;
}

/* --- taking one --- */

struct fetch {
    int fd;
    bool done;
    struct err err;
};

static int write_all(int fd, const uint8_t *p, size_t len)
{
    while (len > 0) {
        ssize_t n = write(fd, p, len);

        if (n < 0 && errno != EINTR) {
            return -1;
        }
        p += n > 0 ? n : 0;
        len -= n > 0 ? (size_t)n : 0;
    }
    return fsync(fd);
}

static void fetched(void *data, const struct err *err, const struct http_reply *reply)
{
    struct fetch *f = data;

    f->done = true;
    if (err != NULL) {
        f->err = *err;
    } else if (reply->status != 200) {
        (void)api_error_from_reply(reply, &f->err);
    } else if (write_all(f->fd, reply->body, reply->len) != 0) {
        (void)err_native(&f->err, ERR_SYS, "errno", errno, "write the backup");
    }
}

static int fetch(struct cli *c, struct fetch *f)
{
    struct http_client_opts opts = { .endpoints = (const char *const *)c->cfg->servers,
                                     .n_endpoints = c->cfg->n_servers,
                                     .tls = c->cfg->tls,
                                     .want_role = "picket:voters",
                                     .max_body = BACKUP_MAX };
    struct http_call_args args = { .method = "GET",
                                   .target = "/apis/picket/v1/backup",
                                   .timeout_ms = c->request_ms != 0 ? c->request_ms : BACKUP_MS,
                                   .patience_ms = 5000 };
    struct http_client *http;

    if (http_client_new(&c->loop, &opts, &http, &f->err) != 0) {
        return f->err.code;
    }
    (void)http_call(http, &args, fetched, f);
    while (!f->done) {
        (void)uv_run(&c->loop, UV_RUN_ONCE);
    }
    http_client_close(http, NULL, NULL);
    return f->err.code;
}

/* Under another name until it is verified. */
static int take(struct cli *c, const char *file)
{
    char *tmp = mem_printf("%s.part", file);
    struct fetch f = { .fd = -1 };
    int rc = CLI_OK;

    if (access(file, F_OK) == 0) {
        (void)err_set(&f.err, ERR_EXISTS, "%s exists already; it was left as it is", file);
    } else {
        f.fd = open(tmp, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0600);
        if (f.fd < 0) {
            (void)err_native(&f.err, ERR_SYS, "errno", errno, "create %s", tmp);
        }
    }
    if (f.err.code != 0 || fetch(c, &f) != 0) {
        rc = cli_fail(c, &f.err);
    }
    if (f.fd >= 0) {
        (void)close(f.fd);
    }
    rc = rc == CLI_OK ? verify(c, tmp, file) : rc;
    if (rc == CLI_OK && rename(tmp, file) != 0) {
        (void)err_native(&f.err, ERR_SYS, "errno", errno, "rename %s", tmp);
        rc = cli_fail(c, &f.err);
    }
    if (rc != CLI_OK && f.fd >= 0) {
        (void)unlink(tmp);
    }
    free(tmp);
    return rc;
}

int verb_backup(struct cli *c, int argc, char **argv)
{
    static const struct option options[] = { { "output", required_argument, NULL, 'o' },
                                             { NULL, 0, NULL, 0 } };
    const char *file = NULL;
    int o, rc;

    while ((o = cli_getopt(c, argc, argv, "o:", options)) != -1) {
        if (o != 'o') {
            return cli_usage(c);
        }
        file = optarg;
    }
    if (argc - optind == 2 && file == NULL && str_eq(argv[optind], "verify")) {
        return verify(c, argv[optind + 1], argv[optind + 1]);
    }
    if (argc != optind || file == NULL) {
        return cli_bad_usage(c, "want -o FILE, or verify FILE");
    }
    rc = cli_connect(c);
    return rc == CLI_OK ? take(c, file) : rc;
}
