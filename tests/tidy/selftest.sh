#!/bin/bash
# Each check of this folder finds what is planted for it, in a tree of its own.
set -u
here=$(cd "$(dirname "$0")" && pwd)
tree=$(mktemp -d) || exit 2
trap 'rm -rf "$tree"' EXIT
mkdir -p "$tree/tests/tidy" "$tree"/{base,api,store,reconciler} "$tree/b"/{base,reconciler}
cp "$here"/*.sh "$tree/tests/tidy/"
bad=0

put() { printf '%b' "$2" >"$tree/$1"; }
build() { (cd "$tree" && gcc -iquote . -c -o "b/${1%.c}.o" "$1"); }
# finds SCRIPT TEXT: the script fails and says TEXT;  passes SCRIPT: it does not
finds() {
    local out
    if out=$("$tree/tests/tidy/$1.sh" b 2>&1) || ! grep -qF -- "$2" <<<"$out"; then
        echo "selftest: $1.sh does not find: $2" >&2
        bad=1
    fi
}
passes() {
    local out
    if ! out=$("$tree/tests/tidy/$1.sh" b 2>&1); then
        echo "selftest: $1.sh finds something in a clean tree: $out" >&2
        bad=1
    fi
}

put base/a.h '#ifndef BASE_A_H\n#define BASE_A_H\nint a(int x);\n#endif\n'
put base/a.c '#include "base/a.h"\nint a(int x)\n{\n    return x;\n}\n'
put reconciler/x_plan.c '#include "base/a.h"\nint x(int v);\nint x(int v)\n{\n    return a(v); /* not system() */\n}\n'
build base/a.c
build reconciler/x_plan.c
for s in layers banned headers pure; do passes $s; done

put base/up.h '#ifndef BASE_UP_H\n#define BASE_UP_H\n#include "api/kind.h"\n#endif\n'
finds layers 'base/up.h:3'
finds headers 'base/up.h alone'
rm "$tree/base/up.h"
put store/loop.h '#ifndef STORE_LOOP_H\n#define STORE_LOOP_H\n#include <uv.h>\n#endif\n'
finds layers 'not for this folder'
rm "$tree/store/loop.h"

put reconciler/bad.c 'int f(char *d)\n{\n    return sprintf(d, "x");\n}\n'
finds banned 'reconciler/bad.c:3: sprintf() is banned'
put reconciler/bad.c '/* TO''DO: later */\n'
finds banned 'unfinished work'
put reconciler/bad.c 'const char *s = "\001";\n'
finds banned 'control characters'
put reconciler/bad.c "$(printf 'int x;\\n%.0s' $(seq 701))"
finds banned '701 lines'
put reconciler/bad.c "void f(void)\n{\n$(printf ';\\n%.0s' $(seq 99))}\n"
finds banned 'a function of 101 lines'
rm "$tree/reconciler/bad.c"
put reconciler/no.h 'int no(void);\n'
finds banned 'no header guard'
rm "$tree/reconciler/no.h"

put reconciler/x_plan.c '#include <time.h>\nlong x(void);\nlong x(void)\n{\n    return time(0);\n}\n'
build reconciler/x_plan.c
finds pure 'pure code calls time'
put reconciler/x_plan.c 'static int n;\nint x(void);\nint x(void)\n{\n    return ++n;\n}\n'
build reconciler/x_plan.c
finds pure 'writable data: n'
put base/a.c '#include <unistd.h>\n#include "base/a.h"\nint a(int x)\n{\n    return (int)write(1, "", (size_t)x);\n}\n'
put reconciler/x_plan.c '#include "base/a.h"\nint x(int v);\nint x(int v)\n{\n    return a(v);\n}\n'
build base/a.c
build reconciler/x_plan.c
finds pure 'pure code calls a, which leads to write'
exit $bad
