#include "cmd/picket-devd/cuts_plan.h"

#include "base/obj.h"

static bool cut_same(const struct cut *a, const struct cut *b)
{
    return a->host == b->host && a->with == b->with && a->direction == b->direction &&
           a->link == b->link;
}

bool cuts_add(struct cuts *c, struct cut cut)
{
    for (size_t i = 0; i < c->n; i++) {
        if (cut_same(&c->items[i], &cut)) {
            return true;
        }
    }
    if (c->n == CUTS_MAX) {
        return false;
    }
    c->items[c->n++] = cut;
    return true;
}

static bool heals(const struct cut *c, int host, int with)
{
    if (host == END_ANY) {
        return true;
    }
    if (with == END_ANY) {
        return c->host == host || c->with == host;
    }
    return (c->host == host && c->with == with) || (c->host == with && c->with == host);
}

size_t cuts_heal(struct cuts *c, int host, int with)
{
    size_t kept = 0;
    size_t before = c->n;

    for (size_t i = 0; i < before; i++) {
        if (!heals(&c->items[i], host, with)) {
            c->items[kept++] = c->items[i];
        }
    }
    c->n = kept;
    return before - kept;
}

static bool cut_matches(const struct cut *c, int from, int to, int link)
{
    bool out = c->host == from && (c->with == END_ANY || c->with == to);
    bool in = c->host == to && (c->with == END_ANY || c->with == from);

    if (c->link != 0 && c->link != link) {
        return false;
    }
    switch (c->direction) {
    case CUT_BOTH:
        return out || in;
    case CUT_IN:
        return in;
    case CUT_OUT:
        return out;
    }
    CHECK_UNREACHABLE();
}

bool cuts_blocked(const struct cuts *c, int from, int to, int link)
{
    if (from == to) {
        return false; /* a host always reaches itself */
    }
    for (size_t i = 0; i < c->n; i++) {
        if (cut_matches(&c->items[i], from, to, link)) {
            return true;
        }
    }
    return false;
}

const char *cut_direction_name(enum cut_direction d)
{
    switch (d) {
    case CUT_BOTH:
        return "both";
    case CUT_IN:
        return "in";
    case CUT_OUT:
        return "out";
    }
    CHECK_UNREACHABLE();
}
