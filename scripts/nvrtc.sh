#!/usr/bin/env bash
# Fetches NVRTC (90 MB) into the per-user cache, once, so that the tests can compile the kernels of model/torch on a
# machine without CUDA. Nothing is fetched if LLAVATRAIN_NVRTC gives its path or it is installed next to libtorch.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
version=$(sed -n 's/^nvidia-cuda-nvrtc==\([0-9.]*\).*/\1/p' "$here/nvrtc.lock")
cache=${LLAVATRAIN_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/llavatrain}
home=$cache/nvrtc

[ -z "${LLAVATRAIN_NVRTC:-}" ] || exit 0
[ ! -f "${LIBTORCH:-}/../nvidia/cu13/lib/libnvrtc.so.13" ] || exit 0
[ "$(cat "$home/version" 2>/dev/null)" != "$version" ] || exit 0

echo "fetching NVRTC $version (90 MB, once) into $home" >&2
mkdir -p "$cache"
work=$(mktemp -d "$cache/fetch.XXXXXX")
trap 'rm -rf "$work"' EXIT
python3 -m pip download --quiet --no-deps --require-hashes --only-binary=:all: --python-version 3.12 \
	--implementation cp --platform manylinux2010_x86_64 --dest "$work" --requirement "$here/nvrtc.lock" >&2
python3 - "$work" <<'PY'
import glob, os, re, sys, zipfile
work = sys.argv[1]
os.mkdir(work + "/nvrtc")
for wheel in glob.glob(work + "/*.whl"):
    with zipfile.ZipFile(wheel) as z:
        for name in z.namelist():
            if re.search(r"/libnvrtc(-builtins)?\.so[0-9.]*$", name):
                with open(work + "/nvrtc/" + os.path.basename(name), "wb") as f:
                    f.write(z.read(name))
PY
echo "$version" >"$work/nvrtc/version"
rm -rf "$home"
mv "$work/nvrtc" "$home"
