package sandbox

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/wasmill/wasmill/functions"
	"github.com/wasmill/wasmill/runtime"
	"github.com/wasmill/wasmill/runtime/wasm"
)

func TestFramesThatNobodySendsAreRefusedBeforeTheyAreKept(t *testing.T) {
	tests := map[string][]byte{
		"a kind that is not known":     appendFrame(nil, '?', nil),
		"longer than the kind may be":  {0xff, 0xff, 0xff, 0xff, kindReply, 0, 0, 0},
		"a line that is too long":      {1, 0, 1, 0, kindLine, 0, 0, 0},
		"rubbish in the head":          {0, 0, 0, 0, kindLine, 0, 1, 0},
		"meant for the other side":     appendFrame(nil, kindCall, nil),
		"of the control connection":    appendFrame(nil, kindLoaded, nil),
		"an answer that is as long as": {2, 0, 0, 0, kindRested, 0, 0, 0},
	}
	for name, b := range tests {
		r := newFrameReader(bytes.NewReader(b))
		if _, _, err := r.next(fromGuest); !errors.Is(err, errFrame) {
			t.Errorf("%s: %v", name, err)
		}
		if r.buf != nil {
			t.Errorf("%s: %d bytes are kept", name, cap(r.buf))
		}
	}
}

func TestReplyIsCutToWhatItCanBe(t *testing.T) {
	lies := wasm.Reply{MaxMemory: 1 << 60, Duration: time.Hour, Work: 7, Body: []byte("body")}
	b := append(appendReplyHead(nil, 5, true, false, &lies, 4), lies.Body...)[frameHead:]
	r, reusable, _, err := decodeReply(b, 5, 128<<20, time.Second)
	if err != nil || !reusable || r.MaxMemory != 128<<20 || r.Duration != time.Second || r.Work != 7 || string(r.Body) != "body" {
		t.Errorf("%+v %v %v", r, reusable, err)
	}
	lies.Work = 1 << 63
	if r, _, _, err := decodeReply(append(appendReplyHead(nil, 5, true, false, &lies, 4), lies.Body...)[frameHead:], 5, 128<<20, time.Second); err != nil || r.Work > 1<<35 {
		t.Errorf("%d steps in a second, %v", r.Work, err)
	}
	if _, _, _, err := decodeReply(b, 6, 1, 1); !errors.Is(err, errFrame) {
		t.Errorf("a reply to another call: %v", err)
	}
	for _, f := range []runtime.InitError{{Outcome: runtime.Done}, {Outcome: runtime.Throttled}, {Outcome: 200}} {
		b, _ := json.Marshal(f)
		if _, err := decodeFailure(b); !errors.Is(err, errFrame) {
			t.Errorf("%+v: %v", f, err)
		}
	}
	long := &runtime.InitError{Outcome: runtime.FunctionError, Type: "T", Message: strings.Repeat("\x00", 1<<20), Stack: []byte(strings.Repeat("x", 1<<20))}
	if f, err := decodeFailure(encodeFailure(long)); err != nil || f.Type != "T" || len(f.Message) > 16<<10 || f.Stack != nil {
		t.Errorf("%v", err)
	}
}

// FuzzFrames: whatever arrives, from whichever side, is refused or understood.
func FuzzFrames(f *testing.F) {
	f.Add(appendFrame(nil, kindLine, []byte("line")), true)
	f.Add(append(appendReplyHead(nil, 1, true, false, &wasm.Reply{}, 2), "ok"...), true)
	failure := &wasm.Reply{Failure: &runtime.InitError{Outcome: runtime.Timeout, Type: "T", Stack: []byte("[]")}}
	b := encodeFailure(failure.Failure)
	f.Add(append(appendReplyHead(nil, 1, false, false, failure, len(b)), b...), true)
	f.Add(append(appendCall(nil, call{number: 1, json: true, size: 3, left: time.Second, id: "id"}), "abc"...), false)
	f.Add(appendFrame(nil, kindStart, make([]byte, 20)), false)
	f.Fuzz(func(t *testing.T, b []byte, fromChild bool) {
		r := newFrameReader(bytes.NewReader(b))
		limit := toGuest
		if fromChild {
			limit = fromGuest
		}
		for {
			kind, payload, err := r.next(limit)
			if err != nil {
				if !errors.Is(err, errFrame) && !errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF) {
					t.Fatal(err)
				}
				return
			}
			if len(payload) > limit(kind) {
				t.Fatalf("%d bytes of kind %q", len(payload), kind)
			}
			switch kind {
			case kindReply:
				reply, _, inTray, err := decodeReply(payload, 1, 1<<20, time.Second)
				if err == nil && (inTray < 0 || inTray > maxBody || inTray > 0 && (reply.Body != nil || reply.Failure != nil) || reply.MaxMemory > 1<<20 || reply.Duration > time.Second || reply.Failure == nil && len(reply.Body) > maxBody) {
					t.Fatalf("%+v", reply)
				}
			case kindStarted:
				var s startReport
				_ = json.Unmarshal(payload, &s)
			case kindCall:
				c, err := decodeCall(payload)
				if err == nil {
					if c.size > maxRequest {
						t.Fatal(c.size)
					}
					_, _ = r.Discard(min(c.size, 1<<16))
				}
			case kindStart:
				var v functions.Version
				if len(payload) >= 8 {
					_ = json.Unmarshal(payload[8:], &v)
				}
			}
		}
	})
}
