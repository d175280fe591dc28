package poll

import (
	"context"
	"errors"
	"fmt"
	"hash/fnv"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/wasmill/wasmill/dlq"
	"github.com/wasmill/wasmill/internal/history"
	"github.com/wasmill/wasmill/runtime"
	"github.com/wasmill/wasmill/stream"
	"github.com/wasmill/wasmill/stream/natsstream"
	"github.com/wasmill/wasmill/triggers"
	"github.com/wasmill/wasmill/triggers/filter"
	"github.com/wasmill/wasmill/triggers/journal"
	"github.com/wasmill/wasmill/triggers/shard"
)

// poller carries out the decisions of one shard's machine. Its run goroutine
// owns everything but the channels; the goroutines it starts fetch, invoke or
// commit one thing each and send the outcome back.
type poller struct {
	r     *mapping
	info  stream.Shard // as it was when it was taken up
	id    string       // of the shard
	log   *slog.Logger
	wg    sync.WaitGroup // of the goroutines that carry out effects
	wake  chan struct{}  // from the shard's log: records were appended
	asked chan ask       // from Status and WaitDrained
	gone  chan struct{}  // closed when run has returned, and the mapping knows
	// configured is sent to by mapping.configure.
	configured chan struct{}

	fetched   chan fetched       // from startFetch's goroutine
	settled   chan shard.Settled // from invoke's goroutines
	committed chan committed     // from commit's goroutine
	redrives  chan redriveAsk    // from Manager.Redrive
	recalled  chan recalled      // from recall's goroutine

	// Only run's goroutine touches what follows.
	mapping   triggers.Mapping
	filters   *filter.Set     // of mapping; nil: none
	former    map[uint64]lens // of records that are looked at otherwise, see lenses
	source    triggers.Source
	shard     *natsstream.Shard
	journal   *journal.Journal
	machine   *shard.Machine
	held      holding
	kept      time.Duration // the stream's retention, as the machine knows it
	timer     *time.Timer
	saved     triggers.Checkpoint          // the newest that is durable
	unread    string                       // why nothing new is read
	lostSight string                       // why nothing is read again
	unwritten string                       // why nothing is committed
	near      struct{ next, frame uint64 } // where reading goes on, and the frame that it has got to
	again     <-chan time.Time             // when to try reading again, after trouble; nil: nothing to try
	againAt   time.Time
	writing   *commit // the commit that is out
	finished  bool
	over      bool   // the shard is finished; read by the mapping when run has returned
	retake    bool   // the shard is to be taken again; read likewise
	removed   bool   // the shard is there no more, nor its records
	last      uint64 // then: the number after its last record
	guessed   bool   // last is the least it can be, and nothing new was asked for since
	waiting   []ask  // for next to reach their target
	draining  bool
	redriving redriving
	holding   string           // why the machine is held; empty: it is not
	recheck   <-chan time.Time // when to look whether it still has to be
}

// ask wants the poller's status, or to hear when a number is committed.
type ask struct {
	ctx    context.Context // of who asks; asks live no longer than it
	wait   bool            // answer only when target is committed, or never will be here
	target uint64
	reply  chan ShardStatus // buffered
}

func newPoller(r *mapping, mp triggers.Mapping, info stream.Shard) *poller {
	id := info.ID
	return &poller{
		r: r, info: info, id: id, mapping: mp,
		log:        r.m.d.Logger.With("trigger", mp.Name, "shard", id),
		source:     triggers.Source{Mapping: mp.ID, Generation: mp.Generation, Shard: id},
		wake:       make(chan struct{}, 1),
		asked:      make(chan ask),
		gone:       make(chan struct{}),
		configured: make(chan struct{}, 1),
		fetched:    make(chan fetched, 1),
		settled:    make(chan shard.Settled, triggers.MaxParallel),
		committed:  make(chan committed, 1),
		redrives:   make(chan redriveAsk),
		recalled:   make(chan recalled, 1),
		redriving:  redriving{letters: map[string]*dlq.Letter{}, asks: map[string][]redriveAsk{}},
	}
}

// run polls until the shard is finished, the mapping drains, or ctx ends. When
// it has returned nothing it started is left.
func (p *poller) run(ctx context.Context) {
	ctx, cancel := context.WithCancel(ctx)
	defer func() {
		cancel()
		p.wg.Wait()
		select {
		case f := <-p.fetched: // came too late to be of use
			p.r.m.budget.give(f.took)
		default:
		}
		p.held.release(p.r.m.budget, ^uint64(0), nil)
	}()
	for !p.open(ctx) {
		select {
		case <-time.After(time.Second):
		case a := <-p.asked:
			p.answer(a)
		case a := <-p.redrives:
			a.reply <- Redriven{ID: a.id, Outcome: RedriveRefused, Err: errors.New("its shard is not taken up yet: " + p.unread)}
		case <-p.r.drain:
			return
		case <-ctx.Done():
			return
		}
	}
	if !p.removed {
		stop := p.shard.Log().Watch(p.wake)
		defer stop()
	}
	p.timer = time.NewTimer(time.Hour)
	defer p.timer.Stop()

	p.hear() // who asked before the shard was taken up
	drain := p.r.drain
	p.hold(ctx)
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
			was, before := p.mapping.Config, p.lenses()
			p.mapping, p.filters = p.r.settings()
			if !alike(was, p.mapping.Config) {
				p.step(ctx, p.refilter(before))
			}
			p.step(ctx, shard.Configured{Config: machineConfig(p.mapping.Config, p.kept)})
			p.step(ctx, shard.Woken{Arrived: true}) // what stood still may go on now
		case <-p.again:
			p.again = nil
			p.step(ctx, shard.Woken{Arrived: true})
		case a := <-p.redrives:
			p.redrive(ctx, a)
		case got := <-p.recalled:
			p.looked(ctx, got)
		case <-p.recheck:
			p.hold(ctx)
		case a := <-p.asked:
			p.answer(a)
		case <-drain:
			drain, p.draining = nil, true
			p.step(ctx, shard.Drain{})
		case <-ctx.Done():
			return
		}
	}
	p.hear()
	p.held.release(p.r.m.budget, ^uint64(0), nil)
	if p.draining || p.over || p.retake {
		return // who has asked for letters hears of the end, and asks who comes after
	}
	taken := errors.New(p.unwritten)
	for id := range p.redriving.asks {
		p.redriven(Redriven{ID: id, Outcome: RedriveRefused, Err: taken})
	}
	// Another owner has the shard: stay to answer questions.
	for {
		select {
		case a := <-p.asked:
			p.answer(a)
		case a := <-p.redrives:
			a.reply <- Redriven{ID: a.id, Outcome: RedriveRefused, Err: taken}
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
	p.mapping, p.filters = p.r.settings()
	var err error
	if !p.removed {
		p.shard, err = d.Streams.Shard(ctx, p.mapping.StreamID, p.id)
		p.removed = err != nil && p.vanished(ctx)
	}
	if err == nil || p.removed {
		var cp *triggers.Checkpoint
		p.journal, cp, err = d.Journals.Take(ctx, p.source, p.r.m.owner)
		if err == nil && cp == nil {
			// A shard found after the mapping was made starts at its beginning.
			cp = &triggers.Checkpoint{}
		}
		if err == nil {
			err = p.resumeRedrives(ctx, cp)
		}
		if err == nil {
			h := fnv.New64a()
			fmt.Fprint(h, p.source)
			p.saved = *cp
			p.r.m.recordTake(p.mapping, p.source, p.journal.Epoch(), *cp)
			if p.removed {
				p.lose()
			}
			p.kept = p.retention(time.Now())
			p.machine = shard.New(machineConfig(p.mapping.Config, p.kept), *cp, h.Sum64())
			p.unread = ""
			return true
		}
	}
	if p.unread == "" && ctx.Err() == nil {
		p.log.Error("shard not taken up; trying again every second", "err", err)
	}
	p.unread = err.Error()
	return false
}

// retention is how long the stream keeps a record now.
func (p *poller) retention(now time.Time) time.Duration {
	if p.shard == nil {
		return 0 // nothing of it is held
	}
	return time.Duration(now.UnixMilli()-p.shard.Horizon(now)) * time.Millisecond
}

// step gives the machine an event and carries out what it decides.
func (p *poller) step(ctx context.Context, ev shard.Event) {
	now := time.Now()
	if kept := p.retention(now); kept != p.kept {
		p.kept = kept
		p.step(ctx, shard.Configured{Config: machineConfig(p.mapping.Config, kept)})
	}
	for _, eff := range p.machine.Step(now, ev) {
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
		case shard.Lost:
			p.log.Warn("records lost", "from", e.From, "to", e.To, "count", e.Records, "reason", e.Reason)
			p.r.m.recordGap(p.mapping, p.source, e)
		case shard.Finished:
			p.finished, p.over = true, e.Ended
			if p.retake = e.Fenced && p.journal.Overtaken(); p.retake {
				p.log.Info("a commit that was given up has landed; the shard is taken again")
			} else if e.Fenced {
				p.unwritten = "another server has taken this shard"
				p.log.Warn("fenced: stopped")
			}
		}
	}
}

// invoke hands a unit's records to the function.
func (p *poller) invoke(ctx context.Context, e shard.Invoke) {
	if !p.r.begin() {
		p.wg.Go(func() { p.settled <- stopping(e.Unit) })
		return
	}
	if e.Letter != "" {
		batch, from := p.redriveBatch(e.Letter)
		d := delivery{mp: p.mapping, lenses: p.lenses(), from: from, Invoke: e, batch: &batch, begin: p.r.begin}
		p.wg.Go(func() { p.settled <- p.r.m.deliver(ctx, d) })
		return
	}
	batch := p.batch(e.Numbers, e.Window)
	if e.Final {
		batch.Window.Final, batch.Window.TerminatedEarly = true, e.Window.Early
	}
	d := delivery{mp: p.mapping, lenses: p.lenses(), from: p.source, Invoke: e, batch: &batch}
	p.wg.Go(func() { p.settled <- p.r.m.deliver(ctx, d) })
}

// batch is what the function gets of records that are held.
func (p *poller) batch(numbers []uint64, in *triggers.Window) runtime.Batch {
	batch := p.r.m.emptyBatch(p.mapping, p.id)
	if in != nil {
		batch.Window = &runtime.Window{Start: in.Start, End: in.End, State: in.State}
	}
	batch.Records = make([]runtime.Record, len(numbers))
	// One allocation for all sequence numbers: 56 digits each.
	digits := make([]byte, 0, 56*len(numbers))
	var held piece
	for i, n := range numbers {
		if n < held.from || n >= held.to { // which most are not
			if held = p.held.piece(n); held.frame == nil {
				panic(fmt.Sprintf("triggers/poll: record %d of %s is to be invoked and is not held", n, p.id))
			}
		}
		f, at := held.frame, int(n-held.frame.First)
		start := len(digits)
		digits = p.shard.Sequence(f, at).Append(digits)
		rec := &f.Records[at]
		batch.Records[i] = runtime.Record{
			Sequence: alias(digits[start:]), PartitionKey: rec.Key, Data: rec.Data, Arrival: rec.Arrival, TraceParent: rec.Trace,
		}
	}
	return batch
}

// commit is what a Commit of the machine asks for, made ready.
type commit struct {
	id      uint64
	cp      triggers.Checkpoint
	letters []letter
	outputs []triggers.Output
	notices []triggers.Notice
	// redriven are the letters that the commit settles; again, at the same index,
	// the id under which one is buried again.
	redriven, again []string
}

// committed is how it went.
type committed struct {
	shard.Committed
	err error
}

// commit writes a checkpoint and its dead letters, as one message. When the
// outcome stays unknown the machine asks for the same commit again, which must
// then be the same to the letter.
func (p *poller) commit(ctx context.Context, e shard.Commit) {
	if p.writing == nil || p.writing.id != e.ID {
		cp := e.Checkpoint
		cp.Frame = p.saved.Frame
		if f, _ := p.held.find(cp.Next); f != nil {
			cp.Frame = f.Seq
		} else if cp.Next == p.near.next {
			cp.Frame = p.near.frame
		}
		now := time.Now().UTC().Truncate(time.Millisecond)
		p.writing = &commit{id: e.ID, cp: cp, letters: p.letters(e.Buried, now), outputs: e.Outputs, redriven: e.Redriven, notices: p.notices(e.Discards, now)}
		for _, id := range e.Redriven {
			next := ""
			if l := p.redriving.letters[id]; slices.ContainsFunc(e.Buried, func(b shard.Burial) bool { return b.Letter == id }) {
				next = nextBurial(l)
			}
			p.writing.again = append(p.writing.again, next)
		}
	}
	c, j, mp := *p.writing, p.journal, p.mapping
	p.wg.Go(func() {
		p.r.m.recordCommit(mp, p.source, j.Epoch(), &c, "asked")
		res := committed{shard.Committed{ID: c.id, Result: shard.OK}, j.Commit(ctx, c.cp, journal.Cargo{Trigger: mp.Name, Letters: c.letters, Outputs: c.outputs, Notices: c.notices, Redriven: c.redriven})}
		switch {
		case res.err == nil:
			p.r.m.recordCommit(mp, p.source, j.Epoch(), &c, "ok")
		case errors.Is(res.err, triggers.ErrFenced):
			res.Result = shard.Fenced
		default:
			res.Result = shard.Failed
		}
		p.committed <- res
	})
}

// acknowledged hears how a commit went, and wakes who waits for it.
func (p *poller) acknowledged(ctx context.Context, c committed) {
	switch {
	case c.Result == shard.OK:
		p.saved, p.unwritten = p.writing.cp, ""
		p.settledRedrives(ctx, p.writing)
		if len(p.writing.outputs)+len(p.writing.notices) > 0 {
			p.hold(ctx)
		}
		p.hear()
	case c.Result == shard.Failed && ctx.Err() == nil:
		if text := "the checkpoint cannot be written: " + c.err.Error(); text != p.unwritten {
			p.unwritten = text
			p.log.Error("shard stands still", "problem", text)
		}
	}
	p.step(ctx, c.Committed)
}

// hear answers those who wait, once what they wait for is committed or can
// never be by this poller.
func (p *poller) hear() {
	p.waiting = slices.DeleteFunc(p.waiting, func(a ask) bool {
		if a.target > p.saved.Next && !p.finished && a.ctx.Err() == nil {
			return false
		}
		a.reply <- p.status()
		return true
	})
}

// recordTake writes what is durable of a shard that is taken up into the history.
func (m *Manager) recordTake(mp triggers.Mapping, src triggers.Source, epoch uint64, cp triggers.Checkpoint) {
	if m.d.History == nil {
		return
	}
	e := history.Event{Kind: history.Take, Stream: mp.Config.StreamName(), Trigger: mp.Name, Gen: src.Generation, Shard: src.Shard, Epoch: epoch, To: cp.Next, Ended: cp.Ended}
	for _, s := range cp.Finished {
		e.Spans = append(e.Spans, history.Span(s))
	}
	for _, r := range cp.Redrives {
		e.Redriving = append(e.Redriving, r.Letter)
	}
	m.d.History.Add(e)
}

// recordCommit writes what the journal is asked, and its acknowledgement, into the
// history. What it is asked counts where a kill may hide the answer.
func (m *Manager) recordCommit(mp triggers.Mapping, src triggers.Source, epoch uint64, c *commit, result string) {
	if m.d.History == nil || result == "asked" && len(c.letters)+len(c.outputs)+len(c.redriven)+len(c.cp.Redrives) == 0 && !c.cp.Ended {
		return
	}
	e := history.Event{Kind: history.Ckpt, Stream: mp.Config.StreamName(), Trigger: mp.Name, Gen: src.Generation, Shard: src.Shard, Epoch: epoch, To: c.cp.Next,
		Result: result, Redriven: c.redriven, Again: c.again, Ended: c.cp.Ended}
	for _, l := range c.letters {
		if l.Burial == 1 {
			e.Dead, e.DeadIDs = append(e.Dead, l.Sequence), append(e.DeadIDs, l.ID)
		}
	}
	for _, o := range c.outputs {
		_, name, _ := strings.Cut(o.Stream, "/")
		e.Out = append(e.Out, history.OutName(name, o.ID))
	}
	for _, r := range c.cp.Redrives {
		e.Redriving = append(e.Redriving, r.Letter)
	}
	m.d.History.Add(e)
}
