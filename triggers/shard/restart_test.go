package shard_test

import (
	"fmt"
	"maps"
	"slices"
	"testing"
	"time"
	"unicode"

	"github.com/wasmill/wasmill/dlq"
	"github.com/wasmill/wasmill/runtime"
	"github.com/wasmill/wasmill/triggers/shard"
)

// scenario is a shard that ends, and a function that always does the same.
type scenario struct {
	name    string
	config  shard.Config
	keys    string // of records 1, 2, …
	poison  []uint64
	partial bool     // it names the lowest poison record instead of failing
	old     []uint64 // too old from the start
	large   []uint64
	letters string // keys of letters L0, L1, … that are redriven; in capitals they never succeed
}

var scenarios = []scenario{
	{"bisect", shard.Config{Parallel: 1, BatchSize: 8, Retries: 1, Bisect: true}, "aaaaaaaaaaaa", []uint64{6, 11}, false, nil, nil, ""},
	{"no bisect", shard.Config{Parallel: 1, BatchSize: 3, Retries: 2}, "abcabcabc", []uint64{5}, false, nil, nil, ""},
	{"partial replies", shard.Config{Parallel: 1, BatchSize: 4, Retries: 3, PartialReplies: true}, "aaaaaaaa", []uint64{3, 8}, true, nil, nil, ""},
	{"both", shard.Config{Parallel: 2, BatchSize: 6, Retries: 1, Bisect: true, PartialReplies: true}, "abacabbcadcb", []uint64{4, 7, 8}, true, nil, nil, ""},
	{"many keys", shard.Config{Parallel: 3, BatchSize: 3, Retries: 1, Bisect: true}, "abcdefgabcdefgabcdefg", []uint64{2, 9, 17}, false, nil, nil, ""},
	{"little memory", shard.Config{Parallel: 3, BatchSize: 2, Retries: 2, Bisect: true, PinnedBytes: 450}, "aaaaabacdaaefbab", []uint64{1, 10}, false, nil, nil, ""},
	{"too old and too large", shard.Config{Parallel: 2, BatchSize: 4, Retries: 0, Bisect: true, RecordAge: time.Minute, MaxBytes: 1000}, "abababab", []uint64{7}, false, []uint64{1, 2, 4}, []uint64{5}, ""},
	{"redrive", shard.Config{Parallel: 1, BatchSize: 3, Retries: 1, Bisect: true}, "abcabcabcabc", []uint64{5}, false, nil, nil, "abaC"},
	{"redrive among many", shard.Config{Parallel: 3, BatchSize: 2, Retries: 2}, "abcdabcdabcdabcd", []uint64{3}, false, nil, nil, "aAbbzDa"},
	{"redrive with little memory", shard.Config{Parallel: 1, BatchSize: 2, Retries: 1, PinnedBytes: 450, Bisect: true, PartialReplies: true}, "aaaabababaabbb", []uint64{6}, true, nil, nil, "aaB"},
}

func has(set []uint64, n uint64) bool {
	for _, s := range set {
		if s == n {
			return true
		}
	}
	return false
}

// run plays a scenario, first in first out, and restarts once after so many steps.
func (sc *scenario) run(t *testing.T, restartAt int, landed bool) (*world, bool) {
	w := newWorld(t, sc.config, 1)
	w.emits = 1
	for i, k := range sc.letters {
		l := w.letter(fmt.Sprint("L", i), uint8(unicode.ToLower(k)-'a'))
		l.poison = unicode.IsUpper(k)
	}
	command := slices.Clone(w.letterOrder)
	for i, k := range sc.keys {
		n, size, age := uint64(i+1), int32(100), time.Duration(0)
		if has(sc.old, n) {
			age = time.Hour
		}
		if has(sc.large, n) {
			size = 2000
		}
		w.put(uint8(k-'a'), size, w.now.Add(-age))
	}
	w.closed = true
	w.step(shard.Woken{Arrived: true})
	restarted := false
	for rounds := 0; w.finished == nil; rounds++ {
		if rounds > 10_000 {
			w.fatalf("does not end")
		}
		if w.steps >= restartAt && !restarted {
			restarted = true
			w.restart++
			if landed && w.commit != nil {
				w.write()
			}
			w.boot()
			continue
		}
		if rounds == 12 || restarted && rounds%7 == 0 {
			// Whoever gave a command gives it again when he does not know what became of it.
			var again []*letterFate
			for _, l := range command {
				if !l.written {
					again = append(again, l)
				}
			}
			if len(again) > 0 && !w.over {
				w.redrive(again...)
				continue
			}
		}
		switch {
		case w.fetch != nil:
			w.answerFetch(5)
		case w.commit != nil && rounds%3 != 0: // so that some are late
			w.answerCommit(shard.OK, true)
		case len(w.out) > 0:
			numbers := w.out[0].Numbers
			outcome, at := runtime.Done, -1
			if l := w.letters[w.out[0].Letter]; l != nil && l.poison {
				outcome = runtime.FunctionError
			}
			for i, n := range numbers {
				if has(sc.poison, n) {
					outcome = runtime.FunctionError
					if sc.partial {
						outcome, at = runtime.Partial, i
					}
					break
				}
			}
			w.answerInvoke(0, outcome, at)
		case w.commit != nil:
			w.answerCommit(shard.OK, true)
		case !w.wake.IsZero():
			w.now = w.wake
			w.step(shard.Woken{})
		default:
			w.fatalf("stuck")
		}
	}
	return w, restarted
}

// end is what has become of every record.
func (w *world) end() (s string) {
	for i, f := range w.fates {
		s += fmt.Sprintf("%d done=%v buried=%s attempts=%d\n", i+1, f.done, f.buried, f.attempts)
	}
	for _, l := range w.letterOrder {
		s += fmt.Sprintf("%s done=%v buried=%s attempts=%d written=%v\n", l.id, l.done, l.buried, l.attempts, l.written)
	}
	return s + fmt.Sprint(slices.Sorted(maps.Keys(w.outputs)), "\n")
}

func TestRestartAtEveryStepEndsTheSame(t *testing.T) {
	for _, sc := range scenarios {
		t.Run(sc.name, func(t *testing.T) {
			t.Parallel()
			whole, _ := sc.run(t, 1<<30, false)
			want := whole.end()
			for i, f := range whole.fates {
				reason := dlq.Reason("")
				switch n := uint64(i + 1); {
				case has(sc.old, n):
					reason = dlq.RecordAgeExceeded
				case has(sc.large, n):
					reason = dlq.PayloadTooLarge
				case has(sc.poison, n):
					reason = dlq.RetryAttemptsExhausted
				case !sc.config.Bisect:
					continue // may have been a poison record's neighbour
				}
				if f.buried != reason || f.done != (reason == "") {
					t.Fatalf("record %d: %+v, want %q", i+1, f, reason)
				}
			}
			for _, l := range whole.letterOrder[:len(sc.letters)] {
				if l.done == l.poison || !l.written {
					t.Fatalf("letter %+v", *l)
				}
			}
			for at := 1; ; at++ {
				w, restarted := sc.run(t, at, false)
				if !restarted {
					break
				}
				late, _ := sc.run(t, at, true)
				for _, w := range []*world{w, late} {
					if got := w.end(); got != want {
						t.Fatalf("restarted after step %d:\n%swithout:\n%s", at, got, want)
					}
					if extra := w.invoked - whole.invoked; extra > 3*sc.config.Parallel+2+len(sc.letters) {
						t.Errorf("restarted after step %d: %d more invocations", at, extra)
					}
				}
			}
		})
	}
}

// Two machines of one seed given the same events do the same.
func TestSameEventsSameEffects(t *testing.T) {
	for _, sc := range scenarios {
		var traces [2]string
		for i := range traces {
			w := newWorld(t, sc.config, 7)
			w.trace = func(f string, a ...any) { traces[i] += fmt.Sprintf(f, a...) + "\n" }
			for n, k := range sc.keys {
				w.put(uint8(k-'a'), 100+int32(n), w.now)
			}
			w.step(shard.Woken{Arrived: true})
			for range 200 {
				switch {
				case w.fetch != nil:
					w.answerFetch(3)
				case w.commit != nil:
					w.answerCommit(shard.OK, true)
				case len(w.out) > 0:
					w.answerInvoke(len(w.out)-1, runtime.FunctionError, -1)
				case !w.wake.IsZero():
					w.now = w.wake
					w.step(shard.Woken{})
				}
			}
		}
		if traces[0] != traces[1] {
			t.Errorf("%s: two runs differ", sc.name)
		}
	}
}
