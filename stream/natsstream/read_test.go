package natsstream

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/wasmill/wasmill/internal/natsd/natsdtest"
	"github.com/wasmill/wasmill/stream"
)

func TestPositions(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := open(t, natsdtest.New(t), Options{})
		h.create(quakes, stream.Config{})
		empty := h.read(quakes, 0, latest, 0).Next
		ab := h.putText(quakes, "a", "b") // one frame
		time.Sleep(10 * time.Second)
		ten := time.Now()
		c := h.putText(quakes, "c")
		time.Sleep(10 * time.Second)
		d := h.putText(quakes, "d")
		tip := h.read(quakes, 0, latest, 0).Next
		time.Sleep(time.Second)

		at := func(r stream.PutResult) stream.Position {
			return stream.Position{Kind: stream.At, Sequence: r.Sequence}
		}
		after := func(r stream.PutResult) stream.Position {
			return stream.Position{Kind: stream.After, Sequence: r.Sequence}
		}
		since := func(tm time.Time) stream.Position { return stream.Position{Kind: stream.AtTimestamp, Time: tm} }
		tests := []struct {
			name string
			pos  stream.Position
			want string
		}{
			{"the oldest", horizon, "a b c d"},
			{"the newest", latest, ""},
			{"at the first of a frame", at(ab[0]), "a b c d"},
			{"at the second of a frame", at(ab[1]), "b c d"},
			{"after the first of a frame", after(ab[0]), "b c d"},
			{"after the last of a frame", after(ab[1]), "c d"},
			{"at the last", at(d[0]), "d"},
			{"after the last", after(d[0]), ""},
			{"since before all", since(ten.Add(-time.Hour)), "a b c d"},
			{"since the millisecond of an arrival", since(ten), "c d"},
			{"since a nanosecond later", since(ten.Add(1)), "d"},
			{"since a millisecond earlier", since(ten.Add(-time.Millisecond)), "c d"},
			{"since between", since(ten.Add(5 * time.Second)), "d"},
			{"since now", since(time.Now()), ""},
			{"the tip while it was empty", empty, "a b c d"},
			{"the tip later", tip, ""},
		}
		for _, tt := range tests {
			p := h.read(quakes, 0, tt.pos, 0)
			wantText(t, tt.name, p, tt.want)
			if p.Behind != 0 || p.Ended || p.Gap != 0 {
				t.Errorf("%s: page %+v, want it at the tip of an open shard without a gap", tt.name, p)
			}
		}
		// Whatever the page, it goes on with what comes next, once.
		var nexts []stream.Position
		for _, tt := range tests {
			nexts = append(nexts, h.read(quakes, 0, tt.pos, 0).Next)
		}
		h.putText(quakes, "e", "f")
		for i, pos := range nexts {
			wantText(t, "next of "+tests[i].name, h.read(quakes, 0, pos, 0), "e f")
		}

		_, err := h.Read(t.Context(), quakes, stream.ShardID(0), since(time.Now().Add(time.Hour)), 0)
		wantErr(t, "a time in the future", err, stream.ErrInvalid)
		bad := c[0].Sequence
		bad.Index = 5
		_, err = h.Read(t.Context(), quakes, stream.ShardID(0), stream.Position{Kind: stream.At, Sequence: bad}, 0)
		wantErr(t, "an index beyond the frame", err, stream.ErrInvalid)
		bad = c[0].Sequence
		bad.Time++
		_, err = h.Read(t.Context(), quakes, stream.ShardID(0), stream.Position{Kind: stream.After, Sequence: bad}, 0)
		wantErr(t, "another time", err, stream.ErrInvalid)
		bad = d[0].Sequence
		bad.Frame += 100
		_, err = h.Read(t.Context(), quakes, stream.ShardID(0), stream.Position{Kind: stream.At, Sequence: bad}, 0)
		wantErr(t, "a number not given out yet", err, stream.ErrInvalid)
		_, err = h.Read(t.Context(), quakes, stream.ShardID(0), stream.Position{Kind: "NEWEST"}, 0)
		wantErr(t, "an unknown kind", err, stream.ErrInvalid)
	})
}

func TestSequenceOfAnotherShardIsRefused(t *testing.T) {
	h := open(t, natsdtest.Memory(t), Options{})
	d := h.create(quakes, stream.Config{Shards: 17})
	// Shards 0 and 16 share the digit in the number, so that only the record itself could tell.
	put := h.put(quakes, stream.Entry{PartitionKey: "k", ExplicitHashKey: d.Shards[1].From.String()})
	for _, kind := range []stream.PositionKind{stream.At, stream.After} {
		_, err := h.Read(t.Context(), quakes, stream.ShardID(2), stream.Position{Kind: kind, Sequence: put[0].Sequence}, 0)
		wantErr(t, string(kind)+" of another shard", err, stream.ErrInvalid)
		if !strings.Contains(fmt.Sprint(err), "another shard") {
			t.Errorf("%v does not say whose the number is", err)
		}
	}
	if _, err := h.Read(t.Context(), quakes, stream.ShardID(1), stream.Position{Kind: stream.At, Sequence: put[0].Sequence}, 0); err != nil {
		t.Error(err)
	}
}

// A poller begins at the number and reads the frame.
func TestResolveNamesNumberAndFrame(t *testing.T) {
	h := open(t, natsdtest.Memory(t), Options{})
	d := h.create(quakes, stream.Config{})
	h.putText(quakes, "a", "b")
	put := h.putText(quakes, "c", "d")
	sh, err := h.Shard(t.Context(), d.ID, stream.ShardID(0))
	if err != nil {
		t.Fatal(err)
	}
	check := func(pos stream.Position, number, frame uint64) {
		t.Helper()
		n, f, err := sh.Resolve(t.Context(), pos)
		if err != nil || n != number || f != frame {
			t.Errorf("%+v: record %d in frame %d, %v; want %d in %d", pos, n, f, err, number, frame)
		}
	}
	check(horizon, 0, 1)
	check(latest, 4, 3)
	check(stream.Position{Kind: stream.At, Sequence: put[1].Sequence}, 3, 2)
	check(stream.Position{Kind: stream.After, Sequence: put[0].Sequence}, 3, 2)
	check(stream.Position{Kind: stream.After, Sequence: put[1].Sequence}, 4, 3)
	if err := sh.Log().End(t.Context()); err != nil {
		t.Fatal(err)
	}
	check(latest, 4, 3) // the END frame
	f, err := sh.Log().At(t.Context(), 2)
	if err != nil || sh.Sequence(f, 1) != put[1].Sequence {
		t.Errorf("sequence of the frame's second record: %s, %v; want %s", sh.Sequence(f, 1), err, put[1].Sequence)
	}
	if got := sh.Info(); asJSON(t, got) != asJSON(t, d.Shards[0]) {
		t.Errorf("info %+v, want %+v", got, d.Shards[0])
	}
}

func TestPagesHaveALimitAndSayHowFarBehindTheyAre(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := open(t, natsdtest.New(t), Options{})
		h.create(quakes, stream.Config{})
		h.putText(quakes, "a", "b")
		time.Sleep(time.Minute)
		h.putText(quakes, "c")
		time.Sleep(time.Minute)

		p := h.read(quakes, 0, horizon, 1)
		wantText(t, "first page", p, "a")
		if p.Behind != 2*time.Minute {
			t.Errorf("behind = %s, want 2m", p.Behind)
		}
		p = h.read(quakes, 0, p.Next, 1)
		wantText(t, "second page", p, "b")
		p = h.read(quakes, 0, p.Next, 1)
		wantText(t, "last page", p, "c")
		if p.Behind != 0 {
			t.Errorf("behind at the tip = %s, want 0", p.Behind)
		}
	})
}

func TestPageHoldsTenMiBButAtLeastOneRecord(t *testing.T) {
	h := open(t, natsdtest.Memory(t), Options{})
	h.create(quakes, stream.Config{RecordBytes: 10 << 20})
	big := func(size int) { h.put(quakes, stream.Entry{PartitionKey: "k", Data: make([]byte, size-1)}) }
	big(6 << 20)
	big(4 << 20)
	big(10 << 20)
	p := h.read(quakes, 0, horizon, 0)
	if len(p.Records) != 2 {
		t.Errorf("%d records in 10 MiB, want 2", len(p.Records))
	}
	if p = h.read(quakes, 0, p.Next, 0); len(p.Records) != 1 {
		t.Errorf("%d records, want the 10 MiB one", len(p.Records))
	}
}

func TestWaitWakesOnPutAndOnDelete(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := open(t, natsdtest.New(t), Options{})
		h.create(quakes, stream.Config{})
		h.create(stream.Local("other"), stream.Config{})
		wake, stop, err := h.Wait(t.Context(), quakes, stream.ShardID(0))
		if err != nil {
			t.Fatal(err)
		}
		defer stop()
		woken := func() bool {
			synctest.Wait()
			select {
			case <-wake:
				return true
			default:
				return false
			}
		}
		h.putText(stream.Local("other"), "x")
		if woken() {
			t.Error("woken by a put to another stream")
		}
		h.putText(quakes, "a")
		if !woken() {
			t.Error("not woken by a put")
		}
		if err := h.Delete(t.Context(), quakes); err != nil {
			t.Fatal(err)
		}
		if !woken() {
			t.Error("not woken by the delete")
		}
		_, err = h.Read(t.Context(), quakes, stream.ShardID(0), latest, 0)
		wantErr(t, "read after the wake-up", err, stream.ErrNotFound)
	})
}

// wantCorrupt reads, and wants the error to name the frame.
func (h *house) wantCorrupt(what string, pos stream.Position, frame uint64) (behind stream.Position) {
	h.t.Helper()
	p, err := h.Read(h.t.Context(), quakes, stream.ShardID(0), pos, 0)
	c, ok := errors.AsType[*stream.CorruptError](err)
	if !ok {
		h.t.Fatalf("%s: read %q, %v (%T), want a CorruptError", what, text(p), err, err)
	}
	if c.Stream != "quakes" || c.Shard != stream.ShardID(0) || c.Sequence.Frame != frame || len(c.Sequence.String()) != 56 || c.Error() != err.Error() {
		h.t.Errorf("%s: %v, want it to name stream, shard and frame %d", what, err, frame)
	}
	return p.Next
}

func TestDamagedDataIsAnErrorThatNamesItsPlace(t *testing.T) {
	texts := []string{"a", "b", "c", "d"}
	// JetStream tells first and last of what is there: a frame missing at either
	// end is not seen, so only the middle ones.
	for _, damaged := range []int{1, 2} {
		t.Run(texts[damaged], func(t *testing.T) {
			srv := natsdtest.New(t)
			h := open(t, srv, Options{})
			d := h.create(quakes, stream.Config{Shards: 2})
			low, high := d.Shards[0].From.String(), d.Shards[1].From.String()
			var put []stream.PutResult
			for _, text := range texts {
				put = append(put, h.put(quakes, stream.Entry{PartitionKey: "k", ExplicitHashKey: low, Data: []byte(text)})...)
			}
			h.put(quakes, stream.Entry{PartitionKey: "k", ExplicitHashKey: high, Data: []byte("other")})
			h.close()
			js, err := srv.JS().Stream(t.Context(), "L_"+logID(d.ID, 0))
			if err != nil {
				t.Fatal(err)
			}
			frame := put[damaged].Sequence.Frame
			if err := js.SecureDeleteMsg(t.Context(), frame); err != nil {
				t.Fatal(err)
			}
			h = open(t, srv, Options{})
			wantText(t, "the other shard", h.read(quakes, 1, horizon, 0), "other")
			p := h.read(quakes, 0, horizon, 0)
			wantText(t, "before the damage", p, strings.Join(texts[:damaged], " "))
			behind := h.wantCorrupt("at the damage", p.Next, frame)
			h.wantCorrupt("at the damaged number", stream.Position{Kind: stream.At, Sequence: put[damaged].Sequence}, frame)
			h.wantCorrupt("again", p.Next, frame)
			// For who chooses to go on, the page says where.
			p = h.read(quakes, 0, behind, 0)
			wantText(t, "behind the damage", p, strings.Join(texts[damaged+1:], " "))
			if p.Records[0].Number != uint64(damaged+1) {
				t.Errorf("the record behind has number %d, want %d", p.Records[0].Number, damaged+1)
			}
		})
	}
}

// A newest frame that is rubbish stops reading, but not writing: numbers go on
// behind it.
func TestDamagedTailCanBeWrittenBehind(t *testing.T) {
	srv := natsdtest.New(t)
	h := open(t, srv, Options{})
	d := h.create(quakes, stream.Config{})
	a := h.putText(quakes, "a")
	h.close()
	ack, err := srv.JS().Publish(t.Context(), "L."+logID(d.ID, 0)+".d", []byte("rubbish"))
	if err != nil {
		t.Fatal(err)
	}
	h = open(t, srv, Options{})
	p := h.read(quakes, 0, horizon, 0)
	wantText(t, "before the damage", p, "a")
	behind := h.wantCorrupt("at the damage", p.Next, ack.Sequence)
	wantText(t, "behind it", h.read(quakes, 0, behind, 0), "")
	tip := h.read(quakes, 0, latest, 0).Next
	b := h.putText(quakes, "b")
	if b[0].Sequence.Compare(a[0].Sequence) <= 0 {
		t.Errorf("sequence %s is not above %s", b[0].Sequence, a[0].Sequence)
	}
	wantText(t, "behind it later", h.read(quakes, 0, behind, 0), "b")
	wantText(t, "the tip", h.read(quakes, 0, tip, 0), "b")
	if _, err := h.Stats(t.Context(), quakes); err != nil {
		t.Errorf("stats of a damaged stream: %v", err)
	}
}
