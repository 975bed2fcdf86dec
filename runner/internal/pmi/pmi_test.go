package pmi

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"os"
	"slices"
	"sync"
	"testing"

	"go.uber.org/goleak"
	"golang.org/x/sys/unix"
	"google.golang.org/protobuf/proto"

	"k8s-burst/runner/internal/channel"
	"k8s-burst/runner/internal/frame"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// pod is the supervisor's side of a task's channels, joined to a launcher's.
type pod struct {
	hub    *channel.Hub
	opened chan *channel.Conn // by either side, as the other sees it
	open   func(purpose string) (*channel.Conn, error)
}

// newPod joins two hubs under one lock.
func newPod(t *testing.T) *pod {
	t.Helper()
	var mu sync.Mutex
	more := sync.NewCond(&mu)
	launcher := channel.NewHub(channel.Launcher, &mu, more.Signal)
	p := &pod{hub: channel.NewHub(channel.Supervisor, &mu, more.Signal), opened: make(chan *channel.Conn, 8)}
	p.open = launcher.Open
	over, done := false, make(chan struct{})
	go func() {
		defer close(done)
		mu.Lock()
		defer mu.Unlock()
		for !over {
			moved := p.move(t, launcher, p.hub)
			if !p.move(t, p.hub, launcher) && !moved {
				more.Wait()
			}
		}
	}()
	t.Cleanup(func() {
		mu.Lock()
		over = true
		launcher.End()
		p.hub.End()
		more.Signal()
		mu.Unlock()
		<-done
	})
	return p
}

func (p *pod) move(t *testing.T, from, to *channel.Hub) bool {
	f := from.Next()
	if f == nil {
		return false
	}
	opened, err := to.Receive(proto.CloneOf(f))
	if err != nil {
		t.Error(err)
	}
	if opened != nil {
		p.opened <- opened
	}
	return true
}

func TestPortOf(t *testing.T) {
	for purpose, want := range map[string]uint32{
		PortPurpose(65535): 65535, SocketPurpose(11): 0, "port 65536": 0, "port -1": 0, "port ": 0, "command": 0,
	} {
		if port, ok := PortOf(purpose); ok != (want != 0) || ok && port != want {
			t.Errorf("%q: %d %v", purpose, port, ok)
		}
	}
}

// Variables alone are the user's to set: without an inherited socket and without a word of the plugin there is no wire.
func TestVariablesAloneAreNoWire(t *testing.T) {
	null, err := os.Open(os.DevNull)
	if err != nil {
		t.Fatal(err)
	}
	defer null.Close()
	for _, env := range [][]string{nil, {"PMI_FD=999"}, {"PMI_FD=1"}, {"PMI_FD=-1"}, {"PMI_FD=x"}, {fmt.Sprintf("PMI_FD=%d", null.Fd())},
		{"PMIX_SERVER_URI2=pmix-server.1;tcp4://127.0.0.1:22"}} {
		w, err := Inherit(env, nil)
		if err != nil || len(w.Sockets())+len(w.Ports()) > 0 || !slices.Equal(w.Environment(env), env) {
			t.Errorf("%q: %v %v %v", env, w, err, w.Environment(env))
		}
	}
}

// What goes into the inherited socket on the gateway comes out of the one in the pod, and back; the end too.
func TestSocket(t *testing.T) {
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	stepd := os.NewFile(uintptr(fds[0]), "slurmstepd")
	defer stepd.Close()
	env := []string{"A=1", fmt.Sprintf("PMI_FD=%d", fds[1])}
	w, err := Inherit(env, nil)
	if err != nil || len(w.Sockets()) != 1 {
		t.Fatal(w, err)
	}
	fd := w.Sockets()[0]
	if got := w.Environment(env); !slices.Equal(got, []string{"A=1", fmt.Sprintf("PMI_FD=%d", fd)}) {
		t.Errorf("environment %q", got)
	}
	p := newPod(t)
	if err := w.Open(p.open); err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	conn := <-p.opened
	if conn.Purpose() != SocketPurpose(fd) {
		t.Errorf("purpose %q", conn.Purpose())
	}
	ours, theirs, err := Pair()
	if err != nil {
		t.Fatal(err)
	}
	var joined sync.WaitGroup
	joined.Go(func() { Join(ours, conn) })
	fmt.Fprintf(theirs, "cmd=fullinit;\n")
	if line, err := bufio.NewReader(stepd).ReadString('\n'); line != "cmd=fullinit;\n" {
		t.Errorf("%q %v", line, err)
	}
	fmt.Fprintf(stepd, "cmd=fullinit-response;\n")
	if line, err := bufio.NewReader(theirs).ReadString('\n'); line != "cmd=fullinit-response;\n" {
		t.Errorf("%q %v", line, err)
	}
	theirs.Close()
	if n, err := stepd.Read(make([]byte, 1)); err != io.EOF {
		t.Errorf("after the task's end: %d %v", n, err)
	}
	stepd.Close()
	joined.Wait()
}

// What a program writes at once the other reads at once, wherever the channel's chunks and windows end: sockets of packets
// show which bytes went together.
func TestMessagesStayWhole(t *testing.T) {
	p := newPod(t)
	var joined sync.WaitGroup
	packets := func(conn *channel.Conn) *net.UnixConn {
		var ends [2]net.Conn
		fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
		if err != nil {
			t.Fatal(err)
		}
		for i, fd := range fds {
			file := os.NewFile(uintptr(fd), "packets")
			defer file.Close()
			if ends[i], err = net.FileConn(file); err != nil {
				t.Fatal(err)
			}
		}
		joined.Go(func() { Join(ends[0].(Socket), conn) })
		return ends[1].(*net.UnixConn)
	}
	conn, err := p.hub.Open("x")
	if err != nil {
		t.Fatal(err)
	}
	from, to := packets(conn), packets(<-p.opened)
	defer joined.Wait()
	defer to.Close()
	defer from.Close()

	sizes, ends := []int{frame.Chunk, 16, 40000}, map[int]bool{}
	for i := range 60 { // together less than a packet may have
		sizes = append(sizes, 16+i*37)
	}
	end := 0
	for _, size := range sizes {
		end += size
		ends[end] = true
	}
	joined.Go(func() {
		for _, size := range sizes {
			if _, err := from.Write(make([]byte, size)); err != nil {
				t.Error(err)
			}
		}
	})
	for got, packet := 0, make([]byte, frame.ChannelWindow); got < end; {
		n, err := to.Read(packet)
		if got += n; err != nil || !ends[got] {
			t.Fatalf("%d bytes came of %d, and end within a message: %v", got, end, err)
		}
	}
}

// A connection in the pod becomes one on the gateway, to the port that the plugin has named and to no other.
func TestPorts(t *testing.T) {
	listeners, ports := make([]net.Listener, 2), make([]uint32, 2)
	for i := range listeners {
		var err error
		if listeners[i], err = net.Listen("tcp4", "127.0.0.1:0"); err != nil {
			t.Fatal(err)
		}
		defer listeners[i].Close()
		ports[i] = uint32(listeners[i].Addr().(*net.TCPAddr).Port)
	}
	w, err := Inherit(nil, ports[:1])
	if err != nil {
		t.Fatal(err)
	}
	if got := w.Environment([]string{"PMIX_MCA_gds=shmem2"}); !slices.Equal(got, []string{"PMIX_MCA_gds=hash"}) {
		t.Errorf("environment %q", got)
	}
	p := newPod(t)
	var served sync.WaitGroup
	defer served.Wait()
	serve := func(purpose string) (*channel.Conn, bool) {
		conn, err := p.hub.Open(purpose)
		if err != nil {
			t.Fatal(err)
		}
		theirs := <-p.opened
		ours := make(chan bool, 1)
		served.Go(func() { ours <- w.Serve(theirs) })
		if purpose == PortPurpose(ports[0]) {
			return conn, true
		}
		return conn, <-ours
	}
	other, taken := serve(PortPurpose(ports[1]))
	if n, err := other.Read(make([]byte, 1)); !taken || err != io.EOF {
		t.Errorf("a port that is not the task's: %v %d %v", taken, n, err)
	}
	if command, taken := serve("command"); taken {
		t.Error("a command was taken for a port")
	} else {
		command.Close()
	}
	conn, _ := serve(PortPurpose(ports[0]))
	server, err := listeners[0].Accept()
	if err != nil {
		t.Fatal(err)
	}
	fmt.Fprintf(conn, "hello\n")
	if line, err := bufio.NewReader(server).ReadString('\n'); line != "hello\n" {
		t.Errorf("%q %v", line, err)
	}
	// Each direction ends by itself.
	_ = conn.CloseWrite()
	if n, err := server.Read(make([]byte, 1)); err != io.EOF {
		t.Errorf("after the end: %d %v", n, err)
	}
	fmt.Fprintf(server, "bye\n")
	server.Close()
	if rest, err := io.ReadAll(conn); string(rest) != "bye\n" || err != nil {
		t.Errorf("%q %v", rest, err)
	}
	conn.Close()
}
