#include "storage/iscsi_codec.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/obj.h"
#include "base/str.h"

/* --- sessions: an indented outline; what we need from it is on lines of its own --- */

struct reader {
    struct arena *a;
    const char *target;
    struct iscsi_sessions *ret;
    struct iscsi_session *cur;
    size_t cap;
    size_t disk_cap;
    uint64_t lun;
    bool has_lun;
    size_t line_no;
    struct err *err;
};

static const char *value_after(const char *line, const char *key)
{
    size_t n = strlen(key);

    if (strncmp(line, key, n) != 0) {
        return NULL;
    }
    return line + n + strspn(line + n, " \t");
}

/* The first word of a value. */
static char *word(struct arena *a, const char *v)
{
    return arena_strndup(a, v, strcspn(v, " \t"));
}

/* "10.0.0.1:3260,1": the tag of the portal group is no part of the address. */
static char *portal(struct arena *a, const char *v)
{
    return arena_strndup(a, v, strcspn(v, ", \t"));
}

static int corrupt(struct reader *r, const char *what)
{
    return err_set(r->err, ERR_CORRUPT, "iscsiadm's sessions, line %zu: %s", r->line_no, what);
}

static int begin_session(struct reader *r, const char *v)
{
    if (r->target == NULL || v[0] == '\0') {
        return corrupt(r, "a portal without a target or an address");
    }
    if (r->ret->n == ISCSI_SESSIONS_MAX) {
        return corrupt(r, "too many sessions");
    }
    if (r->ret->n == r->cap) {
        size_t cap = r->cap == 0 ? 8 : 2 * r->cap;
        struct iscsi_session *list = ARENA_ARRAY(r->a, struct iscsi_session, cap);

        if (r->ret->n > 0) {
            memcpy(list, r->ret->list, r->ret->n * sizeof(*list));
        }
        r->ret->list = list;
        r->cap = cap;
    }
    r->cur = &r->ret->list[r->ret->n++];
    *r->cur = (struct iscsi_session){ .target = r->target,
                                      .portal = portal(r->a, v),
                                      .current = portal(r->a, v),
                                      .initiator = "",
                                      .state = "",
                                      .connection = "" };
    r->disk_cap = 0;
    r->has_lun = false;
    return 0;
}

static int add_disk(struct reader *r, const char *v)
{
    struct iscsi_session *s = r->cur;
    const char *state = strstr(v, "State:");

    if (!r->has_lun || s->n_disks == ISCSI_DISKS_MAX) {
        return corrupt(r, "a disk without a LUN, or too many of them");
    }
    if (s->n_disks == r->disk_cap) {
        size_t cap = r->disk_cap == 0 ? 4 : 2 * r->disk_cap;
        struct iscsi_disk *disks = ARENA_ARRAY(r->a, struct iscsi_disk, cap);

        if (s->n_disks > 0) {
            memcpy(disks, s->disks, s->n_disks * sizeof(*disks));
        }
        s->disks = disks;
        r->disk_cap = cap;
    }
    s->disks[s->n_disks++] =
        (struct iscsi_disk){ .lun = r->lun,
                             .device = word(r->a, v),
                             .running =
                                 state != NULL && str_eq(value_after(state, "State:"), "running") };
    return 0;
}

static int read_lun(struct reader *r, const char *line)
{
    const char *v = strstr(line, " Lun: ");

    r->has_lun = v != NULL && str_parse_u64(word(r->a, v + 6), &r->lun);
    return r->has_lun ? 0 : corrupt(r, "a device without a LUN");
}

static int read_in_session(struct reader *r, const char *line)
{
    struct iscsi_session *s = r->cur;
    const char *v;

    if ((v = value_after(line, "Persistent Portal:")) != NULL) {
        s->portal = portal(r->a, v);
    } else if ((v = value_after(line, "Iface Initiatorname:")) != NULL) {
        s->initiator = word(r->a, v);
    } else if ((v = value_after(line, "iSCSI Connection State:")) != NULL) {
        s->connection = arena_strdup(r->a, v);
    } else if ((v = value_after(line, "iSCSI Session State:")) != NULL) {
        s->state = arena_strdup(r->a, v);
    } else if ((v = value_after(line, "SID:")) != NULL) {
        if (!str_parse_u64(v, &s->sid) || s->sid == 0) {
            return corrupt(r, "SID is not a number");
        }
    } else if (str_starts(line, "scsi") && strstr(line, " Channel ") != NULL) {
        return read_lun(r, line);
    } else if ((v = value_after(line, "Attached scsi disk")) != NULL) {
        return add_disk(r, v);
    }
    return 0;
}

static int read_line(struct reader *r, const char *line)
{
    const char *v;

    if ((v = value_after(line, "Target:")) != NULL) {
        r->target = word(r->a, v); /* "(non-flash)" may follow */
        r->cur = NULL;
        return r->target[0] != '\0' ? 0 : corrupt(r, "a target without a name");
    }
    if ((v = value_after(line, "Current Portal:")) != NULL) {
        return begin_session(r, v);
    }
    return r->cur != NULL ? read_in_session(r, line) : 0;
}

static int finish(struct reader *r)
{
    for (size_t i = 0; i < r->ret->n; i++) {
        struct iscsi_session *s = &r->ret->list[i];

        if (s->sid == 0) {
            return corrupt(r, "a session without its number (is it -P 3?)");
        }
        s->logged_in = str_eq(s->state, "LOGGED_IN") && str_eq(s->connection, "LOGGED IN");
    }
    return 0;
}

int iscsi_parse_sessions(const char *text, size_t len, struct arena *a, struct iscsi_sessions *ret,
                         struct err *err)
{
    struct reader r = { .a = a, .ret = ret, .err = err };
    char *copy = arena_strndup(a, text, len);
    char *save = NULL;
    int rc = 0;

    memset(ret, 0, sizeof(*ret));
    if (memchr(text, '\0', len) != NULL) {
        return corrupt(&r, "a NUL");
    }
    for (char *line = strtok_r(copy, "\n", &save); line != NULL && rc == 0;
         line = strtok_r(NULL, "\n", &save)) {
        size_t n = strlen(line);

        while (n > 0 && strchr(" \t\r", line[n - 1]) != NULL) {
            line[--n] = '\0';
        }
        r.line_no++;
        rc = read_line(&r, line + strspn(line, " \t"));
    }
    return rc != 0 ? rc : finish(&r);
}

/* --- portals --- */

struct address {
    const char *host;
    size_t host_len;
    const char *port;
};

static struct address split_portal(const char *s)
{
    struct address r = { .host = s, .port = "3260" };
    const char *colon = strrchr(s, ':');
    const char *bracket = strchr(s, ']');

    if (s[0] == '[' && bracket != NULL) {
        r.host = s + 1;
        r.host_len = (size_t)(bracket - s) - 1;
        r.port = bracket[1] == ':' ? bracket + 2 : r.port;
    } else if (colon != NULL && strchr(s, ':') == colon) {
        r.host_len = (size_t)(colon - s);
        r.port = colon + 1;
    } else {
        r.host_len = strlen(s);
    }
    return r;
}

bool iscsi_portal_eq(const char *a, const char *b)
{
    struct address x = split_portal(a);
    struct address y = split_portal(b);

    return x.host_len == y.host_len && strncasecmp(x.host, y.host, x.host_len) == 0 &&
           str_eq(x.port, y.port);
}

const struct iscsi_session *iscsi_find(const struct iscsi_sessions *s, const char *target,
                                       const char *want)
{
    for (size_t i = 0; i < s->n; i++) {
        if (str_eq(s->list[i].target, target) && iscsi_portal_eq(s->list[i].portal, want)) {
            return &s->list[i];
        }
    }
    return NULL;
}

/* --- records --- */

#define SETTINGS_MAX 16

struct setting {
    const char *name;
    const char *value;
    char number[24];
    bool written;
};

struct settings {
    struct setting s[SETTINGS_MAX];
    size_t n;
};

static void put(struct settings *st, const char *name, const char *value)
{
    CHECK(st->n < SETTINGS_MAX);
    st->s[st->n++] = (struct setting){ .name = name, .value = value };
}

/* Whole seconds, rounded up: 0 would switch it off. */
static void put_seconds(struct settings *st, const char *name, uint64_t ms)
{
    struct setting *s;

    put(st, name, NULL);
    s = &st->s[st->n - 1];
    (void)snprintf(s->number, sizeof(s->number), "%" PRIu64, ms / 1000 + (ms % 1000 != 0 ? 1 : 0));
}

static void settings_of(const struct iscsi_settings *w, struct settings *st)
{
    const char *user = w->username != NULL ? w->username : "";
    const char *mutual = w->mutual_username != NULL ? w->mutual_username : "";

    put(st, "node.startup", "manual"); /* the agent logs in, never the boot */
    put(st, "node.session.auth.authmethod", user[0] != '\0' ? "CHAP" : "None");
    put(st, "node.session.auth.username", user);
    put(st, "node.session.auth.password",
        user[0] != '\0' && w->password != NULL ? w->password : "");
    put(st, "node.session.auth.username_in", mutual);
    put(st, "node.session.auth.password_in",
        mutual[0] != '\0' && w->mutual_password != NULL ? w->mutual_password : "");
    put(st, "node.conn[0].iscsi.HeaderDigest", w->header_crc ? "CRC32C" : "None");
    put(st, "node.conn[0].iscsi.DataDigest", w->data_crc ? "CRC32C" : "None");
    put_seconds(st, "node.session.timeo.replacement_timeout", w->replacement_ms);
    put_seconds(st, "node.conn[0].timeo.noop_out_interval", w->noop_interval_ms);
    put_seconds(st, "node.conn[0].timeo.noop_out_timeout", w->noop_timeout_ms);
}

static void write_setting(struct setting *s, struct buf *out)
{
    const char *value = s->value != NULL ? s->value : s->number;

    if (!s->written && value[0] != '\0') { /* an empty value is no line at all */
        buf_printf(out, "%s = %s\n", s->name, value);
    }
    s->written = true;
}

static struct setting *find_setting(struct settings *st, const char *line, size_t len)
{
    for (size_t i = 0; i < st->n; i++) {
        size_t n = strlen(st->s[i].name);

        if (len >= n && strncmp(line, st->s[i].name, n) == 0 &&
            (len == n || line[n] == ' ' || line[n] == '=')) {
            return &st->s[i];
        }
    }
    return NULL;
}

static int check_values(const struct settings *st, const struct iscsi_settings *w, struct err *err)
{
    if ((w->username != NULL && w->password == NULL) ||
        (w->mutual_username != NULL && (w->mutual_password == NULL || w->username == NULL))) {
        return err_set(err, ERR_INVALID, "CHAP: a name without its password");
    }
    for (size_t i = 0; i < st->n; i++) {
        const char *v = st->s[i].value != NULL ? st->s[i].value : "";
        size_t n = strlen(v);

        if (n > 255 || strcspn(v, "\r\n") != n || v[0] == ' ' || (n > 0 && v[n - 1] == ' ')) {
            return err_set(
                err, ERR_INVALID,
                "%s: longer than 255 bytes, or with line ends, or with a space at an end",
                st->s[i].name);
        }
    }
    return 0;
}

int iscsi_record_set(const char *record, size_t len, const struct iscsi_settings *s,
                     struct buf *out, struct err *err)
{
    struct settings st = { .n = 0 };
    const char *end = record + len;
    bool ended = false;
    int rc;

    settings_of(s, &st);
    rc = check_values(&st, s, err);
    if (rc != 0) {
        return rc;
    }
    for (const char *p = record; p < end && !ended;) {
        const char *nl = memchr(p, '\n', (size_t)(end - p));
        size_t n = nl != NULL ? (size_t)(nl - p) : (size_t)(end - p);
        struct setting *hit = find_setting(&st, p, n);

        ended = n >= 12 && strncmp(p, "# END RECORD", 12) == 0;
        for (size_t i = 0; ended && i < st.n; i++) {
            write_setting(&st.s[i], out);
        }
        if (hit != NULL) {
            write_setting(hit, out);
        } else {
            buf_add(out, p, n);
            buf_add_byte(out, '\n');
        }
        p += n + 1;
    }
    return ended ? 0 : err_set(err, ERR_CORRUPT, "a node record of open-iscsi without its end");
}
