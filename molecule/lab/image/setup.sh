#!/bin/sh
# Copyright (c) 2026, RingRift P2P contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
#
# Makes a lab node of a plain Debian: `setup.sh ROOT`, where the packages of packages.txt are installed below ROOT.
set -eu
root=$1

chroot "$root" useradd --create-home --shell /bin/bash ubuntu
printf 'ubuntu ALL=(ALL) NOPASSWD: ALL\n' >"$root/etc/sudoers.d/ubuntu"
chmod 0440 "$root/etc/sudoers.d/ubuntu"

# The lab hands every node the same host key, so that the controller can know it beforehand.
rm -f "$root"/etc/ssh/ssh_host_*
cat >"$root/etc/ssh/sshd_config.d/lab.conf" <<'SSHD'
UseDNS no
PermitRootLogin prohibit-password
PasswordAuthentication no
MaxStartups 200
MaxSessions 100
SSHD

# What a container has no use for costs time 22 times over.
for unit in apt-daily.timer apt-daily-upgrade.timer dpkg-db-backup.timer e2scrub_all.timer e2scrub_reap.service \
    fstrim.timer getty.target systemd-tmpfiles-clean.timer systemd-update-utmp.service; do
  ln -sf /dev/null "$root/etc/systemd/system/$unit"
done

# Docker gives a default route even where nothing lies beyond it. In the lab what is not on a node's own networks has no route.
cat >"$root/etc/systemd/system/lab-routes.service" <<'UNIT'
[Unit]
Description=No way out of the lab's networks
DefaultDependencies=no
Before=sysinit.target

[Service]
Type=oneshot
ExecStart=-/sbin/ip route del default

[Install]
WantedBy=sysinit.target
UNIT
mkdir -p "$root/etc/systemd/system/sysinit.target.wants"
ln -s /etc/systemd/system/lab-routes.service "$root/etc/systemd/system/sysinit.target.wants/lab-routes.service"

# Debian empties /tmp at each start; what lies there in the field survives a restart.
printf 'd /tmp 1777 root root -\n' >"$root/etc/tmpfiles.d/tmp.conf"

# Each node gets a machine id of its own at its first start.
: >"$root/etc/machine-id"
rm -f "$root/var/lib/dbus/machine-id" "$root/etc/hostname"
