#!/usr/bin/env bash
# Formatting, line length, vet and staticcheck over everything. Called by `make lint` with cgo's flags set.
set -euo pipefail
cd "$(dirname "$0")/.."
unformatted=$(gofmt -l .)
[ -z "$unformatted" ] || { echo "not gofmt'ed: $unformatted"; exit 1; }

# At most 120 columns, where a tab counts 4 and columns are characters, not bytes.
long=$(git ls-files -z -- '*.go' '*.cpp' '*.h' '*.cu' '*.sh' ':!:**/testdata/**' | while IFS= read -r -d '' file; do
	sed 's/\t/    /g' "$file" | LC_ALL=C.UTF-8 grep -nE '^.{121}' | sed "s|:.*||; s|^|$file:|" || true
done)
[ -z "$long" ] || { echo "longer than 120 columns:"; echo "$long"; exit 1; }

go vet ./...
go run honnef.co/go/tools/cmd/staticcheck@v0.8.2 ./...
