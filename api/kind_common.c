/* Common fields and format checks of the field tables. */

#include "api/kind_table.h"
#include "base/obj.h"
#include "base/str.h"

#include <ctype.h>
#include <string.h>

/* clang-format off */
static const struct field condition_fields[] = {
    { .name = "type", .type = F_STRING, .flags = FF_REQUIRED | FF_LIST_KEY, .check = check_word, .text = "What it is about." },
    { .name = "status", ENUM_OF("True", "False", "Unknown"), .flags = FF_REQUIRED, .text = "Whether it is so." },
    { .name = "reason", .type = F_STRING, .text = "Why, one word for programs." },
    { .name = "message", .type = F_STRING, .text = "Why, for people." },
    { .name = "lastTransitionTime", .type = F_STRING, .text = "When the status changed last." },
    { .name = "observedGeneration", .type = F_INT, .text = "The generation that it is about." },
    FIELD_END
};

const struct field common_condition_elem[] = {
    { .name = "*", .type = F_OBJECT, .fields = condition_fields, .text = "A condition." },
    FIELD_END
};

const struct field common_secret_ref[] = {
    { .name = "secret", NAME_OF("Secret"), .flags = FF_REQUIRED, .text = "The Secret." },
    { .name = "key", .type = F_STRING, .flags = FF_REQUIRED, .check = check_word, .max = 253, .text = "Which of its values." },
    FIELD_END
};

const struct field common_status[] = { STATUS_FIELDS, FIELD_END };
/* clang-format on */

/* Only these characters, beside letters and digits? */
static bool only(const char *s, const char *more)
{
    for (; *s != 0; s++) {
        if (!isalnum((unsigned char)*s) && strchr(more, *s) == NULL) {
            return false;
        }
    }
    return true;
}

static bool label_word(const char *s, size_t n)
{
    if (n == 0 || n > 63 || !isalnum((unsigned char)s[0]) || !isalnum((unsigned char)s[n - 1])) {
        return false;
    }
    for (size_t i = 0; i < n; i++) {
        if (!isalnum((unsigned char)s[i]) && strchr("-_.", s[i]) == NULL) {
            return false;
        }
    }
    return true;
}

const char *check_label_key(const char *s)
{
    const char *slash = strchr(s, '/');
    char prefix[254];

    if (slash != NULL) {
        size_t n = (size_t)(slash - s);

        if (n >= sizeof(prefix)) {
            return "a DNS name of at most 253 characters before the slash";
        }
        memcpy(prefix, s, n);
        prefix[n] = 0;
        if (!str_is_name(prefix)) {
            return "a DNS name before the slash, such as example.org/rack";
        }
        s = slash + 1;
    }
    return label_word(s, strlen(s)) ? NULL
                                    : "1 to 63 letters, digits, '-', '_' and '.', beginning and "
                                      "ending with a letter or digit";
}

const char *check_label_value(const char *s)
{
    return *s == 0 || label_word(s, strlen(s))
               ? NULL
               : "at most 63 letters, digits, '-', '_' and '.', beginning and ending with a letter "
                 "or digit";
}

/* RFC 3720 section 3.2.6.3 (iqn., eui.) and RFC 3980 (naa.). */
const char *check_iqn(const char *s)
{
    static const char wanted[] = "a name such as iqn.2026-01.org.example:vm1, eui.02004567A425678D "
                                 "or naa.52004567BA64678D";
    size_t len = strlen(s);

    if (len > 223 || !only(s, "-.:_")) {
        return wanted;
    }
    if (str_starts(s, "eui.") || str_starts(s, "naa.")) {
        return strspn(s + 4, "0123456789abcdefABCDEF") == len - 4 && (len == 20 || len == 36)
                   ? NULL
                   : wanted;
    }
    if (!str_starts(s, "iqn.") || len < 13) {
        return wanted;
    }
    for (size_t i = 4; i < 11; i++) {
        if (i == 8 ? s[i] != '-' : !isdigit((unsigned char)s[i])) {
            return wanted;
        }
    }
    return s[11] == '.' && s[12] != 0 ? NULL : wanted;
}

/* As scsi_id prints them: a type digit and hexadecimal, or t10/vendor text. */
const char *check_wwid(const char *s)
{
    size_t len = strlen(s);

    return len >= 8 && len <= 200 && only(s, "-._:")
               ? NULL
               : "what `scsi_id` or `multipath -l` prints, such "
                 "as 360a98000572d4275";
}

/* The kernel's rule (dev_valid_name) with its length IFNAMSIZ - 1. */
const char *check_ifname(const char *s)
{
    size_t len = strlen(s);

    return len >= 1 && len <= 15 && !str_eq(s, ".") && !str_eq(s, "..") && only(s, "-._") &&
                   s[0] != '-'
               ? NULL
               : "the name of an interface: at most 15 letters, digits, '-', '.' and '_'";
}

static bool path_is_clean(const char *s)
{
    size_t len = strlen(s);

    if (s[0] != '/' || len > 1024 || strstr(s, "//") != NULL || strstr(s, "/../") != NULL ||
        strstr(s, "/./") != NULL || str_ends(s, "/..") || str_ends(s, "/.")) {
        return false;
    }
    return check_oneline(s) == NULL;
}

static bool below(const char *s, const char *dir)
{
    size_t n = strlen(dir);

    return strncmp(s, dir, n) == 0 && (s[n] == 0 || s[n] == '/');
}

const char *check_file_path(const char *s)
{
    if (!path_is_clean(s) || str_ends(s, "/") || strpbrk(s, ",\"'") != NULL) {
        return "the absolute path of a file, without \"..\", commas and quotes";
    }
    return below(s, "/dev") || below(s, "/proc") || below(s, "/sys") ? "a file, never a device"
                                                                     : NULL;
}

const char *check_dir_path(const char *s)
{
    static const char *const reserved[] = { "/bin",  "/boot", "/dev",  "/etc", "/lib",
                                            "/proc", "/run",  "/sbin", "/sys", "/usr" };

    if (!path_is_clean(s) || (str_ends(s, "/") && s[1] != 0)) {
        return "the absolute path of a folder, without \"..\" and without a slash at the end";
    }
    for (size_t i = 0; i < ARRAY_LEN(reserved); i++) {
        if (below(s, reserved[i])) {
            return "a folder outside the system's own ones, such as /srv/shared";
        }
    }
    return s[1] == 0 ? "a folder outside the system's own ones, such as /srv/shared" : NULL;
}

const char *check_dev_path(const char *s)
{
    return path_is_clean(s) && str_starts(s, "/dev/") && s[5] != 0 ? NULL
                                                                   : "a path below /dev, such as "
                                                                     "/dev/watchdog0";
}

const char *check_boot_order(const char *s)
{
    size_t len = strlen(s);

    for (size_t i = 0; i < len; i++) {
        if (strchr("cdn", s[i]) == NULL || strchr(s + i + 1, s[i]) != NULL) {
            return "c (disk), d (CD-ROM) and n (network), each once, such as \"dc\"";
        }
    }
    return len > 0 ? NULL : "c (disk), d (CD-ROM) and n (network), each once, such as \"dc\"";
}

const char *check_bootloader(const char *s)
{
    return str_eq(s, "pygrub") || check_file_path(s) == NULL ? NULL
                                                             : "\"pygrub\" or the absolute path of "
                                                               "a program";
}

/* xen-vbd-interface(7): xvd[a-z]..., sd[a-p], hd[a-d], with an optional partition. */
const char *check_disk_target(const char *s)
{
    const char *p = s;

    if (str_starts(s, "xvd")) {
        p = s + 3;
    } else if (str_starts(s, "sd") || str_starts(s, "hd")) {
        p = s + 2;
    }
    if (p > s && islower((unsigned char)*p)) {
        p++;
        p += p - s > 3 && islower((unsigned char)*p) ? 1 : 0;
        p += strspn(p, "0123456789") <= 2 ? strspn(p, "0123456789") : 0;
        if (*p == 0) {
            return NULL;
        }
    }
    return "a disk as the guest sees it, such as xvda, sdb or hdc";
}

/* xl-network-configuration(5), without the optional interval. */
const char *check_rate(const char *s)
{
    static const char *const units[] = { "Kb/s", "Mb/s", "Gb/s", "KB/s", "MB/s", "GB/s" };
    size_t n = strspn(s, "0123456789");

    if (n > 0 && n < 10 && s[0] != '0') {
        for (size_t i = 0; i < ARRAY_LEN(units); i++) {
            if (str_eq(s + n, units[i])) {
                return NULL;
            }
        }
    }
    return "a number with Kb/s, Mb/s, Gb/s, KB/s, MB/s or GB/s, such as 100Mb/s";
}

/* "all", or numbers and ranges, each maybe excluded by '^' (xl.cfg(5), cpus). */
const char *check_cpu_list(const char *s)
{
    static const char wanted[] = "numbers and ranges of CPUs, such as 0-3,8 or all,^0";

    while (*s != 0) {
        s += *s == '^' ? 1 : 0;
        if (str_starts(s, "all")) {
            s += 3;
        } else {
            size_t n = strspn(s, "0123456789");

            if (n == 0 || n > 5) {
                return wanted;
            }
            s += n;
            if (*s == '-') {
                n = strspn(++s, "0123456789");
                if (n == 0 || n > 5) {
                    return wanted;
                }
                s += n;
            }
        }
        if (*s == 0) {
            return NULL;
        }
        if (*s++ != ',') {
            return wanted;
        }
    }
    return wanted;
}

const char *check_uuid(const char *s)
{
    bool ok = strlen(s) == 36;

    for (size_t i = 0; i < 36 && ok; i++) {
        bool dash = i == 8 || i == 13 || i == 18 || i == 23;

        ok = dash ? s[i] == '-' : isxdigit((unsigned char)s[i]) != 0;
    }
    return ok ? NULL : "a UUID, such as 6b1d0c4e-7a43-4c0e-9f43-2f1a3b5c7d9e";
}

const char *check_fence_agent(const char *s)
{
    return str_starts(s, "fence_") && strlen(s) > 6 && strlen(s) < 64 && only(s, "_-")
               ? NULL
               : "the name of a fence agent without its folder, such as fence_ipmilan";
}

const char *check_word(const char *s)
{
    size_t len = strlen(s);

    return len >= 1 && len <= 253 && only(s, "-._") ? NULL : "letters, digits, '-', '_' and '.'";
}

/* SHA-256: 32 bytes, with or without colons. */
const char *check_fingerprint(const char *s)
{
    size_t n = 0;

    for (; *s != 0; s++) {
        if (strchr("0123456789abcdefABCDEF", *s) != NULL) {
            n++;
        } else if (*s != ':') {
            n = 0;
            break;
        }
    }
    return n == 64 ? NULL : "64 hexadecimal digits, with or without colons";
}

const char *check_oneline(const char *s)
{
    for (; *s != 0; s++) {
        if ((unsigned char)*s < 0x20 || *s == 0x7f) {
            return "one line of text without control characters";
        }
    }
    return NULL;
}

/* multipath.conf(5), path_selector. */
const char *check_multipath_selector(const char *s)
{
    static const char *const names[] = { "round-robin 0", "queue-length 0", "service-time 0",
                                         "historical-service-time 0" };

    for (size_t i = 0; i < ARRAY_LEN(names); i++) {
        if (str_eq(s, names[i])) {
            return NULL;
        }
    }
    return "\"round-robin 0\", \"queue-length 0\", \"service-time 0\" or \"historical-service-time "
           "0\"";
}

const char *check_hw_handler(const char *s)
{
    static const char *const names[] = { "0", "1 alua", "1 rdac", "1 emc", "1 hp_sw" };

    for (size_t i = 0; i < ARRAY_LEN(names); i++) {
        if (str_eq(s, names[i])) {
            return NULL;
        }
    }
    return "\"0\", \"1 alua\", \"1 rdac\", \"1 emc\" or \"1 hp_sw\"";
}

void check_list_unique(const json_t *obj, const char *path, const char *key, struct problems *ps)
{
    const json_t *list = jget(obj, path);
    size_t n = json_array_size(list);

    /* Longer ones are refused by the tables: no quadratic work for them. */
    for (size_t i = 1; i < n && n <= 2048; i++) {
        const json_t *a = json_array_get(list, i);
        const char *s = json_string_value(key != NULL ? json_object_get(a, key) : a);

        for (size_t k = 0; k < i && s != NULL; k++) {
            const json_t *b = json_array_get(list, k);
            char at[128];

            if (!str_eq(s, json_string_value(key != NULL ? json_object_get(b, key) : b))) {
                continue;
            }
            (void)snprintf(at, sizeof(at), "%s[%zu]%s%s", path, i, key != NULL ? "." : "",
                           key != NULL ? key : "");
            problem_add(ps, "FieldValueDuplicate", at,
                        "\"%s\" is in the list twice (first at [%zu])", s, k);
            break;
        }
    }
}

void check_name_ifname(const json_t *obj, struct problems *ps)
{
    const char *name = obj_name(obj);

    if (*name != 0 && check_ifname(name) != NULL) {
        problem_add(ps, "FieldValueInvalid", "metadata.name",
                    "\"%s\" becomes the name of an interface, which has at most 15 characters",
                    name);
    }
}

size_t count_present(const json_t *obj, const char *const *names)
{
    size_t n = 0;

    for (size_t i = 0; names[i] != NULL; i++) {
        n += json_object_get(obj, names[i]) != NULL ? 1U : 0U;
    }
    return n;
}
