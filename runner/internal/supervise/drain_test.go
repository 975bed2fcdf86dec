package supervise

import (
	"bytes"
	"errors"
	"io"
	"log/slog"
	"os"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"k8s-burst/runner/internal/tty"
)

// piece is what one read takes of a pipe: so much of it has room again.
const piece = 4 << 10

// drained reads what a task that has ended has left in from, calls between after each read but the last, and returns how
// many bytes there were.
func drained(t *testing.T, from *os.File, between func()) uint64 {
	t.Helper()
	task := newTask(&Supervisor{log: slog.New(slog.DiscardHandler)}, "0.0")
	d := &drain{task: task, from: from, to: task.st.out}
	if err := from.SetReadDeadline(time.Unix(1, 0)); err != nil {
		t.Fatal(err)
	}
	for range task.st.out.Room() / piece {
		err := d.read(task.st.out.Tail()[:piece])
		switch {
		case errors.Is(err, io.EOF), errors.Is(err, unix.EIO): // EIO: a terminal that nobody has open
			return task.st.out.End()
		case err != nil:
			t.Fatal(err)
		}
		between()
	}
	t.Fatal("what a task has left behind holds up its end")
	return 0
}

// Who is left behind with the pipe, and always has more, gets as much into the output as the pipe holds.
func TestAPipeThatIsNeverEmptyComesToItsEnd(t *testing.T) {
	r, w, err := pipe(readEnd)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	defer w.Close()
	holds, err := unix.FcntlInt(w.Fd(), unix.F_GETPIPE_SZ, 0)
	if err != nil {
		t.Fatal(err)
	}
	write := func(size int) {
		if _, err := w.Write(bytes.Repeat([]byte{'y'}, size)); err != nil {
			t.Fatal(err)
		}
	}
	write(holds)
	if got := drained(t, r, func() { write(piece) }); got != uint64(holds) {
		t.Errorf("%d bytes of a pipe that holds %d", got, holds)
	}
}

func TestATerminalIsReadToItsEnd(t *testing.T) {
	master, slave, err := tty.Open()
	if err != nil {
		t.Fatal(err)
	}
	defer master.Close()
	const size = piece / 2 // a terminal that nobody reads takes that
	if _, err := slave.Write(bytes.Repeat([]byte{'x'}, size)); err != nil {
		t.Fatal(err)
	}
	slave.Close()
	if got := drained(t, master, func() {}); got != size {
		t.Errorf("%d bytes of %d", got, size)
	}
}
