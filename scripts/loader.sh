#!/usr/bin/env bash
# Images per second on one thread, from a JPEG of 640x480 (4:2:0) to normalised pixels of 336x336, padded: ours from
# files (also with the build tag turbojpeg if libjpeg-turbo is installed) and from shards with pixels, and Pillow with
# transformers' image processor, in turn.
#   PEER_PYTHON  a Python with scripts/reference/requirements.txt
#   PHOTOS       a folder with photos of 640x480 (default ../shared/coco-mini/images)
#   ROUNDS       default 3
set -euo pipefail
cd "$(dirname "$0")/.."
: "${PEER_PYTHON:?set PEER_PYTHON to a Python with scripts/reference/requirements.txt}"
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
"$PEER_PYTHON" scripts/reference/loader.py make "${PHOTOS:-../shared/coco-mini/images}" "$work/photos"
CGO_ENABLED=0 go test -c -o "$work/own" ./data/rows
builds=(own)
CGO_ENABLED=1 go test -c -tags turbojpeg -o "$work/turbojpeg" ./data/rows 2>/dev/null && builds+=(turbojpeg)
for ((round = 1; round <= ${ROUNDS:-3}; round++)); do
	line="pillow $("$PEER_PYTHON" scripts/reference/loader.py time "$work/photos")"
	for build in "${builds[@]}"; do
		rates=$(cd data &&
			GOMAXPROCS=1 LLAVATRAIN_PHOTOS=$work/photos "$work/$build" -test.run '^$' -test.bench Photos \
				-test.benchtime 3s |
			awk -v b="$build" '/images\/s/ {
				sub(".*from=", "", $1); sub("-[0-9]+$", "", $1); printf "  %s/%s %s", b, $1, $(NF-1)
			}')
		line+=$rates
	done
	echo "$line"
done
