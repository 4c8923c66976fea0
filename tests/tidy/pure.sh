#!/bin/bash
# pure.sh BUILD: pure objects (*_plan.o *_diff.o *_sm.o *_codec.o, and all of store/, the deterministic state
# machine) neither see nor change the world.
#
# Whatever they call, directly or through other objects of ours, has to end in the functions listed here,
# and they hold no writable data.  Objects are the unit: who calls one function of a file calls all of it.
set -u
cd "$(dirname "$0")/../.." || exit 2
build=${1:-build}

# Our own primitives: they allocate or abort, nothing else.
own='check_fail|mem_(alloc|realloc|strdup|strndup|dup|printf)|arena_[a-z]+|err_[a-z]+'
# libc on memory and text.
libc='mem(cpy|move|set|cmp|r?chr|mem)|strn?(len|cmp|casecmp|chr|dup|str)|strr?chr|strc?spn|strpbrk|strtok_r|strto(ul|ull|l|ll|d)'
libc="$libc|stpcpy|v?snprintf|free|malloc|calloc|realloc|bsearch|qsort|to(lower|upper)|__ctype_[a-z_]+|__errno_location"
libc="$libc|gmtime_r|timegm|strftime|strptime|explicit_bzero|__cpu_(model|indicator_init)"
libc="$libc|__(v?snprintf|explicit_bzero|(mem|str|stp)[a-z]+)_chk|__stack_chk_fail|_GLOBAL_OFFSET_TABLE_|__(asan|ubsan|tsan|sanitizer)_.*"
# Addresses as text, and libraries on memory only: not their files and sockets.
libs='inet_(pton|ntop)|json_[a-z_]+|jsonp_[a-z_]+|llhttp_[a-z_]+|msgpack_[a-z_]+|LZ4_[A-Za-z_]+|mnl_(attr|nlmsg)_[a-z0-9_]+'
libs="$libs|raft_(malloc|free|calloc|realloc|configuration_[a-z]+|strerror)"
deny='json_(load|dump)(_file|f|fd|_callback)'

objects=()
while IFS= read -r src; do
    o=$build/${src%.c}.o
    [ -e "$o" ] && objects+=("$o")
done < <(ls base/*.c api/*.c store/*.c raft/*.c fence/*.c net/*.c storage/*.c reconciler/*.c cmd/*/*.c 2>/dev/null)
pure=$(printf '%s\n' "${objects[@]}" | grep -E '_(plan|diff|sm|codec)\.o$|/store/[a-z0-9_]+\.o$')
if [ -z "$pure" ]; then
    echo "pure.sh: no pure objects in $build; build first" >&2
    exit 2
fi

found=$(nm -A "${objects[@]}" | awk -v leaf="^($own|$libc|$libs)\$" -v deny="^($deny)\$" '
    {
        obj = $1; sub(/:.*/, "", obj); type = $(NF - 1); sym = $NF
        if (type == "U") { calls[obj] = calls[obj] " " sym }
        else if (type ~ /^[TDRBVW]$/ && !(sym in home)) { home[sym] = obj }
        seen[obj] = 1
    }
    function visit(root, o, via,    n, s, i) {
        if ((root, o) in been) { return }
        been[root, o] = 1
        n = split(calls[o], s, " ")
        for (i = 1; i <= n; i++) {
            if (s[i] !~ deny && s[i] ~ leaf) { continue }
            if (s[i] !~ deny && s[i] in home) { visit(root, home[s[i]], (via == "" ? s[i] : via)) }
            else if (o == root) { printf "%s: pure code calls %s\n", root, s[i] }
            else if (!((root, via) in told)) {
                told[root, via] = 1
                printf "%s: pure code calls %s, which leads to %s in %s\n", root, via, s[i], o
            }
        }
    }
    END { for (o in seen) { if (o ~ /_(plan|diff|sm|codec)\.o$|\/store\/[a-z0-9_]+\.o$/) { visit(o, o, "") } } }')

# Constants with pointers in them sit in .data.rel.ro; what is in .data and .bss can change.
# shellcheck disable=SC2086
state=$(objdump -t $pure | awk '
    /file format/ { obj = $1; sub(/:$/, "", obj) }
    / O \.(data|bss)(\.[a-z_0-9]+)?\t/ && !/ \.data\.rel\.ro/ && !/__gcov|llvm|asan|ubsan/ {
        printf "%s: pure code has writable data: %s\n", obj, $NF
    }')

[ -z "$found$state" ] && exit 0
printf '%s\n' "$found" "$state" | grep . | sed "s|^$build/||" | sort >&2
exit 1
