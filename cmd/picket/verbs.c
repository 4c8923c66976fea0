/* The verbs, and their help. */

#include "cmd/picket/cli.h"

#include "base/str.h"
#include "cmd/picket/identity.h"

#define COMMON                                                                                     \
    "\n"                                                                                           \
    "Options of every verb:\n"                                                                     \
    "  --kubeconfig FILE     configuration (else PICKET_CONFIG, KUBECONFIG, ~/.picket/config)\n"   \
    "  --context NAME        another context of it\n"                                              \
    "  --server HOST:PORT    only this member\n"                                                   \
    "  --request-timeout T   longest time for one request\n"                                       \
    "  -v, --verbose         say more\n"                                                           \
    "  -h, --help            this text\n"

static const struct cli_verb verbs[] = {
    { "apply", "Objects", "create or change objects, all in one transaction", "-f FILE...",
      "Every document is checked first; if one is wrong, nothing is sent. All of them are applied\n"
      "or none. A field that you applied once and leave out now goes away; fields of others stay.\n"
      "\n"
      "  -f, --filename FILE   a file, a folder (*.yaml, *.yml, *.json) or - for standard input\n"
      "  --prune -l SELECTOR   then delete what carries these labels and is not in the files;\n"
      "                        never the cluster, hosts, fence devices, secrets and rights\n"
      "  --dry-run=client      only check here\n"
      "  --dry-run=server      let the cluster say what it would do\n"
      "  -o json|yaml|name     print the objects\n"
      "\n"
      "Examples:\n"
      "  picket apply -f cluster.yaml\n"
      "  picket apply -f vms/ -f san.yaml --dry-run=server\n"
      "  picket apply -f shop/ --prune -l app=shop\n"
      "  generate | picket apply -f -\n" COMMON,
      verb_apply },
    { "get", "Objects", "list objects", "KIND[,KIND...] [NAME...]\nKIND/NAME...\nall",
      "  -o, --output FORM     json, yaml, wide or name\n"
      "  -w, --watch           go on and print every change once\n"
      "  --watch-only          print the changes only\n"
      "  --output-watch-events say ADDED, MODIFIED or DELETED\n"
      "  -l, --selector SEL    by labels: app=mail,tier!=test, rack in (r1,r2)\n"
      "  --field-selector SEL  by fields: status.phase!=Running\n"
      "  --ignore-not-found    a missing object is no error\n"
      "  --no-headers\n"
      "\n"
      "Examples:\n"
      "  picket get vm,hosts\n"
      "  picket get vm -w\n"
      "  picket get vm/vm1 -o yaml\n"
      "  picket get locks -o wide\n" COMMON,
      verb_get },
    { "describe", "Objects", "everything about objects, for people", "KIND [NAME...]\nKIND/NAME...",
      "  -l, --selector SEL    by labels\n"
      "\n"
      "Examples:\n"
      "  picket describe host node2\n" COMMON,
      verb_describe },
    { "delete", "Objects", "delete objects", "KIND NAME...\nKIND/NAME...\n-f FILE...",
      "Waits until they are gone: what an object holds (a running guest, a lock) is released "
      "first.\n"
      "\n"
      "  -f, --filename FILE   what the files declare\n"
      "  -l, --selector SEL    by labels\n"
      "  --all                 all of the kind\n"
      "  --wait=false          do not wait\n"
      "  --timeout T           longest wait (60s)\n"
      "  --ignore-not-found    a missing object is no error\n"
      "  --dry-run=server      only say what would go\n"
      "  -o name\n"
      "\n"
      "Examples:\n"
      "  picket delete vm vm1\n"
      "  picket delete -f web.yaml\n"
      "  picket delete vm -l tier=test\n" COMMON,
      verb_delete },
    { "diff", "Objects", "what an apply would change", "-f FILE...",
      "Exit code 0: nothing, 1: something, above 1: an error.\n"
      "\n"
      "  -f, --filename FILE   a file, a folder or -\n"
      "\n"
      "Examples:\n"
      "  picket diff -f cluster.yaml\n" COMMON,
      verb_diff },
    { "wait", "Objects", "wait for a condition", "KIND[/NAME]... --for=...",
      "  --for=condition=TYPE[=STATUS]\n"
      "  --for=phase=PHASE\n"
      "  --for=delete\n"
      "  --timeout T           longest wait (30s); then exit code 7\n"
      "  -l, --selector SEL    by labels\n"
      "\n"
      "Examples:\n"
      "  picket wait vm/vm1 --for=phase=Running --timeout 2m\n"
      "  picket wait hosts --for=condition=Ready\n" COMMON,
      verb_wait },
    { "explain", "Objects", "the fields of a kind, the parameters of a fence agent",
      "KIND[.FIELD...]\nfence_PROGRAM\nfencedevice/NAME",
      "  -r, --recursive       with everything below\n"
      "\n"
      "A fence agent is asked itself, so it has to be installed here (package fence-agents).\n"
      "\n"
      "Examples:\n"
      "  picket explain vm.spec.disks\n"
      "  picket explain fence_ipmilan\n" COMMON,
      verb_explain },
    { "api-resources", "Objects", "the kinds", "", COMMON, verb_resources },
    { "status", "Understanding", "one screen: quorum, hosts, VMs, what is wrong and why", "",
      "Asks every member for its own view, so it says something without quorum, too (and then\n"
      "ends with exit code 5).\n"
      "\n"
      "  -o json|yaml\n" COMMON,
      verb_status },
    { "why", "Understanding", "why an object is as it is, and what to do", "KIND NAME\nKIND/NAME",
      "Examples:\n"
      "  picket why vm vm1\n"
      "  picket why host node2\n" COMMON,
      verb_why },
    { "plan", "Understanding", "what would happen if hosts failed", "[--fail HOST[,HOST...]]",
      "Nothing is changed. Without --fail: what placement would do now.\n"
      "\n"
      "  -f, --fail HOST[,HOST...]\n"
      "\n"
      "Examples:\n"
      "  picket plan --fail node2\n" COMMON,
      verb_plan },
    { "clear-conflict", "Hosts", "an IdentityConflict of a host has been dealt with", "HOST",
      "Two machines had shown themselves under one host's identity, so nothing starts there. "
      "Switch\n"
      "off the wrong one and give the host's certificate to the right one only; then "
      "this.\n" COMMON,
      verb_clear_conflict },
    { "fence", "Hosts", "cut the power of a host, and prove it",
      "HOST --reason TEXT\ntest HOST [--cycle]",
      "test: every picketd asks every fence device of the host; nothing is switched. Says who "
      "could\n"
      "fence it, and ends with exit code 4 when nobody can.\n"
      "\n"
      "  --reason TEXT         kept for the record\n"
      "  --yes                 do not ask\n"
      "  --wait                until it is proved off\n"
      "  --timeout T           longest wait (2m; of --cycle 10m for each step)\n"
      "test:\n"
      "  --cycle               switch the (empty) host off and on again: that its next boot "
      "follows\n"
      "                        proves that the outlets are its own, and is recorded\n"
      "  -o json\n"
      "\n"
      "Examples:\n"
      "  picket fence node2 --reason \"smoke\" --wait\n"
      "  picket fence test node2\n"
      "  picket drain node2 && picket fence test --cycle node2 --yes\n" COMMON,
      verb_fence },
    { "confirm-off", "Hosts", "give your word that a host is off", "HOST --incarnation N",
      "For hosts that no device can prove off. Releases all locks of exactly that incarnation.\n"
      "If the host still runs, its VMs run twice and their data is lost.\n"
      "\n"
      "  --incarnation N       which one (without it the present one is shown)\n"
      "  --statement TEXT      what you verified and how; has to name the host\n"
      "  --yes                 do not ask\n"
      "\n"
      "Examples:\n"
      "  picket confirm-off node2 --incarnation 7 --statement \"node2: cable pulled by "
      "me\"\n" COMMON,
      verb_confirm },
    { "host", "Hosts", "what is missing or misconfigured on this host; what a SAN has",
      "check [-q] [--offline]\ndiscover PORTAL... [-o yaml]", host_help, verb_host },
    { "cordon", "Hosts", "let no further VM come", "HOST", COMMON, verb_cordon },
    { "uncordon", "Hosts", "end cordon and maintenance", "HOST", COMMON, verb_uncordon },
    { "drain", "Hosts", "move all VMs away (maintenance)", "HOST",
      "  --timeout T           longest wait (10m); the drain goes on after it\n"
      "  --no-wait             do not wait until it is empty\n"
      "\n"
      "Examples:\n"
      "  picket drain node2 && ssh node2 reboot\n" COMMON,
      verb_drain },
    { "migrate", "Hosts", "move one VM", "VM [HOST]",
      "  --to HOST             where to, as HOST (else placement chooses)\n"
      "  --auto                live where possible, else cold where the VM allows it (default)\n"
      "  --live                while it runs, or not at all\n"
      "  --cold                stop it and start it there\n"
      "  --bandwidth SIZE      bytes a second at most, such as 50Mi\n"
      "  --timeout T           then it is given up (10m)\n"
      "  --no-wait             only create the Migration\n"
      "\n"
      "Examples:\n"
      "  picket migrate vm1 node3\n"
      "  picket migrate vm1 --live --bandwidth 50Mi\n" COMMON,
      verb_migrate },
    { "console", "Hosts", "the text console of a VM, in this terminal", "VM [--take]",
      "Through any member, on whichever host the VM runs. Leave it with ^] (Ctrl and ]); the "
      "guest\n"
      "goes on. It ends by itself, with the reason, when the guest does. One person has a console\n"
      "at a time: who comes second is told who has it. Standard input may be a file or a pipe; "
      "its\n"
      "end ends nothing.\n"
      "\n"
      "  --take                take it over from whoever has it\n"
      "  -q, --quiet           say nothing of your own\n"
      "\n"
      "Examples:\n"
      "  picket console vm1\n"
      "  picket console --take vm1\n" COMMON,
      verb_console },
    { "retry", "Hosts", "try a VM again that was given up", "VM...",
      "After too many crashes or failed starts a host is left alone for a while, and a guest that\n"
      "ended by itself stays off. This forgets all of that, and what is waiting is tried at once.\n"
      "It writes the time into spec.retry; with kubectl any other value does the same:\n"
      "  kubectl patch vm vm1 --type=merge -p '{\"spec\":{\"retry\":\"2\"}}'\n"
      "\n"
      "  --wait                until it runs\n"
      "  --timeout T           longest wait (2m)\n"
      "\n"
      "Examples:\n"
      "  picket retry vm1 --wait\n" COMMON,
      verb_retry },
    { "dev", "Others", "a whole cluster on this machine",
      "up [--hosts N]\ndown [--wipe]\nstatus\npower HOST on|off\n"
      "cut HOST [--from HOST|operator|pdu|gateway]\nheal [HOST]\nwedge|unwedge|reset HOST\n"
      "kill|stop|start HOST PROCESS\nlogs [HOST] [PROCESS]",
      "Real processes on loopback, one process group a host, power over a real SNMP PDU.\n"
      "docs/dev.md tells what is real and what is not.\n"
      "\n"
      "  --dir D               its folder (else PICKET_DEV_DIR, ~/.picket/dev)\n"
      "up:\n"
      "  --hosts N             how many hosts (3)\n"
      "  --voters V            how many of them vote: 1, 3 or 5 (two hosts get a witness)\n"
      "  --timing H/T          heartbeat and hostTimeout, such as 200ms/1500ms\n"
      "  --memory M            of each host (64Gi)\n"
      "  --cpus N              of each host (16)\n"
      "  --timeout T           longest wait for a leader (30s)\n"
      "  --no-wait             do not wait for it\n"
      "  --foreground          stay in the foreground\n"
      "down:\n"
      "  --wipe                and delete the folder\n"
      "cut, heal:\n"
      "  --from X              only between the host and X\n"
      "  --direction D         in, out or both\n"
      "  --link N              only on link 1 or 2\n"
      "kill, stop (and leave it down), start: PROCESS is picketd, agent or watchdog\n"
      "  --signal S            another signal than KILL\n"
      "logs:\n"
      "  -f, --follow          go on\n"
      "  --tail N              only the last lines\n"
      "\n"
      "Examples:\n"
      "  picket dev up && picket apply -f examples/book-cluster.yaml\n"
      "  picket dev cut node2\n"
      "  picket dev logs node2 agent -f\n" COMMON,
      verb_dev },
    { "init", "Members", "a new cluster with this host as its first voter",
      "--name HOST --address IP [--dir DIR] [--data DIR]", init_help, verb_init },
    { "token", "Members", "a token for one host to join with", "create [--voter] [--ttl T]",
      token_help, verb_token },
    { "join", "Members", "enrol this host", "TOKEN --name HOST --address IP", join_help,
      verb_join },
    { "renew", "Members", "a new certificate for yourself", "-o FILE [--ca FILE]", renew_help,
      verb_renew },
    { "member", "Members", "who votes and who leads",
      "list\nadd NAME --address IP:PORT [--voter]\npromote|demote|remove NAME\ntransfer [NAME]",
      member_help, verb_member },
    { "backup", "Members", "the whole state as one file", "-o FILE\nverify FILE", backup_help,
      verb_backup },
    { "restore", "Members", "a new first voter from a backup",
      "FILE --name HOST --address IP:PORT --data DIR [--joined HOST,...]", restore_help,
      verb_restore },
    { "recover", "Members", "go on without a majority that is lost for good",
      "--name HOST --address IP:PORT --data DIR --lost-for-good", recover_help, verb_recover },
    { "store", "Members", "verify the files of a stopped member", "check DIR", store_help,
      verb_store },
    { "auth", "Others", "who you are here, and what you may do",
      "whoami\ncan-i VERB KIND[/SUB] [NAME]",
      "By the certificate in use: its own role, and what RoleBindings add (docs/operations.md).\n"
      "can-i ends with 0 for yes and 1 for no, and says why not.\n"
      "\n"
      "Examples:\n"
      "  picket auth can-i patch vm vm1\n"
      "  picket auth can-i get vm/console vm1\n"
      "  picket auth can-i fence host node2\n" COMMON,
      verb_auth },
    { "kv", "Others", "the raw key space, for programs that keep their own data in it",
      "get KEY\nlist [PREFIX]\nput KEY VALUE\ndelete KEY\nwatch [PREFIX]\nstatus",
      "The keys that etcd's clients see below /v3: no objects, locks or leases of hosts. Speaks "
      "the\n"
      "native protocol to the first member that answers.\n"
      "\n"
      "  --print-value-only    get and list: no keys\n"
      "  --rev N               get, list: as of this revision; watch: from it on\n"
      "\n"
      "Examples:\n"
      "  picket kv put app/motd 'hello'\n"
      "  picket kv list app/\n"
      "  picket kv watch app/\n" COMMON,
      verb_kv },
    { "version", "Others", "of this program and of the cluster", "",
      "  --client              only of this program\n"
      "  -o json\n" COMMON,
      verb_version },
    { "completion", "Others", "a completion script for your shell", "bash|zsh|fish",
      "Examples:\n"
      "  source <(picket completion bash)\n" COMMON,
      verb_completion },
    { "__complete", NULL, "", "", "", verb_complete },
    { NULL, NULL, NULL, NULL, NULL, NULL },
};

const struct cli_verb *cli_verbs(void)
{
    return verbs;
}

const struct cli_verb *cli_verb_find(const char *name)
{
    for (const struct cli_verb *v = verbs; v->name != NULL; v++) {
        if (str_eq(v->name, name)) {
            return v;
        }
    }
    return NULL;
}
