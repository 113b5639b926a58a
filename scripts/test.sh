#!/usr/bin/env bash
# Runs the tests: first the packages that need no C++ compiler, without one; then images with libjpeg-turbo if its
# headers are installed; then everything else. Called by `make test` with cgo's flags set.
set -euo pipefail
cd "$(dirname "$0")/.."
pure=(./benchmarks/... ./recipes ./checkpoints ./data/... ./runs/... ./synth/... ./report/... ./serve
	./serve/controller ./serve/guard
	./serve/llava/... ./serve/load ./serve/openai ./serve/pictures ./serve/servetest ./serve/web ./scripts/mutate
	./scripts/chunker) # the tests in a browser are make browser
echo "pure Go packages, without cgo"
CGO_ENABLED=0 go test "${pure[@]}"
if printf '#include <stdio.h>\n#include <jpeglib.h>\n' | ${CC:-cc} -E - >/dev/null 2>&1; then
	echo "images, with libjpeg-turbo"
	go test -tags turbojpeg -run 'JPEG|Decode' ./data/picture
fi
echo "packages that use the engine"
scripts/nvrtc.sh ||
	echo "NVRTC could not be fetched: the test that compiles the GPU kernels is skipped, and fails under CI=true" >&2
scripts/nccl.sh || echo "nccl.h could not be fetched: the test that holds our declarations against it is skipped" >&2
go test -timeout 20m ./model/... ./ranks ./loss ./train/... ./cmd/...
