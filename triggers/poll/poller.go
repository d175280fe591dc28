package poll

import (
	"context"
	"errors"
	"fmt"
	"hash/fnv"
	"log/slog"
	"sync"
	"time"

	"github.com/wasmill/wasmill/internal/history"
	"github.com/wasmill/wasmill/runtime"
	"github.com/wasmill/wasmill/stream/natsstream"
	"github.com/wasmill/wasmill/triggers"
	"github.com/wasmill/wasmill/triggers/journal"
	"github.com/wasmill/wasmill/triggers/shard"
)

// poller carries out the decisions of one shard's machine. Its run goroutine
// owns everything but the channels; the goroutines it starts fetch, invoke or
// commit one thing each and send the outcome back.
type poller struct {
	r     *mapping
	id    string // of the shard
	log   *slog.Logger
	wg    sync.WaitGroup // of the goroutines that carry out effects
	wake  chan struct{}  // from the shard's log: records were appended
	asked chan ask       // from Status and WaitDrained
	gone  chan struct{}  // closed when run has returned
	// configured is sent to by mapping.configure.
	configured chan struct{}

	fetched   chan fetched         // from fetch
	settled   chan shard.Settled   // from invoke
	committed chan shard.Committed // from commit

	// Only run's goroutine touches what follows.
	mapping  triggers.Mapping
	source   triggers.Source
	shard    *natsstream.Shard
	journal  *journal.Journal
	machine  *shard.Machine
	held     holding
	timer    *time.Timer
	next     uint64 // committed: lowest unfinished number
	saved    triggers.Checkpoint
	problem  string
	again    <-chan time.Time // when to read again after a problem
	finished bool
	waiting  []ask // for next to reach their target
	draining bool
}

// ask wants the poller's status, or to hear when a number is committed.
type ask struct {
	target uint64           // with reached: what next must be
	reply  chan ShardStatus // buffered
	wait   bool
}

func newPoller(r *mapping, id string) *poller {
	mp := r.mapping()
	return &poller{
		r: r, id: id, mapping: mp,
		log:        r.m.d.Logger.With("trigger", mp.Name, "shard", id),
		source:     triggers.Source{Mapping: mp.ID, Generation: mp.Generation, Shard: id},
		wake:       make(chan struct{}, 1),
		asked:      make(chan ask),
		gone:       make(chan struct{}),
		configured: make(chan struct{}, 1),
		fetched:    make(chan fetched, 1),
		settled:    make(chan shard.Settled, triggers.MaxParallel),
		committed:  make(chan shard.Committed, 1),
	}
}

// run polls until the shard is finished, the mapping drains, or ctx ends. When
// it has returned nothing it started is left.
func (p *poller) run(ctx context.Context) {
	defer close(p.gone)
	defer p.wg.Wait()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	for !p.open(ctx) {
		select {
		case <-time.After(time.Second):
		case a := <-p.asked:
			p.answer(a)
		case <-p.r.drain:
			return
		case <-ctx.Done():
			return
		}
	}
	stop := p.shard.Log().Watch(p.wake)
	defer stop()
	defer p.held.release(p.r.m.budget, ^uint64(0), nil)
	p.timer = time.NewTimer(time.Hour)
	defer p.timer.Stop()

	drain := p.r.drain
	p.step(ctx, shard.Woken{})
	for !p.finished {
		select {
		case f := <-p.fetched:
			p.arrived(ctx, f)
		case s := <-p.settled:
			p.step(ctx, s)
		case c := <-p.committed:
			p.acknowledged(ctx, c)
		case <-p.wake:
			p.step(ctx, shard.Woken{Arrived: true})
		case <-p.timer.C:
			p.step(ctx, shard.Woken{})
		case <-p.configured:
			p.mapping = p.r.mapping()
			p.step(ctx, shard.Configured{Config: machineConfig(p.mapping.Config)})
			p.reread(ctx)
		case <-p.again:
			p.reread(ctx)
		case a := <-p.asked:
			p.answer(a)
		case <-drain:
			drain, p.draining = nil, true
			p.step(ctx, shard.Drain{})
		case <-ctx.Done():
			return
		}
	}
	if p.draining {
		return
	}
	// The shard is done, or another owner has it: stay to answer questions.
	for {
		select {
		case a := <-p.asked:
			p.answer(a)
		case <-p.configured:
		case <-p.r.drain:
			return
		case <-ctx.Done():
			return
		}
	}
}

// open takes the shard: the journal's newest state becomes the machine's.
func (p *poller) open(ctx context.Context) bool {
	d := p.r.m.d
	sh, err := d.Streams.Shard(ctx, p.mapping.StreamID, p.id)
	if err == nil {
		p.shard = sh
		var cp *triggers.Checkpoint
		p.journal, cp, err = d.Journals.Take(ctx, p.source, p.r.m.owner)
		if err == nil && cp == nil {
			// A shard found after the mapping was made starts at its beginning.
			cp = &triggers.Checkpoint{}
		}
		if err == nil {
			h := fnv.New64a()
			fmt.Fprint(h, p.source)
			p.saved, p.next = *cp, cp.Next
			p.machine = shard.New(machineConfig(p.mapping.Config), *cp, h.Sum64())
			p.problem = ""
			return true
		}
	}
	if p.problem == "" && ctx.Err() == nil {
		p.log.Error("shard not taken up; trying again every second", "err", err)
	}
	p.problem = err.Error()
	return false
}

// step gives the machine an event and carries out what it decides.
func (p *poller) step(ctx context.Context, ev shard.Event) {
	for _, eff := range p.machine.Step(time.Now(), ev) {
		switch e := eff.(type) {
		case shard.Fetch:
			p.startFetch(ctx, e)
		case shard.Invoke:
			p.invoke(ctx, e)
		case shard.Commit:
			p.commit(ctx, e)
		case shard.WakeAt:
			p.timer.Stop()
			if !e.Time.IsZero() {
				p.timer.Reset(time.Until(e.Time))
			}
		case shard.Release:
			p.held.release(p.r.m.budget, e.Below, e.Numbers)
		case shard.Finished:
			p.finished = true
			if e.Fenced {
				p.problem = "another server has taken this shard"
				p.log.Warn("fenced: stopped")
			}
		}
	}
}

// reread tries again to read what a problem kept from being read.
func (p *poller) reread(ctx context.Context) {
	if p.again != nil {
		p.again = nil
		p.step(ctx, shard.Woken{Arrived: true})
	}
}

// invoke hands a unit's records to the function.
func (p *poller) invoke(ctx context.Context, e shard.Invoke) {
	batch := p.r.m.emptyBatch(p.mapping, p.id)
	batch.Records = make([]runtime.Record, len(e.Numbers))
	// One allocation for all sequence numbers: 56 digits each.
	digits := make([]byte, 0, 56*len(e.Numbers))
	for i, n := range e.Numbers {
		f, at := p.held.find(n)
		if f == nil {
			panic(fmt.Sprintf("triggers/poll: record %d of %s is to be invoked and is not held", n, p.id))
		}
		start := len(digits)
		digits = p.shard.Sequence(f, at).Append(digits)
		rec := &f.Records[at]
		batch.Records[i] = runtime.Record{
			Sequence: alias(digits[start:]), PartitionKey: rec.Key, Data: rec.Data, Arrival: rec.Arrival, TraceParent: rec.Trace,
		}
	}
	mp := p.mapping
	p.wg.Go(func() { p.settled <- p.r.m.deliver(ctx, mp, e, &batch) })
}

// commit writes a checkpoint and its dead letters, as one message.
func (p *poller) commit(ctx context.Context, e shard.Commit) {
	cp := e.Checkpoint
	if f, _ := p.held.find(cp.Next); f != nil {
		cp.Frame = f.Seq
	} else if cp.Frame == 0 {
		cp.Frame = p.saved.Frame
	}
	letters, err := p.letters(e.Buried)
	if err != nil {
		panic(err) // a burial of a record that is not held is a bug of ours
	}
	p.saved = cp
	j := p.journal
	p.wg.Go(func() {
		res := shard.Committed{ID: e.ID}
		wait := 10 * time.Millisecond
		for {
			err := j.Commit(ctx, cp, letters)
			switch {
			case err == nil:
				res.Result = shard.OK
				p.r.m.recordCommit(p.mapping, p.source, j.Epoch(), cp, letters)
			case errors.Is(err, triggers.ErrFenced):
				res.Result = shard.Fenced
			case ctx.Err() != nil:
				res.Result = shard.Failed
			default:
				// The journal settles unknown outcomes itself; what is left is a
				// service that is down. The same commit again is safe.
				p.log.Warn("checkpoint not written; trying again", "err", err, "in", wait)
				select {
				case <-time.After(wait):
				case <-ctx.Done():
				}
				wait = min(2*wait, 2*time.Second)
				continue
			}
			break
		}
		p.committed <- res
	})
}

// acknowledged hears how a commit went, and wakes who waits for it.
func (p *poller) acknowledged(ctx context.Context, c shard.Committed) {
	if c.Result == shard.OK {
		p.next = p.saved.Next
		p.r.m.d.Relay.Notify(p.source)
		waiting := p.waiting[:0]
		for _, a := range p.waiting {
			if a.target > p.next {
				waiting = append(waiting, a)
				continue
			}
			a.reply <- ShardStatus{Next: p.next}
		}
		p.waiting = waiting
	}
	p.step(ctx, c)
}

// recordCommit writes the journal's acknowledgement into the history.
func (m *Manager) recordCommit(mp triggers.Mapping, src triggers.Source, epoch uint64, cp triggers.Checkpoint, letters []letter) {
	if m.d.History == nil {
		return
	}
	e := history.Event{Kind: history.Ckpt, Trigger: mp.Name, Gen: src.Generation, Shard: src.Shard, Epoch: epoch, To: cp.Next, Result: "ok"}
	for _, l := range letters {
		e.Dead = append(e.Dead, l.Sequence)
	}
	m.d.History.Add(e)
}
