#!/bin/sh
# Builds the fuzz targets with the stable compiler and runs one of them, or each in turn:
#     sh fuzz/run.sh TARGET|all [SECONDS]
# It needs a C++ compiler, for libFuzzer. What is found is kept under fuzz/artifacts/, what leads further under fuzz/corpus/.
set -eu
cd "$(dirname "$0")"
target=$1 seconds=${2:-600}
host=$(rustc -vV | sed -n 's/^host: //p')
RUSTC_WRAPPER=$PWD/rustc.sh cargo build --release --locked --quiet --target "$host"
all=$(cd targets && ls | sed 's/\.rs$//')
[ "$target" = all ] && target=$all

for name in $target; do
    corpus=corpus/$name found=artifacts/$name
    mkdir -p "$corpus" "$found"
    python3 seeds.py "$name" "$corpus"
    # Small inputs where the format is small, so that many are tried; up to 4 MiB where sizes are the matter.
    case $name in
        protobuf) length=256 ;;
        npy | records) length=4096 ;;
        config | diffusers | checkpoint) length=16384 ;;
        archives | images) length=4194304 ;;
        *) length=65536 ;;
    esac
    words=dictionaries/$name.dict
    echo "$name"
    # No sanitizer: the readers hold no unsafe code. What is looked for is a panic, a hang of 10 s, one allocation over 64 MiB
    # (an xz window) or 1 GiB in all.
    "target/$host/release/$name" "$corpus" -max_total_time="$seconds" -max_len="$length" -dict="$words" -timeout=10 \
        -rss_limit_mb=1024 -malloc_limit_mb=128 -artifact_prefix="$found/" -print_final_stats=1 -verbosity=1 2>"$found/log" || {
        tail -n 40 "$found/log"
        exit 1
    }
    grep -E 'number_of_executed_units|average_exec_per_sec|peak_rss_mb' "$found/log"
done
