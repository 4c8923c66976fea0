#ifndef FENCE_WDOG_H
#define FENCE_WDOG_H

/* picket-watchdog: the core as a pure step function, and its two protocols.
 *
 * The core knows no Raft: it holds one deadline (CLOCK_BOOTTIME, ms) and says "feed" only while
 * that lies ahead.  It refuses deadlines beyond now + Lmax, an older epoch, and another
 * incarnation; it disarms only for a committed Unguarded of its own incarnation.  Its state is one
 * fixed record that the process saves and starts from.  Nothing here allocates, reads a clock or
 * does I/O.
 *
 * Messages go over a unix SOCK_SEQPACKET socket, one request a datagram, one reply to each.  Both
 * ends are on one machine, so integers are in host order; size, magic and version are checked on
 * receipt.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define WDOG_MAGIC 0x474f4457U /* "WDOG" */
#define WDOG_VERSION 1U

enum wdog_op {
    WDOG_SET_DEADLINE = 1,
    WDOG_ARM = 2,
    WDOG_DISARM = 3,
    WDOG_STATUS = 4,
};

enum wdog_code {
    WDOG_OK = 0,
    WDOG_ERR_MALFORMED = 1, /* size, magic, version or op */
    WDOG_ERR_NOT_ARMED = 2,
    WDOG_ERR_BEYOND_LMAX = 3, /* deadline > now + Lmax */
    WDOG_ERR_STALE = 4,       /* older epoch, or another incarnation in the same epoch */
    WDOG_ERR_PASSED = 5,      /* the deadline is not in the future */
    WDOG_ERR_INVALID = 6,     /* timeout or Lmax out of range, no revision with DISARM */
    WDOG_ERR_DEVICE = 7,      /* the device refused; see the log */
    WDOG_ERR_ARMED = 8,       /* ARM with another Lmax while armed: DISARM first */
};

/* Values as in the store. */
enum wdog_kind {
    WDOG_KIND_NONE = 0,
    WDOG_KIND_HARDWARE = 1,
    WDOG_KIND_XEN = 2,
    WDOG_KIND_SOFTDOG = 3,
    WDOG_KIND_DEV = 4,
};

#define WDOG_TIMEOUT_MIN_MS 500U
#define WDOG_TIMEOUT_MAX_MS 600000U
#define WDOG_LMAX_MIN_MS 500U
#define WDOG_LMAX_MAX_MS 3600000U

struct wdog_request {
    uint32_t magic;
    uint16_t version;
    uint16_t op; /* enum wdog_op */
    uint64_t epoch;
    uint64_t incarnation;
    uint64_t deadline_boottime_ms; /* SET_DEADLINE, ARM (the first deadline) */
    uint64_t revision;             /* DISARM: of the committed Unguarded; not 0 */
    uint32_t timeout_ms;           /* ARM: W wanted */
    uint32_t lmax_ms;              /* ARM */
    uint64_t seq;                  /* comes back in the reply */
    uint8_t reserved[8];           /* 0 */
};
_Static_assert(sizeof(struct wdog_request) == 64, "the layout is fixed");

struct wdog_status {
    uint8_t armed;
    uint8_t kind;        /* enum wdog_kind */
    uint8_t nowayout;    /* closing the device does not stop it */
    uint8_t expired;     /* the deadline has passed: it is not fed */
    uint32_t timeout_ms; /* W, as read back */
    uint32_t feed_ms;    /* longest time between two feeds */
    uint32_t lmax_ms;
    uint64_t epoch;
    uint64_t incarnation;
    uint64_t deadline_boottime_ms;
    uint64_t last_feed_boottime_ms; /* 0: never */
    uint64_t started_boottime_ms;   /* of this process */
    uint32_t build;                 /* WDOG_VERSION of the process */
    uint32_t restarts;              /* how often it started from a saved deadline */
};

struct wdog_reply {
    uint32_t magic;
    uint16_t version;
    uint16_t code; /* enum wdog_code */
    uint64_t seq;
    struct wdog_status status; /* after the request */
    uint8_t reserved[8];
};
_Static_assert(sizeof(struct wdog_status) == 64, "the layout is fixed");
_Static_assert(sizeof(struct wdog_reply) == 88, "the layout is fixed");

/* WDOG_OK, or WDOG_ERR_MALFORMED for anything that is not exactly a request of this version. */
enum wdog_code wdog_request_check(const void *data, size_t len, struct wdog_request *ret);
bool wdog_reply_check(const void *data, size_t len, struct wdog_reply *ret);
const char *wdog_code_text(enum wdog_code c);
const char *wdog_kind_name(enum wdog_kind k); /* "None", "Hardware", "Xen", "Softdog", "Dev" */

/* --- the core ----------------------------------------------------------------------------------
 */

/* Held: after DISARM of a device that cannot be stopped (nowayout), which is the normal case: it is
 * fed without regard to any deadline, the host is unguarded, and status says armed = 0. */
struct wdog_core {
    bool armed;
    bool held;
    bool expired; /* said so */
    enum wdog_kind kind;
    bool nowayout;
    uint32_t timeout_ms; /* W */
    uint32_t feed_ms;
    uint32_t lmax_ms;
    uint64_t epoch;
    uint64_t incarnation;
    uint64_t deadline_ms;
    uint64_t last_feed_ms;
    uint64_t started_ms;
    uint32_t restarts;
};

/* What the process has to do after a step, in this order.
 *
 * ARM while armed changes nothing but the deadline (an agent that was restarted): the timeout in
 * force is in the status.  A deadline before the installed one leaves that in place. */
struct wdog_todo {
    bool save;   /* the record changed: save it before the reply leaves */
    bool arm;    /* open the device and set want_timeout_ms; then wdog_core_armed */
    bool disarm; /* stop the device */
    bool feed;
    bool expired; /* the deadline passed just now: say so */
    bool resumed; /* it was expired, and a newer deadline came */
    uint32_t want_timeout_ms;
    uint64_t next_ms; /* step again then at the latest; 0: only for a request */
};

void wdog_core_init(struct wdog_core *c, uint64_t now_ms);

/* A request; ARM is only checked here: the process arms the device and then calls wdog_core_armed
 * (or answers WDOG_ERR_DEVICE). */
enum wdog_code wdog_core_request(struct wdog_core *c, const struct wdog_request *rq,
                                 uint64_t now_ms, struct wdog_todo *ret);
/* The device is armed with what it read back; W may be longer than wanted. */
void wdog_core_armed(struct wdog_core *c, const struct wdog_request *rq, enum wdog_kind kind,
                     bool nowayout, uint32_t timeout_ms, uint64_t now_ms, struct wdog_todo *ret);
/* Time passed. */
void wdog_core_step(struct wdog_core *c, uint64_t now_ms, struct wdog_todo *ret);
void wdog_core_status(const struct wdog_core *c, struct wdog_status *ret);

/* --- the saved record --------------------------------------------------------------------------
 */

struct wdog_saved {
    uint32_t magic;
    uint16_t version;
    uint8_t armed; /* 0: no, 1: armed, 2: held */
    uint8_t kind;
    uint32_t timeout_ms;
    uint32_t lmax_ms;
    uint64_t epoch;
    uint64_t incarnation;
    uint64_t deadline_ms;
    char boot_id[40]; /* another boot's record is void: BOOTTIME began anew */
    uint32_t restarts;
    uint32_t crc; /* CRC-32C of everything before it */
};
_Static_assert(sizeof(struct wdog_saved) == 88, "the layout is fixed");

void wdog_core_save(const struct wdog_core *c, const char *boot_id, struct wdog_saved *ret);
/* False: no record of this boot (or a damaged one): start disarmed.  True: the core is as it was,
 * and the process opens the device again with c->timeout_ms. */
bool wdog_core_load(struct wdog_core *c, const void *data, size_t len, const char *boot_id,
                    uint64_t now_ms);

/* --- `picket dev`: the supervisor as hardware
 * ----------------------------------------------------- */

/* One message a datagram on the supervisor's unix SOCK_SEQPACKET socket.  ARM is answered with an
 * ARM that carries the timeout in force; FEED and DISARM are not answered.  After ARM the
 * supervisor kills the host's process group when timeout_ms pass without a FEED.  Loss of the
 * connection does NOT disarm; a new connection's ARM takes over and counts as a feed. */
#define WDOG_DEV_MAGIC 0x56454457U /* "WDEV" */

enum wdog_dev_op { WDOG_DEV_ARM = 1, WDOG_DEV_FEED = 2, WDOG_DEV_DISARM = 3 };

struct wdog_dev_msg {
    uint32_t magic;
    uint32_t op;         /* enum wdog_dev_op */
    uint32_t timeout_ms; /* ARM */
    uint32_t reserved;   /* 0 */
};
_Static_assert(sizeof(struct wdog_dev_msg) == 16, "the layout is fixed");

bool wdog_dev_check(const void *data, size_t len, struct wdog_dev_msg *ret);

#endif
