#!/usr/bin/env bash
# Fetches axe-core (0.7 MB), which looks for faults of accessibility, into the per-user cache, once, for the tests of
# the page in a browser. Nothing of it becomes part of the program.
set -euo pipefail

version=4.14.1
package=e6b0ce02b84d892e2e33e403485e7f3d6c29e2be6df65daf44d89ba564139745 # SHA-256 of the package
script=29348999450cdf2849a8e70b7912fc2da85a849da39c0d0d5394f51d4a9ed95c  # of axe.min.js, which the tests check
cache=${LLAVATRAIN_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/llavatrain}
file=$cache/axe-$version.js

holds() { echo "$2  $1" | sha256sum --check --status 2>/dev/null; }

! holds "$file" "$script" || exit 0
echo "fetching axe-core $version (0.7 MB, once) into $cache" >&2
mkdir -p "$cache"
work=$(mktemp -d "$cache/fetch.XXXXXX")
trap 'rm -rf "$work"' EXIT
npm pack --silent --pack-destination "$work" "axe-core@$version" >/dev/null
holds "$work/axe-core-$version.tgz" "$package" ||
	{ echo "axe-core $version is not what it was: its SHA-256 differs" >&2; exit 1; }
tar -xzf "$work/axe-core-$version.tgz" -C "$work" package/axe.min.js
holds "$work/package/axe.min.js" "$script"
mv "$work/package/axe.min.js" "$file"
