# What the scripts beside it share (sh, sourced): the cache, and Debian's suite sid as packages that are unpacked rather
# than installed. The mirror is the one this machine's apt already uses; Debian's keyring checks what comes from it.

# locked DIRECTORY: takes the directory's lock until the script ends. One fetch at a time; whoever waited finds it done.
locked() {
    exec 9>"$1/.lock"
    flock 9
}

# newest_cached DIRECTORY SUFFIX: prints the newest version in it whose name ends so, or fails. A cached version serves
# until it is removed: tests do not change under the hands of who runs them because sid moved on.
newest_cached() {
    newest=$(find "$1" -mindepth 1 -maxdepth 1 -type d -name "[!.]*$2" -printf '%f\n' | sort -V | tail -n 1)
    [ -n "$newest" ] && printf '%s\n' "$1/$newest"
}

# workplace DIRECTORY: makes a directory in it, which must be locked, that goes when the script ends, puts its name into
# `work`, and lets apt know sid there, as on a machine with no package at all.
workplace() {
    keyring=/usr/share/keyrings/debian-archive-keyring.gpg
    [ -r "$keyring" ] || { echo "$keyring is missing: install debian-archive-keyring" >&2; exit 1; }
    codename=$(. /etc/os-release && echo "$VERSION_CODENAME")
    mirror=$(apt-get indextargets --format '$(CREATED_BY) $(RELEASE) $(COMPONENT) $(REPO_URI)' |
        sed -n "s/^Packages $codename main //p" | head -n 1)
    [ -n "$mirror" ] || { echo "apt has no source for $codename main to take the mirror from" >&2; exit 1; }
    # What a run has left that was killed.
    rm -rf "$1"/.fetch.*
    work=$(mktemp -d "$1/.fetch.XXXXXX")
    trap 'rm -rf "$work"' EXIT
    trap 'exit 1' HUP INT TERM
    mkdir -p "$work/lists/partial" "$work/archives/partial" "$work/parts"
    : >"$work/status"
    echo "deb [signed-by=$keyring] $mirror sid main" >"$work/sources.list"
    apt get update >&2
}

# apt TOOL COMMAND…: apt-get or apt-cache in the workplace; packages to install are downloaded to $work/archives.
apt() {
    tool=$1
    shift
    "apt-$tool" -q \
        -o Dir::State="$work" -o Dir::State::lists="$work/lists" -o Dir::State::status="$work/status" \
        -o Dir::Cache="$work" -o Dir::Cache::archives="$work/archives" \
        -o Dir::Etc::sourcelist="$work/sources.list" -o Dir::Etc::sourceparts="$work/parts" \
        -o Dir::Etc::preferences="$work/none" -o Dir::Etc::preferencesparts="$work/parts" \
        -o APT::Sandbox::User= -o Acquire::Languages=none \
        -o Acquire::IndexTargets::deb::DEP-11::DefaultEnabled=false "$@"
}
