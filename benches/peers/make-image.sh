#!/usr/bin/env bash
# Makes the image of an ext4 disk with a small Debian system, and the same after an upgrade:  make-image.sh V1 V2
# Needs root and loop devices. Version 2 is a copy of version 1, mounted and written to as dpkg does: each file of an
# upgraded package is written beside the old one and renamed over it, and the new kernel stands beside the old one.
set -euo pipefail
v1=$1; v2=$2
work=$(mktemp -d "$(dirname "$v1")/.image.XXXX"); mount=$work/mount; mkdir "$mount"
trap 'mountpoint -q "$mount" && umount "$mount"; rm -rf "$work"' EXIT

# What the archive has in two versions today is what gets upgraded; the others stay as they are.
packages="libc6 libc6-dev libssl3 openssl perl-base perl-modules-5.36 python3.11-minimal libpython3.11-stdlib libpython3.11
  libpython3.11-dev systemd udev git openssh-client postgresql-15 nginx libnode108 samba-libs linux-libc-dev libgs10
  libmagickcore-6.q16-6 libxml2 apache2-bin tzdata libwebkit2gtk-4.1-0 gcc-12 cpp-12 libgcc-12-dev vim-runtime libavcodec59"
apt-cache madison libc6 | grep -q . || apt-get update >/dev/null
fetch() { # PACKAGE VERSION DIRECTORY
  (cd "$work" && apt-get download "$1=$2" >/dev/null 2>&1 && dpkg -x ./*.deb "$3" && rm ./*.deb)
}
versions() { apt-cache madison "$1" | awk '{print $3}' | uniq; }
mkdir "$work/old" "$work/new"
for package in $packages; do
  old=$(versions "$package" | tail -1); new=$(versions "$package" | head -1)
  [ -n "$old" ] || { echo "no package $package" >&2; exit 1; }
  fetch "$package" "$old" "$work/old/$package"
  [ "$old" = "$new" ] || fetch "$package" "$new" "$work/new/$package"
done
kernels=$(apt-cache search --names-only '^linux-image-6\.1\.0-[0-9]*-cloud-amd64$' | awk '{print $1}' | sort -V)
for end in old new; do
  kernel=$([ $end = old ] && head -1 <<<"$kernels" || tail -1 <<<"$kernels")
  fetch "$kernel" "$(versions "$kernel" | head -1)" "$work/$end/$kernel"
done

truncate -s 1280M "$work/image"
mke2fs -q -t ext4 -U 4b8c2b7e-6d0f-4a53-9a54-0d1c5b1f6a01 "$work/image"
mount -o loop "$work/image" "$mount"
for tree in "$work"/old/*; do rsync -a "$tree/" "$mount/"; done
umount "$mount"; cp --sparse=always "$work/image" "$v1.part"

mount -o loop "$work/image" "$mount"
for tree in "$work"/new/*; do
  rsync -a --ignore-times "$tree/" "$mount/"
  before=$work/old/$(basename "$tree")
  [ -d "$before" ] || continue
  (cd "$before" && find . -type f -print0) | while IFS= read -r -d '' file; do
    [ -e "$tree/$file" ] || rm -f "$mount/$file"
  done
done
umount "$mount"; cp --sparse=always "$work/image" "$v2.part"
mv "$v1.part" "$v1"; mv "$v2.part" "$v2"
