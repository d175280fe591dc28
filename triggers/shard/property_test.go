package shard_test

import (
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/wasmill/wasmill/dlq"
	"github.com/wasmill/wasmill/runtime"
	"github.com/wasmill/wasmill/triggers/shard"
)

func TestMain(m *testing.M) {
	flag.Parse()
	if f := flag.Lookup("rapid.checks"); f.Value.String() == f.DefValue {
		_ = f.Value.Set("2000")
	}
	_ = flag.Set("rapid.nofailfile", "true")
	os.Exit(m.Run())
}

// chances are how often things go wrong, in percent.
type chances struct {
	throttle, infra, transient, timeout, badPartial int
	partial                                         int // of poisoned units answered by a partial reply
	commitFails, crash, put, drain, change          int
	redrive, hold, refilter                         int
}

// play lets a random function, reader and journal loose on a machine until all
// is resolved, and holds what the world cannot see at one step.
func play(w *world, r *rand.Rand, c chances, poison map[uint64]bool, total int, next func() (uint8, int32, time.Duration)) {
	w.t.Helper()
	is := func(percent int) bool { return r.IntN(100) < percent }
	deadline := 60_000
	was := w.config
	for {
		if w.finished != nil && w.finished.Ended {
			break
		}
		if w.finished != nil { // drained: all it did is durable
			for i, f := range w.fates {
				if f.resolved && !f.written {
					w.fatalf("drained, and record %d is resolved but not in the checkpoint", i+1)
				}
			}
			w.drains++
			w.boot()
		}
		if deadline--; deadline == 0 {
			w.fatalf("does not come to an end: %d of %d put, fetch %+v, out %v", len(w.log), total, w.fetch, w.out)
		}
		if len(w.log) < total && is(c.put) {
			for range 1 + r.IntN(min(8, total-len(w.log))) {
				b, size, age := next()
				w.put(b, size, w.now.Add(-age))
			}
			w.closed = len(w.log) == total
			w.step(shard.Woken{Arrived: true})
			continue
		}
		if is(c.drain) {
			w.step(shard.Drain{})
			continue
		}
		if is(c.hold) {
			if w.why = ""; is(70) {
				w.why = "the target is full"
			}
			w.step(shard.Held{Why: w.why})
			if st := w.m.Status(); w.why != "" && w.finished == nil && !st.Draining && st.WaitsFor != w.why && !strings.Contains(st.WaitsFor, "journal") {
				w.fatalf("held, and it waits for %q", st.WaitsFor)
			}
			continue
		}
		if len(w.letterOrder) > 0 && is(c.redrive) {
			var some []*letterFate
			for range 1 + r.IntN(4) {
				// Also those it knows, and twice the same: that changes nothing.
				if l := w.letterOrder[r.IntN(len(w.letterOrder))]; !l.written {
					some = append(some, l)
				}
			}
			w.redrive(some...)
			continue
		}
		if is(c.refilter) {
			w.exact = false
			percent, salt := uint64(r.IntN(101)), r.Uint64()
			w.refilter(func(n uint64) bool { return (n*0x9E3779B97F4A7C15^salt)>>7%100 < percent })
			continue
		}
		if is(c.change) {
			w.exact = false
			w.config.BatchSize, w.config.Retries = 1+r.IntN(10), r.IntN(4)
			w.config.Bisect, w.config.PartialReplies = is(50), is(50)
			n := func() int {
				if w.config.Tumbling > 0 {
					return 1
				}
				return 1 + r.IntN(10)
			}
			if is(50) {
				w.config.Parallel = n()
				w.step(shard.Configured{Config: w.config})
			} else {
				w.config = was
				w.config.Parallel = n()
				w.step(shard.Resized{Parallel: w.config.Parallel})
			}
			was = w.config
			continue
		}
		if is(c.crash) {
			w.restart++
			if w.commit != nil && !w.landed && is(50) {
				w.write() // it had arrived before the crash
			}
			w.boot()
			continue
		}
		var acts [4]int
		n := 0
		if w.fetch != nil {
			acts[n] = 0
			n++
		}
		if len(w.out) > 0 {
			acts[n] = 1
			n++
		}
		if w.commit != nil {
			acts[n] = 2
			n++
		}
		if !w.wake.IsZero() && (n == 0 || is(20)) {
			acts[n] = 3
			n++
		}
		if n == 0 {
			if w.why != "" {
				w.why = ""
				w.step(shard.Held{})
				continue
			}
			if len(w.log) < total {
				continue // waits for records, rightly
			}
			w.fatalf("stuck: nothing is out and no wake is wanted")
		}
		switch acts[r.IntN(n)] {
		case 0:
			w.now = w.now.Add(time.Duration(r.IntN(1000)) * time.Microsecond)
			w.answerFetch(1 + r.IntN(40))
		case 1:
			w.now = w.now.Add(time.Duration(r.IntN(20)) * time.Millisecond)
			i := r.IntN(len(w.out))
			numbers := w.out[i].Numbers
			first := -1
			for k, n := range numbers {
				if poison[n] {
					first = k
					break
				}
			}
			if l := w.letters[w.out[i].Letter]; l != nil && l.poison {
				first = 0
			}
			switch {
			case is(c.throttle):
				w.answerInvoke(i, runtime.Throttled, -1)
			case is(c.infra):
				w.answerInvoke(i, runtime.Infrastructure, -1)
			case is(c.timeout):
				w.answerInvoke(i, runtime.Timeout, -1)
			case is(c.badPartial) && w.out[i].config.PartialReplies:
				w.answerInvoke(i, runtime.Partial, -1)
			case is(c.transient):
				w.answerInvoke(i, runtime.FunctionError, -1)
			case first < 0:
				w.answerInvoke(i, runtime.Done, -1)
			case is(c.partial) && w.out[i].config.PartialReplies:
				w.answerInvoke(i, runtime.Partial, first)
			default:
				w.answerInvoke(i, runtime.FunctionError, -1)
			}
		case 2:
			w.now = w.now.Add(time.Duration(r.IntN(2000)) * time.Microsecond)
			if is(c.commitFails) || w.landed && is(30) {
				w.answerCommit(shard.Failed, is(50))
				w.redo()
			} else {
				w.answerCommit(shard.OK, true)
			}
		case 3:
			if w.wake.After(w.now) {
				w.now = w.wake
			}
			w.step(shard.Woken{})
		}
	}
	if len(w.held) > 0 {
		w.fatalf("%d records are held for ever", len(w.held))
	}
	if !w.cp.Ended || w.cp.Next != uint64(total+1) || len(w.cp.Units) > 0 || len(w.cp.Finished) > 0 {
		w.fatalf("last checkpoint %+v", w.cp)
	}
	for i, f := range w.fates {
		if !f.done && f.buried == "" && !f.lost && !f.filtered {
			w.fatalf("record %d was never resolved: %+v", i+1, f)
		}
	}
	w.endWindows()
	for _, l := range w.letterOrder {
		if l.open || l.done == (l.buried != "") && l.written || !l.written && (l.done || l.buried != "") {
			w.fatalf("letter %s has no one end: %+v", l.id, *l)
		}
	}
}

// redo waits until the machine asks for the failed commit again.
func (w *world) redo() {
	before := w.redone
	for range 1000 {
		if w.wake.IsZero() {
			w.fatalf("a failed commit is never asked for again")
		}
		if w.wake.After(w.now) {
			w.now = w.wake
		}
		if w.step(shard.Woken{}); w.redone > before {
			return
		}
	}
	w.fatalf("a failed commit is not asked for again in 1000 wakes")
}

func TestEveryRecordIsResolvedInOrderWhateverHappens(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		c := shard.Config{
			Parallel:       rapid.IntRange(1, 10).Draw(t, "parallel"),
			BatchSize:      rapid.SampledFrom([]int{1, 2, 3, 8, 20, 100}).Draw(t, "batch"),
			Retries:        rapid.IntRange(0, 3).Draw(t, "retries"),
			Bisect:         rapid.Bool().Draw(t, "bisect"),
			PartialReplies: rapid.Bool().Draw(t, "partialReplies"),
			Window:         time.Duration(rapid.SampledFrom([]int{0, 0, 7, 1000}).Draw(t, "window")) * time.Millisecond,
			Backoff:        time.Duration(rapid.SampledFrom([]int{1, 500, 30_000}).Draw(t, "backoff")) * time.Millisecond,
			RecordAge:      time.Duration(rapid.SampledFrom([]int{0, 0, 60}).Draw(t, "age")) * time.Second,
			Retention:      time.Duration(rapid.SampledFrom([]int{0, 0, 60, 120}).Draw(t, "retention")) * time.Second,
			MaxBytes:       rapid.SampledFrom([]int{0, 300, 1000}).Draw(t, "maxBytes"),
			PinnedBytes:    int64(rapid.SampledFrom([]int{0, 0, 250, 2000}).Draw(t, "pinned")),
		}
		if c.Parallel == 1 {
			c.Tumbling = time.Duration(rapid.SampledFrom([]int{0, 1, 60}).Draw(t, "tumbling")) * time.Second
		}
		total := rapid.IntRange(1, 120).Draw(t, "records")
		keys := rapid.SampledFrom([]int{1, 2, 5, 64}).Draw(t, "keys")
		percent := func(name string, of ...int) int { return rapid.SampledFrom(of).Draw(t, name) }
		ch := chances{
			throttle: percent("throttle", 0, 0, 20), infra: percent("infra", 0, 0, 20),
			transient: percent("transient", 0, 0, 10), timeout: percent("timeout", 0, 0, 10), badPartial: percent("badPartial", 0, 10),
			partial: percent("partial", 0, 50, 100), commitFails: percent("commitFails", 0, 0, 30),
			redrive: percent("redrive", 0, 2, 20), hold: percent("hold", 0, 0, 0, 2),
			crash: percent("crash", 0, 0, 2), drain: percent("drain", 0, 0, 0, 2), change: percent("change", 0, 0, 0, 3), refilter: percent("refilter", 0, 0, 0, 2), put: percent("put", 5, 30, 100),
		}
		if ch.crash+ch.drain > 0 {
			// Which records stay dropped when filters change and a machine starts anew is for
			// stories: the world does not know exactly what the last machine had decided.
			ch.refilter = 0
		}
		poisoned := percent("poison", 0, 5, 40)
		large := percent("large", 0, 0, 3)
		old := percent("old", 0, 0, 30)
		gaps := percent("gaps", 0, 0, 0, 1)
		r := rand.New(rand.NewPCG(rapid.Uint64().Draw(t, "seed"), 1))

		w := newWorld(t, c, r.Uint64())
		w.stateBytes = rapid.SampledFrom([]int{0, 0, 200}).Draw(t, "state")
		w.emits = rapid.SampledFrom([]int{0, 0, 1, 3}).Draw(t, "emits")
		for i := range rapid.SampledFrom([]int{0, 0, 1, 10}).Draw(t, "letters") {
			w.letter(fmt.Sprint("L", i), uint8(r.IntN(keys)*13%shard.Buckets)).poison = r.IntN(100) < 2*poisoned
		}
		if wide := percent("wide", 0, 0, 10, 60); wide > 0 {
			w.also = func() (mask uint64) {
				if r.IntN(100) < wide {
					for range 1 + r.IntN(6) {
						mask |= 1 << (r.IntN(keys) * 13 % shard.Buckets)
					}
				}
				return mask
			}
		}
		if drop := uint64(percent("filtered", 0, 0, 30, 95)); drop > 0 {
			salt := r.Uint64()
			w.drops = func(n uint64) bool { return (n*0x9E3779B97F4A7C15^salt)>>7%100 < drop }
		}
		poison := map[uint64]bool{}
		for n := uint64(1); n <= uint64(total); n++ {
			if r.IntN(100) < poisoned {
				poison[n] = true
			}
		}
		for range gaps * (1 + r.IntN(3)) {
			from := 1 + r.Uint64N(uint64(total))
			w.bad = append(w.bad, span{from, min(from+1+r.Uint64N(12), uint64(total+1))})
		}
		play(w, r, ch, poison, total, func() (uint8, int32, time.Duration) {
			size, age := int32(20+r.IntN(60)), time.Duration(0)
			if r.IntN(100) < large {
				size = 7 << 20
			}
			if r.IntN(100) < old {
				age = 61 * time.Second
			}
			if r.IntN(100) < 5 {
				age = -time.Hour // from the future
			}
			return uint8(r.IntN(keys) * 13 % shard.Buckets), size, age
		})

		quiet := ch.transient+ch.timeout+ch.badPartial == 0
		for i, f := range w.fates {
			n := uint64(i + 1)
			switch {
			case f.buried == dlq.RetryAttemptsExhausted && quiet && w.exact && c.Bisect && !poison[n]:
				t.Fatalf("record %d is no poison and was buried with its neighbours", n)
			case f.done && poison[n] && w.exact:
				t.Fatalf("record %d is poison and done", n)
			case f.filtered && !f.told:
			case w.restart+w.drains == 0 && f.told != (!f.done && f.buried == ""), f.told && !f.lost, !f.told && !f.done && f.buried == "":
				t.Fatalf("record %d: told of as lost %v, but %+v", n, f.told, f)
			case f.times > 1 && quiet && len(poison)+w.restart+ch.throttle+ch.infra == 0:
				t.Fatalf("record %d was invoked %d times without any fault", n, f.times)
			}
		}
		// Which records of a gap were resolved before a restart is not always
		// known: then the gap is counted too large, never too small.
		cp := w.cp
		all := cp.Done + cp.Buried + cp.Gaps
		for i := range w.fates {
			// One may be let through by new filters after a checkpoint had passed it.
			if f := &w.fates[i]; f.passed && !f.written && f.buried == "" {
				all++
			}
		}
		for _, l := range w.letterOrder {
			if l.written {
				all--
			}
		}
		if all < uint64(total) || all > uint64(total) && (w.restart+w.drains == 0 || len(w.bad) == 0 && c.Retention == 0) {
			t.Fatalf("%d done, %d buried, %d lost: not %d", cp.Done, cp.Buried, cp.Gaps, total)
		}
	})
}
