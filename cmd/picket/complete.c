/* Completion: a small script per shell asks `picket __complete WORD...` for candidates. */

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "api/valid.h"
#include "base/obj.h"
#include "base/str.h"
#include "cmd/picket/cli.h"

#define NAMES_MS 2000

static const char bash_script[] =
    "# picket completion for bash: source <(picket completion bash)\n"
    "_picket() {\n"
    "    local IFS=$'\\n'\n"
    "    COMPREPLY=($(picket __complete \"${COMP_WORDS[@]:1:COMP_CWORD}\" 2>/dev/null))\n"
    "    [[ ${#COMPREPLY[@]} -eq 1 && ${COMPREPLY[0]} == */ ]] && compopt -o nospace\n"
    "}\n"
    "complete -o default -F _picket picket\n";

static const char zsh_script[] =
    "#compdef picket\n"
    "# picket completion for zsh: source <(picket completion zsh)\n"
    "_picket() {\n"
    "    local -a found\n"
    "    found=(${(f)\"$(picket __complete ${words[2,CURRENT]} 2>/dev/null)\"})\n"
    "    if (( ${#found} )); then compadd -a found; else _files; fi\n"
    "}\n"
    "compdef _picket picket\n";

static const char fish_script[] = "# picket completion for fish: picket completion fish | source\n"
                                  "function __picket_complete\n"
                                  "    set -l words (commandline -opc) (commandline -ct)\n"
                                  "    picket __complete $words[2..-1] 2>/dev/null\n"
                                  "end\n"
                                  "complete -c picket -a '(__picket_complete)'\n";

int verb_completion(struct cli *c, int argc, char **argv)
{
    static const struct option options[] = { { NULL, 0, NULL, 0 } };
    const char *shell;

    if (cli_getopt(c, argc, argv, "", options) != -1) {
        return cli_usage(c);
    }
    shell = argc - optind == 1 ? argv[optind] : "";
    if (str_eq(shell, "bash")) {
        (void)fputs(bash_script, stdout);
    } else if (str_eq(shell, "zsh")) {
        (void)fputs(zsh_script, stdout);
    } else if (str_eq(shell, "fish")) {
        (void)fputs(fish_script, stdout);
    } else {
        return cli_bad_usage(c, "which shell? bash, zsh or fish");
    }
    return CLI_OK;
}

static void offer(const char *prefix, const char *word)
{
    if (str_starts(word, prefix)) {
        (void)puts(word);
    }
}

static void offer_verbs(const char *prefix)
{
    for (const struct cli_verb *v = cli_verbs(); v->name != NULL; v++) {
        if (!str_starts(v->name, "__")) {
            offer(prefix, v->name);
        }
    }
    offer(prefix, "help");
}

static void offer_kinds(const char *prefix)
{
    for (size_t i = 0; i < kind_count(); i++) {
        const struct kind *k = kind_at(i);

        offer(prefix, k->plural);
        for (size_t j = 0; *prefix != 0 && k->short_names != NULL && k->short_names[j] != NULL;
             j++) {
            offer(prefix, k->short_names[j]);
        }
    }
}

/* Names of objects, as many as the cluster tells within a short time. */
static void offer_names(struct cli *c, const struct kind *k, const char *lead, const char *prefix)
{
    struct api_op op = { .method = "GET", .plural = k->plural, .timeout_ms = NAMES_MS };
    struct err err = { 0 };
    json_t *list = NULL, *v;
    size_t i;

    c->quiet_connect = true;
    if (cli_connect(c) != CLI_OK || api_run(c->client, &op, &list, &err) != 0) {
        return;
    }
    json_array_foreach (json_object_get(list, "items"), i, v) {
        if (str_starts(obj_name(v), prefix)) {
            (void)printf("%s%s\n", lead, obj_name(v));
        }
    }
    json_decref(list);
}

static void offer_objects(struct cli *c, const char *word)
{
    const char *slash = strchr(word, '/');
    const struct kind *k;
    char *kind, *lead;

    if (slash == NULL) {
        offer_kinds(word);
        return;
    }
    kind = mem_strndup(word, (size_t)(slash - word));
    lead = mem_printf("%s/", kind);
    k = kind_find(kind);
    if (k != NULL) {
        offer_names(c, k, lead, slash + 1);
    }
    free(kind);
    free(lead);
}

/* Options as they stand in the verb's help: words that begin with "--". */
static void offer_options(const struct cli_verb *v, const char *prefix)
{
    const char *p = v->help;
    char word[64];

    while ((p = strstr(p, "  --")) != NULL) {
        size_t n = strcspn(p + 2, " =,\n[");

        if (n < sizeof(word)) {
            (void)snprintf(word, sizeof(word), "%.*s", (int)n, p + 2);
            offer(prefix, word);
        }
        p += 4;
    }
}

static const char *const dev_verbs[] = { "up",    "down",  "status",  "power", "cut",
                                         "heal",  "wedge", "unwedge", "kill",  "stop",
                                         "start", "reset", "logs",    NULL };

static void offer_dev(struct cli *c, char **words, int n)
{
    const char *last = words[n - 1];

    if (n == 2) {
        for (size_t i = 0; dev_verbs[i] != NULL; i++) {
            offer(last, dev_verbs[i]);
        }
    } else if (n == 3) {
        offer_names(c, kind_find("Host"), "", last);
    } else if (str_eq(words[1], "power")) {
        offer(last, "on");
        offer(last, "off");
    } else if (n == 4) {
        offer(last, "picketd");
        offer(last, "picket-agent");
        offer(last, "picket-watchdog");
    }
}

static bool takes_host(const char *verb)
{
    static const char *const verbs[] = { "fence", "confirm-off", "cordon", "uncordon", "drain" };

    for (size_t i = 0; i < ARRAY_LEN(verbs); i++) {
        if (str_eq(verb, verbs[i])) {
            return true;
        }
    }
    return false;
}

static bool takes_objects(const char *verb)
{
    static const char *const verbs[] = { "get", "describe", "delete", "why", "wait" };

    for (size_t i = 0; i < ARRAY_LEN(verbs); i++) {
        if (str_eq(verb, verbs[i])) {
            return true;
        }
    }
    return false;
}

int verb_complete(struct cli *c, int argc, char **argv)
{
    char **words = argv + 1;
    int n = argc - 1;
    const struct cli_verb *v = n > 1 ? cli_verb_find(words[0]) : NULL;
    const char *last = n > 0 ? words[n - 1] : "";
    const struct kind *k;

    if (n <= 1) {
        offer_verbs(last);
    } else if (v == NULL) {
        return CLI_OK;
    } else if (*last == '-') {
        offer_options(v, last);
    } else if (str_eq(v->name, "dev")) {
        offer_dev(c, words, n);
    } else if (takes_host(v->name)) {
        offer_names(c, kind_find("Host"), "", last);
    } else if (str_eq(v->name, "migrate") || str_eq(v->name, "retry")) {
        offer_names(c, kind_find(str_eq(words[n - 2], "--to") ? "Host" : "VirtualMachine"), "",
                    last);
    } else if (takes_objects(v->name)) {
        k = n > 2 ? kind_find(words[1]) : NULL;
        if (k != NULL) {
            offer_names(c, k, "", last);
        } else {
            offer_objects(c, last);
        }
    } else if (str_eq(v->name, "explain") || str_eq(v->name, "help")) {
        offer_kinds(last);
    }
    return CLI_OK;
}
