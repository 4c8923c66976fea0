/* Live migration of a dev guest.
 *
 * SIGRTMIN+2: send everything into the FIFO "STATE.mig" (picket-agent reads it) while running on;
 * then stand still, say so in the state file, and send the last piece, without which nobody on the
 * other side has it whole.  SIGRTMIN+3: nothing is to be sent any more; go on when standing still.
 * On the other host `picket-guest --receive` reads the same from standard input, takes on the
 * guest's identity, and stops itself (SIGSTOP) when it has everything.
 *
 *   picket-guest 1 UID BYTES\n  BYTES of memory  end SEQ SINCE DEAF SUM CHANGED\n
 *
 * CHANGED words follow: what the guest has written to its memory since that was sent. */

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/str.h"
#include "cmd/picket-guest/guest.h"

#define MEMORY_BYTES (MEMORY_WORDS * sizeof(uint64_t))
#define STREAM_MAX (MEMORY_BYTES * 2 + 1024)

bool mig_init(struct guest *g)
{
    g->words = calloc(MEMORY_WORDS, sizeof(*g->words));
    return g->words != NULL;
}

void mig_touch(struct guest *g)
{
    g->words[g->seq % MEMORY_WORDS] = g->seq;
}

static uint64_t sum_of(const struct guest *g)
{
    uint64_t sum = 0xcbf29ce484222325ULL;

    for (size_t i = 0; i < MEMORY_WORDS; i++) {
        sum = (sum ^ g->words[i]) * 0x100000001b3ULL;
    }
    return sum;
}

/* --- source ------------------------------------------------------------------------------------
 */

static void fifo_path(const struct guest *g, char *dst, size_t size)
{
    (void)snprintf(dst, size, "%s.mig", g->state);
}

/* picket-agent sees by the FIFO's going that it has done with it, one way or the other. */
static void stop_sending(struct guest *g)
{
    char path[4096];

    if (g->mig_fd >= 0) {
        (void)close(g->mig_fd);
        g->mig_fd = -1;
        fifo_path(g, path, sizeof(path));
        (void)unlink(path);
    }
}

static bool put(int fd, const void *data, size_t len)
{
    const char *p = data;

    while (len > 0) {
        ssize_t n = write(fd, p, len);

        if (n < 0 && errno == EINTR) {
            continue;
        }
        if (n <= 0) {
            return false;
        }
        p += n;
        len -= (size_t)n;
    }
    return true;
}

static bool blocking(int fd, bool on)
{
    int flags = fcntl(fd, F_GETFL);

    return flags >= 0 && fcntl(fd, F_SETFL, on ? flags & ~O_NONBLOCK : flags | O_NONBLOCK) == 0;
}

void mig_begin(struct guest *g)
{
    char path[4096], head[256];
    int n;

    stop_sending(g);
    fifo_path(g, path, sizeof(path));
    g->mig_fd = open(path, O_WRONLY | O_NONBLOCK | O_CLOEXEC);
    if (g->mig_fd < 0) {
        return; /* nobody reads (any more) */
    }
    g->mig_sent = 0;
    n = snprintf(head, sizeof(head), "picket-guest 1 %s %zu\n", g->uid, MEMORY_BYTES);
    if (!put(g->mig_fd, head, (size_t)n)) {
        stop_sending(g);
    }
}

/* The words that were written since the memory was sent: all of the last seconds'. */
static void last_piece(struct guest *g)
{
    uint64_t changed = g->seq < 4096 ? g->seq : 4096;
    char line[160];
    int n = snprintf(line, sizeof(line), "end %" PRIu64 " %" PRIu64 " %d %" PRIu64 " %" PRIu64 "\n",
                     g->seq, g->since_wall_ms, g->deaf, sum_of(g), changed);
    bool ok = blocking(g->mig_fd, true) && put(g->mig_fd, line, (size_t)n);

    for (uint64_t s = g->seq - changed + 1; ok && s <= g->seq; s++) {
        ok = put(g->mig_fd, &g->words[s % MEMORY_WORDS], sizeof(uint64_t));
    }
    stop_sending(g); /* whoever reads finds out whether it is whole */
}

void mig_send(struct guest *g)
{
    const char *memory = (const char *)g->words;
    ssize_t n;

    if (g->mig_fd < 0) {
        return;
    }
    while (g->mig_sent < MEMORY_BYTES) {
        n = write(g->mig_fd, memory + g->mig_sent, MEMORY_BYTES - g->mig_sent);
        if (n < 0 && errno == EAGAIN) {
            return;
        }
        if (n <= 0) {
            stop_sending(g); /* the connection broke: it runs on */
            return;
        }
        g->mig_sent += (size_t)n;
    }
    g->suspended_ms = clock_now_ms();
    if (!guest_write_state(g, "Suspended", "")) {
        g->suspended_ms = 0;
        stop_sending(g);
        return;
    }
    last_piece(g);
}

void mig_resume(struct guest *g)
{
    stop_sending(g);
    if (g->suspended_ms != 0) {
        g->suspended_ms = 0;
        (void)guest_write_state(g, "Running", "");
    }
}

/* --- target ------------------------------------------------------------------------------------
 */

static bool take(FILE *f, struct guest *g)
{
    char line[256], uid[128];
    uint64_t seq, since, sum, changed;
    size_t bytes;
    int deaf;

    if (fgets(line, sizeof(line), f) == NULL ||
        sscanf(line, "picket-guest 1 %127s %zu", uid, &bytes) != 2 || !str_eq(uid, g->uid) ||
        bytes != MEMORY_BYTES || fread(g->words, 1, bytes, f) != bytes ||
        fgets(line, sizeof(line), f) == NULL ||
        sscanf(line, "end %" SCNu64 " %" SCNu64 " %d %" SCNu64 " %" SCNu64, &seq, &since, &deaf,
               &sum, &changed) != 5 ||
        changed > seq || changed > MEMORY_WORDS) {
        return false;
    }
    for (uint64_t s = seq - changed + 1; s <= seq; s++) {
        if (fread(&g->words[s % MEMORY_WORDS], sizeof(uint64_t), 1, f) != 1) {
            return false;
        }
    }
    g->seq = seq;
    g->since_wall_ms = since;
    g->deaf = deaf != 0;
    return fgetc(f) == EOF && sum == sum_of(g); /* the source has to have said that this is all */
}

bool mig_receive(struct guest *g, int report)
{
    bool ok = take(stdin, g);

    if (!ok) {
        errno = EPROTO;
        guest_say(report, "what came is not whole:", g->vm);
    }
    return ok;
}
