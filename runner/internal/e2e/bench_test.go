package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"
)

// BenchmarkTask is one task that does nothing, from the launcher's start to its end.
func BenchmarkTask(b *testing.B) {
	h := newHouse(b)
	step := 0
	for b.Loop() {
		if got := h.command([]string{"true"}, withStep(fmt.Sprint(step))).start().status(); got != 0 {
			b.Fatalf("ended with %d", got)
		}
		step++
	}
}

// BenchmarkOutput is the output of one task, a megabyte at a time.
func BenchmarkOutput(b *testing.B) {
	h := newHouse(b)
	null, err := os.OpenFile(os.DevNull, os.O_WRONLY, 0)
	if err != nil {
		b.Fatal(err)
	}
	defer null.Close()
	b.SetBytes(1 << 20)
	b.ResetTimer()
	l := h.command([]string{"dd", "if=/dev/zero", "bs=1M", "status=none", fmt.Sprintf("count=%d", b.N)})
	l.Stdout = null
	if got := l.start().status(); got != 0 {
		b.Fatalf("ended with %d", got)
	}
}

// BenchmarkInput is a file on a task's standard input, a megabyte at a time. It also tells what CPU time launcher and
// supervisor take for a gigabyte.
func BenchmarkInput(b *testing.B) {
	h := newHouse(b)
	file, err := os.CreateTemp(b.TempDir(), "input")
	if err != nil {
		b.Fatal(err)
	}
	defer file.Close()
	piece := make([]byte, 1<<20)
	for range b.N {
		if _, err := file.Write(piece); err != nil {
			b.Fatal(err)
		}
	}
	if _, err := file.Seek(0, 0); err != nil {
		b.Fatal(err)
	}
	b.SetBytes(1 << 20)
	before := h.supervisorCPU()
	b.ResetTimer()
	l := h.command([]string{"dd", "of=/dev/null", "bs=1M", "status=none"})
	l.Stdin = file
	if got := l.start().status(); got != 0 {
		b.Fatalf("ended with %d", got)
	}
	gigabytes := float64(b.N) * (1 << 20) / 1e9
	b.ReportMetric((h.supervisorCPU()-before).Seconds()/gigabytes, "supervisor-s/GB")
	b.ReportMetric((l.ProcessState.UserTime()+l.ProcessState.SystemTime()).Seconds()/gigabytes, "launcher-s/GB")
}

// supervisorCPU is the CPU time that the supervisor has taken so far.
func (h *house) supervisorCPU() time.Duration {
	threads, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/schedstat", h.supervisor.Process.Pid))
	if err != nil {
		h.t.Fatal(err)
	}
	sum := time.Duration(0)
	for _, thread := range threads {
		var onCPU time.Duration // in nanoseconds, the first of three numbers
		text, err := os.ReadFile(thread)
		if err == nil {
			_, err = fmt.Sscan(string(text), &onCPU)
		}
		if err != nil {
			h.t.Fatal(err)
		}
		sum += onCPU
	}
	return sum
}
