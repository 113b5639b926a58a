#!/usr/bin/env bash
# Finds libtorch, or fetches it once, and prints the folder that holds its lib/ and include/.
#
# Order: $LIBTORCH, an importable PyTorch of the supported version, the per-user cache, else pip with pinned hashes.
# The cache lives outside the checkout because Go's build cache is keyed by these paths: a fresh clone then reuses both.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
version=$(sed -n 's/^torch==\([0-9.]*\).*/\1/p' "$here/libtorch.lock")
minor=${version%.*}
cache=${LLAVATRAIN_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/llavatrain}
home=$cache/libtorch-$version

say() { printf '%s\n' "$*" >&2; }
fail() { say "llavatrain set-up: $1"; shift; for line in "$@"; do say "  $line"; done; exit 1; }

# defines DIR NAME VALUE: one of the version headers in DIR defines NAME as VALUE.
defines() {
	grep -q "#define $2 $3\b" "$1/include/torch/headeronly/version.h" \
		"$1/include/torch/csrc/api/include/torch/version.h" 2>/dev/null
}

# usable DIR: has the CPU half of the supported version, with headers.
usable() {
	[ -f "$1/lib/libtorch_cpu.so" ] && [ -f "$1/include/torch/csrc/api/include/torch/torch.h" ] &&
		defines "$1" TORCH_VERSION_MAJOR "${minor%.*}" && defines "$1" TORCH_VERSION_MINOR "${minor#*.}"
}

[ "$(uname -sm)" = "Linux x86_64" ] || fail "llavatrain builds on Linux x86-64 only; this is $(uname -sm)."

if [ -n "${LIBTORCH:-}" ]; then
	usable "$LIBTORCH" || fail "LIBTORCH=$LIBTORCH does not hold libtorch $minor with headers." \
		"Point it at the folder that has lib/libtorch_cpu.so and include/, or unset it to let this script find one."
	echo "$LIBTORCH"
	exit
fi

if command -v python3 >/dev/null; then
	installed=$(python3 -c 'import importlib.util as u
s = u.find_spec("torch"); print(s.submodule_search_locations[0] if s else "")' 2>/dev/null || true)
	if [ -n "$installed" ] && usable "$installed"; then
		echo "$installed"
		exit
	fi
fi

if usable "$home/torch"; then
	echo "$home/torch"
	exit
fi

command -v python3 >/dev/null && python3 -m pip --version >/dev/null 2>&1 ||
	fail "libtorch $version is not installed and pip is missing, so it cannot be fetched." \
	"Debian, Ubuntu:  sudo apt-get install python3-pip" \
	"or set LIBTORCH to the torch folder of a PyTorch $minor installation."
need=$((3 * 1024 * 1024))
mkdir -p "$cache"
free=$(df -Pk "$cache" | awk 'NR==2 {print $4}')
[ "$free" -ge "$need" ] ||
	fail "$cache has $((free / 1024)) MB free; fetching libtorch needs $((need / 1024)) MB." \
		"Set LLAVATRAIN_CACHE to a folder with more free space."

say "llavatrain set-up: fetching libtorch $version (530 MB, once) into $home"
work=$(mktemp -d "$cache/fetch.XXXXXX")
trap 'rm -rf "$work"' EXIT
platforms=(--platform manylinux_2_28_x86_64 --platform manylinux_2_25_x86_64 --platform manylinux2014_x86_64)
python3 -m pip download --no-deps --require-hashes --only-binary=:all: --python-version 3.12 --implementation cp \
	"${platforms[@]}" --dest "$work" --requirement "$here/libtorch.lock" >&2 ||
	fail "pip could not fetch libtorch $version (see above)." \
		"Check the network and pip's index settings, or set LIBTORCH to an installed PyTorch $minor."
say "llavatrain set-up: unpacking"
python3 - "$work" <<'PY'
"""Unpack only what a CPU build links: headers, the CPU half of torch, and the two CUDA libraries that it links to."""
import glob, re, sys, zipfile
work = sys.argv[1]
wanted = re.compile(r"torch/include/|torch/lib/(libc10|libtorch_cpu|libgomp[^/]*)\.so|nvidia/.*/lib(cudart|cupti)\.so")
for wheel in glob.glob(work + "/*.whl"):
    with zipfile.ZipFile(wheel) as z:
        for name in z.namelist():
            if wanted.match(name):
                z.extract(name, work + "/site")
PY
rm -rf "$home"
mv "$work/site" "$home"
usable "$home/torch" || fail "the fetched libtorch in $home is incomplete; remove that folder and run again."
echo "$home/torch"
