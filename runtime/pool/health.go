package pool

import (
	"fmt"
	"strings"
	"time"
)

// health is how it goes with the environments of one revision. Where they fail by
// our fault again and again (a sandbox that does not start, a child that a guest
// brings down), nothing is gained by trying as often as triggers ask: it costs no
// attempts, so they would ask for ever. The pool's mutex guards it.
type health struct {
	failures int       // in a row
	failed   time.Time // when the last of them was noted
	until    time.Time // no start before
	probing  bool      // a start is under way that shows whether it goes again
	reason   string
}

const (
	// patience is how many failures in a row have no consequence.
	patience = 3
	// firstPause is the pause after the next; each that follows is twice as long,
	// up to maxPause.
	firstPause = 100 * time.Millisecond
	maxPause   = 30 * time.Second
	maxReason  = 300
)

// refuse tells why no environment is to be started now, or nothing. It is said
// that one is started otherwise, and who does so ends with probed.
func (h *health) refuse(now time.Time) string {
	switch {
	case h.failures <= patience:
		return ""
	case now.Before(h.until):
		return fmt.Sprintf("environments failed %d times in a row, the next try is in %v: %s", h.failures, h.until.Sub(now).Round(time.Millisecond), h.reason)
	case h.probing:
		return fmt.Sprintf("environments failed %d times in a row, and one try at a time is made: %s", h.failures, h.reason)
	}
	return ""
}

// fail notes that what began at a time has failed by our fault. What began before
// the last failure was noted is the same failure: many fall with one child. It
// returns the pause that follows, 0 for none.
func (h *health) fail(began, now time.Time, reason string) time.Duration {
	if h.failures > 0 && began.Before(h.failed) {
		return 0
	}
	h.failures++
	h.failed = now
	if _, rest, ok := strings.Cut(reason, " Error: "); ok && strings.HasPrefix(reason, "RequestId: ") {
		reason = rest // whose request it was matters to nobody else
	}
	h.reason, _, _ = strings.Cut(reason, "\n")
	h.reason = strings.ToValidUTF8(h.reason[:min(len(h.reason), maxReason)], "")
	n := h.failures - patience - 1
	if n < 0 {
		return 0
	}
	pause := maxPause
	if n < 10 { // 100 ms << 10 is more than 30 s
		pause = min(firstPause<<n, maxPause)
	}
	h.until = now.Add(pause)
	return pause
}

// mend notes that a function has run in an environment that was made at a time. One
// older than the last failure shows nothing: starts may fail beside it.
func (h *health) mend(made time.Time) {
	if h.failures > 0 && !made.Before(h.failed) {
		h.failures, h.reason = 0, ""
	}
}
