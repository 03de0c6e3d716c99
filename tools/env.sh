# shellcheck shell=bash
# Sourced by the scripts of this folder: one place for directories and tools.
top=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
# Debian's meson, ninja and python3, whatever else stands first on PATH.
export PATH=/usr/bin:/bin:/usr/sbin:/sbin:$PATH
export LC_ALL=C.UTF-8
build=${VIV_BUILD:-$top/build}
stage=$build/stage                     # an installed tree: what e2e tests and the demo run
# Where downloads are kept: the same place as viv and viv-guest-build take by themselves.
cache_default() {
    if [ -n "${XDG_CACHE_HOME:-}" ]; then
        echo "$XDG_CACHE_HOME/vivarium"
    elif [ "$(id -u)" -eq 0 ]; then
        echo /var/cache/vivarium
    else
        echo "${HOME:-/nonexistent}/.cache/vivarium"
    fi
}
cache=${VIV_CACHE:-$(cache_default)}
mkdir -p "$cache" 2>/dev/null && [ -w "$cache" ] || cache=$build/cache
jobs=${VIV_JOBS:-$(getconf _NPROCESSORS_ONLN)}

die() {
    printf '%s: %s\n' "tools/$(basename "$0")" "$*" >&2
    exit 1
}

# configured DIR OPTION…: sets the directory up once; a changed list of options sets it up anew.
configured() {
    local dir=$1 stamp
    shift
    stamp="$*"
    if [ -f "$dir/build.ninja" ]; then
        [ "$(cat "$dir/.options" 2>/dev/null)" = "$stamp" ] && return
        [ -f "$dir/.options" ] || [ "$dir" = "$build" ] || rm -rf "$dir"
        meson configure "$dir" "$@" >/dev/null 2>&1 || rm -rf "$dir"
    fi
    [ -f "$dir/build.ninja" ] || meson setup "$dir" "$top" "$@" >"$dir.log" 2>&1 ||
        { tail -n 30 "$dir.log" >&2; return 1; }
    rm -f "$dir.log"
    printf '%s\n' "$stamp" >"$dir/.options"
}

compiled() {
    ninja -C "$1" -j "$jobs" "${@:2}" >"$1/ninja.log" 2>&1 ||
        { grep -vE '^(\[[0-9]+/|Compiler for|Dependency)' "$1/ninja.log" | tail -n 60 >&2; return 1; }
}
