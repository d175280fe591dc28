package log

import (
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"hash/crc32"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/wasmill/wasmill/internal/natsd"
	"github.com/wasmill/wasmill/internal/natsd/natsdtest"
)

// MECHANISMS, Frames: only our trimmer deletes, so JetStream has no limit of its own.
func TestJetStreamDeletesNothingByItself(t *testing.T) {
	srv := natsdtest.New(t)
	newLog(t, newSet(t, srv, Options{}), "a")
	js, err := srv.JS().Stream(t.Context(), streamName("a"))
	if err != nil {
		t.Fatal(err)
	}
	c := js.CachedInfo().Config
	if c.MaxAge != 0 || c.MaxMsgs > 0 || c.MaxBytes > 0 || c.MaxMsgsPerSubject > 0 || c.Retention != jetstream.LimitsPolicy || c.Storage != jetstream.FileStorage {
		t.Errorf("configuration %+v: want a file without limits", c)
	}
	if c.MaxMsgSize > 0 && c.MaxMsgSize < natsd.MaxPayload || natsd.MaxPayload != 32<<20 {
		t.Errorf("messages of %d and %d bytes at most, want 32 MiB", c.MaxMsgSize, natsd.MaxPayload)
	}
}

// MECHANISMS, Frames: each frame is published with the expected last sequence;
// after a timeout its fate is read by STREAM.MSG.GET, which asks the stream's
// leader and no replica that may be behind.
func TestFencesAndLooksUpAsTheRuleSays(t *testing.T) {
	srv := natsdtest.Memory(t)
	l := newLog(t, newSet(t, srv, Options{}), "a")
	mustAppend(t, l, records(0, 1)...)
	frames, err := srv.Conn().SubscribeSync(dataSubject("a"))
	if err != nil {
		t.Fatal(err)
	}
	asked, err := srv.Conn().SubscribeSync("$JS.API.STREAM.MSG.GET." + streamName("a"))
	if err != nil {
		t.Fatal(err)
	}
	// The server must know of both before anything is sent by another connection.
	if err := srv.Conn().Flush(); err != nil {
		t.Fatal(err)
	}
	f := inject(t, l)
	f.onSend = func(n int, send func() error) error {
		if err := send(); n != 1 {
			return err
		}
		return errTimeout
	}
	for i := range 3 {
		mustAppend(t, l, records(1+i, 1)...)
	}
	for _, want := range []string{"1", "2", "3"} {
		m, err := frames.NextMsg(10 * time.Second)
		if err != nil {
			t.Fatal(err)
		}
		if got := m.Header.Get(jetstream.ExpectedLastSeqHeader); got != want {
			t.Errorf("frame sent behind %q, want %s", got, want)
		}
	}
	m, err := asked.NextMsg(10 * time.Second)
	if err != nil {
		t.Fatalf("nobody looked up the frame whose answer was lost: %v", err)
	}
	var request struct{ Seq uint64 }
	if err := json.Unmarshal(m.Data, &request); err != nil || request.Seq != 3 {
		t.Errorf("looked up %s, want sequence 3", m.Data)
	}
	if m, err := asked.NextMsg(time.Millisecond); err == nil {
		t.Errorf("looked up again: %s", m.Data)
	}
}

// MECHANISMS, Frames: a time is found by binary search over the frames' arrivals.
func TestATimeIsFoundInFewReads(t *testing.T) {
	srv := natsdtest.Memory(t)
	l := newLog(t, newSet(t, srv, Options{FrameBytes: 1}), "a")
	recs := records(0, 4000) // a frame each
	for i := range recs {
		recs[i].Arrival = int64(1000 + i)
	}
	mustAppend(t, l, recs...)
	for _, i := range []int{0, 1, 1234, 2000, 3998, 3999} {
		l := reopened(t, srv, "a", Options{CacheBytes: 1})
		if _, err := l.Bounds(t.Context()); err != nil {
			t.Fatal(err)
		}
		before := requests(l.set)
		f, at, err := l.Since(t.Context(), int64(1000+i))
		if err != nil || f.First+uint64(at) != uint64(i) {
			t.Errorf("since record %d: %+v, %d, %v", i, f, at, err)
		}
		if n := requests(l.set) - before; n > 20 {
			t.Errorf("%d reads to find one of 4000 frames, want about 12", n)
		}
	}
}

// MECHANISMS, Frames: a version that is not known is no frame to guess at.
func TestAFrameOfANewerVersionIsRefused(t *testing.T) {
	_, buf := encode(goldenHead, 0, goldenRecords...)
	buf[0]++
	binary.LittleEndian.PutUint32(buf[84:], crc32.Checksum(buf[:84], crc32.MakeTable(crc32.Castagnoli)))
	if f, bad := decode(buf, 7); bad == nil || !strings.Contains(bad.reason, "version") {
		t.Errorf("decoded %+v, %+v; want an error that names the version", f, bad)
	}
}

// MECHANISMS, Cache: 64 MiB for the node; an appender puts frames in once they
// are acknowledged, not before.
func TestCacheHoldsAcknowledgedFramesIn64MiB(t *testing.T) {
	l := memoryLog(t, Options{})
	if l.set.cache.budget != 64<<20 {
		t.Errorf("budget %d, want 64 MiB", l.set.cache.budget)
	}
	f := inject(t, l)
	f.onSend = func(_ int, send func() error) error {
		if l.set.cache.has(l.key, 1) {
			t.Error("cached before it was acknowledged")
		}
		return send()
	}
	mustAppend(t, l, records(0, 3)...)
	if !l.set.cache.has(l.key, 1) {
		t.Error("not cached when it was acknowledged")
	}
	// What the store refused never gets in.
	f.onSend = func(int, func() error) error { return &storeError{10077, "no space left on device"} }
	if _, err := l.Append(context.Background(), records(3, 1)); !errors.Is(err, ErrUnavailable) {
		t.Fatalf("append: %v, want ErrUnavailable", err)
	}
	if l.set.cache.has(l.key, 2) {
		t.Error("cached though it was refused")
	}
}
