#!/usr/bin/env bash
# From a fresh clone to a trained and tested network on real photographs: environment, data, training, test, pictures.
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
source "$root/scripts/environment.sh"
prepare_environment
cd "$root"
"$python" scripts/quickstart.py data --out datasets/quickstart
"$python" basicsr/train.py -opt options/quickstart_5deg.yml
"$python" basicsr/test.py -opt options/quickstart_5deg_test.yml
echo
"$python" scripts/quickstart.py report results/quickstart_5deg_test

echo
echo 'The same pictures, by the network that comes with the package and has been trained for longer:'
for inputs in dehaze/input derain/Rain100L/input deblur/gopro/input enhance/lol/input; do
    "$root/.venv/bin/mirage-restore" "datasets/quickstart/test/$inputs" --compare \
        --output "results/quickstart_restored/${inputs%%/*}"
done
