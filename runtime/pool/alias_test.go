package pool

import (
	"context"
	"math/rand/v2"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/wasmill/wasmill/functions"
	"github.com/wasmill/wasmill/runtime"
)

// aliased has an alias, live, of versions 1 and 2.
type aliased struct {
	*registry
	chance *rand.Rand
	weight float64 // of version 2
}

func (r *aliased) Version(ctx context.Context, name, qualifier string) (functions.Version, error) {
	if qualifier == "live" {
		if qualifier = "1"; r.chance.Float64() < r.weight {
			qualifier = "2"
		}
	}
	return r.registry.Version(ctx, name, qualifier)
}

func (r *aliased) Targets(ctx context.Context, name, qualifier string) ([]functions.Version, error) {
	names := []string{qualifier}
	if qualifier == "live" {
		names = []string{"1", "2"}
	}
	var out []functions.Version
	for _, n := range names {
		v, err := r.registry.Version(ctx, name, n)
		if err != nil {
			return nil, err
		}
		out = append(out, v)
	}
	return out, nil
}

func TestEachInvocationOfAnAliasIsChosenAnew(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := &native{handle: takes(time.Millisecond)}
		r := &aliased{registry: &registry{}, chance: rand.New(rand.NewPCG(3, 4)), weight: 0.25}
		for _, v := range []string{"", "1", "2"} {
			r.set(functions.Version{Function: "f", Version: v, Revision: 1})
		}
		var started []string
		p := New(r, n, Options{Observer: Observer{Started: func(inv *runtime.Invocation, v functions.Version) {
			started = append(started, inv.Qualifier+" "+v.Version)
		}}})
		got := map[string]int{}
		for range 1000 {
			res := p.Invoke(t.Context(), "f", "live", event())
			if res.Outcome != runtime.Done {
				t.Fatalf("%+v", res)
			}
			got[res.Version.Version]++
		}
		// A quarter of 1,000 throws, and five times their standard deviation.
		if got["1"]+got["2"] != 1000 || got["2"] < 250-69 || got["2"] > 250+69 {
			t.Errorf("versions %v", got)
		}
		if n.now().starts != 2 {
			t.Errorf("%d starts, want one of each version", n.now().starts)
		}
		p.Invoke(t.Context(), "f", "", event())
		if last := started[len(started)-1]; last != " $LATEST" || !strings.HasPrefix(started[0], "live ") {
			t.Errorf("started %q and %q", started[0], last)
		}

		// The alias names another version: what served it stays for those who name it.
		r.weight = 1
		p.Changed("f")
		synctest.Wait()
		if n.now().environments != 3 {
			t.Errorf("%d environments", n.now().environments)
		}
		if res := p.Invoke(t.Context(), "f", "live", event()); res.Version.Version != "2" || n.now().starts != 3 {
			t.Errorf("version %s, %d starts", res.Version.Version, n.now().starts)
		}
		if err := p.Close(context.Background()); err != nil {
			t.Error(err)
		}
	})
}

func TestPrewarmStartsAllThatAnAliasMayChoose(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := &native{handle: takes(time.Millisecond)}
		r := &aliased{registry: &registry{}, chance: rand.New(rand.NewPCG(3, 4)), weight: 0.5}
		for _, v := range []string{"1", "2"} {
			r.set(functions.Version{Function: "f", Version: v, Revision: 1})
		}
		p := New(r, n, Options{})
		p.Prewarm(t.Context(), "f", "live")
		synctest.Wait()
		if n.now().starts != 2 || p.Stats().Idle != 2 {
			t.Errorf("%d starts, %+v", n.now().starts, p.Stats())
		}
		for range 20 {
			if res := p.Invoke(t.Context(), "f", "live", event()); res.Init != 0 {
				t.Errorf("version %s was not ready", res.Version.Version)
			}
		}
		p.Prewarm(t.Context(), "f", "gone")
		if err := p.Close(context.Background()); err != nil {
			t.Error(err)
		}
	})
}

func TestFunctionThatIsNotReadyIsNotRun(t *testing.T) {
	n := &native{handle: takes(time.Millisecond)}
	bench(t, n, Options{}, func(t *testing.T, p *Pool, r *registry) {
		for state, want := range map[functions.State]string{functions.Pending: runtime.TypePending, functions.Failed: runtime.TypeFailed} {
			v := r.set(functions.Version{Function: "f", Revision: 1, State: state, Reason: "no module"})
			p.Prewarm(t.Context(), "f", "")
			p.Warm([]functions.Version{v})
			res := p.Invoke(t.Context(), "f", "", event())
			if res.Outcome != runtime.Infrastructure || runtime.Attempted(res.Outcome) || res.ErrorType != want || res.Version.State != state {
				t.Errorf("%s: %+v", state, res)
			}
			if state == functions.Failed && !strings.Contains(res.ErrorMessage, "no module") {
				t.Errorf("%s: %s", state, res.ErrorMessage)
			}
		}
		synctest.Wait()
		if n.now().loads != 0 {
			t.Errorf("%d loads", n.now().loads)
		}
		r.set(functions.Version{Function: "f", Revision: 1, State: functions.Active})
		if res := p.Invoke(t.Context(), "f", "", event()); res.Outcome != runtime.Done {
			t.Errorf("%+v", res)
		}
	})
}
