#include "fence/run.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <poll.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/obj.h"
#include "base/str.h"

#define EXTEND_KEY "deadline_boottime_ms="

void fence_run_init(struct fence_run *r, const struct fence_op *op, int in_fd)
{
    memset(r, 0, sizeof(*r));
    r->op = op;
    r->until_ms = clock_now_ms() + op->timeout_ms;
    r->switch_until_ms = op->deadline_boottime_ms;
    r->in_fd = in_fd;
    if (in_fd >= 0) {
        (void)fcntl(in_fd, F_SETFL, fcntl(in_fd, F_GETFL) | O_NONBLOCK);
    }
}

uint64_t fence_run_left_ms(const struct fence_run *r)
{
    uint64_t now_ms = clock_now_ms();

    return now_ms < r->until_ms ? r->until_ms - now_ms : 0;
}

void fence_run_sleep(struct fence_run *r, uint64_t ms)
{
    uint64_t left_ms = fence_run_left_ms(r);

    (void)poll(NULL, 0, (int)(ms < left_ms ? ms : left_ms));
}

/* A deadline only ever moves on; a line that is something else is ignored. */
static void take_line(struct fence_run *r)
{
    uint64_t ms;

    r->line[r->line_len] = '\0';
    if (str_starts(r->line, EXTEND_KEY) && str_parse_u64(r->line + strlen(EXTEND_KEY), &ms) &&
        ms > r->switch_until_ms) {
        r->switch_until_ms = ms;
    }
    r->line_len = 0;
}

void fence_run_feed(struct fence_run *r, const char *data, size_t len)
{
    for (size_t i = 0; i < len; i++) {
        if (data[i] == '\n') {
            take_line(r);
        } else if (r->line_len + 1 < sizeof(r->line)) {
            r->line[r->line_len++] = data[i];
        }
    }
}

static void take_extensions(struct fence_run *r)
{
    char data[256];
    ssize_t n;

    while (r->in_fd >= 0) {
        n = read(r->in_fd, data, sizeof(data));
        if (n < 0 && (errno == EAGAIN || errno == EINTR)) {
            return;
        }
        if (n <= 0) {
            r->in_fd = -1; /* the parent says nothing any more: the last deadline stands */
            return;
        }
        fence_run_feed(r, data, (size_t)n);
    }
}

int fence_run_may_switch(struct fence_run *r, struct err *err)
{
    uint64_t now_ms;

    take_extensions(r);
    now_ms = clock_now_ms();
    if (r->switch_until_ms == 0) {
        return err_set(err, ERR_CANCELED, "no deadline_boottime_ms was given");
    }
    if (now_ms >= r->switch_until_ms) {
        return err_set(err, ERR_CANCELED,
                       "the executor's deadline passed %" PRIu64 " ms ago: nothing is switched",
                       now_ms - r->switch_until_ms);
    }
    if (now_ms >= r->until_ms) {
        return err_set(err, ERR_CANCELED, "the time for the operation is up");
    }
    return 0;
}
