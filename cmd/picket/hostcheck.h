#ifndef CMD_PICKET_HOSTCHECK_H
#define CMD_PICKET_HOSTCHECK_H

/* `picket host check`: what is missing or misconfigured on a host that is to run guests.
 *
 * The looking (hostcheck_io.c) reads files below a root folder, by default "/", and runs no
 * program, so that it can be asked at any time. The judging (hostcheck_*_plan.c) is pure: texts in,
 * lines out. "I could not look" is HC_UNKNOWN, never ok. Memory belongs to the arena.
 */

#include <stdbool.h>
#include <stddef.h>

#include "base/arena.h"

#define HC_LINES_MAX 128

enum hc_level { HC_OK = 0, HC_WARN, HC_FAIL, HC_UNKNOWN };

enum hc_state { HC_MISSING = 0, HC_PRESENT, HC_UNREADABLE };

struct hc_file {
    const char *path;
    enum hc_state state;
    const char *text; /* PRESENT: a file's content, a folder's names one a line; else NULL */
};

enum hc_clock { HC_CLOCK_UNKNOWN = 0, HC_CLOCK_SYNCED, HC_CLOCK_FREE };

/* What was seen on the host. */
struct hc_host {
    const struct hc_file *files; /* in the order of hc_paths */
    size_t n_files;
    const char *processes; /* names, one a line, with a newline in front; NULL: could not look */
    enum hc_clock clock;
    const char *fencing;     /* condition FencingReady of this host: "True", "False"; NULL: nobody
                                could be asked */
    const char *fencing_why; /* its message, or why nobody could be asked */
};

struct hc_line {
    enum hc_level level;
    const char *topic; /* "lvm" */
    const char *text;  /* what was found */
    const char *fix;   /* what to do, several lines perhaps; NULL when ok */
};

struct hc_report {
    struct hc_line lines[HC_LINES_MAX];
    size_t n;
};

/* The files to read; NULL at the end. "%r" stands for the release of the kernel. */
extern const char *const hc_paths[];

/* All checks, in a fixed order. */
void hc_judge(const struct hc_host *h, struct arena *a, struct hc_report *ret);
/* Lines of one level. */
size_t hc_count(const struct hc_report *r, enum hc_level level);
const char *hc_level_name(enum hc_level level); /* "ok", "warn", "fail", "unknown" */

/* --- for the parts of the judging --- */
void hc_add(struct hc_report *r, enum hc_level level, const char *topic, const char *text,
            const char *fix);
const struct hc_file *hc_file(const struct hc_host *h, const char *path);
/* Its text, "" when there is no such file or it cannot be read. */
const char *hc_text(const struct hc_host *h, const char *path);
bool hc_runs(const struct hc_host *h, const char *process);
/* The value of the last line "KEY = VALUE" or "KEY VALUE" outside of comments, without quotes;
 * NULL: there is none. */
const char *hc_setting(const char *text, const char *key, struct arena *a);
/* Whether a kernel module is loaded, built in, or at hand to be loaded. */
enum hc_module { HC_MODULE_NONE = 0, HC_MODULE_AT_HAND, HC_MODULE_LOADED };
enum hc_module hc_module(const struct hc_host *h, const char *name);

void hc_judge_xen(const struct hc_host *h, struct arena *a, struct hc_report *r);
void hc_judge_storage(const struct hc_host *h, struct arena *a, struct hc_report *r);
void hc_judge_guard(const struct hc_host *h, struct arena *a, struct hc_report *r);
void hc_judge_picket(const struct hc_host *h, struct arena *a, struct hc_report *r);

/* Look at this host. Never fails: what cannot be read is UNREADABLE. Effects: reads. */
void hc_look(const char *root, struct arena *a, struct hc_host *ret);

#endif
