#ifndef CMD_PICKET_GUEST_GUEST_H
#define CMD_PICKET_GUEST_GUEST_H

/* A guest of `picket dev`, private to picket-guest. */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define DISKS_MAX 64
#define MEMORY_WORDS (128U << 10) /* what it has in memory and takes along: 1 MiB */
#define MIG_TICK_NS 5000000L

struct guest {
    const char *vm, *uid, *host, *state, *boot_id, *log;
    const char *incarnation, *token, *memory;
    uint64_t not_after_ms;
    const char *disks[DISKS_MAX];
    int fds[DISKS_MAX];
    size_t n_disks;
    uint64_t since_wall_ms;
    uint64_t start_time; /* field 22 of /proc/self/stat */
    uint64_t seq;
    bool deaf;
    /* console (console.c) */
    int console_fd; /* the master of its terminal; -1: it has none */
    char tty[64];
    char typed[80];
    size_t n_typed;
    char said[1024]; /* not yet written */
    size_t n_said;
    uint64_t flood, flooded; /* bytes to write for a test, and written */
    /* live migration (mig.c) */
    bool receive;
    uint64_t *words;       /* its memory: words[seq % MEMORY_WORDS] = seq */
    int mig_fd;            /* being sent; -1: not */
    size_t mig_sent;       /* bytes */
    uint64_t suspended_ms; /* BOOTTIME since when it stands still to be moved, 0: it runs */
};

bool guest_write_state(const struct guest *g, const char *state, const char *reason);
/* "WHAT FILE: errno's text" to whoever started it. */
void guest_say(int fd, const char *what, const char *file);

/* Its console: what is typed is echoed, and a line is a command. */
void console_open(struct guest *g);
/* Go on with it.  A reason to end for (as guest_write_state takes it), or NULL. */
const char *console_step(struct guest *g);
short console_events(const struct guest *g); /* of poll(2) to wait for */

/* Its memory.  False: there is none to have. */
bool mig_init(struct guest *g);
void mig_touch(struct guest *g);
void mig_begin(struct guest *g);
void mig_send(struct guest *g); /* a piece, if one is wanted */
void mig_resume(struct guest *g);
/* Everything from standard input; false: it did not come whole. */
bool mig_receive(struct guest *g, int report);

#endif
