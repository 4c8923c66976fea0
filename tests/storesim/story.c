#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <fcntl.h>

#include "base/obj.h"
#include "tests/storesim/sim.h"

#define KEEP_BYTES (48U << 20)

static struct buf text;
static uint64_t seed;
static char file[256];
static bool always;

struct sim_totals totals;

void story(const char *fmt, ...)
{
    char line[1024];
    va_list ap;
    int n;

    n = snprintf(line, sizeof(line), "%8llu.%03llu ", (unsigned long long)(now() / 1000),
                 (unsigned long long)(now() % 1000));
    va_start(ap, fmt);
    n += vsnprintf(line + n, sizeof(line) - (size_t)n - 1, fmt, ap);
    va_end(ap);
    n = n < (int)sizeof(line) - 1 ? n : (int)sizeof(line) - 2;
    line[n++] = '\n';
    totals.story_crc = crc32c(totals.story_crc, line, (size_t)n);
    if (text.len < KEEP_BYTES) {
        buf_add(&text, line, (size_t)n);
    }
}

static void write_out(void)
{
    int fd = open(file, O_WRONLY | O_CREAT | O_TRUNC, 0644);
    size_t at = 0;

    while (fd >= 0 && at < text.len) {
        ssize_t n = write(fd, text.data + at, text.len - at);

        if (n <= 0) {
            break;
        }
        at += (size_t)n;
    }
    if (fd >= 0) {
        (void)close(fd);
    }
}

static void explain(const char *why)
{
    (void)fprintf(stderr,
                  "seed %llu FAILED at %llu ms: %s\n"
                  "  story:  %s\n"
                  "  replay: make sim SEEDS=1 SEED0=%llu STORY=1\n",
                  (unsigned long long)seed, (unsigned long long)now(), why, file,
                  (unsigned long long)seed);
}

void sim_fail(const char *src, int line, const char *fmt, ...)
{
    char why[900], all[1000];
    va_list ap;

    va_start(ap, fmt);
    (void)vsnprintf(why, sizeof(why), fmt, ap);
    va_end(ap);
    (void)snprintf(all, sizeof(all), "%s (%s:%d)", why, src, line);
    story("FAILED: %s", all);
    write_out();
    explain(all);
    _exit(1);
}

/* A failed CHECK of the product, or a sanitizer: the story is written all the same. */
static void on_signal(int sig)
{
    (void)signal(sig, SIG_DFL);
    write_out();
    explain(sig == SIGABRT ? "aborted: a CHECK of the product failed" : "crashed");
    (void)raise(sig);
}

void story_begin(uint64_t s, const char *path, bool keep_always)
{
    seed = s;
    always = keep_always;
    (void)snprintf(file, sizeof(file), "%s", path);
    buf_clear(&text);
    (void)signal(SIGABRT, on_signal);
    (void)signal(SIGSEGV, on_signal);
}

void story_end(void)
{
    if (always) {
        write_out();
    }
    buf_done(&text);
}
