#!/bin/sh
# The same seed tells the same story, in another process, word for word.
#
#   tests/storesim/same.sh STORESIM SEEDS
set -eu
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
"$1" --seeds "$2" --dir "$dir" --crc | grep '^seed' >"$dir/first"
"$1" --seeds "$2" --dir "$dir" --crc --jobs 1 | grep '^seed' >"$dir/second"
[ -s "$dir/first" ]
cmp "$dir/first" "$dir/second"
echo "$(wc -l <"$dir/first") seeds, the same story twice"
