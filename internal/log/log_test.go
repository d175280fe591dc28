package log

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/wasmill/wasmill/internal/natsd"
	"github.com/wasmill/wasmill/internal/natsd/natsdtest"
)

// newSet is a set on srv, closed at the end of the test.
func newSet(t testing.TB, srv *natsd.Server, o Options) *Set {
	t.Helper()
	s := New(srv, o)
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		if err := s.Close(ctx); err != nil {
			t.Errorf("close: %v", err)
		}
	})
	return s
}

func newLog(t testing.TB, s *Set, id string) *Log {
	t.Helper()
	if err := s.Create(t.Context(), id, 77); err != nil {
		t.Fatal(err)
	}
	return openLog(t, s, id)
}

func openLog(t testing.TB, s *Set, id string) *Log {
	t.Helper()
	l, err := s.Open(t.Context(), id)
	if err != nil {
		t.Fatal(err)
	}
	return l
}

func memoryLog(t testing.TB, o Options) *Log {
	t.Helper()
	return newLog(t, newSet(t, natsdtest.Memory(t), o), "a")
}

// records are n records whose data says their number.
func records(from, n int) []Record {
	recs := make([]Record, n)
	for i := range recs {
		recs[i] = Record{Key: fmt.Sprintf("k%d", (from+i)%7), Data: fmt.Appendf(nil, "r%d", from+i)}
	}
	return recs
}

func mustAppend(t testing.TB, l *Log, recs ...Record) []Place {
	t.Helper()
	places, err := l.Append(t.Context(), recs)
	if err != nil {
		t.Fatalf("append: %v", err)
	}
	if len(places) != len(recs) {
		t.Fatalf("%d places for %d records", len(places), len(recs))
	}
	return places
}

// readAll reads a log from its first frame to where nothing is written yet.
func readAll(t testing.TB, l *Log) []Record {
	t.Helper()
	b, err := l.Bounds(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	var all []Record
	for seq := b.FirstFrame; ; seq++ {
		f, err := l.At(t.Context(), seq)
		if errors.Is(err, ErrNotYet) {
			return all
		}
		if err != nil {
			t.Fatalf("frame %d: %v", seq, err)
		}
		if f.Seq != seq || f.First != b.FirstNumber+uint64(len(all)) {
			t.Fatalf("frame %d: sequence %d, first number %d; want %d", seq, f.Seq, f.First, b.FirstNumber+uint64(len(all)))
		}
		all = append(all, f.Records...)
	}
}

// wantAll checks that a log holds records(0, n).
func wantAll(t testing.TB, l *Log, n int) {
	t.Helper()
	got := readAll(t, l)
	if len(got) != n {
		t.Fatalf("log holds %d records, want %d", len(got), n)
	}
	for i, r := range got {
		if want := fmt.Sprintf("r%d", i); string(r.Data) != want {
			t.Fatalf("record %d is %.40q, want %q", i, r.Data, want)
		}
	}
}

func TestAppendedRecordsAreRead(t *testing.T) {
	l := memoryLog(t, Options{})
	recs := []Record{
		{Key: "a", Data: []byte("one")},
		{Key: "b", HashKey: "123", Data: nil, Trace: "00-11-22-01"},
	}
	before := time.Now().UnixMilli()
	places := mustAppend(t, l, recs...)
	after := time.Now().UnixMilli()
	for i, p := range places {
		if p.Frame != 1 || int(p.Index) != i || p.Number != uint64(i) || p.Arrival < before || p.Arrival > after {
			t.Errorf("place %d = %+v", i, p)
		}
	}
	if p := mustAppend(t, l, records(2, 1)...)[0]; p.Frame != 2 || p.Index != 0 || p.Number != 2 {
		t.Errorf("place of the next = %+v", p)
	}
	f, err := l.At(t.Context(), 1)
	if err != nil {
		t.Fatal(err)
	}
	if f.Epoch != 77 || l.Epoch() != 77 {
		t.Errorf("epoch %d and %d, want 77", f.Epoch, l.Epoch())
	}
	for i, r := range f.Records {
		if r.Key != recs[i].Key || r.HashKey != recs[i].HashKey || !bytes.Equal(r.Data, recs[i].Data) || r.Trace != recs[i].Trace || r.Arrival != places[i].Arrival {
			t.Errorf("record %d = %+v, want %+v", i, r, recs[i])
		}
	}
	b, err := l.Bounds(t.Context())
	if want := (Bounds{FirstFrame: 1, FirstArrival: places[0].Arrival, LastFrame: 2, NextNumber: 3, LastArrival: b.LastArrival, Bytes: 1 + 3 + 1 + 2 + 2}); err != nil || b != want {
		t.Errorf("bounds = %+v, %v; want %+v", b, err, want)
	}
	if _, err := l.At(t.Context(), 3); !errors.Is(err, ErrNotYet) {
		t.Errorf("frame 3: %v, want ErrNotYet", err)
	}
}

func TestEmptyLog(t *testing.T) {
	l := memoryLog(t, Options{})
	b, err := l.Bounds(t.Context())
	if err != nil || b != (Bounds{FirstFrame: 1}) {
		t.Errorf("bounds = %+v, %v", b, err)
	}
	for name, err := range map[string]error{
		"At":    func() error { _, err := l.At(t.Context(), 1); return err }(),
		"Find":  func() error { _, err := l.Find(t.Context(), 0, 0); return err }(),
		"Since": func() error { _, _, err := l.Since(t.Context(), 0); return err }(),
	} {
		if !errors.Is(err, ErrNotYet) {
			t.Errorf("%s: %v, want ErrNotYet", name, err)
		}
	}
	if err := l.Trim(t.Context(), 1<<60, 0); err != nil {
		t.Errorf("trim: %v", err)
	}
	if places, err := l.Append(t.Context(), nil); len(places) != 0 || err != nil {
		t.Errorf("append of nothing = %v, %v", places, err)
	}
}

func TestCreateIsIdempotent(t *testing.T) {
	s := newSet(t, natsdtest.Memory(t), Options{})
	l := newLog(t, s, "a")
	mustAppend(t, l, records(0, 3)...)
	if err := s.Create(t.Context(), "a", 77); err != nil {
		t.Errorf("create again: %v", err)
	}
	if err := s.Create(t.Context(), "a", 78); !errors.Is(err, ErrExists) {
		t.Errorf("create with another epoch: %v, want ErrExists", err)
	}
	if same := openLog(t, s, "a"); same != l {
		t.Error("opened twice: two logs")
	}
	wantAll(t, l, 3)
	newLog(t, s, "b")
	ids, err := s.IDs(t.Context())
	if err != nil || len(ids) != 2 || strings.Join(ids, "") != "ab" && strings.Join(ids, "") != "ba" {
		t.Errorf("ids = %v, %v", ids, err)
	}
	for _, id := range []string{"", "a b", "a.b", "a*"} {
		if err := s.Create(t.Context(), id, 1); err == nil {
			t.Errorf("created %q", id)
		}
	}
}

func TestDeletedLogIsGone(t *testing.T) {
	s := newSet(t, natsdtest.Memory(t), Options{})
	l := newLog(t, s, "a")
	mustAppend(t, l, records(0, 3)...)
	woken := make(chan struct{}, 1)
	defer l.Watch(woken)()
	for range 2 {
		if err := s.Delete(t.Context(), "a"); err != nil {
			t.Fatal(err)
		}
	}
	<-woken
	if _, err := l.Append(t.Context(), records(3, 1)); !errors.Is(err, ErrNotFound) {
		t.Errorf("append: %v, want ErrNotFound", err)
	}
	if _, err := l.At(t.Context(), 1); !errors.Is(err, ErrNotFound) {
		t.Errorf("read: %v, want ErrNotFound", err)
	}
	never := openLog(t, s, "never")
	if _, err := never.Append(t.Context(), records(0, 1)); !errors.Is(err, ErrNotFound) {
		t.Errorf("append to what was never made: %v, want ErrNotFound", err)
	}
	if _, err := never.Bounds(t.Context()); !errors.Is(err, ErrNotFound) {
		t.Errorf("bounds of what was never made: %v, want ErrNotFound", err)
	}
	// Made again it inherits nothing.
	again := newLog(t, s, "a")
	wantAll(t, again, 0)
	mustAppend(t, again, records(0, 2)...)
	wantAll(t, again, 2)
}

func TestConcurrentAppendsKeepTheirOrder(t *testing.T) {
	l := memoryLog(t, Options{FrameBytes: 2000})
	const callers, calls, size = 8, 20, 40
	var wg sync.WaitGroup
	for c := range callers {
		wg.Go(func() {
			for k := range calls {
				recs := make([]Record, size)
				for i := range recs {
					recs[i] = Record{Key: fmt.Sprint(c), Data: fmt.Appendf(nil, "%d", k*size+i)}
				}
				places, err := l.Append(t.Context(), recs)
				if err != nil {
					t.Errorf("append: %v", err)
					return
				}
				for i, p := range places[1:] {
					if p.Number != places[i].Number+1 {
						t.Errorf("a call's records are not together: %d, %d", places[i].Number, p.Number)
					}
				}
			}
		})
	}
	wg.Wait()
	next := map[string]int{}
	for i, r := range readAll(t, l) {
		if want := fmt.Sprint(next[r.Key]); string(r.Data) != want {
			t.Fatalf("record %d of caller %s is %s, want %s", i, r.Key, r.Data, want)
		}
		next[r.Key]++
	}
	for c := range callers {
		if got := next[fmt.Sprint(c)]; got != calls*size {
			t.Errorf("caller %d has %d records, want %d", c, got, calls*size)
		}
	}
}

func TestStartedAppendsAreStoredInOrder(t *testing.T) {
	l := memoryLog(t, Options{FrameBytes: 300})
	var started []*Pending
	for i := range 100 {
		started = append(started, l.Start(records(i*3, 3)))
	}
	for _, p := range started {
		if _, err := p.Wait(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	wantAll(t, l, 300)
}

func TestHugeRecordTravelsAlone(t *testing.T) {
	l := memoryLog(t, Options{})
	recs := records(0, 5)
	recs[2].Data = bytes.Repeat([]byte("x"), 10<<20)
	places := mustAppend(t, l, recs...)
	for i, want := range []uint64{1, 1, 2, 3, 3} {
		if places[i].Frame != want || places[i].Number != uint64(i) {
			t.Errorf("place %d = %+v, want frame %d", i, places[i], want)
		}
	}
	f, err := l.At(t.Context(), 2)
	if err != nil || len(f.Records) != 1 || len(f.Records[0].Data) != 10<<20 {
		t.Errorf("frame 2: %v", err)
	}
	tooLarge := Record{Data: make([]byte, MaxRecordBytes)}
	if _, err := l.Append(t.Context(), []Record{{}, tooLarge}); !errors.Is(err, ErrTooLarge) {
		t.Errorf("record of %d bytes: %v, want ErrTooLarge", MaxRecordBytes, err)
	}
	// The largest that is accepted is also taken by the server.
	mustAppend(t, l, Record{Data: make([]byte, MaxRecordBytes-64)})
}

func TestFrameHoldsAtMost65535Records(t *testing.T) {
	l := memoryLog(t, Options{FrameBytes: 8 << 20})
	places := mustAppend(t, l, make([]Record, 65_537)...)
	if p := places[65_534]; p.Frame != 1 || p.Index != 65_534 || p.Number != 65_534 {
		t.Errorf("place of the last of frame 1 = %+v", p)
	}
	if p := places[65_535]; p.Frame != 2 || p.Index != 0 || p.Number != 65_535 {
		t.Errorf("place of the first of frame 2 = %+v", p)
	}
	f, err := l.At(t.Context(), 1)
	if err != nil || len(f.Records) != 65_535 {
		t.Errorf("frame 1: %d records, %v", len(f.Records), err)
	}
}

func TestFramesAimAtTheirSize(t *testing.T) {
	l := memoryLog(t, Options{})
	recs := make([]Record, 2000)
	for i := range recs {
		recs[i] = Record{Key: "key", Data: make([]byte, 1000)}
	}
	places := mustAppend(t, l, recs...)
	b, _ := l.Bounds(t.Context())
	if b.LastFrame != 4 {
		t.Errorf("%d frames for 2 MB, want 4", b.LastFrame)
	}
	for seq := uint64(1); seq < b.LastFrame; seq++ {
		f, err := l.At(t.Context(), seq)
		if err != nil {
			t.Fatal(err)
		}
		if bytes := len(f.Records) * 1003; bytes > 512<<10 || bytes < 500<<10 {
			t.Errorf("frame %d has %d bytes of records", seq, bytes)
		}
	}
	if p := places[1999]; p.Number != 1999 {
		t.Errorf("last place = %+v", p)
	}
}

func TestEndRefusesMore(t *testing.T) {
	srv := natsdtest.Memory(t)
	s := newSet(t, srv, Options{FrameBytes: 200})
	l := newLog(t, s, "a")
	var started []*Pending
	for i := range 20 {
		started = append(started, l.Start(records(i*5, 5)))
	}
	if err := l.End(t.Context()); err != nil {
		t.Fatal(err)
	}
	for _, p := range started { // all that was started before is stored before
		if _, err := p.Wait(t.Context()); err != nil {
			t.Fatalf("append before END: %v", err)
		}
	}
	if _, err := l.Append(t.Context(), records(100, 1)); !errors.Is(err, ErrClosed) {
		t.Errorf("append after END: %v, want ErrClosed", err)
	}
	if err := l.End(t.Context()); err != nil {
		t.Errorf("END again: %v", err)
	}
	wantAll(t, l, 100)
	b, err := l.Bounds(t.Context())
	if err != nil || !b.Ended || b.NextNumber != 100 {
		t.Errorf("bounds = %+v, %v", b, err)
	}
	f, err := l.At(t.Context(), b.LastFrame)
	if err != nil || !f.End || f.First != 100 || f.Next() != 100 || len(f.Records) != 0 {
		t.Errorf("END frame = %+v, %v", f, err)
	}
	if e, err := l.Find(t.Context(), 100, 0); err != nil || e != f {
		t.Errorf("number behind the last record: %+v, %v; want the END frame", e, err)
	}
	if _, err := l.Find(t.Context(), 101, 0); !errors.Is(err, ErrNotYet) {
		t.Errorf("number behind that: %v, want ErrNotYet", err)
	}
	// So it is for who opens it anew.
	l = openLog(t, newSet(t, srv, Options{}), "a")
	if _, err := l.Append(t.Context(), records(100, 1)); !errors.Is(err, ErrClosed) {
		t.Errorf("append after END and restart: %v, want ErrClosed", err)
	}
	if err := l.End(t.Context()); err != nil {
		t.Errorf("END after restart: %v", err)
	}
	if again, _ := l.Bounds(t.Context()); again.LastFrame != b.LastFrame {
		t.Errorf("a second END frame was written: %d, want %d", again.LastFrame, b.LastFrame)
	}
}

func TestWatchWakesAfterAnAppend(t *testing.T) {
	l := memoryLog(t, Options{})
	a, b := make(chan struct{}, 1), make(chan struct{}, 1)
	stopA, stopB := l.Watch(a), l.Watch(b)
	mustAppend(t, l, records(0, 1)...)
	<-a
	<-b
	stopA()
	stopA()
	mustAppend(t, l, records(1, 1)...)
	<-b
	stopB()
	select {
	case <-a:
		t.Error("woken after stop")
	default:
	}
	// Woken readers find what they were woken for.
	wake := make(chan struct{}, 1)
	defer l.Watch(wake)()
	go l.Append(context.Background(), records(2, 1))
	<-wake
	if f, err := l.At(t.Context(), 3); err != nil || len(f.Records) != 1 {
		t.Errorf("frame after wake-up: %v, %v", f, err)
	}
}

func TestRestartContinues(t *testing.T) {
	dir := t.TempDir()
	srv := natsdtest.Start(t, natsd.Options{Dir: dir})
	s := New(srv, Options{FrameBytes: 100})
	l := newLog(t, s, "a")
	future := time.Now().Add(time.Hour).UnixMilli() // a clock that was ahead
	recs := records(0, 50)
	recs[49].Arrival = future
	mustAppend(t, l, recs...)
	before, err := l.Bounds(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	if _, err := l.Append(t.Context(), records(0, 1)); !errors.Is(err, ErrUnavailable) {
		t.Errorf("append after close: %v, want ErrUnavailable", err)
	}
	natsdtest.Close(t, srv)

	srv = natsdtest.Start(t, natsd.Options{Dir: dir})
	s = newSet(t, srv, Options{})
	l = openLog(t, s, "a")
	if after, err := l.Bounds(t.Context()); err != nil || after != before {
		t.Errorf("bounds = %+v, %v; want %+v", after, err, before)
	}
	p := mustAppend(t, l, records(50, 1)...)[0]
	if p.Number != 50 || p.Frame != before.LastFrame+1 || p.Arrival != future {
		t.Errorf("place = %+v, want number 50, frame %d, arrival %d", p, before.LastFrame+1, future)
	}
	if b, _ := l.Bounds(t.Context()); b.Bytes != before.Bytes+2+3 {
		t.Errorf("bytes = %d, want %d", b.Bytes, before.Bytes+5)
	}
	if l.Epoch() != 77 {
		t.Errorf("epoch = %d", l.Epoch())
	}
	wantAll(t, l, 51)
}
