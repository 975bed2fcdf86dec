package install

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestInstall(t *testing.T) {
	dir := t.TempDir()
	self := filepath.Join(t.TempDir(), "self")
	if err := os.WriteFile(self, []byte("program"), 0o600); err != nil {
		t.Fatal(err)
	}
	files := Files{
		Passwd: []string{"alice:x:1000:1000:Alice:/home/alice:/bin/bash"},
		Group:  []string{"users:x:1000:alice", "proj:x:2000:alice,bob"},
		Hosts:  []string{"10.0.0.1 k8s-0", "fd00::1\tk8s-1 k8s-1.local"},
	}
	for range 2 { // a second time is no error
		if err := Install(self, dir, files); err != nil {
			t.Fatal(err)
		}
	}
	for name, want := range map[string]struct {
		mode os.FileMode
		last string
	}{
		"bin/k8s-burst-pod": {0o755, "program"},
		"etc/passwd":        {0o644, files.Passwd[0] + "\n"},
		"etc/group":         {0o644, strings.Join(files.Group, "\n") + "\n"},
		"etc/hosts":         {0o644, strings.Join(files.Hosts, "\n") + "\n"},
		"run":               {0o700 | os.ModeDir, ""},
		"spool":             {0o700 | os.ModeDir, ""},
	} {
		info, err := os.Stat(filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		if info.Mode() != want.mode {
			t.Errorf("%s: %v, want %v", name, info.Mode(), want.mode)
		}
		if info.IsDir() {
			continue
		}
		text, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil || !strings.HasSuffix(string(text), want.last) {
			t.Errorf("%s: %q", name, text)
		}
	}
	if left, _ := filepath.Glob(filepath.Join(dir, "*", ".new-*")); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
}

func TestBadLinesAreRefused(t *testing.T) {
	for _, files := range []Files{
		{Passwd: []string{"alice:x:1000:1000::/home/alice"}},
		{Passwd: []string{"alice:x:1000:1000::/:/bin/sh\nroot2:x:0:0::/:/bin/sh"}},
		{Passwd: []string{":x:1000:1000::/:/bin/sh"}},
		{Group: []string{"users:x:1000"}},
		{Hosts: []string{"k8s-0"}}, {Hosts: []string{"k8s-0 k8s-1"}}, {Hosts: []string{"10.0.0.1 a\n10.0.0.2 b"}},
	} {
		dir := t.TempDir()
		if err := Install("/proc/self/exe", dir, files); err == nil {
			t.Errorf("taken: %q", files)
		}
		if left, _ := os.ReadDir(dir); len(left) > 0 {
			t.Errorf("%q: something was installed", files)
		}
	}
}
