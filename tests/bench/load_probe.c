/* The disk itself: 4 KiB O_DIRECT|O_DSYNC overwrites of preallocated files, `clients` writers. */

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/obj.h"
#include "tests/bench/load.h"

#define BLOCK 4096U
#define BLOCKS 2048U

struct writer {
    pthread_t thread;
    int fd;
    uint8_t *block;
    uint64_t end_us;
    struct load_times times;
    int error;
};

static void *writer_main(void *arg)
{
    struct writer *w = arg;
    uint64_t now = clock_now_us(), next;

    for (unsigned i = 0; now < w->end_us; i++) {
        if (pwrite(w->fd, w->block, BLOCK, (off_t)(i % BLOCKS) * BLOCK) != (ssize_t)BLOCK) {
            w->error = errno;
            return NULL;
        }
        next = clock_now_us();
        load_times_add(&w->times, next - now);
        now = next;
    }
    return NULL;
}

static bool writer_open(struct writer *w, const char *file, unsigned i)
{
    char path[512];

    CHECK(posix_memalign((void **)&w->block, BLOCK, BLOCK) == 0);
    memset(w->block, 0x5a, BLOCK);
    (void)snprintf(path, sizeof(path), "%s.%u", file, i);
    w->fd = open(path, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    for (unsigned k = 0; w->fd >= 0 && k < BLOCKS; k++) {
        if (write(w->fd, w->block, BLOCK) != (ssize_t)BLOCK) {
            return false;
        }
    }
    if (w->fd < 0 || fsync(w->fd) != 0) {
        return false;
    }
    (void)close(w->fd);
    w->fd = open(path, O_WRONLY | O_DIRECT | O_DSYNC | O_CLOEXEC);
    (void)unlink(path);
    return w->fd >= 0;
}

int load_probe_main(const struct load_opts *o)
{
    struct writer *ws = mem_alloc(o->clients * sizeof(*ws));
    struct load_times all = { 0 };

    for (unsigned i = 0; i < o->clients; i++) {
        if (!writer_open(&ws[i], o->file == NULL ? "probe" : o->file, i)) {
            perror("load: probe");
            return 1;
        }
    }
    for (unsigned i = 0; i < o->clients; i++) {
        ws[i].end_us = clock_now_us() + (uint64_t)(o->seconds * 1e6);
        CHECK(pthread_create(&ws[i].thread, NULL, writer_main, &ws[i]) == 0);
    }
    for (unsigned i = 0; i < o->clients; i++) {
        CHECK(pthread_join(ws[i].thread, NULL) == 0);
        if (ws[i].error != 0) {
            (void)fprintf(stderr, "load: probe: %s\n", strerror(ws[i].error));
            return 1;
        }
        for (size_t k = 0; k < ws[i].times.n; k++) {
            load_times_add(&all, ws[i].times.us[k]);
        }
    }
    load_times_sort(&all);
    printf("{\"writers\": %u, \"rate\": %.1f, \"p50_us\": %u, \"p99_us\": %u}\n", o->clients,
           (double)all.n / o->seconds / o->clients, load_times_at(&all, 0.5),
           load_times_at(&all, 0.99));
    return 0;
}
