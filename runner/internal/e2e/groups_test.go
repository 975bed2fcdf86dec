package e2e

import (
	"errors"
	"os"
	"os/exec"
	"strings"
	"testing"

	"k8s-burst/runner/internal/names"
)

// TestForeignGroupsEndTheSupervisorAtOnce: nothing listens, so neither exec nor a launcher gets anything to run.
func TestForeignGroupsEndTheSupervisorAtOnce(t *testing.T) {
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	words := superviseWords(t, t.TempDir())
	for i, word := range words {
		if word == "--groups" {
			words[i+1] = "4242"
		}
	}
	said, err := exec.Command(self, words...).CombinedOutput()
	var ended *exec.ExitError
	if !errors.As(err, &ended) || ended.ExitCode() != names.ForeignGroupsExit {
		t.Fatalf("it ended with %v, saying %s", err, said)
	}
	if !strings.Contains(string(said), "the user is not in") || strings.Contains(string(said), "ready") {
		t.Errorf("it said %s", said)
	}
}
