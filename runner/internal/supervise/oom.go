package supervise

import (
	"bufio"
	"bytes"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// oomCounter reads how many processes of this container were killed for want of memory.
type oomCounter struct{ path string }

// newOOMCounter finds the container's own cgroup below root (/sys/fs/cgroup): memory.events of version 2,
// memory.oom_control of version 1, as the container sees them with a cgroup namespace or without. Where there is none
// the count is always 0.
func newOOMCounter(root, selfCgroup string) oomCounter {
	own, _ := os.ReadFile(selfCgroup)
	v2, v1 := cgroupPaths(own)
	for _, path := range []string{
		filepath.Join(root, v2, "memory.events"),
		filepath.Join(root, "memory.events"),
		filepath.Join(root, "memory", v1, "memory.oom_control"),
		filepath.Join(root, "memory", "memory.oom_control"),
	} {
		c := oomCounter{path}
		if _, ok := c.read(); ok {
			return c
		}
	}
	return oomCounter{}
}

// cgroupPaths reads /proc/self/cgroup: lines "HIERARCHY:CONTROLLERS:PATH".
func cgroupPaths(file []byte) (v2, v1Memory string) {
	for line := range strings.Lines(string(file)) {
		parts := strings.SplitN(strings.TrimSpace(line), ":", 3)
		if len(parts) != 3 {
			continue
		}
		if parts[1] == "" {
			v2 = parts[2]
		}
		for controller := range strings.SplitSeq(parts[1], ",") {
			if controller == "memory" {
				v1Memory = parts[2]
			}
		}
	}
	return v2, v1Memory
}

// count is the number of kills so far.
func (c oomCounter) count() uint64 {
	n, _ := c.read()
	return n
}

func (c oomCounter) read() (uint64, bool) {
	if c.path == "" {
		return 0, false
	}
	data, err := os.ReadFile(c.path)
	if err != nil {
		return 0, false
	}
	for lines := bufio.NewScanner(bytes.NewReader(data)); lines.Scan(); {
		if value, ok := strings.CutPrefix(lines.Text(), "oom_kill "); ok {
			n, err := strconv.ParseUint(value, 10, 64)
			return n, err == nil
		}
	}
	return 0, false
}
