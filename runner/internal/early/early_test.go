package early_test

import (
	"fmt"
	"os"
	"os/exec"
	"strings"
	"testing"

	"k8s-burst/runner/internal/early"
)

func TestMain(m *testing.M) {
	if os.Getenv("EARLY_TEST_PRINT") != "" {
		fmt.Println(early.Files())
		return
	}
	os.Exit(m.Run())
}

// The limit that the process was started with is known although Go has raised it since.
func TestFilesAreThoseOfTheStart(t *testing.T) {
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("/bin/sh", "-c", `ulimit -Sn 123; ulimit -Hn 456; exec "$0"`, self)
	cmd.Env = append(os.Environ(), "EARLY_TEST_PRINT=1")
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	if got := strings.TrimSpace(string(out)); got != "123 456" {
		t.Fatalf("soft and hard limit: got %q, want \"123 456\"", got)
	}
}
