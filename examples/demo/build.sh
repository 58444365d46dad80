#!/bin/sh
# SPDX-License-Identifier: BSD-2-Clause
#
# build.sh PREFIX OUT - compile the demo against the zcache that is installed below PREFIX, as any
# other program would be. Prints the command. CC and CFLAGS are honoured.
set -eu

if [ $# -ne 2 ]; then
    echo "usage: $0 PREFIX OUT" >&2
    exit 2
fi
prefix=$(cd "$1" && pwd)
out=$2
here=$(cd "$(dirname "$0")" && pwd)

for dir in "$prefix"/lib/*/pkgconfig "$prefix"/lib/pkgconfig "$prefix"/lib64/pkgconfig; do
    if [ -f "$dir/zcache.pc" ]; then
        export PKG_CONFIG_PATH="$dir${PKG_CONFIG_PATH:+:$PKG_CONFIG_PATH}"
        libdir=$(dirname "$dir")
        break
    fi
done
if [ -z "${libdir:-}" ]; then
    echo "$0: no zcache.pc below $prefix/lib: is zcache installed there?" >&2
    exit 1
fi

set -x
# Word splitting of flags is wanted.
# shellcheck disable=SC2046,SC2086
exec ${CC:-cc} -std=gnu11 ${CFLAGS:--O2 -g} -o "$out" "$here"/*.c "$here"/../file_*.c \
    $(pkg-config --cflags --libs zcache popt libxxhash) -lm -pthread -Wl,-rpath,"$libdir"
