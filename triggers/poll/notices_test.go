package poll

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/wasmill/wasmill/dlq"
	"github.com/wasmill/wasmill/runtime"
	"github.com/wasmill/wasmill/stream"
	"github.com/wasmill/wasmill/triggers"
)

// A shard stands still while 1,000 notices wait, says so, and loses none.
func TestAShardIsHeldWhileItsDestinationIsOutOfOrder(t *testing.T) {
	r := newRig(t, 1)
	r.told.broken = true
	r.fn.handler = func(*runtime.Invocation) runtime.Result {
		return runtime.Result{Outcome: runtime.FunctionError, ErrorMessage: "no"}
	}
	const n = 1300
	r.put("k", numbers("r", n)...)
	r.create(triggers.Config{BatchSize: 1, Retries: ptr(0), OnFailure: "file:///x"})
	r.until("was held", func() bool {
		m := r.status().Shards[0].Machine
		return m != nil && strings.Contains(m.WaitsFor, "notices of discarded batches") && strings.Contains(m.WaitsFor, "out of order")
	})
	if got := len(r.fn.seen()); got < maxNotices || got > maxNotices+5 {
		t.Errorf("%d invocations until it was held, want about %d", got, maxNotices)
	}
	if text := strings.Join(r.status().Shards[0].Explain, " "); !strings.Contains(text, "It waits: 1") {
		t.Errorf("it is explained as %q", text)
	}
	// A restart finds them all.
	r.stop()
	r.start()
	r.told.mu.Lock()
	r.told.broken = false
	r.told.mu.Unlock()
	r.drain()
	told := r.told.all()
	ids, last := map[string]bool{}, ""
	for _, one := range told {
		var event struct {
			Records []struct {
				Kinesis struct {
					SequenceNumber string `json:"sequenceNumber"`
				} `json:"kinesis"`
			}
		}
		if err := json.Unmarshal(one.Payload, &event); err != nil || len(event.Records) != 1 {
			t.Fatalf("payload %.200s: %v", one.Payload, err)
		}
		seq := event.Records[0].Kinesis.SequenceNumber
		if !ids[one.ID] && seq <= last {
			t.Errorf("notice of %s after that of %s", seq, last)
		}
		ids[one.ID], last = true, max(last, seq)
	}
	if len(ids) != n || len(r.letters()) != n {
		t.Errorf("%d notices and %d dead letters, want %d", len(ids), len(r.letters()), n)
	}
}

// Dead letters keep the payload in every case, with a destination and without; what is told of is not
// counted as dropped.
func TestDiscardsAreToldOfBesideTheirDeadLetters(t *testing.T) {
	for _, destination := range []string{"", "file:///x"} {
		t.Run(destination, func(t *testing.T) {
			r := newRig(t, 1)
			var dropped, buried atomic.Int64
			r.observer = Observer{
				Dropped: func(_ triggers.Mapping, n int) { dropped.Add(int64(n)) },
				Buried:  func(_ triggers.Mapping, n int) { buried.Add(int64(n)) },
			}
			r.stop()
			r.start()
			r.fn.handler = failOn("r1")
			r.put("k", numbers("r", 4)...)
			r.create(triggers.Config{BatchSize: 2, Retries: ptr(0), OnFailure: destination})
			r.drain()
			told, want := r.told.all(), 0
			if destination != "" {
				want = 1
			}
			if len(told) != want || dropped.Load() != int64(2-2*want) || buried.Load() != 2 {
				t.Errorf("%d notices, %d dropped, %d buried", len(told), dropped.Load(), buried.Load())
			}
			letters := r.letters()
			if len(letters) != 2 || string(letters[0].Data) != "r0" || string(letters[1].Data) != "r1" {
				t.Errorf("dead letters %+v", letters)
			}
			// Given up again after a redrive it is a dead letter again, and no news.
			r.fn.handler = func(*runtime.Invocation) runtime.Result { return runtime.Result{Outcome: runtime.FunctionError} }
			if _, err := r.redrive(letters[:1]); err != nil {
				t.Fatal(err)
			}
			r.drain()
			if len(r.told.all()) != want || buried.Load() != 3 {
				t.Errorf("after a redrive: %d notices, %d buried", len(r.told.all()), buried.Load())
			}
		})
	}
}

type strict struct{ bad string }

func (s strict) Check(_ context.Context, destination string) error {
	if destination == s.bad {
		return fmt.Errorf("%w: no such bucket", triggers.ErrInvalid)
	}
	return nil
}

func TestWrongDestinationsAreRefused(t *testing.T) {
	r := newRig(t, 1)
	r.m.d.Destinations = strict{"arn:aws:s3:::gone"}
	bad := func(what string, err error) {
		t.Helper()
		if !errors.Is(err, triggers.ErrInvalid) {
			t.Errorf("%s: %v", what, err)
		}
	}
	for _, d := range []string{"arn:aws:s3:::gone", "arn:aws:kinesis:us-east-1:000000000000:stream/s", "file:///" + strings.Repeat("x", 400)} {
		_, err := r.m.Create(t.Context(), "t", from(triggers.Config{OnFailure: d}), true)
		bad(d, err)
	}
	_, err := r.m.Create(t.Context(), "t", from(triggers.Config{OnDestinationFailure: "explode"}), true)
	bad("explode", err)
	r.create(triggers.Config{OnFailure: "arn:aws:s3:::there"})
	_, err = r.m.Update(t.Context(), "t", func(c *triggers.Config) { c.OnFailure = "arn:aws:s3:::gone" })
	bad("updated", err)
	// What is not changed is not checked: a bucket that is down keeps nobody from another change.
	r.m.d.Destinations = strict{"arn:aws:s3:::there"}
	if _, err := r.m.Update(t.Context(), "t", func(c *triggers.Config) { c.BatchSize = 7 }); err != nil {
		t.Error(err)
	}
}

// A trigger that is removed waits for its notices, and is gone once they may be dropped.
func TestNoticesOfARemovedTriggerAreDeliveredOrForsaken(t *testing.T) {
	r := newRig(t, 1)
	r.told.broken = true
	r.fn.handler = failOn("r0")
	r.put("k", "r0")
	r.create(triggers.Config{Retries: ptr(0), OnFailure: "file:///x"})
	r.until("was buried", func() bool { return len(r.letters()) == 1 })
	mp, err := r.m.Remove(t.Context(), "t", "")
	if err != nil || mp.State != triggers.Deleting {
		t.Fatal(mp.State, err)
	}
	r.until("says what it waits for", func() bool { return strings.Contains(r.m.OutputProblem(mp.ID), "out of order") })
	if _, err := r.m.Update(t.Context(), "t", func(c *triggers.Config) { c.BatchSize = 7 }); !errors.Is(err, triggers.ErrNotFound) && !errors.Is(err, triggers.ErrBusy) {
		t.Errorf("another change: %v", err)
	}
	for {
		_, err := r.m.Update(t.Context(), "t", func(c *triggers.Config) { c.OnDestinationFailure = triggers.Drop })
		if err == nil {
			break
		}
		if !errors.Is(err, triggers.ErrBusy) {
			t.Fatal(err)
		}
	}
	for {
		if _, err := r.m.Find(t.Context(), mp.ID); errors.Is(err, triggers.ErrNotFound) {
			break
		} else if err != nil {
			t.Fatal(err)
		}
	}
	if l := r.letters(); len(l) != 1 || l[0].Reason != dlq.RetryAttemptsExhausted {
		t.Errorf("dead letters %+v", l)
	}
	if slices.ContainsFunc(r.told.all(), func(triggers.Notice) bool { return true }) {
		t.Error("told")
	}
}

// A paused trigger has notices under way too, and whoever gives them up means those.
func TestNoticesOfAPausedTriggerMayBeGivenUp(t *testing.T) {
	for _, restart := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			r := newRig(t, 1)
			defer r.close()
			r.told.broken = true
			r.fn.handler = failOn("r0")
			r.put("k", "r0")
			r.create(triggers.Config{Retries: ptr(0), OnFailure: "file:///x"})
			time.Sleep(5 * time.Second)
			mp, err := r.m.Pause(t.Context(), "t")
			if err != nil {
				t.Fatal(err)
			}
			if p := r.relay.Problem(mp.ID); !strings.Contains(p, "out of order") {
				t.Fatalf("problem %q", p)
			}
			if _, err := r.m.Update(t.Context(), "t", func(c *triggers.Config) { c.OnDestinationFailure = triggers.Drop }); err != nil {
				t.Fatal(err)
			}
			if restart {
				r.relay.Forsake(mp.ID, false) // it has forgotten
				r.stop()
				r.start()
			}
			time.Sleep(time.Hour)
			synctest.Wait()
			if p := r.relay.Problem(mp.ID); p != "" {
				t.Errorf("restarted %v: an hour later %q", restart, p)
			}
		})
	}
}

// A destination is the trigger's own stream whatever its ARN looks like.
func TestADestinationThatIsTheOwnStreamIsRefused(t *testing.T) {
	own := stream.Local("s").ARN()
	for arn, want := range map[string]bool{
		own: true, strings.Replace(own, "arn:aws:", "arn:aws-cn:", 1): true, strings.Replace(own, "us-east-1", "us-east-2", 1): false, own + "2": false, "file:///s": false, "": false,
	} {
		if err := noLoop(triggers.Config{OnFailure: arn}, own); (err != nil) != want {
			t.Errorf("%s: %v", arn, err)
		}
	}
}
