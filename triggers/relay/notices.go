package relay

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"time"

	"github.com/wasmill/wasmill/dlq"
	"github.com/wasmill/wasmill/stream"
	"github.com/wasmill/wasmill/triggers"
	"github.com/wasmill/wasmill/triggers/journal"
)

// Sender delivers notices: package destination's does. An error means that this one
// is not known to be delivered, and is to be sent again.
type Sender interface {
	Send(ctx context.Context, n triggers.Notice) error
}

// Delivery is what became of one try to deliver a notice.
type Delivery struct {
	Source  triggers.Source
	Notice  *triggers.Notice // not to be kept
	Err     error            // nil: it is delivered
	Dropped bool             // it is given up, because of Err
}

const (
	// couriers is how many sources have notices delivered to one destination at a
	// time. Of those whose last try failed, it is one: it costs a connection and the
	// memory of a notice for as long as a destination takes not to answer.
	couriers = 4
	// delivery bounds one try.
	delivery = 30 * time.Second
	// dropTries is how often a notice is tried that may be dropped. Once one was
	// dropped, others are without a try of their own until the pause is over.
	dropTries = 3

	firstNoticePause = time.Second // after a failure, doubling; of each a half to the whole
	lastNoticePause  = time.Minute
)

// box is the notices of a source to one destination. Guarded by Relay.mu.
type box struct {
	src         triggers.Source
	destination string
	waits       bool         // notices of commits that were looked at are not delivered
	behind      uint64       // a commit before all those
	upTo        uint64       // the newest commit that has some
	count       int          // of notices that wait
	done        dlq.Position // up to here all is delivered, or dropped
	busy        bool         // a courier serves it
	retry       retry
	tries       int   // of the next one, in vain
	dead        retry // since one was dropped
}

// slow is what note is for destinations: they may be far away, and somebody else's.
func (t *retry) slow(err error, now time.Time) {
	if err == nil {
		*t = retry{}
		return
	}
	t.err, t.pause = err, min(max(2*t.pause, firstNoticePause), lastNoticePause)
	t.until = now.Add(t.pause - rand.N(t.pause/2))
}

// Notify says who delivers notices, and whom to tell of each try, if anybody; told
// must not block. To be called before Run; without it notices wait.
func (r *Relay) Notify(s Sender, told func(Delivery)) {
	if told == nil {
		told = func(Delivery) {}
	}
	r.sender, r.told = s, told
}

// Forsake says whether notices of a mapping may be dropped that were committed to be
// tried for ever: for a destination that will never be there again. It holds until
// it is called again, or a restart.
func (r *Relay) Forsake(mapping string, yes bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if yes {
		r.forsaken[mapping] = true
		if f := r.mappings[mapping]; f != nil {
			for _, s := range f.sources {
				for _, b := range s.boxes {
					b.retry.until = time.Time{} // at once
				}
			}
		}
		r.wake()
	} else {
		delete(r.forsaken, mapping)
	}
}

// put notes that a commit has a notice to a destination; before is a commit before it.
func (r *Relay) put(src triggers.Source, s *source, destination string, before, sequence uint64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	b := s.boxes[destination]
	if b == nil {
		b = &box{src: src, destination: destination}
		s.boxes[destination] = b
	}
	if !b.waits {
		b.waits, b.behind = true, before
	}
	b.count++
	if b.upTo = sequence; !b.busy {
		r.mail[b] = true
	}
	r.wake()
}

// nextBox picks one to deliver from. It is busy until delivered.
func (r *Relay) nextBox(now time.Time) *box {
	r.mu.Lock()
	defer r.mu.Unlock()
	for b := range r.mail {
		limit := couriers
		if b.retry.err != nil {
			limit = 1
		}
		if now.Before(b.retry.until) || r.couriers[b.destination] >= limit {
			continue
		}
		delete(r.mail, b)
		b.busy = true
		r.couriers[b.destination]++
		return b
	}
	return nil
}

// courier delivers what waits in a box, in order, until it is empty or a try fails.
func (r *Relay) courier(ctx context.Context, b *box) {
	r.mu.Lock()
	behind, upTo, done := b.behind, b.upTo, b.done
	r.mu.Unlock()
	err := r.srv.Healthy(ctx)
	var failed error // which has nothing to do with the journal
	if err == nil {
		err = r.journals.Notices(ctx, b.src, b.destination, behind, upTo, func(at dlq.Position, notices []triggers.Notice) error {
			for i := range notices {
				here := dlq.Position{Sequence: at.Sequence, Index: at.Index + uint32(i)}
				if here.Compare(done) <= 0 {
					continue
				}
				if failed = r.try(ctx, b, &notices[i]); failed != nil {
					return failed
				}
				r.mu.Lock()
				b.done = here
				b.count--
				r.mu.Unlock()
			}
			r.mu.Lock()
			defer r.mu.Unlock()
			if b.behind = at.Sequence; len(notices) > 0 {
				r.arouse(b) // the mark may move
			}
			return nil
		})
	}
	r.delivered(ctx, b, upTo, cmp.Or(failed, err))
}

// arouse has the source of a box served. The caller holds mu.
func (r *Relay) arouse(b *box) {
	if s := r.sources[b.src]; s != nil && s.boxes[b.destination] == b {
		r.rouse(b.src, s)
		r.wake()
	}
}

// delivered notes how a courier fared.
func (r *Relay) delivered(ctx context.Context, b *box, upTo uint64, err error) {
	r.mu.Lock()
	b.busy = false
	if r.couriers[b.destination]--; r.couriers[b.destination] == 0 {
		delete(r.couriers, b.destination)
	}
	first := err != nil && b.retry.err == nil
	b.retry.slow(err, time.Now())
	if err == nil && b.upTo == upTo {
		b.waits, b.count = false, 0
	}
	if s := r.sources[b.src]; b.waits && s != nil && s.boxes[b.destination] == b {
		r.mail[b] = true
	}
	r.arouse(b)
	r.mu.Unlock()
	r.wake()
	if first && ctx.Err() == nil && !errors.Is(err, journal.ErrNoJournal) {
		r.log.Warn("a destination cannot be told of discarded batches yet; it is tried again for ever",
			"mapping", b.src.Mapping, "shard", b.src.Shard, "destination", b.destination, "err", err)
	}
}

// try delivers one notice, or drops it. It fails if it is to be tried again.
func (r *Relay) try(ctx context.Context, b *box, n *triggers.Notice) error {
	r.mu.Lock()
	expendable := n.Drop || r.forsaken[b.src.Mapping]
	hopeless := b.dead.err
	if !expendable || !time.Now().Before(b.dead.until) {
		hopeless = nil
	}
	r.mu.Unlock()
	if hopeless != nil {
		r.told(Delivery{Source: b.src, Notice: n, Err: hopeless, Dropped: true})
		return nil
	}
	if err := r.crash("before send"); err != nil {
		return err
	}
	err := errors.New("this server delivers no notices")
	if r.sender != nil {
		bounded, cancel := context.WithTimeout(ctx, delivery)
		err = r.sender.Send(bounded, *n)
		cancel()
	}
	if err != nil && ctx.Err() != nil {
		return err // nobody's fault
	}
	r.mu.Lock()
	dropped, first := false, false
	if err == nil {
		b.tries, b.dead = 0, retry{}
	} else if b.tries++; expendable && (b.tries >= dropTries || b.dead.err != nil) {
		dropped, first = true, b.dead.err == nil
		b.tries = 0
		b.dead.slow(err, time.Now())
	}
	r.mu.Unlock()
	r.told(Delivery{Source: b.src, Notice: n, Err: err, Dropped: dropped})
	if err != nil && !dropped {
		return err
	}
	if first {
		r.log.Warn("a destination cannot be told of discarded batches; they are dropped until it can",
			"mapping", b.src.Mapping, "shard", b.src.Shard, "destination", b.destination, "err", err)
	}
	return r.crash("after send")
}

// notified is the commit up to which a source's notices do not keep the mark back.
func (r *Relay) notified(s *source, upTo uint64) uint64 {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, b := range s.boxes {
		if b.waits {
			upTo = min(upTo, b.behind)
		}
	}
	return upTo
}

// noticeProblems says in words which destinations the sources of a mapping cannot
// tell. The caller holds mu.
func (r *Relay) noticeProblems(f *family) (all []string) {
	waiting, why := map[string]int{}, map[string]error{}
	for _, s := range f.sources {
		for destination, b := range s.boxes {
			if b.retry.err != nil && b.waits {
				why[destination] = b.retry.err
				waiting[destination] += b.count
			}
		}
	}
	for destination, err := range why {
		notices := fmt.Sprintf("%d notices of discarded batches wait", waiting[destination])
		if waiting[destination] == 1 {
			notices = "1 notice of a discarded batch waits"
		}
		why := err.Error()
		for _, prefix := range []string{triggers.ErrInvalid.Error() + ": ", "destination " + destination + ": "} {
			why = strings.TrimPrefix(why, prefix)
		}
		if _, name, ok := strings.Cut(destination, ":stream/"); ok && errors.Is(err, stream.ErrNotFound) {
			why = fmt.Sprintf("there is no stream %s; make it with: wasmill stream create %s", name, name)
		}
		all = append(all, fmt.Sprintf("%s for %s: %s", notices, destination, why))
	}
	return all
}
