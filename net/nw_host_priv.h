#ifndef NET_NW_HOST_PRIV_H
#define NET_NW_HOST_PRIV_H

/* Between nw_host.c (the loop's side) and nw_host_exec.c (the pool's side). */

#include "base/map.h"
#include "net/nw_confirm_sm.h"
#include "net/nw_host.h"

#define NW_RECORD_FILE "network.json"
#define NW_JOURNAL_FILE "network-journal.json"

enum nw_work {
    NW_WORK_LOOK,   /* observe, plan; write the journal if there is something to do */
    NW_WORK_APPLY,  /* do plan.ops */
    NW_WORK_STATUS, /* observe only */
    NW_WORK_UNDO,   /* do undo */
    NW_WORK_SAVE,   /* write the record, remove the journal */
};

/* A spec that was undone. */
struct nw_refusal {
    char *digest;
    char *message;
    uint64_t retry_ms; /* 0: not before the object changes; such are kept in the file */
};

/* What was last told about an object. */
struct nw_shown {
    struct nw_state state;
};

struct nw_host {
    unsigned magic;
    uv_loop_t *loop;
    uv_timer_t timer;
    uv_poll_t monitor;
    uv_work_t work;
    int monitor_fd;
    char *dir;
    char *host;
    char *boot_id;
    nw_host_cb *changed;
    void *data;
    json_t *labels;
    struct map objects; /* "bonds/bond0" -> json_t */
    struct map refused; /* "bonds/bond0" -> struct nw_refusal */
    struct map shown;   /* "bonds/bond0" -> struct nw_shown */
    bool synced;
    bool dirty;       /* look and plan again */
    uint64_t stir_ms; /* 0, or when to look again because something happened */
    bool busy;        /* work is in flight */
    bool recover;     /* an undo of an earlier life comes first */
    bool closing;
    bool waits_for_quorum;
    uint64_t confirmed_ms; /* newest sent_ms */
    bool has_next;         /* next is to be done as soon as the pool is free */
    enum nw_work next;
    struct nw_confirm confirm;
    unsigned handles;
    void (*on_closed)(void *ctx);
    void *on_closed_ctx;

    /* Of the pool's while busy. */
    enum nw_work doing;
    bool may_change; /* LOOK: the quorum is in reach */
    int rc;          /* of the work */
    struct err err;
    struct arena record_arena; /* holds record */
    struct nw_record record;
    struct arena cycle; /* holds want, plan, undo, digests */
    struct nw_want want;
    struct nw_plan plan;
    bool have_plan;
    struct nw_op *undo;
    size_t n_undo;
    json_t *part;           /* object -> digest of what the change is for */
    struct arena obs_arena; /* holds obs */
    struct nw_obs obs;
    bool have_obs;
    char undo_message[ERR_MSG_MAX];
};

#define NW_HOST_MAGIC 0x6e77686fU

/* In the pool. */
void nw_host_run(struct nw_host *h);
/* Before the first work: the files of an earlier life. Sets recover. */
int nw_host_load(struct nw_host *h, struct err *err) ERR_USED;
json_t *nw_host_record_json(const struct nw_host *h);

/* retry_ms as in struct nw_refusal. */
void nw_host_refuse(struct nw_host *h, const char *object, const char *digest, const char *message,
                    uint64_t retry_ms);

#endif
