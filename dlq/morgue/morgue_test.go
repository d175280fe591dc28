package morgue

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/nats-io/nats-server/v2/server/ats"

	"github.com/wasmill/wasmill/dlq"
	"github.com/wasmill/wasmill/dlq/store"
	"github.com/wasmill/wasmill/internal/ledger"
	"github.com/wasmill/wasmill/internal/natsd"
	"github.com/wasmill/wasmill/internal/natsd/natsdtest"
	"github.com/wasmill/wasmill/triggers"
	"github.com/wasmill/wasmill/triggers/journal"
)

func TestMain(m *testing.M) {
	ats.Register() // the server's clock has to start outside of any bubble
	code := m.Run()
	ats.Unregister()
	os.Exit(code)
}

const mapping = "1f0c1d2e-0000-4000-8000-000000000001"

var (
	shard0 = triggers.Source{Mapping: mapping, Generation: 1, Shard: "shardId-000000000000"}
	shard1 = triggers.Source{Mapping: mapping, Generation: 1, Shard: "shardId-000000000001"}
)

// house is a morgue with its journals; tests do the relay's work step by step.
type house struct {
	*Morgue
	t     testing.TB
	srv   *natsd.Server
	owner map[triggers.Source]*journal.Journal
}

func open(t testing.TB, srv *natsd.Server) *house {
	t.Helper()
	journals := journal.Open(srv, journal.Options{})
	if err := journals.Create(context.Background(), mapping); err != nil {
		t.Fatal(err)
	}
	m, err := Open(context.Background(), srv, journals)
	if err != nil {
		t.Fatal(err)
	}
	return &house{m, t, srv, map[triggers.Source]*journal.Journal{}}
}

func (h *house) check(err error) {
	h.t.Helper()
	if err != nil {
		h.t.Fatal(err)
	}
}

// bury commits letters, which wait in the journal then.
func (h *house) bury(src triggers.Source, all ...dlq.Letter) {
	h.t.Helper()
	j := h.owner[src]
	if j == nil {
		var err error
		j, _, err = h.journals.Take(context.Background(), src, "test")
		h.check(err)
		h.owner[src] = j
	}
	h.check(j.Commit(context.Background(), triggers.Checkpoint{}, journal.Cargo{Letters: all}))
}

// move appends what waits, the first n letters at most, without a mark.
func (h *house) move(src triggers.Source, n int) {
	h.t.Helper()
	ctx := context.Background()
	mark, upTo, err := h.journals.Pending(ctx, src)
	h.check(err)
	tail, err := h.graves.Tail(ctx, store.Lane{Source: src})
	h.check(err)
	h.check(h.journals.Letters(ctx, src, mark, upTo, func(at dlq.Position, l dlq.Letter) (err error) {
		if n--; n >= 0 {
			tail, err = h.graves.Append(ctx, store.Lane{Source: src}, tail, at, &l)
		}
		return err
	}))
}

func (h *house) confirm(src triggers.Source) {
	h.t.Helper()
	_, upTo, err := h.journals.Pending(context.Background(), src)
	h.check(err)
	h.check(h.journals.Confirm(context.Background(), src, upTo))
}

func (h *house) list(f Filter) string {
	h.t.Helper()
	all, err := h.List(context.Background(), f)
	h.check(err)
	var out []string
	for _, l := range all {
		if (l.Data != nil) != f.Data {
			h.t.Errorf("letter %d: data %q, asked for: %v", l.Number, l.Data, f.Data)
		}
		out = append(out, fmt.Sprint(l.Number))
	}
	return strings.Join(out, " ")
}

func (h *house) purge(f Filter) int {
	h.t.Helper()
	n, err := h.Purge(context.Background(), f)
	h.check(err)
	return n
}

// stored are all messages of the morgue, hidden ones in brackets.
func (h *house) stored() string {
	h.t.Helper()
	var out []string
	h.check(h.graves.Scan(context.Background(), nil, func(m store.Message) error {
		if m.Hidden {
			out = append(out, fmt.Sprintf("(%d.%d)", m.Position.Sequence, m.Position.Index))
		} else {
			out = append(out, fmt.Sprint(m.Letter.Number))
		}
		return nil
	}))
	return strings.Join(out, " ")
}

func id(src triggers.Source, n uint64) string {
	return dlq.LetterID(src.Mapping, src.Generation, src.Shard, n, 1)
}

func letter(n uint64) dlq.Letter {
	return dlq.Letter{
		Number: n, Trigger: "quakes", Stream: "arn:aws:kinesis:us-east-1:000000000000:stream/s", Reason: dlq.RetryAttemptsExhausted,
		Buried: time.Now().UTC(), Data: bytes.Repeat([]byte{byte(n)}, 100), PartitionKey: "k", Attempts: 3,
	}
}

func TestListIsTheMorguePlusWhatIsNotRelayedYet(t *testing.T) {
	h := open(t, natsdtest.New(t))
	h.bury(shard0, letter(0), letter(1))
	h.bury(shard0, letter(2))
	h.bury(shard1, letter(3))
	for n := range 4 {
		h.move(shard0, n) // moved in part, the mark is not written
		if got := h.list(Filter{}); got != "0 1 2 3" {
			t.Fatalf("%d moved: %s, want each once", n, got)
		}
		if got := h.list(Filter{Data: true}); got != "0 1 2 3" {
			t.Fatalf("%d moved: %s with data", n, got)
		}
		for i := range uint64(3) {
			l, err := h.Get(context.Background(), id(shard0, i))
			if err != nil || l.Number != i || !bytes.Equal(l.Data, letter(i).Data) {
				t.Fatalf("%d moved: get %d = %+v, %v", n, i, l, err)
			}
		}
	}
	h.confirm(shard0)
	h.check(h.journals.Trim(context.Background(), shard0))
	if got := h.list(Filter{}); got != "0 1 2 3" {
		t.Errorf("confirmed: %s", got)
	}
	if n, err := h.Count(context.Background(), Filter{}); n != 4 || err != nil {
		t.Errorf("count = %d, %v", n, err)
	}
}

func TestALetterKeepsEverything(t *testing.T) {
	h := open(t, natsdtest.New(t))
	want := letter(9)
	want.ID, want.Mapping, want.Generation, want.Shard, want.Burial = id(shard0, 9), mapping, 1, shard0.Shard, 1
	want.StreamID, want.Sequence, want.ExplicitHashKey, want.TraceParent = "sid", "49", "17", "00-1"
	want.Arrival, want.FirstFailure = time.UnixMilli(1700000000123).UTC(), time.UnixMilli(1700000000999).UTC()
	want.ErrorType, want.ErrorMessage, want.Function, want.Version, want.Digest = "errorString", "no", "f", "3", "abc"
	want.Batch.Invocation, want.Batch.Position, want.Batch.Size = "inv", 4, 100
	want.Buried = want.Buried.Truncate(time.Millisecond)
	h.bury(shard0, want)
	for _, at := range []string{"journal", "morgue"} {
		got, err := h.Get(context.Background(), want.ID)
		if err != nil || fmt.Sprintf("%+v", got) != fmt.Sprintf("%+v", want) {
			t.Errorf("in the %s: %+v, %v\nwant %+v", at, got, err, want)
		}
		h.move(shard0, 1)
		h.confirm(shard0)
	}
}

func TestFilter(t *testing.T) {
	h := open(t, natsdtest.New(t))
	now := time.Now().UTC()
	a, b, c := letter(0), letter(1), letter(2)
	a.Buried, b.Buried, c.Buried = now.Add(-3*time.Hour), now.Add(-2*time.Hour), now.Add(-time.Hour)
	b.Trigger, b.Reason, b.ErrorType = "other", dlq.RecordAgeExceeded, "TypeError"
	c.Stream, c.ErrorMessage = "arn:aws:kinesis:us-east-1:000000000000:stream/t", "Cannot READ property"
	h.bury(shard0, c, a, b)
	for _, tt := range []struct {
		name string
		f    Filter
		want string
	}{
		{"all, oldest burial first", Filter{}, "0 1 2"},
		{"trigger", Filter{Trigger: "quakes"}, "0 2"},
		{"mapping", Filter{Trigger: mapping}, "0 1 2"},
		{"stream by name", Filter{Stream: "t"}, "2"},
		{"stream by ARN", Filter{Stream: a.Stream}, "0 1"},
		{"reason", Filter{Reason: dlq.RecordAgeExceeded}, "1"},
		{"part of the error's message", Filter{Error: "cannot read"}, "2"},
		{"part of the error's type", Filter{Error: "typee"}, "1"},
		{"since, inclusive", Filter{Since: b.Buried}, "1 2"},
		{"before, exclusive", Filter{Before: b.Buried}, "0"},
		{"ids", Filter{IDs: []string{id(shard0, 2), id(shard0, 0), "nonsense"}}, "0 2"},
		{"two at once", Filter{Trigger: "quakes", Since: b.Buried}, "2"},
		{"limit keeps the newest", Filter{Limit: 2}, "1 2"},
		{"none", Filter{Error: "xyz"}, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if got := h.list(tt.f); got != tt.want {
				t.Errorf("listed %q, want %q", got, tt.want)
			}
		})
	}
	h.move(shard0, 9)
	h.confirm(shard0)
	if n := h.purge(Filter{Trigger: "quakes", Limit: 1}); n != 2 || h.stored() != "1" {
		t.Errorf("purged %d, stored %s", n, h.stored())
	}
}

func TestGetOfNoLetter(t *testing.T) {
	h := open(t, natsdtest.New(t))
	h.bury(shard0, letter(0))
	h.move(shard0, 1)
	for _, s := range []string{"", "x", id(shard0, 1), id(shard1, 0), id(shard0, 0) + "-2"} {
		if _, err := h.Get(context.Background(), s); !errors.Is(err, dlq.ErrNotFound) {
			t.Errorf("get %q: %v, want ErrNotFound", s, err)
		}
	}
}

func TestTheNewestMessageOfASourceStaysHiddenUntilItsMarkIsConfirmed(t *testing.T) {
	h := open(t, natsdtest.New(t))
	h.bury(shard0, letter(0), letter(1), letter(2)) // commit 1
	h.move(shard0, 2)
	if n := h.purge(Filter{}); n != 2 || h.stored() != "(1.1)" || h.list(Filter{}) != "2" {
		t.Fatalf("purged %d, stored %s, listed %s; want the position kept and what waits listed", n, h.stored(), h.list(Filter{}))
	}
	if n := h.purge(Filter{}); n != 0 || h.stored() != "(1.1)" {
		t.Fatalf("purged again: %d, stored %s", n, h.stored())
	}
	if _, err := h.Get(context.Background(), id(shard0, 1)); !errors.Is(err, dlq.ErrNotFound) {
		t.Errorf("a purged letter is found: %v", err)
	}
	h.move(shard0, 9) // as after a crash before the mark
	if got := h.stored(); got != "(1.1) 2" {
		t.Fatalf("stored %s: purged letters came back", got)
	}
	if n := h.purge(Filter{IDs: []string{id(shard0, 2)}}); n != 1 || h.stored() != "(1.2)" {
		t.Fatalf("purged %d, stored %s", n, h.stored())
	}
	h.confirm(shard0)
	if n := h.purge(Filter{}); n != 0 || h.stored() != "" {
		t.Errorf("confirmed: purged %d, stored %s; want nothing left", n, h.stored())
	}
	h.bury(shard0, letter(3))
	h.move(shard0, 1)
	if got := h.list(Filter{}); got != "3" {
		t.Errorf("listed %s: the next letter is lost", got)
	}
}

func TestACrashWhilePurgingLosesNoPosition(t *testing.T) {
	for _, point := range []string{"before hide", "after hide"} {
		t.Run(point, func(t *testing.T) {
			srv := natsdtest.New(t)
			n := uint64(0)
			for range 20 {
				h := open(t, srv)
				h.bury(shard0, letter(n), letter(n+1))
				h.move(shard0, 2)
				h.hook = func(at string) {
					if at == point {
						panic("crash")
					}
				}
				func() {
					defer func() {
						if recover() == nil {
							t.Fatal("no crash")
						}
					}()
					h.purge(Filter{})
				}()
				h = open(t, srv)
				h.move(shard0, 2)
				h.purge(Filter{})
				h.move(shard0, 2)
				if got := h.list(Filter{}); got != "" {
					t.Fatalf("listed %s after a purge", got)
				}
				h.confirm(shard0)
				n += 2
			}
		})
	}
}

func TestPurgeOfSomeKeepsTheOthers(t *testing.T) {
	h := open(t, natsdtest.New(t))
	for n := range uint64(6) {
		src := []triggers.Source{shard0, shard1}[n%2]
		l := letter(n)
		l.Reason = []dlq.Reason{dlq.RetryAttemptsExhausted, dlq.RetryAttemptsExhausted, dlq.RecordAgeExceeded}[n%3]
		h.bury(src, l)
	}
	h.move(shard0, 9)
	h.move(shard1, 9)
	h.confirm(shard0)
	if n := h.purge(Filter{Reason: dlq.RecordAgeExceeded}); n != 2 || h.list(Filter{}) != "0 1 3 4" {
		t.Errorf("purged %d, listed %s", n, h.list(Filter{}))
	}
	if got := h.stored(); !strings.HasSuffix(got, "(6.0)") {
		t.Errorf("stored %s: 5 was the newest of its source and is not confirmed", got)
	}
}

// calendar is a morgue whose server is down while time passes: otherwise days
// in a bubble take long, for everything in a server that happens by the second.
type calendar struct {
	*house
	test testing.TB
	dir  string
}

func (c *calendar) pass(d time.Duration) {
	c.test.Helper()
	if c.house != nil {
		natsdtest.Close(c.test, c.srv)
	}
	time.Sleep(d)
	srv, err := natsd.Start(context.Background(), natsd.Options{Dir: c.dir})
	if err != nil {
		c.test.Fatal(err)
	}
	c.house = open(c.test, srv)
}

func calendarTest(t *testing.T, f func(*testing.T, *calendar)) {
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		c := &calendar{test: t, dir: dir}
		c.pass(0)
		f(t, c)
		natsdtest.Close(t, c.srv)
	})
}

func TestLettersDisappearAfter14DaysAndTheTrimmerDropsThem(t *testing.T) {
	calendarTest(t, func(t *testing.T, c *calendar) {
		trim := func() {
			t.Helper()
			c.check(c.Trim(context.Background()))
		}
		trim() // of nothing
		c.bury(shard0, letter(0))
		c.bury(shard1, letter(1))
		c.move(shard0, 1)
		c.move(shard1, 1)
		c.confirm(shard0)
		c.pass(24 * time.Hour)
		c.bury(shard0, letter(2))
		c.move(shard0, 9)
		c.confirm(shard0)

		c.pass(dlq.Retention - 24*time.Hour - time.Minute)
		trim()
		if n, err := c.Count(context.Background(), Filter{}); n != 3 || err != nil {
			t.Errorf("before 14 days: %d letters, %v", n, err)
		}
		c.pass(2 * time.Minute)
		if got := c.list(Filter{}); got != "2" {
			t.Errorf("after 14 days: %s", got)
		}
		if _, err := c.Get(context.Background(), id(shard0, 0)); !errors.Is(err, dlq.ErrNotFound) {
			t.Errorf("an expired letter is found: %v", err)
		}
		trim()
		if got := c.stored(); got != "2 (2.0)" {
			t.Errorf("stored %s: want what is left, and the position of the source that is not confirmed", got)
		}
		c.pass(2 * dlq.Retention)
		trim()
		if got := c.stored(); got != "(2.0)" {
			t.Errorf("stored %s: want the position only", got)
		}
		c.confirm(shard1)
		c.pass(2 * dlq.Retention)
		trim()
		if got := c.stored(); got != "" {
			t.Errorf("stored %s: want nothing", got)
		}
		trim()
	})
}

func TestTrimLeavesALetterThatComesWhileItLooks(t *testing.T) {
	for _, when := range []string{"between looks", "after looks"} {
		calendarTest(t, func(t *testing.T, c *calendar) {
			c.bury(shard0, letter(0))
			c.move(shard0, 1)
			c.confirm(shard0)
			c.pass(dlq.Retention + time.Minute)
			came := false
			c.hook = func(point string) {
				if point == when {
					came = true
					c.bury(shard0, letter(1))
					c.move(shard0, 9)
					c.confirm(shard0)
				}
			}
			c.check(c.Trim(context.Background()))
			if got := c.stored(); got != "1" || !came {
				t.Errorf("%s: stored %q: want the fresh letter (it came: %v)", when, got, came)
			}
		})
	}
}

func TestWaitingLettersExpireToo(t *testing.T) {
	calendarTest(t, func(t *testing.T, c *calendar) {
		c.bury(shard0, letter(0))
		c.pass(dlq.Retention - time.Minute)
		if got := c.list(Filter{}); got != "0" {
			t.Errorf("listed %s", got)
		}
		c.pass(time.Minute)
		if got := c.list(Filter{}); got != "" {
			t.Errorf("listed %s", got)
		}
	})
}

func TestDamagedLettersAreToldOfAndDoNotHideTheOthers(t *testing.T) {
	srv := natsdtest.New(t)
	h := open(t, srv)
	h.bury(shard0, letter(0))
	h.move(shard0, 1)
	h.confirm(shard0)
	if _, err := ledger.At(srv, "MORGUE").Append(context.Background(), "m."+mapping+".1.x", ledger.Unfenced, []byte("WD garbage....")); err != nil {
		t.Fatal(err)
	}
	h.bury(shard0, letter(1))
	h.move(shard0, 1)
	all, err := h.List(context.Background(), Filter{})
	if !errors.Is(err, store.ErrCorrupt) || len(all) != 2 {
		t.Errorf("list = %d letters, %v; want 2 and ErrCorrupt", len(all), err)
	}
	// A commit can be damaged as well.
	if _, err := ledger.At(srv, "J_"+mapping).Append(context.Background(), "j."+mapping+".c.1."+shard1.Shard, ledger.Unfenced, []byte("WJ garbage....")); err != nil {
		t.Fatal(err)
	}
	h = open(t, srv) // journals are looked at when a process begins
	for range 2 {
		all, err = h.List(context.Background(), Filter{})
		if !damaged(err) || len(all) != 2 {
			t.Errorf("list = %d letters, %v; want 2 and ErrCorrupt", len(all), err)
		}
		if _, err := h.ties(context.Background()); !errors.Is(err, journal.ErrCorrupt) {
			t.Errorf("what is settled = %v, want ErrCorrupt", err)
		}
	}
	if l, err := h.Get(context.Background(), id(shard0, 1)); err != nil || l.Number != 1 {
		t.Errorf("get = %+v, %v", l, err)
	}
	if _, err := h.Get(context.Background(), id(shard1, 1)); !errors.Is(err, journal.ErrCorrupt) {
		t.Errorf("get of what may be in the damaged commit: %v, want ErrCorrupt", err)
	}
}

func TestDeadLettersOutliveTheirTrigger(t *testing.T) {
	h := open(t, natsdtest.New(t))
	h.bury(shard0, letter(0))
	h.move(shard0, 1)
	h.confirm(shard0)
	h.check(h.journals.Delete(context.Background(), mapping))
	if got := h.list(Filter{}); got != "0" {
		t.Errorf("listed %s", got)
	}
	if n := h.purge(Filter{}); n != 1 || h.stored() != "" {
		t.Errorf("purged %d, stored %s", n, h.stored())
	}
}

// redrive commits which letters are delivered again, and what is settled.
func (h *house) redrive(src triggers.Source, c journal.Cargo, under ...string) {
	h.t.Helper()
	h.bury(src) // so that there is an owner
	var cp triggers.Checkpoint
	for _, id := range under {
		cp.Redrives = append(cp.Redrives, triggers.Redrive{Letter: id})
	}
	h.check(h.owner[src].Commit(context.Background(), cp, c))
}

func TestLettersThatAreDeliveredAgainAreMarkedAndStay(t *testing.T) {
	calendarTest(t, func(t *testing.T, c *calendar) {
		c.bury(shard0, letter(0), letter(1))
		c.move(shard0, 9)
		c.confirm(shard0)
		c.redrive(shard1, journal.Cargo{}, id(shard0, 0))
		for n := range uint64(2) {
			l, err := c.Get(context.Background(), id(shard0, n))
			if err != nil || l.Redriving != (n == 0) {
				t.Errorf("get %d: redriving %v, %v", n, l.Redriving, err)
			}
		}
		if n := c.purge(Filter{}); n != 1 || c.list(Filter{}) != "0" {
			t.Errorf("purged %d, listed %s; want the one that is not delivered again gone", n, c.list(Filter{}))
		}
		c.bury(shard0, letter(2))
		c.move(shard0, 9)
		c.confirm(shard0)
		c.pass(dlq.Retention + time.Hour)
		c.check(c.Trim(context.Background()))
		if got := c.stored(); got != "0" || c.list(Filter{Data: true}) != "0" {
			t.Errorf("trimmed: stored %s, listed %s; want what is delivered again, whatever its age", got, c.list(Filter{}))
		}
		if l, err := c.Get(context.Background(), id(shard0, 0)); err != nil || !l.Redriving || len(l.Data) != 100 {
			t.Errorf("get = %+v, %v", l, err)
		}
		c.redrive(shard1, journal.Cargo{Redriven: []string{id(shard0, 0)}})
		if got := c.list(Filter{}); got != "" || c.stored() != "0" {
			t.Errorf("settled: listed %q, stored %s", got, c.stored())
		}
		left, err := c.Remove(context.Background(), []string{id(shard0, 0), id(shard0, 5)})
		if err != nil || len(left) != 0 || c.stored() != "" {
			t.Errorf("removed: left %v, %v, stored %s", left, err, c.stored())
		}
	})
}

func TestTheNewestMessageOfASourceKeepsItsPositionWhenItIsRemoved(t *testing.T) {
	h := open(t, natsdtest.New(t))
	h.bury(shard0, letter(0), letter(1))
	h.move(shard0, 9) // and no mark
	for range 2 {
		left, err := h.Remove(context.Background(), []string{id(shard0, 1), id(shard0, 0)})
		if err != nil || len(left) != 0 || h.stored() != "(1.1)" {
			t.Fatalf("left %v, %v, stored %s", left, err, h.stored())
		}
		h.move(shard0, 9)
	}
	if got := h.list(Filter{}); got != "" {
		t.Errorf("listed %s: a letter that was removed has come back", got)
	}
}

func TestALetterThatWaitsInItsJournalIsNotRemovedYet(t *testing.T) {
	h := open(t, natsdtest.New(t))
	h.bury(shard0, letter(0), letter(1))
	h.move(shard0, 1)
	left, err := h.Remove(context.Background(), []string{id(shard0, 0), id(shard0, 1), id(shard1, 9)})
	if err != nil || len(left) != 1 || left[0] != id(shard0, 1) {
		t.Errorf("left %v, %v; want the one that waits", left, err)
	}
	h.move(shard0, 9)
	left, err = h.Remove(context.Background(), left)
	if err != nil || len(left) != 0 || h.list(Filter{}) != "" {
		t.Errorf("left %v, %v, listed %s", left, err, h.list(Filter{}))
	}
}

func TestALetterThatWasBuriedAgainByAnotherShardIsFound(t *testing.T) {
	h := open(t, natsdtest.New(t))
	h.bury(shard0, letter(7))
	again := letter(7)
	again.Mapping, again.Generation, again.Shard, again.Burial = mapping, 1, shard0.Shard, 2
	h.redrive(shard1, journal.Cargo{Redriven: []string{id(shard0, 7)}, Letters: []dlq.Letter{again}})
	second := dlq.LetterID(mapping, 1, shard0.Shard, 7, 2)
	for _, at := range []string{"journal", "morgue"} {
		l, err := h.Get(context.Background(), second)
		if err != nil || l.Burial != 2 || l.Shard != shard0.Shard {
			t.Errorf("in the %s: %+v, %v", at, l, err)
		}
		if got := h.list(Filter{}); got != "7" {
			t.Errorf("in the %s: listed %s, want it once", at, got)
		}
		h.move(shard0, 9)
		h.move(shard1, 9)
	}
	// Another process, which remembers nothing.
	other := open(t, h.srv)
	if left, err := other.Remove(context.Background(), []string{id(shard0, 7), second}); err != nil || len(left) != 0 || other.list(Filter{}) != "" {
		t.Errorf("left %v, %v, listed %s", left, err, other.list(Filter{}))
	}
}
