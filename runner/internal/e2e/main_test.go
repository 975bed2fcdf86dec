// Package e2e proves the way from end to end without Slurm and Kubernetes: real launchers and a real supervisor, both
// processes of their own, with gatewayd's core and an exec endpoint between them that can be cut at any time.
package e2e

import (
	"os"
	"testing"

	"go.uber.org/goleak"

	"k8s-burst/runner/internal/podcmd"
	"k8s-burst/runner/internal/runcmd"
	"k8s-burst/runner/internal/standin"
)

// TestMain is also both programs: what they start again is themselves.
func TestMain(m *testing.M) {
	if standin.Is(os.Args[0]) {
		os.Exit(standin.Run(os.Args))
	}
	if len(os.Args) > 1 {
		switch os.Args[1] {
		case "supervise", "attach", "exec-task", "install":
			os.Exit(podcmd.Run(os.Args[1:]))
		case "launch", "sentinel", "exec-command":
			os.Exit(runcmd.Run(os.Args[1:]))
		}
	}
	// With the race detector each program would wait a second at its end, for no use here.
	os.Setenv("GORACE", "atexit_sleep_ms=0")
	goleak.VerifyTestMain(m)
}
