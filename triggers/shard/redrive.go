package shard

import (
	"strings"
	"time"

	"github.com/wasmill/wasmill/dlq"
	"github.com/wasmill/wasmill/runtime"
	"github.com/wasmill/wasmill/triggers"
	"github.com/wasmill/wasmill/triggers/batch"
)

// redrive is a dead letter that is delivered again. It is no chain: it has a
// bucket, and no slot.
type redrive struct {
	tries
	letter string
	bucket uint8
	since  time.Time // its age counts from here
	unit   uint64    // id of its invocations
	cfg    *settings // of the invocation that is out
	out    bool
	wait   uint64 // the commit that must be durable first
	holds  bool   // its bucket
	// settled: done, or buried again. It stays until that is durable, so that the
	// same letter is known till then. Buried it keeps its bucket as long.
	settled bool
}

// redrives are what is open, and what was settled and is not durable yet.
type redrives struct {
	letters  []*redrive // in the order of the commands
	open     int        // those not settled
	parked   uint64     // buckets that they hold; no chain has one of these
	redriven []string   // settled since the last commit
}

// redrive takes in a command.
func (m *Machine) redrive(ev Redrive) {
	if m.endCommitted {
		return // the shard is over; a checkpoint that says so is on its way
	}
	for _, l := range ev.Letters {
		if m.redrives.open >= MaxRedrives {
			return
		}
		if m.redrives.find(l.Letter) != nil {
			continue
		}
		m.lastID++
		m.redrives.letters = append(m.redrives.letters, &redrive{
			letter: l.Letter, bucket: l.Bucket % Buckets, since: m.wall, unit: m.lastID, wait: m.commitID + 1,
		})
		m.redrives.open++
		m.urge()
	}
}

func (s *redrives) find(letter string) *redrive {
	for _, r := range s.letters {
		if r.letter == letter {
			return r
		}
	}
	return nil
}

// advanceRedrives takes the first letter of each bucket as far as it goes.
func (m *Machine) advanceRedrives() {
	if len(m.redrives.letters) == 0 {
		return
	}
	var seen uint64
	kept := m.redrives.letters[:0]
	for _, r := range m.redrives.letters {
		if r.settled && r.wait <= m.durableID {
			m.leave(r)
			continue
		}
		kept = append(kept, r)
		if r.settled && !r.holds {
			continue // done: the next one goes, since its commit cannot be durable before this one's
		}
		if bit := uint64(1) << r.bucket; seen&bit == 0 {
			seen |= bit
			m.advanceRedrive(r, bit)
		}
	}
	clear(m.redrives.letters[len(kept):])
	m.redrives.letters = kept
}

func (m *Machine) advanceRedrive(r *redrive, bit uint64) {
	if r.out || r.wait > m.durableID || m.draining {
		return
	}
	if !r.holds {
		if m.held&bit != 0 {
			return
		}
		r.holds = true
		m.redrives.parked |= bit
	}
	switch {
	case m.cfg.Retries >= 0 && r.attempts > m.cfg.Retries: // settings may have changed since it failed
		m.buryAgain(r, dlq.RetryAttemptsExhausted)
	case r.delayed && m.now < r.notBefore:
		m.wakeAt(r.notBefore)
	case m.out >= m.cfg.Parallel || m.blocked():
	case m.cfg.RecordAge > 0 && m.wall.Sub(r.since) > m.cfg.RecordAge:
		m.buryAgain(r, dlq.RecordAgeExceeded)
	default:
		r.delayed = false
		r.out, r.cfg = true, m.cfg
		m.out++
		m.emit(Invoke{Unit: r.unit, Letter: r.letter, Attempt: r.attempts + 1, Invocation: r.invocations + 1})
	}
}

// leave gives a letter's bucket back.
func (m *Machine) leave(r *redrive) {
	if !r.holds {
		return
	}
	r.holds = false
	m.redrives.parked &^= 1 << r.bucket
	if b := &m.buckets[r.bucket]; b.count > 0 {
		b.since = m.now
	}
}

// settleRedrive judges an invocation of a letter, if it is one.
func (m *Machine) settleRedrive(ev Settled) {
	var r *redrive
	for _, open := range m.redrives.letters {
		if open.out && open.unit == ev.Unit {
			r = open
		}
	}
	if r == nil {
		return // of a life before
	}
	r.out = false
	m.out--
	r.invocations++
	m.lastOutcome = ev.Outcome.String()
	switch {
	case ev.Outcome == runtime.Done, ev.Outcome == runtime.Partial && !r.cfg.PartialReplies:
		m.doneCount++
		m.output(ev.Outputs)
		m.redriven(r)
		m.leave(r)
	case !runtime.Attempted(ev.Outcome):
		m.refused(&r.tries, ev.Failure)
	default:
		m.attempted(&r.tries, ev.Failure)
		if r.cfg.Retries >= 0 && r.attempts > r.cfg.Retries {
			m.buryAgain(r, dlq.RetryAttemptsExhausted)
			return
		}
		m.delay(&r.tries, batch.RetryBackoff(r.cfg.Backoff, r.attempts, m.rand.Uint64()))
		r.wait = m.commitID + 1 // as of a unit: a kill costs one attempt at most
	}
}

// buryAgain makes a dead letter of one.
func (m *Machine) buryAgain(r *redrive, reason dlq.Reason) {
	m.buriedCount++
	m.burials = append(m.burials, Burial{
		Letter: r.letter, Reason: reason,
		Attempts: r.attempts, Invocations: r.invocations, FirstFailure: r.first, Failure: r.last,
		Size: 1,
	})
	m.burialPins = append(m.burialPins, 0) // the payload is in the letter
	m.redriven(r)
}

// redriven puts the end of a letter into the next commit.
func (m *Machine) redriven(r *redrive) {
	r.settled, r.wait = true, m.commitID+1
	m.redrives.open--
	m.redrives.redriven = append(m.redrives.redriven, r.letter)
	m.urge()
}

// writtenMessage is how much of an error message a checkpoint keeps of each letter,
// in bytes: there may be MaxRedrives of them in every commit. What is cut off is
// missed only by a letter that is buried after a restart without another attempt.
const writtenMessage = 512

// written are the open letters, as a checkpoint has them.
func (s *redrives) written() []triggers.Redrive {
	if s.open == 0 {
		return nil
	}
	out := make([]triggers.Redrive, 0, s.open)
	for _, r := range s.letters {
		if r.settled {
			continue
		}
		w := triggers.Redrive{
			Letter: r.letter, Bucket: r.bucket, Since: r.since,
			Attempts: r.attempts, Invocations: r.invocations, FirstFailure: r.first, LastError: r.last,
		}
		if text := w.LastError.Message; len(text) > writtenMessage {
			w.LastError.Message = strings.ToValidUTF8(text[:writtenMessage], "")
		}
		if r.delayed {
			w.NotBefore = r.until
		}
		out = append(out, w)
	}
	return out
}

// restoreRedrives takes over those of a checkpoint. Which of them had their
// buckets is not written down: the first of each bucket that no restored claim
// has gets it in the first step.
func (m *Machine) restoreRedrives(written []triggers.Redrive) {
	for _, w := range written {
		m.lastID++
		m.redrives.letters = append(m.redrives.letters, &redrive{
			letter: w.Letter, bucket: w.Bucket % Buckets, since: w.Since, unit: m.lastID,
			tries: tries{
				attempts: w.Attempts, invocations: w.Invocations, first: w.FirstFailure, last: w.LastError, until: w.NotBefore,
			},
		})
	}
	m.redrives.open = len(written)
}
