#!/usr/bin/env bash
# Our answers and those of transformers' generate in turn, on one machine with two threads: decode tokens a second,
# which are the tokens of answers with TOKENS less those with one, over the difference of the times, so that neither
# loading nor prompts count.
#   scripts/answers.sh FOLDER QUESTIONS PHOTOS BATCH TOKENS
# FOLDER is a LLaVA folder that both read (hf_answers.py make writes one), QUESTIONS a question file, BATCH how many
# questions either answers at a time.
#   PEER_PYTHON  a Python with torch 2.11 and transformers 5.17; without it only ours is timed
#   PEER         folder with hf_answers.py (default ../shared/peer)
#   DTYPE        of ours: fp32 (default) or bf16
#   ROUNDS       default 3
set -euo pipefail
cd "$(dirname "$0")/.."
folder=$1 questions=$2 photos=$3 batch=$4 tokens=$5
peer=${PEER:-../shared/peer}
out=$(mktemp)
trap 'rm -f "$out"' EXIT
count=$(grep -c question_id "$questions")

ours() { # seconds of a run with $1 tokens
	local began ended
	rm -f "$out"
	began=$(date +%s.%N)
	OMP_NUM_THREADS=2 ./llavatrain generate "$folder" --batch "$questions" --images "$photos" --batch-size "$batch" \
		--max-tokens "$1" --dtype "${DTYPE:-fp32}" --out "$out" 2>/dev/null
	ended=$(date +%s.%N)
	awk "BEGIN { print $ended - $began }"
}

theirs() {
	"$PEER_PYTHON" "$peer/hf_answers.py" answer "$folder" "$questions" "$photos" --batch "$batch" --tokens "$1" \
		--threads 2 2>/dev/null | sed -n 's/.*"seconds": \([0-9.]*\).*/\1/p'
}

rate() { awk "BEGIN { print $count * ($tokens - 1) / ($2 - $1) }"; }

for ((round = 1; round <= ${ROUNDS:-3}; round++)); do
	first=$(ours 1) all=$(ours "$tokens")
	mine=$(rate "$first" "$all")
	if [ -z "${PEER_PYTHON:-}" ]; then
		echo "ours $mine tokens/s"
		continue
	fi
	first=$(theirs 1) all=$(theirs "$tokens")
	other=$(rate "$first" "$all")
	awk "BEGIN { printf \"ours %.0f, peer %.0f tokens/s, ratio %.2f\n\", $mine, $other, $mine / $other }"
done
