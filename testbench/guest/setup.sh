#!/bin/sh
# Fetch what the guest of the VFIO test is made of: a QEMU that has vfio-user-pci (10.1 or later), a Debian kernel and busybox.
#
# Everything comes from Debian packages through apt and is unpacked, not installed: no root, nothing outside of the cache.
#   usage: setup.sh            prints the folder: $XDG_CACHE_HOME/ironwarp/guest
#   IRONWARP_GUEST_MIRROR      Debian mirror (default: the one this machine's apt uses, else deb.debian.org)
# Done once; remove the folder to have it done again. About 250 MB of downloads.
set -eu

ARCH=amd64
SUITE=trixie            # kernel, busybox
QEMU_SUITE=trixie-backports
FORMAT=1                # raise it when the recipe changes

cache=${XDG_CACHE_HOME:-$HOME/.cache}/ironwarp
guest=$cache/guest
stamp=$guest/complete-$FORMAT
fail() { echo "setup.sh: $*" >&2; exit 1; }
say() { echo "setup.sh: $*" >&2; }

if [ -e "$stamp" ]; then echo "$guest"; exit 0; fi
[ "$(uname -m)" = x86_64 ] || fail "the guest is for x86_64 machines only"
for tool in apt-get apt-cache dpkg-deb flock xz; do
    command -v "$tool" >/dev/null || fail "no $tool here: this needs a Debian or a derivative"
done
keys=/usr/share/keyrings/debian-archive-keyring.gpg
[ -r $keys ] || fail "no $keys: install debian-archive-keyring"

mkdir -p "$cache"
exec 9>"$cache/guest.lock"
flock 9
if [ -e "$stamp" ]; then echo "$guest"; exit 0; fi

mirror=${IRONWARP_GUEST_MIRROR:-}
if [ -z "$mirror" ]; then
    mirror=$(apt-get indextargets --format '$(REPO_URI) $(ORIGIN)' 2>/dev/null |
        awk '$2 == "Debian" && $1 !~ /security/ { print $1; exit }')
fi
: "${mirror:=http://deb.debian.org/debian}"

# An apt of our own: its own sources, state and cache, and no package installed, so that it fetches all dependencies.
work=$guest.new
rm -rf "$work"
mkdir -p "$work/apt/lists/partial" "$work/apt/archives/partial" "$work/apt/preferences.d" "$work/tree"
: >"$work/apt/status"
printf 'deb [signed-by=%s arch=%s] %s %s main\n' \
    $keys $ARCH "$mirror" $SUITE $keys $ARCH "$mirror" $QEMU_SUITE >"$work/apt/sources.list"
own="-q -o Dir::State=$work/apt -o Dir::State::status=$work/apt/status -o Dir::State::lists=$work/apt/lists
 -o Dir::Cache=$work/apt -o Dir::Cache::archives=$work/apt/archives -o Dir::Etc::sourcelist=$work/apt/sources.list
 -o Dir::Etc::sourceparts=/dev/null -o Dir::Etc::preferencesparts=$work/apt/preferences.d
 -o APT::Architecture=$ARCH -o APT::Architectures::=$ARCH -o APT::Install-Recommends=false
 -o APT::Sandbox::User=root -o Acquire::Languages=none -o Dpkg::Use-Pty=0 -o APT::Update::Post-Invoke::="
# shellcheck disable=SC2086 # the options are words without blanks in them
apt_own() { tool=$1; shift; "$tool" $own "$@"; }

say "reading the package lists of $SUITE and $QEMU_SUITE"
apt_own apt-get update >"$work/log" 2>&1 || { cat "$work/log" >&2; fail "cannot read the package lists"; }
kernel=$(apt_own apt-cache depends linux-image-cloud-$ARCH |
    awk '$1 == "Depends:" && $2 ~ /^linux-image-/ { print $2; exit }')
[ -n "$kernel" ] || fail "$SUITE names no cloud kernel"
say "fetching QEMU with what it needs, busybox and $kernel"
apt_own apt-get install -y --download-only -t $QEMU_SUITE qemu-system-x86 >>"$work/log" 2>&1 ||
    { tail -n 20 "$work/log" >&2; fail "cannot fetch QEMU"; }
(cd "$work/apt/archives" && apt_own apt-get download busybox-static "$kernel") >>"$work/log" 2>&1 ||
    { tail -n 20 "$work/log" >&2; fail "cannot fetch busybox or the kernel"; }

say "unpacking"
for package in "$work"/apt/archives/*.deb; do
    dpkg-deb -x "$package" "$work/tree"
done
rm -rf "$work/apt"
root=$work/tree
# Debian's libraries are all below /usr; a package from before that merge would hide some.
for old in lib lib64; do
    if [ -d "$root/$old" ] && [ ! -L "$root/$old" ]; then cp -a "$root/$old/." "$root/usr/$old/"; rm -rf "${root:?}/$old"; fi
done

mkdir "$work/modules"
cp "$root"/boot/vmlinuz-* "$work/vmlinuz"
for module in irqbypass vfio vfio_iommu_type1 vfio-pci-core vfio-pci; do
    file=$(find "$root" -name "$module.ko*" | head -n 1)
    case $file in
        *.ko.xz) xz -dc "$file" >"$work/modules/$module.ko" ;;
        *.ko) cp "$file" "$work/modules/$module.ko" ;;
        *) fail "kernel $kernel has no module $module" ;;
    esac
done
cp "$(find "$root" -path '*bin/busybox' | head -n 1)" "$work/busybox"
rm -rf "$root"/usr/lib/modules "$root"/usr/share/doc "$root"/usr/share/locale "$root"/usr/share/man "$root"/boot

cat >"$work/qemu" <<'RUN'
#!/bin/sh
# QEMU of the tree beside this file, with the libraries of that tree.
here=$(dirname "$(readlink -f "$0")")/tree/usr
exec "$here/lib64/ld-linux-x86-64.so.2" --library-path "$here/lib/x86_64-linux-gnu:$here/lib/x86_64-linux-gnu/pulseaudio" \
    "$here/bin/qemu-system-x86_64" -L "$here/share/qemu" -L "$here/share/seabios" "$@"
RUN
chmod +x "$work/qemu"
"$work/qemu" -device help 2>/dev/null | grep -q '"vfio-user-pci"' || fail "this QEMU has no vfio-user-pci"

rm -rf "$guest"
mv "$work" "$guest"
: >"$stamp"
say "done: $(du -sh "$guest" | cut -f 1) in $guest"
echo "$guest"
