package poll

import (
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/wasmill/wasmill/runtime"
	"github.com/wasmill/wasmill/triggers"
)

func TestAStatusIsExplained(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, 1)
		defer r.close()
		says := func(want ...string) {
			t.Helper()
			time.Sleep(50 * time.Millisecond) // what is under way comes to rest
			s := r.status().Shards[0]
			text := strings.Join(s.Explain, "\n")
			for _, w := range want {
				if !strings.Contains(text, w) {
					t.Errorf("%q is missing in\n%s", w, text)
				}
			}
		}
		r.fn.handler = failOn("bad")
		r.create(triggers.Config{BatchSize: 4, Bisect: true, Retries: ptr(3)})
		r.drain()
		says("It waits: no records", "at the end of the shard: 0 records were processed")
		if _, err := r.m.Update(t.Context(), "t", func(c *triggers.Config) { c.Backoff = time.Minute }); err != nil {
			t.Fatal(err)
		}
		r.put("k", "good", "bad", "good", "good")
		time.Sleep(10 * time.Second)
		says("A batch of 1 record, from number 1 on, is tried again in", "after 1 failed attempt (errorString: cannot digest bad)",
			"1 half of a batch that failed waits", "The oldest unfinished record has sequence number 49", "3 records are not done", "ended with: an error of the function")
		if st := r.status().Shards[0]; len(st.Position) != 56 || st.Lag != 3 || st.Age < 10*time.Second {
			t.Errorf("position %q, lag %d, %s", st.Position, st.Lag, st.Age)
		}
		r.drainFor(time.Hour)
		says("1 record was given up and is a dead letter", "at the end of the shard: 3 records were processed", "ended with: success")

		if _, err := r.m.Update(t.Context(), "t", func(c *triggers.Config) { c.Tumbling = 2 * time.Minute }); err != nil {
			t.Fatal(err)
		}
		c := &recorder{fail: failsOn(runtime.FunctionError, "final")}
		r.fn.handler = c.handle
		r.put("k", "a")
		r.drain()
		says("The tumbling window from", "is under way (14 bytes of state)")
		time.Sleep(10 * time.Minute)
		r.put("k", "b")
		says("is over; its final invocation is tried again in", "failed attempts (Oops: no). Nothing else of the shard goes before it has succeeded.", "It waits: the final invocation of a tumbling window")
		if _, err := r.m.Pause(t.Context(), "t"); err != nil {
			t.Fatal(err)
		}
		says("The trigger is paused")
	})
}
