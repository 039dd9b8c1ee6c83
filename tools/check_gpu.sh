#!/usr/bin/env bash
# bash tools/check_gpu.sh [short] [PAGE] — on a machine with a GPU: the CUDA tests, the golden cases, the sample's scores
# by precision, and speed, on one page of Markdown (by default output/gpu.md). A step that fails is marked and does not end
# the others; the exit status says whether all went well. Wants pip install -e '.[port,test]', and takes about half an hour.
#
# short takes seven minutes at most and needs no TensorFlow: fewer precisions and sizes, and a profile of refining. Steps
# for which no time is left are marked as failed.
#
# HPR_CHECK_DEVICE=cpu takes the same way in small steps, to try this script itself. PYTHON=python3 is the interpreter.
set -euo pipefail
cd "$(dirname "$0")/.."
device=${HPR_CHECK_DEVICE:-cuda}
export python=${PYTHON:-python3}
end=0 # seconds after which no step runs on; 0: never
if [ "${1:-}" = short ]; then
  end=420
  shift
fi
page=${1:-output/gpu.md}
log=$(mktemp)
trap 'rm -f "$log"' EXIT

if [ "$device" = cuda ] && ! "$python" -c 'import sys, torch; sys.exit(not torch.cuda.is_available())'; then
  echo "error: tools/check_gpu.sh needs a GPU, and PyTorch sees none here" >&2
  exit 1
fi
mkdir -p "$(dirname "$page")"

failed=0
seconds=90 # that a step of the short way may take
step() { # TITLE COMMAND…: runs a command and adds what it printed to the page
  local title=$1 start=$SECONDS status=0 limit=()
  shift
  if [ "$end" != 0 ]; then
    local left=$((end - SECONDS))
    [ "$left" -gt 0 ] || left=1
    limit=(timeout -k 3 "$((left < seconds ? left : seconds))")
  fi
  echo "== $title: $*"
  ${limit[@]+"${limit[@]}"} "$@" >"$log" 2>&1 || status=$?
  {
    if [ "$status" = 0 ]; then echo "## $title"; else echo "## FAILED: $title (exit status $status)"; fi
    printf '\n`%s`, %d s\n\n```\n' "$*" $((SECONDS - start))
    tr '\r' '\n' <"$log" | tail -n 40 | cut -c 1-160
    printf '```\n\n'
  } >>"$page"
  [ "$status" = 0 ] || failed=$((failed + 1))
}

machine() { # what the figures are of
  nvidia-smi --query-gpu=name,driver_version,memory.total --format=csv,noheader 2>/dev/null || echo "no nvidia-smi"
  "$python" -c 'import torch; print("PyTorch", torch.__version__, "CUDA", torch.version.cuda, "cuDNN", torch.backends.cudnn.version())'
  echo "$("$python" --version), $(nproc) cores"
  git log -1 --format='hpr %h of %cs' 2>/dev/null || echo "hpr without git"
}
export -f machine # for timeout, which starts programs only

printf '# hpr on %s, %s\n\n' "$device" "$(date -u '+%Y-%m-%d %H:%M UTC')" >"$page"
step "The machine" bash -c machine

folder=$(dirname "$page")/gpu_benchmarks
benchmark=("$python" tools/benchmark.py "device=$device" "output_dir=$folder")
sample() { # PRECISION
  step "The sample, $1" "$python" refine.py "device=$device" "precision=$1" overwrite=true "output_dir=$folder/sample_$1"
}
train() { # MODEL PRECISION SETTING…
  step "Training $1, $2" "${benchmark[@]}" what=training "model=$1" "precision=$2" "${@:3}"
}
photo() { # PRECISION SETTING…
  step "Photographs, $1, ${*:2}" "${benchmark[@]}" what=photo "precision=$1" photo.flip=false "${@:2}"
}
if [ "$device$end" = cuda0 ]; then
  step "Golden cases in fp32" "$python" -m pytest -n 0 -rs -m cuda -k golden
  step "All other CUDA tests" "$python" -m pytest -n 0 -rs -m cuda -k 'not golden'
  for precision in fp32 tf32 bf16 fp16; do sample "$precision"; done
  for precision in fp32 tf32 fp16; do
    step "Refining, $precision" "${benchmark[@]}" what=refining "precision=$precision" model=resnet101 \
      'refining.crops=[[512,560],[536,634],[704,864]]' 'refining.people=[1,4,16]' refining.rounds=64
  done
  for model in demo resnet101; do
    for precision in tf32 bf16; do
      train "$model" "$precision" training.batch_size=32 training.num_workers=8 training.steps=30
    done
  done
elif [ "$device" = cuda ]; then
  tests=$(grep -rl --include='*.py' 'mark\.cuda' tests) # collecting all tests takes longer than these
  for names in golden 'not golden and not halved' halved; do
    # shellcheck disable=SC2086
    step "CUDA tests: $names" "$python" -m pytest -n 0 -rs -s --tb=short -m cuda -k "$names" $tests
  done
  for precision in tf32 bf16; do sample "$precision"; done
  for precision in tf32 bf16; do
    step "Refining, $precision" "${benchmark[@]}" what=refining "precision=$precision" model=resnet101 \
      'refining.crops=[[536,634]]' 'refining.people=[1,16]' refining.rounds=256
    photo "$precision" photo.frames=384
    photo "$precision" photo.frames=64 photo.people=16
  done
  for model in resnet101 demo; do
    train "$model" bf16 training.batch_size=32 training.num_workers=12 training.steps=30
  done
  step "Profile of refining, bf16" "${benchmark[@]}" what=profile precision=bf16 model=resnet101 \
    'refining.crops=[[536,634]]' 'refining.people=[16]' refining.rounds=64
else
  step "Golden cases" "$python" -m pytest -n 0 -rs tests/models/test_network.py -k 'golden and plain'
  step "Out of memory" "$python" -m pytest -n 0 -rs tests/refine/test_batching.py -k halved
  step "The sample" "$python" refine.py device=cpu flip=false margin=50 iterations=1 overwrite=true "output_dir=$folder/sample"
  step "Refining" "${benchmark[@]}" what=refining model=demo \
    'refining.crops=[[510,560]]' 'refining.people=[1,2]' refining.rounds=2
  photo fp32 photo.frames=2 photo.rounds=1
  train demo fp32 'training.canvas=[96,64]' training.batch_size=2 training.num_workers=0 training.steps=3
  step "Profile of refining" "${benchmark[@]}" what=profile model=demo \
    'refining.crops=[[510,560]]' 'refining.people=[2]' refining.rounds=2
fi

echo "wrote $page; steps that failed: $failed"
[ "$failed" = 0 ]
