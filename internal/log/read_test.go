package log

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"testing"

	"github.com/nats-io/nats.go"

	"github.com/wasmill/wasmill/internal/natsd"
	"github.com/wasmill/wasmill/internal/natsd/natsdtest"
)

// requests is how many direct gets a set has made.
func requests(s *Set) int {
	g := &s.nats.read
	g.mu.Lock()
	defer g.mu.Unlock()
	return int(g.number)
}

// reopened is the log seen by a set that has nothing cached.
func reopened(t testing.TB, srv *natsd.Server, id string, o Options) *Log {
	t.Helper()
	return openLog(t, newSet(t, srv, o), id)
}

func TestWrittenFramesAreNotReadFromDisk(t *testing.T) {
	l := memoryLog(t, Options{FrameBytes: 100})
	mustAppend(t, l, records(0, 1)...)
	before := requests(l.set)
	mustAppend(t, l, records(1, 99)...)
	wantAll(t, l, 100)
	if n := requests(l.set) - before; n != 0 {
		t.Errorf("%d reads from disk of what was just written", n)
	}
}

func TestReadersShareOneRead(t *testing.T) {
	srv := natsdtest.Memory(t)
	l := newLog(t, newSet(t, srv, Options{}), "a")
	mustAppend(t, l, records(0, 5)...)
	mustAppend(t, l, records(5, 5)...)
	mustAppend(t, l, Record{Data: make([]byte, 1<<20)})

	l = reopened(t, srv, "a", Options{})
	if _, err := l.Bounds(t.Context()); err != nil {
		t.Fatal(err)
	}
	l.set.cache.drop(l.key, ^uint64(0))
	before := requests(l.set)
	var wg sync.WaitGroup
	frames := make([]*Frame, 50)
	for i := range frames {
		wg.Go(func() {
			f, err := l.At(t.Context(), 2)
			if err != nil {
				t.Error(err)
			}
			frames[i] = f
		})
	}
	wg.Wait()
	for _, f := range frames {
		if f != frames[0] {
			t.Fatal("readers got different frames")
		}
	}
	if n := requests(l.set) - before; n != 1 {
		t.Errorf("%d reads for one frame wanted by 50, want 1", n)
	}
}

func TestSmallFramesAreReadManyAtATime(t *testing.T) {
	srv := natsdtest.Memory(t)
	l := newLog(t, newSet(t, srv, Options{FrameBytes: 1}), "a")
	mustAppend(t, l, records(0, 600)...)
	l = reopened(t, srv, "a", Options{})
	wantAll(t, l, 600)
	if n := requests(l.set); n > 6 {
		t.Errorf("%d reads for 600 small frames", n)
	}
}

func TestAtMostTwoLargeFramesAreReadAhead(t *testing.T) {
	srv := natsdtest.Memory(t)
	l := newLog(t, newSet(t, srv, Options{}), "a")
	recs := make([]Record, 10)
	for i := range recs {
		recs[i] = Record{Data: make([]byte, 400<<10)}
	}
	mustAppend(t, l, recs...)
	l = reopened(t, srv, "a", Options{})
	if _, err := l.Bounds(t.Context()); err != nil {
		t.Fatal(err)
	}
	l.set.cache.drop(l.key, ^uint64(0))
	if _, err := l.At(t.Context(), 3); err != nil {
		t.Fatal(err)
	}
	l.set.wg.Wait() // the reading ahead
	for seq := uint64(1); seq <= 10; seq++ {
		// One request brings 3 and 4, the one ahead 5 and 6.
		if want := seq >= 3 && seq <= 4; l.set.cache.has(l.key, seq) != want {
			t.Errorf("frame %d cached: %v, want %v", seq, !want, want)
		}
	}
	if _, err := l.At(t.Context(), 4); err != nil {
		t.Fatal(err)
	}
	l.set.wg.Wait()
	for seq := uint64(5); seq <= 10; seq++ {
		if want := seq <= 6; l.set.cache.has(l.key, seq) != want {
			t.Errorf("after frame 4: frame %d cached: %v, want %v", seq, !want, want)
		}
	}
}

func TestAReaderThatGivesUpLeavesTheOthersTheirRead(t *testing.T) {
	srv := natsdtest.Memory(t)
	l := newLog(t, newSet(t, srv, Options{}), "a")
	mustAppend(t, l, records(0, 5)...)
	l = reopened(t, srv, "a", Options{})
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := l.At(ctx, 1); err == nil {
		t.Error("read with an ended context")
	}
	if f, err := l.At(t.Context(), 1); err != nil || len(f.Records) != 5 {
		t.Errorf("frame 1: %v, %v", f, err)
	}
}

// damaged writes a log of 8 frames of 10 records, some of which are not as they
// should be, and opens it anew.
func damaged(t testing.TB, spoil map[uint64]func(buf []byte) []byte) *Log {
	t.Helper()
	srv := natsdtest.Memory(t)
	s := newSet(t, srv, Options{})
	if err := s.Create(t.Context(), "a", 77); err != nil {
		t.Fatal(err)
	}
	writeFrames(t, srv, 1, 8, 0, spoil)
	return openLog(t, s, "a")
}

// writeFrames publishes frames as an appender would, but for what spoil does. The
// records of frame n arrive from n*1000 on. A nil result removes the frame.
func writeFrames(t testing.TB, srv *natsd.Server, from, to, first uint64, spoil map[uint64]func(buf []byte) []byte) {
	t.Helper()
	bytes := first * 3
	for seq := from; seq <= to; seq++ {
		recs := records(int(first), 10)
		for i := range recs {
			recs[i].Key, recs[i].Data = "k", fmt.Appendf(nil, "r%d", first+uint64(i))
			recs[i].Arrival = int64(seq)*1000 + int64(i)
		}
		h := head{epoch: 77, seq: seq, first: first, before: bytes}
		f, buf := encode(h, 0, recs...)
		first, bytes = f.Next(), bytes+f.head.size
		remove := false
		if damage := spoil[seq]; damage != nil {
			if buf = damage(buf); buf == nil {
				buf, remove = []byte("to be removed"), true
			}
		}
		msg := &nats.Msg{Subject: dataSubject("a"), Data: buf}
		if ack, err := srv.JS().PublishMsg(t.Context(), msg); err != nil || ack.Sequence != seq {
			t.Fatalf("publish frame %d: %+v, %v", seq, ack, err)
		}
		if remove {
			stream, err := srv.JS().Stream(t.Context(), streamName("a"))
			if err != nil {
				t.Fatal(err)
			}
			if err := stream.DeleteMsg(t.Context(), seq); err != nil {
				t.Fatal(err)
			}
		}
	}
}

func flipBody(buf []byte) []byte { buf[len(buf)-3] ^= 1; return buf }
func flipHead(buf []byte) []byte { buf[30] ^= 1; return buf }
func garbage([]byte) []byte      { return []byte("garbage") }
func missing([]byte) []byte      { return nil }

func TestCorruptFrameIsSkippedExactly(t *testing.T) {
	type bad = map[uint64]func([]byte) []byte
	tests := []struct {
		name  string
		spoil bad
		// of each damaged frame: first lost number, frame to go on at, its number
		want map[uint64]CorruptError
	}{
		{"data", bad{3: flipBody}, map[uint64]CorruptError{3: {First: 20, NextFrame: 4, NextNumber: 30}}},
		{"head", bad{3: flipHead}, map[uint64]CorruptError{3: {First: 20, NextFrame: 4, NextNumber: 30}}},
		{"garbage", bad{3: garbage}, map[uint64]CorruptError{3: {First: 20, NextFrame: 4, NextNumber: 30}}},
		{"missing", bad{3: missing}, map[uint64]CorruptError{3: {First: 20, NextFrame: 4, NextNumber: 30}}},
		{"first frame", bad{1: garbage}, map[uint64]CorruptError{1: {First: 0, NextFrame: 2, NextNumber: 10}}},
		{"a run is skipped at once", bad{3: garbage, 4: missing, 5: flipHead}, map[uint64]CorruptError{
			3: {First: 20, NextFrame: 6, NextNumber: 50}, 4: {First: 20, NextFrame: 6, NextNumber: 50}, 5: {First: 20, NextFrame: 6, NextNumber: 50}}},
		{"a run of damaged data", bad{3: flipBody, 4: flipBody}, map[uint64]CorruptError{
			3: {First: 20, NextFrame: 4, NextNumber: 30}, 4: {First: 30, NextFrame: 5, NextNumber: 40}}},
		{"newest, data", bad{8: flipBody}, map[uint64]CorruptError{8: {First: 70, NextFrame: 9, NextNumber: 80}}},
		// How many records it had cannot be known: numbers go on as if it was full.
		{"newest, head", bad{8: garbage}, map[uint64]CorruptError{8: {First: 70, NextFrame: 9, NextNumber: 70 + 65_535}}},
		{"newest two", bad{7: garbage, 8: missing}, map[uint64]CorruptError{
			7: {First: 60, NextFrame: 9, NextNumber: 60 + 65_535}, 8: {First: 60, NextFrame: 9, NextNumber: 60 + 65_535}}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			l := damaged(t, tt.spoil)
			// Read on behind each error: all whole frames, and a gap for the rest.
			seen, number := map[uint64]bool{}, uint64(0)
			for seq := uint64(1); ; {
				f, err := l.At(t.Context(), seq)
				if errors.Is(err, ErrNotYet) {
					break
				}
				if c, ok := errors.AsType[*CorruptError](err); ok {
					want := tt.want[seq]
					want.Log, want.Seq, want.Epoch, want.Reason = "a", seq, 77, c.Reason
					if *c != want || c.Reason == "" {
						t.Fatalf("frame %d: %+v, want %+v", seq, *c, want)
					}
					if c.First != number {
						t.Errorf("frame %d: gap from %d, read up to %d", seq, c.First, number)
					}
					seq, number = c.NextFrame, c.NextNumber
					continue
				}
				if err != nil {
					t.Fatal(err)
				}
				if f.First != number || tt.want[seq] != (CorruptError{}) {
					t.Errorf("frame %d begins with %d, want %d", seq, f.First, number)
				}
				seen[seq] = true
				seq, number = seq+1, f.Next()
			}
			if len(seen)+len(tt.spoil) != 8 {
				t.Errorf("read frames %v", seen)
			}
			// At names each damaged frame, from wherever one comes.
			for seq, want := range tt.want {
				_, err := l.At(t.Context(), seq)
				c, ok := errors.AsType[*CorruptError](err)
				if !ok || c.NextNumber != want.NextNumber || c.First != want.First {
					t.Errorf("frame %d: %v, %+v", seq, err, c)
				}
			}
			// Find and Since name it for every record that was in it.
			b, err := l.Bounds(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			for number := range uint64(80) {
				frame := number/10 + 1
				lost := tt.spoil[frame] != nil
				for _, hint := range []uint64{0, 1, frame, 8} {
					f, err := l.Find(t.Context(), number, hint)
					_, corrupt := errors.AsType[*CorruptError](err)
					if lost != corrupt || !lost && (err != nil || f.Seq != frame) {
						t.Fatalf("find %d with hint %d: %v, %v", number, hint, f, err)
					}
				}
				f, i, err := l.Since(t.Context(), int64(frame)*1000+int64(number%10))
				_, corrupt := errors.AsType[*CorruptError](err)
				switch {
				case int64(frame)*1000+int64(number%10) > b.LastArrival:
					if !errors.Is(err, ErrNotYet) {
						t.Fatalf("since record %d, behind the last whole one: %v", number, err)
					}
				case corrupt && number%10 == 0 && tt.spoil[frame-1] != nil:
					// A damaged frame may have ended with the same arrival.
				case lost != corrupt || !lost && (err != nil || f.Seq != frame || i != int(number%10)):
					t.Fatalf("since record %d: %v, %d, %v", number, f, i, err)
				}
			}
			// Appending goes on behind it and gives no number twice.
			if p := mustAppend(t, l, records(0, 1)...)[0]; p.Frame != 9 || p.Number != number {
				t.Errorf("append behind damage: %+v, want frame 9, number %d", p, number)
			}
		})
	}
}

// TestFailedWriteLeavesAnEmptyFrame: a write that failed may have used up its
// sequence. Nothing is lost there, and no reader shall stop.
func TestFailedWriteLeavesAnEmptyFrame(t *testing.T) {
	remove := func(t *testing.T, s *Set, seq uint64) {
		js := s.srv.JS()
		if ack, err := js.Publish(t.Context(), dataSubject("a"), nil); err != nil || ack.Sequence != seq {
			t.Fatalf("publish: %+v, %v; want sequence %d", ack, err, seq)
		}
		stream, err := js.Stream(t.Context(), streamName("a"))
		if err != nil {
			t.Fatal(err)
		}
		if err := stream.DeleteMsg(t.Context(), seq); err != nil {
			t.Fatal(err)
		}
	}
	for _, restart := range []bool{false, true} {
		for _, after := range []int{0, 5} {
			t.Run(fmt.Sprintf("restart %v after %d records", restart, after), func(t *testing.T) {
				srv := natsdtest.Memory(t)
				l := newLog(t, newSet(t, srv, Options{}), "a")
				empty := uint64(1)
				if after > 0 {
					mustAppend(t, l, records(0, after)...)
					empty = 2
				}
				f := inject(t, l)
				f.onSend = func(n int, send func() error) error {
					if n == 0 {
						remove(t, l.set, empty)
						return errTimeout
					}
					return send()
				}
				if _, err := l.Append(t.Context(), records(900, 1)); !errors.Is(err, ErrUnavailable) {
					t.Fatalf("append: %v, want ErrUnavailable", err)
				}
				if restart {
					l = reopened(t, srv, "a", Options{})
				}
				check := func(l *Log, count int) {
					t.Helper()
					wantAll(t, l, count)
					f, err := l.At(t.Context(), empty)
					if tr, ok := errors.AsType[*TrimmedError](err); after == 0 && ok && *tr == (TrimmedError{2, 0}) {
						// Nor is anything lost if the log begins behind it.
					} else if err != nil || len(f.Records) != 0 || f.End || f.First != uint64(after) || f.Next() != uint64(after) {
						t.Errorf("empty frame: %+v, %v", f, err)
					}
					for number := range uint64(count) {
						for hint := range uint64(4) {
							f, err := l.Find(t.Context(), number, hint)
							if err != nil || number < f.First || number >= f.Next() {
								t.Errorf("find %d: %+v, %v", number, f, err)
							}
						}
					}
					if count > 0 {
						if f, i, err := l.Since(t.Context(), 0); err != nil || f.First != 0 || i != 0 {
							t.Errorf("since the beginning: %+v, %d, %v", f, i, err)
						}
					}
				}
				check(l, after)
				if p := mustAppend(t, l, records(after, 3)...)[0]; p.Number != uint64(after) || p.Frame != empty+1 {
					t.Errorf("place = %+v, want number %d, frame %d", p, after, empty+1)
				}
				mustAppend(t, l, records(after+3, 1)...)
				check(l, after+4)
				l = reopened(t, srv, "a", Options{})
				check(l, after+4)
				if err := l.Trim(t.Context(), 1<<60, empty+1); err != nil {
					t.Fatal(err)
				}
				b, err := l.Bounds(t.Context())
				if err != nil || b.FirstFrame != empty+1 || b.FirstNumber != uint64(after) {
					t.Errorf("bounds = %+v, %v", b, err)
				}
			})
		}
	}
}

func TestNumbersAreNotGivenTwiceAfterTrimmingToADamagedEnd(t *testing.T) {
	l := damaged(t, map[uint64]func([]byte) []byte{7: garbage, 8: missing})
	before, err := l.Bounds(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if err := l.Trim(t.Context(), 1<<60, 0); err != nil {
		t.Fatal(err)
	}
	b, err := reopened(t, l.set.srv, "a", Options{}).Bounds(t.Context())
	if err != nil || b.NextNumber != before.NextNumber || b.NextNumber <= 80 || b.FirstFrame != 6 {
		t.Errorf("bounds after trim and restart = %+v, %v; want next number %d, first frame 6", b, err, before.NextNumber)
	}
}

func TestDamagedOldestFrame(t *testing.T) {
	l := damaged(t, map[uint64]func([]byte) []byte{1: garbage, 2: missing})
	b, err := l.Bounds(t.Context())
	if err != nil || b.FirstFrame != 1 || b.FirstNumber != 0 || b.NextNumber != 80 {
		t.Errorf("bounds = %+v, %v", b, err)
	}
	if err := l.Trim(t.Context(), 3000, 0); err != nil {
		t.Fatal(err)
	}
	if b, err := l.Bounds(t.Context()); err != nil || b.FirstFrame != 1 {
		t.Errorf("the damaged run was trimmed before the frame behind it: %+v, %v", b, err)
	}
	if err := l.Trim(t.Context(), 4000, 0); err != nil {
		t.Fatal(err)
	}
	if b, err := l.Bounds(t.Context()); err != nil || b.FirstFrame != 4 || b.FirstNumber != 30 {
		t.Errorf("bounds after trim = %+v, %v", b, err)
	}
}

func TestTrim(t *testing.T) {
	l := damaged(t, nil) // 8 frames; those of frame n arrived from n*1000 to n*1000+9
	steps := []struct {
		name   string
		before int64
		keep   uint64
		first  uint64 // frame
	}{
		{"nothing is old enough", 1000, 0, 1},
		{"a frame with one young record stays", 1009, 0, 1},
		{"its newest record is old enough", 1010, 0, 2},
		{"between two frames", 3500, 0, 4},
		{"never past the mark", 7500, 5, 5},
		{"the mark itself is behind", 7500, 3, 5},
		{"never backwards", 1000, 0, 5},
		{"never the last frame", 1 << 60, 0, 8},
		{"nor again", 1 << 60, 8, 8},
	}
	for _, s := range steps {
		if err := l.Trim(t.Context(), s.before, s.keep); err != nil {
			t.Fatalf("%s: %v", s.name, err)
		}
		for _, l := range []*Log{l, reopened(t, l.set.srv, "a", Options{})} {
			b, err := l.Bounds(t.Context())
			want := Bounds{FirstFrame: s.first, FirstNumber: (s.first - 1) * 10, FirstArrival: int64(s.first) * 1000, LastFrame: 8, NextNumber: 80, LastArrival: 8009}
			want.Bytes = 0
			for n := want.FirstNumber; n < 80; n++ {
				want.Bytes += uint64(2 + len(strconv.FormatUint(n, 10)))
			}
			if err != nil || b != want {
				t.Errorf("%s: bounds = %+v, %v; want %+v", s.name, b, err, want)
			}
			for seq := uint64(0); seq <= 8; seq++ {
				f, err := l.At(t.Context(), seq)
				tr, trimmed := errors.AsType[*TrimmedError](err)
				if trimmed != (seq < s.first) || !trimmed && (err != nil || f.Seq != seq) {
					t.Errorf("%s: frame %d: %v, %v", s.name, seq, f, err)
				}
				if trimmed && *tr != (TrimmedError{s.first, want.FirstNumber}) {
					t.Errorf("%s: frame %d: %+v", s.name, seq, tr)
				}
			}
			if s.first > 1 {
				_, err := l.Find(t.Context(), want.FirstNumber-1, 0)
				if tr, ok := errors.AsType[*TrimmedError](err); !ok || *tr != (TrimmedError{s.first, want.FirstNumber}) {
					t.Errorf("%s: find what was trimmed: %v", s.name, err)
				}
			}
			if f, i, err := l.Since(t.Context(), 0); err != nil || f.Seq != s.first || i != 0 {
				t.Errorf("%s: since the beginning: %v, %d, %v", s.name, f, i, err)
			}
		}
	}
	// From the last frame the numbers go on, over a restart too.
	if p := mustAppend(t, reopened(t, l.set.srv, "a", Options{}), records(80, 1)...)[0]; p.Number != 80 || p.Frame != 9 {
		t.Errorf("place after trimming = %+v", p)
	}
}

func TestTrimKeepsTheEnd(t *testing.T) {
	l := memoryLog(t, Options{})
	mustAppend(t, l, records(0, 10)...)
	if err := l.End(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := l.Trim(t.Context(), 1<<60, 0); err != nil {
		t.Fatal(err)
	}
	for _, l := range []*Log{l, reopened(t, l.set.srv, "a", Options{})} {
		b, err := l.Bounds(t.Context())
		if err != nil || !b.Ended || b.FirstFrame != 2 || b.FirstNumber != 10 || b.Records() != 0 || b.Bytes != 0 {
			t.Errorf("bounds = %+v, %v", b, err)
		}
		if _, _, err := l.Since(t.Context(), 0); !errors.Is(err, ErrNotYet) {
			t.Errorf("since with only END kept: %v, want ErrNotYet", err)
		}
		if _, err := l.Append(t.Context(), records(0, 1)); !errors.Is(err, ErrClosed) {
			t.Errorf("append: %v, want ErrClosed", err)
		}
		if f, err := l.Find(t.Context(), 10, 1); err != nil || !f.End {
			t.Errorf("find the end: %v, %v", f, err)
		}
	}
}

func TestReaderIsNotHeldUpByTrimming(t *testing.T) {
	l := memoryLog(t, Options{FrameBytes: 100, CacheBytes: 1})
	mustAppend(t, l, records(0, 300)...)
	b, err := l.Bounds(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		for keep := uint64(2); keep <= b.LastFrame; keep++ {
			if err := l.Trim(context.Background(), 1<<60, keep); err != nil {
				t.Error(err)
			}
		}
	}()
	// A reader sees whole frames or is told that they are trimmed, never that
	// they are damaged.
	for seq := uint64(1); seq <= b.LastFrame; {
		f, err := l.At(t.Context(), seq)
		switch tr, ok := errors.AsType[*TrimmedError](err); {
		case ok:
			seq = tr.FirstFrame
		case err != nil:
			t.Fatalf("frame %d: %v", seq, err)
		case f.Seq != seq || !bytes.HasPrefix(f.Records[0].Data, []byte("r")):
			t.Fatalf("frame %d: %+v", seq, f)
		default:
			seq++
		}
	}
	<-done
}

func TestSearchingIsNotHeldUpByTrimming(t *testing.T) {
	l := memoryLog(t, Options{FrameBytes: 60, CacheBytes: 1})
	recs := records(0, 400)
	for i := range recs {
		recs[i].Arrival = int64(1 + i)
	}
	places := mustAppend(t, l, recs...)
	b, err := l.Bounds(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		for keep := uint64(2); keep < b.LastFrame-5; keep++ {
			if err := l.Trim(context.Background(), 1<<60, keep); err != nil {
				t.Error(err)
			}
		}
	}()
	// What is kept is found, whatever vanishes before it meanwhile.
	for i := 0; ; i++ {
		select {
		case <-done:
			return
		default:
		}
		number := uint64(390 + i%10)
		f, err := l.Find(t.Context(), number, uint64(i%3))
		if err != nil || f.Seq != places[number].Frame {
			t.Fatalf("find %d: %v, %v", number, f, err)
		}
		f, _, err = l.Since(t.Context(), int64(1+number))
		if err != nil || f.Seq != places[number].Frame {
			t.Fatalf("since record %d: %v, %v", number, f, err)
		}
		if _, err := l.Bounds(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
}

// TestBitFlippedOnDisk flips a bit in the file of a closed server: JetStream's own
// checksum hides such a message, which must not be taken for one that was never
// there.
func TestBitFlippedOnDisk(t *testing.T) {
	for flip, want := range map[uint64]CorruptError{
		3: {First: 20, NextFrame: 4, NextNumber: 30},
		5: {First: 40, NextFrame: 6, NextNumber: 40 + 65_535},
	} {
		t.Run(fmt.Sprint("frame ", flip), func(t *testing.T) {
			dir := t.TempDir()
			srv := natsdtest.Start(t, natsd.Options{Dir: dir})
			s := New(srv, Options{})
			l := newLog(t, s, "a")
			for i := range 5 {
				recs := records(i*10, 10)
				recs[5].Data = fmt.Appendf(nil, "here is frame %d", i+1)
				mustAppend(t, l, recs...)
			}
			if err := s.Close(t.Context()); err != nil {
				t.Fatal(err)
			}
			natsdtest.Close(t, srv)
			flipBit(t, dir, fmt.Appendf(nil, "here is frame %d", flip))

			l = reopened(t, natsdtest.Start(t, natsd.Options{Dir: dir}), "a", Options{})
			for seq := uint64(1); seq <= 5; seq++ {
				f, err := l.At(t.Context(), seq)
				c, corrupt := errors.AsType[*CorruptError](err)
				switch {
				case corrupt != (seq == flip) || !corrupt && (err != nil || len(f.Records) != 10):
					t.Errorf("frame %d: %v, %v", seq, f, err)
				case corrupt && (c.First != want.First || c.NextFrame != want.NextFrame || c.NextNumber != want.NextNumber || c.Log != "a"):
					t.Errorf("frame %d: %+v, want %+v", seq, c, want)
				}
			}
		})
	}
}

// flipBit flips a bit where that text is in a file below dir.
func flipBit(t *testing.T, dir string, text []byte) {
	t.Helper()
	flipped := 0
	err := filepath.WalkDir(dir, func(path string, d os.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		data, err := os.ReadFile(path)
		if at := bytes.Index(data, text); err == nil && at >= 0 {
			data[at] ^= 1
			flipped++
			err = os.WriteFile(path, data, 0o600)
		}
		return err
	})
	if err != nil || flipped != 1 {
		t.Fatalf("flipped %d bits: %v", flipped, err)
	}
}
