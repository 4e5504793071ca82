# Shared by the scripts beside it (bash): messages, stages with their times, root, and what a machine must have.
# Nothing here is built or installed inside the clone but target/; caches live in $YUSUR_CACHE.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

export YUSUR_CACHE=${YUSUR_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/yusur}
mkdir -p "$YUSUR_CACHE"

# Colour only where someone is looking.
if [ -t 1 ]; then bold=$'\e[1m' red=$'\e[31m' plain=$'\e[0m'; else bold='' red='' plain=''; fi
say() { printf '%s\n' "${bold}$*${plain}"; }
die() { printf '%s\n' "${red}$*${plain}" >&2; exit 1; }

# --- stages -----------------------------------------------------------------------------------------------------------

declare -a stage_names=() stage_seconds=()

# stage NAME COMMAND…: runs the command, remembers how long it took; where it fails, says so, how to run it again, and stops.
stage() {
  local name=$1 began=$SECONDS status=0
  shift
  printf "\n"; say "==> $name"
  # A subshell of its own keeps `set -e` alive inside the command, which `if` or `||` would switch off.
  set +e
  (set -e; "$@")
  status=$?
  set -e
  stage_names+=("$name") stage_seconds+=($((SECONDS - began)))
  if [ "$status" -ne 0 ]; then
    stage_table
    die "Stage '$name' failed (exit status $status); its output is above. Run it again: ${rerun:-$0 $name}"
  fi
}

stage_table() {
  local i total=0
  printf "\n"; say "stage                   time"
  for i in "${!stage_names[@]}"; do
    printf '%-16s %4d min %02d s\n' "${stage_names[i]}" $((stage_seconds[i] / 60)) $((stage_seconds[i] % 60))
    total=$((total + stage_seconds[i]))
  done
  printf '%-16s %4d min %02d s\n' total $((total / 60)) $((total % 60))
}

# --- the machine ------------------------------------------------------------------------------------------------------

# Network namespaces, Open vSwitch and apt need root. As root: run; otherwise through sudo, keeping the environment.
as_root() { scripts/as-root "$@"; }

# need_packages PACKAGE…: installs with apt what dpkg does not know as installed. The services some of them start
# do not matter: everything we run has its own directories, sockets and network namespaces.
need_packages() {
  command -v dpkg-query >/dev/null || die "This needs Debian 12 or newer (dpkg and apt). Elsewhere, install by hand: $*"
  local package missing=()
  for package in "$@"; do
    [ "$(dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null)" = installed ] || missing+=("$package")
  done
  [ ${#missing[@]} -gt 0 ] || return 0
  say "installing: ${missing[*]}"
  as_root env DEBIAN_FRONTEND=noninteractive apt-get update -q </dev/null
  as_root env DEBIAN_FRONTEND=noninteractive apt-get install -q -y --no-install-recommends "${missing[@]}" </dev/null
}

need_rust() {
  # rustup's own place counts even where the shell that called us has not read ~/.cargo/env.
  command -v cargo >/dev/null || PATH=$HOME/.cargo/bin:$PATH
  command -v cargo >/dev/null || die "Rust is missing. Install it from https://rustup.rs, then run this again."
}

# need_component COMPONENT CARGO-SUBCOMMAND
need_component() {
  cargo "$2" --version >/dev/null 2>&1 && return
  command -v rustup >/dev/null || die "cargo $2 is missing, and there is no rustup to add it: install $1 for your toolchain."
  say "adding the Rust component $1"
  rustup component add "$1"
}

# need_tool CRATE VERSION: a cargo tool, built once into the cache; its directory of programs is put on PATH.
need_tool() {
  local dir=$YUSUR_CACHE/$1-$2
  if [ ! -x "$dir/bin/$1" ]; then
    say "building $1 $2 (once; kept in $dir)"
    CARGO_TARGET_DIR=$dir/build cargo install --locked --quiet --root "$dir" "$1@$2"
    rm -rf "$dir/build"
  fi
  PATH=$dir/bin:$PATH
}

# C and C++ compilers for the few crates that have such code in them; OVN with what its lab needs; what tests of the
# Kubernetes side and of newer OVN schemas fetch and build their parts with; what builds the guest's kernel.
build_packages=(gcc g++ libc6-dev make git ca-certificates)
lab_packages=(ovn-central ovn-host openvswitch-switch iproute2 ethtool util-linux)
test_packages=(curl openssl python3 python3-pip debian-archive-keyring)
kernel_packages=(flex bison bc xz-utils binutils)
