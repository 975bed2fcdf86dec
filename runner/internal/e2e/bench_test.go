package e2e

import (
	"fmt"
	"os"
	"testing"
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
