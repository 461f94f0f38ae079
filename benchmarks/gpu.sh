#!/usr/bin/env bash
# The first hour on a GPU: what runs there, is it right, how fast. At most 8 minutes.
#
#   benchmarks/gpu.sh [--bag BAG [--topic TOPIC] [--labels LABELS]] [--install [--wheels DIR]]
#                     [--device cuda|cpu] [--parts PART...] [--minutes N] [--out DIR]
#
# --bag      a recording whose clouds are labelled; default: a simulated street
# --labels   the recording's label map, to train on it; default: a simulated drive is trained on
# --install  pip install what is missing into this Python, torch's default build among it; with --wheels
#            the wheels in DIR instead, without a network
# --device   cpu runs every part small on a CPU: whether the script works, no figures
# --out      default: gpu. DIR/gpu.json is rewritten after every part, DIR/PART.log is what it printed
#
# A part that fails or takes longer than its limit ends alone, and gpu.json says so. PYTHON names the Python
# (default: python3), with torch for CUDA unless --install is given. Then, for docs/results/gpu.md:
#   python3 benchmarks/gpu/table.py DIR/gpu.json --into docs/results/gpu.md
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
export PYTHONPATH="$here:$here/..:$here/../training${PYTHONPATH:+:$PYTHONPATH}"

case ${1:-} in
-h | --help)
    sed -n '2,/^set -/{/^#/s/^# \{0,1\}//p}' "${BASH_SOURCE[0]}"
    exit
    ;;
esac
exec "${PYTHON:-python3}" -m gpu.run "$@"
