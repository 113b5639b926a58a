#!/usr/bin/env bash
# Checks the CUDA path on a machine with an NVIDIA card, a PyTorch of the same minor version and no Go. One part a call, each under
# nine minutes; one JSON object on standard output, everything else on standard error.
#
#   scripts/gpu-suite.sh PART [--binary FILE] [--shared FOLDER] [--device cuda|cpu]
#
# PART: doctor | parity | demo | resume | bench. The binary is ./llavatrain; the shared folder holds parity, coco-mini and
# llama-tokenizer. LD_LIBRARY_PATH must name that machine's torch/lib (found through python3 where it is not set).
set -euo pipefail

root=$(cd "$(dirname "$0")/.." && pwd)
part=${1:?usage: gpu-suite.sh PART [--binary FILE] [--shared FOLDER] [--device cuda|cpu]}
shift
binary=$root/llavatrain shared=$root/../shared device=cuda
while [ $# -gt 0 ]; do
	case $1 in
	--binary) binary=$(realpath "$2") ;;
	--shared) shared=$(realpath "$2") ;;
	--device) device=$2 ;;
	*) echo "unknown option $1" >&2; exit 2 ;;
	esac
	shift 2
done
if [ -z "${LD_LIBRARY_PATH:-}" ] && command -v python3 >/dev/null; then
	torch=$(python3 -c 'import importlib.util as u; s = u.find_spec("torch"); print(s.submodule_search_locations[0] if s else "")' || true)
	[ -z "$torch" ] || export LD_LIBRARY_PATH=$torch/lib
fi
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
card=$(nvidia-smi --query-gpu=name --format=csv,noheader 2>/dev/null | head -n 1 || true)
began=$(date +%s)

# emit NAME VALUE ... prints one JSON object; values are JSON.
emit() {
	local text="{\"part\": \"$part\", \"device\": \"$device\", \"card\": \"$card\", \"seconds\": $(($(date +%s) - began))"
	while [ $# -gt 0 ]; do text="$text, \"$1\": $2"; shift 2; done
	echo "$text}"
}

# curve NAME STAGE LOSS DTYPE runs a recorded curve and prints {"loss": worst relative difference, "grad_norm": …}.
curve() {
	python3 "$root/scripts/curve.py" recipe "$shared" "$1" "$2" "$3" "$work/$1-$4" >&2
	"$binary" "$2" "$work/$1-$4/curve.yaml" --set device=$device --set dtype=$4 >&2
	python3 "$root/scripts/curve.py" compare "$shared" "$1" "$work/$1-$4/runs/curve/$2/metrics.jsonl"
}

# same A B says whether two runs have the same weights, moments and compared metrics.
same() { python3 "$root/scripts/curve.py" same "$1" "$2"; }

case $part in
doctor)
	"$binary" doctor >&2
	emit ok true
	;;
parity)
	results=()
	for dtype in fp32 bf16; do
		for row in "stage1 pretrain micro_mean" "stage1-linear pretrain micro_mean" "stage2 finetune micro_mean" "stage2-token-mean finetune token_mean"; do
			set -- $row
			results+=("$1-$dtype" "$(curve "$1" "$2" "$3" $dtype)")
		done
	done
	emit "${results[@]}"
	;;
demo)
	cd "$work"
	"$binary" demo >&2
	emit demo "$(cat runs/shapes/demo.json)"
	;;
resume)
	python3 "$root/scripts/curve.py" recipe "$shared" stage2 finetune micro_mean "$work/run" >&2
	run() { "$binary" finetune "$work/run/curve.yaml" --set device=$device "$@" >&2; }
	run --runs "$work/whole"
	results=()
	for k in 1 7 13 19; do
		run --runs "$work/cut-$k" --stop-at $k
		run --runs "$work/cut-$k" --resume
		results+=("stop_at_$k" "$(same "$work/whole/curve/finetune" "$work/cut-$k/curve/finetune")")
	done
	emit "${results[@]}"
	;;
bench)
	results=()
	for shape in $([ $device = cpu ] && echo tiny || echo tiny small 0.5b); do
		for stage in 1 2; do
			results+=("$shape-$stage" "$("$binary" bench --shape $shape --stage $stage --batch 8 --steps 10 --device $device)")
		done
	done
	emit "${results[@]}"
	;;
*)
	echo "unknown part $part; the parts are doctor, parity, demo, resume, bench" >&2
	exit 2
	;;
esac
