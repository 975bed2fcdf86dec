package gateway

import (
	"sync"
	"time"
)

// complaintEvery is the least time between two log lines of one kind about one user.
const complaintEvery = time.Minute

// complaints are log lines that users cause at will, one for each connection that they make: they must not fill a disk.
type complaints struct {
	mu   sync.Mutex
	last map[complaint]*complained
}

// complaint is what is said of whom.
type complaint struct {
	uid  uint32
	what string
}

type complained struct {
	at      time.Time
	leftOut int
}

// due says whether the line may be written now, takes it as written, and tells how many like it were left out before.
func (c *complaints) due(now time.Time, uid uint32, what string) (leftOut int, due bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	said := c.last[complaint{uid, what}]
	if said != nil && now.Sub(said.at) < complaintEvery {
		said.leftOut++
		return 0, false
	}
	if said != nil {
		leftOut = said.leftOut
	}
	if c.last == nil {
		c.last = map[complaint]*complained{}
	}
	c.last[complaint{uid, what}] = &complained{at: now}
	return leftOut, true
}

// complain logs what a user has done wrong, unless the like was logged just before.
func (s *Server) complain(uid uint32, what string, details ...any) {
	leftOut, due := s.complaints.due(time.Now(), uid, what)
	if !due {
		return
	}
	if leftOut > 0 {
		details = append(details, "left_out_before", leftOut)
	}
	s.log.Warn(what, append([]any{"uid", uid}, details...)...)
}
