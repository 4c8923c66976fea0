#include "cmd/picketd/upkeep.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "api/manifest.h"
#include "api/valid.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/obj.h"
#include "base/str.h"
#include "base/version.h"
#include "cmd/picketd/agree_plan.h"
#include "cmd/picketd/links.h"
#include "cmd/picketd/object.h"
#include "cmd/picketd/request.h"

#define ROUND_MS 2000U
#define ANSWER_MS 1500U
#define MEMBERS_MAX 32
#define DISK_LOW (UINT64_C(192) << 20) /* three log files */

struct member {
    uint64_t id;
    char name[64], version[64];
    bool answered; /* in this round */
    unsigned max_level;
    uint64_t disk_free, disk_size;
    bool disk_full;
    uint64_t index, hash; /* 0: it has applied nothing yet */
};

struct upkeep {
    struct node *node;
    struct agree_ring ring;
    struct member members[MEMBERS_MAX];
    size_t n_members;
    unsigned waiting; /* answers that are due */
    uint64_t round, next_ms;
    uint64_t compared;
    char diverged[128], disks_low[256];
    bool disk_was_low;
};

struct ask {
    struct rep_req req; /* first */
    struct upkeep *u;
    uint64_t round, id;
};

struct upkeep *upkeep_new(struct node *n)
{
    struct upkeep *u = OBJ_NEW(struct upkeep);

    u->node = n;
    return u;
}

/* --- a replica that has diverged ---------------------------------------------------------------
 */

int upkeep_may_start(const char *dir, struct err *err)
{
    char *path = mem_printf("%s/diverged", dir), why[256] = "";
    FILE *f = fopen(path, "re");
    int rc = 0;

    if (f != NULL) {
        if (fgets(why, sizeof(why), f) == NULL) {
            why[0] = 0;
        }
        why[strcspn(why, "\n")] = 0;
        (void)fclose(f);
        rc = err_set(err, ERR_CORRUPT,
                     "%s: this replica's state differs from that of the others (%s). It must not "
                     "serve or vote again: keep the folder for whoever looks into it, `picket "
                     "member remove` this member, and join it anew with an empty data folder",
                     path, why);
    }
    free(path);
    return rc;
}

static void end_diverged(const struct node *n, uint64_t index, uint64_t want, uint64_t have)
{
    char *path = mem_printf("%s/store/diverged", n->opts.data), text[160];
    int len = snprintf(text, sizeof(text),
                       "after entry %" PRIu64 ": hash %016" PRIx64 " here, %016" PRIx64 " there\n",
                       index, have, want);
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);

    if (fd < 0 || write(fd, text, (size_t)len) != len || fsync(fd) != 0) {
        lg_err("upkeep", "file=%s err=\"%s\"", path, strerror(errno));
    }
    text[len - 1] = 0;
    lg_err(
        "upkeep",
        "file=%s why=\"%s\" msg=\"THE STATE OF THIS REPLICA DIFFERS FROM THE OTHERS': it ends and "
        "does not start again\"",
        path, text);
    _exit(1);
}

void upkeep_diverged(struct node *n, uint64_t from, const uint8_t *data, size_t len,
                     uint64_t call_id)
{
    struct rd r = rd_make(data, len);
    uint64_t index = rd_u64(&r), want = rd_u64(&r), have;
    struct err err;

    if (r.bad || from != rep_leader(n->rep) || !agree_find(&n->upkeep->ring, index, &have) ||
        have == want) {
        (void)err_set(&err, ERR_INVALID, "that is not so here");
        rep_reply(n->rep, call_id, &err, NULL, 0);
        return;
    }
    rep_reply(n->rep, call_id, NULL, NULL, 0);
    end_diverged(n, index, want, have);
}

/* --- what a member says of itself --------------------------------------------------------------
 */

void upkeep_applied(struct node *n, uint64_t index, uint64_t hash)
{
    agree_note(&n->upkeep->ring, index, hash);
    if (store_unfit(n->store)) {
        lg_err("upkeep",
               "level=%u known=%u msg=\"the cluster is at a feature level that this version does "
               "not know: upgrade this picketd\"",
               store_level(n->store), store_max_level(n->store));
        _exit(1);
    }
}

static void own_info(const struct node *n, struct member *m)
{
    struct statvfs fs;
    struct rep_stats st;

    *m = (struct member){ .id = n->id, .answered = true, .max_level = store_max_level(n->store) };
    (void)str_copy(m->name, sizeof(m->name), n->opts.name);
    (void)str_copy(m->version, sizeof(m->version), PICKET_VERSION);
    (void)agree_newest(&n->upkeep->ring, &m->index, &m->hash);
    if (statvfs(n->opts.data, &fs) == 0) {
        m->disk_free = (uint64_t)fs.f_bavail * fs.f_frsize;
        m->disk_size = (uint64_t)fs.f_blocks * fs.f_frsize;
    }
    rep_stats(n->rep, &st);
    m->disk_full = st.disk_full;
}

void upkeep_info(struct node *n, uint64_t call_id)
{
    struct member m;
    char hash[20], *text;
    json_t *j;

    own_info(n, &m);
    (void)snprintf(hash, sizeof(hash), "%016" PRIx64, m.hash);
    j = json_pack("{s:s, s:s, s:i, s:I, s:s, s:I, s:I, s:b}", "name", m.name, "version", m.version,
                  "maxLevel", (int)m.max_level, "index", (json_int_t)m.index, "hash", hash,
                  "diskFree", (json_int_t)m.disk_free, "diskSize", (json_int_t)m.disk_size,
                  "diskFull", m.disk_full);
    text = json_dumps(j, JSON_COMPACT);
    CHECK(text != NULL);
    rep_reply(n->rep, call_id, NULL, text, strlen(text));
    free(text);
    json_decref(j);
}

/* --- the leader's decisions --------------------------------------------------------------------
 */

static void nothing(void *data, const struct err *err, const struct cmd_answer *ans)
{
    (void)ans;
    if (err != NULL) {
        lg_debug("upkeep", "cmd=%s msg=\"%s\"", (const char *)data, err->msg);
    }
}

static void submit(struct node *n, struct cmd *c, const char *what)
{
    c->actor =
        (struct actor){ .role = ACTOR_CONTROLLER, .name = n->opts.name, .term = rep_term(n->rep) };
    node_submit(n, c, false, nothing, (void *)(uintptr_t)what);
}

static void level_rise(struct upkeep *u)
{
    struct node *n = u->node;
    unsigned level = store_max_level(n->store);
    struct cmd c = { .op = CMD_FEATURE };

    for (size_t i = 0; i < u->n_members; i++) {
        unsigned known = u->members[i].answered ? u->members[i].max_level : 0;

        level = known < level ? known : level;
    }
    if (level > store_level(n->store) && store_get_str(n->store, "s/cluster") != NULL) {
        lg_info("upkeep", "level=%u was=%u msg=\"all members know this feature level\"", level,
                store_level(n->store));
        c.number = level;
        submit(n, &c, "feature");
    }
}

static void tell_done(struct rep_req *req, const struct err *err, const uint8_t *data, size_t len)
{
    (void)err;
    (void)data;
    (void)len;
    free(req);
}

static void tell_diverged(struct upkeep *u, const struct member *m, uint64_t own)
{
    struct rep_req *req = OBJ_NEW(struct rep_req);
    struct buf b = { 0 };

    lg_err("upkeep",
           "member=%s entry=%" PRIu64 " hash=%016" PRIx64 " own=%016" PRIx64
           " msg=\"ITS STATE DIFFERS FROM THE OTHERS': it is told to end\"",
           m->name, m->index, m->hash, own);
    buf_add_u64(&b, m->index);
    buf_add_u64(&b, own);
    rep_call(u->node->rep, m->id, NODE_CALL_DIVERGED, b.data, b.len, ANSWER_MS, req, tell_done);
    buf_done(&b);
}

/* 1: equal, -1: not, 0: it cannot be told. */
static int compare(const struct upkeep *u, const struct member *m, uint64_t *own)
{
    if (!m->answered || m->id == u->node->id || m->index == 0 ||
        !agree_find(&u->ring, m->index, own)) {
        return 0;
    }
    return *own == m->hash ? 1 : -1;
}

static void hashes_compare(struct upkeep *u)
{
    size_t same = 0, differ = 0;
    const struct member *last = NULL;
    uint64_t own = 0, newest = 0;
    enum agree_verdict verdict;

    for (size_t i = 0; i < u->n_members; i++) {
        const struct member *m = &u->members[i];
        int c = compare(u, m, &own);

        same += c > 0;
        differ += c < 0;
        newest = c > 0 && m->index > newest ? m->index : newest;
        last = c < 0 ? m : last;
    }
    u->compared = differ == 0 && newest != 0 ? newest : u->compared;
    verdict = agree_judge(same, differ);
    if (verdict == AGREE_SELF) {
        (void)compare(u, last, &own);
        end_diverged(u->node, last->index, last->hash, own);
    }
    if (verdict == AGREE_OK) {
        if (same > 0 && same + 1 >= u->n_members) {
            u->diverged[0] = 0; /* everybody is back and agrees */
        }
        return;
    }
    u->diverged[0] = 0;
    for (size_t i = 0; i < u->n_members; i++) {
        if (compare(u, &u->members[i], &own) < 0) {
            size_t len = strlen(u->diverged);

            (void)snprintf(u->diverged + len, sizeof(u->diverged) - len, "%s%s",
                           len > 0 ? ", " : "", u->members[i].name);
            tell_diverged(u, &u->members[i], own);
        }
    }
}

/* --- room --------------------------------------------------------------------------------------
 */

static bool disk_low(const struct member *m, bool was)
{
    uint64_t low = m->disk_size / 8 < DISK_LOW ? m->disk_size / 8 : DISK_LOW;

    low = was ? low + low / 4 : low; /* it goes off a little later than on */
    return m->answered && (m->disk_full || (m->disk_size != 0 && m->disk_free < low));
}

static void disks_look(struct upkeep *u)
{
    bool was = u->disk_was_low;

    u->disks_low[0] = 0;
    u->disk_was_low = false;
    for (size_t i = 0; i < u->n_members; i++) {
        const struct member *m = &u->members[i];
        size_t len = strlen(u->disks_low);

        if (disk_low(m, was)) {
            u->disk_was_low = true;
            (void)snprintf(u->disks_low + len, sizeof(u->disks_low) - len,
                           "%s%s (%" PRIu64 " MiB in all)", len > 0 ? ", " : "", m->name,
                           m->disk_size >> 20);
        }
    }
}

/* On from 95 percent, off below 90. */
static bool nearly_full(size_t used, size_t quota, bool was)
{
    return used >= quota / 100 * (was ? 90 : 95);
}

static void alarm_set(struct upkeep *u, const char *kind, bool is, bool want)
{
    struct cmd c = { .op = CMD_ALARM, .text = kind, .number = want };

    if (is != want) {
        lg_warn("upkeep", "alarm=%s on=%d disks=\"%s\" msg=\"%s\"", kind, want, u->disks_low,
                want ? "there is no room: nothing is taken that grows" : "there is room again");
        submit(u->node, &c, "alarm");
    }
}

static void alarms(struct upkeep *u)
{
    struct store_room r;

    disks_look(u);
    store_room(u->node->store, &r);
    alarm_set(u, "NOSPACE", r.nospace,
              u->disks_low[0] != 0 || nearly_full(r.bytes, r.quota, r.nospace));
    if (store_level(u->node->store) >= 2) {
        alarm_set(u, "raw-nospace", r.raw_nospace,
                  nearly_full(r.raw_bytes, r.raw_quota, r.raw_nospace));
    }
}

static void quota_hand_over(struct upkeep *u)
{
    struct err err;
    json_t *cluster = object_read(u->node->store, "clusters", "cluster", &err);
    struct cmd c = { .op = CMD_QUOTA,
                     .number = jget_size(cluster, "spec.storage.quota", 0),
                     .number2 = jget_size(cluster, "spec.storage.rawQuota", 0) };
    struct store_room r;

    store_room(u->node->store, &r);
    if (cluster != NULL && store_level(u->node->store) >= 2 &&
        (c.number != r.set_quota || c.number2 != r.set_raw_quota)) {
        submit(u->node, &c, "quota");
    }
    json_decref(cluster);
}

/* --- rounds ------------------------------------------------------------------------------------
 */

static void round_over(struct upkeep *u)
{
    if (!node_leads(u->node)) {
        return;
    }
    hashes_compare(u);
    level_rise(u);
    quota_hand_over(u);
    alarms(u);
}

static struct member *member_find(struct upkeep *u, uint64_t id)
{
    for (size_t i = 0; i < u->n_members; i++) {
        if (u->members[i].id == id) {
            return &u->members[i];
        }
    }
    return NULL;
}

static void take_answer(struct member *m, const uint8_t *data, size_t len)
{
    struct err err;
    json_t *j = NULL;

    if (json_parse_strict((const char *)data, len, &j, &err) != 0) {
        lg_warn("upkeep", "member=%s msg=\"%s\"", m->name, err.msg);
        return;
    }
    m->answered = true;
    m->max_level = (unsigned)jget_int(j, "maxLevel", 1);
    m->index = (uint64_t)jget_int(j, "index", 0);
    m->hash = strtoull(jget_str(j, "hash", "0"), NULL, 16);
    m->disk_free = (uint64_t)jget_int(j, "diskFree", 0);
    m->disk_size = (uint64_t)jget_int(j, "diskSize", 0);
    m->disk_full = jget_bool(j, "diskFull", false);
    (void)str_copy(m->version, sizeof(m->version), jget_str(j, "version", ""));
    json_decref(j);
}

static void on_answer(struct rep_req *req, const struct err *err, const uint8_t *data, size_t len)
{
    struct ask *a = CONTAINER_OF(req, struct ask, req);
    struct upkeep *u = a->u;
    struct member *m = a->round == u->round ? member_find(u, a->id) : NULL;

    if (m != NULL) {
        if (err == NULL) {
            take_answer(m, data, len);
        }
        if (--u->waiting == 0) {
            round_over(u);
        }
    }
    free(a);
}

static void round_begin(struct upkeep *u)
{
    struct rep_peer_info peers[MEMBERS_MAX];
    size_t count = rep_peers(u->node->rep, peers, MEMBERS_MAX);

    u->round++;
    u->n_members = 0;
    u->waiting = 1;
    for (size_t i = 0; i < count; i++) {
        struct member *m = &u->members[u->n_members++];
        struct ask *a;

        if (peers[i].id == u->node->id) {
            own_info(u->node, m);
            continue;
        }
        *m = (struct member){ .id = peers[i].id };
        (void)str_copy(m->name, sizeof(m->name), peers[i].name);
        a = OBJ_NEW(struct ask);
        *a = (struct ask){ .u = u, .round = u->round, .id = m->id };
        u->waiting++;
        rep_call(u->node->rep, m->id, NODE_CALL_INFO, "", 0, ANSWER_MS, &a->req, on_answer);
    }
    if (--u->waiting == 0) {
        round_over(u);
    }
}

void upkeep_tick(struct node *n)
{
    struct upkeep *u = n->upkeep;
    uint64_t now = clock_now_ms();

    if (now < u->next_ms) {
        return;
    }
    u->next_ms = now + ROUND_MS;
    if (!node_leads(n)) {
        u->n_members = 0;
        u->diverged[0] = u->disks_low[0] = 0;
        u->disk_was_low = false;
        return;
    }
    round_begin(u);
    request_sweep(n);
}

/* --- views -------------------------------------------------------------------------------------
 */

void upkeep_view(const struct node *n, struct upkeep_view *ret)
{
    const struct upkeep *u = n->upkeep;
    struct store_room r;

    store_room(n->store, &r);
    *ret = (struct upkeep_view){ .level = store_level(n->store),
                                 .max_level = store_max_level(n->store),
                                 .compared = u->compared,
                                 .nospace = r.nospace,
                                 .raw_nospace = r.raw_nospace };
    (void)str_copy(ret->diverged, sizeof(ret->diverged), u->diverged);
    (void)str_copy(ret->disks_low, sizeof(ret->disks_low), u->disks_low);
}

json_t *upkeep_versions(const struct node *n)
{
    const struct upkeep *u = n->upkeep;
    json_t *list = json_array();

    for (size_t i = 0; i < u->n_members; i++) {
        const struct member *m = &u->members[i];

        if (m->answered) {
            (void)json_array_append_new(list,
                                        json_pack("{s:s, s:s, s:i}", "name", m->name, "version",
                                                  m->version, "featureLevel", (int)m->max_level));
        }
    }
    return list;
}
