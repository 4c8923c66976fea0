#ifndef BASE_LOG_H
#define BASE_LOG_H

/* One line a message on stderr, logfmt, with the "<N>" priority that journald understands.
 *
 *   lg_info("lease", "host=%s inc=%" PRIu64 " msg=\"lease lost\"", name, inc);
 *
 * Log state changes, not polls.  Secrets never come here.  Any thread; one write(2) a line.
 */

enum lg_level { LG_ERR = 3, LG_WARN = 4, LG_INFO = 6, LG_DEBUG = 7 };

/* Program name shown in each line (static string), and the highest level that is written
 * (LG_INFO until set; the environment variable PICKET_LOG=debug raises it in lg_init). */
void lg_init(const char *program);
void lg_set_level(enum lg_level level);

void lg_write(enum lg_level level, const char *area, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));

#define lg_err(area, ...) lg_write(LG_ERR, area, __VA_ARGS__)
#define lg_warn(area, ...) lg_write(LG_WARN, area, __VA_ARGS__)
#define lg_info(area, ...) lg_write(LG_INFO, area, __VA_ARGS__)
#define lg_debug(area, ...) lg_write(LG_DEBUG, area, __VA_ARGS__)

#endif
