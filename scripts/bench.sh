#!/usr/bin/env bash
# Our training step and the Hugging Face step in turn, on one machine: shapes tiny and small, both stages, fp32, two threads, batch 8.
# Prints each run's JSON and, at the end, the ratio of samples per second over all rounds, with its smallest and largest round.
#   PEER_PYTHON  a Python with torch 2.11 and transformers 5.17; without it ours is timed alone
#   PEER         folder with hf_llava.py and lengths.json (default ../shared/peer)
#   ROUNDS       default 3
set -euo pipefail
cd "$(dirname "$0")/.."
peer=${PEER:-../shared/peer}
python=${PEER_PYTHON:-}
rows=()
[ -f "$peer/lengths.json" ] && rows=(--rows "$peer/lengths.json")
out=$(mktemp)
trap 'rm -f "$out"' EXIT
[ -n "$python" ] || echo "PEER_PYTHON is not set: timing llavatrain alone" >&2
for ((round = 1; round <= ${ROUNDS:-3}; round++)); do
	for shape in tiny small; do
		for stage in 1 2; do
			steps=20
			[ $shape = tiny ] || steps=4
			./llavatrain bench --shape $shape --stage $stage --batch 8 --steps $steps --threads 2 --device cpu "${rows[@]}" | tee -a "$out"
			[ -z "$python" ] || "$python" "$peer/hf_llava.py" --shape $shape --stage $stage --batch 8 --steps $steps --threads 2 --fused --grouped | tee -a "$out"
		done
	done
done
python3 - "$out" <<'PY'
"""Ratio of ours to the peer's samples per second, round by round."""
import collections, json, sys
rates = collections.defaultdict(lambda: collections.defaultdict(list))
for line in open(sys.argv[1]):
    r = json.loads(line)
    rates[r["shape"], r["stage"]][r["peer"]].append(r["samples_per_s"])
for (shape, stage), by in rates.items():
    ours = by["llavatrain"]
    text = f"{shape} stage {stage}: llavatrain {sum(ours) / len(ours):.1f} samples/s"
    theirs = by.get("transformers")
    if theirs:
        ratios = [a / b for a, b in zip(ours, theirs)]
        text += f", transformers {sum(theirs) / len(theirs):.1f}, ratio {sum(ratios) / len(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})"
    print(text)
PY
