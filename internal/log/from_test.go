package log

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/wasmill/wasmill/internal/natsd"
	"github.com/wasmill/wasmill/internal/natsd/natsdtest"
)

const src = "0191-aa.1.shardId-000000000003"

// mustFrom appends records as a frame of src.
func mustFrom(t testing.TB, l *Log, m Mark, after uint64, recs ...Record) uint64 {
	t.Helper()
	frame, err := l.AppendFrom(t.Context(), src, m, after, recs)
	if err != nil {
		t.Fatalf("append of mark %s after %d: %v", m, after, err)
	}
	return frame
}

func wantFrom(t testing.TB, l *Log, source string, m Mark, frame uint64) {
	t.Helper()
	gotMark, gotFrame, err := l.LastFrom(t.Context(), source)
	if err != nil || gotMark != m || gotFrame != frame {
		t.Errorf("newest of %s = %s in frame %d, %v; want %s in frame %d", source, gotMark, gotFrame, err, m, frame)
	}
}

func TestFramesOfASourceAreDataToReaders(t *testing.T) {
	srv := natsdtest.Memory(t)
	l := newLog(t, newSet(t, srv, Options{}), "a")
	wantFrom(t, l, src, Mark{}, 0)
	mustAppend(t, l, records(0, 2)...)
	out := records(2, 2)
	out[0].ID, out[1].ID, out[1].Trace = "1f", "2f", "00-a-b-01"
	if f := mustFrom(t, l, Mark{7, 3}, 0, out...); f != 2 {
		t.Errorf("frame %d, want 2", f)
	}
	mustAppend(t, l, records(4, 1)...)
	mustFrom(t, l, Mark{7, 9}, 2, records(5, 1)...)
	wantFrom(t, l, src, Mark{7, 9}, 4)
	wantFrom(t, l, src+"1", Mark{}, 0)
	wantFrom(t, l, strings.TrimSuffix(src, ".shardId-000000000003"), Mark{}, 0)

	for _, l := range []*Log{l, reopened(t, srv, "a", Options{})} {
		wantAll(t, l, 6)
		f, err := l.At(t.Context(), 2)
		if err != nil || f.Mark != (Mark{7, 3}) || f.Records[0].ID != "1f" || f.Records[1].ID != "2f" || f.Records[1].Trace != "00-a-b-01" {
			t.Errorf("frame 2 = %+v, %v", f, err)
		}
		if f, err := l.At(t.Context(), 3); err != nil || f.Mark != (Mark{}) || f.Records[0].ID != "" {
			t.Errorf("frame 3 = %+v, %v", f, err)
		}
		wantFrom(t, l, src, Mark{7, 9}, 4)
		if all, err := l.LastFroms(t.Context()); err != nil || len(all) != 1 || all[src] != (From{Mark{7, 9}, 4}) {
			t.Errorf("all sources: %v, %v", all, err)
		}
	}
}

func TestAppendFromIsRefusedOnceTheSourceHasMovedOn(t *testing.T) {
	srv := natsdtest.Memory(t)
	l := newLog(t, newSet(t, srv, Options{}), "a")
	mustFrom(t, l, Mark{1, 0}, 0, records(0, 1)...)
	for _, after := range []uint64{0, 2, 99} {
		if _, err := l.AppendFrom(t.Context(), src, Mark{2, 0}, after, records(900, 1)); !errors.Is(err, ErrRefused) || errors.Is(err, ErrUnavailable) {
			t.Errorf("after frame %d: %v, want ErrRefused", after, err)
		}
	}
	wantFrom(t, l, src, Mark{1, 0}, 1)
	// Another source is none of its business.
	if f, err := l.AppendFrom(t.Context(), "other.1", Mark{1, 0}, 0, records(1, 1)); err != nil || f != 2 {
		t.Errorf("other source: frame %d, %v", f, err)
	}
	mustFrom(t, l, Mark{2, 0}, 1, records(2, 1)...)
	wantAll(t, l, 3)

	// What another process has stored is found when it refuses us, not before.
	other := reopened(t, srv, "a", Options{})
	mustFrom(t, other, Mark{3, 0}, 3, records(3, 1)...)
	if _, err := l.AppendFrom(t.Context(), src, Mark{3, 0}, 3, records(900, 1)); err == nil {
		t.Fatal("stored behind another's frame")
	}
	wantFrom(t, l, src, Mark{3, 0}, 4)
	if _, err := l.AppendFrom(t.Context(), src, Mark{3, 0}, 3, records(900, 1)); !errors.Is(err, ErrRefused) {
		t.Errorf("again: %v, want ErrRefused", err)
	}
	wantAll(t, reopened(t, srv, "a", Options{}), 4)
}

// Of both fences: a place that is not ours is no word about the source.
func TestAnotherWritersRecordsDoNotRefuseASource(t *testing.T) {
	srv := natsdtest.Memory(t)
	l := newLog(t, newSet(t, srv, Options{}), "a")
	mustFrom(t, l, Mark{1, 0}, 0, records(0, 1)...)
	mustAppend(t, reopened(t, srv, "a", Options{}), records(1, 1)...)
	if _, err := l.AppendFrom(t.Context(), src, Mark{2, 0}, 1, records(900, 1)); !errors.Is(err, ErrUnavailable) || errors.Is(err, ErrRefused) {
		t.Errorf("append at a place taken: %v, want ErrUnavailable", err)
	}
	mustFrom(t, l, Mark{2, 0}, 1, records(2, 1)...)
	wantFrom(t, l, src, Mark{2, 0}, 3)
	wantAll(t, l, 3)
	// Nor is a place that does not follow the log's end.
	l.set.wg.Wait() // the appender has ended: the next one looks again where that is
	l.mu.Lock()
	l.tail.last++
	l.mu.Unlock()
	if _, err := l.AppendFrom(t.Context(), src, Mark{3, 0}, 3, records(900, 1)); !errors.Is(err, ErrUnavailable) || errors.Is(err, ErrRefused) {
		t.Errorf("append behind a hole: %v, want ErrUnavailable", err)
	}
	mustFrom(t, l, Mark{3, 0}, 3, records(3, 1)...)
	wantAll(t, l, 4)
}

func TestAppendFromIsSettledLikeAnyFrame(t *testing.T) {
	// The second frame of the source meets each fault; then the writer, or one who
	// knows only what is on disk, tries the same again.
	faulty := map[string]func(f *faults, n int, send func() error) error{
		"answer lost": func(f *faults, n int, send func() error) error {
			err := send()
			if n == 0 {
				return errTimeout
			}
			return err
		},
		"frame lost thrice": func(f *faults, n int, send func() error) error {
			if n < 3 {
				return errTimeout
			}
			return send()
		},
		"late copy": func(f *faults, n int, send func() error) error {
			if n == 0 {
				return errTimeout // found absent, and stored only then
			}
			if n == 1 {
				if err := send(); err != nil {
					f.t.Errorf("late copy: %v", err)
				}
				if err := send(); !errors.Is(err, errRefused) {
					f.t.Errorf("second copy: %v, want refused", err)
				}
				return errRefused
			}
			return send()
		},
	}
	for name, onSend := range faulty {
		t.Run(name, func(t *testing.T) {
			srv := natsdtest.Memory(t)
			l := newLog(t, newSet(t, srv, Options{}), "a")
			mustFrom(t, l, Mark{1, 0}, 0, records(0, 1)...)
			f := inject(t, l)
			f.onSend = func(n int, send func() error) error { return onSend(f, n, send) }
			if frame := mustFrom(t, l, Mark{2, 0}, 1, records(1, 2)...); frame != 2 {
				t.Errorf("frame %d, want 2", frame)
			}
			for _, s := range f.sent[1:] {
				if s.last != f.sent[0].last || string(s.data) != string(f.sent[0].data) || s.from != f.sent[0].from {
					t.Error("the frame that was sent again has another attempt, fence or content")
				}
			}
			wantFrom(t, l, src, Mark{2, 0}, 2)
			wantFrom(t, reopened(t, srv, "a", Options{}), src, Mark{2, 0}, 2)
			if _, err := l.AppendFrom(t.Context(), src, Mark{2, 0}, 1, records(900, 2)); !errors.Is(err, ErrRefused) {
				t.Errorf("stored once more: %v, want ErrRefused", err)
			}
			mustAppend(t, l, records(3, 1)...)
			wantAll(t, l, 4)
		})
	}
}

func TestAppendFromThatTheStoreFailedIsNotStored(t *testing.T) {
	l := memoryLog(t, Options{})
	f := inject(t, l)
	f.onSend = func(n int, send func() error) error {
		if n == 0 {
			return &storeError{10077, "no space left on device"}
		}
		return send()
	}
	if _, err := l.AppendFrom(t.Context(), src, Mark{1, 0}, 0, records(900, 1)); !errors.Is(err, ErrUnavailable) {
		t.Errorf("append: %v, want ErrUnavailable", err)
	}
	mustFrom(t, l, Mark{1, 0}, 0, records(0, 1)...)
	wantAll(t, l, 1)
}

// A writer that gave up may not be told that nothing is there: what it has left
// under way may still be stored, and then it would give it out twice.
func TestLastFromWaitsForWhatIsUnderWay(t *testing.T) {
	l := memoryLog(t, Options{})
	wantFrom(t, l, src, Mark{}, 0)
	f := inject(t, l)
	sending, hold := make(chan struct{}), make(chan struct{})
	f.onSend = func(n int, send func() error) error {
		close(sending)
		<-hold
		return send()
	}
	ctx, cancel := context.WithCancel(t.Context())
	gaveUp := make(chan error)
	go func() {
		_, err := l.AppendFrom(ctx, src, Mark{5, 1}, 0, records(0, 1))
		gaveUp <- err
	}()
	<-sending
	cancel()
	if err := <-gaveUp; !errors.Is(err, context.Canceled) {
		t.Errorf("append: %v, want the context's error", err)
	}
	short, cancel := context.WithTimeout(t.Context(), time.Millisecond)
	defer cancel()
	if _, _, err := l.LastFrom(short, src); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("newest frame while one is under way: %v", err)
	}
	wantFrom(t, l, "another", Mark{}, 0)
	looked := make(chan struct{})
	go func() {
		defer close(looked)
		wantFrom(t, l, src, Mark{5, 1}, 1)
	}()
	close(hold)
	<-looked
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.sending) > 0 {
		t.Errorf("%d appends count as under way when none is", len(l.sending))
	}
}

func TestAppendFromKeepsItsPlaceInTheQueue(t *testing.T) {
	l := memoryLog(t, Options{})
	f := inject(t, l)
	var started []*Pending
	froms := make(chan error, 2)
	f.onSend = func(n int, send func() error) error {
		if n == 0 {
			queued := func() int {
				l.mu.Lock()
				defer l.mu.Unlock()
				return len(l.queue)
			}
			started = append(started, l.Start(records(1, 1)), l.Start(records(2, 1)))
			for i := range 2 {
				before := queued()
				go func() {
					_, err := l.AppendFrom(t.Context(), src, Mark{uint64(i + 1), 0}, uint64(3*i), records(3+3*i, 1))
					froms <- err
				}()
				for queued() == before {
					time.Sleep(time.Microsecond)
				}
				started = append(started, l.Start(records(4+3*i, 1)), l.Start(records(5+3*i, 1)))
			}
		}
		return send()
	}
	mustAppend(t, l, records(0, 1)...)
	for range 2 {
		if err := <-froms; err != nil {
			t.Error(err)
		}
	}
	for i, p := range started {
		places, err := p.Wait(t.Context())
		if want := uint64(2 + 2*(i/2)); err != nil || places[0].Frame != want {
			t.Errorf("append %d = %+v, %v; want frame %d", i, places, err, want)
		}
	}
	wantAll(t, l, 9)
	wantFrom(t, l, src, Mark{2, 0}, 5)
}

func TestWhatIsTrimmedIsNoNewestFrame(t *testing.T) {
	srv := natsdtest.Memory(t)
	l := newLog(t, newSet(t, srv, Options{}), "a")
	mustFrom(t, l, Mark{1, 0}, 0, Record{Arrival: 1000})
	mustAppend(t, l, Record{Arrival: 2000})
	other := reopened(t, srv, "a", Options{})
	if _, err := other.LastFroms(t.Context()); err != nil {
		t.Fatal(err)
	}
	if due, err := l.Due(t.Context(), 1500); err != nil || due != 2 {
		t.Errorf("due up to frame %d, %v; want 2", due, err)
	}
	if due, err := l.Due(t.Context(), 1000); err != nil || due != 0 {
		t.Errorf("due up to frame %d, %v; want nothing", due, err)
	}
	if err := l.Trim(t.Context(), 1500, 0); err != nil {
		t.Fatal(err)
	}
	wantFrom(t, l, src, Mark{}, 0)
	wantFrom(t, reopened(t, srv, "a", Options{}), src, Mark{}, 0)
	// Who looked before is refused, and then knows.
	if _, err := other.AppendFrom(t.Context(), src, Mark{2, 0}, 1, records(900, 1)); !errors.Is(err, ErrRefused) {
		t.Errorf("after a frame that is trimmed: %v, want ErrRefused", err)
	}
	wantFrom(t, other, src, Mark{}, 0)
	if _, err := other.AppendFrom(t.Context(), src, Mark{2, 0}, 0, records(0, 1)); err != nil {
		t.Error(err)
	}
}

func TestAClosedLogTakesNothingFromASource(t *testing.T) {
	l := memoryLog(t, Options{})
	mustFrom(t, l, Mark{1, 0}, 0, records(0, 1)...)
	if err := l.End(t.Context()); err != nil {
		t.Fatal(err)
	}
	if _, err := l.AppendFrom(t.Context(), src, Mark{2, 0}, 1, records(1, 1)); !errors.Is(err, ErrClosed) {
		t.Errorf("append: %v, want ErrClosed", err)
	}
	wantFrom(t, l, src, Mark{1, 0}, 1)
	if err := l.set.Delete(t.Context(), l.id); err != nil {
		t.Fatal(err)
	}
	if _, _, err := l.LastFrom(t.Context(), src); !errors.Is(err, ErrNotFound) {
		t.Errorf("newest frame in a deleted log: %v, want ErrNotFound", err)
	}
}

func TestAppendFromSaysWhatIsWrong(t *testing.T) {
	l := memoryLog(t, Options{})
	for _, source := range []string{"", "a b", "a..b", ".a", "a.", "*", ">", strings.Repeat("x", 201)} {
		if _, err := l.AppendFrom(t.Context(), source, Mark{1, 0}, 0, records(0, 1)); err == nil {
			t.Errorf("source %q was taken", source)
		}
	}
	if _, err := l.AppendFrom(t.Context(), src, Mark{}, 0, records(0, 1)); err == nil {
		t.Error("the zero mark was taken")
	}
	if _, err := l.AppendFrom(t.Context(), src, Mark{1, 0}, 0, nil); err == nil {
		t.Error("a frame without records was taken")
	}
	if _, err := l.AppendFrom(t.Context(), src, Mark{1, 0}, 0, make([]Record, 65_536)); !errors.Is(err, ErrTooLarge) {
		t.Errorf("65,536 records: %v", err)
	}
	if _, err := l.AppendFrom(t.Context(), src, Mark{1, 0}, 0, []Record{{Data: make([]byte, 16<<20)}, {Data: make([]byte, 16<<20)}}); !errors.Is(err, ErrTooLarge) {
		t.Errorf("32 MiB: %v", err)
	}
	if f := mustFrom(t, l, Mark{1, 0}, 0, make([]Record, 65_535)...); f != 1 {
		t.Errorf("65,535 records are frame %d, want one", f)
	}
}

func TestAMarkOutlivesDamageToItsRecords(t *testing.T) {
	h := goldenHead
	b := newBuilder(h, Mark{1 << 40, 77}, len(goldenRecords), 1000, 0)
	for i := range goldenRecords {
		b.add(&goldenRecords[i], 0)
	}
	f, buf := b.finish()
	d, bad := decode(buf, 7)
	if bad != nil || d.Mark != (Mark{1 << 40, 77}) || f.Mark != d.Mark {
		t.Fatalf("decoded %+v, %v", d, bad)
	}
	same(t, d, f)
	for i := range len(buf) * 8 {
		buf[i/8] ^= 1 << (i % 8)
		if _, bad := decode(buf, 7); bad == nil {
			t.Fatalf("bit %d flipped: not noticed", i)
		}
		m, seq, err := markOf(buf)
		if whole := i/8 >= headBytes+1+markBytes; whole != (err == nil) || whole && (m != f.Mark || seq != 7) {
			t.Fatalf("bit %d flipped: mark %s of frame %d, %v", i, m, seq, err)
		}
		buf[i/8] ^= 1 << (i % 8)
	}
	// A mark is good for its own frame only.
	h.attempt[3]++
	if _, err := frameMark(appendMark(nil, f.Mark, &goldenHead), &h); err == nil {
		t.Error("a mark was taken from another frame")
	}
}

func TestADamagedMarkIsAnErrorNotAPlace(t *testing.T) {
	srv := natsdtest.Memory(t)
	l := newLog(t, newSet(t, srv, Options{}), "a")
	f := inject(t, l)
	spoil := flipBody
	mustAppend(t, l, records(0, 1)...) // the sources' frames lie behind
	f.onSend = nil
	l.set.wire = spoiler{f, &spoil}
	store := func(source string) {
		t.Helper()
		if _, err := l.AppendFrom(t.Context(), source, Mark{4, 2}, 0, records(1, 1)); err != nil {
			t.Fatal(err)
		}
	}
	store("body")
	spoil = flipHead
	store("head")
	spoil = func(buf []byte) []byte { return buf }
	store("whole")

	l = reopened(t, srv, "a", Options{})
	wantFrom(t, l, "body", Mark{4, 2}, 2)
	if _, _, err := l.LastFrom(t.Context(), "head"); err == nil {
		t.Error("a mark was read from a damaged head")
	} else if _, ok := errors.AsType[*CorruptError](err); !ok {
		t.Errorf("damaged head: %v", err)
	}
	all, err := l.LastFroms(t.Context())
	// The damaged one may be anywhere.
	if want := map[string]From{"body": {Mark{4, 2}, 2}, "head": {Mark{}, 1}, "whole": {Mark{4, 2}, 4}}; err != nil || fmt.Sprint(all) != fmt.Sprint(want) {
		t.Errorf("all sources: %v, %v; want %v", all, err, want)
	}
}

// spoiler damages frames on their way.
type spoiler struct {
	*faults
	how *func([]byte) []byte
}

func (s spoiler) publish(ctx context.Context, id string, data []byte, last uint64, from fence) error {
	return s.real.publish(ctx, id, (*s.how)(slices.Clone(data)), last, from)
}

// Work that was taken has to be finished when nothing else is taken any more.
func TestWhatASourceGivesOutMayUseTheSecondReserve(t *testing.T) {
	srv := natsdtest.Start(t, natsd.Options{Memory: true, MaxMemory: 64 << 20, Reserve: 80 << 20})
	l := newLog(t, newSet(t, srv, Options{}), "a")
	if _, err := l.Append(t.Context(), records(900, 1)); !errors.Is(err, natsd.ErrReserve) {
		t.Fatalf("append into the reserve: %v", err)
	}
	mustFrom(t, l, Mark{1, 0}, 0, records(0, 1)...)
	wantAll(t, l, 1)
}

func TestManySourcesAreListed(t *testing.T) {
	srv := natsdtest.Memory(t)
	l := newLog(t, newSet(t, srv, Options{}), "a")
	const n = 300
	for i := range n {
		if _, err := l.AppendFrom(t.Context(), fmt.Sprint("m.1.", i), Mark{uint64(i + 1), 0}, 0, records(i, 1)); err != nil {
			t.Fatal(err)
		}
	}
	l = reopened(t, srv, "a", Options{})
	all, err := l.LastFroms(t.Context())
	if err != nil || len(all) != n {
		t.Fatalf("%d sources, %v; want %d", len(all), err, n)
	}
	for i := range n {
		if f := all[fmt.Sprint("m.1.", i)]; f != (From{Mark{uint64(i + 1), 0}, uint64(i + 1)}) {
			t.Errorf("source %d: %+v", i, f)
		}
	}
	before := requests(l.set)
	wantFrom(t, l, "m.1.7", Mark{8, 0}, 8)
	wantFrom(t, l, "m.2.7", Mark{}, 0)
	if made := requests(l.set) - before; made != 0 {
		t.Errorf("%d requests for what is known", made)
	}
}

// The one writer of a source goes on through failures of the store, sometimes
// giving up half way, and stores everything once and in order.
func TestASourceIsStoredOnceAcrossRestartsOfTheStore(t *testing.T) {
	srv := natsdtest.New(t)
	l := newLog(t, newSet(t, srv, Options{}), "a")
	stop := make(chan struct{})
	relayed := make(chan int)
	go func() {
		done := 0
		defer func() { relayed <- done }()
		for n := 0; ; n++ {
			m, frame, err := l.LastFrom(t.Context(), src)
			if err != nil {
				continue // away at the moment
			}
			done = int(m.Sequence)
			select {
			case <-stop:
				return
			default:
			}
			ctx, cancel := context.WithCancel(t.Context())
			if n%3 == 0 {
				cancel()
			}
			_, _ = l.AppendFrom(ctx, src, Mark{uint64(done + 1), 0}, frame, records(done, 1))
			cancel()
		}
	}()
	natsdtest.Failing(t, srv, 4, func(int) {
		_, _, _ = l.LastFrom(t.Context(), "another")
		time.Sleep(time.Millisecond)
	})
	close(stop)
	done := <-relayed
	if done == 0 {
		t.Error("nothing was stored")
	}
	wantAll(t, l, done)
	wantAll(t, reopened(t, srv, "a", Options{}), done)
}
