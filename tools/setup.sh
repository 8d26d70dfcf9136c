#!/bin/sh
# Makes sure that a Vulkan driver answers. Does nothing, and says nothing, where one does; else installs Mesa's
# software driver (lavapipe) and the Vulkan loader with the system's package manager. Run as `sh tools/setup.sh`.
set -eu

say() { printf 'setup: %s\n' "$*" >&2; }

# Where a bare library name may be: the linker's cache, and folders for systems without one.
library_exists() {
    case $1 in /*) [ -e "$1" ]; return ;; esac
    for ldconfig in ldconfig /sbin/ldconfig /usr/sbin/ldconfig; do
        command -v "$ldconfig" >/dev/null 2>&1 || continue
        if "$ldconfig" -p 2>/dev/null | grep -F "$1 " >/dev/null; then return 0; fi
    done
    old_ifs=$IFS
    IFS=:
    for dir in ${LD_LIBRARY_PATH:-} /usr/local/lib /usr/lib /usr/lib64 /lib /lib64 /run/opengl-driver/lib; do
        if [ -n "$dir" ] && [ -e "$dir/$1" ]; then IFS=$old_ifs; return 0; fi
    done
    IFS=$old_ifs
    return 1
}

# The driver manifests that the loader would read, one a line, by the loader's own rule: VK_DRIVER_FILES (once
# VK_ICD_FILENAMES) replaces every search path.
manifests() {
    only=${VK_DRIVER_FILES:-${VK_ICD_FILENAMES:-}}
    if [ -n "$only" ]; then
        printf '%s\n' "$only" | tr ':' '\n'
        return
    fi
    { printf '%s\n' "${XDG_CONFIG_HOME:-${HOME:-/}/.config}" "${XDG_CONFIG_DIRS:-/etc/xdg}" /etc /usr/local/etc \
        "${XDG_DATA_HOME:-${HOME:-/}/.local/share}" "${XDG_DATA_DIRS:-/usr/local/share:/usr/share}" /usr/local/share /usr/share \
        /run/opengl-driver/share; } | tr ':' '\n' | while read -r dir; do
        [ -n "$dir" ] || continue
        for file in "$dir"/vulkan/icd.d/*.json; do printf '%s\n' "$file"; done
    done
    printf '%s\n' "${VK_ADD_DRIVER_FILES:-}" | tr ':' '\n'
}

# A device that a hardware driver could open.
gpu_node() {
    for node in /dev/dri/renderD* /dev/nvidiactl /dev/dxg; do
        if [ -r "$node" ] && [ -w "$node" ]; then return 0; fi
    done
    return 1
}

# Whether some manifest names a library that is there and that has something to drive: a software driver always has.
driver_answers() {
    library_exists libvulkan.so.1 || return 1
    # Where vulkaninfo is installed, it knows.
    if command -v vulkaninfo >/dev/null 2>&1; then
        if vulkaninfo --summary 2>/dev/null | grep deviceName >/dev/null; then return 0; fi
        return 1
    fi
    manifests | {
        while read -r manifest; do
            [ -f "$manifest" ] || continue
            library=$(sed -n 's/.*"library_path"[^"]*"\([^"]*\)".*/\1/p' "$manifest")
            case $library in
                '') continue ;;
                /*) ;;
                */*) library=$(dirname "$manifest")/$library ;;
            esac
            library_exists "$library" || continue
            case $library in *lvp* | *swiftshader*) exit 0 ;; esac
            if gpu_node; then exit 0; fi
        done
        exit 1
    }
}

case $(uname -s) in
    Darwin | MINGW* | MSYS* | CYGWIN*) exit 0 ;; # Metal and DX12 come with the system.
esac
if driver_answers; then exit 0; fi

by_hand="install a Vulkan driver by hand, then type the command again:
    Debian, Ubuntu   apt-get install libvulkan1 mesa-vulkan-drivers
    Fedora           dnf install vulkan-loader mesa-vulkan-drivers
    Arch             pacman -S vulkan-icd-loader vulkan-swrast
or the driver of your GPU's maker"

if [ -n "${VK_DRIVER_FILES:-${VK_ICD_FILENAMES:-}}" ] && library_exists libvulkan.so.1; then
    say "VK_DRIVER_FILES or VK_ICD_FILENAMES names no driver that answers: ${VK_DRIVER_FILES:-$VK_ICD_FILENAMES}; unset it or mend the path"
    exit 1
fi

# Runs a command as root.
root() { if [ "$(id -u)" = 0 ]; then "$@"; else sudo "$@"; fi; }

# A fresh machine has no package lists. A third party's broken source must not stop us: the install decides.
install_apt() {
    root apt-get update || true
    root env DEBIAN_FRONTEND=noninteractive apt-get -o DPkg::Lock::Timeout=120 install -y --no-install-recommends "$@"
}

install_dnf() { root dnf install -y "$@"; }

# Refreshing the lists without an upgrade is not pacman's way, so only where the lists at hand do not serve.
install_pacman() { root pacman -S --noconfirm --needed "$@" || root pacman -Sy --noconfirm --needed "$@"; }

if command -v apt-get >/dev/null 2>&1; then
    install=install_apt
    set -- libvulkan1 mesa-vulkan-drivers
elif command -v dnf >/dev/null 2>&1; then
    install=install_dnf
    set -- vulkan-loader mesa-vulkan-drivers
elif command -v pacman >/dev/null 2>&1; then
    install=install_pacman
    set -- vulkan-icd-loader vulkan-swrast
else
    say "no Vulkan driver answers, and neither apt-get, dnf nor pacman is here; $by_hand"
    exit 1
fi
if [ "$(id -u)" != 0 ] && ! command -v sudo >/dev/null 2>&1; then
    say "no Vulkan driver answers; installing one needs root, and there is no sudo; $by_hand"
    exit 1
fi

say "no GPU driver answers: installing a software Vulkan driver ($*)"
log=$(mktemp)
trap 'rm -f "$log"' EXIT
if ! $install "$@" >"$log" 2>&1; then
    tail -n 12 "$log" >&2
    say "the package manager could not install $* (its last words are above; is this machine online?); $by_hand"
    exit 1
fi
if ! driver_answers; then
    say "$* installed, and still no Vulkan driver answers; $by_hand"
    exit 1
fi
