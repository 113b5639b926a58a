#!/usr/bin/env bash
# Fetches nccl.h (in a wheel of 200 MB, of which nothing else is kept) into the per-user cache, once, so that the tests
# can hold our declarations against it. Nothing is fetched if it is installed next to libtorch.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
version=$(sed -n 's/^nvidia-nccl-cu13==\([0-9.]*\).*/\1/p' "$here/nccl.lock")
cache=${LLAVATRAIN_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/llavatrain}
home=$cache/nccl

[ ! -f "${LIBTORCH:-}/../nvidia/nccl/include/nccl.h" ] || exit 0
[ "$(cat "$home/version" 2>/dev/null)" != "$version" ] || exit 0

echo "fetching nccl.h $version (200 MB, once) into $home" >&2
mkdir -p "$cache"
work=$(mktemp -d "$cache/fetch.XXXXXX")
trap 'rm -rf "$work"' EXIT
python3 -m pip download --quiet --no-deps --require-hashes --only-binary=:all: --python-version 3.12 \
	--implementation cp --platform manylinux_2_18_x86_64 --dest "$work" --requirement "$here/nccl.lock" >&2
python3 - "$work" <<'PY'
import glob, os, sys, zipfile
work = sys.argv[1]
os.mkdir(work + "/nccl")
for wheel in glob.glob(work + "/*.whl"):
    with zipfile.ZipFile(wheel) as z, open(work + "/nccl/nccl.h", "wb") as f:
        f.write(z.read("nvidia/nccl/include/nccl.h"))
PY
echo "$version" >"$work/nccl/version"
rm -rf "$home"
mv "$work/nccl" "$home"
