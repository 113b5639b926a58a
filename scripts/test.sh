#!/usr/bin/env bash
# Runs the tests: first the packages that need no C++ compiler, without one; then images with libjpeg-turbo if its
# headers are installed; then everything else. Called by `make test` with cgo's flags set.
set -euo pipefail
cd "$(dirname "$0")/.."
pure=(./recipes ./checkpoints ./data/... ./runs/... ./synth/... ./report/... ./serve/... ./scripts/mutate
	./scripts/chunker)
if command -v npm >/dev/null; then
	scripts/axe.sh || echo "axe-core could not be fetched: the page is not checked with it" >&2
fi
echo "pure Go packages, without cgo"
CGO_ENABLED=0 go test "${pure[@]}"
if printf '#include <stdio.h>\n#include <jpeglib.h>\n' | ${CC:-cc} -E - >/dev/null 2>&1; then
	echo "images, with libjpeg-turbo"
	go test -tags turbojpeg -run 'JPEG|Decode' ./data/picture
fi
echo "packages that use the engine"
scripts/nvrtc.sh ||
	echo "NVRTC could not be fetched: the test that compiles the GPU kernels is skipped, and fails under CI=true" >&2
go test -timeout 20m ./model/... ./ranks ./loss ./train/... ./cmd/...
