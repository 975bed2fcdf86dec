package gateway

import (
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"
)

func TestComplaintsAreCountedNotRepeated(t *testing.T) {
	var c complaints
	begin := time.Now()
	for i, step := range []struct {
		at      time.Duration
		uid     uint32
		what    string
		due     bool
		leftOut int
	}{
		{0, 1000, "a", true, 0},
		{time.Second, 1000, "a", false, 0},
		{time.Second, 1001, "a", true, 0},
		{time.Second, 1000, "b", true, 0},
		{59 * time.Second, 1000, "a", false, 0},
		{60 * time.Second, 1000, "a", true, 2},
		{61 * time.Second, 1000, "a", false, 0},
		{200 * time.Second, 1000, "a", true, 1},
		{300 * time.Second, 1000, "a", true, 0},
	} {
		leftOut, due := c.due(begin.Add(step.at), step.uid, step.what)
		if due != step.due || leftOut != step.leftOut {
			t.Errorf("%d: %v with %d left out", i, due, leftOut)
		}
	}
}

// lines counts what is logged.
type lines struct {
	mu   sync.Mutex
	text strings.Builder
}

func (l *lines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(p)
}

func (l *lines) count(what string) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return strings.Count(l.text.String(), what)
}

// countingSite is one whose log lines are counted, with so many connections for each user.
func countingSite(t *testing.T, perUser int) (*site, *lines) {
	log := &lines{}
	return newSite(t, func(c *Config) { c.PerUser, c.Log = perUser, slog.New(slog.NewTextHandler(log, nil)) }), log
}

// However often one is refused, the log has a line of each kind a minute.
func TestRefusalsDoNotFillTheLog(t *testing.T) {
	s, log := countingSite(t, 100)
	for range 5 {
		s.launcher(13) // not his job
		s.launcher(0)  // no job
	}
	for _, what := range []string{"msg=refused", "launcher refused"} {
		if got := log.count(what); got != 1 {
			t.Errorf("%d lines of %q", got, what)
		}
	}
}

func TestConnectionsAboveTheCapDoNotFillTheLog(t *testing.T) {
	s, log := countingSite(t, 1)
	held, frames, _ := s.launcher(7)
	echo(t, held, frames, "x")
	for range 5 {
		if _, err := s.dial().Read(make([]byte, 1)); err == nil {
			t.Error("a second connection is served")
		}
	}
	if got := log.count("too many connections"); got != 1 {
		t.Errorf("%d lines", got)
	}
}
