package supervise

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"k8s-burst/runner/internal/channel"
	"k8s-burst/runner/internal/frame"
	pb "k8s-burst/runner/internal/pb/burst/v1"
)

// alone is a state whose channels nobody uses.
func alone() *state {
	return newState(channel.NewHub(channel.Supervisor, &sync.Mutex{}, func() {}), func([]byte) int { return 0 })
}

func TestMembers(t *testing.T) {
	all := []process{
		{pid: 1, parent: 0, session: 1},
		{pid: 10, parent: 1, session: 10, tag: "3.0"},
		{pid: 11, parent: 10, session: 10, tag: "3.0"},
		{pid: 12, parent: 1, session: 12, tag: "3.0"},    // daemon: another session, another parent
		{pid: 13, parent: 10, session: 10},               // env -i
		{pid: 14, parent: 13, session: 14},               // setsid below it
		{pid: 15, parent: 1, session: 10},                // orphan of the session
		{pid: 16, parent: 10, session: 10, zombie: true}, // ended
		{pid: 20, parent: 1, session: 20, tag: "3.01"},   // another task: the tag is no prefix
		{pid: 21, parent: 20, session: 20, tag: "3.01"},  //
		{pid: 22, parent: 11, session: 10, tag: "35.0"},  // a step's task started from within this one
		{pid: 23, parent: 22, session: 10, tag: "35.0"},  //
		{pid: 30, parent: 0, session: 30},                // attach
		{pid: 31, parent: 1, session: 31, tag: "K8S_BURST_TASK=3.0"} /* a tag is a whole value */}
	if got, want := members(all, "3.0", 10), []int{10, 11, 12, 13, 14, 15}; !slices.Equal(got, want) {
		t.Errorf("3.0: %v, want %v", got, want)
	}
	if got, want := members(all, "35.0", 22), []int{22, 23}; !slices.Equal(got, want) {
		t.Errorf("35.0: %v, want %v", got, want)
	}
	if got := members(all[:1], "3.0", 10); len(got) != 0 {
		t.Errorf("a task that has ended: %v", got)
	}
}

func TestBelowReadsProc(t *testing.T) {
	root := t.TempDir()
	write := func(name, text string) {
		t.Helper()
		path := filepath.Join(root, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("1/task/1/children", "7 ")
	write("1/task/3/children", "8 9 99\n")
	write("7/task/7/children", "10")
	write("7/stat", "7 (a) b (c)) S 1 6 4 0 -1")
	write("7/environ", "XK8S_BURST_TASK=no\x00K8S_BURST_TASK=3.0\x00A=1")
	write("8/stat", "8 (x) Z 1 6 4 0 -1")
	write("9/stat", "nonsense")
	write("10/stat", "10 (y) S 7 6 4 0 -1")
	write("20/stat", "20 (attach) S 0 20 20 0 -1")
	got := below(root, 1)
	want := []process{{pid: 7, parent: 1, session: 4, tag: "3.0"}, {pid: 8, parent: 1, session: 4, zombie: true},
		{pid: 10, parent: 7, session: 4}}
	if !slices.Equal(got, want) {
		t.Errorf("got %+v", got)
	}
}

func TestOOMCounter(t *testing.T) {
	for _, c := range []struct{ name, file, text, self string }{
		{"v2 in a cgroup namespace", "memory.events", "oom 1\noom_kill 5\noom_group_kill 0\n", "0::/\n"},
		{"v2 without", "kubepods/pod1/memory.events", "oom_kill 5\n", "0::/kubepods/pod1\n"},
		{"v1", "memory/memory.oom_control", "oom_kill_disable 0\nunder_oom 0\noom_kill 5\n", "3:cpu,cpuacct:/\n2:memory:/x/y\n"},
		{"v1 without", "memory/x/y/memory.oom_control", "oom_kill 5\n", "2:memory:/x/y\n0::/\n"},
	} {
		root := t.TempDir()
		self := filepath.Join(root, "self")
		path := filepath.Join(root, c.file)
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		for name, text := range map[string]string{path: c.text, self: c.self} {
			if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		if got := newOOMCounter(root, self).count(); got != 5 {
			t.Errorf("%s: %d", c.name, got)
		}
	}
	if got := newOOMCounter(t.TempDir(), "/nonexistent").count(); got != 0 {
		t.Errorf("without a cgroup: %d", got)
	}
}

func TestResolve(t *testing.T) {
	dir := t.TempDir()
	t.Chdir(dir)
	for _, name := range []string{"a/prog", "b/prog", "c/prog/x"} {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	env := []string{fmt.Sprintf("PATH=%s/c::%s/b:%s/a", dir, dir, dir)}
	for _, c := range []struct{ name, want string }{
		{"/bin/x", "/bin/x"}, {"./prog", dir + "/./prog"}, {"prog", dir + "/b/prog"}, {"none", "none"},
	} {
		if got := resolve(c.name, env); got != c.want {
			t.Errorf("%s: got %s, want %s", c.name, got, c.want)
		}
	}
}

func TestExecFailure(t *testing.T) {
	script := filepath.Join(t.TempDir(), "script")
	if err := os.WriteFile(script, []byte("#!/no/such/shell -x\nexit\n"), 0o700); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		path string
		err  error
		want string
	}{
		{"none", syscall.ENOENT, "execve(): none: No such file or directory"},
		{"/etc/passwd", syscall.EACCES, "execve(): /etc/passwd: Permission denied"},
		{script, syscall.ENOENT, "execve(): bad interpreter(/no/such/shell -x): No such file or directory"},
	} {
		got := execFailure(c.path, c.err)
		if got.GetMessage() != c.want || got.GetErrno() != uint32(c.err.(syscall.Errno)) {
			t.Errorf("got %v, want %s", got, c.want)
		}
	}
}

// sends is what the supervisor would send now, by name.
func sends(s *state) string {
	var names []string
	for f := s.next(time.Now()); f != nil; f = s.next(time.Now()) {
		name := strings.TrimPrefix(fmt.Sprintf("%T", f.GetFrame()), "*burstv1.FromPod_")
		if o := f.GetOutput(); o != nil {
			name = fmt.Sprintf("%s%d+%d", o.GetStream(), o.GetOffset(), len(o.GetData()))
			name = strings.TrimPrefix(name, "OUTPUT_STREAM_")
		}
		names = append(names, name)
	}
	return strings.Join(names, " ")
}

func toPod(frame any) *pb.ToPod {
	switch f := frame.(type) {
	case *pb.Input:
		return &pb.ToPod{Frame: &pb.ToPod_Input{Input: f}}
	case *pb.Ack:
		return &pb.ToPod{Frame: &pb.ToPod_Ack{Ack: f}}
	case *pb.Signal:
		return &pb.ToPod{Frame: &pb.ToPod_Signal{Signal: f}}
	case *pb.ExitAck:
		return &pb.ToPod{Frame: &pb.ToPod_ExitAck{ExitAck: f}}
	case *pb.Open:
		return &pb.ToPod{Frame: &pb.ToPod_Open{Open: f}}
	case *pb.Channel:
		return &pb.ToPod{Frame: &pb.ToPod_Channel{Channel: f}}
	}
	panic("unknown frame")
}

func TestExitGoesAfterAllOutput(t *testing.T) {
	s := alone()
	if err := s.resume(&pb.Open{}, false); err != nil {
		t.Fatal(err)
	}
	s.out.Append([]byte("12345"))
	s.err.Append([]byte("123"))
	s.exit = &pb.Exit{StdoutEnd: 5, StderrEnd: 3}
	if got := sends(s); got != "Opened STDERR0+3 STDOUT0+5 Exit" {
		t.Errorf("sent %s", got)
	}
	// After a cut all of it goes again that the launcher does not have.
	if err := s.resume(&pb.Open{StdoutOffset: 2, StderrOffset: 3}, true); err != nil {
		t.Fatal(err)
	}
	if got := sends(s); got != "Opened STDOUT2+3 Exit" {
		t.Errorf("sent %s", got)
	}
}

func TestAcknowledgedOutputCannotBeAskedForAgain(t *testing.T) {
	s := alone()
	s.out.Append([]byte("12345"))
	if err := s.resume(&pb.Open{}, false); err != nil {
		t.Fatal(err)
	}
	sends(s)
	if _, err := s.receive(toPod(&pb.Ack{StdoutOffset: 3})); err != nil {
		t.Fatal(err)
	}
	for offset, ok := range map[uint64]bool{2: false, 3: true, 5: true, 6: false} {
		if err := s.resume(&pb.Open{StdoutOffset: offset}, true); (err == nil) != ok {
			t.Errorf("resumed at %d: %v", offset, err)
		}
	}
}

func TestASignalIsDeliveredOnce(t *testing.T) {
	s := alone()
	var got []uint32
	for _, sequence := range []uint64{1, 2, 2, 1, 3} {
		what, err := s.receive(toPod(&pb.Signal{Number: uint32(10 + sequence), Sequence: sequence}))
		if err != nil {
			t.Fatal(err)
		}
		if what.signal != nil {
			got = append(got, what.signal.GetNumber())
		}
	}
	if !slices.Equal(got, []uint32{11, 12, 13}) {
		t.Errorf("delivered %v", got)
	}
}

func TestProtocolErrors(t *testing.T) {
	for _, frame := range []any{
		&pb.Open{Task: "batch"}, &pb.ExitAck{}, &pb.Ack{StdoutOffset: 1}, &pb.Ack{StderrOffset: 1}, &pb.Ack{StdoutWindow: 1}, &pb.Ack{StderrWindow: frame.MostWindow + 1},
		&pb.Input{Offset: 1}, &pb.Input{Data: make([]byte, frame.MostWindow+1)},
	} {
		if _, err := alone().receive(toPod(frame)); err == nil {
			t.Errorf("%T %v was taken", frame, frame)
		}
	}
}

// The batch script begins at a count of 3; steps are their counts at start and end.
func TestWhoRanOutOfMemory(t *testing.T) {
	for _, c := range []struct {
		name   string
		steps  [][2]uint64
		end    uint64
		failed bool
		want   bool
	}{
		{"nobody", [][2]uint64{{3, 3}}, 3, true, false},
		{"the script's own process", nil, 4, false, true},
		{"a step, and the script coped", [][2]uint64{{3, 4}, {4, 4}}, 4, false, false},
		{"a step, and the script failed", [][2]uint64{{3, 4}}, 4, true, true},
		{"two tasks of a step, one kill", [][2]uint64{{3, 4}, {3, 4}}, 4, false, false},
		{"two tasks of a step, and the script", [][2]uint64{{3, 4}, {3, 4}}, 5, false, true},
		{"the script, before a step", [][2]uint64{{4, 5}}, 5, false, true},
	} {
		var b blame
		for _, step := range c.steps {
			if got := b.step(step[0], step[1]); got != (step[1] > step[0]) {
				t.Errorf("%s: step %v: got %v", c.name, step, got)
			}
		}
		if got := b.main(3, c.end, c.failed); got != c.want {
			t.Errorf("%s: got %v", c.name, got)
		}
	}
}
