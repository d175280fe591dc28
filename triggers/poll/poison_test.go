package poll

import (
	"fmt"
	"math/bits"
	"testing"
	"testing/synctest"

	"github.com/wasmill/wasmill/runtime"
	"github.com/wasmill/wasmill/triggers"
)

// Wherever poison lies among 100 records, and however much of it there is, halving buries it alone, whole,
// within 2k⌈log₂ N⌉ + 1 + kR invocations for k poison records and R retries.
func TestHalvingBuriesThePoisonAndNothingElse(t *testing.T) {
	const n = 100
	rows := []struct {
		name   string
		poison func(i int) bool // of record i, from 1
	}{
		{"the first", func(i int) bool { return i == 1 }},
		{"the second", func(i int) bool { return i == 2 }},
		{"the one in the middle", func(i int) bool { return i == 50 }},
		{"the last but one", func(i int) bool { return i == 99 }},
		{"the last", func(i int) bool { return i == 100 }},
		{"the first and the last", func(i int) bool { return i == 1 || i == 100 }},
		{"50, every second", func(i int) bool { return i%2 == 0 }},
		{"50, the first half", func(i int) bool { return i <= 50 }},
		{"99, all but one", func(i int) bool { return i != 37 }},
		{"all 100", func(int) bool { return true }},
	}
	for _, row := range rows {
		for retries, partial := range map[int]bool{0: false, 2: true} {
			t.Run(fmt.Sprintf("%s, %d retries, partial replies %v", row.name, retries, partial), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					r := newRig(t, 1)
					defer r.close()
					var want, all []string
					for i := 1; i <= n; i++ {
						data := fmt.Sprintf("good %d", i)
						if row.poison(i) {
							data = fmt.Sprintf("bad %d, and all of its payload \x00\xff", i)
							want = append(want, data)
						}
						all = append(all, data)
					}
					r.fn.handler = func(inv *runtime.Invocation) runtime.Result {
						for _, rec := range inv.Batch.Records {
							if rec.Data[0] == 'b' {
								return runtime.Result{Outcome: runtime.FunctionError, ErrorMessage: "bad"}
							}
						}
						return runtime.Result{}
					}
					r.put("k", all...)
					r.create(triggers.Config{BatchSize: n, Bisect: true, Retries: &retries, PartialReplies: partial})
					r.drain()
					letters := r.letters()
					if len(letters) != len(want) {
						t.Fatalf("%d dead letters, want %d", len(letters), len(want))
					}
					for i, l := range letters {
						if string(l.Data) != want[i] || l.Batch.Size != 1 || l.Attempts != 1+retries {
							t.Errorf("dead letter %q, batch of %d, %d attempts; want %q", l.Data, l.Batch.Size, l.Attempts, want[i])
						}
					}
					k := len(want)
					got, most := len(r.fn.seen()), 2*k*bits.Len(n-1)+1+k*retries
					if got > most {
						t.Errorf("%d invocations, want %d at most", got, most)
					}
					if done := r.status().Shards[0].Done; done != uint64(n-k) {
						t.Errorf("%d done, want %d", done, n-k)
					}
				})
			})
		}
	}
}
