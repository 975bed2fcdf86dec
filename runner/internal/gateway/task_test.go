package gateway

import (
	"os"
	"path/filepath"
	"testing"
)

// proc writes what /proc says of a process below root.
func proc(t *testing.T, root, pid, parent, uids, program, title string) {
	t.Helper()
	dir := filepath.Join(root, pid)
	if err := os.Mkdir(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	status := "Name:\tx\nPPid:\t" + parent + "\nUid:\t" + uids + "\nGid:\t0\t0\t0\t0\n"
	for name, text := range map[string]string{"status": status, "cmdline": title} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Symlink(program, filepath.Join(dir, "exe")); err != nil {
		t.Fatal(err)
	}
}

func TestIsTask(t *testing.T) {
	const (
		root, user, setuid = "0\t0\t0\t0", "1000\t1000\t1000\t1000", "1000\t0\t0\t0"
		stepd, title       = "/usr/sbin/slurmstepd", "slurmstepd: [123.batch]\x00"
	)
	for _, c := range []struct {
		name, uids, program, title string
		want                       bool
	}{
		{"the batch script", root, stepd, title, true},
		{"a step", root, stepd, "slurmstepd: [123.0]\x00\x00\x00", true},
		{"a component of a heterogeneous job", root, stepd, "slurmstepd: [123+1.0]\x00", true},
		{"slurmstepd was updated meanwhile", root, stepd + " (deleted)", title, true},
		{"another job", root, stepd, "slurmstepd: [1234.0]\x00", false},
		{"the end of another job's number", root, stepd, "slurmstepd: [5123.0]\x00", false},
		{"a user's process of that name", user, "/home/alice/slurmstepd", title, false},
		{"a program that runs as root for a user", setuid, stepd, title, false},
		{"another program of root that calls itself so", root, "/usr/bin/sudo", title, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			dir := t.TempDir()
			proc(t, dir, "1", "0", root, "/usr/lib/systemd/systemd", "init\x00")
			proc(t, dir, "50", "1", c.uids, c.program, c.title)
			proc(t, dir, "51", "50", user, "/usr/bin/bash", "bash\x00")
			proc(t, dir, "52", "51", user, "/usr/libexec/k8s-burst/k8s-burst-run", "k8s-burst-run\x00launch\x00")
			proc(t, dir, "60", "1", user, "/usr/bin/bash", "slurmstepd: [123.0]\x00")
			for pid, want := range map[int32]bool{51: c.want, 52: c.want, 60: false, 1: false, 0: false, 77: false} {
				if got := IsTask(dir, pid, 123); got != want {
					t.Errorf("process %d: %v", pid, got)
				}
			}
		})
	}
}
