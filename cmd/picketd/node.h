#ifndef CMD_PICKETD_NODE_H
#define CMD_PICKETD_NODE_H

/* One picketd: the replicated log, the state machine, the API server and, while this node leads,
 * the controllers.  One loop, one thread; every struct here belongs to it and lives as long as the
 * process.
 */

#include <sys/queue.h>
#include <uv.h>

#include "api/http_server.h"
#include "api/kind.h"
#include "cmd/picketd/loopstat.h"
#include "cmd/picketd/reign_sm.h"
#include "raft/rep.h"
#include "store/safety.h"
#include "store/store.h"

#define LINKS_MAX 8U /* of a host */
#define NODE_ADDRESS_MAX 128U
#define NODE_TIMEOUT_MS                                                                            \
    10000U /* how long a write is tried before its outcome is reported unknown */
#define NODE_READ_MS 3000U
#define NODE_WINDOW 1000U /* commands under way, a little less than the store's window */
#define NODE_WAITING_MAX (64U << 20)

struct node_opts {
    const char *name;
    const char *data;
    const char *listen_peer; /* both: one address for each link, separated by commas */
    const char *listen_api;
    const char *tls_cert, *tls_key, *tls_ca;
    const char *cluster;      /* UUID */
    const char *bootstrap;    /* "1=node1@node1:7640+link2:7640,..." or NULL */
    uint64_t id;              /* of this member; 0: as bootstrap says */
    const char *fence_helper; /* path of picket-fence */
    const char *seal_key;     /* file with the key that seals Secrets */
    bool lab;
    uint64_t cert_lifetime_s; /* of certificates that this node signs; 0: 90 days */
    unsigned max_level; /* feature level that this node claims to know; 0: all of this version */
    unsigned heartbeat_ms, election_ms; /* of raft; 0: derived from the default knobs */
};

struct lease_table;
struct controller;
struct executor;
struct prober;
struct raw_leases;
struct native;
struct consoles;

struct node {
    struct node_opts opts;
    uv_loop_t *loop;
    struct rep *rep;
    struct store *store;
    struct tls_ctx *tls;
    struct http_server *server;
    uint64_t id;
    uint64_t session;  /* 0: not open yet */
    uint64_t next_seq; /* number of the newest command under the session */
    uint64_t seq_low;  /* lowest one that was not answered yet */
    bool seq_over[NODE_WINDOW];
    TAILQ_HEAD(, node_op) waiting; /* for room in the window */
    size_t waiting_bytes;
    struct map ops; /* private: requests under way */
    uv_timer_t tick;
    bool session_opening;
    struct lease_table *leases;
    struct controller *ctl;
    struct executor *exec;
    struct prober *prober;
    struct raw_leases *raw_leases;
    struct native *native;
    struct consoles *consoles;
    uint64_t started_ms;
    uint64_t quorate_since_ms; /* 0: no leader known */
    struct reign reign;
    uint8_t seal_key[32];
    bool has_seal_key;
    unsigned leaders_seen; /* other nodes that led since this process started */
    uint64_t watches;      /* open watch streams */
    struct loopstat loopstat;
    bool member_busy; /* leader: a change of the members is under way (member.c) */
    uint64_t member_next_ms;
    uint64_t epoch; /* newest cluster epoch that was persisted (links.c) */
    uint64_t links_next_ms, hints_seen;
    uint64_t own_rev; /* of this host's object, of which these are the addresses */
    char own_addresses[LINKS_MAX][NODE_ADDRESS_MAX];
    struct upkeep *upkeep;
    uint64_t sweep_next_ms; /* request.c */
    uint64_t certs_next_ms; /* certs.c, like the next one */
    size_t certs_asked;
};

int node_start(struct node *n, const struct node_opts *opts, uv_loop_t *loop,
               struct err *err) ERR_USED;

bool node_leads(const struct node *n); /* and its barrier has been applied */

/* Submit a command.  With `once` it goes under this node's session and is repeated until an answer
 * is known or NODE_TIMEOUT_MS have passed; without, it is tried once (controllers decide again
 * anyway). The callback gets either err or the decoded answer (ans->code may still be an error of
 * the state machine, which has been turned into err then: ans is never an error). */
typedef void node_cb(void *data, const struct err *err, const struct cmd_answer *ans);
void node_submit(struct node *n, struct cmd *cmd, bool once, node_cb *cb, void *data);

/* Linearizable read point. */
typedef void node_read_cb(void *data, const struct err *err);
void node_read(struct node *n, node_read_cb *cb, void *data);

/* Calls between picketds (rep_call kinds). */
enum node_call {
    NODE_CALL_LEASE = 1,
    NODE_CALL_RAW_LEASE = 2,
    NODE_CALL_ALIVE = 3,
    NODE_CALL_MEMBER = 4,
    NODE_CALL_PROBE = 5,
    NODE_CALL_INFO = 6,
    NODE_CALL_DIVERGED = 7,
    NODE_CALL_RENEW = 8,
};

/* Objects in the store: the JSON with metadata.resourceVersion set, without private parts.  NULL
 * when absent (err->code ERR_NOT_FOUND) or corrupt.  The caller owns it. */
json_t *node_object(struct node *n, const char *plural, const char *name, struct err *err);

#endif
