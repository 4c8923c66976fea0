#ifndef CMD_PICKETD_WORLD_H
#define CMD_PICKETD_WORLD_H

/* The store as the controllers need it: decoded once, indexed, kept current from a watch.
 *
 * Every picketd keeps one, whether it leads or not, so that a new leader acts at once and questions
 * of the API ("what if") cost nothing.  Loading and following are done in bounded turns of the
 * loop: a cluster of thousands of machines never holds up Raft.  Whoever listens is told what may
 * have changed, by name; it decides what that means.  Loop thread only.
 */

#include <jansson.h>
#include <uv.h>

#include "api/kind.h"
#include "base/arena.h"
#include "base/map.h"
#include "store/safety.h"
#include "store/store.h"

struct vm_facts;

struct world_ref {
    const struct kind *k;
    char *key;  /* "Bridge/br0"; "@VirtualMachine/vm1": owner; "#mac/00:...": an address it has */
    char *name; /* into key */
    bool owner; /* not one that has to exist: an owner (without it this is garbage), an address */
};

/* A parsed object or report. */
struct ctl_obj {
    const struct kind *k; /* NULL: a report */
    char *name;
    char *host;   /* reports: whose */
    json_t *json; /* stored form (objects), or the report */
    uint64_t rev;
    size_t size; /* of the stored value in bytes */

    /* Kept by the world, objects only. */
    struct world_ref *refs; /* what it refers to */
    size_t n_refs;

    /* For the controllers. */
    struct vm_facts *facts; /* VirtualMachines: ctl_facts.c */
    uint64_t place_key;     /* sum of what placement sees of it */
    uint64_t place_sum;     /* sum of what placement decided for it */
    uint32_t index;         /* in the newest placement's facts */
    struct ctl_obj *dirty_prev, *dirty_next;
    bool dirty;
};

struct world_reports {
    struct ctl_obj **items;
    size_t n;
};

struct world_lock {
    struct s_lock l; /* strings behind it */
};

struct world_host {
    struct arena a;
    struct s_host host;
    struct s_inc inc; /* the newest; number 0: none */
    bool ready;       /* for the controllers: held a lease at the last pass */
    bool touched;     /* for the controllers: changed since the last pass */
    bool loaded;      /* what follows is current; see world_load_of */
    uint64_t n_locks; /* held by the incarnation */
    int64_t priority; /* of the machines whose locks it holds, added up */
};

enum world_event {
    WORLD_OBJECT, /* created, changed, or about to be forgotten (deleted) */
    WORLD_REPORT,
    WORLD_LOCK,
    WORLD_HOST, /* its incarnation */
    WORLD_ALL,  /* all objects are about to be forgotten; what is loaded then is told again */
};

struct world_change {
    enum world_event what;
    const struct kind *k; /* OBJECT, REPORT (may be NULL), LOCK */
    const char *name;     /* of the object, or the host */
    const char *host;     /* REPORT */
    struct ctl_obj *o;    /* OBJECT: it; else the object that it is about, or NULL */
    bool created, deleted;
};

typedef void world_fn(void *ctx, const struct world_change *ch);

struct world {
    struct store *store;
    struct store_watch *watch;
    uv_async_t wake;
    struct map *kinds;    /* by number of the kind: name -> struct ctl_obj */
    struct map referrers; /* "Bridge/br0" -> struct world_refs (private) */
    struct map reports;   /* "plural/name" -> struct world_reports */
    struct map locks;     /* "plural/name" -> struct world_lock */
    struct map hosts;     /* host -> struct world_host */
    unsigned loading;     /* prefix being loaded, counted from 1; 0: loaded */
    char *cursor;         /* newest key loaded, or NULL */
    world_fn *listener;
    void (*pulled)(void *ctx); /* something changed, or there is more to load */
    void *ctx;
    uint64_t objects, events; /* for the metrics: objects held, events seen */
};

struct world *world_new(struct store *s, uv_loop_t *loop);
/* The uv handle is closed by the caller first (tests); frees everything. */
void world_free(struct world *w);
void world_listen(struct world *w, world_fn *fn, void (*pulled)(void *ctx), void *ctx);

/* Load or follow for one turn; true when there is nothing left to do. */
bool world_turn(struct world *w);
/* Be current now, whatever it takes: for questions that cannot wait. */
void world_sync(struct world *w);
bool world_loaded(const struct world *w);

struct ctl_obj *world_find(const struct world *w, const struct kind *k, const char *name);
/* Walk the objects of a kind; pos starts at 0. */
struct ctl_obj *world_next(const struct world *w, const struct kind *k, size_t *pos);
size_t world_count(const struct world *w, const struct kind *k);
/* What hosts report of an object; NULL: nothing. */
const struct world_reports *world_reports_of(const struct world *w, const char *plural,
                                             const char *name);
const struct s_lock *world_lock(const struct world *w, const char *plural, const char *name);
struct world_host *world_host(const struct world *w, const char *name);
/* Make n_locks and priority current. */
void world_load_of(const struct world *w, struct world_host *h);
/* The objects that refer to this one or belong to it, whether it exists or not. */
void world_referrers(const struct world *w, const struct kind *k, const char *name,
                     void (*fn)(void *ctx, struct ctl_obj *o), void *ctx);
/* The machines with a card of this MAC address (lower case). */
void world_mac_users(const struct world *w, const char *mac,
                     void (*fn)(void *ctx, struct ctl_obj *o), void *ctx);
/* A parsed object of its own (what-if); freed with ctl_obj_free. */
struct ctl_obj *ctl_obj_make(const struct kind *k, const char *name, json_t *json);
void ctl_obj_free(struct ctl_obj *o);
size_t kind_number(const struct kind *k);

#endif
