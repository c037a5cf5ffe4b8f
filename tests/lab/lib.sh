# Shared by the lab's scripts, tests/run and packaging/quickstart. Sourced by bash, never run.
#
#   . "$checkout/tests/lab/lib.sh"
#
# sets $checkout, $lab and $lab_id; use_cargo puts a cargo that is new enough on PATH, and give_target_back
# is for the end of what runs under sudo.

checkout=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd -P)

# Everything the lab makes lives here, so that deleting target/ deletes the lab.
lab=$checkout/target/lab

# Names that the whole host shares (cgroup, network namespace, machine name) carry this, so that two
# checkouts on one host, say a developer's and a CI job's, never meet.
lab_id=$(printf %s "$checkout" | sha256sum | cut -c1-6)

say() { printf '%s\n' "$*" >&2; }

die() {
    say "${0##*/}: $*"
    exit 1
}

need_root() {
    [ "$(id -u)" = 0 ] || die "needs root (it boots a machine): run it with sudo"
}

# The oldest Rust that builds this crate, as Cargo.toml says it.
rust_needed() {
    sed -n 's/^rust-version *= *"\(.*\)"/\1/p' "$checkout/Cargo.toml"
}

# at_least HAVE WANT: is version HAVE not older than WANT?
at_least() {
    [ "$(printf '%s\n%s\n' "$2" "$1" | sort -V | head -n 1)" = "$2" ]
}

# Is the cargo on PATH new enough, and does it have what the tests call?
rust_is_enough() {
    local have
    have=$(cd / && rustc --version 2>/dev/null | cut -d' ' -f2) || return 1
    [ -n "$have" ] && at_least "${have%%-*}" "$(rust_needed)" &&
        cargo fmt --version >/dev/null 2>&1 && cargo clippy --version >/dev/null 2>&1
}

# Puts a cargo that is enough on PATH, or fails. sudo resets PATH and HOME, so the cargo of the person who
# typed it has to be looked for. It is used where it lies, but with root's own CARGO_HOME: root must
# leave no files in a person's cache.
use_cargo() {
    local home dir
    export PATH=$checkout/target/tools/bin:$PATH
    home=$(getent passwd "${SUDO_USER:-root}" | cut -d: -f6)
    for dir in "" "${CARGO_HOME:-/root/.cargo}/bin" /root/.cargo/bin "$home/.cargo/bin" /usr/local/cargo/bin; do
        try_cargo "$dir" "" && return 0
        # Where rustup's default is too old, or there is none, prepare has installed this one beside it.
        try_cargo "$dir" stable && return 0
    done
    return 1
}

# try_cargo DIR TOOLCHAIN: keeps PATH, RUSTUP_HOME and RUSTUP_TOOLCHAIN only if that makes a cargo that is enough.
try_cargo() {
    local path=$PATH rustup=${RUSTUP_HOME:-} toolchain=${RUSTUP_TOOLCHAIN:-}
    if [ -n "$1" ]; then
        [ -x "$1/cargo" ] || return 1
        PATH=$1:$PATH
        # A cargo that is rustup's proxy takes the place of its toolchains from HOME, which sudo changed.
        [ -n "$rustup" ] || [ ! -d "${1%/.cargo/bin}/.rustup" ] || export RUSTUP_HOME="${1%/.cargo/bin}/.rustup"
    fi
    [ -z "$2" ] || export RUSTUP_TOOLCHAIN=$2
    hash -r
    rust_is_enough && return 0
    PATH=$path RUSTUP_HOME=$rustup RUSTUP_TOOLCHAIN=$toolchain
    [ -n "$rustup" ] || unset RUSTUP_HOME
    [ -n "$toolchain" ] || unset RUSTUP_TOOLCHAIN
    return 1
}

# Under sudo the build must not lock the person who typed it out of their own target/. (The lab in it is root's.)
give_target_back() {
    [ -n "${SUDO_UID:-}" ] && [ "$(stat -c %u "$checkout")" = "$SUDO_UID" ] && [ -d "$checkout/target" ] || return 0
    local owner=$SUDO_UID:${SUDO_GID:-$SUDO_UID}
    find "$checkout/target" -path "$checkout/target/lab" -prune -o -user root -exec chown -h "$owner" {} +
    chown "$owner" "$checkout/Cargo.lock"
}
