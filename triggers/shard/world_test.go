package shard_test

import (
	"bytes"
	"cmp"
	"encoding/json"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"time"

	"github.com/wasmill/wasmill/dlq"
	"github.com/wasmill/wasmill/runtime"
	"github.com/wasmill/wasmill/triggers"
	"github.com/wasmill/wasmill/triggers/shard"
)

// tester is what testing.T and rapid.T have in common.
type tester interface {
	Helper()
	Fatal(args ...any)
	Fatalf(format string, args ...any)
}

// world is all around a machine: a shard, a memory, a journal. It carries out
// effects, and at each it checks what the machine promises. Numbers start at 1.
type world struct {
	t       tester
	config  shard.Config
	m       *shard.Machine
	seed    uint64
	now     time.Time
	log     []shard.Record // number i+1 at i
	bad     []span         // numbers that cannot be read: lost when asked for
	closed  bool
	exact   bool // the settings never change, so that batches can be checked
	trace   func(string, ...any)
	restart int
	drains  int

	fetch    *shard.Fetch
	out      []invocation
	commit   *shard.Commit
	landed   bool // the outstanding commit is durable though the machine does not know
	wake     time.Time
	finished *shard.Finished

	durable  []byte // the committed checkpoint
	cp       triggers.Checkpoint
	fates    []fate // of number i+1
	held     map[uint64]int32
	pinned   int64
	byKey    [shard.Buckets][]uint64
	steps    int
	invoked  int
	redone   int    // commits asked for again
	gaps     uint64 // what a checkpoint has to say of lost records
	released uint64 // Below of the last Release

	emits       int // outputs of each record and letter
	settledRuns int
	outputs     map[string]bool   // durable, by id
	pendingOut  []triggers.Output // resolved and in no commit yet
	pendingEnds []string          // letters that are done, likewise

	letters      map[string]*letterFate
	letterOrder  []*letterFate
	opened       []*letterFate // of this life, in the order of the commands
	was          []triggers.Redrive
	everRedriven uint64              // buckets
	also         func() uint64       // other buckets of the next record
	drops        func(n uint64) bool // no filter lets that record through; nil: all are
	aggregate
	over bool   // a commit said Ended
	why  string // of Held
}

// invocation is a unit at the function, with the settings it is judged by.
type invocation struct {
	shard.Invoke
	config shard.Config
}

// name is how stories call it.
func (e *invocation) name() string {
	if e.Final {
		return "final"
	}
	return cmp.Or(e.Letter, ranges(e.Numbers))
}

type span struct{ from, to uint64 }

// fate is what has become of a record.
type fate struct {
	done     bool // by success, ever
	buried   dlq.Reason
	attempts int  // of the dead letter
	lost     bool // a gap covered it, or retention took it from memory
	filtered bool // the machine was told that no filter lets it through
	passed   bool // and that it is finished is durable
	told     bool // by Lost, ever
	now      bool // by Lost, in this life
	resolved bool // in this life of the machine, or durably
	written  bool // durably
	windowed bool // its last invocation was in a window
	out      bool
	failed   int               // attempts in units of its present shape that counted
	ever     int               // attempts that counted
	times    int               // invocations it was in
	emitted  []triggers.Output // by the run that resolved it, in this life
}

func newWorld(t tester, c shard.Config, seed uint64) *world {
	w := &world{
		t: t, config: c, seed: seed, exact: true,
		now:   time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC),
		trace: func(string, ...any) {},
		cp:    triggers.Checkpoint{Next: 1},
	}
	w.durable, _ = json.Marshal(w.cp)
	w.boot()
	return w
}

// boot starts a machine from what is durable. What was in memory is gone.
func (w *world) boot() {
	w.t.Helper()
	w.fetch, w.out, w.commit, w.landed, w.wake, w.finished = nil, nil, nil, false, time.Time{}, nil
	w.held, w.pinned, w.released = map[uint64]int32{}, 0, 0
	var cp triggers.Checkpoint
	if err := json.Unmarshal(w.durable, &cp); err != nil {
		w.t.Fatal(err)
	}
	for i := range w.fates {
		w.fates[i].resolved, w.fates[i].out, w.fates[i].now, w.fates[i].emitted = w.fates[i].written, false, false, nil
	}
	// What filters have dropped before a unit stays so, whatever they are now.
	first := map[uint64]uint64{}
	for _, u := range cp.Units {
		if from, known := first[u.Claim]; !known || u.Spans[0].From < from {
			first[u.Claim] = u.Spans[0].From
		}
	}
	for _, u := range cp.Units {
		for n := cp.Next; n < first[u.Claim]; n++ {
			if f := w.fate(n); u.Spans[0].Buckets&w.mask(n) != 0 && f.filtered {
				f.passed = true
			}
		}
	}
	claimed := map[uint64]uint64{} // buckets, of all units with the claim
	for _, u := range cp.Units {
		claimed[u.Claim] |= u.Spans[0].Buckets
	}
	for _, u := range cp.Units {
		for n := u.Spans[0].From; n < u.Spans[0].To; n++ {
			if f, mask := w.fate(n), w.mask(n); u.Spans[0].Buckets&mask != 0 && mask&^claimed[u.Claim] != 0 && f.filtered {
				f.passed = true
			}
		}
	}
	for _, s := range cp.Finished {
		for n := s.From; n < s.To; n++ {
			if f := w.fate(n); s.Buckets&w.mask(n) != 0 && f.filtered {
				f.passed = true
			}
		}
	}
	w.gaps, w.m = cp.Gaps, nil
	w.bootLetters(&cp)
	w.aggregate.boot(&cp)
	w.seed++
	w.m = shard.New(w.config, cp, w.seed)
	w.step(shard.Woken{})
}

func (w *world) put(bucket uint8, size int32, arrival time.Time) uint64 {
	n := uint64(len(w.log) + 1)
	r := shard.Record{Number: n, Bucket: bucket, Size: size, Pinned: size, Arrival: arrival.UnixMilli()}
	if w.also != nil {
		r.Also = w.also()
	}
	w.log = append(w.log, r)
	w.fates = append(w.fates, fate{})
	for b := range w.byKey {
		if w.mask(n)>>b&1 == 1 {
			w.byKey[b] = append(w.byKey[b], n)
		}
	}
	return n
}

// mask is the buckets of a record.
func (w *world) mask(n uint64) uint64 { return w.log[n-1].Also | 1<<w.log[n-1].Bucket }

func (w *world) fatalf(format string, args ...any) {
	w.t.Helper()
	w.t.Fatalf("step %d: %s\nstatus %+v", w.steps, fmt.Sprintf(format, args...), w.m.Status())
}

func (w *world) fate(n uint64) *fate { return &w.fates[n-1] }

// step feeds an event and carries out what can be done at once.
func (w *world) step(ev shard.Event) {
	w.t.Helper()
	w.steps++
	if _, ok := ev.(shard.Woken); ok {
		w.wake = time.Time{}
	}
	for _, e := range w.m.Step(w.now, ev) {
		if w.finished != nil {
			w.fatalf("%#v after Finished", e)
		}
		switch e := e.(type) {
		case shard.Fetch:
			if w.fetch != nil {
				w.fatalf("two fetches out: %+v and %+v", *w.fetch, e)
			}
			if e.Records < 1 || e.Bytes < 1 {
				w.fatalf("empty %+v", e)
			}
			limit := cmp.Or(w.config.PinnedBytes, 32<<20)
			if st := w.m.Status(); !e.Again && w.restart+w.drains == 0 && st.Pinned >= limit {
				w.fatalf("reads on with %d bytes held, limit %d", st.Pinned, limit)
			}
			w.fetch = &e
			w.trace("fetch %d, %d records%s", e.From, e.Records, map[bool]string{true: ", again"}[e.Again])
		case shard.Invoke:
			w.checkInvoke(e)
			out := invocation{e, w.config}
			w.out = append(w.out, out)
			w.trace("invoke %s%s%s", out.name(), nth(e), w.within(e))
		case shard.Commit:
			w.checkCommit(e)
			w.commit = &e
			w.traceCommit(e)
		case shard.WakeAt:
			w.wake = e.Time
			if e.Time.IsZero() {
				w.trace("wake never")
			} else {
				w.trace("wake in %v", e.Time.Sub(w.now).Round(time.Millisecond))
			}
		case shard.Release:
			w.releaseRecords(e)
		case shard.Lost:
			w.checkLost(e)
			w.trace("lost %d to %d, %d: %s", e.From, e.To-1, e.Records, e.Reason)
		case shard.Finished:
			w.finished = &e
			if len(w.out) > 0 && !e.Fenced {
				w.fatalf("finished with %d units out", len(w.out))
			}
			w.trace("finished ended=%v fenced=%v", e.Ended, e.Fenced)
		}
	}
	if w.finished != nil {
		return
	}
	st := w.m.Status()
	if st.Pinned != w.pinned {
		w.fatalf("the machine thinks that %d bytes are held, and it is %d in %d records", st.Pinned, w.pinned, len(w.held))
	}
	if ahead := st.Read - st.Next - w.filteredIn(st.Next, st.Read); w.exact && w.restart+w.drains == 0 && len(w.bad) == 0 && ahead > uint64(10*w.parallel()*w.config.BatchSize) {
		w.fatalf("%d records read ahead", ahead)
	}
}

func (w *world) filteredIn(from, to uint64) (n uint64) {
	for k := from; k < to; k++ {
		if w.fate(k).filtered {
			n++
		}
	}
	return n
}

// refilter changes the filters.
func (w *world) refilter(drops func(n uint64) bool) {
	w.drops = drops
	var numbers []uint64
	for n := range w.held {
		if drops(n) {
			numbers = append(numbers, n)
		}
	}
	slices.Sort(numbers)
	for _, n := range numbers {
		f := w.fate(n)
		f.filtered = !f.out && !f.resolved // or it is in a unit, and will be invoked or buried
	}
	if w.commit != nil {
		w.unfilter(w.commit.Buried)
	}
	w.step(shard.Refiltered{Numbers: numbers})
}

// unfilter notes that records were in a unit when the filters changed.
func (w *world) unfilter(buried []shard.Burial) {
	for _, b := range buried {
		if b.Letter == "" {
			w.fate(b.Number).filtered = false
		}
	}
}

// checkLost holds that only what is really lost is told of, once a life.
func (w *world) checkLost(l shard.Lost) {
	w.t.Helper()
	w.gaps += l.Records
	if l.From >= l.To || l.Records < 1 || l.Records > l.To-l.From {
		w.fatalf("%+v", l)
	}
	for n := l.From; n < l.To; n++ {
		f := w.fate(n)
		if l.Reason == shard.LostToRetention && !f.lost {
			if _, held := w.held[n]; !held || !w.expired(n) {
				w.fatalf("record %d is lost to retention, held %v, arrived at %d", n, held, w.log[n-1].Arrival)
			}
			f.lost, f.resolved = true, true
		}
		if !f.lost || f.out || f.now {
			w.fatalf("record %d is told of as lost: %+v", n, *f)
		}
		if w.restart+w.drains == 0 && (f.done || f.buried != "") {
			w.fatalf("record %d is told of as lost, and was resolved: %+v", n, *f)
		}
		f.told, f.now, f.filtered = true, true, false
	}
	if w.restart+w.drains == 0 && l.Records != l.To-l.From {
		w.fatalf("%+v: without a restart it is known which", l)
	}
}

// expired says whether a record is beyond retention.
func (w *world) expired(n uint64) bool {
	return w.config.Retention > 0 && w.log[n-1].Arrival < w.now.Add(-w.config.Retention).UnixMilli()
}

func (w *world) releaseRecords(r shard.Release) {
	if r.Below < w.released {
		w.fatalf("release below %d after one below %d", r.Below, w.released)
	}
	w.released = r.Below
	for n := range w.held {
		if n < r.Below {
			w.forget(n)
		}
	}
	for i, n := range r.Numbers {
		if n < r.Below || i > 0 && n == r.Numbers[i-1] {
			w.fatalf("release of %d below %d or twice", n, r.Below)
		}
		w.forget(n)
	}
	w.trace("release below %d%s", r.Below, map[bool]string{true: " and " + ranges(r.Numbers)}[len(r.Numbers) > 0])
}

func (w *world) forget(n uint64) {
	w.pinned -= int64(w.held[n])
	delete(w.held, n)
}

func (w *world) parallel() int { return max(w.config.Parallel, 1) }

func (w *world) maxBytes() int64 {
	if w.config.MaxBytes == 0 {
		return triggers.MaxPayload
	}
	return int64(w.config.MaxBytes)
}

// checkInvoke holds order per key, the limits of a batch, and that no work is repeated.
func (w *world) checkInvoke(e shard.Invoke) {
	w.t.Helper()
	w.invoked++
	if len(w.out) >= w.parallel() {
		w.fatalf("%d units out already, parallel %d", len(w.out), w.config.Parallel)
	}
	if w.m.Status().WaitsFor == "the journal cannot be written; nothing is invoked until it can" {
		w.fatalf("invoked while the journal fails")
	}
	if w.why != "" {
		w.fatalf("invoked while held: %s", w.why)
	}
	w.checkWindow(e)
	if e.Letter != "" {
		w.checkLetterInvoke(e)
		return
	}
	if e.Final {
		return
	}
	if len(e.Numbers) == 0 || (w.exact && len(e.Numbers) > w.config.BatchSize) {
		w.fatalf("invoke of %d records, batch size %d", len(e.Numbers), w.config.BatchSize)
	}
	for _, other := range w.out {
		if other.Unit == e.Unit {
			w.fatalf("unit %d is out twice", e.Unit)
		}
	}
	bytes := int64(len(`{"Records":[]}`)) - 1
	var buckets uint64
	for i, n := range e.Numbers {
		f := w.fate(n)
		switch _, held := w.held[n]; {
		case i > 0 && n <= e.Numbers[i-1]:
			w.fatalf("not ascending: %v", e.Numbers)
		case f.resolved:
			w.fatalf("record %d was resolved already: %+v", n, *f)
		case f.out:
			w.fatalf("record %d is out twice", n)
		case f.filtered && w.exact:
			w.fatalf("record %d is let through by no filter", n)
		case !held:
			w.fatalf("record %d was released", n)
		case w.expired(n):
			w.fatalf("record %d is beyond retention", n)
		}
		bytes += int64(w.log[n-1].Size)
		buckets |= w.mask(n)
		if age := w.now.UnixMilli() - w.log[n-1].Arrival; w.config.RecordAge > 0 && w.exact && age > w.config.RecordAge.Milliseconds() {
			w.fatalf("record %d is %d ms old, limit %v", n, age, w.config.RecordAge)
		}
	}
	if bytes > w.maxBytes() {
		w.fatalf("event of %d bytes", bytes)
	}
	w.checkBucketsOfLetters(buckets, nil)
	w.checkRecordsBehindLetters(e)
	for _, other := range w.out {
		for _, n := range other.Numbers {
			if buckets&w.mask(n) != 0 {
				w.fatalf("a bucket of %d is out twice: %v and %v", n, other.Numbers, e.Numbers)
			}
		}
	}
	// Whatever is older in the same bucket is resolved, or in this unit.
	in := map[uint64]bool{}
	for _, n := range e.Numbers {
		in[n] = true
	}
	for b, numbers := range w.byKey {
		if buckets>>b&1 == 0 && (w.config.Parallel > 1 || !w.exact) {
			continue
		}
		last := e.Numbers[len(e.Numbers)-1]
		open := false
		for _, n := range numbers {
			switch f := w.fate(n); {
			case n > last:
			case in[n] && open:
				w.fatalf("record %d goes before an older one of its bucket", n)
			case !in[n] && !f.resolved && !f.lost && !f.filtered:
				open = true
				if w.config.Parallel == 1 && w.exact && w.behindLetters()>>b&1 == 0 {
					w.fatalf("record %d goes before %d", last, n)
				}
			}
		}
	}
	for _, n := range e.Numbers {
		w.fate(n).out, w.fate(n).filtered, w.fate(n).windowed = true, false, e.Window != nil
		w.fate(n).times++
	}
}

// behindLetters are the buckets that may wait for a letter: their own, or one of another
// bucket that they share a record with.
func (w *world) behindLetters() uint64 {
	set := w.everRedriven
	for before := uint64(0); before != set && w.also != nil; {
		before = set
		for i := range w.log {
			if m := w.mask(uint64(i + 1)); m&set != 0 {
				set |= m
			}
		}
	}
	return set
}

// checkCommit holds that a checkpoint says neither more nor less than is so.
func (w *world) checkCommit(c shard.Commit) {
	w.t.Helper()
	if w.commit != nil {
		if !reflect.DeepEqual(*w.commit, c) {
			w.fatalf("commit %d asked for again with another content", c.ID)
		}
		w.redone++
		return
	}
	cp := c.Checkpoint
	if cp.Gaps != w.gaps {
		w.fatalf("%d lost records in the checkpoint, %d were told of", cp.Gaps, w.gaps)
	}
	for _, u := range cp.Units {
		if u.LastError.Type != "" && u.LastError.Type != "Oops" {
			w.fatalf("a refusal became the last error of unit %+v", u)
		}
	}
	w.checkCargo(c)
	w.checkWindowCommit(c)
	w.unfilter(c.Buried)
	var given, buried []uint64
	for _, d := range c.Discards {
		given = append(given, d.Numbers...)
	}
	for _, b := range c.Buried {
		if b.Letter == "" {
			buried = append(buried, b.Number)
		}
	}
	if !slices.Equal(given, buried) {
		w.fatalf("commit %d buries %v and discards %v", c.ID, buried, given)
	}
	for i := range c.Buried {
		b := &c.Buried[i]
		if b.Letter != "" {
			continue
		}
		f := w.fate(b.Number)
		if f.resolved || f.out {
			w.fatalf("record %d buried, but %+v", b.Number, *f)
		}
		if _, held := w.held[b.Number]; !held {
			w.fatalf("record %d was released before its dead letter", b.Number)
		}
		w.checkBurial(b, f)
		f.resolved = true // durable only later; nothing may rely on it before
	}
	read := w.m.Status().Read
	above := uint64(0)
	for n := uint64(1); n < read; n++ {
		b := w.log[n-1].Bucket
		said := n < cp.Next
		for _, s := range cp.Finished {
			if s.Buckets>>b&1 == 1 && s.From <= n && n < s.To {
				said = true
				if n < cp.Next {
					w.fatalf("finished span %+v below next %d", s, cp.Next)
				}
			}
		}
		if w.fate(n).filtered {
			continue
		}
		if said && n >= cp.Next {
			above++
		}
		if f := w.fate(n); said != (f.resolved || f.lost && !f.out && said) {
			w.fatalf("record %d: checkpoint says finished=%v, but %+v\n%+v", n, said, *f, cp)
		}
	}
	if w.restart+w.drains == 0 && cp.Above != above {
		w.fatalf("above %d, want %d: %+v", cp.Above, above, cp)
	}
	for i := range c.Buried {
		if c.Buried[i].Letter == "" {
			w.fate(c.Buried[i].Number).resolved = false
		}
	}
}

func (w *world) checkBurial(b *shard.Burial, f *fate) {
	switch b.Reason {
	case dlq.RetryAttemptsExhausted:
		seen := f.failed
		if w.restart > 0 {
			seen = f.ever // a crash may bring back the unit from before the last progress, with its count
		}
		if w.exact && (b.Attempts != w.config.Retries+1 || seen < b.Attempts || f.failed > b.Attempts+w.restart) {
			w.fatalf("record %d buried after %d attempts (seen %d, restarts %d), retries %d",
				b.Number, b.Attempts, f.failed, w.restart, w.config.Retries)
		}
		if b.Failure.Type == "" || b.FirstFailure.IsZero() {
			w.fatalf("record %d buried without its failure", b.Number)
		}
	case dlq.RecordAgeExceeded:
		if got := b.Failure.Type; got != "Oops" && (got != "" || b.Attempts > 0) {
			w.fatalf("dead letter %d does not name the last failure: %+v", b.Number, b)
		}
		if w.exact && w.now.UnixMilli()-w.log[b.Number-1].Arrival <= w.config.RecordAge.Milliseconds() {
			w.fatalf("record %d buried for age too early", b.Number)
		}
	case dlq.PayloadTooLarge:
		if int64(w.log[b.Number-1].Size)+int64(len(`{"Records":[]}`))-1 <= w.maxBytes() || f.times > 0 {
			w.fatalf("record %d buried for its size", b.Number)
		}
	}
	if b.Position < 0 || b.Position >= b.Size {
		w.fatalf("record %d at position %d of %d", b.Number, b.Position, b.Size)
	}
}

// write makes the outstanding commit durable.
func (w *world) write() {
	w.t.Helper()
	c := *w.commit
	if c.Checkpoint.Next < w.cp.Next {
		w.fatalf("checkpoint went back from %d to %d", w.cp.Next, c.Checkpoint.Next)
	}
	w.cp = c.Checkpoint
	w.durable, _ = json.Marshal(c.Checkpoint)
	for i := range c.Buried {
		b := &c.Buried[i]
		if b.Letter != "" {
			continue
		}
		f := w.fate(b.Number)
		if f.buried != "" {
			w.fatalf("record %d buried twice", b.Number)
		}
		f.buried, f.attempts = b.Reason, b.Attempts
	}
	var now []uint64
	for n := uint64(1); n <= uint64(len(w.log)); n++ {
		said := n < w.cp.Next
		for _, s := range w.cp.Finished {
			said = said || s.Buckets>>w.log[n-1].Bucket&1 == 1 && s.From <= n && n < s.To
		}
		f := w.fate(n)
		if said && f.filtered {
			f.passed = true
			continue
		}
		if said && !f.done && f.buried == "" && !f.lost {
			w.fatalf("record %d is checkpointed and was never resolved", n)
		}
		if said && !f.written {
			f.written = true
			now = append(now, n)
		}
	}
	w.writeCargo(c, now)
	w.aggregate.durable = append(w.aggregate.durable, w.sent...)
	w.sent = nil
}

// answerCommit tells the machine how the outstanding commit went.
func (w *world) answerCommit(r shard.CommitResult, landed bool) {
	w.t.Helper()
	id := w.commit.ID
	switch {
	case r == shard.OK:
		if !w.landed {
			w.write()
		}
		for i := range w.commit.Buried {
			if n := w.commit.Buried[i].Number; n > 0 {
				w.fate(n).resolved = true
			}
		}
		w.pinned -= bytesOf(w.commit.Outputs)
		for _, r := range w.commit.Checkpoint.Redrives {
			if l := w.letters[r.Letter]; !l.acked {
				w.ack(l, nil)
			}
		}
		w.commit, w.landed = nil, false
	case r == shard.Failed && landed && !w.landed:
		w.write()
		w.landed = true
	}
	w.step(shard.Committed{ID: id, Result: r})
}

// answerFetch reads up to so many records.
func (w *world) answerFetch(limit int) {
	w.t.Helper()
	f := *w.fetch
	w.fetch = nil
	for _, b := range w.bad {
		if b.to = min(b.to, uint64(len(w.log)+1)); b.from <= f.From && f.From < b.to {
			for n := f.From; n < b.to; n++ {
				if _, held := w.held[n]; !held {
					w.fate(n).lost = true
					w.fate(n).resolved = w.fate(n).resolved || !f.Again
				}
			}
			w.trace("gap %d to %d", f.From, b.to-1)
			w.step(shard.Gap{From: f.From, To: b.to, Reason: "trimmed"})
			return
		}
	}
	if to := f.From; to <= uint64(len(w.log)) && w.expired(to) {
		for ; to <= uint64(len(w.log)) && to < f.From+uint64(f.Records) && w.expired(to); to++ {
			if _, held := w.held[to]; !held {
				w.fate(to).lost = true
				w.fate(to).resolved = w.fate(to).resolved || !f.Again
			}
		}
		w.trace("gap %d to %d", f.From, to-1)
		w.step(shard.Gap{From: f.From, To: to, Reason: shard.LostToRetention})
		return
	}
	if w.closed && f.From > uint64(len(w.log)) {
		w.step(shard.End{Next: uint64(len(w.log) + 1)})
		return
	}
	end := min(f.From+uint64(min(f.Records, limit)), uint64(len(w.log)+1))
	for _, b := range w.bad {
		if b.from >= f.From && b.from < end {
			end = b.from
		}
	}
	var records []shard.Record
	bytes := 0
	for n := f.From; n < end; n++ {
		r := w.log[n-1]
		if w.expired(n) {
			break
		}
		if bytes += int(r.Pinned); bytes > f.Bytes && len(records) > 0 {
			break
		}
		if w.drops != nil && w.drops(n) {
			r.Filtered, r.Pinned = true, 0
			if at := w.fate(n); !at.out && !at.resolved {
				at.filtered = true
			}
			bytes -= int(w.log[n-1].Pinned)
			records = append(records, r)
			continue
		}
		if !f.Again && !w.fate(n).passed {
			w.fate(n).filtered = false
		}
		records = append(records, r)
		if _, held := w.held[n]; !held {
			w.held[n] = r.Pinned
			w.pinned += int64(r.Pinned)
		}
	}
	if w.commit != nil {
		w.unfilter(w.commit.Buried)
	}
	caught := f.From+uint64(len(records)) > uint64(len(w.log)) && !w.closed
	w.step(shard.Fetched{From: f.From, Records: records, Caught: caught})
}

// answerInvoke settles the i-th unit that is out.
func (w *world) answerInvoke(i int, outcome runtime.Outcome, failed int) {
	w.t.Helper()
	e := w.out[i]
	w.out = slices.Delete(w.out, i, i+1)
	w.settledRuns++
	kind := "Oops"
	if !runtime.Attempted(outcome) {
		kind = outcome.String()
	}
	ev := shard.Settled{
		Unit: e.Unit, Outcome: outcome, FirstFailed: failed,
		Failure: triggers.Failure{Type: kind, Message: "no", At: w.now, BatchSize: len(e.Numbers)},
	}
	if e.Letter != "" {
		w.settleLetter(e, outcome, failed, ev)
		return
	}
	if e.Final {
		w.settleFinal(e, outcome, ev)
		return
	}
	done := 0
	counted := runtime.Attempted(outcome)
	switch {
	case outcome == runtime.Done, outcome == runtime.Partial && !e.config.PartialReplies:
		done, counted = len(e.Numbers), false
	case outcome == runtime.Partial && failed > 0:
		done, counted = failed, false
	}
	split := counted && e.config.Bisect && len(e.Numbers) > 1
	for k, n := range e.Numbers {
		f := w.fate(n)
		f.out = false
		if k >= done && counted {
			f.ever++
		}
		switch {
		case k < done:
			f.done, f.resolved = true, true
			f.emitted = w.emission(fmt.Sprint(n), w.log[n-1].Bucket, w.emits)
			w.resolveOutputs(f.emitted)
			ev.Outputs = append(ev.Outputs, f.emitted...)
		case split || done > 0:
			f.failed = 0
		case counted:
			f.failed++
		}
	}
	if done == 0 {
		for _, n := range e.Numbers { // it resolves none, so these go nowhere
			ev.Outputs = append(ev.Outputs, w.emission(fmt.Sprint(n), w.log[n-1].Bucket, w.emits)...)
		}
	}
	if e.Window != nil && done > 0 {
		ev.State = w.enter(e, done)
		w.state = ev.State
	}
	w.step(ev)
}

func (w *world) traceCommit(c shard.Commit) {
	var b strings.Builder
	fmt.Fprintf(&b, "commit next %d", c.Checkpoint.Next)
	if c.Urgent {
		b.WriteString(" urgent")
	}
	for _, s := range c.Checkpoint.Finished {
		fmt.Fprintf(&b, " finished %d-%d of %s", s.From, s.To-1, buckets(s.Buckets))
	}
	for _, u := range c.Checkpoint.Units {
		fmt.Fprintf(&b, " unit %d-%d attempts %d", u.Spans[0].From, u.Spans[0].To-1, u.Attempts)
	}
	if c.Checkpoint.Gaps > 0 {
		fmt.Fprintf(&b, " gaps %d", c.Checkpoint.Gaps)
	}
	if c.Checkpoint.Ended {
		b.WriteString(" ended")
	}
	if in := c.Checkpoint.Window; in != nil {
		fmt.Fprintf(&b, " window %s state %s", in.Start.Format("15:04:05"), bytes.TrimSpace(in.State))
		if in.Closing {
			fmt.Fprintf(&b, " closing attempts %d", in.Attempts)
		}
	}
	for _, r := range c.Checkpoint.Redrives {
		fmt.Fprintf(&b, " redrive %s attempts %d", r.Letter, r.Attempts)
	}
	for _, id := range c.Redriven {
		fmt.Fprintf(&b, " redriven %s", id)
	}
	for i, o := range c.Outputs {
		fmt.Fprintf(&b, "%s%s", map[bool]string{true: " outputs ", false: ","}[i == 0], o.ID)
	}
	w.trace("%s", b.String())
	for _, d := range c.Buried {
		w.trace("bury %s %s, attempts %d, %d of %d", cmp.Or(d.Letter, fmt.Sprint(d.Number)), d.Reason, d.Attempts, d.Position+1, d.Size)
	}
}

func buckets(mask uint64) string {
	if mask == ^uint64(0) {
		return "all"
	}
	var b strings.Builder
	for i := range shard.Buckets {
		if mask>>i&1 == 1 {
			b.WriteByte("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789+-"[i])
		}
	}
	return b.String()
}

func nth(e shard.Invoke) string {
	if e.Attempt == 1 && e.Invocation == 1 {
		return ""
	}
	return fmt.Sprintf(", attempt %d, invocation %d", e.Attempt, e.Invocation)
}

// ranges writes numbers as 1-4,6.
func ranges(numbers []uint64) string {
	var b strings.Builder
	for i := 0; i < len(numbers); {
		j := i
		for j+1 < len(numbers) && numbers[j+1] == numbers[j]+1 {
			j++
		}
		if i > 0 {
			b.WriteByte(',')
		}
		fmt.Fprint(&b, numbers[i])
		if j > i {
			fmt.Fprintf(&b, "-%d", numbers[j])
		}
		i = j + 1
	}
	return b.String()
}
