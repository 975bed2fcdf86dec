// Package tty opens pseudo-terminals in the pod and makes the launcher's own terminal raw.
package tty

import (
	"fmt"
	"os"
	"strconv"

	"golang.org/x/sys/unix"

	pb "k8s-burst/runner/internal/pb/burst/v1"
)

// Open makes a pseudo-terminal. The master is registered with Go's poller, so that Close and deadlines end a blocked
// Read (os.OpenFile would do as well; Fd() on it would not). The caller closes both.
func Open() (master, slave *os.File, err error) {
	fd, err := unix.Open("/dev/ptmx", unix.O_RDWR|unix.O_NOCTTY|unix.O_CLOEXEC|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil, nil, fmt.Errorf("open /dev/ptmx: %w", err)
	}
	master = os.NewFile(uintptr(fd), "/dev/ptmx")
	number, err := unix.IoctlGetInt(fd, unix.TIOCGPTN)
	if err == nil {
		err = unix.IoctlSetPointerInt(fd, unix.TIOCSPTLCK, 0)
	}
	if err != nil {
		master.Close()
		return nil, nil, fmt.Errorf("unlock pseudo-terminal: %w", err)
	}
	path := "/dev/pts/" + strconv.Itoa(number)
	slaveFD, err := unix.Open(path, unix.O_RDWR|unix.O_NOCTTY|unix.O_CLOEXEC, 0)
	if err != nil {
		master.Close()
		return nil, nil, fmt.Errorf("open %s: %w", path, err)
	}
	return master, os.NewFile(uintptr(slaveFD), path), nil
}

// Resize sets the size of a terminal.
func Resize(file *os.File, size *pb.WindowSize) error {
	raw, err := file.SyscallConn()
	if err != nil {
		return err
	}
	var inner error
	err = raw.Control(func(fd uintptr) {
		inner = unix.IoctlSetWinsize(int(fd), unix.TIOCSWINSZ,
			&unix.Winsize{Row: uint16(size.Rows), Col: uint16(size.Columns)})
	})
	if err != nil {
		return err
	}
	return inner
}

// Size is the size of the terminal at fd, nil where fd is no terminal.
func Size(fd int) *pb.WindowSize {
	size, err := unix.IoctlGetWinsize(fd, unix.TIOCGWINSZ)
	if err != nil {
		return nil
	}
	return &pb.WindowSize{Rows: uint32(size.Row), Columns: uint32(size.Col)}
}

// MakeRaw lets every byte pass as it is, so that the terminal in the pod does the editing and the signals. Call restore
// at the end.
func MakeRaw(fd int) (restore func(), err error) {
	before, err := unix.IoctlGetTermios(fd, unix.TCGETS)
	if err != nil {
		return nil, fmt.Errorf("terminal settings: %w", err)
	}
	raw := *before
	raw.Iflag &^= unix.IGNBRK | unix.BRKINT | unix.PARMRK | unix.ISTRIP | unix.INLCR | unix.IGNCR | unix.ICRNL | unix.IXON
	raw.Oflag &^= unix.OPOST
	raw.Lflag &^= unix.ECHO | unix.ECHONL | unix.ICANON | unix.ISIG | unix.IEXTEN
	raw.Cflag &^= unix.CSIZE | unix.PARENB
	raw.Cflag |= unix.CS8
	raw.Cc[unix.VMIN], raw.Cc[unix.VTIME] = 1, 0
	if err := unix.IoctlSetTermios(fd, unix.TCSETS, &raw); err != nil {
		return nil, fmt.Errorf("raw terminal: %w", err)
	}
	return func() { _ = unix.IoctlSetTermios(fd, unix.TCSETS, before) }, nil
}
