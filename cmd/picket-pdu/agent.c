/* The SNMP side, on net-snmp's session layer: messages in, answers out.  The library parses, checks
 * the security of v3 and answers its discovery; the objects are a sorted list of names here.
 *
 * Source: APC PowerNet-MIB; RFC 3416 4.2 for GET, GETNEXT, GETBULK and SET.
 */

#include <net-snmp/net-snmp-config.h>

#include <net-snmp/net-snmp-includes.h>

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/select.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/obj.h"
#include "base/str.h"
#include "cmd/picket-pdu/pdu.h"

#define OID_MAX 16
#define OBJECTS_MAX (8 + 6 * PDU_MAX_OUTLETS)
#define BULK_MAX 40

enum what {
    W_DESCR,
    W_OBJECT_ID,
    W_UPTIME,
    W_NAME,
    W_COUNT,
    W_INDEX,
    W_OUTLET_NAME,
    W_COMMAND,
    W_STATE
};

struct object {
    oid name[OID_MAX];
    size_t len;
    enum what what;
    size_t outlet;
};

static struct object objects[OBJECTS_MAX]; /* sorted */
static size_t n_objects;
static struct pdu *pdu;
static uint64_t started_ms;

#define APC 1, 3, 6, 1, 4, 1, 318, 1, 1, 12

static void add_object(const oid *name, size_t len, enum what what, size_t outlet)
{
    struct object *o = &objects[n_objects++];

    CHECK(n_objects <= OBJECTS_MAX);
    CHECK(len <= OID_MAX);
    memcpy(o->name, name, len * sizeof(oid));
    o->len = len;
    o->what = what;
    o->outlet = outlet;
    CHECK(n_objects < 2 ||
          snmp_oid_compare(objects[n_objects - 2].name, objects[n_objects - 2].len, name, len) < 0);
}

/* One column of a table of outlets: ...12.3.TABLE.1.1.COLUMN.N */
static void add_column(oid table, oid column, enum what what)
{
    for (size_t i = 0; i < pdu->n_outlets; i++) {
        const oid name[] = { APC, 3, table, 1, 1, column, i + 1 };

        add_object(name, ARRAY_LEN(name), what, i);
    }
}

static void add_objects(void)
{
    static const oid descr[] = { 1, 3, 6, 1, 2, 1, 1, 1, 0 };
    static const oid object_id[] = { 1, 3, 6, 1, 2, 1, 1, 2, 0 };
    static const oid uptime[] = { 1, 3, 6, 1, 2, 1, 1, 3, 0 };
    static const oid name[] = { 1, 3, 6, 1, 2, 1, 1, 5, 0 };
    static const oid count[] = { APC, 1, 8, 0 };

    add_object(descr, ARRAY_LEN(descr), W_DESCR, 0);
    add_object(object_id, ARRAY_LEN(object_id), W_OBJECT_ID, 0);
    add_object(uptime, ARRAY_LEN(uptime), W_UPTIME, 0);
    add_object(name, ARRAY_LEN(name), W_NAME, 0);
    add_object(count, ARRAY_LEN(count), W_COUNT, 0);
    add_column(3, 1, W_INDEX); /* rPDUOutletControlTable */
    add_column(3, 2, W_OUTLET_NAME);
    add_column(3, 4, W_COMMAND);
    add_column(5, 1, W_INDEX); /* rPDUOutletStatusTable */
    add_column(5, 2, W_OUTLET_NAME);
    add_column(5, 4, W_STATE);
}

static const struct object *find(const oid *name, size_t len, bool next)
{
    for (size_t i = 0; i < n_objects; i++) {
        int c = snmp_oid_compare(objects[i].name, objects[i].len, name, len);

        if (c == 0 && !next) {
            return &objects[i];
        }
        if (c > 0) {
            return next ? &objects[i] : NULL;
        }
    }
    return NULL;
}

static bool is_silent(const struct object *o)
{
    return o != NULL && (o->what == W_COMMAND || o->what == W_STATE) &&
           pdu->outlets[o->outlet].fail == PDU_SILENT;
}

/* A walk that ends in front of this object's column is not about it. */
static bool is_about(const struct variable_list *v, const struct object *o)
{
    return v->name_length >= o->len - 1 &&
           memcmp(v->name, o->name, (o->len - 1) * sizeof(oid)) == 0;
}

/* --- values
 * ------------------------------------------------------------------------------------------ */

static void set_text(struct variable_list *v, const char *s)
{
    (void)snmp_set_var_typed_value(v, ASN_OCTET_STR, s, strlen(s));
}

static void set_long(struct variable_list *v, u_char type, long value)
{
    (void)snmp_set_var_typed_value(v, type, &value, sizeof(value));
}

/* SNMP_ERR_NOERROR or SNMP_ERR_GENERR. */
static long set_power(struct variable_list *v, size_t outlet)
{
    enum pdu_power power = pdu_outlet_power(pdu, outlet);

    if (power == PDU_POWER_UNKNOWN) {
        return SNMP_ERR_GENERR;
    }
    set_long(v, ASN_INTEGER, (long)power);
    return SNMP_ERR_NOERROR;
}

static long set_value(struct variable_list *v, const struct object *o)
{
    static const oid model[] = { 1, 3, 6, 1, 4, 1, 318, 1, 3, 4, 5 }; /* rack PDU, switched */

    (void)snmp_set_var_objid(v, o->name, o->len);
    switch (o->what) {
    case W_DESCR:
        set_text(v, "APC Web/SNMP Management Card (picket-pdu)");
        return SNMP_ERR_NOERROR;
    case W_OBJECT_ID:
        (void)snmp_set_var_typed_value(v, ASN_OBJECT_ID, model, sizeof(model));
        return SNMP_ERR_NOERROR;
    case W_UPTIME:
        set_long(v, ASN_TIMETICKS, (long)((clock_now_ms() - started_ms) / 10));
        return SNMP_ERR_NOERROR;
    case W_NAME:
        set_text(v, "picket-pdu");
        return SNMP_ERR_NOERROR;
    case W_COUNT:
        set_long(v, ASN_INTEGER, (long)pdu->n_outlets);
        return SNMP_ERR_NOERROR;
    case W_INDEX:
        set_long(v, ASN_INTEGER, (long)o->outlet + 1);
        return SNMP_ERR_NOERROR;
    case W_OUTLET_NAME:
        set_text(v, pdu->outlets[o->outlet].name);
        return SNMP_ERR_NOERROR;
    case W_COMMAND:
    case W_STATE:
        return set_power(v, o->outlet);
    }
    CHECK_UNREACHABLE();
}

/* --- requests
 * ---------------------------------------------------------------------------------------- */

static void fail_at(struct snmp_pdu *rp, long errstat, long index)
{
    if (rp->errstat == SNMP_ERR_NOERROR) {
        rp->errstat = errstat;
        rp->errindex = index;
    }
}

/* v1 has no exceptions in values. */
static void no_value(struct snmp_pdu *rp, struct variable_list *v, u_char exception, long index)
{
    if (rp->version == SNMP_VERSION_1) {
        fail_at(rp, SNMP_ERR_NOSUCHNAME, index);
    } else {
        (void)snmp_set_var_typed_value(v, exception, NULL, 0);
    }
}

/* False: no answer at all. */
static bool answer_get(struct snmp_pdu *rp, bool next)
{
    long index = 0;

    for (struct variable_list *v = rp->variables; v != NULL; v = v->next_variable) {
        const struct object *o = find(v->name, v->name_length, next);

        index++;
        if (is_silent(o) && is_about(v, o)) {
            return false;
        }
        if (o == NULL) {
            no_value(rp, v, next ? SNMP_ENDOFMIBVIEW : SNMP_NOSUCHINSTANCE, index);
        } else if (set_value(v, o) != SNMP_ERR_NOERROR) {
            fail_at(rp, SNMP_ERR_GENERR, index);
        }
    }
    return true;
}

/* The first variable only is repeated: that is all that walks use. */
static void answer_bulk(struct snmp_pdu *rp, long repetitions)
{
    oid name[MAX_OID_LEN];
    size_t len = rp->variables->name_length;
    struct variable_list *rest = rp->variables;

    CHECK(len <= MAX_OID_LEN);
    memcpy(name, rest->name, len * sizeof(oid));
    snmp_free_varbind(rest);
    rp->variables = NULL;
    for (long i = 0; i < repetitions && i < BULK_MAX; i++) {
        const struct object *o = find(name, len, true);
        struct variable_list *v = snmp_add_null_var(rp, name, len);

        CHECK(v != NULL);
        if (o == NULL) {
            (void)snmp_set_var_typed_value(v, SNMP_ENDOFMIBVIEW, NULL, 0);
            return;
        }
        if (set_value(v, o) != SNMP_ERR_NOERROR) {
            fail_at(rp, SNMP_ERR_GENERR, i + 1);
            return;
        }
        memcpy(name, o->name, o->len * sizeof(oid));
        len = o->len;
    }
}

static bool settable(const struct object *o, const struct variable_list *v)
{
    return o != NULL && o->what == W_COMMAND && v->type == ASN_INTEGER && *v->val.integer >= 1 &&
           *v->val.integer <= 3;
}

/* All or nothing as far as can be seen before; then one after another. */
static bool answer_set(struct snmp_pdu *rp)
{
    bool v1 = rp->version == SNMP_VERSION_1;
    long index = 0;

    for (struct variable_list *v = rp->variables; v != NULL; v = v->next_variable) {
        const struct object *o = find(v->name, v->name_length, false);

        index++;
        if (is_silent(o)) {
            return false;
        }
        if (o == NULL) {
            fail_at(rp, v1 ? SNMP_ERR_NOSUCHNAME : SNMP_ERR_NOTWRITABLE, index);
        } else if (!settable(o, v)) {
            fail_at(rp, v1 ? SNMP_ERR_BADVALUE : SNMP_ERR_WRONGVALUE, index);
        }
    }
    index = 0;
    for (struct variable_list *v = rp->variables; v != NULL && rp->errstat == SNMP_ERR_NOERROR;
         v = v->next_variable) {
        const struct object *o = find(v->name, v->name_length, false);

        index++;
        CHECK(o != NULL);
        if (!pdu_outlet_command(pdu, o->outlet, *v->val.integer, clock_now_ms())) {
            fail_at(rp, SNMP_ERR_GENERR, index);
        }
    }
    return true;
}

static bool authorised(const struct snmp_pdu *rq)
{
    if (rq->version == SNMP_VERSION_3) {
        return rq->securityLevel >= SNMP_SEC_LEVEL_AUTHNOPRIV;
    }
    for (size_t i = 0; i < pdu->n_communities; i++) {
        if (rq->community_len == strlen(pdu->communities[i]) &&
            memcmp(rq->community, pdu->communities[i], rq->community_len) == 0) {
            return true;
        }
    }
    return pdu->any_community;
}

static bool answer(const struct snmp_pdu *rq, struct snmp_pdu *rp)
{
    rp->command = SNMP_MSG_RESPONSE;
    rp->errstat = SNMP_ERR_NOERROR;
    rp->errindex = 0;
    if (rp->variables == NULL) {
        return true;
    }
    switch (rq->command) {
    case SNMP_MSG_GET:
        return answer_get(rp, false);
    case SNMP_MSG_GETNEXT:
        return answer_get(rp, true);
    case SNMP_MSG_GETBULK:
        answer_bulk(rp, rq->errindex); /* max-repetitions */
        return true;
    case SNMP_MSG_SET:
        return answer_set(rp);
    default:
        return false;
    }
}

static int on_message(int op, struct snmp_session *session, int reqid, struct snmp_pdu *rq,
                      void *ctx)
{
    struct snmp_pdu *rp;

    (void)reqid;
    (void)ctx;
    if (op != NETSNMP_CALLBACK_OP_RECEIVED_MESSAGE || !authorised(rq)) {
        return 1;
    }
    /* net-snmp hands over messages whose authentication failed, too, and says so here. */
    if (session->s_snmp_errno == SNMPERR_USM_AUTHENTICATIONFAILURE && !pdu->rogue) {
        return 1;
    }
    rp = snmp_clone_pdu(rq);
    CHECK(rp != NULL);
    if (!answer(rq, rp) || snmp_send(session, rp) == 0) {
        snmp_free_pdu(rp);
    }
    return 1;
}

/* --- start and loop
 * ---------------------------------------------------------------------------------- */

static void library_init(void)
{
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
    init_snmp("picket-pdu");
}

static int add_users(const char *path, struct err *err)
{
    char line[256];
    FILE *f = fopen(path, "re");

    if (f == NULL) {
        return err_native(err, ERR_SYS, "errno", errno, "--v3-user-file %s", path);
    }
    while (fgets(line, sizeof(line), f) != NULL) {
        line[strcspn(line, "\n")] = '\0';
        if (line[0] != '\0' && line[0] != '#') {
            usm_parse_create_usmUser("createUser", line);
        }
    }
    (void)fclose(f);
    return 0;
}

static int listen_on(struct err *err)
{
    char peer[128];
    netsnmp_transport *t;
    struct snmp_session s;

    (void)snprintf(peer, sizeof(peer), "udp:%s", pdu->listen);
    t = netsnmp_transport_open_server("picket-pdu", peer);
    if (t == NULL) {
        return err_native(err, ERR_SYS, "errno", errno, "--listen %s", pdu->listen);
    }
    snmp_sess_init(&s);
    s.peername = (char *)(uintptr_t) "";
    s.version = SNMP_DEFAULT_VERSION;
    s.community_len = SNMP_DEFAULT_COMMUNITY_LEN;
    s.retries = SNMP_DEFAULT_RETRIES;
    s.timeout = SNMP_DEFAULT_TIMEOUT;
    s.callback = on_message;
    s.isAuthoritative = SNMP_SESS_UNKNOWNAUTH;
    if (snmp_add(&s, t, NULL, NULL) == NULL) {
        return err_set(err, ERR_DRIVER, "SNMP session: %s", snmp_api_errstring(snmp_errno));
    }
    return 0;
}

static void turn(void)
{
    struct timeval tv = { .tv_sec = 1 };
    fd_set fds;
    int n = 0, block = 0;
    uint64_t now_ms = clock_now_ms();
    uint64_t next_ms = pdu_outlets_due(pdu, now_ms);

    if (next_ms != 0 && next_ms - now_ms < 1000) {
        tv = (struct timeval){ .tv_usec = (suseconds_t)(next_ms - now_ms) * 1000 };
    }
    FD_ZERO(&fds);
    (void)snmp_select_info(&n, &fds, &tv, &block);
    n = select(n, &fds, NULL, NULL, &tv);
    if (n > 0) {
        snmp_read(&fds);
    } else if (n == 0) {
        snmp_timeout();
    }
}

int pdu_agent_run(struct pdu *p, const volatile int *stop, struct err *err)
{
    int rc = 0;

    pdu = p;
    started_ms = clock_now_ms();
    add_objects();
    library_init();
    if (p->v3_file != NULL) {
        rc = add_users(p->v3_file, err);
    }
    if (rc == 0) {
        rc = listen_on(err);
    }
    if (rc == 0) {
        lg_info("pdu", "listen=%s outlets=%zu msg=started", p->listen, p->n_outlets);
    }
    while (rc == 0 && !*stop) {
        turn();
    }
    return rc;
}
