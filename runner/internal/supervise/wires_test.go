package supervise

import (
	"fmt"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	pb "k8s-burst/runner/internal/pb/burst/v1"
)

// freePort is one that nobody listens at; somebody may until it is used, but nobody here does.
func freePort(t *testing.T) uint32 {
	t.Helper()
	listener, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	return uint32(listener.Addr().(*net.TCPAddr).Port)
}

func wired(task, script string, port uint32) *pb.Open {
	open := shell(task, "")
	open.Start.Argv = [][]byte{[]byte("/bin/bash"), []byte("-c"), []byte(script)}
	open.Start.Ports = []uint32{port}
	return open
}

// channel waits for a frame of a channel.
func (k *talker) channel() *pb.Channel {
	k.t.Helper()
	for {
		if f := k.next(); f.GetChannel() != nil {
			return f.GetChannel()
		}
	}
}

// Two tasks of a step have the same port. Each one's connection goes through its own launcher, and the port stays for as
// long as one of them runs. Whoever belongs to neither is not let in.
func TestPortOfAStep(t *testing.T) {
	r := supervisor(t, nil)
	session, port := r.session(), freePort(t)
	script := fmt.Sprintf(`exec 3<>/dev/tcp/127.0.0.1/%d || exit 1; (echo "I am $K8S_BURST_TASK" >&3); read -ru 3 line; echo "$line"`, port)
	talkers := map[string]*talker{}
	for _, name := range []string{"0.0", "0.1"} {
		talkers[name] = r.talk(session, wired(name, script, port))
		if f := talkers[name].next(); f.GetOpened() == nil {
			t.Fatalf("got %v", f)
		}
	}
	stranger, err := net.Dial("tcp4", fmt.Sprintf("127.0.0.1:%d", port))
	if err != nil {
		t.Fatal(err)
	}
	defer stranger.Close()
	_ = stranger.SetReadDeadline(time.Now().Add(patience))
	if n, err := stranger.Read(make([]byte, 1)); n != 0 || err == nil || strings.Contains(err.Error(), "timeout") {
		t.Errorf("a stranger was let in: %d %v", n, err)
	}
	for _, name := range []string{"0.1", "0.0"} {
		k := talkers[name]
		first := k.channel()
		id, got := first.GetId(), string(first.GetData())
		if first.GetPurpose() != fmt.Sprintf("port %d", port) {
			t.Errorf("purpose %q", first.GetPurpose())
		}
		for !strings.Contains(got, "\n") {
			got += string(k.channel().GetData())
		}
		if got != "I am "+name+"\n" {
			t.Errorf("through the launcher of %s: %q", name, got)
		}
		k.send(toPod(&pb.Channel{Id: id, Data: []byte("welcome " + name + "\n"), Acknowledged: uint64(len(got))}))
		if out, exit := k.until(); out != "welcome "+name+"\n" || exit.GetCode() != 0 {
			t.Errorf("%s: %q %v", name, out, exit)
		}
		k.collect()
	}
	again, err := net.Listen("tcp4", fmt.Sprintf("127.0.0.1:%d", port))
	if err != nil {
		t.Fatalf("the port is not free after the step: %v", err)
	}
	again.Close()
}

// A task that can't have its port does not start, and says why.
func TestPortThatIsTaken(t *testing.T) {
	r := supervisor(t, nil)
	taken, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	k := r.talk(r.session(), wired("0.0", "true", uint32(taken.Addr().(*net.TCPAddr).Port)))
	if f := k.next(); !strings.Contains(f.GetFailure().GetMessage(), "address already in use") {
		t.Errorf("got %v", f)
	}
}

// A task inherits a socket at the number that its launcher asks for, and its bytes go both ways until either side ends.
func TestInheritedSocket(t *testing.T) {
	r := supervisor(t, nil)
	for _, fd := range []uint32{5, 6, 11, 200} {
		open := shell(fmt.Sprintf("%d.0", fd), "")
		script := fmt.Sprintf(`echo cmd=init >&%d; read -ru %d line; echo "$line"`, fd, fd)
		open.Start.Argv = [][]byte{[]byte("/bin/bash"), []byte("-c"), []byte(script)}
		open.Start.Sockets = []uint32{fd}
		k := r.talk(r.session(), open)
		if f := k.next(); f.GetOpened() == nil {
			t.Fatalf("got %v", f)
		}
		k.send(toPod(&pb.Channel{Id: 1, Purpose: fmt.Sprintf("socket %d", fd)}))
		got := ""
		for !strings.Contains(got, "\n") {
			got += string(k.channel().GetData())
		}
		k.send(toPod(&pb.Channel{Id: 1, Data: []byte("cmd=response\n"), Acknowledged: uint64(len(got))}))
		if out, exit := k.until(); got != "cmd=init\n" || out != "cmd=response\n" || exit.GetCode() != 0 {
			t.Errorf("at %d: %q, %q, %v", fd, got, out, exit)
		}
		k.collect()
	}
}

func TestBadDescriptorsAndPorts(t *testing.T) {
	r := supervisor(t, nil)
	for _, start := range []*pb.Start{
		{Sockets: []uint32{4}}, {Sockets: []uint32{1024}}, {Sockets: []uint32{7, 7}}, {Ports: []uint32{0}}, {Ports: []uint32{65536}},
	} {
		open := shell("0.0", "true")
		open.Start.Sockets, open.Start.Ports = start.GetSockets(), start.GetPorts()
		k := r.talk(r.session(), open)
		if f := k.next(); !strings.Contains(f.GetFailure().GetMessage(), "PMI") {
			t.Errorf("%v: got %v", start, f)
		}
		if err := k.in.Read(&pb.FromPod{}); err != io.EOF {
			t.Errorf("%v: %v", start, err)
		}
	}
}
