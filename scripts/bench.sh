#!/usr/bin/env bash
# Our training step and the Hugging Face step in turn, on one machine: shapes tiny and small, both stages, fp32, two
# threads, batch 8. The peer runs at its best (fused optimizer, rows grouped by length) and with its defaults (rows in
# the order of the file).
# Prints each run's JSON and, at the end, the ratio of tokens per second over all rounds, with its smallest and largest
# round; with the peer it also writes the table of docs/performance.md. Tokens are real positions, text and image,
# without padding. Tokens are compared rather than samples: the peer groups rows of similar length, so in the timed
# steps its rows differ from ours and are up to a fifth shorter or longer.
#   PEER_PYTHON  a Python with torch 2.11 and transformers 5.17; without it only ours is timed
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
[ -n "$python" ] || echo "PEER_PYTHON is not set: timing only llavatrain" >&2
for ((round = 1; round <= ${ROUNDS:-3}; round++)); do
	for shape in tiny small; do
		for stage in 1 2; do
			steps=60
			[ $shape = tiny ] || steps=6
			./llavatrain bench --shape $shape --stage $stage --batch 8 --steps $steps --threads 2 --device cpu \
				"${rows[@]}" | tee -a "$out"
			[ -n "$python" ] || continue
			theirs=("$python" "$peer/hf_llava.py" --shape $shape --stage $stage --batch 8 --threads 2)
			"${theirs[@]}" --steps $steps --fused --grouped | tee -a "$out"
			"${theirs[@]}" --steps $((steps / 2)) --warmup 1 | tee -a "$out"
		done
	done
done
python3 scripts/bench_table.py "$out" docs/performance.md
