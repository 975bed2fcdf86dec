#!/bin/sh
# Imports and unpacks the archives in /images into /var/lib/containerd, as the kubelet's containerd will find them.
set -eu
export CONTAINERD_ADDRESS=/run/containerd/containerd.sock CONTAINERD_NAMESPACE=k8s.io CONTAINERD_SNAPSHOTTER=overlayfs

containerd > /run/containerd.log 2>&1 & containerd_pid=$!
until ctr version > /dev/null 2>&1; do
    kill -0 $containerd_pid || { cat /run/containerd.log; exit 1; }
    sleep 0.1
done
for archive in /images/*.tar; do
    ctr images import "$archive"
done
for name in $(ctr images list --quiet); do
    ctr images label "$name" io.cri-containerd.image=managed
done
kill $containerd_pid
wait $containerd_pid || true
# Not only imported, but unpacked.
[ -d /var/lib/containerd/io.containerd.snapshotter.v1.overlayfs/snapshots/1 ]
