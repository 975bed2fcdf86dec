package launch

import "time"

// notice keeps a user's standard error free of repetition: the first message at once, then one a minute at most.
type notice struct {
	said time.Time
	any  bool
}

// every is the least time between two messages.
const every = time.Minute

// due says whether a message may be printed now, and takes it as printed.
func (n *notice) due(now time.Time) bool {
	if n.any && now.Sub(n.said) < every {
		return false
	}
	n.any, n.said = true, now
	return true
}

// backoff doubles from 50 ms to 2 s. The zero value is at its start.
type backoff struct{ wait time.Duration }

const (
	backoffFirst = 50 * time.Millisecond
	backoffMost  = 2 * time.Second
)

func (b *backoff) next() time.Duration {
	b.wait = min(max(2*b.wait, backoffFirst), backoffMost)
	return b.wait
}

func (b *backoff) reset() { b.wait = 0 }
