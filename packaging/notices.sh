#!/usr/bin/env bash
# Prints the licenses and notices of the libraries in the program, each text once.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

sources=${CARGO_HOME:-$HOME/.cargo}/registry/src
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

# cargo leaves the sources of every library that it has built in $sources.
while IFS='|' read -r package license; do
    read -r name version _ <<<"$package"
    folder=$(find "$sources" -mindepth 2 -maxdepth 2 -type d -name "$name-${version#v}" | head -n 1)
    [ -n "$folder" ] || { echo "the sources of $name $version are not in $sources" >&2; exit 1; }
    texts=()
    while IFS= read -r text; do
        texts+=("$text")
    done < <(find "$folder" -maxdepth 1 -type f \
        \( -iname 'licen[cs]e*' -o -iname 'copying*' -o -iname 'notice*' -o -iname 'unlicense*' -o -iname 'copyright*' \) | sort)
    others=()
    for text in "${texts[@]}"; do
        # A library under MIT or Apache-2.0 is used under MIT, which is the shorter text.
        [[ ${text##*/} == *[Aa][Pp][Aa][Cc][Hh][Ee]* ]] || others+=("$text")
    done
    if [[ ${#others[@]} -gt 0 && $license == *MIT* && $license != *AND* ]]; then
        texts=("${others[@]}")
    fi
    # This library contains an allocator in C, which has a license of its own.
    [ ! -f "$folder/jemalloc/COPYING" ] || texts+=("$folder/jemalloc/COPYING")
    [ "${#texts[@]}" -gt 0 ] || echo "$name ${version#v} ($license)" >>"$work/without"
    for text in "${texts[@]}"; do
        sum=$(tr -d '\r' <"$text" | sha256sum | cut -d ' ' -f 1)
        tr -d '\r' <"$text" >"$work/$sum.text"
        echo "$name ${version#v} ($license)" >>"$work/$sum.names"
    done
done < <(cargo tree --locked --edges normal --prefix none --format '{p}|{l}' | sed 's/ (\*)$//' | sort -u |
    grep -v '^moca-file-log ')

echo "The programs of MocaFileLog contain these libraries, and the standard library of Rust (MIT OR Apache-2.0)."
if [ -e "$work/without" ]; then
    printf '\n%s\n\n' "Without a text of their own, under the license that they name:"
    cat "$work/without"
fi
# The texts come in the order of the first library of each.
grep -H -m 1 . "$work"/*.names | sort -t : -k 2 | cut -d : -f 1 | while IFS= read -r names; do
    printf '\n%s\n' "------------------------------------------------------------------------------"
    sort -u "$names"
    echo
    cat "${names%.names}.text"
done
