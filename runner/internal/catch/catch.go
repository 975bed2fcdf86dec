// Package catch catches many signals at little cost.
//
// os/signal hands each signal that it begins or ceases to catch to a thread of its own and waits for it: tens of
// microseconds for each, milliseconds for the fifty of a launcher or a stand-in, at its start and again at its end. Here a
// handler of a few instructions, set straight with rt_sigaction, writes the signal's number to a pipe. Signals that the
// processor raises as well (SIGSEGV, SIGBUS, SIGFPE) stay with os/signal, which tells a fault of this program from one that
// was sent.
package catch

import (
	"os"
	"os/signal"
	"sync"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// handler and restorer are in assembly: what the kernel calls, and what ends that.
func handler()
func restorer()

// address of one of the two: 0 for the handler, 1 for the restorer, which not every architecture has.
func address(which int) uintptr

// pipeFD is where the handler writes to. The pipe is made once and stays: a handler may be under way at any time.
var pipeFD int32

var pipe = sync.OnceValues(func() (*os.File, error) {
	var fds [2]int
	if err := unix.Pipe2(fds[:], unix.O_CLOEXEC|unix.O_NONBLOCK); err != nil {
		return nil, os.NewSyscallError("pipe2", err)
	}
	pipeFD = int32(fds[1])
	return os.NewFile(uintptr(fds[0]), "signals"), nil
})

// sigaction is struct kernel_sigaction.
type sigaction struct {
	handler, flags, restorer uintptr
	mask                     uint64
}

const (
	onStack  = 0x08000000 // SA_ONSTACK: Go's stacks are small, each of its threads has another for signals
	restart  = 0x10000000 // SA_RESTART
	restores = 0x04000000 // SA_RESTORER
)

func swap(number syscall.Signal, action, old *sigaction) error {
	_, _, errno := unix.RawSyscall6(unix.SYS_RT_SIGACTION, uintptr(number), uintptr(unsafe.Pointer(action)),
		uintptr(unsafe.Pointer(old)), unsafe.Sizeof(sigaction{}.mask), 0, 0)
	if errno != 0 {
		return os.NewSyscallError("rt_sigaction", errno)
	}
	return nil
}

// Caught delivers signals until Close. A process has one at a time.
type Caught struct {
	// C has the signals in the order in which threads took them: of two that come at once, either may be the first. One
	// that finds it full is lost.
	C chan os.Signal

	before map[syscall.Signal]*sigaction
	loop   sync.WaitGroup
}

// PassedOn lists the signals that a process passes on which stands for another one, and more: all that somebody may send
// it, but none that kernel or Go runtime send for its own sake (PIPE, CHLD, URG, PROF, TTIN, TTOU; 32 and 33 are the C
// library's).
func PassedOn(more ...syscall.Signal) []syscall.Signal {
	all := append([]syscall.Signal{
		syscall.SIGHUP, syscall.SIGINT, syscall.SIGQUIT, syscall.SIGABRT, syscall.SIGUSR1, syscall.SIGUSR2, syscall.SIGALRM,
		syscall.SIGTERM, syscall.SIGCONT, syscall.SIGXCPU, syscall.SIGXFSZ, syscall.SIGIO, syscall.SIGPWR,
	}, more...)
	for number := syscall.Signal(34); number <= 64; number++ {
		all = append(all, number)
	}
	return all
}

// Signals begins to catch.
func Signals(numbers []syscall.Signal) (*Caught, error) {
	from, err := pipe()
	if err != nil {
		return nil, err
	}
	c := &Caught{C: make(chan os.Signal, 64), before: map[syscall.Signal]*sigaction{}}
	c.loop.Go(func() { c.deliver(from) })
	action := &sigaction{handler: address(0), flags: onStack | restart, mask: ^uint64(0)}
	if action.restorer = address(1); action.restorer != 0 {
		action.flags |= restores
	}
	for _, number := range numbers {
		switch number {
		case syscall.SIGSEGV, syscall.SIGBUS, syscall.SIGFPE:
			signal.Notify(c.C, number)
			continue
		}
		c.before[number] = new(sigaction)
		if err := swap(number, action, c.before[number]); err != nil {
			delete(c.before, number)
			c.Close()
			return nil, err
		}
	}
	return c, nil
}

// deliver ends with a zero, which is no signal.
func (c *Caught) deliver(from *os.File) {
	buf := make([]byte, 64)
	for {
		n, err := from.Read(buf)
		for _, number := range buf[:n] {
			if number == 0 {
				return
			}
			select {
			case c.C <- syscall.Signal(number):
			default:
			}
		}
		if err != nil {
			return
		}
	}
}

// Close gives every signal the effect that it had before.
func (c *Caught) Close() {
	signal.Stop(c.C)
	for number, action := range c.before {
		_ = swap(number, action, nil) // as it was set before, so it can be set again
	}
	_, _ = unix.Write(int(pipeFD), []byte{0})
	c.loop.Wait()
}
