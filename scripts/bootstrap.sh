#!/usr/bin/env bash
# Make the tree ready to work in: a virtual environment with the project installed in place, and, with --display,
# the system libraries that let napari's window open on a virtual screen. Run it as often as you like: what is
# there stays, and a second run takes a moment.
#
#   scripts/bootstrap.sh             enough for the engine, the command line and `make demo`
#   scripts/bootstrap.sh --display   also what the viewer needs; stops where that cannot be had
#
# PYTHON=/path/to/python picks the interpreter, VENV=folder the environment.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

venv=${VENV:-.venv}
display=no
for argument in "$@"; do
    case $argument in
        --display) display=yes ;;
        *) echo "bootstrap: unknown argument '$argument' (known: --display)" >&2; exit 2 ;;
    esac
done

say() { echo "bootstrap: $*"; }
fail() { echo "bootstrap: $*" >&2; exit 1; }

# ---------------------------------------------------------------- Debian packages

# How to run a command as root without asking anybody: prints the prefix, fails where there is no way.
as_root() {
    if [ "$(id -u)" = 0 ]; then
        echo env
    elif command -v sudo >/dev/null && sudo -n true 2>/dev/null; then
        echo sudo -n env
    else
        return 1
    fi
}

# Install Debian packages, or say which command would. Returns 1 where they could not be installed.
apt_install() {
    local root
    if ! command -v apt-get >/dev/null; then
        say "missing: $*, by their Debian names. Install them with your system's own package manager."
        return 1
    fi
    if ! root=$(as_root); then
        say "some system packages are missing, and this user may not install them. Run:"
        say "    sudo apt-get update && sudo apt-get install -y --no-install-recommends $*"
        return 1
    fi
    say "installing $*"
    $root apt-get update -qq || say "apt-get update failed; trying with the package lists that are there"
    $root DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "$@" >/dev/null
}

# Print the Debian packages that a window on a virtual screen lacks, one a line. Libraries are looked for by the name
# they load under, so that one from another source counts as well.
missing_for_display() {
    local soname package known
    known=$( (command -v ldconfig >/dev/null && ldconfig -p || /sbin/ldconfig -p) 2>/dev/null)
    while read -r soname package; do
        grep -qF "$soname " <<<"$known" || echo "$package"
    done <<'LIBRARIES'
libEGL.so.1 libegl1
libEGL_mesa.so.0 libegl-mesa0
libGL.so.1 libgl1
libGLX_mesa.so.0 libglx-mesa0
libOpenGL.so.0 libopengl0
libX11-xcb.so.1 libx11-xcb1
libdbus-1.so.3 libdbus-1-3
libfontconfig.so.1 libfontconfig1
libglib-2.0.so.0 libglib2.0-0
libxcb-cursor.so.0 libxcb-cursor0
libxcb-glx.so.0 libxcb-glx0
libxcb-icccm.so.4 libxcb-icccm4
libxcb-image.so.0 libxcb-image0
libxcb-keysyms.so.1 libxcb-keysyms1
libxcb-randr.so.0 libxcb-randr0
libxcb-render-util.so.0 libxcb-render-util0
libxcb-shape.so.0 libxcb-shape0
libxcb-sync.so.1 libxcb-sync1
libxcb-xfixes.so.0 libxcb-xfixes0
libxcb-xinerama.so.0 libxcb-xinerama0
libxcb-xkb.so.1 libxcb-xkb1
libxkbcommon-x11.so.0 libxkbcommon-x11-0
libxkbcommon.so.0 libxkbcommon0
LIBRARIES
    compgen -G '/usr/lib/*/dri/swrast_dri.so' >/dev/null || compgen -G '/usr/lib/dri/swrast_dri.so' >/dev/null \
        || echo libgl1-mesa-dri
    command -v Xvfb >/dev/null && command -v xvfb-run >/dev/null || echo xvfb
    command -v xauth >/dev/null || echo xauth
    command -v fc-list >/dev/null || echo fontconfig
    compgen -G '/usr/share/fonts/*/*/*.[to]tf' >/dev/null || echo fonts-dejavu-core
}

if [ "$display" = yes ] && [ "$(uname -s)" = Linux ]; then
    mapfile -t packages < <(missing_for_display)
    if [ ${#packages[@]} -gt 0 ]; then
        apt_install "${packages[@]}" || fail "the viewer's tests cannot run without these packages."
    fi
fi

# ---------------------------------------------------------------- Python

new_enough() { "$1" -c 'import sys; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1; }

find_python() {
    local candidate
    for candidate in ${PYTHON:-} python3.11 python3.12 python3.13 python3; do
        if command -v "$candidate" >/dev/null && new_enough "$candidate"; then
            command -v "$candidate"
            return
        fi
    done
    return 1
}

if ! { [ -x "$venv/bin/python" ] && "$venv/bin/python" -m pip --version >/dev/null 2>&1; }; then
    if ! python=$(find_python); then
        apt_install python3 python3-venv || true
        python=$(find_python) || fail "Python 3.11 or newer is needed. Install it, or name one: PYTHON=/path/to/python"
    fi
    if ! "$python" -c 'import ensurepip' >/dev/null 2>&1; then
        minor=$("$python" -c 'import sys; print("python%d.%d" % sys.version_info[:2])')
        apt_install "$minor-venv" || fail "$python cannot make a virtual environment: its module ensurepip is missing."
    fi
    say "making $venv with $("$python" --version)"
    "$python" -m venv --clear "$venv"
fi

# ---------------------------------------------------------------- the project and what it needs

# The stamp holds what decides about the installed packages; while it is unchanged there is nothing to install.
stamp="$venv/bootstrap.stamp"
fingerprint=$(
    "$venv/bin/python" -c 'import hashlib, pathlib, sys
digest = hashlib.sha256(sys.version.encode())
for name in sys.argv[1:]:
    digest.update(pathlib.Path(name).read_bytes())
print(digest.hexdigest())' pyproject.toml constraints.txt scripts/bootstrap.sh
)
if [ "$(cat "$stamp" 2>/dev/null)" != "$fingerprint" ]; then
    constraints=()
    if "$venv/bin/python" -c 'import sys; sys.exit(sys.version_info >= (3, 14))'; then
        constraints=(--constraint constraints.txt)
    fi
    say "installing the project and what it needs into $venv; the first time this downloads several gigabytes"
    "$venv/bin/python" -m pip install --quiet --disable-pip-version-check --retries 5 --timeout 120 \
        "${constraints[@]}" --editable '.[gui,test,dev]'
    echo "$fingerprint" >"$stamp"
fi
say "ready ($("$venv/bin/python" --version), $venv)"
