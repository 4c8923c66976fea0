/* This node's own view of the cluster, answered without quorum, and its metrics. */

#include <inttypes.h>
#include <stdlib.h>

#include "base/clock.h"
#include "base/obj.h"
#include "base/version.h"
#include "cmd/picketd/certs.h"
#include "cmd/picketd/console.h"
#include "cmd/picketd/ctl.h"
#include "cmd/picketd/native.h"
#include "cmd/picketd/rest.h"
#include "cmd/picketd/upkeep.h"

#define PEERS_MAX 32

static const char *role_name(enum rep_role role)
{
    switch (role) {
    case REP_LEADER:
        return "leader";
    case REP_FOLLOWER:
        return "follower";
    case REP_CANDIDATE:
        return "candidate";
    case REP_UNAVAILABLE:
        return "unavailable";
    }
    CHECK_UNREACHABLE();
}

static const char *member_role(enum rep_member_role role)
{
    return role == REP_VOTER ? "voter" : role == REP_STANDBY ? "standby" : "spare";
}

static json_t *peers_json(const struct node *n)
{
    struct rep_peer_info peers[PEERS_MAX];
    size_t count = rep_peers(n->rep, peers, PEERS_MAX);
    json_t *list = json_array();
    uint64_t now = clock_now_ms();

    for (size_t i = 0; i < count; i++) {
        const struct rep_peer_info *p = &peers[i];

        (void)json_array_append_new(
            list, json_pack("{s:s, s:I, s:s, s:b, s:I, s:I}", "name", p->name, "id",
                            (json_int_t)p->id, "role", member_role(p->role), "reachable",
                            p->reachable || p->id == n->id, "lastContactMs",
                            p->last_contact_ms == 0 ? (json_int_t)-1
                                                    : (json_int_t)(now - p->last_contact_ms),
                            "matchIndex", (json_int_t)p->match_index));
    }
    return list;
}

static json_t *alarms(const struct upkeep_view *v)
{
    json_t *list = json_array();

    if (v->nospace) {
        (void)json_array_append_new(list, json_string("NOSPACE"));
    }
    if (v->raw_nospace) {
        (void)json_array_append_new(list, json_string("raw-nospace"));
    }
    return list;
}

void rest_cluster_view(struct rest *r)
{
    const struct node *n = r->node;
    struct arena a = { 0 };
    struct s_cluster c = { 0 };
    struct upkeep_view v;
    struct err err;

    upkeep_view(n, &v);
    (void)s_cluster_get(n->store, &a, &c, &err);
    rest_json(
        r, 200,
        json_pack(
            "{s:s, s:s, s:I, s:s, s:b, s:I, s:I, s:I, s:s, s:I, s:s, s:i, s:i, s:o, s:s, s:o}",
            "node", n->opts.name, "role", role_name(rep_role(n->rep)), "term",
            (json_int_t)rep_term(n->rep), "leader",
            rep_leader(n->rep) == 0 ? "" : rep_leader_name(n->rep), "quorate",
            rep_leader(n->rep) != 0, "revision", (json_int_t)store_rev(n->store), "applied",
            (json_int_t)rep_applied(n->rep), "committed", (json_int_t)rep_committed(n->rep),
            "clusterID", c.id == NULL ? n->opts.cluster : c.id, "epoch", (json_int_t)c.epoch,
            "version", PICKET_VERSION, "featureLevel", (int)v.level, "maxFeatureLevel",
            (int)v.max_level, "alarms", alarms(&v), "diverged", v.diverged, "peers",
            peers_json(n)));
    arena_done(&a);
}

static void loop_metrics(struct node *n, struct buf *b)
{
    struct rep_stats st;
    uint64_t us, cpu;

    loopstat_take(&n->loopstat, &us, &cpu);
    rep_stats(n->rep, &st);
    buf_printf(b,
               "# TYPE picket_loop_turns counter\npicket_loop_turns %" PRIu64 "\n"
               "# TYPE picket_loop_stalls_10ms counter\npicket_loop_stalls_10ms %" PRIu64 "\n"
               "# TYPE picket_loop_stalls_50ms counter\npicket_loop_stalls_50ms %" PRIu64 "\n"
               "# TYPE picket_loop_stall_max_seconds gauge\n"
               "picket_loop_stall_max_seconds %.6f\n",
               n->loopstat.turns, n->loopstat.over_10ms, n->loopstat.over_50ms,
               (double)n->loopstat.longest_us / 1e6);
    buf_printf(
        b,
        "# HELP picket_loop_turn_max_seconds longest turn of the loop since the last scrape\n"
        "# TYPE picket_loop_turn_max_seconds gauge\npicket_loop_turn_max_seconds %.6f\n"
        "# TYPE picket_loop_turn_cpu_max_seconds gauge\n"
        "picket_loop_turn_cpu_max_seconds %.6f\n"
        "# TYPE picket_log_writes_total counter\npicket_log_writes_total %" PRIu64 "\n"
        "# TYPE picket_log_write_seconds_total counter\n"
        "picket_log_write_seconds_total %.6f\n"
        "# TYPE picket_log_write_max_seconds gauge\npicket_log_write_max_seconds %.6f\n"
        "# HELP picket_log_data_bytes data of applied entries that is kept in memory\n"
        "# TYPE picket_log_data_bytes gauge\npicket_log_data_bytes %" PRIu64 "\n"
        "# TYPE picket_snapshot_index gauge\npicket_snapshot_index %" PRIu64 "\n"
        "# HELP picket_snapshot_writing one is being written\n"
        "# TYPE picket_snapshot_writing gauge\npicket_snapshot_writing %d\n"
        "# TYPE picket_native_connections gauge\npicket_native_connections %zu\n"
        "# TYPE picket_consoles gauge\npicket_consoles %zu\n",
        (double)us / 1e6, (double)cpu / 1e6, st.log_write_count, (double)st.log_write_sum_us / 1e6,
        (double)st.log_write_max_us / 1e6, st.log_data_bytes, st.snapshot_index,
        (int)st.snapshot_writing, native_conns(n->native), consoles_open(n->consoles));
}

void rest_metrics(struct rest *r)
{
    const struct node *n = r->node;
    struct buf b = { 0 };
    struct upkeep_view v;
    struct store_room room;

    upkeep_view(n, &v);
    store_room(n->store, &room);
    buf_printf(&b,
               "# TYPE picket_feature_level gauge\npicket_feature_level %u\n"
               "# TYPE picket_state_diverged gauge\npicket_state_diverged %d\n"
               "# TYPE picket_state_compared_index counter\npicket_state_compared_index %" PRIu64
               "\n"
               "# TYPE picket_alarm_nospace gauge\npicket_alarm_nospace %d\n"
               "# TYPE picket_alarm_raw_nospace gauge\npicket_alarm_raw_nospace %d\n"
               "# TYPE picket_store_quota_bytes gauge\npicket_store_quota_bytes %zu\n"
               "# TYPE picket_store_raw_bytes gauge\npicket_store_raw_bytes %zu\n"
               "# TYPE picket_store_raw_quota_bytes gauge\npicket_store_raw_quota_bytes %zu\n"
               "# TYPE picket_certificate_left_seconds gauge\npicket_certificate_left_seconds "
               "%" PRId64 "\n",
               v.level, v.diverged[0] != 0, v.compared, v.nospace, v.raw_nospace, room.quota,
               room.raw_bytes, room.raw_quota, certs_left_s(n));
    buf_printf(&b,
               "# TYPE picket_leader gauge\npicket_leader %d\n"
               "# TYPE picket_term gauge\npicket_term %" PRIu64 "\n"
               "# TYPE picket_applied_index counter\npicket_applied_index %" PRIu64 "\n"
               "# TYPE picket_committed_index counter\npicket_committed_index %" PRIu64 "\n"
               "# TYPE picket_store_revision counter\npicket_store_revision %" PRIu64 "\n"
               "# TYPE picket_store_keys gauge\npicket_store_keys %zu\n"
               "# TYPE picket_store_bytes gauge\npicket_store_bytes %zu\n"
               "# TYPE picket_watches gauge\npicket_watches %" PRIu64 "\n",
               node_leads(n), rep_term(n->rep), rep_applied(n->rep), rep_committed(n->rep),
               store_rev(n->store), store_count(n->store), store_bytes(n->store), n->watches);
    loop_metrics(r->node, &b);
    controller_metrics(n->ctl, &b);
    http_respond(r->req, 200, "text/plain; version=0.0.4", b.data, b.len, NULL, 0);
    buf_done(&b);
    rest_free(r);
}
