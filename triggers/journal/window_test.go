package journal

import (
	"bytes"
	"context"
	"encoding/json"
	"testing"
	"time"

	"github.com/wasmill/wasmill/internal/natsd"
	"github.com/wasmill/wasmill/triggers"
)

// stateOf is a window with a state of that many bytes.
func stateOf(n int) *triggers.Window {
	return &triggers.Window{Start: time.Unix(60, 0).UTC(), End: time.Unix(120, 0).UTC(), State: bytes.Repeat([]byte("s"), n)}
}

func TestStateOfAWindowTakesItsOwnLength(t *testing.T) {
	cp := triggers.Checkpoint{Next: 7, Window: stateOf(100_000)}
	body, err := appendBody(nil, &cp, "me")
	if err != nil || len(body) > 100_300 {
		t.Fatalf("%d bytes, %v; want little more than the state's 100,000", len(body), err)
	}
	if len(cp.Window.State) != 100_000 {
		t.Error("the caller's state is changed")
	}
	c, err := decodeCommit(1, message(1, attempt{}, 0, 0, body))
	if err != nil || c.checkpoint.Window == nil || !bytes.Equal(c.checkpoint.Window.State, cp.Window.State) || !c.checkpoint.Window.End.Equal(cp.Window.End) {
		t.Errorf("decoded %+v, %v", c, err)
	}
	if _, err := decodeCommit(1, message(1, attempt{}, 0, 0, appendSection(appendSection(nil, tagCheckpoint, []byte(`{"next":1}`)), tagState, []byte("{}")))); err == nil {
		t.Error("a state of no window is taken")
	}
}

func TestStateOfAWindowIsReadFromJSONToo(t *testing.T) {
	text, err := json.Marshal(triggers.Checkpoint{Next: 7, Window: stateOf(10)})
	if err != nil {
		t.Fatal(err)
	}
	c, err := decodeCommit(1, message(1, attempt{}, 0, 0, appendSection(nil, tagCheckpoint, text)))
	if err != nil || c.checkpoint.Window == nil || string(c.checkpoint.Window.State) != "ssssssssss" {
		t.Errorf("decoded %+v, %v", c, err)
	}
}

func TestStatesCountAmongWhatCargoKeepsInTheJournal(t *testing.T) {
	srv, s := fresh(t)
	j, _ := take(t, s, source0)
	for i, cargo := range []Cargo{{}, {Notices: []triggers.Notice{notice(1, "x", 10)}}, {Outputs: []triggers.Output{output(1, "s", "k", 10)}}} {
		if err := j.Commit(context.Background(), triggers.Checkpoint{Next: uint64(i), Window: stateOf(1000)}, cargo); err != nil {
			t.Fatal(err)
		}
	}
	again := Open(srv, Options{})
	for _, s := range []*Store{s, again} {
		if s == again {
			take(t, s, source0)
		}
		if n, b := s.NoticeBacklog(source0); n != 1 || b < 1000 || b > 1100 {
			t.Errorf("notices: %d of %d bytes, want 1 and the state", n, b)
		}
		if n, b := s.Backlog(source0); n != 1 || b < 1000 || b > 1100 {
			t.Errorf("outputs: %d of %d bytes, want 1 and the state", n, b)
		}
	}
}

// Few commits are much where each has a state of a megabyte.
func TestLargeCommitsWithoutCargoGoThoughCargoBeforeThemWaits(t *testing.T) {
	srv, s := freshWith(t, natsd.Options{Dir: t.TempDir(), Relaxed: true})
	j, _ := take(t, s, source0)
	commitCargo(t, j, 1, Cargo{Notices: []triggers.Notice{notice(1, "d", 10)}})
	write := func(j *Journal, n int) {
		for i := range uint64(n) {
			if err := j.Commit(context.Background(), triggers.Checkpoint{Next: 2 + i, Window: stateOf(1 << 20)}, Cargo{}); err != nil {
				t.Fatal(err)
			}
		}
	}
	const few = thinBytes>>20 - 2
	write(j, few)
	trim(t, s)
	if n := counts(t, s)[0]; n != few+1 {
		t.Errorf("%d commits, want all", n)
	}
	write(j, 3)
	trim(t, s)
	if n := counts(t, s)[0]; n != 2 {
		t.Errorf("%d commits, want that with cargo and the newest", n)
	}
	write(j, 5)
	again := Open(srv, Options{})
	take(t, again, source0)
	trim(t, again)
	if n := counts(t, again)[0]; n != 2 {
		t.Errorf("%d commits after a restart, want that with cargo and the newest", n)
	}
}
