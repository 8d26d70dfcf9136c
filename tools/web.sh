#!/usr/bin/env bash
# The library in a browser: builds it for wasm32-unknown-unknown, and draws digits in a headless Chromium.
#
#     tools/web.sh prepare    installs what the other two need, with apt, on Debian 12 and later
#     tools/web.sh build      the library alone, without threads and files
#     tools/web.sh smoke      the page of tools/web_smoke: its digits must be those of `gen`
#     tools/web.sh missing    names what `build` (or, after it, `smoke`) lacks here; says nothing where nothing lacks
#
# The compiler is the one at hand where it has the target (rustup target add wasm32-unknown-unknown), else Debian's rustc-web,
# whose packages have no std for this target but its source: cargo builds it first. Everything is built below target/web.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

target=wasm32-unknown-unknown
page=tools/web_smoke
folder=${CARGO_TARGET_DIR:-target}/web
packages=(rustc-web cargo-web rust-web-src lld-14)

die() { printf 'web: %s\n' "$*" >&2; exit 1; }

# Whether the cargo at hand compiles for the target itself.
has_target() {
    local root
    root=$(rustc --print sysroot 2>/dev/null) && [ -d "$root/lib/rustlib/$target/lib" ]
}

# Where a package of Debian has its program, past what else has that name.
of_package() { dpkg -L "$1" 2>/dev/null | grep -m1 "$2"; }

# What is not here of what a command needs.
missing() {
    local package
    if ! has_target; then
        for package in "${packages[@]}"; do
            dpkg -s "$package" >/dev/null 2>&1 || printf '%s ' "$package"
        done
    fi
    if [ "${1:-build}" = smoke ] && ! command -v chromium >/dev/null; then printf 'chromium '; fi
}

require() {
    local lacks
    lacks=$(missing "$1")
    [ -z "$lacks" ] || die "not installed: $lacks(tools/web.sh prepare)"
}

# cargo for the target: web_cargo ARGUMENTS...
web_cargo() {
    if has_target; then
        CARGO_TARGET_DIR=$folder cargo "$@" --target "$target"
        return
    fi
    # The packages' compiler is a stable one, and building std is not: the variable is what allows it.
    RUSTC_BOOTSTRAP=1 RUSTC=$(of_package rustc-web '/bin/rustc$') CARGO_TARGET_DIR=$folder \
        CARGO_TARGET_WASM32_UNKNOWN_UNKNOWN_LINKER=wasm-ld-14 \
        "$(of_package cargo-web '/bin/cargo$')" "$@" -Zbuild-std=std,panic_abort --target "$target"
}

case ${1:-} in
    prepare)
        command -v apt-get >/dev/null || die "this installs with apt; elsewhere: rustup target add $target, and a Chromium"
        sudo=""
        if [ "$(id -u)" != 0 ]; then sudo=sudo; fi
        $sudo apt-get update -qq
        $sudo env DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends "${packages[@]}" chromium
        ;;
    missing) missing "${2:-build}" ;;
    build)
        require build
        web_cargo build --release --locked --package langevin --no-default-features
        ls -l "$folder/$target/release/liblangevin.rlib"
        ;;
    smoke)
        require smoke
        web_cargo build --release --locked --manifest-path "$page/Cargo.toml"
        module=$folder/$target/release/web_smoke.wasm
        CARGO_TARGET_DIR=$folder/host cargo build --locked --quiet --manifest-path "$page/Cargo.toml" --package web-glue
        rm -rf "$folder/page"
        "$folder/host/debug/web-glue" "$module" "$folder/page"
        cp "$page/index.html" "$folder/page"
        cargo run --release --locked --quiet -- sample --seeds 0-3 --sampler dpmpp --steps 10 --eta 0 --out "$folder/native.safetensors"
        ls -l "$folder/page"
        python3 "$page/check.py" "$folder/page" "$folder/native.safetensors"
        ;;
    *) sed -n '2,/^set/{/^set/d;s/^# \{0,1\}//;p}' "$0" >&2; exit 2 ;;
esac
