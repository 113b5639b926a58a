#!/usr/bin/env bash
# The long suites: 2,000 steps in memory that must not grow, each stage killed at random moments and resumed, and every
# fuzz target of the repository. Called by `make test-long` with cgo's flags set.
#
#   KILLS     how often each stage is killed (200)
#   FUZZTIME  how long each target is fuzzed (2m)
#
# A part that fails does not keep the next ones from running. The table at the end has them all; the exit status is 1
# if one failed. Inputs that fuzzing found are in testdata/fuzz of the target's package, where `go test` runs them.
set -euo pipefail
cd "$(dirname "$0")/.."
kills=${KILLS:-200} fuzztime=${FUZZTIME:-2m}
log=$(mktemp)
trap 'rm -f "$log"' EXIT
table=() failed=0

# part NAME MEASURE COMMAND... runs a part and puts the last match of MEASURE in its output into the table. A part that
# prints no such text, because its test was removed or renamed, has failed.
part() {
	local name=$1 measure=$2 began=$SECONDS verdict=ok took found
	shift 2
	echo "== $name"
	"$@" 2>&1 | tee "$log" || verdict=FAILED
	found=$(grep -oE "$measure" "$log" | tail -n 1) || verdict=FAILED
	[ $verdict = ok ] || failed=1
	took=$((SECONDS - began))
	table+=("$(printf '%-6s  %3d:%02d  %s  %s' $verdict $((took / 60)) $((took % 60)) "$name" "$found")")
}

part "memory" '[-+][0-9]+ KB over [0-9]+ steps' \
	env LLAVATRAIN_LONG=1 go test -count=1 -timeout 60m -v -run '^TestMemoryIsFlat$' ./train
part "resumes after" '[0-9]+ kills' \
	env LLAVATRAIN_KILLS="$kills" go test -count=1 -timeout 6h -v -run '^TestKillAndResume$' ./cmd/llavatrain

mapfile -t targets < <(grep -rE --include='*_test.go' '^func Fuzz\w+\(' . |
	sed -E 's|^(.*)/[^/]*:func (Fuzz\w+)\(.*|\1 \2|' | sort)
[ ${#targets[@]} -gt 0 ] || { echo "no fuzz target found" >&2; failed=1; }
for target in "${targets[@]}"; do
	read -r folder name <<<"$target"
	# An input that reaches new code is minimized for up to a minute by default: with large ones, nothing else is done.
	part "$folder $name" 'execs: [0-9]+' \
		go test -run '^$' -fuzz "^$name\$" -fuzztime "$fuzztime" -fuzzminimizetime 10x "$folder"
done

echo
printf '%s\n' "${table[@]}"
printf '%d:%02d in all, %d fuzz targets\n' $((SECONDS / 60)) $((SECONDS % 60)) ${#targets[@]}
exit $failed
