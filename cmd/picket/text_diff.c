#include "cmd/picket/text_diff.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/obj.h"

struct lines {
    const char **at;
    size_t *len;
    size_t n;
};

/* One line of the result: ' ' in both, '-' only in a, '+' only in b. */
struct edit {
    char kind;
    size_t a, b; /* line numbers from 0; of the next line where it has none itself */
};

struct script {
    struct edit *edits;
    size_t n;
};

static struct lines split(const char *text)
{
    struct lines l = { 0 };

    for (const char *p = text; *p != 0;) {
        const char *end = strchr(p, '\n');
        size_t len = end != NULL ? (size_t)(end - p) : strlen(p);

        if ((l.n & (l.n + 1)) == 0) { /* grow at 2^k - 1 */
            l.at = mem_realloc(l.at, (l.n * 2 + 2) * sizeof(l.at[0]));
            l.len = mem_realloc(l.len, (l.n * 2 + 2) * sizeof(l.len[0]));
        }
        l.at[l.n] = p;
        l.len[l.n++] = len;
        p += len + (end != NULL ? 1 : 0);
    }
    return l;
}

static void lines_free(struct lines *l)
{
    free(l->at);
    free(l->len);
}

static bool same(const struct lines *a, size_t i, const struct lines *b, size_t j)
{
    return a->len[i] == b->len[j] && memcmp(a->at[i], b->at[j], a->len[i]) == 0;
}

static void add(struct script *s, char kind, size_t *i, size_t *j)
{
    s->edits[s->n++] = (struct edit){ kind, *i, *j };
    *i += kind != '+' ? 1 : 0;
    *j += kind != '-' ? 1 : 0;
}

/* Lengths of the common subsequences of all pairs of tails. */
static uint32_t *lcs(const struct lines *a, size_t a0, size_t na, const struct lines *b, size_t b0,
                     size_t nb)
{
    size_t width = nb + 1;
    uint32_t *t = mem_alloc((na + 1) * width * sizeof(t[0]));

    for (size_t i = na; i-- > 0;) {
        for (size_t j = nb; j-- > 0;) {
            uint32_t down = t[(i + 1) * width + j], right = t[i * width + j + 1];

            t[i * width + j] = same(a, a0 + i, b, b0 + j) ? t[(i + 1) * width + j + 1] + 1
                               : down > right             ? down
                                                          : right;
        }
    }
    return t;
}

static void middle(const struct lines *a, size_t a0, size_t na, const struct lines *b, size_t b0,
                   size_t nb, struct script *s)
{
    bool small = na == 0 || nb == 0 || nb < TEXT_DIFF_CELLS / na;
    uint32_t *t = small ? lcs(a, a0, na, b, b0, nb) : NULL;
    size_t i = a0, j = b0;

    while (i < a0 + na || j < b0 + nb) {
        if (i == a0 + na) {
            add(s, '+', &i, &j);
        } else if (j == b0 + nb || t == NULL) {
            add(s, '-', &i, &j);
        } else if (same(a, i, b, j)) {
            add(s, ' ', &i, &j);
        } else if (t[(i - a0 + 1) * (nb + 1) + (j - b0)] >= t[(i - a0) * (nb + 1) + (j - b0 + 1)]) {
            add(s, '-', &i, &j);
        } else {
            add(s, '+', &i, &j);
        }
    }
    free(t);
}

static struct script compare(const struct lines *a, const struct lines *b)
{
    struct script s = { .edits = mem_alloc((a->n + b->n + 1) * sizeof(struct edit)) };
    size_t head = 0, tail = 0, i = 0, j = 0;

    while (head < a->n && head < b->n && same(a, head, b, head)) {
        head++;
    }
    while (tail < a->n - head && tail < b->n - head &&
           same(a, a->n - 1 - tail, b, b->n - 1 - tail)) {
        tail++;
    }
    while (i < head) {
        add(&s, ' ', &i, &j);
    }
    middle(a, head, a->n - head - tail, b, head, b->n - head - tail, &s);
    i = a->n - tail;
    j = b->n - tail;
    while (i < a->n) {
        add(&s, ' ', &i, &j);
    }
    return s;
}

/* The end of the hunk that begins at `from`: two changes belong together when at most
 * 2 * context common lines are between them. */
static size_t hunk_end(const struct script *s, size_t from, size_t context)
{
    size_t last = from;

    for (size_t k = from; k < s->n && k - last <= 2 * context + 1; k++) {
        if (s->edits[k].kind != ' ') {
            last = k;
        }
    }
    return last + 1;
}

static void print_line(const struct lines *a, const struct lines *b, const struct edit *e,
                       bool color, struct buf *out)
{
    const struct lines *l = e->kind == '+' ? b : a;
    size_t n = e->kind == '+' ? e->b : e->a;
    bool colored = color && e->kind != ' ';

    buf_printf(out, "%s%c%.*s%s\n",
               !colored         ? ""
               : e->kind == '+' ? "\033[32m"
                                : "\033[31m",
               e->kind, (int)l->len[n], l->at[n], colored ? "\033[0m" : "");
}

static void print_hunk(const struct lines *a, const struct lines *b, const struct script *s,
                       size_t from, size_t to, bool color, struct buf *out)
{
    size_t na = 0, nb = 0;

    for (size_t k = from; k < to; k++) {
        na += s->edits[k].kind != '+' ? 1 : 0;
        nb += s->edits[k].kind != '-' ? 1 : 0;
    }
    buf_printf(out, "%s@@ -%zu,%zu +%zu,%zu @@%s\n", color ? "\033[36m" : "",
               s->edits[from].a + (na > 0 ? 1 : 0), na, s->edits[from].b + (nb > 0 ? 1 : 0), nb,
               color ? "\033[0m" : "");
    for (size_t k = from; k < to; k++) {
        print_line(a, b, &s->edits[k], color, out);
    }
}

static bool print_all(const struct lines *a, const struct lines *b, const struct script *s,
                      const char *name_a, const char *name_b, size_t context, bool color,
                      struct buf *out)
{
    bool any = false;

    for (size_t k = 0; k < s->n; k++) {
        size_t from, to;

        if (s->edits[k].kind == ' ') {
            continue;
        }
        if (!any) {
            buf_printf(out, "%s--- %s\n+++ %s%s\n", color ? "\033[1m" : "", name_a, name_b,
                       color ? "\033[0m" : "");
        }
        any = true;
        to = hunk_end(s, k, context);
        from = k > context ? k - context : 0;
        print_hunk(a, b, s, from, to + context < s->n ? to + context : s->n, color, out);
        k = to - 1;
    }
    return any;
}

bool text_diff(const char *name_a, const char *text_a, const char *name_b, const char *text_b,
               size_t context, bool color, struct buf *out)
{
    struct lines a = split(text_a);
    struct lines b = split(text_b);
    struct script s = compare(&a, &b);
    bool any = print_all(&a, &b, &s, name_a, name_b, context, color, out);

    free(s.edits);
    lines_free(&a);
    lines_free(&b);
    return any;
}
