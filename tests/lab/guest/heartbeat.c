/* heartbeat DEVICE NAME EVERY_MS: what a lab guest does.  It writes to its disk, and says on the
 * disk itself when somebody else does so, too.
 *
 * Sectors of 512 bytes:
 *   5          empty, or "DOUBLE-RUN ...": written by an instance that found itself replaced and
 * still ran 6          "OWNER <instance>": the instance that started last 8..4103    a ring of
 * records "HB <instance> <sequence> <wall ms> <boottime ms> <name>" An instance is one boot; it
 * survives migration.  Each begins its sequence SKIP later than the newest record that it finds, so
 * that it does not overwrite what an earlier one, still alive, writes.
 */

#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <time.h>
#include <unistd.h>

#define SECTOR 512
#define SECTOR_DOUBLE 5
#define SECTOR_OWNER 6
#define SECTOR_RING 8
#define RING 4096ULL
#define SKIP 64ULL
#define SAY_EVERY 20U

static _Alignas(4096) char sector[SECTOR];
static _Alignas(4096) char ring[RING * SECTOR];
static char instance[17];
static const char *name;
static int fd;

static unsigned long long clock_ms(clockid_t clock)
{
    struct timespec ts;

    (void)clock_gettime(clock, &ts);
    return (unsigned long long)ts.tv_sec * 1000 + (unsigned long long)ts.tv_nsec / 1000000;
}

static int put(unsigned long long at, const char *text)
{
    memset(sector, 0, sizeof(sector));
    memcpy(sector, text, strnlen(text, sizeof(sector) - 1));
    return pwrite(fd, sector, SECTOR, (off_t)(at * SECTOR)) == SECTOR ? 0 : -1;
}

/* NULL: the disk does not answer. */
static const char *get(unsigned long long at)
{
    if (pread(fd, sector, SECTOR, (off_t)(at * SECTOR)) != SECTOR) {
        return NULL;
    }
    sector[SECTOR - 1] = '\0';
    return sector;
}

static unsigned long long newest(void)
{
    unsigned long long max = 0, seq;
    ssize_t n = pread(fd, ring, sizeof(ring), (off_t)SECTOR_RING * SECTOR);

    for (ssize_t i = 0; i + SECTOR <= n; i += SECTOR) {
        if (sscanf(ring + i, "HB %*16s %llu", &seq) == 1 && seq > max) {
            max = seq;
        }
    }
    return max;
}

static void begin(void)
{
    unsigned char random[8];
    char text[64];

    (void)getrandom(random, sizeof(random), 0);
    for (size_t i = 0; i < sizeof(random); i++) {
        (void)snprintf(instance + 2 * i, 3, "%02x", random[i]);
    }
    (void)snprintf(text, sizeof(text), "OWNER %s", instance);
    if (put(SECTOR_OWNER, text) != 0) {
        (void)printf("GUEST %s cannot write: %s\n", name, strerror(errno));
    }
}

static void check_owner(unsigned long long seq)
{
    char text[200], other[40] = "";
    const char *owner = get(SECTOR_OWNER);

    if (owner == NULL || strncmp(owner, "OWNER ", 6) != 0 || strcmp(owner + 6, instance) == 0) {
        return;
    }
    (void)sscanf(owner + 6, "%39s", other);
    (void)snprintf(text, sizeof(text), "DOUBLE-RUN %s: %s still runs at %llu, %s started", name,
                   instance, seq, other);
    (void)printf("%s\n", text);
    (void)put(SECTOR_DOUBLE, text);
}

int main(int argc, char **argv)
{
    unsigned long long seq;
    long every_ms = argc == 4 ? strtol(argv[3], NULL, 10) : 0;
    struct timespec pause = { every_ms / 1000, every_ms % 1000 * 1000000 };

    name = every_ms > 0 ? argv[2] : "?";
    fd = every_ms > 0 ? open(argv[1], O_RDWR | O_DIRECT | O_DSYNC | O_CLOEXEC) : -1;
    (void)setvbuf(stdout, NULL, _IOLBF, 0);
    if (fd < 0) {
        /* PID 1 must not end: the guest stays, and its console says why it does nothing. */
        (void)printf("GUEST %s has no disk: %s\n", name, strerror(errno));
        for (;;) {
            (void)pause;
            (void)sleep(3600);
        }
    }
    seq = newest() + SKIP;
    begin();
    (void)printf("GUEST-UP %s instance=%s from=%llu\n", name, instance, seq);
    for (;; seq++) {
        char text[200];

        check_owner(seq);
        (void)snprintf(text, sizeof(text), "HB %s %llu %llu %llu %s", instance, seq,
                       clock_ms(CLOCK_REALTIME), clock_ms(CLOCK_BOOTTIME), name);
        if (put(SECTOR_RING + seq % RING, text) != 0) {
            (void)printf("GUEST %s write error at %llu: %s\n", name, seq, strerror(errno));
        } else if (seq % SAY_EVERY == 0) {
            (void)printf("%s\n", text);
        }
        (void)nanosleep(&pause, NULL);
    }
}
