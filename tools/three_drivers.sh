#!/usr/bin/env bash
# Runs the tests `kernels` and `goldens` on three software Vulkan drivers side by side, and prints a table.
#
#     tools/three_drivers.sh [--prepare] [CATEGORIES] [FILTER]
#
# CATEGORIES of the golden data (default: ops,blocks), FILTER of the test names of `kernels` (default: all).
# --prepare only fetches the drivers. For x86-64 Debian 12 and its kin.
#
# The drivers are unpacked into .drivers/ and never installed: Mesa of Debian 12, Mesa of its backports, and the
# SwiftShader that Debian's Chromium carries. Each has a file to be read into a shell: `. .drivers/mesa25.env`.
# LANGEVIN_DRIVERS names another folder.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

drivers=(mesa22 mesa25 swiftshader)
# What vulkaninfo must say of each, so that no driver stands in for another.
declare -A sign=([mesa22]="Mesa 22." [mesa25]="Mesa 25." [swiftshader]="SwiftShader")
folder=$(realpath -m "${LANGEVIN_DRIVERS:-.drivers}")
libraries=usr/lib/x86_64-linux-gnu

die() { printf 'three_drivers: %s\n' "$*" >&2; exit 1; }

# A package manager's state of our own, with this system's mirror and its way to reach it, so that an added source
# changes nothing outside the folder.
private_apt() {
    local mirror keyring=/usr/share/keyrings/debian-archive-keyring.gpg signed=""
    # shellcheck disable=SC2016
    mirror=$(apt-get indextargets --format '$(REPO_URI)' 'Created-By: Packages' 'Label: Debian' | sed -n 1p)
    [ -n "$mirror" ] || die "apt knows no Debian mirror (apt-get update, once, may mend it)"
    [ -e "$keyring" ] && signed="[signed-by=$keyring]"
    mkdir -p "$folder"/apt/{lists/partial,cache/archives/partial,none}
    {
        apt-config dump | grep '^Acquire' || true
        cat <<END
Dir::Etc::main "/dev/null";
Dir::Etc::parts "$folder/apt/none";
Dir::Etc::sourcelist "$folder/apt/sources.list";
Dir::Etc::sourceparts "$folder/apt/none";
Dir::Etc::preferences "/dev/null";
Dir::Etc::preferencesparts "$folder/apt/none";
Dir::State::lists "$folder/apt/lists";
Dir::Cache "$folder/apt/cache";
Debug::NoLocking "1";
END
        # Root's apt would drop to a user who may not write here.
        if [ "$(id -u)" = 0 ]; then echo 'APT::Sandbox::User "root";'; fi
    } >"$folder/apt/apt.conf"
    printf "deb $signed $mirror %s main\n" bookworm bookworm-backports >"$folder/apt/sources.list"
    export APT_CONFIG=$folder/apt/apt.conf
    apt-get update -qq
}

# unpack PACKAGE INTO: from the suite that PACKAGE names after its slash.
unpack() {
    local scratch
    scratch=$(mktemp -d -p "$folder")
    (cd "$scratch" && apt-get download -qq "$1") || die "$1 could not be downloaded"
    dpkg -x "$scratch"/*.deb "$folder/$2"
    rm -rf "$scratch"
}

# manifest FILE LIBRARY: the loader's JSON with the library at its place here.
manifest() { sed -i "s|\"library_path\": *\"[^\"]*\"|\"library_path\": \"$2\"|" "$1"; }

# env_file DRIVER MANIFEST LIBRARY_FOLDERS
env_file() {
    cat >"$folder/$1.env" <<END
export VK_DRIVER_FILES="$2"
export VK_ICD_FILENAMES="$2"
export LD_LIBRARY_PATH="$3\${LD_LIBRARY_PATH:+:\$LD_LIBRARY_PATH}"
END
}

prepare() {
    [ "$(dpkg --print-architecture)" = amd64 ] || die "the packages are those of amd64"
    mkdir -p "$folder"
    private_apt
    local name suite icd
    unpack libllvm15/bookworm llvm15
    for name in mesa22 mesa25; do
        suite=bookworm
        [ $name = mesa25 ] && suite=bookworm-backports
        unpack mesa-vulkan-drivers/$suite $name
        unpack libdrm2/$suite $name
        icd=$(find "$folder/$name/usr/share/vulkan/icd.d" -name 'lvp_icd*.json')
        manifest "$icd" "$folder/$name/$libraries/libvulkan_lvp.so"
        env_file $name "$icd" "$folder/$name/$libraries:$folder/llvm15/$libraries"
    done
    unpack chromium-common/bookworm chromium
    mkdir -p "$folder/swiftshader"
    cp "$folder"/chromium/usr/lib/chromium/{libvk_swiftshader.so,vk_swiftshader_icd.json} "$folder/swiftshader/"
    rm -rf "$folder/chromium"
    manifest "$folder/swiftshader/vk_swiftshader_icd.json" "$folder/swiftshader/libvk_swiftshader.so"
    env_file swiftshader "$folder/swiftshader/vk_swiftshader_icd.json" "$folder/swiftshader"
    unpack vulkan-tools/bookworm tools
    unset APT_CONFIG
}

# device DRIVER: what the loader finds with this driver's environment, by vulkaninfo; it must be that driver alone.
device() {
    (
        # shellcheck disable=SC1090
        . "$folder/$1.env"
        local found library missing
        library=$(sed -n 's/.*"library_path"[^"]*"\([^"]*\)".*/\1/p' "$VK_DRIVER_FILES")
        missing=$(ldd "$library" | sed -n 's/^\s*\(.*\) => not found/\1/p' | tr '\n' ' ')
        [ -z "$missing" ] || die "$1 lacks $missing(apt-get install mesa-vulkan-drivers brings them)"
        found=$("$folder/tools/usr/bin/vulkaninfo" --summary 2>/dev/null || true)
        [ "$(grep -c deviceName <<<"$found")" = 1 ] || die "$1: one device is wanted, vulkaninfo found: ${found:-none}"
        found=$(sed -n 's/^\s*\(deviceName\|driverInfo\)\s*= //p' <<<"$found" | sed '/^$/d' | paste -sd '|' | sed 's/|/: /')
        case $found in *"${sign[$1]}"*) printf '%s\n' "$found" ;; *) die "$1 loaded another driver: $found" ;; esac
    )
}

# counts LOG: passed and failed by the closing line of either runner; a run that ended without one has crashed.
counts() {
    local line
    line=$(grep -E '^(test result:|goldens:) ' "$1" | tail -n 1) || true
    if [[ $line =~ ([0-9]+)\ passed[,\;]\ ([0-9]+)\ failed ]]; then
        printf '%s passed, %s failed' "${BASH_REMATCH[1]}" "${BASH_REMATCH[2]}"
    else
        printf 'no closing line'
    fi
}

only_prepare=
if [ "${1:-}" = --prepare ]; then only_prepare=1; shift; fi
categories=${1:-ops,blocks}
filter=${2:-}

for driver in "${drivers[@]}"; do
    if [ ! -e "$folder/$driver.env" ]; then prepare; break; fi
done
for driver in "${drivers[@]}"; do
    found=$(device "$driver")
    printf '%-12s %s\n' "$driver" "$found"
done
[ -z "$only_prepare" ] || exit 0

if [ -z "${LANGEVIN_GOLDENS:-}" ] && [ -d ../shared/goldens ]; then
    LANGEVIN_GOLDENS=$(realpath ../shared/goldens)
    export LANGEVIN_GOLDENS
fi
unset LANGEVIN_ALLOW_NO_GPU
export LANGEVIN_GOLDENS_ONLY=$categories
# The programs are built once and kept, so that all drivers run the same one.
built=$(cargo test --release --test kernels --test goldens --no-run --message-format=json-render-diagnostics)
for test in kernels goldens; do
    program=$(sed -n "s|.*\"executable\":\"\([^\"]*/$test-[^\"]*\)\".*|\1|p" <<<"$built")
    cp "$program" "$folder/$test"
done

failed=0
rows=()
for driver in "${drivers[@]}"; do
    row=$(printf '%-12s' "$driver")
    for test in kernels goldens; do
        log=$folder/$driver.$test.log
        printf '==> %s on %s\n' "$test" "$driver"
        arguments=()
        if [ $test = kernels ] && [ -n "$filter" ]; then arguments=("$filter"); fi
        start=$SECONDS
        # shellcheck disable=SC1090
        if ! (. "$folder/$driver.env" && "$folder/$test" "${arguments[@]}") 2>&1 | tee "$log"; then failed=1; fi
        outcome=$(counts "$log")
        # A filter or a folder that matches nothing proves nothing.
        case $outcome in [1-9]*) ;; *) failed=1 ;; esac
        row+=$(printf ' | %-24s %5d s' "$outcome" $((SECONDS - start)))
    done
    rows+=("$row")
done

printf '\n%-12s | %-32s | %-32s\n' driver kernels "goldens ($categories)"
printf '%s\n' "${rows[@]}"
exit $failed
