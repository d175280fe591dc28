package poll

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/wasmill/wasmill/dlq"
	"github.com/wasmill/wasmill/dlq/store"
	"github.com/wasmill/wasmill/runtime"
	"github.com/wasmill/wasmill/stream"
	"github.com/wasmill/wasmill/triggers"
	"github.com/wasmill/wasmill/triggers/journal"
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
// whatever order, by one goroutine at a time. rate is the most to be started in a
// second; 0: no bound.
//
// A letter whose redrive has begun goes on whatever becomes of the caller, over
// restarts too. Calling again with the same letters completes what is missing:
// those under way are waited for, those that are done are reported as gone.
// [triggers.ErrBusy]: another redrive of the trigger is being commanded;
// [triggers.ErrInvalid]: the trigger does not run.
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
	if err := m.readable(ctx, mp); err != nil {
		return err
	}
	c := &command{m: m, ctx: ctx, mapping: mp, report: report, room: make(chan struct{}, shard.MaxRedrives), turns: map[string][]*turn{}, moved: make(chan struct{})}
	defer c.wg.Wait()
	pace := pacer{every: interval(rate)}
	seen := map[string]bool{}
	for _, l := range slices.SortedStableFunc(slices.Values(letters), dlq.InOrder) {
		if seen[l.ID] {
			continue
		}
		seen[l.ID] = true
		if why := refused(&l); why != nil {
			c.tell(Redriven{ID: l.ID, PartitionKey: l.PartitionKey, Outcome: RedriveRefused, Err: why})
			continue
		}
		if err := c.start(&pace, l); err != nil {
			c.stop(err)
			break
		}
	}
	c.wg.Wait()
	return c.stopped
}

// refused says why a letter cannot be delivered to any function.
func refused(l *dlq.Letter) error {
	if l.Kind == dlq.KindOutput {
		return fmt.Errorf("it is an output on its way to %s, which is gone, and no record of a trigger; put it into a stream yourself: wasmill dlq show %s --raw | wasmill stream put STREAM --raw --key %s", l.Stream, l.ID, l.PartitionKey)
	}
	if l.Reason == dlq.PayloadTooLarge {
		return errors.New("its event exceeds 6 MB, which no function is handed; look at its record with: wasmill dlq show " + l.ID)
	}
	return nil
}

// command is one call of Redrive.
type command struct {
	m       *Manager
	ctx     context.Context // of the call; a command lives no longer
	mapping triggers.Mapping
	room    chan struct{} // a token for each letter under way
	wg      sync.WaitGroup

	mu      sync.Mutex // guards what follows, and keeps reports apart
	stopped error
	report  func(Redriven)
	turns   map[string][]*turn // of letters under way, by key, in order
	moved   chan struct{}      // closed, and made anew, when a letter is handed over or through
}

// turn is the place of a letter among those of its key.
type turn struct {
	key  string
	with *poller // that it was handed to last; nil: none yet
}

// take gives the next letter of a key its turn, and says whether one before it waits to
// be handed over.
func (c *command) take(key string) (t *turn, late bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	late = slices.ContainsFunc(c.turns[key], func(t *turn) bool { return t.with == nil })
	t = &turn{key: key}
	c.turns[key] = append(c.turns[key], t)
	return t, late
}

// comes says whether no letter before a turn is still to be put to that poller, and
// until when that holds. One that is with another, which runs, is of another shard: it
// has an explicit hash key.
func (c *command) comes(t *turn, p *poller) (ok bool, moved <-chan struct{}) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, before := range c.turns[t.key] {
		if before == t {
			break
		}
		if before.with == nil || before.with != p && before.with.ended() {
			return false, c.moved
		}
	}
	return true, c.moved
}

// pass has others look again: the letter is with a poller, or with nil through.
func (c *command) pass(t *turn, p *poller) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if t.with = p; p == nil {
		left := slices.DeleteFunc(c.turns[t.key], func(o *turn) bool { return o == t })
		if c.turns[t.key] = left; len(left) == 0 {
			delete(c.turns, t.key)
		}
	}
	close(c.moved)
	c.moved = make(chan struct{})
}

func (c *command) tell(r Redriven) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.report(r)
}

func (c *command) stop(err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.stopped = cmp.Or(c.stopped, err)
}

// start hands a letter to its poller and returns. Of a key the earlier letter is
// handed over first, and the poller keeps the order. Letters of a key whose shard
// waits for others do not hold up those of other keys.
func (c *command) start(pace *pacer, l dlq.Letter) error {
	select {
	case c.room <- struct{}{}:
	case <-c.ctx.Done():
		return context.Cause(c.ctx)
	}
	if err := pace.wait(c.ctx); err != nil {
		<-c.room
		return err
	}
	t, late := c.take(l.PartitionKey)
	done := func() {
		c.pass(t, nil)
		<-c.room
	}
	if late || c.m.waiting(c.mapping, l) {
		c.wg.Go(func() {
			defer done()
			p, a, err := c.ask(l, t)
			if err == nil {
				err = c.await(p, a, l, t)
			}
			if err != nil {
				c.stop(err)
			}
		})
		return nil
	}
	p, a, err := c.ask(l, t)
	if err != nil {
		done()
		return err
	}
	c.wg.Go(func() {
		defer done()
		if err := c.await(p, a, l, t); err != nil {
			c.stop(err)
		}
	})
	return nil
}

// ask puts a letter to the poller that keeps its key, behind those before it: whenever
// a poller goes, all that it had are put to the next one.
func (c *command) ask(l dlq.Letter, t *turn) (*poller, redriveAsk, error) {
	a := redriveAsk{id: l.ID, reply: make(chan Redriven, 1)}
	for {
		p, err := c.m.keeper(c.ctx, c.mapping, l)
		if err != nil {
			return nil, a, err
		}
		if ok, moved := c.comes(t, p); !ok {
			select {
			case <-moved:
			case <-p.gone:
			case <-c.ctx.Done():
				return nil, a, context.Cause(c.ctx)
			}
			continue
		}
		select {
		case p.redrives <- a:
			c.pass(t, p)
			return p, a, nil
		case <-p.gone: // a seek, a stop, or the end of its shard
		case <-c.ctx.Done():
			return nil, a, context.Cause(c.ctx)
		}
	}
}

// await reports how a letter ended. A poller that ends before it, by a seek or at
// the end of its shard, is followed by one that goes on with the letter.
func (c *command) await(p *poller, a redriveAsk, l dlq.Letter, t *turn) error {
	for {
		select {
		case r := <-a.reply:
			r.PartitionKey = l.PartitionKey
			c.tell(r)
			return nil
		case <-c.ctx.Done():
			return context.Cause(c.ctx)
		case <-p.gone:
		}
		select {
		case r := <-a.reply: // it came together with the end
			a.reply <- r
		default:
			var err error
			if p, a, err = c.ask(l, t); err != nil {
				return err
			}
		}
	}
}

// keeper finds the poller that decides about a letter's key now: that of the
// shard which owns it, or, while that waits for shards before it, of the one among
// those that is not finished.
func (m *Manager) keeper(ctx context.Context, mp triggers.Mapping, l dlq.Letter) (*poller, error) {
	key, err := stream.Entry{PartitionKey: l.PartitionKey, ExplicitHashKey: l.ExplicitHashKey}.HashKey()
	if err != nil {
		return nil, fmt.Errorf("dead letter %s: %w", l.ID, err)
	}
	for {
		m.mu.Lock()
		r, closed := m.running[mp.Name], m.run == nil
		m.mu.Unlock()
		if closed {
			return nil, fmt.Errorf("%w: the server is stopping; what of the redrive is under way goes on after its next start, the rest when it is repeated", triggers.ErrInvalid)
		}
		if r != nil && r.mapping().ID == mp.ID {
			if p := r.keeper(key); p != nil {
				return p, nil
			}
		}
		now, err := m.Get(ctx, mp.Name)
		switch {
		case errors.Is(err, triggers.ErrNotFound), err == nil && (now.ID != mp.ID || now.State == triggers.Deleting):
			return nil, fmt.Errorf("%w: trigger %s was removed; the letters that are left are dead letters still", triggers.ErrNotFound, mp.Name)
		case err != nil:
			return nil, err
		case !now.Enabled:
			return nil, fmt.Errorf("%w: trigger %s is paused; resume it with: wasmill trigger resume %s. What of a redrive is under way goes on then, the rest when it is repeated", triggers.ErrInvalid, mp.Name, mp.Name)
		}
		if err := m.readable(ctx, mp); err != nil {
			return nil, err
		}
		select {
		case <-time.After(20 * time.Millisecond): // it is about to start, or waits for other shards
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		}
	}
}

// waiting says whether a trigger runs, and no poller of it decides about a letter's
// key now: its shard waits for others.
func (m *Manager) waiting(mp triggers.Mapping, l dlq.Letter) bool {
	r := m.runner(mp.Name)
	key, err := stream.Entry{PartitionKey: l.PartitionKey, ExplicitHashKey: l.ExplicitHashKey}.HashKey()
	return r != nil && err == nil && r.mapping().ID == mp.ID && r.keeper(key) == nil
}

// readable says why there is no order of keys to deliver letters in, if so.
func (m *Manager) readable(ctx context.Context, mp triggers.Mapping) error {
	_, err := m.d.Streams.ByID(ctx, mp.StreamID)
	if errors.Is(err, stream.ErrNotFound) {
		return fmt.Errorf("%w: stream %s of trigger %s was deleted, so nothing reads the order of keys any more; make the trigger again on another stream, or look at the letters with: wasmill dlq export", triggers.ErrInvalid, mp.Config.Stream, mp.Name)
	}
	return err
}

// ended says whether the poller is through.
func (p *poller) ended() bool {
	select {
	case <-p.gone:
		return true
	default:
		return false
	}
}

// pacer lets one go after the other, so far apart; the first at once.
type pacer struct {
	every time.Duration
	next  time.Time
}

// interval is how far apart so many in a second are, a day at most.
func interval(rate float64) time.Duration {
	if rate <= 0 {
		return 0
	}
	return time.Duration(min(float64(time.Second)/rate, float64(24*time.Hour)))
}

func (p *pacer) wait(ctx context.Context) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	now := time.Now()
	if wait := p.next.Sub(now); wait > 0 {
		select {
		case <-time.After(wait):
		case <-ctx.Done():
			return context.Cause(ctx)
		}
		p.next = p.next.Add(p.every)
		return nil
	}
	p.next = now.Add(p.every)
	return nil
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
	bytes   int      // of letters' records
}

const (
	// maxRedriving is how many bytes of records a shard holds for redrives; one
	// record always has room.
	maxRedriving = 16 << 20
	// lookAgain is when a letter is looked up again that could not be read.
	lookAgain = 200 * time.Millisecond
)

func (r *redriving) hold(id string, l *dlq.Letter) {
	r.letters[id] = l
	r.bytes += len(l.Data)
}

func (r *redriving) drop(id string) {
	if l := r.letters[id]; l != nil {
		r.bytes -= len(l.Data)
		delete(r.letters, id)
	}
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
	if r.looking || len(r.queue) == 0 || len(r.letters) >= shard.MaxRedrives || r.bytes >= maxRedriving || p.draining || p.finished {
		return
	}
	r.looking = true
	id := r.queue[0]
	p.wg.Go(func() {
		l, err := p.r.m.d.Letters.Get(ctx, id)
		for err != nil && !errors.Is(err, dlq.ErrNotFound) && !damaged(err) {
			// The store is down, and comes back: so do shards.
			select {
			case <-time.After(lookAgain):
			case <-p.r.drain:
				p.recalled <- recalled{id, l, err}
				return
			case <-ctx.Done():
				p.recalled <- recalled{id, l, err}
				return
			}
			l, err = p.r.m.d.Letters.Get(ctx, id)
		}
		p.recalled <- recalled{id, l, err}
	})
}

// looked hands a letter that was looked up to the machine.
func (p *poller) looked(ctx context.Context, got recalled) {
	r := &p.redriving
	r.looking, r.queue = false, r.queue[1:]
	switch {
	case got.err != nil && (p.draining || ctx.Err() != nil):
		// Not looked up in time: who asked hears of the poller's end.
	case errors.Is(got.err, dlq.ErrNotFound):
		p.redriven(Redriven{ID: got.id, Outcome: RedriveGone})
	case got.err != nil:
		p.redriven(Redriven{ID: got.id, Outcome: RedriveRefused, Err: got.err})
	default:
		r.hold(got.id, &got.letter)
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
		p.redriving.drop(id)
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
	l.Reason, l.Buried, l.Redriving = b.Reason, now, false
	if b.Attempts == 0 {
		return l // it was never tried: what it went through is what it was before
	}
	l.ErrorType, l.ErrorMessage, l.Attempts, l.FirstFailure = b.Failure.Type, b.Failure.Message, b.Attempts, b.FirstFailure
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

// damaged says that an error is about what is stored, and stays.
func damaged(err error) bool {
	return errors.Is(err, store.ErrCorrupt) || errors.Is(err, journal.ErrCorrupt)
}

// resumeRedrives looks up the letters that a checkpoint says are on their way. One that
// is nowhere any more, or cannot be read, is let go, and told of: it stops no shard.
func (p *poller) resumeRedrives(ctx context.Context, cp *triggers.Checkpoint) error {
	p.redriving.letters, p.redriving.bytes = map[string]*dlq.Letter{}, 0
	kept := make([]triggers.Redrive, 0, len(cp.Redrives))
	for _, r := range cp.Redrives {
		l, err := p.r.m.d.Letters.Get(ctx, r.Letter)
		if errors.Is(err, dlq.ErrNotFound) || damaged(err) {
			p.log.Error("a dead letter that was being redriven cannot be read, and is left alone", "letter", r.Letter, "err", err)
			continue
		}
		if err != nil {
			return fmt.Errorf("dead letter %s, which is being redriven: %w", r.Letter, err)
		}
		p.redriving.hold(r.Letter, &l)
		kept = append(kept, r)
	}
	cp.Redrives = kept
	return nil
}
