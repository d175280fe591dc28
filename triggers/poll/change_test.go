package poll

import (
	"errors"
	"fmt"
	"maps"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/uuid"

	"github.com/wasmill/wasmill/runtime"
	"github.com/wasmill/wasmill/stream"
	"github.com/wasmill/wasmill/triggers"
)

func TestATriggerIsFoundByItsID(t *testing.T) {
	r := newRig(t, 1)
	id := uuid.NewString()
	made, err := r.m.CreateWith(t.Context(), "t", from(triggers.Config{}), false, CreateOptions{ID: id, FunctionARN: "arn:f", Tags: map[string]string{"a": "b"}})
	if err != nil || made.ID != id {
		t.Fatal(made, err)
	}
	got, err := r.m.Find(t.Context(), id)
	if err != nil || got.Name != "t" || got.FunctionARN != "arn:f" || !maps.Equal(got.Tags, map[string]string{"a": "b"}) || got.State != triggers.Disabled {
		t.Errorf("found %+v, %v", got, err)
	}
	if _, err := r.m.Find(t.Context(), uuid.NewString()); !errors.Is(err, triggers.ErrNotFound) {
		t.Errorf("one that is not there: %v", err)
	}
	if got, err = r.m.SetTags(t.Context(), "t", func(tags map[string]string) (map[string]string, error) {
		delete(tags, "a")
		tags["c"] = "d"
		return tags, nil
	}); err != nil || !maps.Equal(got.Tags, map[string]string{"c": "d"}) {
		t.Errorf("tagged %v, %v", got.Tags, err)
	}
	refused := errors.New("refused")
	if _, err := r.m.SetTags(t.Context(), "t", func(map[string]string) (map[string]string, error) { return nil, refused }); !errors.Is(err, refused) {
		t.Errorf("the callback's error came back as %v", err)
	}
}

// From when Change or Remove return no invocation starts, though one is under way still.
func TestWhatIsSwitchedOffStartsNothingMore(t *testing.T) {
	for _, remove := range []bool{false, true} {
		t.Run(fmt.Sprint("removed ", remove), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := newRig(t, 1)
				defer r.close()
				var off atomic.Bool
				var late atomic.Int64
				r.fn.handler = func(*runtime.Invocation) runtime.Result {
					if off.Load() {
						late.Add(1)
					}
					time.Sleep(time.Minute)
					return runtime.Result{}
				}
				for i := range 20 {
					r.put("a", fmt.Sprint("a", i))
					r.put("b", fmt.Sprint("b", i))
				}
				r.create(triggers.Config{BatchSize: 1, Parallel: 2})
				r.until("was invoked", func() bool { return len(r.fn.seen()) == 2 })
				time.Sleep(59 * time.Second) // the next two are about to begin
				var mp triggers.Mapping
				var err error
				if remove {
					mp, err = r.m.Remove(t.Context(), "t", "")
				} else {
					mp, err = r.m.Change(t.Context(), "t", func(m *triggers.Mapping) error {
						m.Enabled, m.Config.BatchSize = false, 3
						return nil
					})
				}
				off.Store(true)
				want := map[bool]triggers.State{false: triggers.Disabling, true: triggers.Deleting}[remove]
				if err != nil || mp.State != want {
					t.Fatalf("%s, %v", mp.State, err)
				}
				if now, err := r.m.Find(t.Context(), mp.ID); err != nil || now.State != want {
					t.Errorf("found %s, %v", now.State, err)
				}
				if _, err := r.m.Update(t.Context(), "t", func(*triggers.Config) {}); !errors.Is(err, triggers.ErrBusy) {
					t.Errorf("a change meanwhile: %v", err)
				}
				time.Sleep(3 * time.Minute)
				if late.Load() != 0 {
					t.Errorf("%d invocations began afterwards", late.Load())
				}
				now, err := r.m.Find(t.Context(), mp.ID)
				if remove {
					if !errors.Is(err, triggers.ErrNotFound) {
						t.Errorf("it is there: %+v, %v", now, err)
					}
					return
				}
				if err != nil || now.State != triggers.Disabled || now.Config.BatchSize != 3 {
					t.Errorf("then %+v, %v", now, err)
				}
				off.Store(false)
				if now, err = r.m.Change(t.Context(), "t", func(m *triggers.Mapping) error { m.Enabled = true; return nil }); err != nil || now.State != triggers.Enabled {
					t.Errorf("switched on: %s, %v", now.State, err)
				}
				r.drainFor(time.Hour)
				if got := r.delivered(); len(got) != 40 {
					t.Errorf("%d records delivered, want each of 40 once", len(got))
				}
			})
		})
	}
}

// A mapping belongs to its stream's account and region, and so do its events.
func TestATriggerMayReadAStreamOfAnotherAccount(t *testing.T) {
	r := newRig(t, 1)
	ref := stream.Ref{Account: "111122223333", Region: "eu-central-1", Name: "s"}
	if _, err := r.streams.Create(t.Context(), ref, stream.Config{}); err != nil {
		t.Fatal(err)
	}
	var event atomic.Pointer[runtime.Batch]
	r.fn.handler = func(inv *runtime.Invocation) runtime.Result { event.Store(inv.Batch); return runtime.Result{} }
	c := from(triggers.Config{})
	c.Stream = ref.ARN()
	mp, err := r.m.Create(t.Context(), "t", c, true)
	if err != nil || mp.StreamARN != ref.ARN() {
		t.Fatal(mp.StreamARN, err)
	}
	if _, err := r.streams.Put(t.Context(), ref, []stream.Entry{{PartitionKey: "k", Data: []byte("x")}}); err != nil {
		t.Fatal(err)
	}
	r.drain()
	if b := event.Load(); b == nil || b.ARN != ref.ARN() || b.Region != "eu-central-1" || !strings.Contains(b.Identity, ":111122223333:") {
		t.Errorf("event %+v", b)
	}
	for _, wrong := range []string{"arn:aws:kinesis:eu-central-1:111122223333:stream/", "arn:aws:dynamodb:eu-central-1:111122223333:table/s", "arn:aws:kinesis:eu-central-1:111122223333:stream/s/consumer/c:1"} {
		c.Stream = wrong
		if _, err := r.m.Create(t.Context(), "u", c, true); !errors.Is(err, triggers.ErrInvalid) {
			t.Errorf("%s: %v", wrong, err)
		}
	}
	c.Stream = stream.Ref{Account: "111122223333", Region: "us-east-1", Name: "s"}.ARN()
	if _, err := r.m.Create(t.Context(), "u", c, true); !errors.Is(err, stream.ErrNotFound) {
		t.Errorf("of a region where it is not: %v", err)
	}
}

// A stream and a consumer of it are two sources: the events bear the ARN that was named.
func TestAConsumerIsASourceOfItsOwn(t *testing.T) {
	r := newRig(t, 1)
	consumer := stream.Local("s").ARN() + "/consumer/c:1"
	var arns atomic.Pointer[string]
	r.fn.handler = func(inv *runtime.Invocation) runtime.Result { arns.Store(&inv.Batch.ARN); return runtime.Result{} }
	r.create(triggers.Config{Consumer: consumer})
	if _, err := r.m.Create(t.Context(), "u", from(triggers.Config{Consumer: consumer}), false); !errors.Is(err, triggers.ErrExists) {
		t.Errorf("the same source twice: %v", err)
	}
	if _, err := r.m.Create(t.Context(), "v", from(triggers.Config{}), false); err != nil {
		t.Errorf("the stream beside its consumer: %v", err)
	}
	r.put("k", "x")
	r.drain()
	if got := arns.Load(); got == nil || *got != consumer {
		t.Errorf("eventSourceARN %v, want %s", got, consumer)
	}
}

// LastProcessingResult.
func TestTheLastResultIsKept(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, 1)
		defer r.close()
		r.create(triggers.Config{BatchSize: 1, Retries: ptr(0)})
		want := func(want string) {
			t.Helper()
			r.drain()
			if st := r.status(); st.LastResult != want || r.m.LastResult(st.Mapping) != want {
				t.Errorf("last result %q, want %q", st.LastResult, want)
			}
		}
		want(ResultNone)
		r.fn.handler = failOn("bad")
		r.put("k", "good")
		want(ResultOK)
		time.Sleep(2 * idle)
		want(ResultNone)
		r.put("k", "bad")
		want(ResultBad)
		time.Sleep(2 * idle)
		want(ResultBad)
		r.put("k", "good")
		want(ResultOK)
	})
}

// A trigger that another function gets shows that function, unless its new ARN is given.
func TestANewFunctionIsShownByItsARN(t *testing.T) {
	r := newRig(t, 1)
	const head = "arn:aws:lambda:us-east-1:000000000000:function:"
	if _, err := r.m.CreateWith(t.Context(), "t", from(triggers.Config{}), false, CreateOptions{FunctionARN: head + "f:$LATEST"}); err != nil {
		t.Fatal(err)
	}
	mp, err := r.m.Update(t.Context(), "t", func(c *triggers.Config) { c.Function, c.Qualifier = "g", "live" })
	if err != nil || mp.FunctionARN != head+"g:live" {
		t.Errorf("%s, %v", mp.FunctionARN, err)
	}
	mp, err = r.m.Change(t.Context(), "t", func(m *triggers.Mapping) error { m.Config.Qualifier, m.FunctionARN = "", head+"g:other"; return nil })
	if err != nil || mp.FunctionARN != head+"g:other" {
		t.Errorf("%s, %v", mp.FunctionARN, err)
	}
}

// Who removes a trigger that was made anew meanwhile means the one before.
func TestRemoveTakesNoOtherTriggerOfTheName(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, 1)
		r.create(triggers.Config{})
		all, err := r.m.List(t.Context())
		if err != nil || len(all) != 1 {
			t.Fatal(all, err)
		}
		if err := r.m.Delete(t.Context(), "t"); err != nil {
			t.Fatal(err)
		}
		r.create(triggers.Config{})
		if mp, err := r.m.Remove(t.Context(), "t", all[0].ID); !errors.Is(err, triggers.ErrNotFound) {
			t.Errorf("%+v, %v", mp, err)
		}
		now, err := r.m.List(t.Context())
		if err != nil || len(now) != 1 || now[0].State != triggers.Enabled {
			t.Fatalf("%+v, %v", now, err)
		}
		if mp, err := r.m.Remove(t.Context(), "t", now[0].ID); err != nil || mp.ID != now[0].ID || mp.State != triggers.Deleting {
			t.Errorf("%+v, %v", mp, err)
		}
		r.until("is gone", func() bool { _, err := r.m.Find(t.Context(), now[0].ID); return errors.Is(err, triggers.ErrNotFound) })
	})
}
