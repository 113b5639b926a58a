#!/usr/bin/env bash
# Runs the tests: first the packages that need no C++ compiler, as such; then everything. Called by `make test` with cgo's flags set.
set -euo pipefail
cd "$(dirname "$0")/.."
pure=(./recipes ./checkpoints ./data ./synth)
echo "pure Go packages, without cgo"
CGO_ENABLED=0 go test "${pure[@]}"
echo "packages that use the engine"
go test -timeout 20m ./model/... ./loss ./train ./cmd/...
