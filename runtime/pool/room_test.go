package pool

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/wasmill/wasmill/functions"
	"github.com/wasmill/wasmill/runtime"
)

// listed is a registry that says what it has.
type listed struct{ *registry }

func (l listed) List(context.Context) ([]functions.Version, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.Collect(maps.Values(l.versions)), nil
}

// atOnce runs calls of functions at the same time, each "name" or "name:version",
// and counts what became of them.
func atOnce(t *testing.T, p *Pool, calls ...string) (done map[string]int, refusals []string) {
	t.Helper()
	done = map[string]int{}
	var mu sync.Mutex
	var wg sync.WaitGroup
	for _, call := range calls {
		wg.Go(func() {
			name, qualifier, _ := strings.Cut(call, ":")
			r := p.Invoke(t.Context(), name, qualifier, event())
			mu.Lock()
			defer mu.Unlock()
			switch r.Outcome {
			case runtime.Done:
				done[call]++
			case runtime.Throttled:
				refusals = append(refusals, r.ErrorMessage)
			default:
				t.Errorf("%s: %v %s", call, r.Outcome, r.ErrorMessage)
			}
		})
		synctest.Wait() // in order
	}
	wg.Wait()
	return done, refusals
}

func TestReservedConcurrencyCapsAllVersionsOfAFunction(t *testing.T) {
	n := &native{handle: takes(time.Second)}
	bench(t, n, Options{}, func(t *testing.T, p *Pool, r *registry) {
		c := functions.Config{Concurrency: new(3)}
		r.set(functions.Version{Function: "f", Revision: 2, Config: c})
		r.set(functions.Version{Function: "f", Version: "1", Revision: 1, Config: c})
		done, refusals := atOnce(t, p, "f", "f:1", "f", "f:1", "f")
		if done["f"] != 2 || done["f:1"] != 1 || len(refusals) != 2 || refusals[0] != "Rate Exceeded: function f runs 3 invocations, and its concurrency is 3" {
			t.Errorf("%v %q", done, refusals)
		}
		// Environments are not more either: those of one version go for the other's.
		done, _ = atOnce(t, p, "f:1", "f:1", "f:1")
		if st := p.Stats(); done["f:1"] != 3 || st.Idle != 3 || n.now().maxStart != 3 {
			t.Errorf("%v, %+v, %d at most", done, st, n.now().maxStart)
		}
	})
}

func TestConcurrencyOfZeroStopsAFunction(t *testing.T) {
	n := &native{handle: takes(0)}
	bench(t, n, Options{}, func(t *testing.T, p *Pool, r *registry) {
		atOnce(t, p, "f")
		r.set(functions.Version{Function: "f", Revision: 1, Config: functions.Config{Concurrency: new(0)}})
		if done, refusals := atOnce(t, p, "f"); len(refusals) != 1 || !strings.Contains(refusals[0], "concurrency of 0") {
			t.Errorf("%v %q", done, refusals)
		}
		p.Prewarm(t.Context(), "f", "")
		synctest.Wait()
		if n.now().starts != 1 {
			t.Error("it was started ahead")
		}
	})
}

func TestReservedPlacesAreKeptFree(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := &native{handle: takes(time.Second)}
		r := listed{&registry{}}
		r.set(functions.Version{Function: "mine", Revision: 1, Config: functions.Config{Concurrency: new(50)}})
		r.set(functions.Version{Function: "f", Revision: 1})
		r.set(functions.Version{Function: "g", Revision: 1})
		p := New(r, n, Options{MaxConcurrency: 200, MemoryBytes: 1 << 40})
		defer p.Close(context.Background())
		calls := append(slices.Repeat([]string{"f", "g"}, 80), slices.Repeat([]string{"mine"}, 51)...)
		done, refusals := atOnce(t, p, calls...)
		if done["f"]+done["g"] != 150 || done["mine"] != 50 || len(refusals) != 11 {
			t.Errorf("%v, %d refusals", done, len(refusals))
		}
		if want := "Rate Exceeded: 150 invocations run of functions that have reserved no concurrency, and no more may: 50 of 200 places are reserved for others"; !slices.Contains(refusals, want) {
			t.Errorf("%q", refusals)
		}

		// What is given back is for all, at once or not.
		r.set(functions.Version{Function: "mine", Revision: 2})
		p.Changed("mine")
		synctest.Wait()
		if done, refusals = atOnce(t, p, calls...); done["f"]+done["g"] != 160 || done["mine"] != 40 || len(refusals) != 11 || !strings.Contains(refusals[0], "200 invocations run, and no more than 200 may") {
			t.Errorf("%v, %q", done, refusals)
		}

		// So is what a function had that is gone, also when it runs meanwhile.
		r.set(functions.Version{Function: "mine", Revision: 3, Config: functions.Config{Concurrency: new(100)}})
		p.Changed("mine")
		synctest.Wait()
		var wg sync.WaitGroup
		wg.Go(func() { p.Invoke(t.Context(), "mine", "", event()) })
		synctest.Wait()
		r.mu.Lock()
		delete(r.versions, "mine:$LATEST")
		r.mu.Unlock()
		p.Changed("mine")
		synctest.Wait()
		if p.reserved != 0 || p.reservedBusy != 0 {
			t.Errorf("%d places are reserved, %d invocations run there", p.reserved, p.reservedBusy)
		}
		wg.Wait()
		if done, _ = atOnce(t, p, slices.Repeat([]string{"f"}, 201)...); done["f"] != 200 || p.reservedBusy != 0 {
			t.Errorf("%v, %d", done, p.reservedBusy)
		}
	})
}

func TestThrottledForMemoryNamesTheNumbers(t *testing.T) {
	n := &native{handle: takes(time.Second)}
	bench(t, n, Options{MemoryBytes: 40 << 20}, func(t *testing.T, p *Pool, r *registry) {
		_, refusals := atOnce(t, p, "f", "f", "f")
		if want := "Rate Exceeded: environments hold 32 of 40 MB, and function f needs 16 MB more"; len(refusals) != 1 || refusals[0] != want {
			t.Errorf("%q, want %q", refusals, want)
		}
	})
}

func TestEvictionTakesFromThoseWhoHaveMany(t *testing.T) {
	n := &native{handle: takes(time.Second)} // 10 MB each, once they have run
	bench(t, n, Options{MemoryBytes: 66 << 20}, func(t *testing.T, p *Pool, r *registry) {
		for _, name := range []string{"few", "many", "new", "newer"} {
			r.set(functions.Version{Function: name, Revision: 1})
		}
		atOnce(t, p, "few")
		atOnce(t, p, "many", "many", "many") // the more recent ones
		environments := func() map[string]int {
			p.mu.Lock()
			defer p.mu.Unlock()
			m := map[string]int{}
			for _, s := range p.sets {
				m[s.f.name] = s.environments
			}
			return m
		}
		for _, step := range []struct{ call, want string }{
			{"few", "map[few:1 many:3]"},
			{"new", "map[few:1 many:3 new:1]"},
			{"newer", "map[few:1 many:3 new:1 newer:1]"}, // 60 MB
		} {
			if atOnce(t, p, step.call); fmt.Sprint(environments()) != step.want {
				t.Errorf("after %s: %v, want %s", step.call, environments(), step.want)
			}
		}
		atOnce(t, p, "many", "many", "many") // now few has been idle longest
		r.set(functions.Version{Function: "last", Revision: 1})
		if atOnce(t, p, "last"); fmt.Sprint(environments()) != "map[few:1 last:1 many:2 new:1 newer:1]" {
			t.Errorf("%v", environments())
		}
		// Where none has two, the one that is idle longest goes.
		r.set(functions.Version{Function: "big", Revision: 1})
		p.opts.MemoryBytes = 56 << 20
		if atOnce(t, p, "big"); fmt.Sprint(environments()) != "map[big:1 few:0 last:1 many:1 new:1 newer:1]" {
			t.Errorf("%v", environments())
		}
	})
}

func TestShardFindsTheEnvironmentThatServedIt(t *testing.T) {
	n := &native{handle: takes(time.Second)}
	var mu sync.Mutex
	servedBy := map[string][]int{}
	n.served = func(environment int, inv *runtime.Invocation) {
		mu.Lock()
		defer mu.Unlock()
		if inv.Batch != nil {
			servedBy[inv.Batch.ARN+inv.Batch.Shard] = append(servedBy[inv.Batch.ARN+inv.Batch.Shard], environment)
		}
	}
	batch := func(arn, shard string) *runtime.Invocation {
		return &runtime.Invocation{Batch: &runtime.Batch{ARN: arn, Shard: shard}, Source: "t"}
	}
	bench(t, n, Options{}, func(t *testing.T, p *Pool, r *registry) {
		var wg sync.WaitGroup
		origins := [][2]string{{"a", "0"}, {"a", "1"}, {"b", "0"}}
		for _, o := range origins {
			wg.Go(func() { p.Invoke(t.Context(), "f", "", batch(o[0], o[1])) })
			synctest.Wait()
		}
		wg.Wait()
		for range 5 { // one after the other, so that any would do
			for _, o := range origins {
				p.Invoke(t.Context(), "f", "", batch(o[0], o[1]))
			}
		}
		if fmt.Sprint(servedBy) != "map[a0:[1 1 1 1 1 1] a1:[2 2 2 2 2 2] b0:[3 3 3 3 3 3]]" {
			t.Errorf("%v", servedBy)
		}
		// It never waits for it: while its own is busy another serves it.
		wg.Go(func() { p.Invoke(t.Context(), "f", "", batch("a", "0")) })
		synctest.Wait()
		p.Invoke(t.Context(), "f", "", batch("a", "0"))
		wg.Wait()
		if st := p.Stats(); st.Idle != 3 || n.now().starts != 3 || len(servedBy["a0"]) != 8 {
			t.Errorf("%+v, %d starts, %v", st, n.now().starts, servedBy)
		}
	})
}
