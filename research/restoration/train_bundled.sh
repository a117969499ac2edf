#!/usr/bin/env bash
# The weights in the package from nothing: photographs, training in ten stages, the file, its figures.
#
#   bash research/restoration/train_bundled.sh BSDS500 LEAK_FREE_LIST UNPACKED_PACKAGES
#
# What the three are: research/restoration/photographs.py --help. The last three stages read datasets/BundledPairs, which
# research/restoration/real_pairs.py lays out before. Interrupted, the same command goes on where it stopped.
set -euo pipefail
[ $# -eq 3 ] || { sed -n '2,7p' "${BASH_SOURCE[0]}" >&2; exit 2; }
bsds=$(realpath "$1") list=$(realpath "$2") packages=$(realpath "$3")
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
source "$root/scripts/environment.sh"
prepare_environment
cd "$root"

first=train_mirage_bundled
second=train_mirage_bundled_160
later=(224 192 192_noise scenes 320)
weights=mirage_restore/weights/mirage_nano.safetensors
newest() { find "experiments/$1/models" -name 'net_g_[0-9]*.pth' | sort -V | tail -n 1; }

[ -d datasets/Bundled/train_320 ] || "$python" research/restoration/photographs.py --bsds "$bsds" --list "$list" \
    --packages "$packages"

# 64x64 crops to the end of the schedule, then shorter ones on larger crops from the averaged weights.
"$python" basicsr/train.py -opt options/$first.yml --auto_resume
"$python" basicsr/train.py -opt options/$first.yml --auto_resume --force_yml name=$second \
    path:pretrain_network_g="$(newest $first)" datasets:train:gt_size=160 datasets:train:batch_size_per_gpu=3 \
    train:total_iter=2400 train:warmup_iter=50 train:optim_g:lr=0.0003 train:ema_decay=0.998 val:val_freq=1200
# Larger crops and other mixtures, the last two with batch norm as it is evaluated; each begins with the one before.
for stage in "${later[@]}"; do
    "$python" basicsr/train.py -opt "options/${first}_$stage.yml" --auto_resume
done

# Real pairs, then more of what these made it forget; a mixture of before and after is what the last stage begins with.
mixed=experiments/${first}_mixed.safetensors
for stage in real kept; do
    "$python" basicsr/train.py -opt "options/${first}_$stage.yml" --auto_resume
done
mix() { "$python" -m research.restoration.mix_weights "$1" "$2" --share "$3" --out "$4"; }
[ -f $mixed ] || mix "$(newest "${first}_320")" "$(newest "${first}_kept")" 0.6 $mixed
"$python" basicsr/train.py -opt "options/${first}_long.yml" --auto_resume
mix $mixed "$(newest "${first}_long")" 1 $weights
(cd mirage_restore/weights && sha256sum mirage_nano.safetensors > mirage_nano.sha256)
"$python" research/restoration/measure.py --weights $weights --out results/bundled
