#include "storage/pr_text_codec.h"

#include <string.h>

#include "base/obj.h"
#include "base/str.h"

static int corrupt(struct err *err, const char *what)
{
    return err_set(err, ERR_CORRUPT, "sg_persist's answer: %s", what);
}

/* A copy that ends with a NUL and holds none before. */
static char *whole(const char *text, size_t len, struct arena *a)
{
    return memchr(text, '\0', len) != NULL ? NULL : arena_strndup(a, text, len);
}

/* "0x504b0000..." up to the end of the line; *at moves behind it. */
static bool take_hex(const char **at, uint64_t *ret)
{
    const char *p = *at + strspn(*at, " \t");
    size_t n = 0;

    *ret = 0;
    if (strncmp(p, "0x", 2) != 0) {
        return false;
    }
    for (p += 2; n < 17; p++, n++) {
        unsigned digit = *p >= '0' && *p <= '9'   ? (unsigned)(*p - '0')
                         : *p >= 'a' && *p <= 'f' ? (unsigned)(*p - 'a') + 10
                         : *p >= 'A' && *p <= 'F' ? (unsigned)(*p - 'A') + 10
                                                  : 16;

        if (digit > 15) {
            break;
        }
        *ret = *ret << 4 | digit;
    }
    *at = p;
    return n > 0 && n <= 16 && (*p == '\n' || *p == '\r' || *p == ' ' || *p == '\0');
}

/* "PR generation=0x7, 2 registered reservation keys follow:" and a key on each line. */
int prt_keys_parse(const char *text, size_t len, struct arena *a, struct prt_keys *ret,
                   struct err *err)
{
    const char *copy = whole(text, len, a);
    const char *p = copy == NULL ? NULL : strstr(copy, "PR generation=");
    uint64_t n = 0;

    *ret = (struct prt_keys){ 0 };
    if (p == NULL) {
        return corrupt(err, "no PR generation");
    }
    if (strstr(p, "there are NO registered reservation keys") != NULL) {
        return 0;
    }
    p = strstr(p, ", ");
    if (p == NULL || strstr(p, "registered reservation key") == NULL ||
        !str_parse_u64(arena_strndup(a, p + 2, strspn(p + 2, "0123456789")), &n) || n == 0 ||
        n > PRT_KEYS_MAX) {
        return corrupt(err, "no number of keys, or too many of them");
    }
    ret->keys = ARENA_ARRAY(a, uint64_t, n);
    while (ret->n < n && (p = strchr(p, '\n')) != NULL) {
        p++;
        if (!take_hex(&p, &ret->keys[ret->n])) {
            break;
        }
        ret->n++;
    }
    return ret->n == n ? 0 : corrupt(err, "fewer keys than it says");
}

int prt_reservation_parse(const char *text, size_t len, struct arena *a,
                          struct prt_reservation *ret, struct err *err)
{
    static const char key[] = "type: ";
    const char *copy = whole(text, len, a);
    const char *p = copy == NULL ? NULL : strstr(copy, "PR generation=");

    *ret = (struct prt_reservation){ .text = "" };
    if (p == NULL) {
        return corrupt(err, "no PR generation");
    }
    if (strstr(p, "there is NO reservation held") != NULL) {
        return 0;
    }
    p = strstr(p, "Reservation follows");
    p = p == NULL ? NULL : strstr(p, key);
    if (p == NULL) {
        return corrupt(err, "a reservation without a type");
    }
    p += strlen(key);
    ret->text = arena_strndup(a, p, strcspn(p, "\r\n"));
    ret->type = strstr(ret->text, "registrants") != NULL ? PRT_REGISTRANTS : PRT_OTHER;
    return ret->text[0] != '\0' ? 0 : corrupt(err, "a reservation without a type");
}

int prt_caps_parse(const char *text, size_t len, struct arena *a, bool *ret, struct err *err)
{
    const char *copy = whole(text, len, a);
    const char *p = copy == NULL ? NULL : strstr(copy, "(PTPL_C): ");

    if (p == NULL || (p[10] != '0' && p[10] != '1')) {
        return corrupt(err, "no PTPL_C");
    }
    *ret = p[10] == '1';
    return 0;
}

bool prt_keys_have(const struct prt_keys *k, uint64_t key)
{
    for (size_t i = 0; i < k->n; i++) {
        if (k->keys[i] == key) {
            return true;
        }
    }
    return false;
}
