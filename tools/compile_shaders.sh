#!/usr/bin/env bash
# Has the kernels compiled by the backends' own compilers: HLSL by FXC and DXC under Wine, MSL by clang's C++ front end with a stand-in
# for Apple's headers (tools/metal). Prints what each refuses, and FXC's and DXC's slowest.
#
#     tools/compile_shaders.sh --prepare
#     tools/compile_shaders.sh [TEXTS]
#
# TEXTS is a folder that `LANGEVIN_SHADER_TEXTS=TEXTS cargo test --release --test kernels shaders networks` has filled; without it that
# is done first. --prepare only fetches the compilers (tools/windows/prepare.sh, and clang with apt) and fails where it gets none of them.
# A compiler that is not there is said to be "not run". Of each shader file some variants are compiled, the same ones each time;
# LANGEVIN_ALL_SHADERS=1 takes all.
#
# The exit code is 1 where a compiler refuses a kernel or FXC takes more than 10 s of processor time for one, as it does once a tile is
# unrolled; 3 where no compiler ran.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
windows=$(realpath -m "${LANGEVIN_WINDOWS:-.windows}")
# Variants of a shader file.
some=4
# Milliseconds of processor time.
slow=2000 longest=10000

if [ "${1:-}" = --prepare ]; then
    ready=1
    tools/windows/prepare.sh && ready=0
    command -v clang >/dev/null || DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends clang >/dev/null || true
    command -v clang >/dev/null && ready=0
    exit $ready
fi
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
texts=${1:-}
if [ -z "$texts" ]; then
    texts=$scratch/texts
    mkdir "$texts"
    LANGEVIN_SHADER_TEXTS=$texts cargo test --release --locked --quiet --test kernels shaders networks
fi
texts=$(realpath "$texts")

# chosen EXTENSION: the files to compile, one a line. Names are shader, hash, extension: the first of each shader are a fixed choice.
chosen() {
    find "$texts" -maxdepth 1 -name "*.$1" -printf '%f\n' | LC_ALL=C sort |
        awk -v most="${LANGEVIN_ALL_SHADERS:+1000000}" -v some=$some '
            { shader = $0; sub(/-[0-9a-f]+\.[^-]*$/, "", shader); if (seen[shader]++ < (most ? most : some)) print }'
}

# label FILE: the kernel's label, which is the file's first line.
label() { sed -n '1s|^// ||p' "$texts/$1" | cut -c1-150; }

failed=0 ran=0

# hlsl COMPILER TARGET EXTENSION: by as many processes as there are cores.
hlsl() {
    local compiler=$1 target=$2 part cores pids=() results=$scratch/$1.tsv
    if [ ! -e "$windows/compilers/$compiler/hlsl.exe" ]; then
        printf '%s: not run: tools/windows/prepare.sh has not run\n' "$compiler"
        return
    fi
    chosen "$3" >"$scratch/$compiler.all"
    if [ ! -s "$scratch/$compiler.all" ]; then echo "$compiler: no kernels in $texts"; failed=1; return; fi
    cores=$(nproc)
    for ((part = 0; part < cores; part++)); do
        awk -v part=$part -v cores="$cores" 'NR % cores == part' "$scratch/$compiler.all" >"$scratch/$compiler.$part"
        (cd "$texts" && "$OLDPWD/tools/windows/run.sh" none "$windows/compilers/$compiler/hlsl.exe" "$compiler" "$target" \
            "Z:\\host${scratch//\//\\}\\$compiler.$part" >"$scratch/$compiler.$part.tsv" 2>"$scratch/$compiler.$part.log") &
        pids+=($!)
    done
    for part in "${pids[@]}"; do wait "$part" || true; done
    ran=1
    # Wine has a compiler of FXC's name, in C:\windows; its results would prove nothing.
    if ! grep -q '^# Z:' "$scratch/$compiler".*.tsv || grep -h '^#' "$scratch/$compiler".*.tsv | grep -v '^# Z:'; then
        echo "$compiler: Microsoft's library did not load"; cat "$scratch/$compiler".*.log; failed=1
    fi
    grep -hv '^#' "$scratch/$compiler".*.tsv >"$results" || true
    if [ "$(wc -l <"$results")" != "$(wc -l <"$scratch/$compiler.all")" ]; then
        echo "$compiler: ended before the last kernel"; cat "$scratch/$compiler".*.log; failed=1
    fi
    awk -F'\t' -v name="$compiler" -v target="$target" -v slow=$slow '
        { n++; time += $3; refused += $2 != "ok"; over += $3 > slow }
        END { printf "%s (%s): %d kernels, %d refused, %.0f s of processor time, %d above %.0f s\n", name, target, n, refused, time / 1000, over, slow / 1000 }' "$results"
    awk -F'\t' '$2 != "ok"' "$results" | while IFS=$'\t' read -r file _ _ cause; do printf '  refused: %s: %s\n' "$(label "$file")" "$cause"; done
    sort -t$'\t' -k3,3nr "$results" | sed -n 1,10p | while IFS=$'\t' read -r file _ took _; do printf '  %6d ms  %s\n' "$took" "$(label "$file")"; done
    if awk -F'\t' '$2 != "ok"' "$results" | grep -q .; then failed=1; fi
    if [ "$compiler" = fxc ] && awk -F'\t' -v longest=$longest '$3 > longest' "$results" | grep -q .; then failed=1; fi
}

# metal EXTENSION VERSION: by as many processes as there are cores.
metal() {
    if ! command -v clang >/dev/null; then
        echo "clang: not run: it is not installed"
        return
    fi
    chosen "$1" >"$scratch/metal.all"
    ran=1
    if [ ! -s "$scratch/metal.all" ]; then echo "clang: no kernels of MSL in $texts"; failed=1; return; fi
    # A target that has half as a type, as Metal has it. A number without a suffix is a float in MSL, and a double in C++.
    (cd "$texts" && xargs -a "$scratch/metal.all" -P "$(nproc)" -I FILE sh -c '
        sed -E ":again; s/(^|[^0-9A-Za-z_.])([0-9]+\.[0-9]*(e[-+]?[0-9]+)?)([^0-9A-Za-z_.]|$)/\1\2f\4/; t again" "$2" |
            clang --target=arm64-apple-macos13 -x c++ -std=c++17 -fsyntax-only -Wno-everything -fno-caret-diagnostics -I "$1" - \
                2>"$3/$2.log" || echo "$2"' sh "$OLDPWD/tools/metal" FILE "$scratch" >"$scratch/metal.refused")
    printf 'clang (MSL %s): %d kernels, %d refused\n' "$2" "$(wc -l <"$scratch/metal.all")" "$(wc -l <"$scratch/metal.refused")"
    sed -n 1,20p "$scratch/metal.refused" | while read -r file; do
        printf '  refused: %s: %s\n' "$(label "$file")" "$(grep -m1 'error:' "$scratch/$file.log")"
    done
    if [ -s "$scratch/metal.refused" ]; then failed=1; fi
}

hlsl fxc cs_5_1 51.hlsl
hlsl dxc cs_6_2 62.hlsl
metal 24.metal 2.4
metal 30.metal 3.0
if [ $ran = 0 ]; then exit 3; fi
exit $failed
