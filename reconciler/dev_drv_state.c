#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/obj.h"
#include "base/str.h"
#include "reconciler/dev_drv_priv.h"
#include "reconciler/intent.h"

/* State files of guests: "key=value" lines, replaced as a whole by the guest itself. */

void dev_state_done(struct dev_state *s)
{
    for (size_t i = 0; i < s->n_disks; i++) {
        free(s->disks[i]);
    }
    free(s->vm);
    free(s->uid);
    free(s->boot);
    free(s->tty);
    *s = (struct dev_state){ 0 };
}

static bool parse_reason(const char *s, enum dom_reason *ret)
{
    for (int r = DOM_REASON_NONE; r <= DOM_REASON_VANISHED; r++) {
        if (str_eq(s, dom_reason_name((enum dom_reason)r))) {
            *ret = (enum dom_reason)r;
            return true;
        }
    }
    return false;
}

static bool parse_number(const char *key, const char *value, struct dev_state *s, bool *ret_known)
{
    const struct {
        const char *key;
        uint64_t *dst;
    } fields[] = {
        { "incarnation", &s->incarnation },
        { "token", &s->token },
        { "start", &s->start },
        { "since", &s->since_wall_ms },
        { "memory", &s->memory },
        { "suspended", &s->suspended_ms },
    };
    uint64_t pid;

    for (size_t i = 0; i < ARRAY_LEN(fields); i++) {
        if (str_eq(key, fields[i].key)) {
            *ret_known = true;
            return str_parse_u64(value, fields[i].dst);
        }
    }
    if (str_eq(key, "pid")) {
        *ret_known = true;
        if (!str_parse_u64(value, &pid) || pid == 0 || pid > INT32_MAX) {
            return false;
        }
        s->pid = (pid_t)pid;
    }
    return true;
}

static void set(char **dst, const char *value)
{
    free(*dst);
    *dst = mem_strdup(value);
}

static bool parse_line(char *line, struct dev_state *s)
{
    char *value = strchr(line, '=');
    bool known = false;

    if (value == NULL) {
        return false;
    }
    *value++ = '\0';
    if (!parse_number(line, value, s, &known)) {
        return false;
    }
    if (known) {
        return true;
    }
    if (str_eq(line, "vm")) {
        set(&s->vm, value);
    } else if (str_eq(line, "uid")) {
        set(&s->uid, value);
    } else if (str_eq(line, "boot")) {
        set(&s->boot, value);
    } else if (str_eq(line, "tty")) {
        set(&s->tty, value);
    } else if (str_eq(line, "disk")) {
        if (s->n_disks == DEV_DISKS_MAX) {
            return false;
        }
        s->disks[s->n_disks++] = mem_strdup(value);
    } else if (str_eq(line, "state")) {
        s->stopped = str_eq(value, "Stopped");
        s->suspended = str_eq(value, "Suspended");
    } else if (str_eq(line, "reason")) {
        return parse_reason(value, &s->reason);
    }
    return true;
}

int dev_state_read(const char *path, struct dev_state *ret, struct err *err)
{
    struct dev_state s = { 0 };
    char *text = NULL;
    char *save = NULL;
    int rc = intent_read_file(path, &text, err);

    if (rc != 0) {
        return rc;
    }
    for (char *l = strtok_r(text, "\n", &save); rc == 0 && l != NULL;
         l = strtok_r(NULL, "\n", &save)) {
        if (!parse_line(l, &s)) {
            rc = err_set(err, ERR_CORRUPT, "%s: line \"%.80s\" is not understood", path, l);
        }
    }
    if (rc == 0 && (s.vm == NULL || s.uid == NULL || s.boot == NULL || s.pid == 0)) {
        rc = err_set(err, ERR_CORRUPT, "%s: vm, uid, boot or pid is missing", path);
    }
    free(text);
    if (rc != 0) {
        dev_state_done(&s);
        return rc;
    }
    *ret = s;
    return 0;
}

bool dev_proc_stat(pid_t pid, uint64_t *ret_start, char *ret_letter)
{
    char path[64];
    char text[1024];
    const char *p;
    ssize_t n;
    int fd;

    (void)snprintf(path, sizeof(path), "/proc/%d/stat", (int)pid);
    fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0) {
        return false;
    }
    n = read(fd, text, sizeof(text) - 1);
    (void)close(fd);
    if (n <= 0) {
        return false;
    }
    text[n] = '\0';
    p = strrchr(text, ')');
    if (p == NULL || p[1] != ' ') {
        return false;
    }
    *ret_letter = p[2];
    for (int field = 2; p != NULL && field < 22; field++) {
        p = strchr(p + 1, ' ');
    }
    return p != NULL && sscanf(p, "%" SCNu64, ret_start) == 1;
}
