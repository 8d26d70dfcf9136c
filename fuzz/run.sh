#!/bin/sh
# Runs one fuzz target from the files under kernels-tests/files/data: sh fuzz/run.sh unpickler|zip|safetensors [SECONDS]
set -eu
cd "$(dirname "$0")/.."
target=$1 seconds=${2:-600}
data=kernels-tests/files/data seeds=fuzz/corpus/$target
mkdir -p "$seeds"
case $target in
    unpickler)
        for file in "$data"/*.pth; do
            name=$(basename "$file" .pth)
            unzip -p "$file" "$name/data.pkl" >"$seeds/$name" 2>/dev/null || rm -f "$seeds/$name"
        done
        ;;
    zip) cp "$data"/*.pth "$seeds" ;;
    safetensors) cp "$data"/*.safetensors "$seeds" ;;
    *) echo "no target $target" >&2 && exit 2 ;;
esac
# No sanitizer: the readers hold no unsafe code; what is looked for is a panic, a hang, or memory beyond the limit.
exec cargo +nightly fuzz run --sanitizer none "$target" "$seeds" -- -max_total_time="$seconds" -max_len=65536 \
    -timeout=10 -rss_limit_mb=1024 -malloc_limit_mb=64 -print_final_stats=1
