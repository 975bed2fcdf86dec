package rawio

import (
	"bytes"
	"errors"
	"io"
	"net"
	"os"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// pair is two ends of a unix connection.
func pair(t *testing.T) (a, b *Conn) {
	t.Helper()
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	var ends [2]*Conn
	for i, fd := range fds {
		file := os.NewFile(uintptr(fd), "socket")
		conn, err := net.FileConn(file)
		file.Close()
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { conn.Close() })
		if ends[i], err = NewConn(conn.(*net.UnixConn)); err != nil {
			t.Fatal(err)
		}
	}
	return ends[0], ends[1]
}

// More than the socket holds, in two pieces, waits for its reader and comes in order; then comes the end.
func TestEveryByteComesInOrder(t *testing.T) {
	for _, sizes := range [][2]int{{0, 1}, {1, 0}, {3, 5 << 20}, {5 << 20, 3}, {1 << 20, 1 << 20}} {
		a, b := pair(t)
		first, second := bytes.Repeat([]byte("p"), sizes[0]), bytes.Repeat([]byte("q"), sizes[1])
		var writing sync.WaitGroup
		writing.Go(func() {
			if n, err := a.Write2(first, second); n != len(first)+len(second) || err != nil {
				t.Errorf("%v: %d written: %v", sizes, n, err)
			}
			a.Close()
		})
		got, err := io.ReadAll(b)
		if err != nil || !bytes.Equal(got, append(first, second...)) {
			t.Errorf("%v: %d bytes came: %v", sizes, len(got), err)
		}
		writing.Wait()
	}
}

func TestAPipeIsAStream(t *testing.T) {
	in, out, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer in.Close()
	reader, err := NewStream(in)
	writer, err2 := NewStream(out)
	if err := errors.Join(err, err2); err != nil {
		t.Fatal(err)
	}
	var writing sync.WaitGroup
	writing.Go(func() {
		if _, err := writer.Write(make([]byte, 1<<20)); err != nil {
			t.Error(err)
		}
		out.Close()
	})
	if n, err := io.Copy(io.Discard, reader); n != 1<<20 || err != nil {
		t.Errorf("%d bytes came: %v", n, err)
	}
	writing.Wait()
}

// What blocks would stop the whole program, so it is refused.
func TestWhatBlocksIsRefused(t *testing.T) {
	var fds [2]int
	if err := unix.Pipe2(fds[:], unix.O_CLOEXEC); err != nil {
		t.Fatal(err)
	}
	unix.Close(fds[1])
	in := os.NewFile(uintptr(fds[0]), "blocks")
	defer in.Close()
	if _, err := NewStream(in); err == nil {
		t.Error("taken")
	}
}

// A deadline and a Close end who waits, as they do without.
func TestWaitingEnds(t *testing.T) {
	full := bytes.Repeat([]byte("x"), 16<<20)
	for name, wait := range map[string]func(*Conn) error{
		"read":  func(c *Conn) error { _, err := c.Read(make([]byte, 1)); return err },
		"write": func(c *Conn) error { _, err := c.Write(full); return err },
	} {
		a, _ := pair(t)
		if err := a.SetDeadline(time.Now().Add(time.Millisecond)); err != nil {
			t.Fatal(err)
		}
		if err := wait(a); !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("%s: %v at the deadline", name, err)
		}
		if err := a.SetDeadline(time.Time{}); err != nil {
			t.Fatal(err)
		}
		var waiting sync.WaitGroup
		waiting.Go(func() {
			if err := wait(a); !errors.Is(err, net.ErrClosed) {
				t.Errorf("%s: %v once closed", name, err)
			}
		})
		a.Close()
		waiting.Wait()
	}
}

func TestAGoneReaderIsAnError(t *testing.T) {
	a, b := pair(t)
	b.Close()
	if _, err := a.Write([]byte("x")); !errors.Is(err, unix.EPIPE) {
		t.Errorf("written: %v", err)
	}
	if n, err := a.Read(make([]byte, 1)); n != 0 || err != io.EOF {
		t.Errorf("read %d: %v", n, err)
	}
}

// One call takes and gives what there is room for, and waits for nothing.
func TestOneCallDoesNotWait(t *testing.T) {
	var fds [2]int
	if err := unix.Pipe2(fds[:], unix.O_CLOEXEC|unix.O_NONBLOCK); err != nil {
		t.Fatal(err)
	}
	in, out := uintptr(fds[0]), uintptr(fds[1])
	defer unix.Close(fds[0])
	if n, err := Read(in, make([]byte, 1)); n != 0 || !errors.Is(err, unix.EAGAIN) {
		t.Errorf("read %d of nothing: %v", n, err)
	}
	wrote, err := Write(out, make([]byte, 1<<20))
	if wrote == 0 || wrote == 1<<20 || err != nil {
		t.Errorf("wrote %d: %v", wrote, err)
	}
	if n, err := Write(out, []byte("x")); n != 0 || !errors.Is(err, unix.EAGAIN) {
		t.Errorf("wrote %d into a full pipe: %v", n, err)
	}
	if n, err := Read(in, make([]byte, 2<<20)); n != wrote || err != nil {
		t.Errorf("read %d of %d: %v", n, wrote, err)
	}
	unix.Close(fds[1])
	if n, err := Read(in, make([]byte, 1)); n != 0 || err != io.EOF {
		t.Errorf("read %d at the end: %v", n, err)
	}
	if n, err := Read(in, nil); n != 0 || err != nil {
		t.Errorf("read %d into nothing: %v", n, err)
	}
}
