// Package limits carries resource limits from the process that slurmstepd started to the one in the pod.
package limits

import (
	"fmt"
	"syscall"

	"golang.org/x/sys/unix"

	"k8s-burst/runner/internal/early"
	pb "k8s-burst/runner/internal/pb/burst/v1"
)

// last is the highest RLIMIT_* number of Linux (RLIMIT_RTTIME).
const last = 15

// Own is every limit of this process as it was started.
func Own() []*pb.ResourceLimit {
	var all []*pb.ResourceLimit
	for resource := range last + 1 {
		var l unix.Rlimit
		if unix.Prlimit(0, resource, nil, &l) != nil {
			continue
		}
		if resource == unix.RLIMIT_NOFILE {
			if soft, hard := early.Files(); hard != 0 {
				l = unix.Rlimit{Cur: soft, Max: hard}
			}
		}
		all = append(all, &pb.ResourceLimit{Resource: uint32(resource), Soft: l.Cur, Hard: l.Max})
	}
	return all
}

// Within is what may be set of want where the hard limit is hard: an unprivileged process can only lower it.
func Within(want *pb.ResourceLimit, hard uint64) (soft, newHard uint64) {
	newHard = min(want.Hard, hard)
	return min(want.Soft, newHard), newHard
}

// Apply sets the limits on this process, as far as its hard limits allow. Unknown resources are an error.
func Apply(all []*pb.ResourceLimit) error {
	for _, want := range all {
		var now syscall.Rlimit
		if err := syscall.Getrlimit(int(want.Resource), &now); err != nil {
			return fmt.Errorf("resource limit %d: %w", want.Resource, err)
		}
		now.Cur, now.Max = Within(want, now.Max)
		// syscall.Setrlimit, not unix.Prlimit: for open files it also keeps syscall.Exec from setting its own back.
		if err := syscall.Setrlimit(int(want.Resource), &now); err != nil {
			return fmt.Errorf("resource limit %d: %w", want.Resource, err)
		}
	}
	return nil
}
