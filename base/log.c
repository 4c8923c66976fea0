#include "base/log.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/str.h"

static const char *lg_program = "picket";
static enum lg_level lg_max = LG_INFO;

void lg_init(const char *program)
{
    const char *level = getenv("PICKET_LOG");

    lg_program = program;
    if (level != NULL && strcmp(level, "debug") == 0) {
        lg_max = LG_DEBUG;
    }
}

void lg_set_level(enum lg_level level)
{
    lg_max = level;
}

void lg_write(enum lg_level level, const char *area, const char *fmt, ...)
{
    char line[1024];
    char when[32];
    uint64_t ms = clock_wall_ms();
    va_list ap;
    int n, m;

    if (level > lg_max) {
        return;
    }
    str_format_time(ms, when, sizeof(when));
    when[strlen(when) - 1] = 0;
    n = snprintf(line, sizeof(line), "<%d>%s.%03uZ %s/%s ", (int)level, when, (unsigned)(ms % 1000),
                 lg_program, area);
    va_start(ap, fmt);
    m = vsnprintf(line + n, sizeof(line) - (size_t)n - 1, fmt, ap);
    va_end(ap);
    n += m;
    if (n > (int)sizeof(line) - 2) {
        n = (int)sizeof(line) - 2;
    }
    for (char *p = line; p < line + n; p++) {
        *p = (unsigned char)*p < ' ' ? ' ' : *p;
    }
    line[n++] = '\n';
    (void)!write(STDERR_FILENO, line, (size_t)n);
}
