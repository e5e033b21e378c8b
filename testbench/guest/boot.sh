#!/bin/sh
# Boot a guest whose PCI devices are those behind vfio-user sockets, bind them to vfio-pci, and run a command in it.
#   usage: boot.sh BINARY SOCKET[,SOCKET..] ARGUMENT...
# BINARY (the ironwarp command) runs in the guest with these arguments; the word DEVICES in them becomes
# vfio:ADDRESS,vfio:ADDRESS.. in the order of the sockets. The guest's console is printed; the exit status is the command's.
#   IRONWARP_GUEST_ACCEL   tcg (default: emulation works everywhere) or kvm
set -eu

fail() { echo "boot.sh: $*" >&2; exit 99; }
[ $# -ge 2 ] || fail "usage: boot.sh BINARY SOCKET[,SOCKET..] ARGUMENT..."
guest=$("$(dirname "$0")/setup.sh")
binary=$1
sockets=$2
accel=${IRONWARP_GUEST_ACCEL:-tcg}
shift 2

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
trap 'exit 98' INT TERM
root=$work/root
mkdir -p "$root/bin" "$root/proc" "$root/sys" "$root/dev" "$root/mod" "$root/tmp"
cp "$guest/busybox" "$root/bin/busybox"
cp "$guest"/modules/*.ko "$root/mod/"
cp "$binary" "$root/bin/ironwarp"
strip --strip-debug "$root/bin/ironwarp" 2>/dev/null || true
# A dynamically linked binary gets this machine's libraries.
for library in $(ldd "$binary" 2>/dev/null | grep -o '/[^ ]*'); do
    mkdir -p "$root$(dirname "$library")"
    cp -L "$library" "$root$library"
done

cat >"$root/init" <<'INIT'
#!/bin/busybox sh
/bin/busybox --install -s /bin
export PATH=/bin
mount -t proc proc /proc
mount -t sysfs sys /sys
mount -t devtmpfs dev /dev
for module in irqbypass vfio vfio_iommu_type1 vfio-pci-core vfio-pci; do insmod /mod/$module.ko; done
devices=
for device in /sys/bus/pci/devices/*; do
    [ "$(cat $device/vendor) $(cat $device/device)" = "0x1234 0x4957" ] || continue
    echo vfio-pci >$device/driver_override
    echo ${device##*/} >/sys/bus/pci/drivers_probe
    devices=$devices,vfio:${device##*/}
done
devices=${devices#,}
echo "guest: kernel $(uname -r), devices $devices, IOMMU groups $(ls /dev/vfio | tr '\n' ' ')"
set -- $(sed "s/DEVICES/$devices/g" /arguments)
echo "guest: ironwarp $*"
ironwarp "$@"
echo "guest: status $?"
poweroff -f
INIT
chmod +x "$root/init"
echo "$*" >"$root/arguments"
(cd "$root" && find . | "$guest/busybox" cpio -o -H newc 2>/dev/null) >"$work/initrd"

: >"$work/console"
device() { printf '{"driver":"vfio-user-pci","socket":{"type":"unix","path":"%s"}}' "$1"; }
set --
for socket in $(echo "$sockets" | tr , ' '); do
    set -- "$@" -device "$(device "$socket")"
done
# The kernel would take a timer that a busy machine delivers late for a broken one: no_timer_check.
# Guest memory must be a memfd that both processes map; interrupt remapping is what VFIO asks for.
"$guest/qemu" -accel "$accel" -cpu max -smp 1 -m 512 -M q35,memory-backend=mem,kernel-irqchip=split \
    -object memory-backend-memfd,id=mem,size=512M,share=on \
    -device intel-iommu,caching-mode=on,intremap=on "$@" \
    -kernel "$guest/vmlinuz" -initrd "$work/initrd" \
    -append "console=ttyS0 intel_iommu=on no_timer_check panic=-1 quiet" \
    -nographic -no-reboot -nodefaults -serial stdio -monitor none </dev/null >>"$work/console" 2>&1 &
qemu=$!
trap 'kill $qemu 2>/dev/null || true; rm -rf "$work"' EXIT
tail -f --pid=$qemu -n +1 "$work/console" | tr -d '\r' &
wait $qemu || fail "QEMU ended with status $?: $(tail -n 5 "$work/console")"
wait
status=$(tr -d '\r' <"$work/console" | sed -n 's/^guest: status //p')
[ -n "$status" ] || fail "the guest has not come to its end"
exit "$status"
