package standin

import (
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"sync"
	"syscall"

	"golang.org/x/sys/unix"

	"k8s-burst/runner/internal/frame"
	pb "k8s-burst/runner/internal/pb/burst/v1"
	"k8s-burst/runner/internal/tty"
)

// standIn is one conversation. Its goroutines end with the process.
type standIn struct {
	name string
	conn *net.UnixConn

	sending sync.Mutex
	out     *frame.Writer

	outputs [3]*os.File         // the terminal, standard output and error: by OutputStream
	files   map[uint32]*os.File // further ones, by number
	input   *os.File
	reading chan uint32 // how much standard input is wanted; nil before the first wish
	restore func()      // the terminal
}

func (s *standIn) send(f *pb.ToGateway) error {
	s.sending.Lock()
	defer s.sending.Unlock()
	return s.out.Write(f)
}

// run returns how the command has ended.
func (s *standIn) run(argv []string) (*pb.Exit, error) {
	signals, err := notify()
	if err != nil {
		return nil, err
	}
	start := command(argv)
	if err := s.send(&pb.ToGateway{Frame: &pb.ToGateway_Command{Command: start}}); err != nil {
		if errors.Is(err, frame.ErrTooLarge) {
			return nil, fmt.Errorf("arguments and environment are too large: %w", err)
		}
		return nil, fmt.Errorf("the pod's supervisor does not listen: %w", err)
	}
	s.outputs = [3]*os.File{os.Stdin, os.Stdout, os.Stderr}
	s.input = os.Stdin
	go s.passSignals(signals)
	frames := frame.NewReader(s.conn, frame.MaxFromPod)
	for {
		var f pb.FromGateway
		err := frames.Read(&f)
		if err != nil {
			return nil, errors.New("the task's way to the gateway has ended; the command may go on without this process")
		}
		switch body := f.GetFrame().(type) {
		case *pb.FromGateway_Output:
			s.write(body.Output)
		case *pb.FromGateway_InputWanted:
			if err := s.read(body.InputWanted, start.GetTerminal() != nil && s.input == os.Stdin); err != nil {
				return nil, err
			}
		case *pb.FromGateway_FileWanted:
			if err := s.sendFile(body.FileWanted); err != nil {
				return nil, err
			}
		case *pb.FromGateway_OpenOutput:
			if err := s.open(body.OpenOutput); err != nil {
				return nil, err
			}
		case *pb.FromGateway_OpenInput:
			if s.input, err = os.Open(filepath.Clean(string(body.OpenInput.GetPath()))); err != nil {
				return nil, err
			}
		case *pb.FromGateway_PathWanted:
			if err := s.send(&pb.ToGateway{Frame: &pb.ToGateway_Path{Path: pathInfo(string(body.PathWanted.GetPath()))}}); err != nil {
				return nil, err
			}
		case *pb.FromGateway_Exit:
			return body.Exit, nil
		}
	}
}

// write passes output on. Where nobody reads it, the command is to hear of it.
func (s *standIn) write(o *pb.CommandOutput) {
	if file := s.files[o.GetFile()]; file != nil {
		_, _ = file.Write(o.GetData()) // as with the command's own file, what does not fit is lost
		return
	}
	i := int(o.GetStream())
	if i < 0 || i >= len(s.outputs) || s.outputs[i] == nil {
		return
	}
	if _, err := s.outputs[i].Write(o.GetData()); err != nil {
		s.outputs[i] = nil
		_ = s.send(&pb.ToGateway{Frame: &pb.ToGateway_OutputClosed{OutputClosed: o.GetStream()}})
	}
}

// read grants the reader of standard input more. A terminal passes every key from now on: the one on the gateway, which
// the command has, does the editing and makes the signals.
func (s *standIn) read(wanted uint32, terminal bool) error {
	if s.reading == nil {
		if terminal {
			restore, err := tty.MakeRaw(0)
			if err != nil {
				return err
			}
			s.restore = restore
		}
		s.reading = make(chan uint32, 64)
		go s.passInput()
	}
	s.reading <- wanted
	return nil
}

func (s *standIn) restoreTerminal() {
	if s.restore != nil {
		s.restore()
	}
}

func (s *standIn) passInput() {
	buf := make([]byte, frame.Chunk)
	credit := 0
	for {
		for credit == 0 {
			credit = int(<-s.reading)
		}
		n, err := s.input.Read(buf[:min(credit, len(buf))])
		if n > 0 {
			credit -= n
			if s.send(&pb.ToGateway{Frame: &pb.ToGateway_Input{Input: buf[:n]}}) != nil {
				return
			}
		}
		if err != nil {
			_ = s.send(&pb.ToGateway{Frame: &pb.ToGateway_InputEnd{InputEnd: &pb.InputEnd{}}})
			return
		}
	}
}

func (s *standIn) passSignals(signals <-chan os.Signal) {
	for got := range signals {
		f := &pb.ToGateway{Frame: &pb.ToGateway_Signal{Signal: uint32(got.(syscall.Signal))}}
		if got == syscall.SIGWINCH {
			size := tty.Size(0)
			if size == nil {
				continue
			}
			f = &pb.ToGateway{Frame: &pb.ToGateway_WindowSize{WindowSize: size}}
		}
		if s.send(f) != nil {
			return
		}
	}
}

// sendFile answers a wish for a file of the pod.
func (s *standIn) sendFile(wanted *pb.FileWanted) error {
	file, mode, err := openFile(string(wanted.GetPath()))
	if err != nil {
		return s.sendChunk(&pb.FileChunk{Errno: errnoOf(err)})
	}
	defer file.Close()
	left := wanted.GetMost()
	buf := make([]byte, frame.Chunk)
	for {
		n, err := file.Read(buf)
		if uint64(n) > left {
			return s.sendChunk(&pb.FileChunk{Errno: uint32(syscall.EFBIG)})
		}
		left -= uint64(n)
		if n > 0 {
			if err := s.sendChunk(&pb.FileChunk{Data: buf[:n], Mode: mode}); err != nil {
				return err
			}
		}
		if errors.Is(err, io.EOF) {
			return s.sendChunk(&pb.FileChunk{End: true, Mode: mode})
		}
		if err != nil {
			return s.sendChunk(&pb.FileChunk{Errno: errnoOf(err)})
		}
	}
}

func (s *standIn) sendChunk(c *pb.FileChunk) error {
	return s.send(&pb.ToGateway{Frame: &pb.ToGateway_File{File: c}})
}

func openFile(path string) (*os.File, uint32, error) {
	file, err := os.Open(filepath.Clean(path))
	if err != nil {
		return nil, 0, err
	}
	info, err := file.Stat()
	if err == nil && info.IsDir() {
		err = syscall.EISDIR
	}
	if err != nil {
		file.Close()
		return nil, 0, err
	}
	return file, uint32(info.Mode().Perm()), nil
}

func errnoOf(err error) uint32 {
	var errno syscall.Errno
	if errors.As(err, &errno) {
		return uint32(errno)
	}
	return uint32(syscall.EIO)
}

// open makes a file of the pod for output that is about to come.
func (s *standIn) open(o *pb.OpenOutput) error {
	flags := os.O_WRONLY | os.O_CREATE | os.O_TRUNC
	if o.GetAppend() {
		flags = os.O_WRONLY | os.O_CREATE | os.O_APPEND
	}
	file, err := os.OpenFile(filepath.Clean(string(o.GetPath())), flags, 0o666)
	if err != nil {
		return err
	}
	if s.files == nil {
		s.files = map[uint32]*os.File{}
	}
	s.files[o.GetFile()] = file
	return nil
}

func pathInfo(path string) *pb.PathInfo {
	var st unix.Stat_t
	if err := unix.Stat(path, &st); err != nil {
		return &pb.PathInfo{Errno: errnoOf(err)}
	}
	return &pb.PathInfo{Inode: st.Ino, Mode: st.Mode, ChangedNs: st.Ctim.Nano(), ModifiedNs: st.Mtim.Nano()}
}
