/* The leader's side of membership. */

#include "cmd/picketd/member.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "api/manifest.h"
#include "api/valid.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/obj.h"
#include "base/str.h"
#include "cmd/picketd/links.h"
#include "cmd/picketd/record.h"

#define IDS_KEY "o/_members/ids"
#define MEMBERS_MAX 64
#define PROMOTE_EVERY_MS 1000U

/* One change under way: relayed (call_id), or our own (0). */
struct change_op {
    struct rep_req req;
    struct node *node;
    uint64_t call_id;
    uint64_t id;
    char name[64];
    char address[REP_ADDRESS_MAX];
    bool voter;
};

static const char *member_role_name(enum rep_member_role role)
{
    switch (role) {
    case REP_VOTER:
        return "voter";
    case REP_STANDBY:
        return "standby";
    case REP_SPARE:
        return "spare";
    }
    CHECK_UNREACHABLE();
}

/* --- who is there ------------------------------------------------------------------------------
 */

static json_t *peer_json(const struct node *n, const struct rep_peer_info *p)
{
    uint64_t now = clock_now_ms();
    bool self = p->id == n->id;
    json_int_t age = p->last_contact_ms == 0 || now < p->last_contact_ms
                         ? -1
                         : (json_int_t)(now - p->last_contact_ms);

    return json_pack("{s:I, s:s, s:s, s:s, s:b, s:b, s:I, s:I}", "id", (json_int_t)p->id, "name",
                     p->name, "address", p->address, "role", member_role_name(p->role), "leader",
                     self, "reachable", p->reachable || self, "lastContactMs",
                     self ? (json_int_t)0 : age, "matchIndex", (json_int_t)p->match_index);
}

static json_t *list_json(const struct node *n)
{
    struct rep_peer_info peers[MEMBERS_MAX];
    size_t count = rep_peers(n->rep, peers, MEMBERS_MAX);
    json_t *items = json_array();

    for (size_t i = 0; i < count; i++) {
        (void)json_array_append_new(items, peer_json(n, &peers[i]));
    }
    return json_pack("{s:s, s:I, s:I, s:o}", "leader", n->opts.name, "term",
                     (json_int_t)rep_term(n->rep), "committed", (json_int_t)rep_committed(n->rep),
                     "items", items);
}

/* Members that are called `name`: how many; *ret is the last one. */
static size_t find_name(const struct node *n, const char *name, struct rep_peer_info *ret)
{
    struct rep_peer_info peers[MEMBERS_MAX];
    size_t count = rep_peers(n->rep, peers, MEMBERS_MAX), found = 0;

    for (size_t i = 0; i < count; i++) {
        if (str_eq(peers[i].name, name)) {
            *ret = peers[i];
            found++;
        }
    }
    return found;
}

static int find(const struct node *n, const char *name, struct rep_peer_info *ret, struct err *err)
{
    if (find_name(n, name, ret) == 0) {
        return err_set(err, ERR_NOT_FOUND,
                       "no member is called \"%s\"; `picket member list` names "
                       "them",
                       name);
    }
    return 0;
}

/* Would the voters that are reachable still be a majority without this one? */
static int check_majority(const struct node *n, uint64_t without, const char *what, struct err *err)
{
    struct rep_peer_info peers[MEMBERS_MAX];
    size_t count = rep_peers(n->rep, peers, MEMBERS_MAX), voters = 0, up = 0;

    for (size_t i = 0; i < count; i++) {
        if (peers[i].role == REP_VOTER && peers[i].id != without) {
            voters++;
            up += peers[i].reachable || peers[i].id == n->id;
        }
    }
    if (2 * up <= voters) {
        return err_set(err, ERR_REFUSED,
                       "%s: only %zu of the other %zu voters are reachable, which is no majority; "
                       "bring them back, or remove those that are gone for good first",
                       what, up, voters);
    }
    return 0;
}

/* --- answers -----------------------------------------------------------------------------------
 */

static void reply_err(struct node *n, uint64_t call_id, const struct err *err)
{
    if (call_id != 0) {
        rep_reply(n->rep, call_id, err, NULL, 0);
    } else {
        lg_info("member", "msg=\"%s\"", err->msg);
    }
}

static void reply_json(struct node *n, uint64_t call_id, json_t *v)
{
    char *text = json_dumps(v, JSON_COMPACT);

    CHECK(text != NULL);
    if (call_id != 0) {
        rep_reply(n->rep, call_id, NULL, text, strlen(text));
    }
    free(text);
    json_decref(v);
}

static void changed(struct rep_req *req, const struct err *err)
{
    struct change_op *op = CONTAINER_OF(req, struct change_op, req);

    op->node->member_busy = false;
    if (err != NULL) {
        reply_err(op->node, op->call_id, err);
    } else {
        lg_info("member", "name=%s id=%" PRIu64 " msg=\"members changed\"", op->name, op->id);
        reply_json(op->node, op->call_id,
                   json_pack("{s:s, s:I}", "name", op->name, "id", (json_int_t)op->id));
    }
    free(op);
}

static struct change_op *op_new(struct node *n, uint64_t call_id, const struct rep_peer_info *p)
{
    struct change_op *op = OBJ_NEW(struct change_op);

    op->node = n;
    op->call_id = call_id;
    op->id = p->id;
    (void)str_copy(op->name, sizeof(op->name), p->name);
    n->member_busy = true;
    return op;
}

/* --- adding ------------------------------------------------------------------------------------
 */

/* The number is written down before it is used: no id ever comes twice. */
static void add_numbered(void *data, const struct err *err, const struct cmd_answer *ans)
{
    struct change_op *op = data;
    struct rep_member m = {
        .id = op->id, .name = op->name, .address = op->address, .role = REP_STANDBY
    };

    (void)ans;
    if (err != NULL) {
        changed(&op->req, err);
        return;
    }
    rep_add(op->node->rep, &op->req, &m, changed);
}

static uint64_t next_id(const struct node *n, const json_t *ids)
{
    struct rep_peer_info peers[MEMBERS_MAX];
    size_t count = rep_peers(n->rep, peers, MEMBERS_MAX);
    uint64_t last = (uint64_t)jget_int(ids, "lastID", 0);

    for (size_t i = 0; i < count; i++) {
        last = peers[i].id > last ? peers[i].id : last;
    }
    return last + 1;
}

static void add_number(struct change_op *op)
{
    uint64_t rev;
    json_t *ids = record_get(op->node->store, IDS_KEY, &rev), *voters;

    ids = ids == NULL ? json_object() : ids;
    op->id = next_id(op->node, ids);
    (void)json_object_set_new(ids, "lastID", json_integer((json_int_t)op->id));
    voters = json_object_get(ids, "voters");
    if (!json_is_array(voters)) {
        voters = json_array();
        (void)json_object_set_new(ids, "voters", voters);
    }
    if (op->voter) {
        (void)json_array_append_new(voters, json_integer((json_int_t)op->id));
    }
    record_put(op->node, IDS_KEY, ids, rev, add_numbered, op);
    json_decref(ids);
}

int member_addable(const struct node *n, const char *name, const char *address, struct err *err)
{
    struct rep_peer_info there;

    if (find_name(n, name, &there) > 0) {
        return err_set(err, ERR_EXISTS,
                       "%s is a member already (id %" PRIu64 ", %s). If its disk was lost: "
                       "`picket member remove %s`, then add or join it again",
                       name, there.id, member_role_name(there.role), name);
    }
    if (!str_is_name(name)) {
        return err_set(err, ERR_INVALID, "name: \"%.64s\" is no host name", name);
    }
    return links_check(address, err);
}

static void add(struct node *n, const json_t *body, uint64_t call_id)
{
    const char *name = jget_str(body, "name", ""), *address = jget_str(body, "address", "");
    struct rep_peer_info fresh = { 0 };
    struct change_op *op;
    struct err err = { 0 };

    if (member_addable(n, name, address, &err) != 0) {
        reply_err(n, call_id, &err);
        return;
    }
    op = op_new(n, call_id, &fresh);
    (void)str_copy(op->name, sizeof(op->name), name);
    (void)str_copy(op->address, sizeof(op->address), address);
    op->voter = jget_bool(body, "voter", false);
    add_number(op);
}

/* --- the others --------------------------------------------------------------------------------
 */

static void assign(struct node *n, const struct rep_peer_info *p, enum rep_member_role role,
                   uint64_t call_id)
{
    struct change_op *op;
    struct err err = { 0 };

    if (role == REP_VOTER && !p->reachable && p->id != n->id) {
        (void)err_set(&err, ERR_UNREACHABLE,
                      "%s is not reachable from the leader: start its picketd first", p->name);
    } else if (role != REP_VOTER && p->role == REP_VOTER) {
        (void)check_majority(n, p->id, "demote", &err);
    }
    if (err.code != 0) {
        reply_err(n, call_id, &err);
        return;
    }
    op = op_new(n, call_id, p);
    rep_assign(n->rep, &op->req, p->id, role, changed);
}

static void remove_member(struct node *n, const struct rep_peer_info *p, uint64_t call_id)
{
    struct change_op *op;
    struct err err = { 0 };

    if (p->role == REP_VOTER && check_majority(n, p->id, "remove", &err) != 0) {
        reply_err(n, call_id, &err);
        return;
    }
    op = op_new(n, call_id, p);
    rep_remove(n->rep, &op->req, p->id, changed);
}

static void transfer(struct node *n, const char *to, uint64_t call_id)
{
    struct rep_peer_info p = { 0 };
    struct err err = { 0 };

    if (!str_eq(to, "-") && find(n, to, &p, &err) != 0) {
        reply_err(n, call_id, &err);
    } else if (p.id == n->id && p.id != 0) {
        reply_json(n, call_id, json_pack("{s:s}", "leader", n->opts.name));
    } else if (p.id != 0 && !p.reachable) {
        (void)err_set(&err, ERR_UNREACHABLE, "%s is not reachable from the leader", p.name);
        reply_err(n, call_id, &err);
    } else if (rep_transfer(n->rep, p.id, &err) != 0) {
        reply_err(n, call_id, &err);
    } else {
        reply_json(n, call_id, json_pack("{s:s}", "from", n->opts.name));
    }
}

static void member_do(struct node *n, const json_t *body, uint64_t call_id)
{
    const char *op = jget_str(body, "op", ""), *name = jget_str(body, "name", "");
    struct rep_peer_info p;
    struct err err;

    if (str_eq(op, "list")) {
        reply_json(n, call_id, list_json(n));
    } else if (str_eq(op, "transfer")) {
        transfer(n, name, call_id);
    } else if (n->member_busy) {
        (void)err_set(&err, ERR_CONFLICT,
                      "another change of the members is under way: wait for "
                      "its end");
        reply_err(n, call_id, &err);
    } else if (str_eq(op, "add")) {
        add(n, body, call_id);
    } else if (find(n, name, &p, &err) != 0) {
        reply_err(n, call_id, &err);
    } else if (str_eq(op, "promote") || str_eq(op, "demote")) {
        assign(n, &p, str_eq(op, "promote") ? REP_VOTER : REP_STANDBY, call_id);
    } else if (str_eq(op, "remove")) {
        remove_member(n, &p, call_id);
    } else {
        (void)err_set(&err, ERR_UNSUPPORTED, "members: unknown operation \"%.32s\"", op);
        reply_err(n, call_id, &err);
    }
}

void member_call(struct node *n, const uint8_t *data, size_t len, uint64_t call_id)
{
    json_t *body = NULL;
    struct err err;

    if (!node_leads(n)) {
        (void)err_set(&err, ERR_NOT_LEADER, "%s does not lead", n->opts.name);
        reply_err(n, call_id, &err);
    } else if (json_parse_strict((const char *)data, len, &body, &err) != 0) {
        reply_err(n, call_id, &err);
    } else {
        member_do(n, body, call_id);
    }
    json_decref(body);
}

/* --- stand-bys that shall vote -----------------------------------------------------------------
 */

static bool shall_vote(const json_t *ids, uint64_t id)
{
    const json_t *voters = json_object_get(ids, "voters");

    for (size_t i = 0; i < json_array_size(voters); i++) {
        if ((uint64_t)json_integer_value(json_array_get(voters, i)) == id) {
            return true;
        }
    }
    return false;
}

void member_tick(struct node *n)
{
    struct rep_peer_info peers[MEMBERS_MAX];
    uint64_t now = clock_now_ms(), rev;
    json_t *ids;
    size_t count;

    if (n->member_busy || !node_leads(n) || now < n->member_next_ms) {
        return;
    }
    n->member_next_ms = now + PROMOTE_EVERY_MS;
    ids = record_get(n->store, IDS_KEY, &rev);
    count = ids == NULL ? 0 : rep_peers(n->rep, peers, MEMBERS_MAX);
    for (size_t i = 0; i < count; i++) {
        if (peers[i].role != REP_VOTER && peers[i].reachable && shall_vote(ids, peers[i].id)) {
            assign(n, &peers[i], REP_VOTER, 0);
            break;
        }
    }
    json_decref(ids);
}
