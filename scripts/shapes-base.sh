#!/usr/bin/env bash
# Makes the demo's base weights again (up to an hour on two cores) and puts them where the binary embeds them from.
#   . scripts/env.sh && scripts/shapes-base.sh
set -euo pipefail
root=$(cd "$(dirname "$0")/.." && pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$root" && go build -o "$work/llavatrain" ./cmd/llavatrain && go build -o "$work/shapes-base" ./scripts/shapes-base
cd "$work"
./llavatrain init shapes-base
./llavatrain pretrain shapes-base.yaml
./llavatrain finetune shapes-base.yaml
./shapes-base runs/shapes-base/finetune/export "$root/synth/shapes/model"
