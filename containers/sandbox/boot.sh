#!/bin/sh
# Makes the root file system of a sandbox host, or of a build, and becomes COMMAND in it.
#
# usage: boot.sh COMMAND...    as PID 1 of new mount, PID, UTS and IPC namespaces, with in the environment
#   BOOT_NAME      the host's name
#   BOOT_ROOT      an empty directory to mount the root on
#   BOOT_LAYERS    lower directories of the overlay, topmost first, separated by ':'
#   BOOT_STORE     directory that gets the overlay's upper/ and work/; upper/ is the host's disk and outlives it
#   BOOT_DEVICES   words NAME:MAJOR:MINOR, character devices besides the usual ones
#   BOOT_BINDS     lines "SOURCE TARGET": bound at TARGET below the root, which is made when missing
#   BOOT_READY     when not empty: the line "ready PID", PID as the machine sees it, goes to standard output, and then all that does to
#                  standard error
# A failure before that says so on standard error and ends the host. Nothing is mounted outside these namespaces.
set -eu

mount --make-rprivate /
mkdir -p "$BOOT_ROOT" "$BOOT_STORE/upper" "$BOOT_STORE/work"
mount -t overlay -o "lowerdir=$BOOT_LAYERS,upperdir=$BOOT_STORE/upper,workdir=$BOOT_STORE/work" overlay "$BOOT_ROOT"
cd "$BOOT_ROOT"

echo "$BOOT_NAME" > /proc/sys/kernel/hostname
# The machine's own /proc is still there, so this is the pid outside.
read -r outer_pid _ < /proc/self/stat

mount -t proc -o nosuid,nodev,noexec proc proc
mount -t sysfs -o nosuid,nodev,noexec sysfs sys
mount -t tmpfs -o mode=755,nosuid tmpfs run
mount -t tmpfs -o mode=755,nosuid tmpfs dev
mkdir dev/pts dev/shm
mount -t devpts -o newinstance,ptmxmode=666,mode=620,gid=5 devpts dev/pts
mount -t tmpfs -o mode=1777,nosuid,nodev tmpfs dev/shm
for device in null:1:3 zero:1:5 full:1:7 random:1:8 urandom:1:9 tty:5:0 ${BOOT_DEVICES-}; do
    name=${device%%:*} numbers=${device#*:}
    mknod -m 666 "dev/$name" c "${numbers%:*}" "${numbers#*:}"
done
ln -s pts/ptmx dev/ptmx
ln -s /proc/self/fd dev/fd
for number_name in 0:stdin 1:stdout 2:stderr; do ln -s "/proc/self/fd/${number_name%:*}" "dev/${number_name#*:}"; done
mkdir -p run/lock

printf '%s\n' "${BOOT_BINDS-}" | while read -r source target; do
    [ -n "$source" ] || continue
    if [ -d "$source" ]; then mkdir -p ".$target"; elif [ ! -e ".$target" ]; then mkdir -p ".${target%/*}"; : > ".$target"; fi
    mount --rbind "$source" ".$target"
done

pivot_root . mnt
cd /
umount -l /mnt
if [ -n "${BOOT_READY-}" ]; then
    echo "ready $outer_pid"
    exec >&2
fi
exec "$@"
