package log

import (
	"bytes"
	"context"
	"errors"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/wasmill/wasmill/internal/natsd"
	"github.com/wasmill/wasmill/internal/natsd/natsdtest"
)

// sent is one frame as it was handed to the wire.
type sent struct {
	data []byte
	last uint64
	from fence
}

// faults is the real wire with faults. It also watches over what holds in every
// history: one frame of a log is under way at a time, and its fence is right.
type faults struct {
	real    wire
	t       testing.TB
	onSend  func(n int, send func() error) error              // n counts from 0; nil: send
	onStore func(look func() ([]byte, error)) ([]byte, error) // nil: look

	mu     sync.Mutex
	sent   []sent
	flying bool
}

func inject(t testing.TB, l *Log) *faults {
	f := &faults{real: l.set.wire, t: t}
	l.set.wire = f
	return f
}

func (f *faults) publish(ctx context.Context, id string, data []byte, last uint64, from fence) error {
	f.mu.Lock()
	n := len(f.sent)
	f.sent = append(f.sent, sent{bytes.Clone(data), last, from})
	if f.flying {
		f.t.Error("two frames of a log under way")
	}
	f.flying = true
	f.mu.Unlock()
	defer func() {
		f.mu.Lock()
		f.flying = false
		f.mu.Unlock()
	}()
	if _, bad := decode(data, last+1); bad != nil {
		f.t.Errorf("frame sent with fence %d: %v", last, bad)
	}
	send := func() error { return f.real.publish(ctx, id, data, last, from) }
	if f.onSend == nil {
		return send()
	}
	return f.onSend(n, send)
}

func (f *faults) stored(ctx context.Context, id string, seq uint64) ([]byte, error) {
	look := func() ([]byte, error) { return f.real.stored(ctx, id, seq) }
	if f.onStore == nil {
		return look()
	}
	return f.onStore(look)
}

var errTimeout = context.DeadlineExceeded

func TestLostAcknowledgementIsSettled(t *testing.T) {
	l := memoryLog(t, Options{})
	f := inject(t, l)
	f.onSend = func(n int, send func() error) error {
		err := send()
		if n == 1 {
			return errTimeout
		}
		return err
	}
	for i := range 3 {
		if p := mustAppend(t, l, records(i, 1)...)[0]; p.Number != uint64(i) || p.Frame != uint64(i+1) {
			t.Errorf("place %d = %+v", i, p)
		}
	}
	if len(f.sent) != 3 {
		t.Errorf("%d frames sent, want 3: the one whose answer was lost is there", len(f.sent))
	}
	wantAll(t, l, 3)
}

func TestLostFrameIsSentAgainUnchanged(t *testing.T) {
	l := memoryLog(t, Options{})
	f := inject(t, l)
	f.onSend = func(n int, send func() error) error {
		if n < 3 {
			return errTimeout
		}
		return send()
	}
	mustAppend(t, l, records(0, 2)...)
	mustAppend(t, l, records(2, 2)...)
	wantAll(t, l, 4)
	if len(f.sent) != 5 {
		t.Fatalf("%d frames sent, want 4 times the first, then the second", len(f.sent))
	}
	for _, s := range f.sent[1:4] {
		if s.last != 0 || !bytes.Equal(s.data, f.sent[0].data) {
			t.Error("the frame that was sent again has another attempt, fence or content")
		}
	}
	if bytes.Equal(f.sent[4].data[8:24], f.sent[0].data[8:24]) {
		t.Error("two frames have the same attempt id")
	}
}

func TestLateCopyIsRecognised(t *testing.T) {
	for name, early := range map[string]bool{"before the second": true, "after the second": false} {
		t.Run(name, func(t *testing.T) {
			l := memoryLog(t, Options{})
			f := inject(t, l)
			var late func() error
			f.onSend = func(n int, send func() error) error {
				switch {
				case n == 0:
					late = send
					return errTimeout // it hangs somewhere, and the look-up does not find it
				case n == 1 && early:
					ctx := context.Background()
					if err := f.real.publish(ctx, l.id, f.sent[0].data, 0, fence{}); err != nil {
						t.Errorf("late copy: %v", err)
					}
					if err := send(); !errors.Is(err, errRefused) {
						t.Errorf("second copy: %v, want refused", err)
						return err
					}
					return errRefused
				}
				return send()
			}
			mustAppend(t, l, records(0, 2)...)
			if late != nil && !early {
				if err := f.real.publish(t.Context(), l.id, f.sent[0].data, 0, fence{}); !errors.Is(err, errRefused) {
					t.Errorf("late copy: %v, want refused", err)
				}
			}
			mustAppend(t, l, records(2, 2)...)
			wantAll(t, l, 4)
		})
	}
}

func TestAnotherWriterRefusesUs(t *testing.T) {
	srv := natsdtest.Memory(t)
	l := newLog(t, newSet(t, srv, Options{}), "a")
	other := openLog(t, newSet(t, srv, Options{}), "a")
	mustAppend(t, l, records(0, 2)...)
	mustAppend(t, other, records(2, 3)...)

	places, err := l.Append(t.Context(), records(900, 1))
	if !errors.Is(err, ErrUnavailable) || len(places) != 0 {
		t.Fatalf("append = %v, %v; want ErrUnavailable", places, err)
	}
	// Nothing of it is stored, and the next goes behind the other's.
	if p := mustAppend(t, l, records(5, 1)...)[0]; p.Number != 5 || p.Frame != 3 {
		t.Errorf("place = %+v, want number 5, frame 3", p)
	}
	wantAll(t, l, 6)
	// An END of the other closes it for us too.
	if err := openLog(t, newSet(t, srv, Options{}), "a").End(t.Context()); err != nil {
		t.Fatal(err)
	}
	if _, err := l.Append(t.Context(), records(6, 1)); !errors.Is(err, ErrUnavailable) {
		t.Errorf("append after another's END: %v, want ErrUnavailable", err)
	}
	if _, err := l.Append(t.Context(), records(6, 1)); !errors.Is(err, ErrClosed) {
		t.Errorf("append again: %v, want ErrClosed", err)
	}
}

func TestRefusedByTheStoreIsNotStored(t *testing.T) {
	l := memoryLog(t, Options{})
	f := inject(t, l)
	f.onSend = func(n int, send func() error) error {
		if n == 1 {
			return &storeError{10077, "no space left on device"}
		}
		return send()
	}
	mustAppend(t, l, records(0, 1)...)
	if places, err := l.Append(t.Context(), records(900, 1)); !errors.Is(err, ErrUnavailable) || len(places) != 0 {
		t.Errorf("append = %v, %v; want ErrUnavailable", places, err)
	}
	mustAppend(t, l, records(1, 1)...)
	wantAll(t, l, 2)
}

func TestRefusedInTheMiddleTellsWhatIsStored(t *testing.T) {
	l := memoryLog(t, Options{FrameBytes: 100})
	f := inject(t, l)
	f.onSend = func(n int, send func() error) error {
		if n == 2 {
			return &storeError{10077, "no space left on device"}
		}
		return send()
	}
	places, err := l.Append(t.Context(), records(0, 50))
	if !errors.Is(err, ErrUnavailable) {
		t.Fatalf("append: %v, want ErrUnavailable", err)
	}
	if len(f.sent) != 3 {
		t.Errorf("%d frames sent, want no more after the one that was refused", len(f.sent))
	}
	wantAll(t, l, len(places))
	if len(places) == 0 || places[len(places)-1].Frame != 2 {
		t.Errorf("places = %+v, want those of two frames", places)
	}
	mustAppend(t, l, records(len(places), 50-len(places))...)
	wantAll(t, l, 50)
}

func TestAppendsAreRefusedWhileAFateIsUnknown(t *testing.T) {
	l := memoryLog(t, Options{})
	mustAppend(t, l, records(0, 1)...)
	f := inject(t, l)
	lost, found := make(chan struct{}), make(chan struct{})
	var waiting *Pending
	f.onSend = func(n int, send func() error) error {
		if n > 0 {
			return send()
		}
		waiting = l.Start(records(900, 1)) // collects behind the frame under way
		send()
		return errTimeout
	}
	f.onStore = func(look func() ([]byte, error)) ([]byte, error) {
		close(lost)
		<-found
		return look()
	}
	p := l.Start(records(1, 1))
	<-lost
	if _, err := waiting.Wait(t.Context()); !errors.Is(err, ErrUnavailable) {
		t.Errorf("append that waited: %v, want ErrUnavailable", err)
	}
	if _, err := l.Append(t.Context(), records(901, 1)); !errors.Is(err, ErrUnavailable) {
		t.Errorf("append meanwhile: %v, want ErrUnavailable", err)
	}
	select {
	case <-p.done:
		t.Error("answered before its fate was known")
	default:
	}
	close(found)
	if _, err := p.Wait(t.Context()); err != nil {
		t.Errorf("append: %v", err)
	}
	mustAppend(t, l, records(2, 1)...)
	wantAll(t, l, 3)
}

func TestLookUpGoesOnUntilAnswered(t *testing.T) {
	l := memoryLog(t, Options{})
	f := inject(t, l)
	f.onSend = func(n int, send func() error) error {
		if n == 0 {
			send()
			return errTimeout
		}
		return send()
	}
	tries := 0
	f.onStore = func(look func() ([]byte, error)) ([]byte, error) {
		if tries++; tries < 4 {
			return nil, errTimeout
		}
		return look()
	}
	mustAppend(t, l, records(0, 1)...)
	if tries != 4 || len(f.sent) != 1 {
		t.Errorf("%d look-ups, %d frames sent; want 4 and 1", tries, len(f.sent))
	}
	mustAppend(t, l, records(1, 1)...)
	wantAll(t, l, 2)
}

func TestClosedBeforeAFateIsKnown(t *testing.T) {
	s := New(natsdtest.Memory(t), Options{})
	l := newLog(t, s, "a")
	f := inject(t, l)
	looking := make(chan struct{}, 100)
	f.onSend = func(int, func() error) error { return errTimeout }
	f.onStore = func(func() ([]byte, error)) ([]byte, error) {
		looking <- struct{}{}
		return nil, errTimeout
	}
	p := l.Start(records(0, 1))
	<-looking
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := s.Close(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("close: %v, want the context's error", err)
	}
	if _, err := p.Wait(t.Context()); !errors.Is(err, ErrUnknown) {
		t.Errorf("append: %v, want ErrUnknown", err)
	}
}

func TestCloseSettlesWhatIsUnderWay(t *testing.T) {
	srv := natsdtest.Memory(t)
	s := New(srv, Options{FrameBytes: 100})
	l := newLog(t, s, "a")
	var started []*Pending
	for i := range 20 {
		started = append(started, l.Start(records(i*5, 5)))
	}
	if err := s.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	for _, p := range started {
		select {
		case <-p.done:
			if p.err != nil {
				t.Errorf("append: %v", p.err)
			}
		default:
			t.Error("close returned before an append was settled")
		}
	}
	wantAll(t, openLog(t, newSet(t, srv, Options{}), "a"), 100)
}

func TestPutsCollectWhileAFrameIsAcknowledged(t *testing.T) {
	l := memoryLog(t, Options{})
	f := inject(t, l)
	var started []*Pending
	f.onSend = func(n int, send func() error) error {
		if n == 0 {
			for i := range 30 {
				started = append(started, l.Start(records(1+i, 1)))
			}
		}
		return send()
	}
	mustAppend(t, l, records(0, 1)...)
	for _, p := range started {
		places, err := p.Wait(t.Context())
		if err != nil || places[0].Frame != 2 {
			t.Errorf("append = %+v, %v; want frame 2", places, err)
		}
	}
	if len(f.sent) != 2 {
		t.Errorf("%d frames sent, want 2", len(f.sent))
	}
	wantAll(t, l, 31)
}

func TestReserveIsAnsweredAtOnce(t *testing.T) {
	srv := natsdtest.Start(t, natsd.Options{Dir: t.TempDir(), Reserve: 1 << 60})
	l := newLog(t, newSet(t, srv, Options{}), "a")
	p := l.Start(records(0, 1))
	select {
	case <-p.done:
	default:
		t.Error("not answered at once")
	}
	if _, err := p.Wait(t.Context()); !errors.Is(err, ErrUnavailable) || !errors.Is(err, natsd.ErrReserve) {
		t.Errorf("append: %v, want ErrUnavailable and the reserve", err)
	}
	if err := l.End(t.Context()); err != nil {
		t.Errorf("END: %v; it takes no room to speak of", err)
	}
}

func TestTooMuchWaitingIsRefused(t *testing.T) {
	l := memoryLog(t, Options{})
	f := inject(t, l)
	var refused *Pending
	var started []*Pending
	f.onSend = func(n int, send func() error) error {
		if n == 0 {
			data := make([]byte, 16<<20) // shared by all
			for range 15 {
				started = append(started, l.Start([]Record{{Data: data}}))
			}
			refused = l.Start([]Record{{Data: data}})
		}
		return send()
	}
	mustAppend(t, l, Record{Data: make([]byte, 1<<20)})
	if _, err := refused.Wait(t.Context()); !errors.Is(err, ErrUnavailable) {
		t.Errorf("append behind 240 MiB: %v, want ErrUnavailable", err)
	}
	for _, p := range started {
		if _, err := p.Wait(t.Context()); err != nil {
			t.Errorf("append: %v", err)
		}
	}
	if left := l.set.waiting.Load(); left != 0 {
		t.Errorf("%d bytes counted as waiting when nothing does", left)
	}
}

func TestWaitEndsWithItsContext(t *testing.T) {
	l := memoryLog(t, Options{})
	f := inject(t, l)
	hold := make(chan struct{})
	f.onSend = func(n int, send func() error) error {
		<-hold
		return send()
	}
	p := l.Start(records(0, 1))
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := p.Wait(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("wait: %v", err)
	}
	close(hold)
	if _, err := p.Wait(t.Context()); err != nil {
		t.Errorf("wait again: %v", err)
	}
}

func TestAppenderEndsWhenIdle(t *testing.T) {
	l := memoryLog(t, Options{})
	mustAppend(t, l, records(0, 1)...)
	l.set.wg.Wait() // returns: no goroutine is left
	l.mu.Lock()
	running := l.running
	l.mu.Unlock()
	if running {
		t.Error("the appender lives with nothing to write")
	}
	mustAppend(t, l, records(1, 1)...)
}

func TestAcknowledgementIsWaitedForNotForEver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		srv := natsdtest.Memory(t)
		s := New(srv, Options{})
		defer s.Close(t.Context())
		l := newLog(t, s, "a")
		first := mustAppend(t, l, records(0, 1)...)[0]
		if now := time.Now().UnixMilli(); first.Arrival != now {
			t.Errorf("arrival %d, want %d", first.Arrival, now)
		}
		f := &faults{real: s.wire, t: t}
		s.wire = silent{f}
		start := time.Now()
		time.Sleep(time.Hour)
		p := mustAppend(t, l, records(1, 1)...)[0]
		if waited := time.Since(start) - time.Hour; waited < time.Second || waited > time.Minute {
			t.Errorf("gave up waiting for the acknowledgement after %v", waited)
		}
		if p.Arrival != first.Arrival+time.Hour.Milliseconds() {
			t.Errorf("arrival %d, want an hour after %d", p.Arrival, first.Arrival)
		}
		wantAll(t, l, 2)
	})
}

// silent loses the first frame: no answer comes until the context ends.
type silent struct{ *faults }

func (s silent) publish(ctx context.Context, id string, data []byte, last uint64, from fence) error {
	s.mu.Lock()
	n := len(s.sent)
	s.sent = append(s.sent, sent{data, last, from})
	s.mu.Unlock()
	if n == 0 {
		<-ctx.Done()
		return context.Cause(ctx)
	}
	return s.real.publish(ctx, id, data, last, from)
}
