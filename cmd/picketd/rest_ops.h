#ifndef CMD_PICKETD_REST_OPS_H
#define CMD_PICKETD_REST_OPS_H

/* Shared by the operations on hosts (rest_ops.c, rest_report.c, rest_secret.c). */

#include "cmd/picketd/rest.h"
#include "store/cmd.h"

/* The agent that asks, as it enters the log. */
struct actor ops_agent(const struct rest *r);
/* A number of the body; 0 when absent or negative. */
uint64_t ops_u64(const struct rest *r, const char *path);
/* Answer with the revision, or the error. */
void ops_empty(void *data, const struct err *err, const struct cmd_answer *ans);

/* {reason, locks: [{lock, uid, token}]} of the agent that asks, as a command's arguments; strings
 * point into the request's body.  ERR_INVALID. */
int ops_locks(const struct rest *r, const json_t *set, struct arena *a, struct cmd_safety *ret,
              struct err *err);
/* POST hosts/H/acquire and release with {sets: [{reason, locks}...]} (rest_sets.c). */
void rest_sets_go(struct rest *r, enum cmd_op op);

/* POST hosts/H/report */
void rest_report_go(struct rest *r);
/* POST hosts/H/secrets */
void rest_secrets_go(struct rest *r);

#endif
