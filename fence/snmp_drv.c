#include "fence/snmp_drv.h"

#include <net-snmp/net-snmp-config.h>

#include <net-snmp/net-snmp-includes.h>

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/select.h>

#include "base/clock.h"
#include "base/obj.h"
#include "base/str.h"
#include "fence/apc.h"

#define TRY_MS 500U
#define READ_TRIES 3U
#define SET_TRIES 4U
#define PHRASE_MIN 8U

static const oid control_oid[] = { 1, 3, 6, 1, 4, 1, 318, 1, 1, 12, 3, 3, 1, 1, 4 };
static const oid name_oid[] = { 1, 3, 6, 1, 4, 1, 318, 1, 1, 12, 3, 5, 1, 1, 2 };
static const oid state_oid[] = { 1, 3, 6, 1, 4, 1, 318, 1, 1, 12, 3, 5, 1, 1, 4 };

#define COLUMN_LEN ARRAY_LEN(control_oid)
_Static_assert(ARRAY_LEN(name_oid) == COLUMN_LEN, "columns of one length");
_Static_assert(ARRAY_LEN(state_oid) == COLUMN_LEN, "columns of one length");

struct snmp {
    struct fence_run *run;
    struct snmp_session *session;
    const char *address;
};

/* One request in flight.  Not snmp_synch_response(): net-snmp (5.9.3, usm_handle_report) hands a v3
 * message whose authentication FAILED to the session's callback, and that function takes it for the
 * answer, so anybody could forge "off".  The callback of a request (snmp_async_send) gets verified
 * answers only. */
struct wait {
    bool done;
    struct snmp_pdu *reply; /* NULL: none came */
};

/* --- session
 * ----------------------------------------------------------------------------------------- */

static int set_version(struct snmp_session *s, const char *version, struct err *err)
{
    if (version == NULL || strcmp(version, "1") == 0) {
        s->version = SNMP_VERSION_1;
    } else if (strcmp(version, "2c") == 0) {
        s->version = SNMP_VERSION_2c;
    } else if (strcmp(version, "3") == 0) {
        s->version = SNMP_VERSION_3;
    } else {
        return err_set(err, ERR_INVALID, "version=%.16s: give 1, 2c or 3", version);
    }
    return 0;
}

static int make_key(const oid *auth, size_t auth_len, const char *phrase, const char *what,
                    unsigned char *key, size_t *key_len, struct err *err)
{
    *key_len = USM_AUTH_KU_LEN;
    if (phrase == NULL || strlen(phrase) < PHRASE_MIN) {
        return err_set(err, ERR_INVALID, "SNMP v3 needs %s of at least %u characters", what,
                       PHRASE_MIN);
    }
    if (generate_Ku(auth, (u_int)auth_len, (const u_char *)phrase, strlen(phrase), key, key_len) !=
        SNMPERR_SUCCESS) {
        return err_set(err, ERR_DRIVER, "SNMP v3: no key could be made of %s", what);
    }
    return 0;
}

static int set_v3_auth(struct snmp_session *s, const struct fence_op *op, const char *proto,
                       struct err *err)
{
    if (str_eq(proto, "MD5")) {
        s->securityAuthProto = usmHMACMD5AuthProtocol;
        s->securityAuthProtoLen = USM_AUTH_PROTO_MD5_LEN;
    } else if (str_eq(proto, "SHA")) {
        s->securityAuthProto = usmHMACSHA1AuthProtocol;
        s->securityAuthProtoLen = USM_AUTH_PROTO_SHA_LEN;
    } else {
        return err_set(err, ERR_INVALID, "auth_protocol=%.16s: give MD5 or SHA", proto);
    }
    s->securityLevel = SNMP_SEC_LEVEL_AUTHNOPRIV;
    return make_key(s->securityAuthProto, s->securityAuthProtoLen,
                    fence_op_get(op, "auth_password"), "auth_password", s->securityAuthKey,
                    &s->securityAuthKeyLen, err);
}

static int set_v3_priv(struct snmp_session *s, const struct fence_op *op, const char *proto,
                       struct err *err)
{
    if (str_eq(proto, "DES")) {
        s->securityPrivProto = usmDESPrivProtocol;
        s->securityPrivProtoLen = USM_PRIV_PROTO_DES_LEN;
    } else if (str_eq(proto, "AES")) {
        s->securityPrivProto = usmAESPrivProtocol;
        s->securityPrivProtoLen = USM_PRIV_PROTO_AES_LEN;
    } else {
        return err_set(err, ERR_INVALID, "priv_protocol=%.16s: give DES or AES", proto);
    }
    s->securityLevel = SNMP_SEC_LEVEL_AUTHPRIV;
    return make_key(s->securityAuthProto, s->securityAuthProtoLen,
                    fence_op_get(op, "priv_password"), "priv_password", s->securityPrivKey,
                    &s->securityPrivKeyLen, err);
}

static int set_v3(struct snmp_session *s, const struct fence_op *op, struct err *err)
{
    const char *user = fence_op_get(op, "username");
    const char *auth = fence_op_get(op, "auth_protocol");
    const char *priv = fence_op_get(op, "priv_protocol");
    int rc = 0;

    if (user == NULL || *user == '\0') {
        return err_set(err, ERR_INVALID, "SNMP v3 needs username");
    }
    s->securityName = (char *)(uintptr_t)user;
    s->securityNameLen = strlen(user);
    s->securityModel = USM_SEC_MODEL_NUMBER;
    s->securityLevel = SNMP_SEC_LEVEL_NOAUTH;
    if (auth != NULL) {
        rc = set_v3_auth(s, op, auth, err);
    } else if (priv != NULL) {
        rc = err_set(err, ERR_INVALID, "priv_protocol needs auth_protocol too");
    }
    if (rc == 0 && priv != NULL) {
        rc = set_v3_priv(s, op, priv, err);
    }
    return rc;
}

static int set_security(struct snmp_session *s, const struct fence_op *op, struct err *err)
{
    const char *community = fence_op_get(op, "community");

    if (s->version == SNMP_VERSION_3) {
        return set_v3(s, op, err);
    }
    if (community == NULL || *community == '\0') {
        return err_set(err, ERR_INVALID, "SNMP v1 and v2c need community");
    }
    s->community = (u_char *)(uintptr_t)community;
    s->community_len = strlen(community);
    return 0;
}

static void library_init(void)
{
    /* An empty list: nothing is to be learnt from files on this host. */
    (void)setenv("MIBS", "", 1);
    (void)setenv("MIBDIRS", "", 1);
    (void)setenv("SNMP_PERSISTENT_DIR", "/dev/null/none", 1);
    (void)setenv("SNMPCONFPATH", "/nonexistent", 1);
    (void)netsnmp_ds_set_boolean(NETSNMP_DS_LIBRARY_ID, NETSNMP_DS_LIB_DONT_READ_CONFIGS, 1);
    (void)netsnmp_ds_set_boolean(NETSNMP_DS_LIBRARY_ID, NETSNMP_DS_LIB_DONT_PERSIST_STATE, 1);
    (void)netsnmp_ds_set_boolean(NETSNMP_DS_LIBRARY_ID, NETSNMP_DS_LIB_DISABLE_PERSISTENT_LOAD, 1);
    (void)netsnmp_ds_set_boolean(NETSNMP_DS_LIBRARY_ID, NETSNMP_DS_LIB_DISABLE_PERSISTENT_SAVE, 1);
    (void)netsnmp_ds_set_boolean(NETSNMP_DS_LIBRARY_ID, NETSNMP_DS_LIB_DISABLE_CONFIG_LOAD, 1);
    /* Without a handler it writes to stderr. */
    (void)netsnmp_register_loghandler(NETSNMP_LOGHANDLER_NONE, LOG_DEBUG);
    init_snmp("picket-fence");
}

static int session_error(const char *what, struct err *err)
{
    return err_native(err, ERR_DRIVER, "snmp", snmp_errno, "%s: %.100s", what,
                      snmp_api_errstring(snmp_errno));
}

/* What comes apart from the answer to a request: also forged v3 answers. */
static int ignore_message(int op, struct snmp_session *session, int reqid, struct snmp_pdu *pdu,
                          void *ctx)
{
    (void)op;
    (void)session;
    (void)reqid;
    (void)pdu;
    (void)ctx;
    return 0;
}

static int session_open(struct snmp *x, struct err *err)
{
    const struct fence_op *op = x->run->op;
    struct snmp_session s;
    char peer[576];
    int rc;

    x->address = fence_op_get(op, "address");
    if (x->address == NULL || *x->address == '\0') {
        return err_set(err, ERR_INVALID, "address=IP:PORT is missing");
    }
    library_init();
    snmp_sess_init(&s);
    rc = set_version(&s, fence_op_get(op, "version"), err);
    if (rc == 0) {
        rc = set_security(&s, op, err);
    }
    if (rc != 0) {
        return rc;
    }
    (void)snprintf(peer, sizeof(peer), "%s:%s", x->address[0] == '[' ? "udp6" : "udp", x->address);
    s.peername = peer;
    s.timeout = (long)TRY_MS * 1000;
    s.callback = ignore_message;
    s.retries = 0; /* a switching packet is repeated here, after a look at its deadline */
    x->session = snmp_open(&s);
    explicit_bzero(&s, sizeof(s));
    return x->session != NULL ? 0 : session_error(x->address, err);
}

/* --- requests
 * ---------------------------------------------------------------------------------------- */

static int on_reply(int op, struct snmp_session *session, int reqid, struct snmp_pdu *pdu,
                    void *ctx)
{
    struct wait *w = ctx;

    (void)session;
    (void)reqid;
    if (op == NETSNMP_CALLBACK_OP_RECEIVED_MESSAGE && !w->done) {
        w->reply = snmp_clone_pdu(pdu);
    }
    w->done = true;
    return 1;
}

/* Send once and wait for TRY_MS.  Takes over `pdu`.  0: *ret is the reply, or NULL when none came.
 */
static int exchange(struct snmp *x, struct snmp_pdu *pdu, struct snmp_pdu **ret, struct err *err)
{
    static struct wait w; /* outlives this call as far as the library knows */
    uint64_t until_ms = clock_now_ms() + 2 * TRY_MS;

    w = (struct wait){ 0 };
    if (snmp_async_send(x->session, pdu, on_reply, &w) == 0) {
        snmp_free_pdu(pdu);
        return session_error(x->address, err);
    }
    while (!w.done && clock_now_ms() < until_ms) {
        struct timeval tv = { .tv_usec = 100000 };
        fd_set fds;
        int n = 0, block = 0;

        FD_ZERO(&fds);
        (void)snmp_select_info(&n, &fds, &tv, &block);
        n = select(n, &fds, NULL, NULL, &tv);
        if (n > 0) {
            snmp_read(&fds);
        } else {
            snmp_timeout();
        }
    }
    w.done = true;
    *ret = w.reply;
    return 0;
}

/* Which packets may leave, and what no answer means. */
static int before_send(struct snmp *x, bool switching, struct err *err)
{
    if (switching) {
        return fence_run_may_switch(x->run, err);
    }
    return fence_run_left_ms(x->run) > 0 ? 0
                                         : err_set(err, ERR_TIMEOUT, "%s: time is up", x->address);
}

static int reply_error(const struct snmp *x, const struct snmp_pdu *rp, struct err *err)
{
    int code = rp->errstat == SNMP_ERR_NOSUCHNAME ? ERR_NOT_FOUND : ERR_DRIVER;

    return err_set(err, code, "%s answered: %s", x->address, snmp_errstring((int)rp->errstat));
}

/* Send until there is an answer.  Takes over `pdu`.  *ret is to be freed. */
static int ask(struct snmp *x, struct snmp_pdu *pdu, bool switching, unsigned tries,
               struct snmp_pdu **ret, struct err *err)
{
    unsigned sent = 0;
    int rc = 0;

    for (unsigned i = 0; i < tries; i++) {
        struct snmp_pdu *rp = NULL;
        struct snmp_pdu *copy;

        rc = before_send(x, switching, err);
        if (rc != 0) {
            break;
        }
        copy = snmp_clone_pdu(pdu);
        CHECK(copy != NULL);
        sent++;
        rc = exchange(x, copy, &rp, err);
        if (rc == 0 && rp == NULL) {
            rc = err_set(err, ERR_TIMEOUT, "%s does not answer", x->address);
            continue;
        }
        if (rc != 0) {
            continue;
        }
        if (rp->command == SNMP_MSG_RESPONSE && rp->errstat == SNMP_ERR_NOERROR) {
            snmp_free_pdu(pdu);
            *ret = rp;
            return 0;
        }
        rc = rp->command == SNMP_MSG_RESPONSE
                 ? reply_error(x, rp, err)
                 : err_set(err, ERR_DENIED, "%s refused the credentials", x->address);
        snmp_free_pdu(rp);
        sent--; /* this one certainly did nothing; those before it may have */
        break;
    }
    snmp_free_pdu(pdu);
    if (switching && sent > 0) {
        err->code = ERR_UNKNOWN_OUTCOME;
        return ERR_UNKNOWN_OUTCOME;
    }
    return rc;
}

static struct snmp_pdu *new_pdu(int command)
{
    struct snmp_pdu *pdu = snmp_pdu_create(command);

    CHECK(pdu != NULL);
    return pdu;
}

static void add_oid(struct snmp_pdu *pdu, const oid *column, uint32_t plug)
{
    oid name[COLUMN_LEN + 1];

    memcpy(name, column, COLUMN_LEN * sizeof(oid));
    name[COLUMN_LEN] = plug;
    CHECK(snmp_add_null_var(pdu, name, COLUMN_LEN + 1) != NULL);
}

static enum fence_power power_of(const struct variable_list *v)
{
    if (v->type != ASN_INTEGER || v->val.integer == NULL) {
        return FENCE_POWER_UNKNOWN;
    }
    if (*v->val.integer == APC_ON) {
        return FENCE_POWER_ON;
    }
    return *v->val.integer == APC_OFF ? FENCE_POWER_OFF : FENCE_POWER_UNKNOWN;
}

static bool is_plug(const struct variable_list *v, const oid *column, uint32_t plug)
{
    return v->name_length == COLUMN_LEN + 1 && v->name[COLUMN_LEN] == plug &&
           memcmp(v->name, column, COLUMN_LEN * sizeof(oid)) == 0;
}

static int io_status(void *ctx, const uint32_t *plugs, size_t n, enum fence_power *ret,
                     struct err *err)
{
    struct snmp *x = ctx;
    struct snmp_pdu *pdu = new_pdu(SNMP_MSG_GET);
    struct snmp_pdu *rp = NULL;
    const struct variable_list *v;
    size_t i = 0;
    int rc;

    for (size_t k = 0; k < n; k++) {
        add_oid(pdu, state_oid, plugs[k]);
    }
    rc = ask(x, pdu, false, READ_TRIES, &rp, err);
    if (rc == ERR_NOT_FOUND) {
        return err_set(err, ERR_NOT_FOUND, "%s has no such outlet (%" PRIu32 "%s)", x->address,
                       plugs[0], n > 1 ? " or the next" : "");
    }
    if (rc != 0) {
        return rc;
    }
    for (v = rp->variables; v != NULL && i < n && rc == 0; v = v->next_variable, i++) {
        if (v->type == SNMP_NOSUCHOBJECT || v->type == SNMP_NOSUCHINSTANCE) {
            rc = err_set(err, ERR_NOT_FOUND, "%s has no outlet %" PRIu32, x->address, plugs[i]);
        } else if (!is_plug(v, state_oid, plugs[i])) {
            rc = err_set(err, ERR_DRIVER, "%s answered about another outlet", x->address);
        } else {
            ret[i] = power_of(v);
        }
    }
    if (rc == 0 && i < n) {
        rc = err_set(err, ERR_DRIVER, "%s answered about too few outlets", x->address);
    }
    snmp_free_pdu(rp);
    return rc;
}

static int io_command(void *ctx, uint32_t plug, enum apc_command cmd, struct err *err)
{
    struct snmp *x = ctx;
    struct snmp_pdu *pdu = new_pdu(SNMP_MSG_SET);
    struct snmp_pdu *rp = NULL;
    oid name[COLUMN_LEN + 1];
    long value = (long)cmd;
    int rc;

    memcpy(name, control_oid, COLUMN_LEN * sizeof(oid));
    name[COLUMN_LEN] = plug;
    CHECK(snmp_pdu_add_variable(pdu, name, COLUMN_LEN + 1, ASN_INTEGER, &value, sizeof(value)) !=
          NULL);
    rc = ask(x, pdu, true, SET_TRIES, &rp, err);
    if (rc == 0) {
        snmp_free_pdu(rp);
    } else if (rc != ERR_UNKNOWN_OUTCOME && rc != ERR_CANCELED) {
        rc = ERR_REFUSED;
    }
    return rc;
}

/* One step of a walk: 0 and *ret_more = false at its end. */
static int next_name(struct snmp *x, uint32_t *plug, struct fence_outlet *ret, bool *ret_more,
                     struct err *err)
{
    struct snmp_pdu *pdu = new_pdu(SNMP_MSG_GETNEXT);
    struct snmp_pdu *rp = NULL;
    const struct variable_list *v;
    int rc;

    add_oid(pdu, name_oid, *plug);
    rc = ask(x, pdu, false, READ_TRIES, &rp, err);
    *ret_more = false;
    if (rc == ERR_NOT_FOUND) {
        return 0; /* v1: the end of everything */
    }
    if (rc != 0) {
        return rc;
    }
    v = rp->variables;
    if (v != NULL && v->type == ASN_OCTET_STR && v->name_length == COLUMN_LEN + 1 &&
        memcmp(v->name, name_oid, COLUMN_LEN * sizeof(oid)) == 0 && v->name[COLUMN_LEN] > *plug &&
        v->name[COLUMN_LEN] <= 999) {
        *plug = (uint32_t)v->name[COLUMN_LEN];
        *ret_more = true;
        memset(ret, 0, sizeof(*ret));
        (void)snprintf(ret->plug, sizeof(ret->plug), "%" PRIu32, *plug);
        (void)snprintf(ret->name, sizeof(ret->name), "%.*s", (int)v->val_len,
                       (const char *)v->val.string);
    }
    snmp_free_pdu(rp);
    return 0;
}

static int io_names(void *ctx, struct fence_outlet ret[FENCE_MAX_OUTLETS], size_t *ret_n,
                    struct err *err)
{
    struct snmp *x = ctx;
    uint32_t plug = 0;
    bool more = true;

    *ret_n = 0;
    while (*ret_n < FENCE_MAX_OUTLETS) {
        int rc = next_name(x, &plug, &ret[*ret_n], &more, err);

        if (rc != 0) {
            return rc;
        }
        if (!more) {
            break;
        }
        (*ret_n)++;
    }
    return 0;
}

static uint64_t io_now(void *ctx)
{
    (void)ctx;
    return clock_now_ms();
}

static uint64_t io_left(void *ctx)
{
    const struct snmp *x = ctx;

    return fence_run_left_ms(x->run);
}

static void io_sleep(void *ctx, uint64_t ms)
{
    struct snmp *x = ctx;

    fence_run_sleep(x->run, ms);
}

void snmp_drv_run(struct fence_run *run, struct fence_answer *ans)
{
    struct snmp x = { .run = run };
    struct apc_io io = { .ctx = &x,
                         .status = io_status,
                         .command = io_command,
                         .names = io_names,
                         .now_ms = io_now,
                         .left_ms = io_left,
                         .sleep = io_sleep };
    struct err err;

    memset(ans, 0, sizeof(*ans));
    if (session_open(&x, &err) != 0) {
        fence_answer_set(ans, FENCE_FAILED, "nothing was switched: %.200s", err.msg);
    } else {
        apc_run(run->op, &io, ans);
        (void)snmp_close(x.session);
    }
}
