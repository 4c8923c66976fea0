#!/bin/bash
# Each header of the product compiles alone.  CC and CPPFLAGS come from the Makefile.
set -u
cd "$(dirname "$0")/../.." || exit 2
export CC=${CC:-gcc} CPPFLAGS=${CPPFLAGS:--iquote .}
one() {
    # shellcheck disable=SC2086
    $CC $CPPFLAGS -std=c11 -D_GNU_SOURCE -Wall -Wextra -Wno-unused-function -Werror -fsyntax-only -x c "$1" 2>&1 |
        grep -v 'pragma once' | head -n 5 | sed "s|^|$1 alone: |"
    return "${PIPESTATUS[0]}"
}
export -f one
find base api store raft fence net storage reconciler cmd -name '*.h' 2>/dev/null | sort |
    xargs -P 2 -n 1 bash -c 'one "$0"' >&2
