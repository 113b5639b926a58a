#!/usr/bin/env bash
# Formatting, line length, vet, staticcheck and unreachable functions. Called by `make lint` with cgo's flags set.
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

# Functions that neither a command nor a test reaches, and those that only tests reach but for these.
unreachable() { go run golang.org/x/tools/cmd/deadcode@v0.48.0 "$@" ./...; }
tests_only=(
	'data/datatest/'         # helpers of tests
	'model/torch/torchtest/' # the same, for the engine
	'synth/chat/chattest/'     # an endpoint for tests
	'synth/synthtest/'         # the same, for commands
	'serve/servetest/'         # an engine for tests of servers
	'serve/llava/llavatest/'   # a network for tests of programs
	'report/page/'             # charts that no report has yet
	'func: arena.left$'         # how much is free
	'func: Client.Answers$'    # for readers of a whole ledger; rows are found by their keys
	'func: Tokenizer.Decode$'  # whole texts; commands decode ids as they come
	'func: Mul$'              # losses of tests
	'func: Comm.Broadcast$'   # every rank reads what it needs from files
	'func: Store.(Add|Delete)$' # the store is c10d's, whole
)
dead=$(unreachable -test; unreachable | grep -vE "$(IFS='|'; echo "${tests_only[*]}")" || true)
[ -z "$dead" ] || { echo "unreachable:"; echo "$dead"; exit 1; }
