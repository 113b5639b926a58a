#!/usr/bin/env bash
# Formatting, vet and staticcheck over everything. Called by `make lint` with cgo's flags set.
set -euo pipefail
cd "$(dirname "$0")/.."
unformatted=$(gofmt -l .)
[ -z "$unformatted" ] || { echo "not gofmt'ed: $unformatted"; exit 1; }
go vet ./...
go run honnef.co/go/tools/cmd/staticcheck@v0.8.2 ./...
