#!/usr/bin/env bash
# bash tools/check_gpu.sh [PAGE] — on a machine with a GPU: the CUDA tests, the golden cases, the sample's scores by precision, and speed, on one
# page of Markdown (by default output/gpu.md). A step that fails is marked and does not end the others; the exit status
# says whether all went well. Wants pip install -e '.[port,test]', and takes about half an hour.
#
# HPR_CHECK_DEVICE=cpu takes the same way in small steps, to try this script itself.
set -euo pipefail
cd "$(dirname "$0")/.."
device=${HPR_CHECK_DEVICE:-cuda}
page=${1:-output/gpu.md}
log=$(mktemp)
trap 'rm -f "$log"' EXIT

if [ "$device" = cuda ] && ! python -c 'import sys, torch; sys.exit(not torch.cuda.is_available())'; then
  echo "error: tools/check_gpu.sh needs a GPU, and PyTorch sees none here" >&2
  exit 1
fi
mkdir -p "$(dirname "$page")"

failed=0
step() { # TITLE COMMAND…: runs a command and adds what it printed to the page
  local title=$1 start=$SECONDS status=0
  shift
  echo "== $title: $*"
  "$@" >"$log" 2>&1 || status=$?
  {
    if [ "$status" = 0 ]; then echo "## $title"; else echo "## FAILED: $title (exit status $status)"; fi
    printf '\n`%s`, %d s\n\n```\n' "$*" $((SECONDS - start))
    tail -n 40 "$log" | cut -c 1-200
    printf '```\n\n'
  } >>"$page"
  [ "$status" = 0 ] || failed=$((failed + 1))
}

machine() { # what the figures are of
  nvidia-smi --query-gpu=name,driver_version,memory.total --format=csv,noheader 2>/dev/null || echo "no nvidia-smi"
  python -c 'import torch; print("PyTorch", torch.__version__, "CUDA", torch.version.cuda, "cuDNN", torch.backends.cudnn.version())'
  git log -1 --format='hpr %h of %cs' 2>/dev/null || echo "hpr without git"
}

printf '# hpr on %s, %s\n\n' "$device" "$(date -u '+%Y-%m-%d %H:%M UTC')" >"$page"
step "The machine" machine

folder=$(dirname "$page")/gpu_benchmarks
benchmark=(python tools/benchmark.py "device=$device" "output_dir=$folder")
if [ "$device" = cuda ]; then
  step "Golden cases in fp32" python -m pytest -n 0 -rs -m cuda -k golden
  step "All other CUDA tests" python -m pytest -n 0 -rs -m cuda -k 'not golden'
  for precision in fp32 tf32 bf16 fp16; do
    step "The sample, $precision" python refine.py device=cuda "precision=$precision" "output_dir=$folder/sample_$precision"
  done
  for precision in fp32 tf32 fp16; do
    step "Refining, $precision" "${benchmark[@]}" what=refining "precision=$precision" model=resnet101 \
      'refining.crops=[[512,560],[536,634],[704,864]]' 'refining.people=[1,4,16]' refining.rounds=64
  done
  for model in demo resnet101; do
    for precision in tf32 bf16; do
      step "Training $model, $precision" "${benchmark[@]}" what=training "model=$model" "precision=$precision" \
        training.batch_size=32 training.num_workers=8 training.steps=30
    done
  done
else
  step "Golden cases" python -m pytest -n 0 -rs tests/models/test_network.py -k 'golden and plain'
  step "The sample" python refine.py device=cpu flip=false "output_dir=$folder/sample"
  step "Refining" "${benchmark[@]}" what=refining model=demo \
    'refining.crops=[[510,560]]' 'refining.people=[1,2]' refining.rounds=2
  step "Training" "${benchmark[@]}" what=training model=demo \
    'training.canvas=[96,64]' training.batch_size=2 training.num_workers=0 training.steps=3
fi

echo "wrote $page; steps that failed: $failed"
[ "$failed" = 0 ]
