#!/usr/bin/env bash
# Everything that several processes do, in all combinations: the recorded curves on 1 to 4 processes, whole and sharded,
# micro-batches by samples and by positions, every recomputation; resumes between all numbers and modes; faults; under
# torchrun and mpirun where they are installed. Prints a table; the whole output is in ranks.log.
set -euo pipefail
cd "$(dirname "$0")/.."
log=${1:-ranks.log}
status=0
LLAVATRAIN_LONG=1 go test -count=1 -timeout 3h -v -run 'Rank|Sharding' ./cmd/llavatrain >"$log" 2>&1 || status=$?
awk '
	/^=== RUN/ { name = $3 }
	/differ by|differs by|are gone after/ { sub(/^ *[a-z_]*\.go:[0-9]*: /, ""); note[name] = note[name] " " $0 ";" }
	/^ *--- (PASS|FAIL|SKIP)/ { printf "%-5s %8s  %s%s\n", substr($2, 1, 4), $NF, $3, note[$3] }
' "$log"
exit $status
