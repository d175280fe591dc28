package poll

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/wasmill/wasmill/dlq"
	"github.com/wasmill/wasmill/runtime"
	"github.com/wasmill/wasmill/stream"
	"github.com/wasmill/wasmill/triggers"
	"github.com/wasmill/wasmill/triggers/shard"
)

// Letters is where dead letters are found to be delivered again. A letter that
// a commit has settled before the call is not found ([dlq.ErrNotFound]).
type Letters interface {
	Get(ctx context.Context, id string) (dlq.Letter, error)
}

// RedriveOutcome is what became of a dead letter that was to be delivered again.
type RedriveOutcome string

const (
	// RedriveDone: the function has digested it. It is a dead letter no more.
	RedriveDone RedriveOutcome = "done"
	// RedriveBuried: it used up its fresh quota. It is a dead letter with a new id.
	RedriveBuried RedriveOutcome = "buried"
	// RedriveGone: there is no letter of that id any more: it was done, buried
	// again or purged before.
	RedriveGone RedriveOutcome = "gone"
	// RedriveRefused: it cannot be delivered; Err says why.
	RedriveRefused RedriveOutcome = "refused"
)

// Redriven is what became of one.
type Redriven struct {
	ID           string
	PartitionKey string
	Outcome      RedriveOutcome
	Letter       string // the new id, with RedriveBuried
	Attempts     int    // that failed, with RedriveBuried
	Failure      triggers.Failure
	Err          error // with RedriveRefused
}

// Redrive has dead letters delivered to the trigger's function again, each alone
// and as it was, in order per key and before newer records of its key. It
// returns when all have come to an end, each of which is reported as it does, in
// whatever order. rate is the most to be started in a second; 0: no bound.
//
// A letter whose redrive has begun goes on whatever becomes of the caller, over
// restarts too. Calling again with the same letters completes what is missing:
// those under way are waited for, those that are done are reported as gone.
// [triggers.ErrBusy]: another redrive of the trigger is being commanded;
// [triggers.ErrInvalid]: the trigger is paused.
func (m *Manager) Redrive(ctx context.Context, name string, letters []dlq.Letter, rate float64, report func(Redriven)) error {
	unlock, err := m.lock("redrive of " + name) // no trigger has a blank in its name
	if err != nil {
		return fmt.Errorf("%w: dead letters of trigger %s are being redriven by another call; try again when it is through", triggers.ErrBusy, name)
	}
	defer unlock()
	mp, err := m.Get(ctx, name)
	if err != nil {
		return err
	}
	desc, err := m.d.Streams.ByID(ctx, mp.StreamID)
	if errors.Is(err, stream.ErrNotFound) {
		return fmt.Errorf("%w: stream %s of trigger %s was deleted, so nothing reads the order of keys any more; make the trigger again on another stream, or look at the letters with: wasmill dlq export", triggers.ErrInvalid, mp.Config.Stream, name)
	}
	if err != nil {
		return err
	}
	order := slices.Clone(letters)
	slices.SortStableFunc(order, func(a, b dlq.Letter) int {
		return cmp.Or(a.Arrival.Compare(b.Arrival), strings.Compare(a.Shard, b.Shard), cmp.Compare(a.Number, b.Number), cmp.Compare(a.Burial, b.Burial))
	})

	var wg sync.WaitGroup
	defer wg.Wait()
	var mu sync.Mutex // guards stopped, and keeps reports apart
	var stopped error
	tell := func(r Redriven) {
		mu.Lock()
		defer mu.Unlock()
		report(r)
	}
	stop := func(err error) {
		mu.Lock()
		defer mu.Unlock()
		stopped = cmp.Or(stopped, err)
	}
	room := make(chan struct{}, shard.MaxRedrives) // a token for each letter under way
	pace := newPacer(rate)
	defer pace.stop()
	for _, l := range order {
		if l.Kind == dlq.KindOutput {
			tell(Redriven{ID: l.ID, PartitionKey: l.PartitionKey, Outcome: RedriveRefused,
				Err: fmt.Errorf("it is an output on its way to %s, which is gone, and no record of a trigger; put it into a stream yourself, from: wasmill dlq show %s --raw", l.Stream, l.ID)})
			continue
		}
		select {
		case room <- struct{}{}:
		case <-ctx.Done():
		}
		err := pace.wait(ctx)
		var p *poller
		if err == nil {
			p, err = m.keeper(ctx, mp, desc, l)
		}
		a := redriveAsk{id: l.ID, reply: make(chan Redriven, 1)}
		if err == nil {
			select {
			case p.redrives <- a: // one after the other: of a key the earlier comes first
			case <-p.gone:
				err = redriveStopped(name)
			case <-ctx.Done():
				err = context.Cause(ctx)
			}
		}
		if err != nil {
			stop(err)
			break
		}
		wg.Go(func() {
			defer func() { <-room }()
			select {
			case r := <-a.reply:
				r.PartitionKey = l.PartitionKey
				tell(r)
			case <-p.gone:
				select {
				case r := <-a.reply:
					r.PartitionKey = l.PartitionKey
					tell(r)
				default:
					stop(redriveStopped(name))
				}
			case <-ctx.Done():
				stop(context.Cause(ctx))
			}
		})
	}
	wg.Wait()
	return stopped
}

func redriveStopped(name string) error {
	return fmt.Errorf("%w: trigger %s was stopped; what of the redrive is under way goes on when it runs again, the rest when the redrive is repeated", triggers.ErrInvalid, name)
}

// keeper finds the poller that decides about a letter's key now: that of the
// shard which owns it.
func (m *Manager) keeper(ctx context.Context, mp triggers.Mapping, desc stream.Description, l dlq.Letter) (*poller, error) {
	key, err := stream.Entry{PartitionKey: l.PartitionKey, ExplicitHashKey: l.ExplicitHashKey}.HashKey()
	if err != nil {
		return nil, fmt.Errorf("dead letter %s: %w", l.ID, err)
	}
	at := slices.IndexFunc(desc.Shards, func(s stream.Shard) bool {
		return s.State == stream.Active && s.From.Compare(key) <= 0 && key.Compare(s.To) <= 0
	})
	if at < 0 {
		return nil, fmt.Errorf("dead letter %s: no shard of stream %s takes its key now", l.ID, desc.Name)
	}
	for {
		m.mu.Lock()
		r := m.running[mp.Name]
		m.mu.Unlock()
		if r == nil {
			now, err := m.Get(ctx, mp.Name)
			switch {
			case err != nil:
				return nil, err
			case now.ID != mp.ID:
				return nil, fmt.Errorf("%w: trigger %s was removed meanwhile", triggers.ErrNotFound, mp.Name)
			case !now.Enabled:
				return nil, fmt.Errorf("%w: trigger %s is paused; resume it first: wasmill trigger resume %s", triggers.ErrInvalid, mp.Name, mp.Name)
			}
		} else {
			r.mu.Lock()
			i := slices.IndexFunc(r.pollers, func(p *poller) bool { return p.id == desc.Shards[at].ID })
			var p *poller
			if i >= 0 {
				p = r.pollers[i]
			}
			r.mu.Unlock()
			if p != nil {
				return p, nil
			}
		}
		select {
		case <-time.After(20 * time.Millisecond): // it is about to start
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		}
	}
}

// pacer lets so many go in a second.
type pacer struct{ tick *time.Ticker }

func newPacer(rate float64) pacer {
	if rate <= 0 {
		return pacer{}
	}
	return pacer{time.NewTicker(time.Duration(float64(time.Second) / rate))}
}

func (p pacer) wait(ctx context.Context) error {
	if p.tick == nil {
		return context.Cause(ctx)
	}
	select {
	case <-p.tick.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

func (p pacer) stop() {
	if p.tick != nil {
		p.tick.Stop()
	}
}

// redriveAsk asks a poller to deliver a dead letter again.
type redriveAsk struct {
	id    string
	reply chan Redriven // buffered
}

// recalled is a dead letter that was looked up.
type recalled struct {
	id     string
	letter dlq.Letter
	err    error
}

// redriving is what a poller knows of dead letters on their way. Only its run
// goroutine touches it.
type redriving struct {
	letters map[string]*dlq.Letter // those the machine has, by id
	asks    map[string][]redriveAsk
	queue   []string // to be looked up, in the order in which they were asked for
	looking bool     // one of them is being looked up; its place is queue[0]
}

// redrive takes an ask in. A letter is reserved before it is looked up, so that
// whatever settled it before is seen, and nothing can settle it in between.
func (p *poller) redrive(ctx context.Context, a redriveAsk) {
	r := &p.redriving
	_, under := r.letters[a.id]
	known := under || len(r.asks[a.id]) > 0
	r.asks[a.id] = append(r.asks[a.id], a)
	if !known {
		r.queue = append(r.queue, a.id)
		p.recall(ctx)
	}
}

// recall looks up the next letter that waits, if the machine has room for it.
func (p *poller) recall(ctx context.Context) {
	r := &p.redriving
	if r.looking || len(r.queue) == 0 || len(r.letters) >= shard.MaxRedrives || p.draining || p.finished {
		return
	}
	r.looking = true
	id := r.queue[0]
	p.wg.Go(func() {
		l, err := p.r.m.d.Letters.Get(ctx, id)
		p.recalled <- recalled{id, l, err}
	})
}

// looked hands a letter that was looked up to the machine.
func (p *poller) looked(ctx context.Context, got recalled) {
	r := &p.redriving
	r.looking, r.queue = false, r.queue[1:]
	switch {
	case errors.Is(got.err, dlq.ErrNotFound):
		p.redriven(Redriven{ID: got.id, Outcome: RedriveGone})
	case got.err != nil:
		p.redriven(Redriven{ID: got.id, Outcome: RedriveRefused, Err: got.err})
	default:
		r.letters[got.id] = &got.letter
		p.step(ctx, shard.Redrive{Letters: []shard.Redriven{{Letter: got.id, Bucket: stream.Bucket(got.letter.PartitionKey)}}})
	}
	p.recall(ctx)
}

// redriven answers everybody who asked for a letter.
func (p *poller) redriven(res Redriven) {
	for _, a := range p.redriving.asks[res.ID] {
		a.reply <- res
	}
	delete(p.redriving.asks, res.ID)
}

// settledRedrives hears which letters a durable commit has settled.
func (p *poller) settledRedrives(ctx context.Context, c *commit) {
	for i, id := range c.redriven {
		delete(p.redriving.letters, id)
		res := Redriven{ID: id, Outcome: RedriveDone}
		if at := slices.IndexFunc(c.letters, func(l letter) bool { return l.ID == c.again[i] }); at >= 0 {
			l := &c.letters[at]
			res.Outcome, res.Letter, res.Attempts = RedriveBuried, l.ID, l.Attempts
			res.Failure = triggers.Failure{Type: l.ErrorType, Message: l.ErrorMessage, RequestID: l.Batch.Invocation}
		}
		p.redriven(res)
	}
	if len(c.redriven) > 0 {
		p.recall(ctx)
	}
}

// nextBurial is the id that a letter gets when it is buried again.
func nextBurial(l *dlq.Letter) string {
	return dlq.LetterID(l.Mapping, l.Generation, l.Shard, l.Number, l.Burial+1)
}

// buriedAgain makes the new letter of a redriven one that has failed for good:
// the same record, with what it went through this time.
func (p *poller) buriedAgain(b shard.Burial, now time.Time) letter {
	old := p.redriving.letters[b.Letter]
	if old == nil {
		panic(fmt.Sprintf("triggers/poll: dead letter %s of %s is to be buried again and is not held", b.Letter, p.id))
	}
	l := *old
	l.ID, l.Burial = nextBurial(old), old.Burial+1
	l.Reason, l.ErrorType, l.ErrorMessage, l.Attempts = b.Reason, b.Failure.Type, b.Failure.Message, b.Attempts
	l.FirstFailure, l.Buried, l.Redriving = b.FirstFailure, now, false
	l.Function, l.Version, l.Digest = p.mapping.Config.Function, b.Failure.Version, b.Failure.Digest
	l.Batch.Invocation, l.Batch.Position, l.Batch.Size = b.Failure.RequestID, 0, 1
	return l
}

// redriveBatch is the original event of a letter: its record alone.
func (p *poller) redriveBatch(id string) (runtime.Batch, origin) {
	l := p.redriving.letters[id]
	if l == nil {
		panic(fmt.Sprintf("triggers/poll: dead letter %s of %s is to be delivered and is not held", id, p.id))
	}
	b := p.r.m.emptyBatch(p.mapping, l.Shard)
	b.ARN = l.Stream
	b.Records = []runtime.Record{{Sequence: l.Sequence, PartitionKey: l.PartitionKey, Data: l.Data, Arrival: l.Arrival.UnixMilli(), TraceParent: l.TraceParent}}
	return b, origin{Mapping: l.Mapping, Generation: l.Generation, Shard: l.Shard}
}

// resumeRedrives looks up the letters that a checkpoint says are on their way. One that
// is nowhere any more, by damage, is let go, and told of.
func (p *poller) resumeRedrives(ctx context.Context, cp *triggers.Checkpoint) error {
	kept := make([]triggers.Redrive, 0, len(cp.Redrives))
	for _, r := range cp.Redrives {
		l, err := p.r.m.d.Letters.Get(ctx, r.Letter)
		if errors.Is(err, dlq.ErrNotFound) {
			p.log.Error("a dead letter that was being redriven is gone", "letter", r.Letter)
			continue
		}
		if err != nil {
			return fmt.Errorf("dead letter %s, which is being redriven: %w", r.Letter, err)
		}
		p.redriving.letters[r.Letter] = &l
		kept = append(kept, r)
	}
	cp.Redrives = kept
	return nil
}
