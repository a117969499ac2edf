#!/usr/bin/env bash
# Makes a bare Debian system and runs both commands of the README in it as an ordinary user, to see whether the project
# installs on a machine that has nothing. The system has Python and root certificates: no pip, compiler, libGL or git.
#
#   sudo bash scripts/fresh_machine.sh RELEASE [FOLDER]
#
# RELEASE is Debian's name: bookworm (12), trixie (13), sid. The system is made in FOLDER (default: a temporary one),
# which takes about 8 GB and is deleted at the end. Needs root and debootstrap here, and nothing of either in there.
#
#   MIRROR=URL        where debootstrap gets its packages
#   PIP_CACHE=FOLDER  keep pip's downloads there for the next time; it is given to the system's user
#   COMMANDS=LINES    what to run instead, one command a line
#   KEEP=1            do not delete the system
set -euo pipefail

release=${1:?usage: fresh_machine.sh RELEASE [FOLDER]}
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
system=${2:-$(mktemp -d)}
user=visitor
commands=${COMMANDS:-'bash scripts/quickstart.sh
bash scripts/run_tests.sh'}

[ "$(id -u)" = 0 ] || { echo 'fresh_machine.sh: debootstrap and chroot need root' >&2; exit 2; }
command -v debootstrap > /dev/null || { echo 'fresh_machine.sh: debootstrap is not installed' >&2; exit 2; }

clean_up() {
    local place
    for place in "home/$user/.cache/pip" dev/shm proc; do
        if mountpoint -q "$system/$place"; then umount "$system/$place"; fi
    done
    if [ -z "${KEEP:-}" ]; then rm -rf --one-file-system "$system"; fi
}
trap clean_up EXIT

if [ ! -x "$system/usr/bin/python3" ]; then
    echo "== debootstrap $release"
    debootstrap --variant=minbase --include=python3,ca-certificates "$release" "$system" \
        "${MIRROR:-http://deb.debian.org/debian}" > "$system.log" 2>&1 || { tail "$system.log" >&2; exit 2; }
    rm "$system.log"
fi
mount -t proc proc "$system/proc"
mount -t tmpfs -o mode=1777 tmpfs "$system/dev/shm"
cp /etc/resolv.conf "$system/etc/"
[ -e "$system/etc/hosts" ] || echo '127.0.0.1 localhost' > "$system/etc/hosts"  # debootstrap 12 leaves it out
if compgen -G '/usr/local/share/ca-certificates/*.crt' > /dev/null; then  # a network with an authority of its own
    cp /usr/local/share/ca-certificates/*.crt "$system/usr/local/share/ca-certificates/"
    chroot "$system" update-ca-certificates > /dev/null 2>&1
    certificates=/etc/ssl/certs/ca-certificates.crt
fi

chroot "$system" useradd --create-home --shell /bin/bash "$user" 2> /dev/null || true
home="$system/home/$user"
rm -rf "$home/project"
mkdir -p "$home/project" "$home/.cache/pip"
git -C "$root" ls-files -z | tar -C "$root" --null --files-from=- -cf - | tar -C "$home/project" -xf -
if [ -n "${PIP_CACHE:-}" ]; then
    mkdir -p "$PIP_CACHE"
    mount --bind "$PIP_CACHE" "$home/.cache/pip"
fi
chroot "$system" chown -R "$user:" "/home/$user"

as_user() {
    chroot "$system" su - "$user" -c "export LANG=C.UTF-8 ${certificates:+PIP_CERT=$certificates}; cd project; $1" < /dev/null
}

echo "== the bare system"
as_user '. /etc/os-release; echo "$PRETTY_NAME, $(python3 --version), user $(id -un)"
for name in pip3 cc gcc git libGL.so.1 libgthread-2.0.so.0; do
    if command -v $name > /dev/null || ls /usr/lib/*/$name > /dev/null 2>&1; then echo "  has $name"; else echo "  no $name"; fi
done'
while IFS= read -r command; do
    echo "== $command"
    SECONDS=0
    as_user "$command" || { echo "== FAILED with $? after $SECONDS s: $command"; exit 1; }
    echo "== passed in $SECONDS s: $command"
done <<< "$commands"
