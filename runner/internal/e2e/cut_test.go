package e2e

import (
	"crypto/md5"
	"encoding/hex"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

// counter hashes and counts what a launcher writes, and calls at once when the count passes a mark.
type counter struct {
	sum   io.Writer
	n     atomic.Int64
	marks []int64
	at    func(mark int)
}

func (c *counter) Write(p []byte) (int, error) {
	n, err := c.sum.Write(p)
	total := c.n.Add(int64(n))
	for len(c.marks) > 0 && total >= c.marks[0] {
		c.at(len(c.marks))
		c.marks = c.marks[1:]
	}
	return n, err
}

// Fifty megabytes arrive whole although the exec stream is cut four times and gatewayd is replaced twice meanwhile.
func TestOutputSurvivesCuts(t *testing.T) {
	h := newHouse(t)
	const size = 50 << 20
	data := make([]byte, size)
	for i, random := 0, rand.New(rand.NewPCG(1, 2)); i < size; i += 8 {
		for j, word := 0, random.Uint64(); j < 8; j++ {
			data[i+j] = byte(word >> (8 * j))
		}
	}
	file := filepath.Join(t.TempDir(), "random")
	if err := os.WriteFile(file, data, 0o600); err != nil {
		t.Fatal(err)
	}
	want := md5.Sum(data)
	sum := md5.New()
	out := &counter{sum: sum, marks: []int64{1 << 20, 5 << 20, 13 << 20, 21 << 20, 34 << 20, 45 << 20}, at: func(mark int) {
		if mark%3 == 0 {
			h.stop()
			h.startGateway()
			return
		}
		h.kube.cut()
	}}
	l := h.command([]string{"cat", file})
	l.Stdout = out
	if got := l.start().status(); got != 0 {
		t.Fatalf("ended with %d: %s", got, l.err.String())
	}
	if n := out.n.Load(); n != size {
		t.Errorf("%d bytes came of %d", n, size)
	}
	if got := sum.Sum(nil); hex.EncodeToString(got) != hex.EncodeToString(want[:]) {
		t.Error("the bytes differ")
	}
	if n := h.kube.dials(); n < 5 {
		t.Errorf("only %d exec streams: nothing was cut", n)
	}
	if l.err.String() != "" {
		t.Errorf("short cuts are not the user's business: %q", l.err.String())
	}
}

// Twenty megabytes of standard input arrive whole although the stream is cut.
func TestInputSurvivesCuts(t *testing.T) {
	h := newHouse(t)
	const size = 20 << 20
	data := []byte(strings.Repeat("0123456789abcdef", size/16))
	for i := range data {
		data[i] ^= byte(i >> 12)
	}
	want := md5.Sum(data)
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	l := h.command([]string{"md5sum"})
	l.Stdin = r
	l.start()
	r.Close()
	for i := range 4 {
		if _, err := w.Write(data[i*size/4 : (i+1)*size/4]); err != nil {
			t.Fatal(err)
		}
		h.kube.cut()
	}
	w.Close()
	if got := l.status(); got != 0 {
		t.Fatalf("ended with %d: %s", got, l.err.String())
	}
	if got := l.out.String(); got != hex.EncodeToString(want[:])+"  -\n" {
		t.Errorf("got %s", got)
	}
}

// A task lives on while its stream is cut, and its launcher comes back to it.
func TestTaskLivesThroughACut(t *testing.T) {
	h := newHouse(t)
	dir := t.TempDir()
	l := h.command([]string{"/bin/sh", "-c", `echo $$; until [ -e ` + dir + `/go ]; do sleep 0.01; done; echo $$; exit 3`}).start()
	h.await("the task's first line", func() bool { return l.out.String() != "" })
	h.stop()
	if err := os.WriteFile(filepath.Join(dir, "go"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	h.startGateway()
	if got := l.status(); got != 3 {
		t.Fatalf("ended with %d: %s", got, l.err.String())
	}
	if lines := strings.Fields(l.out.String()); len(lines) != 2 || lines[0] != lines[1] {
		t.Errorf("one process was due: %q", lines)
	}
}

// Signals that come while the stream is cut are delivered once it is back, once each, in any order.
func TestSignalsSurviveACut(t *testing.T) {
	h := newHouse(t)
	l := h.command([]string{"/bin/bash", "-c", `trap 'echo usr1; u=1' USR1; trap 't=1' TERM; echo ready; until [ "$u$t" = 11 ]; do sleep 0.01; done; exit 9`}).start()
	h.await("the trap", func() bool { return strings.Contains(l.out.String(), "ready") })
	h.stop()
	for _, number := range []syscall.Signal{syscall.SIGUSR1, syscall.SIGTERM} {
		if err := l.Process.Signal(number); err != nil {
			t.Fatal(err)
		}
	}
	h.startGateway()
	if got := l.status(); got != 9 {
		t.Errorf("ended with %d", got)
	}
	if got := strings.Count(l.out.String(), "usr1"); got != 1 {
		t.Errorf("USR1 was delivered %d times: %q", got, l.out.String())
	}
}

// A reader that blocks blocks the writer, and neither the launcher nor the supervisor grows meanwhile.
func TestBlockedReaderBlocksTheWriter(t *testing.T) {
	h := newHouse(t)
	progress := filepath.Join(t.TempDir(), "progress")
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	l := h.command([]string{"/bin/bash", "-c",
		`block=$(head -c 65536 /dev/zero | tr '\0' x); for i in $(seq 400); do printf %s "$block"; echo $i > ` + progress + `; done`})
	l.Stdout = w
	l.start()
	w.Close()
	// The writer has stopped when its progress has stood for long compared to a block's time.
	last, since := "", time.Now()
	h.await("the writer to block", func() bool {
		now, _ := os.ReadFile(progress)
		if string(now) != last {
			last, since = string(now), time.Now()
		}
		return last != "" && time.Since(since) > 500*time.Millisecond
	})
	if strings.TrimSpace(last) == "400" {
		t.Fatal("25 MB went into a pipe that nobody reads")
	}
	if rss := residentMiB(t, l.Process.Pid); rss > 120 {
		t.Errorf("the launcher holds %d MiB", rss)
	}
	n, err := io.Copy(io.Discard, r)
	if err != nil || n != 400*65536 {
		t.Errorf("%d bytes, %v", n, err)
	}
	if got := l.status(); got != 0 {
		t.Errorf("ended with %d", got)
	}
}

func residentMiB(t *testing.T, pid int) int {
	t.Helper()
	fields := strings.Fields(procFile(t, pid, "statm"))
	pages := 0
	for _, digit := range fields[1] {
		pages = pages*10 + int(digit-'0')
	}
	return pages * os.Getpagesize() >> 20
}
