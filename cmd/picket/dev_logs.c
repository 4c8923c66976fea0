/* picket dev logs: the logs of all processes of a dev cluster, merged by time.
 *
 * Lines are "<N>2026-01-02T03:04:05.678Z PROGRAM/AREA TEXT" (base/log.h); what has no time belongs
 * to the line before it.  One line of each file is in memory.
 */

#include "cmd/picket/dev.h"

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/obj.h"
#include "base/str.h"

#define FILES_MAX 160
#define TIME_LEN 24
#define FOLLOW_MS 200

struct log_file {
    char host[64];
    char process[64];
    char path[1024];
    FILE *f;
    char *line; /* the next one; NULL: none yet */
    size_t cap;
    char time[TIME_LEN + 1]; /* of it, or of the one before it */
};

struct logs {
    struct log_file files[FILES_MAX];
    size_t n;
    const char *dir;
    const char *host;
    const char *process;
    bool follow;
    uint64_t tail;
    char **ring; /* the last `tail` lines, until they are printed */
    size_t ring_n, ring_at;
};

static bool has_time(const char *s)
{
    return strlen(s) > TIME_LEN && s[4] == '-' && s[7] == '-' && s[10] == 'T' && s[13] == ':' &&
           s[16] == ':' && s[TIME_LEN - 1] == 'Z';
}

static const char *skip_level(const char *s)
{
    return s[0] == '<' && s[1] >= '0' && s[1] <= '9' && s[2] == '>' ? s + 3 : s;
}

/* Read the next whole line; a line that is still being written waits. */
static void fill(struct log_file *l)
{
    long at;
    char *got = NULL;
    ssize_t n;

    if (l->line != NULL || l->f == NULL) {
        return;
    }
    at = ftell(l->f);
    n = getline(&got, &l->cap, l->f);
    l->cap = 0;
    if (n <= 0 || got[n - 1] != '\n') {
        free(got);
        clearerr(l->f);
        (void)fseek(l->f, at, SEEK_SET);
        return;
    }
    got[n - 1] = 0;
    l->line = got;
    if (has_time(skip_level(got))) {
        (void)snprintf(l->time, sizeof(l->time), "%s", skip_level(got));
    }
}

static bool known(const struct logs *ls, const char *path)
{
    for (size_t i = 0; i < ls->n; i++) {
        if (str_eq(ls->files[i].path, path)) {
            return true;
        }
    }
    return false;
}

static void add_file(struct logs *ls, const char *host, const char *process, const char *path)
{
    struct log_file *l = &ls->files[ls->n];

    if (ls->n == FILES_MAX || known(ls, path) || (ls->host != NULL && !str_eq(ls->host, host)) ||
        (ls->process != NULL && !str_eq(ls->process, process))) {
        return;
    }
    l->f = fopen(path, "re");
    if (l->f == NULL) {
        return;
    }
    (void)str_copy(l->host, sizeof(l->host), host);
    (void)str_copy(l->process, sizeof(l->process), process);
    (void)str_copy(l->path, sizeof(l->path), path);
    l->line = NULL;
    l->cap = 0;
    l->time[0] = 0;
    ls->n++;
}

static void add_host_logs(struct logs *ls, const char *host)
{
    char dir[800], path[1100], process[64];
    const struct dirent *e;
    DIR *d;

    (void)snprintf(dir, sizeof(dir), "%s/hosts/%s/log", ls->dir, host);
    d = opendir(dir);
    while (d != NULL && (e = readdir(d)) != NULL) {
        size_t n = strlen(e->d_name);

        if (n > 4 && n < sizeof(process) && str_ends(e->d_name, ".log")) {
            (void)snprintf(process, sizeof(process), "%.*s", (int)n - 4, e->d_name);
            (void)snprintf(path, sizeof(path), "%s/%s", dir, e->d_name);
            add_file(ls, host, process, path);
        }
    }
    if (d != NULL) {
        (void)closedir(d);
    }
}

static void scan(struct logs *ls)
{
    char path[800];
    const struct dirent *e;
    DIR *d;

    (void)snprintf(path, sizeof(path), "%s/devd.log", ls->dir);
    add_file(ls, "dev", "devd", path);
    (void)snprintf(path, sizeof(path), "%s/pdu.log", ls->dir);
    add_file(ls, "dev", "pdu", path);
    (void)snprintf(path, sizeof(path), "%s/hosts", ls->dir);
    d = opendir(path);
    while (d != NULL && (e = readdir(d)) != NULL) {
        if (e->d_name[0] != '.') {
            add_host_logs(ls, e->d_name);
        }
    }
    if (d != NULL) {
        (void)closedir(d);
    }
}

/* A log that became shorter was begun anew. */
static void reopen_rotated(struct logs *ls)
{
    for (size_t i = 0; i < ls->n; i++) {
        struct log_file *l = &ls->files[i];
        struct stat by_name, by_fd;

        if (stat(l->path, &by_name) != 0 || fstat(fileno(l->f), &by_fd) != 0 ||
            by_name.st_ino == by_fd.st_ino) {
            continue;
        }
        fill(l);
        if (l->line == NULL) { /* the old one is read to its end */
            FILE *f = fopen(l->path, "re");

            if (f != NULL) {
                (void)fclose(l->f);
                l->f = f;
            }
        }
    }
}

static char *format(const struct log_file *l)
{
    const char *text = skip_level(l->line);

    if (has_time(text)) {
        text += TIME_LEN;
    }
    while (*text == ' ') {
        text++;
    }
    return mem_printf("%s %-8s %-16s %s", l->time[0] != 0 ? l->time : "-", l->host, l->process,
                      text);
}

static void emit(struct logs *ls, char *line)
{
    if (ls->ring == NULL) {
        (void)puts(line);
        free(line);
        return;
    }
    free(ls->ring[ls->ring_at]);
    ls->ring[ls->ring_at] = line;
    ls->ring_at = (ls->ring_at + 1) % ls->tail;
    ls->ring_n += ls->ring_n < ls->tail ? 1 : 0;
}

static void print_ring(struct logs *ls)
{
    if (ls->ring == NULL) {
        return;
    }
    for (size_t i = 0; i < ls->ring_n; i++) {
        size_t at = (ls->ring_at + ls->tail - ls->ring_n + i) % ls->tail;

        (void)puts(ls->ring[at]);
        free(ls->ring[at]);
    }
    free(ls->ring);
    ls->ring = NULL;
}

/* Everything that is there now, the oldest first. */
static void drain(struct logs *ls)
{
    for (;;) {
        struct log_file *oldest = NULL;

        for (size_t i = 0; i < ls->n; i++) {
            struct log_file *l = &ls->files[i];

            fill(l);
            if (l->line != NULL && (oldest == NULL || strcmp(l->time, oldest->time) < 0)) {
                oldest = l;
            }
        }
        if (oldest == NULL) {
            break;
        }
        emit(ls, format(oldest));
        free(oldest->line);
        oldest->line = NULL;
    }
    (void)fflush(stdout);
}

static int run(struct cli *c, struct logs *ls)
{
    scan(ls);
    if (ls->n == 0) {
        cli_say("picket dev logs: there are no such logs in %s", ls->dir);
        return CLI_NOT_FOUND;
    }
    if (ls->tail > 0) {
        ls->ring = mem_alloc(ls->tail * sizeof(ls->ring[0]));
    }
    drain(ls);
    print_ring(ls);
    if (ls->follow) {
        CHECK(uv_loop_init(&c->loop) == 0);
        c->loop_ready = true;
    }
    while (ls->follow && !ferror(stdout)) {
        (void)fflush(stdout);
        cli_sleep(c, FOLLOW_MS);
        reopen_rotated(ls);
        scan(ls);
        drain(ls);
    }
    return CLI_OK;
}

static const char *full_name(const char *process)
{
    if (str_eq(process, "agent")) {
        return "picket-agent";
    }
    return str_eq(process, "watchdog") ? "picket-watchdog" : process;
}

int dev_logs(struct cli *c, int argc, char **argv)
{
    static const struct option options[] = { { "dir", required_argument, NULL, 'd' },
                                             { "follow", no_argument, NULL, 'f' },
                                             { "tail", required_argument, NULL, 'n' },
                                             { NULL, 0, NULL, 0 } };
    struct logs *ls = OBJ_NEW(struct logs);
    const char *given = NULL;
    char dir[DEV_DIR_SIZE];
    int o, rc = CLI_OK;

    while (rc == CLI_OK && (o = cli_getopt(c, argc, argv, "d:fn:", options)) != -1) {
        if (o == 'd') {
            given = optarg;
        } else if (o == 'f') {
            ls->follow = true;
        } else if (o == 'n') {
            if (!str_parse_u64(optarg, &ls->tail) || ls->tail > 1000000) {
                rc = cli_bad_usage(c, "--tail %s: want a number of lines", optarg);
            }
        } else {
            free(ls);
            return cli_usage(c);
        }
    }
    if (rc == CLI_OK && argc - optind > 2) {
        rc = cli_bad_usage(c, "want: picket dev logs [HOST] [PROCESS]");
    }
    rc = rc == CLI_OK ? dev_dir(c, given, dir) : rc;
    if (rc == CLI_OK) {
        ls->dir = dir;
        ls->host = argc - optind > 0 ? argv[optind] : NULL;
        ls->process = argc - optind > 1 ? full_name(argv[optind + 1]) : NULL;
        rc = run(c, ls);
    }
    for (size_t i = 0; i < ls->n; i++) {
        free(ls->files[i].line);
        (void)fclose(ls->files[i].f);
    }
    free(ls);
    return rc;
}
