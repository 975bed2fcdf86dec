package supervise

import (
	"os"
	"path/filepath"
	"testing"
)

func TestOOMCounter(t *testing.T) {
	for _, c := range []struct{ name, file, text, self string }{
		{"v2 in a cgroup namespace", "memory.events", "oom 1\noom_kill 5\noom_group_kill 0\n", "0::/\n"},
		{"v2 without", "kubepods/pod1/memory.events", "oom_kill 5\n", "0::/kubepods/pod1\n"},
		{"v1", "memory/memory.oom_control", "oom_kill_disable 0\nunder_oom 0\noom_kill 5\n", "3:cpu,cpuacct:/\n2:memory:/x/y\n"},
		{"v1 without", "memory/x/y/memory.oom_control", "oom_kill 5\n", "2:memory:/x/y\n0::/\n"},
	} {
		root := t.TempDir()
		self := filepath.Join(root, "self")
		path := filepath.Join(root, c.file)
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		for name, text := range map[string]string{path: c.text, self: c.self} {
			if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		if got := newOOMCounter(root, self).count(); got != 5 {
			t.Errorf("%s: %d", c.name, got)
		}
	}
	if got := newOOMCounter(t.TempDir(), "/nonexistent").count(); got != 0 {
		t.Errorf("without a cgroup: %d", got)
	}
}

// The batch script begins at a count of 3; steps are their counts at start and end.
func TestWhoRanOutOfMemory(t *testing.T) {
	for _, c := range []struct {
		name   string
		steps  [][2]uint64
		end    uint64
		failed bool
		want   bool
	}{
		{"nobody", [][2]uint64{{3, 3}}, 3, true, false},
		{"the script's own process", nil, 4, false, true},
		{"a step, and the script coped", [][2]uint64{{3, 4}, {4, 4}}, 4, false, false},
		{"a step, and the script failed", [][2]uint64{{3, 4}}, 4, true, true},
		{"two tasks of a step, one kill", [][2]uint64{{3, 4}, {3, 4}}, 4, false, false},
		{"two tasks of a step, and the script", [][2]uint64{{3, 4}, {3, 4}}, 5, false, true},
		{"the script, before a step", [][2]uint64{{4, 5}}, 5, false, true},
	} {
		var b blame
		for _, step := range c.steps {
			if got := b.step(step[0], step[1]); got != (step[1] > step[0]) {
				t.Errorf("%s: step %v: got %v", c.name, step, got)
			}
		}
		if got := b.main(3, c.end, c.failed); got != c.want {
			t.Errorf("%s: got %v", c.name, got)
		}
	}
}
