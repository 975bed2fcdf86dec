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

// blame says whose the kills are that the container counts. Slurm counts those of each step by itself, which here only the
// time tells: what happened in the life of a step's task that has ended is the step's. It is pure.
type blame struct {
	steps uint64 // kills in the lives of steps' tasks
	upTo  uint64 // the count at the last of their ends with any
}

// step notes the end of a step's task that began when the count was then, and says whether there were kills in its life.
func (b *blame) step(then, now uint64) bool {
	if from := max(then, b.upTo); now > from {
		b.steps += now - from
		b.upTo = now
	}
	return now > then
}

// main says whether the batch script or interactive step ran out of memory: where it has itself lost a process, or where it
// has failed, for which a step's loss is reason enough. One that coped with that is as good as any.
func (b *blame) main(then, now uint64, failed bool) bool {
	kills := now - min(then, now)
	return kills > b.steps || kills > 0 && failed
}

// ranOutOfMemory judges a task that has ended.
func (s *Supervisor) ranOutOfMemory(t *task) bool {
	now := s.oom.count()
	s.mu.Lock()
	defer s.mu.Unlock()
	if isMain(t.name) {
		return s.blame.main(t.oomThen, now, t.proc.Status != 0)
	}
	return s.blame.step(t.oomThen, now)
}

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
