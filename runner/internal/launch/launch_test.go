package launch

import (
	"context"
	"errors"
	"io"
	"net"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"k8s-burst/runner/internal/frame"
	pb "k8s-burst/runner/internal/pb/burst/v1"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// gatewayd is the other side of each connection that a launcher makes.
type gatewayd struct {
	t *testing.T
	net.Conn
	in  *frame.Reader
	out *frame.Writer
}

func (g *gatewayd) hello(reply *pb.HelloReply) {
	g.t.Helper()
	var hello pb.Hello
	if err := g.in.Read(&hello); err != nil || hello.GetJobId() != 7 || hello.GetNodeName() != "k8s-0" {
		g.t.Errorf("hello: %v %v", &hello, err)
	}
	g.reply(reply)
}

func (g *gatewayd) reply(reply *pb.HelloReply) {
	g.t.Helper()
	if err := g.out.Write(reply); err != nil {
		g.t.Errorf("reply: %v", err)
	}
}

func (g *gatewayd) send(frames ...*pb.FromPod) {
	g.t.Helper()
	for _, f := range frames {
		if err := g.out.Write(f); err != nil {
			g.t.Errorf("frame: %v", err)
		}
	}
}

func (g *gatewayd) next() *pb.ToPod {
	g.t.Helper()
	var f pb.ToPod
	if err := g.in.Read(&f); err != nil {
		g.t.Errorf("no frame: %v", err)
	}
	return &f
}

func connected(uid string) *pb.HelloReply {
	return &pb.HelloReply{Reply: &pb.HelloReply_Connected{Connected: &pb.Connected{PodUid: uid}}}
}

func progress(message string) *pb.HelloReply {
	return &pb.HelloReply{Reply: &pb.HelloReply_Progress{Progress: &pb.Progress{Message: message}}}
}

// user is what the launcher's user sees, and does.
type user struct {
	mu       sync.Mutex // for said and times
	out, err strings.Builder
	said     []string
	times    []time.Duration
	signals  chan Signal
}

// play runs a launcher; each connection that it makes is given to the next of turns, and to the last of them for ever.
func play(t *testing.T, giveUp time.Duration, do func(*user), turns ...func(*gatewayd)) (Outcome, *user) {
	u := &user{signals: make(chan Signal)}
	begin := time.Now()
	var serving sync.WaitGroup
	turn := 0
	l := New(Config{
		JobID: 7, Node: "k8s-0", Task: "batch", GiveUp: giveUp, Stdout: &u.out, Stderr: &u.err, Signals: u.signals,
		Start: func(*pb.Connected) *pb.Start { return &pb.Start{Argv: [][]byte{[]byte("true")}} },
		Say: func(line string) {
			u.mu.Lock()
			defer u.mu.Unlock()
			u.said = append(u.said, line)
			u.times = append(u.times, time.Since(begin).Truncate(time.Second))
		},
		Dial: func(context.Context) (net.Conn, error) {
			if len(turns) == 0 {
				return nil, errors.New("connection refused")
			}
			ours, theirs := net.Pipe()
			serve := turns[min(turn, len(turns)-1)]
			turn++
			serving.Go(func() {
				defer theirs.Close()
				serve(&gatewayd{t, theirs, frame.NewReader(theirs, frame.MaxToPod), frame.NewWriter(theirs, frame.MaxFromPod)})
			})
			return ours, nil
		},
	})
	if do != nil {
		serving.Go(func() { do(u) })
	}
	outcome := l.Run(t.Context())
	serving.Wait()
	return outcome, u
}

// drain reads until the launcher closes.
func (g *gatewayd) drain() { _, _ = io.Copy(io.Discard, g.in.Rest()) }

func TestRunsATask(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		outcome, u := play(t, time.Hour, nil, func(g *gatewayd) {
			g.hello(connected("a"))
			if f := g.next(); f.GetOpen().GetTask() != "batch" || f.GetOpen().GetStart() == nil {
				t.Errorf("first frame: %v", f)
			}
			g.send(opened(&pb.Opened{}))
			if f := g.next(); !f.GetInput().GetEof() {
				t.Errorf("no end of input: %v", f)
			}
			g.send(output(stdout, 0, "out"), output(stderr, 0, "err"), exit(7, 3, 3))
			g.drain()
		})
		if outcome.Exit.GetCode() != 7 || u.out.String() != "out" || u.err.String() != "err" || len(u.said) > 0 {
			t.Errorf("%+v, %q %q, said %q", outcome, &u.out, &u.err, u.said)
		}
	})
}

// A gatewayd that is away is mentioned after two seconds, once a minute; then the launcher gives up.
func TestGivesUpWithoutGatewayd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		outcome, u := play(t, 150*time.Second, nil)
		if outcome.GaveUp == nil || outcome.Started {
			t.Errorf("%+v", outcome)
		}
		if len(u.said) != 3 || u.times[0] < 2*time.Second || u.times[0] > 5*time.Second || u.times[1]-u.times[0] < time.Minute {
			t.Errorf("said %q at %v", u.said, u.times)
		}
	})
}

// What is waited for is said at once, then at most once a minute, and giving up needs no word from gatewayd.
func TestGivesUpWaitingForThePod(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		outcome, u := play(t, 130*time.Second, nil, func(g *gatewayd) {
			g.hello(progress("pulling the image"))
			for range 100 {
				time.Sleep(time.Second)
				g.reply(progress("still pulling"))
			}
			g.drain()
		})
		if outcome.GaveUp == nil || outcome.GaveUp.Error() != "still pulling" {
			t.Errorf("%+v", outcome)
		}
		if len(u.said) != 2 || u.said[0] != "pulling the image" || u.said[1] != "still pulling" || u.times[0] != 0 || u.times[1] != time.Minute {
			t.Errorf("said %q at %v", u.said, u.times)
		}
	})
}

// A short cut is nobody's business, a long one is.
func TestCutsAreMentionedWhenTheyLast(t *testing.T) {
	for _, c := range []struct {
		away time.Duration
		said int
	}{{5 * time.Second, 0}, {30 * time.Second, 2}} {
		synctest.Test(t, func(t *testing.T) {
			begin := time.Now()
			first := func(g *gatewayd) {
				g.hello(connected("a"))
				g.next()
				g.send(opened(&pb.Opened{}), output(stdout, 0, "1"))
				g.next()
			}
			then := func(g *gatewayd) {
				if time.Since(begin) < c.away {
					g.hello(progress("connecting again"))
					return
				}
				g.hello(connected("a"))
				if f := g.next(); f.GetOpen().GetStart() != nil || f.GetOpen().GetStdoutOffset() != 1 {
					t.Errorf("came back with %v", f)
				}
				g.send(opened(&pb.Opened{Resumed: true}), exit(0, 1, 0))
				g.drain()
			}
			outcome, u := play(t, time.Hour, nil, first, then)
			if outcome.Exit == nil || len(u.said) != c.said {
				t.Errorf("%+v, said %q", outcome, u.said)
			}
		})
	}
}

// A task is never resumed in another pod.
func TestAnotherPodIsALoss(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		outcome, _ := play(t, time.Hour, nil, func(g *gatewayd) {
			g.hello(connected("a"))
			g.next()
			g.send(opened(&pb.Opened{}))
			g.next()
		}, func(g *gatewayd) {
			g.hello(connected("b"))
			g.drain()
		})
		if !outcome.Refused.GetLost() || !outcome.Started {
			t.Errorf("%+v", outcome)
		}
	})
}

// A start takes as long as it takes, on one connection.
func TestASlowStartIsWaitedFor(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		outcome, u := play(t, time.Hour, nil, func(g *gatewayd) {
			g.hello(connected("a"))
			g.next()
			time.Sleep(50 * time.Minute)
			g.send(opened(&pb.Opened{}))
			time.Sleep(2 * time.Hour) // what it may take then is not bounded
			g.send(output(stdout, 0, "out"), exit(7, 3, 0))
			g.drain()
		}, func(*gatewayd) { t.Error("the launcher has come again") })
		if outcome.Exit.GetCode() != 7 || u.out.String() != "out" {
			t.Errorf("%+v", outcome)
		}
	})
}

func TestGivesUpOnAStartThatNeverEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		begin := time.Now()
		outcome, _ := play(t, 130*time.Second, nil, func(g *gatewayd) {
			g.hello(connected("a"))
			g.drain()
		})
		if outcome.GaveUp == nil || outcome.Started || time.Since(begin) < 130*time.Second {
			t.Errorf("%+v after %v", outcome, time.Since(begin))
		}
	})
}

func TestAFailedStart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		outcome, _ := play(t, time.Hour, nil, func(g *gatewayd) {
			g.hello(connected("a"))
			g.next()
			g.send(&pb.FromPod{Frame: &pb.FromPod_Failure{Failure: &pb.Failure{Message: "no", Errno: 13}}})
			g.drain()
		})
		if outcome.Failure.GetErrno() != 13 {
			t.Errorf("%+v", outcome)
		}
	})
}

// SIGTSTP is followed by SIGSTOP a second later, unless SIGCONT comes before.
func TestSuspend(t *testing.T) {
	for _, c := range []struct {
		cont time.Duration
		want string
	}{{500 * time.Millisecond, "20 18 "}, {1500 * time.Millisecond, "20 19 18 "}} {
		synctest.Test(t, func(t *testing.T) {
			var got strings.Builder
			up := make(chan struct{})
			_, _ = play(t, time.Hour, func(u *user) {
				<-up
				u.signals <- Signal{syscall.SIGTSTP, pb.SignalScope_SIGNAL_SCOPE_ALL}
				time.Sleep(c.cont)
				u.signals <- Signal{syscall.SIGCONT, pb.SignalScope_SIGNAL_SCOPE_ALL}
			}, func(g *gatewayd) {
				g.hello(connected("a"))
				g.next()
				g.send(opened(&pb.Opened{}))
				g.next()
				close(up)
				for {
					number := g.next().GetSignal().GetNumber()
					got.WriteString(itoa(number) + " ")
					if number == uint32(syscall.SIGCONT) {
						break
					}
				}
				g.send(exit(0, 0, 0))
				g.drain()
			})
			if got.String() != c.want {
				t.Errorf("after %v: %s", c.cont, got.String())
			}
		})
	}
}

func itoa(n uint32) string { return string([]byte{byte('0' + n/10), byte('0' + n%10)}) }

func TestSignalsBeforeTheStart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		outcome, u := play(t, time.Hour, func(u *user) {
			time.Sleep(time.Second)
			u.signals <- Signal{syscall.SIGUSR1, pb.SignalScope_SIGNAL_SCOPE_ALL}
			u.signals <- Signal{syscall.SIGCONT, pb.SignalScope_SIGNAL_SCOPE_ALL}
			u.signals <- Signal{syscall.SIGTERM, pb.SignalScope_SIGNAL_SCOPE_ALL}
		}, func(g *gatewayd) {
			g.hello(progress("wait"))
			g.drain()
		})
		if outcome.Killed != syscall.SIGTERM || len(u.said) != 2 || !strings.Contains(u.said[1], "signal 10 came before") {
			t.Errorf("%+v, said %q", outcome, u.said)
		}
	})
}

// A write that fails loses its bytes and is said once; the task goes on.
func TestUnwritableOutput(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var said []string
		l := New(Config{Say: func(line string) { said = append(said, line) }})
		if err := l.st.out.Put(0, []byte(strings.Repeat("x", 3*frame.Chunk)), false); err != nil {
			t.Fatal(err)
		}
		l.over = true
		l.pumpOutput("standard output", l.st.out, l.wake.out, brokenWriter{})
		if len(said) != 1 || !l.st.out.Empty() {
			t.Errorf("said %q", said)
		}
	})
}

type brokenWriter struct{}

func (brokenWriter) Write([]byte) (int, error) { return 0, syscall.ENOSPC }
