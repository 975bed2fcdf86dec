package flow

import "time"

// reach is the longest way, there and back, that is filled at full speed.
const reach = 250 * time.Millisecond

// Pace is the receiver's choice of a window: as much as it has passed on in the time of one reach, between two bounds.
// A consumer that keeps pace over a long way gets a large window; one that is slow, or that has little to read, costs
// little when it stops altogether. What all receivers of one exec stream grant is bounded by what that stream carries.
type Pace struct {
	base, most int
	granted    int
	passed     uint64
	at         time.Time
}

// NewPace grants from base to most bytes.
func NewPace(base, most int) *Pace { return &Pace{base: base, most: most, granted: base} }

// Due says that so much was passed on that it is to be acknowledged: a quarter of what was granted. Each acknowledgement
// travels through six programs. What is less stays with the sender, which is no harm.
func (p *Pace) Due(passed, acknowledged uint64) bool {
	return passed >= acknowledged+uint64(p.granted/4)
}

// Restart begins a new stream, whose sender may have base bytes on the way until told otherwise.
func (p *Pace) Restart() { p.granted = p.base }

// Window is what to grant with the acknowledgement of what was passed on so far.
func (p *Pace) Window(passed uint64, now time.Time) int {
	p.granted = p.window(passed, now)
	return p.granted
}

func (p *Pace) window(passed uint64, now time.Time) int {
	bytes, span := passed-p.passed, now.Sub(p.at)
	first := p.at.IsZero()
	p.passed, p.at = passed, now
	if first {
		return p.base
	}
	if span <= 0 {
		return p.most
	}
	return int(min(max(float64(bytes)*float64(reach)/float64(span), float64(p.base)), float64(p.most)))
}
