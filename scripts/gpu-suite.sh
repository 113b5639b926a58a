#!/usr/bin/env bash
# Checks the CUDA path on a machine with an NVIDIA GPU, a PyTorch of the same minor version and no Go. Each call runs
# one part and takes less than nine minutes; one JSON object goes to standard output, everything else to standard error.
#
#   scripts/gpu-suite.sh PART [--binary FILE] [--tests FILE] [--shared FOLDER] [--device cuda|cpu]
#                        [--shape NAME] [--stage 1|2] [--batch N] [--accum N]
#
# PART:
#   doctor   what was found, and the largest differences of our kernels from libtorch's operations on this GPU
#   parity   the recorded curves, fp32 and bf16
#   flat     a recorded curve in micro-batches of 1, 2 and of a token budget, and with nothing, norms or whole layers
#            recomputed
#   repeat   the same 20 steps 20 times, bit for bit
#   moments  fp32 parameters, bf16 ones with exact masters, and fp32 ones with moments in bf16
#   resume   stopped and resumed, bit for bit; with --shape, a model of that shape with random weights in the --stage
#   bench    --shape (default 0.5b on a GPU, tiny on a CPU) in one --stage or both, --batch samples (default 8) in each
#            of --accum micro-batches (default 1), ours and the peer's in turn, the peer with and without its
#            recomputation; predicted and measured memory
#   serve    answers of a server: one, 8 and 64 at a time, and questions about new pictures and about the same one, by
#            a model of --shape (default 7b on a GPU, tiny on a CPU) with random weights, beside transformers'
#            generate, and as shares of what the memory or the arithmetic allows; needs transformers
#   demo     the whole demo
#   ranks    collectives: NCCL with one rank, and two ranks on one GPU by way of the host's memory
# The binary is ./llavatrain, the tests of collectives are ./torch.test (go test -c -o torch.test ./model/torch); the
# shared folder holds parity, peer, coco-mini and llama-tokenizer. LD_LIBRARY_PATH must contain that machine's torch/lib
# (found through python3 if it is not set). `python3 scripts/gpu_merge.py FILE...` makes one object of the parts'
# outputs.
set -euo pipefail

root=$(cd "$(dirname "$0")/.." && pwd)
part=${1:?usage: gpu-suite.sh PART [--binary FILE] [--tests FILE] [--shared FOLDER] [--device cuda|cpu] \
[--shape NAME] [--stage 1|2] [--batch N] [--accum N]}
shift
binary=$root/llavatrain tests=$root/torch.test shared=$root/../shared device=cuda shape= stages="1 2" batch=8 accum=1
while [ $# -gt 0 ]; do
	case $1 in
	--binary) binary=$(realpath "$2") ;;
	--tests) tests=$(realpath "$2") ;;
	--shared) shared=$(realpath "$2") ;;
	--device) device=$2 ;;
	--shape) shape=$2 ;;
	--stage) stages=$2 ;;
	--batch) batch=$2 ;;
	--accum) accum=$2 ;;
	*) echo "unknown option $1" >&2; exit 2 ;;
	esac
	shift 2
done
if [ -z "${LD_LIBRARY_PATH:-}" ] && command -v python3 >/dev/null; then
	torch=$(python3 -c 'import importlib.util as u
s = u.find_spec("torch"); print(s.submodule_search_locations[0] if s else "")' || true)
	[ -z "$torch" ] || export LD_LIBRARY_PATH=$torch/lib
fi
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
card=$(nvidia-smi --query-gpu=name --format=csv,noheader 2>/dev/null | head -n 1 || true)
began=$(date +%s)

# emit NAME VALUE ... prints one JSON object; values are JSON.
emit() {
	local text="{\"part\": \"$part\", \"device\": \"$device\", \"card\": \"$card\""
	text="$text, \"seconds\": $(($(date +%s) - began))"
	while [ $# -gt 0 ]; do text="$text, \"$1\": $2"; shift 2; done
	echo "$text}"
}

# curve NAME STAGE LOSS DTYPE runs a recorded curve and prints {"loss": worst relative difference, "grad_norm": …}.
# Further arguments go to the run.
curve() {
	local name=$1 stage=$2 loss=$3 dtype=$4
	shift 4
	rm -rf "$work/curve"
	python3 "$root/scripts/curve.py" recipe "$shared" "$name" "$stage" "$loss" "$work/curve" >&2
	"$binary" "$stage" "$work/curve/curve.yaml" --set device=$device --set dtype=$dtype "$@" >&2
	python3 "$root/scripts/curve.py" compare "$shared" "$name" "$work/curve/runs/curve/$stage/metrics.jsonl"
}

# same A B says whether two runs have the same weights, moments and compared metrics.
same() { python3 "$root/scripts/curve.py" same "$1" "$2"; }

case $part in
doctor)
	emit said "$("$binary" doctor | tee /dev/stderr |
		python3 -c 'import json, sys; print(json.dumps(sys.stdin.read().splitlines()))')"
	;;
parity)
	results=()
	for dtype in fp32 bf16; do
		for row in "stage1 pretrain micro_mean" "stage1-linear pretrain micro_mean" \
			"stage2 finetune micro_mean" "stage2-token-mean finetune token_mean"; do
			set -- $row
			results+=("$1-$dtype" "$(curve "$1" "$2" "$3" $dtype)")
		done
	done
	emit "${results[@]}"
	;;
flat)
	results=()
	for way in batch.micro=1 batch.micro=2 recompute=none recompute=selective recompute=layers; do
		results+=("$way" "$(curve stage2-token-mean finetune token_mean fp32 --set finetune.$way)")
	done
	emit "${results[@]}"
	;;
repeat)
	python3 "$root/scripts/curve.py" recipe "$shared" stage2 finetune micro_mean "$work/run" >&2
	equal=0
	for i in $(seq 0 20); do
		"$binary" finetune "$work/run/curve.yaml" --set device=$device --runs "$work/repeat-$i" >&2
		[ $i = 0 ] && continue
		[ "$(same "$work/repeat-0/curve/finetune" "$work/repeat-$i/curve/finetune")" = true ] && equal=$((equal + 1))
		rm -rf "$work/repeat-$i"
	done
	emit repeats 20 equal $equal
	;;
moments)
	emit fp32 "$(curve stage2 finetune micro_mean fp32)" masters "$(curve stage2 finetune micro_mean bf16)" \
		bf16_moments "$(curve stage2 finetune micro_mean fp32 --set finetune.optimizer.moments=bf16)"
	;;
demo)
	cd "$work"
	"$binary" demo >&2
	emit demo "$(cat runs/shapes/demo.json)"
	;;
resume)
	results=()
	# cut STAGE STEP... runs a stage whole, and stopped after each step and resumed.
	cut() {
		local stage=$1
		shift
		run() { "$binary" $stage "$work/run/curve.yaml" --set device=$device "$@" >&2; }
		rm -rf "$work"/whole "$work"/cut
		run --runs "$work/whole"
		for k in "$@"; do
			rm -rf "$work/cut"
			run --runs "$work/cut" --stop-at $k
			run --runs "$work/cut" --resume
			results+=("$stage${shape:+ $shape} stopped at $k"
				"$(same "$work/whole/curve/$stage" "$work/cut/curve/$stage")")
		done
	}
	if [ -z "$shape" ]; then
		python3 "$root/scripts/curve.py" recipe "$shared" stage2 finetune micro_mean "$work/run" >&2
		cut finetune 1 7 13 19
	else
		for stage in $stages; do
			name=$([ $stage = 1 ] && echo pretrain || echo finetune)
			python3 "$root/scripts/curve.py" random "$shared" "$shape" $name "$work/run" >&2
			cut $name 2
		done
	fi
	emit "${results[@]}"
	;;
bench)
	[ -n "$shape" ] || shape=$([ $device = cpu ] && echo tiny || echo 0.5b)
	dtype=$([ $device = cpu ] && echo fp32 || echo bf16)
	results=()
	# the peer is also fastest with it: without it, rows of new lengths cost it calls of cudaMalloc
	export PYTORCH_CUDA_ALLOC_CONF=expandable_segments:True
	rounds=$([ $device = cpu ] && echo 1 || echo 2) steps=10 warmup=6
	case $shape in 7b | 13b) steps=5 warmup=4 ;; esac
	for stage in $stages; do
		common=(--shape "$shape" --stage $stage --batch $batch --accum $accum --steps $steps --warmup $warmup
			--device $device --dtype $dtype)
		for round in $(seq $rounds); do
			results+=("ours-$stage-$round" "$("$binary" bench "${common[@]}" --rows "$shared/peer/lengths.json")")
			python3 -c 'import transformers' 2>/dev/null ||
				{ echo "transformers is not installed: only ours is timed" >&2; continue; }
			for how in "" --checkpointing; do
				[ -z "$how" ] || [ $round = 1 ] || continue
				theirs=$(python3 "$shared/peer/hf_llava.py" "${common[@]}" --fused --grouped $how) ||
					theirs='"failed, out of memory most likely"'
				results+=("peer-$stage$how-$round" "$theirs")
			done
		done
	done
	emit "${results[@]}"
	;;
ranks)
	passed=true
	"$tests" -test.v -test.timeout 170s -test.run 'OnACard$' >"$work/said" 2>&1 || passed=false
	! grep -q -e '^--- SKIP' "$work/said" || passed=false # no GPU
	emit passed $passed said "$(tee /dev/stderr <"$work/said" |
		python3 -c 'import json, sys; print(json.dumps(sys.stdin.read().splitlines()))')"
	[ $passed = true ]
	;;
serve)
	[ -n "$shape" ] || shape=$([ $device = cpu ] && echo tiny || echo 7b)
	[ $device != cpu ] || export CUDA_VISIBLE_DEVICES=
	python3 "$root/scripts/serve_peer.py" make "$shared" "$shape" $device "$work/model" >&2
	"$binary" serve "$work/model" --port 0 --max-queue 4096 2>"$work/server.log" &
	server=$!
	trap 'kill $server 2>/dev/null || true; rm -rf "$work"' EXIT
	until url=$(sed -n "s/^OpenAI's API: //p" "$work/server.log") && [ -n "$url" ]; do
		kill -0 $server 2>/dev/null || { cat "$work/server.log" >&2; exit 1; }
		sleep 0.2
	done
	cat "$work/server.log" >&2
	loads=(1x32x128 8x32x128 64x400x256)
	[ $device != cpu ] || loads=(1x32x16 8x32x16 16x64x16)
	results=()
	# ask NAME ARGS... asks the server.
	ask() {
		local name=$1
		shift
		echo "$name" >&2
		"$binary" bench serve "$url" --ignore-eos "$@" >"$work/$name.json"
		results+=("$name=$work/$name.json")
	}
	for load in "${loads[@]}"; do # answers at a time, words of a prompt, tokens of an answer
		IFS=x read -r clients words tokens <<<"$load"
		ask "streams-$clients" --clients $clients --requests $((clients < 3 ? 3 : clients)) --words $words \
			--max-tokens $tokens
	done
	about=(--pictures 1 --words 24 --max-tokens 10)
	ask pictures-16 "${about[@]}" --clients 16 --requests 96
	ask new-picture "${about[@]}" --clients 1 --requests 8
	ask same-picture "${about[@]}" --clients 1 --requests 8 --picture same
	kill $server
	wait $server || true
	emit shape "\"$shape\"" answers \
		"$(python3 "$root/scripts/serve_peer.py" beside "$shared" "$shape" $device "${results[@]}")"
	;;
*)
	echo "unknown part $part; the parts are doctor, parity, flat, repeat, moments, resume, bench, serve, demo and" \
		"ranks" >&2
	exit 2
	;;
esac
