#include "fence/agent_meta.h"

#include <stdio.h>
#include <string.h>

#include "base/obj.h"
#include "base/str.h"
#include "fence/agent_rules.h"

struct param {
    char name[64], type[16], deflt[64], text[160];
    bool required, deprecated;
};

/* From `from` up to `to`, neither of them NUL-terminated strings. */
struct span {
    const char *at;
    size_t len;
};

/* What lies between `open` and `close`; false when there is none. */
static bool between(struct span in, const char *open, const char *close, struct span *ret,
                    struct span *ret_rest)
{
    const char *a = memmem(in.at, in.len, open, strlen(open));
    const char *b;

    if (a == NULL) {
        return false;
    }
    a += strlen(open);
    b = memmem(a, in.len - (size_t)(a - in.at), close, strlen(close));
    if (b == NULL) {
        return false;
    }
    *ret = (struct span){ a, (size_t)(b - a) };
    b += strlen(close);
    *ret_rest = (struct span){ b, in.len - (size_t)(b - in.at) };
    return true;
}

/* The five entities, and no control characters: it goes to a terminal. */
static void copy_text(char *dst, size_t size, struct span s)
{
    static const struct {
        const char *name;
        char c;
    } entities[] = {
        { "&lt;", '<' }, { "&gt;", '>' }, { "&quot;", '"' }, { "&apos;", '\'' }, { "&amp;", '&' }
    };
    size_t n = 0, i = 0;

    while (i < s.len && n + 1 < size) {
        char c = s.at[i];
        size_t used = 1;

        for (size_t e = 0; c == '&' && used == 1 && e < ARRAY_LEN(entities); e++) {
            size_t len = strlen(entities[e].name);

            if (s.len - i >= len && memcmp(s.at + i, entities[e].name, len) == 0) {
                c = entities[e].c;
                used = len;
            }
        }
        dst[n++] = (unsigned char)c < 0x20 || (unsigned char)c > 0x7e ? ' ' : c;
        i += used;
    }
    dst[n] = '\0';
}

/* name="value" within one tag. */
static void attribute(struct span tag, const char *name, char *dst, size_t size)
{
    char open[32];
    struct span value, rest;

    (void)snprintf(open, sizeof(open), " %s=\"", name);
    dst[0] = '\0';
    if (between(tag, open, "\"", &value, &rest)) {
        copy_text(dst, size, value);
    }
}

/* `body` begins within <parameter ... */
static void read_param(struct span body, struct param *ret)
{
    const char *end = memchr(body.at, '>', body.len);
    struct span tag = { body.at, end != NULL ? (size_t)(end - body.at) : body.len };
    struct span part, rest;
    char flag[8];

    memset(ret, 0, sizeof(*ret));
    attribute(tag, "name", ret->name, sizeof(ret->name));
    attribute(tag, "required", flag, sizeof(flag));
    ret->required = strcmp(flag, "1") == 0;
    attribute(tag, "deprecated", flag, sizeof(flag));
    ret->deprecated = strcmp(flag, "1") == 0;
    if (between(body, "<content", ">", &part, &rest)) {
        attribute(part, "type", ret->type, sizeof(ret->type));
        attribute(part, "default", ret->deflt, sizeof(ret->deflt));
    }
    if (between(body, "<shortdesc", "</shortdesc>", &part, &rest)) {
        const char *text = memchr(part.at, '>', part.len);

        if (text != NULL) {
            part.len -= (size_t)(text + 1 - part.at);
            part.at = text + 1;
            copy_text(ret->text, sizeof(ret->text), part);
        }
    }
}

/* Filled in from fields of the device that have a name of their own. */
static bool is_field(const char *name)
{
    static const char *const fields[] = { "ip", "ipport", "port", "plug", "username", "password" };

    for (size_t i = 0; i < ARRAY_LEN(fields); i++) {
        if (strcmp(name, fields[i]) == 0) {
            return true;
        }
    }
    return false;
}

static void print_param(const struct param *p, struct buf *out)
{
    buf_printf(out, "%-24s %-8s %-12s %s%s\n", p->name, p->type, p->deflt, p->text,
               p->required ? " (required)" : "");
}

int agent_meta_print(const char *xml, size_t len, struct buf *out, struct err *err)
{
    struct span rest = { xml, len }, body;
    size_t n = 0;

    buf_printf(out, "%-24s %-8s %-12s %s\n", "PARAMETER", "TYPE", "DEFAULT", "WHAT IT IS");
    /* With the blank: <parameters> is the list of them. */
    while (between(rest, "<parameter ", "</parameter>", &body, &rest)) {
        struct span whole = { body.at - 1, body.len + 1 }; /* from the blank on */
        struct param p;

        read_param(whole, &p);
        n++;
        if (p.name[0] != '\0' && !p.deprecated && !is_field(p.name) &&
            agent_rules_param_refused(p.name) == NULL) {
            print_param(&p, out);
        }
    }
    return n > 0 ? 0 : err_set(err, ERR_INVALID, "this is not the metadata of a fence agent");
}
