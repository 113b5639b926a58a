#!/usr/bin/env bash
# Trains the demo with each projector and three seeds and prints the table of docs/connectors.md: medians of the exact
# answers about new scenes and unseen pairs, and of the CPU time. A run that has its result is not repeated, so the
# script may be stopped and called again. Usage: scripts/compare-projectors.sh [FOLDER]
set -euo pipefail
export OMP_WAIT_POLICY=passive # waiting threads would count as CPU time
TIMEFORMAT='%U %S'
cd "$(dirname "$0")/.."
out=${1:-runs/compare-projectors}
types="linear mlp2x_gelu qformer resampler pixel_shuffle pool gated_cross_attention"
[ -x ./llavatrain ] || make build
mkdir -p "$out"
for seed in 1 2 3; do
	for type in $types; do
		result=$out/$type-$seed.json
		[ -s "$result" ] && continue
		runs=$out/runs-$type-$seed
		rm -rf "$runs"
		{ time ./llavatrain demo --projector "$type" --seed "$seed" --runs "$runs" \
			>"$out/$type-$seed.txt" 2>"$out/$type-$seed.log"; } 2>"$out/$type-$seed.time"
		cp "$runs"/shapes*/demo.json "$result.new" && mv "$result.new" "$result"
		rm -rf "$runs"
		echo "$type, seed $seed: $(grep -h 'exact answers' "$out/$type-$seed.txt" | tr -s ' ' | paste -sd' ')"
	done
done
python3 - "$out" $types <<'END'
import json, statistics, sys
out, types = sys.argv[1], sys.argv[2:]
print("| projector | new scenes | unseen pairs | images shuffled | CPU seconds |\n| --- | --- | --- | --- | --- |")
for kind in types:
    runs = [json.load(open(f"{out}/{kind}-{seed}.json")) for seed in (1, 2, 3)]
    def percent(key):
        values = sorted(100 * run[key] for run in runs)
        return f"{statistics.median(values):.0f} % ({values[0]:.0f} to {values[-1]:.0f})"
    seconds = statistics.median(sum(map(float, open(f"{out}/{kind}-{seed}.time").read().split())) for seed in (1, 2, 3))
    shares = " | ".join(percent(key) for key in ("accuracy", "unseen_accuracy", "shuffled_accuracy"))
    print(f"| `{kind}` | {shares} | {seconds:.0f} |")
END
