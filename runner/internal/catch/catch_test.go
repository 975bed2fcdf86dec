package catch_test

import (
	"os"
	"os/exec"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"k8s-burst/runner/internal/catch"
)

func TestMain(m *testing.M) {
	if os.Getenv("CATCH_TEST_RAISE") != "" {
		raise()
		return
	}
	os.Exit(m.Run())
}

// raise catches SIGTERM once, and gets it twice.
func raise() {
	caught, err := catch.Signals([]syscall.Signal{syscall.SIGTERM})
	if err != nil {
		panic(err)
	}
	_ = unix.Kill(os.Getpid(), unix.SIGTERM)
	os.Stdout.WriteString((<-caught.C).String() + "\n")
	caught.Close()
	_ = unix.Kill(os.Getpid(), unix.SIGTERM)
	time.Sleep(time.Minute)
}

func all() []syscall.Signal { return catch.PassedOn(syscall.SIGSEGV) }

func TestEverySignalIsDelivered(t *testing.T) {
	for range 2 { // and can be caught again
		caught, err := catch.Signals(all())
		if err != nil {
			t.Fatal(err)
		}
		for _, number := range all() {
			if err := unix.Kill(os.Getpid(), number); err != nil {
				t.Fatal(err)
			}
			if got := <-caught.C; got != number {
				t.Errorf("sent %v, got %v", number, got)
			}
		}
		caught.Close()
	}
}

// The handler may interrupt whatever runs: here threads that compute, allocate, grow their stacks and collect garbage.
func TestSignalsDisturbNobody(t *testing.T) {
	caught, err := catch.Signals(all())
	if err != nil {
		t.Fatal(err)
	}
	defer caught.Close()
	var workers sync.WaitGroup
	stop := make(chan struct{})
	for range 4 {
		workers.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				if got := fibonacci(15, make([]byte, 100)); got != 610 {
					t.Errorf("fibonacci of 15 is %d", got)
				}
				runtime.Gosched()
			}
		})
	}
	for range 200 {
		if err := unix.Kill(os.Getpid(), unix.SIGUSR1); err != nil {
			t.Fatal(err)
		}
		<-caught.C
	}
	close(stop)
	workers.Wait()
}

func fibonacci(n int, used []byte) int {
	if n < 2 {
		return n
	}
	return fibonacci(n-1, append(used, byte(n))) + fibonacci(n-2, used[:len(used)/2])
}

// After Close a signal does what it did before: here it ends the process.
func TestCloseRestores(t *testing.T) {
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(self)
	cmd.Env = append(os.Environ(), "CATCH_TEST_RAISE=1")
	out, err := cmd.Output()
	if got := strings.TrimSpace(string(out)); got != "terminated" {
		t.Errorf("caught %q", got)
	}
	status, ok := cmd.ProcessState.Sys().(syscall.WaitStatus)
	if err == nil || !ok || status.Signal() != syscall.SIGTERM {
		t.Errorf("ended with %v", cmd.ProcessState)
	}
}
