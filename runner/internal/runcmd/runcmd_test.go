package runcmd

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// TestMain is also the program.
func TestMain(m *testing.M) {
	if filepath.Base(os.Args[0]) == "k8s-burst-run" {
		os.Exit(Run(os.Args[1:]))
	}
	os.Exit(m.Run())
}

// program lies in a directory of its own, as it is installed.
func program(t *testing.T) string {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "k8s-burst-run")
	if err := os.Link(self, path); err != nil {
		text, err := os.ReadFile(self) // another file system
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, text, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	return path
}

// The words and the exit code are those of the program beside this one.
func TestAnnounceIsTheProgramBeside(t *testing.T) {
	path := program(t)
	script := "#!/bin/sh\nprintf '<%s>' \"$@\"; exit 3\n"
	if err := os.WriteFile(filepath.Join(filepath.Dir(path), announceProgram), []byte(script), 0o755); err != nil {
		t.Fatal(err)
	}
	out, err := exec.Command(path, "announce", "--mode", "now", "--", "a job.sh").Output()
	if exit, ok := err.(*exec.ExitError); !ok || exit.ExitCode() != 3 {
		t.Errorf("ended with %v", err)
	}
	if string(out) != "<--mode><now><--><a job.sh>" {
		t.Errorf("its words are %s", out)
	}
}

func TestAnnounceWithoutItsProgramSaysSo(t *testing.T) {
	out, err := exec.Command(program(t), "announce").CombinedOutput()
	if err == nil || !strings.HasPrefix(string(out), "k8s-burst: ") || !strings.Contains(string(out), announceProgram) {
		t.Errorf("ended with %v: %s", err, out)
	}
}

// What a launcher links, every task on a gateway pays for: without these it is half as large and starts twice as fast.
func TestLaunchersCarryNoTLS(t *testing.T) {
	out, err := exec.Command("go", "list", "-deps", "k8s-burst/runner/cmd/k8s-burst-run").Output()
	if err != nil {
		t.Fatal(err)
	}
	for _, unwanted := range []string{"crypto/tls", "net/http", "google.golang.org/grpc", "github.com/hashicorp/yamux"} {
		if strings.Contains("\n"+string(out), "\n"+unwanted+"\n") {
			t.Errorf("k8s-burst-run links %s", unwanted)
		}
	}
}
