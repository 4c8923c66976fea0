#include <getopt.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>

#include "base/log.h"
#include "base/obj.h"
#include "base/str.h"
#include "cmd/picket-pdu/pdu.h"

static struct pdu pdu;
static volatile int stop;

static void on_signal(int sig)
{
    stop = sig;
}

static int add_outlets(const char *text, struct err *err)
{
    for (const char *p = text; *p != '\0';) {
        size_t n = strcspn(p, ",");
        struct pdu_outlet *o = &pdu.outlets[pdu.n_outlets];

        if (n == 0 || n >= sizeof(o->name) || pdu.n_outlets == PDU_MAX_OUTLETS) {
            return err_set(err, ERR_INVALID, "--outlets %s: give at most %u names of 63 bytes",
                           text, PDU_MAX_OUTLETS);
        }
        memcpy(o->name, p, n);
        o->on = true;
        pdu.n_outlets++;
        p += n;
        p += *p == ',' ? 1 : 0;
    }
    return 0;
}

static int add_community(const char *name, struct err *err)
{
    if (pdu.n_communities == PDU_MAX_COMMUNITIES ||
        !str_copy(pdu.communities[pdu.n_communities], sizeof(pdu.communities[0]), name)) {
        return err_set(err, ERR_INVALID, "too many communities, or one is too long");
    }
    pdu.n_communities++;
    return 0;
}

static int read_communities(const char *path, struct err *err)
{
    char line[128];
    FILE *f = fopen(path, "re");
    int rc = 0;

    if (f == NULL) {
        return err_set(err, ERR_INVALID, "--community-file %s: cannot be opened", path);
    }
    while (rc == 0 && fgets(line, sizeof(line), f) != NULL) {
        line[strcspn(line, "\n")] = '\0';
        if (line[0] != '\0') {
            rc = add_community(line, err);
        }
    }
    (void)fclose(f);
    return rc;
}

static int parse_mode(const char *mode, struct pdu_outlet *o, struct err *err)
{
    static const struct {
        const char *name;
        enum pdu_fail fail;
    } modes[] = { { "ok", PDU_OK },
                  { "lie", PDU_LIE },
                  { "stuck", PDU_STUCK },
                  { "refuse", PDU_REFUSE },
                  { "silent", PDU_SILENT } };

    for (size_t i = 0; i < ARRAY_LEN(modes); i++) {
        if (str_eq(mode, modes[i].name)) {
            o->fail = modes[i].fail;
            return 0;
        }
    }
    if (str_starts(mode, "slow:") && str_parse_u64(mode + 5, &o->slow_ms)) {
        o->fail = PDU_SLOW;
        return 0;
    }
    return err_set(err, ERR_INVALID, "--fail ...=%s: give lie, stuck, slow:MS, refuse or silent",
                   mode);
}

static int add_fail(const char *text, struct err *err)
{
    const char *eq = strchr(text, '=');

    for (size_t i = 0; eq != NULL && i < pdu.n_outlets; i++) {
        struct pdu_outlet *o = &pdu.outlets[i];

        if (strlen(o->name) == (size_t)(eq - text) &&
            strncmp(o->name, text, (size_t)(eq - text)) == 0) {
            return parse_mode(eq + 1, o, err);
        }
    }
    return err_set(err, ERR_INVALID, "--fail %s: give OUTLET=MODE, after --outlets", text);
}

static int take(int c, struct err *err)
{
    switch (c) {
    case 'l':
        pdu.listen = optarg;
        return 0;
    case 'o':
        return add_outlets(optarg, err);
    case 'c':
        pdu.control = optarg;
        return 0;
    case 'f':
        return add_fail(optarg, err);
    case 'y':
        return add_community(optarg, err);
    case 'Y':
        return read_communities(optarg, err);
    case 'a':
        pdu.any_community = true;
        return 0;
    case 'r':
        pdu.rogue = true;
        return 0;
    case 'v':
        pdu.v3_file = optarg;
        return 0;
    default:
        return err_set(
            err, ERR_INVALID,
            "usage: picket-pdu --listen IP:PORT --outlets NAME[,NAME...] [--control "
            "SOCKET] [--community-file FILE] [--community NAME] [--any-community] "
            "[--v3-user-file FILE] [--rogue] [--fail OUTLET=lie|stuck|slow:MS|refuse|silent]...");
    }
}

static int parse(int argc, char **argv, struct err *err)
{
    static const struct option longs[] = { { "listen", required_argument, NULL, 'l' },
                                           { "outlets", required_argument, NULL, 'o' },
                                           { "control", required_argument, NULL, 'c' },
                                           { "fail", required_argument, NULL, 'f' },
                                           { "community", required_argument, NULL, 'y' },
                                           { "community-file", required_argument, NULL, 'Y' },
                                           { "any-community", no_argument, NULL, 'a' },
                                           { "rogue", no_argument, NULL, 'r' },
                                           { "v3-user-file", required_argument, NULL, 'v' },
                                           { NULL, 0, NULL, 0 } };
    int c, rc = 0;

    while (rc == 0 && (c = getopt_long(argc, argv, "", longs, NULL)) != -1) {
        rc = take(c, err);
    }
    if (rc == 0 && (pdu.listen == NULL || pdu.n_outlets == 0)) {
        rc = err_set(err, ERR_INVALID, "--listen and --outlets are needed");
    }
    return rc;
}

int main(int argc, char **argv)
{
    struct sigaction sa = { .sa_handler = on_signal };
    struct err err;

    lg_init("picket-pdu");
    (void)sigaction(SIGTERM, &sa, NULL);
    (void)sigaction(SIGINT, &sa, NULL);
    (void)signal(SIGPIPE, SIG_IGN);
    if (parse(argc, argv, &err) != 0 || pdu_agent_run(&pdu, &stop, &err) != 0) {
        lg_err("pdu", "msg=\"%s\"", err.msg);
        return 1;
    }
    return 0;
}
