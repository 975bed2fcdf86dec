// Package scope finds out whom a signal to a batch script was meant for.
//
// Slurm signals either the batch shell alone (scancel -b, --signal=B:) or every process of the job's container. The
// launcher stands in the shell's place and has one child, the sentinel: what both get was for all, what the launcher
// alone gets was for the shell. The two arrive in any order, a moment apart. It is pure: time is an argument.
package scope

import "time"

// Window is how far apart the launcher's and the sentinel's copy of one signal may arrive.
const Window = 30 * time.Millisecond

// Verdict is one signal with its scope.
type Verdict struct {
	Number uint32
	All    bool
}

type sighting struct {
	number uint32
	at     time.Time
}

// Judge pairs the copies. Before Ready, and after Gone, there is nobody to compare with: every signal is for all.
type Judge struct {
	ready    bool
	launcher []sighting // not yet paired, oldest first
	sentinel []sighting
}

// Ready says that the sentinel reports from now on.
func (j *Judge) Ready() { j.ready = true }

// Gone says that the sentinel reports no more. What waits for it is for all.
func (j *Judge) Gone() []Verdict {
	j.ready = false
	j.sentinel = nil
	var out []Verdict
	for _, s := range j.launcher {
		out = append(out, Verdict{s.number, true})
	}
	j.launcher = nil
	return out
}

// Launcher takes a signal that the launcher got.
func (j *Judge) Launcher(number uint32, now time.Time) []Verdict {
	out := j.Expire(now)
	if !j.ready || take(&j.sentinel, number) {
		return append(out, Verdict{number, true})
	}
	j.launcher = append(j.launcher, sighting{number, now})
	return out
}

// Sentinel takes a signal that the sentinel got.
func (j *Judge) Sentinel(number uint32, now time.Time) []Verdict {
	out := j.Expire(now)
	if take(&j.launcher, number) {
		return append(out, Verdict{number, true})
	}
	j.sentinel = append(j.sentinel, sighting{number, now})
	return out
}

// Expire judges what has waited for Window: the sentinel did not get it, so it was for the shell.
func (j *Judge) Expire(now time.Time) []Verdict {
	var out []Verdict
	for len(j.launcher) > 0 && now.Sub(j.launcher[0].at) >= Window {
		out = append(out, Verdict{j.launcher[0].number, false})
		j.launcher = j.launcher[1:]
	}
	for len(j.sentinel) > 0 && now.Sub(j.sentinel[0].at) >= Window {
		j.sentinel = j.sentinel[1:]
	}
	return out
}

// Wait is how long until Expire has something to do; ok is false where there is nothing to wait for.
func (j *Judge) Wait(now time.Time) (wait time.Duration, ok bool) {
	if len(j.launcher) == 0 {
		return 0, false
	}
	return max(0, Window-now.Sub(j.launcher[0].at)), true
}

func take(from *[]sighting, number uint32) bool {
	for i, s := range *from {
		if s.number == number {
			*from = append((*from)[:i:i], (*from)[i+1:]...)
			return true
		}
	}
	return false
}
