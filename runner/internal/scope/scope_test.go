package scope

import (
	"slices"
	"testing"
	"time"
)

type event struct {
	ms     int
	who    byte // 'l'auncher, 's'entinel, 'x' expire, 'g'one
	number uint32
}

func TestJudge(t *testing.T) {
	for _, c := range []struct {
		name   string
		ready  bool
		events []event
		want   []Verdict
	}{
		{"sentinel after", true, []event{{0, 'l', 15}, {5, 's', 15}}, []Verdict{{15, true}}},
		{"sentinel before", true, []event{{0, 's', 15}, {5, 'l', 15}}, []Verdict{{15, true}}},
		{"launcher alone", true, []event{{0, 'l', 10}, {30, 'x', 0}}, []Verdict{{10, false}}},
		{"not yet over", true, []event{{0, 'l', 10}, {29, 'x', 0}}, nil},
		{"sentinel too late", true, []event{{0, 'l', 10}, {31, 's', 10}}, []Verdict{{10, false}}},
		{"sentinel's copy too old", true, []event{{0, 's', 10}, {31, 'l', 10}, {61, 'x', 0}}, []Verdict{{10, false}}},
		{"two kinds", true, []event{{0, 'l', 10}, {1, 'l', 12}, {2, 's', 12}, {40, 'x', 0}},
			[]Verdict{{12, true}, {10, false}}},
		{"one for all, one for the shell", true, []event{{0, 'l', 10}, {1, 'l', 10}, {2, 's', 10}, {40, 'x', 0}},
			[]Verdict{{10, true}, {10, false}}},
		{"sentinel not up", false, []event{{0, 'l', 15}}, []Verdict{{15, true}}},
		{"sentinel killed", true, []event{{0, 'l', 15}, {1, 'g', 0}}, []Verdict{{15, true}}},
	} {
		t.Run(c.name, func(t *testing.T) {
			var j Judge
			if c.ready {
				j.Ready()
			}
			start := time.Unix(0, 0)
			var got []Verdict
			for _, e := range c.events {
				now := start.Add(time.Duration(e.ms) * time.Millisecond)
				switch e.who {
				case 'l':
					got = append(got, j.Launcher(e.number, now)...)
				case 's':
					got = append(got, j.Sentinel(e.number, now)...)
				case 'g':
					got = append(got, j.Gone()...)
				default:
					got = append(got, j.Expire(now)...)
				}
			}
			if !slices.Equal(got, c.want) {
				t.Errorf("got %v, want %v", got, c.want)
			}
		})
	}
}

func TestWaitIsUntilTheOldestIsOver(t *testing.T) {
	var j Judge
	j.Ready()
	now := time.Unix(0, 0)
	if _, ok := j.Wait(now); ok {
		t.Fatal("waits for nothing")
	}
	j.Launcher(10, now)
	j.Launcher(12, now.Add(10*time.Millisecond))
	if wait, ok := j.Wait(now.Add(12 * time.Millisecond)); !ok || wait != 18*time.Millisecond {
		t.Fatalf("got %v %v, want 18ms", wait, ok)
	}
}
