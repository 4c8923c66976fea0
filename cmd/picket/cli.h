#ifndef CMD_PICKET_CLI_H
#define CMD_PICKET_CLI_H

/* What the verbs of `picket` share: options, connection, errors, output.
 *
 * A verb is `int run(struct cli *, int argc, char **argv)`; argv[0] is the verb's name, the result
 * an exit code of enum cli_exit.  It has printed its own errors.  One thread, one loop.
 */

#include <getopt.h>
#include <jansson.h>
#include <uv.h>

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "api/client.h"
#include "api/kind.h"
#include "base/buf.h"
#include "base/err.h"
#include "base/map.h"

/* Documented in docs/cli.md and by `picket help exit-codes`. */
enum cli_exit {
    CLI_OK = 0,
    CLI_ERROR = 1, /* bad input, refused by validation or permission, anything not below */
    CLI_USAGE = 2,
    CLI_NOT_FOUND = 3,
    CLI_CONFLICT = 4,    /* conflict, or refused by the safety rules */
    CLI_UNREACHABLE = 5, /* no member reachable, or no quorum: it did not happen */
    CLI_UNKNOWN = 6,     /* it may have happened */
    CLI_TIMEOUT = 7,     /* a deadline passed while waiting */
};

enum cli_output { OUT_TABLE, OUT_WIDE, OUT_JSON, OUT_YAML, OUT_NAME };

struct cli {
    const char *verb;
    const char *config; /* --kubeconfig */
    const char *context;
    const char *server;
    uint64_t request_ms; /* --request-timeout, 0: the client's default */
    unsigned verbose;
    bool quiet_connect; /* completion: no message when there is no cluster */
    bool usage_only;    /* cli_getopt printed help: return CLI_OK */
    struct api_config *cfg;
    struct api_client *client;
    uv_loop_t loop;
    bool loop_ready;
    struct map warned; /* warnings that were told */
};

struct cli_verb {
    const char *name;
    const char *group;
    const char *summary;
    const char *usage; /* lines behind "picket NAME"; several are separated by '\n' */
    const char *help;  /* options and examples */
    int (*run)(struct cli *c, int argc, char **argv);
};

const struct cli_verb *cli_verbs(void); /* ends with name == NULL */
const struct cli_verb *cli_verb_find(const char *name);
void cli_print_usage(const struct cli_verb *v, FILE *f);

/* getopt_long with the options that every verb has (--kubeconfig, --context, --server, -v, -h,
 * --request-timeout) taken care of.  -1 at the end; '?' after it has said what is wrong: return
 * cli_usage(c). */
int cli_getopt(struct cli *c, int argc, char **argv, const char *shorts,
               const struct option *longs);
int cli_usage(struct cli *c); /* CLI_OK after --help, else CLI_USAGE with a pointer to the help */
/* "picket VERB: text" and a pointer to the help; CLI_USAGE. */
int cli_bad_usage(struct cli *c, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

/* Print "picket: message" and what to do next; the exit code that belongs to it. */
int cli_fail(struct cli *c, const struct err *err);
int cli_exit_code(int code);
/* The advice that cli_fail prints, or NULL. */
const char *cli_advice(int code);
void cli_say(const char *fmt, ...) __attribute__((format(printf, 1, 2))); /* stderr, one line */

/* "Warning: text", each text once.  With `where` the place is told in front of it instead. */
void cli_warn(struct cli *c, const char *where, const char *text);

/* Load the configuration and make the client; CLI_OK or an exit code after a message. */
int cli_connect(struct cli *c);
/* The configuration alone; and with the loop and --server. */
int cli_configure(struct cli *c);
int cli_prepare(struct cli *c);
/* Put a member that knows a leader first, so that a silent one does not cost its timeout.  When
 * nobody knows one, only members that answer are asked further. */
void cli_pick_server(struct cli *c);
/* Ask every member of the configuration at once: on_done comes once for each, before this returns.
 * `stop` (may be NULL) is asked after each answer whether that was enough. */
void cli_ask_members(struct cli *c, const char *target, uint64_t timeout_ms,
                     void (*on_done)(void *ctx, size_t i, const struct err *err, json_t *obj),
                     bool (*stop)(void *ctx), void *ctx);
void cli_done(struct cli *c);
/* The folder of `picket dev` when --dir is not given; false: no home. */
bool cli_dev_dir(char *dst, size_t size);

/* Run one request to its end.  *ret may be NULL. */
int cli_request(struct cli *c, const struct api_op *op, json_t **ret, struct err *err) ERR_USED;
int cli_get(struct cli *c, const char *plural, const char *name, json_t **ret,
            struct err *err) ERR_USED;
/* The items of a list (a new array); selectors may be NULL. */
int cli_list(struct cli *c, const char *plural, const char *labels, const char *fields,
             json_t **ret_items, struct err *err) ERR_USED;
int cli_merge(struct cli *c, const char *plural, const char *name, json_t *patch, json_t **ret,
              struct err *err) ERR_USED;                           /* steals patch */
void cli_query(struct buf *b, const char *key, const char *value); /* NULL value: nothing */
void cli_sleep(struct cli *c, uint64_t ms);

/* Wait for objects: `done` is asked after every change of one of `plural` (and once when all were
 * listed) with everything that exists, until it says true.  CLI_OK, CLI_TIMEOUT, or another exit
 * code after a message.  timeout_ms 0: for ever. */
struct cli_wait {
    const char *plural;
    const char *labels, *fields;
    uint64_t timeout_ms;
    bool (*done)(void *ctx, const json_t *items);
    void *ctx;
};
int cli_wait(struct cli *c, const struct cli_wait *w);

/* "vm", "vm,hosts", "all", "vm/vm1" */
struct cli_ref {
    const struct kind *kind;
    const char *name; /* NULL: all; into the arguments */
};
struct cli_refs {
    struct cli_ref *items;
    size_t n;
    bool several_kinds;
};
/* CLI_OK or CLI_USAGE after a message that names what is known. */
int cli_parse_refs(struct cli *c, char **args, size_t n, struct cli_refs *ret);
void cli_refs_done(struct cli_refs *r);
/* The kind, or NULL after a message with suggestions. */
const struct kind *cli_kind(struct cli *c, const char *text);
/* The nearest of the words, NULL when nothing is near. */
const char *cli_nearest(const char *word, const char *(*next)(void *ctx), void *ctx);

bool cli_parse_output(const char *text, enum cli_output *ret);
/* Print objects of one kind; `heads` false: no headings. */
void cli_print(enum cli_output out, const struct kind *k, const json_t *items, bool as_list,
               bool heads, bool with_kind);
void cli_print_json(const json_t *v);
void cli_print_yaml(const json_t *v);
void cli_flush(struct buf *b); /* to stdout, and empty it */
void cli_kind_name(const struct kind *k, const char *name, struct buf *b); /* "host/node1" */
bool cli_confirm(const char *question); /* false without a terminal */
bool cli_color(FILE *f);

int verb_apply(struct cli *c, int argc, char **argv);
int verb_diff(struct cli *c, int argc, char **argv);
int verb_get(struct cli *c, int argc, char **argv);
int verb_describe(struct cli *c, int argc, char **argv);
int verb_explain(struct cli *c, int argc, char **argv);
int verb_resources(struct cli *c, int argc, char **argv);
int verb_delete(struct cli *c, int argc, char **argv);
int verb_why(struct cli *c, int argc, char **argv);
int verb_status(struct cli *c, int argc, char **argv);
int verb_fence(struct cli *c, int argc, char **argv);
int verb_confirm(struct cli *c, int argc, char **argv);
int verb_cordon(struct cli *c, int argc, char **argv);
int verb_uncordon(struct cli *c, int argc, char **argv);
int verb_drain(struct cli *c, int argc, char **argv);
int verb_migrate(struct cli *c, int argc, char **argv);
int verb_auth(struct cli *c, int argc, char **argv);
int verb_console(struct cli *c, int argc, char **argv);
int verb_retry(struct cli *c, int argc, char **argv);
int verb_plan(struct cli *c, int argc, char **argv);
int verb_clear_conflict(struct cli *c, int argc, char **argv);
int verb_wait(struct cli *c, int argc, char **argv);
int verb_version(struct cli *c, int argc, char **argv);
int verb_kv(struct cli *c, int argc, char **argv);
int verb_completion(struct cli *c, int argc, char **argv);
int verb_complete(struct cli *c, int argc, char **argv); /* __complete */
int verb_dev(struct cli *c, int argc, char **argv);

#endif
