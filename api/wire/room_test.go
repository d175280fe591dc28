package wire

import (
	"bytes"
	"context"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"
)

// largeAnswer writes itself as so many bytes.
type largeAnswer int

func (a largeAnswer) AnswerSize() int { return int(a) }
func (a largeAnswer) AppendAnswer(b []byte, _ Format) ([]byte, bool) {
	return append(b, bytes.Repeat([]byte{'1'}, int(a))...), true
}

// slowClient takes an answer only once it is allowed to, and as far as fail lets it.
type slowClient struct {
	*httptest.ResponseRecorder
	came, allowed chan struct{}
	fail          error
	last          []byte // written
}

func (c *slowClient) Write(b []byte) (int, error) {
	c.last = b
	if c.came != nil {
		close(c.came)
		<-c.allowed
	}
	if c.fail != nil {
		return 0, c.fail
	}
	return c.ResponseRecorder.Write(b)
}

func roomHandler(t testing.TB, size int, most int64) *Handler {
	s := &Service{Name: "kinesis", Target: "Kinesis_20131202", Signing: "kinesis", Ops: []*Operation{
		{Name: "GetRecords", Do: func(context.Context, *Call) (any, error) { return largeAnswer(size), nil }},
		{Name: "PutRecords", Do: func(context.Context, *Call) (any, error) { return nil, nil }},
	}}
	return testHandler(t, Options{Services: []*Service{s}, MaxMemory: most, Logger: slog.New(slog.DiscardHandler)})
}

func request(op string, body io.Reader) *http.Request {
	r := httptest.NewRequest("POST", "/", body)
	for name, value := range jsonHead(op) {
		r.Header.Set(name, value)
	}
	return r
}

func wantRoom(t *testing.T, h *Handler, held int64) {
	t.Helper()
	if got := h.room.held.Load(); got != held {
		t.Errorf("%d bytes are held, want %d", got, held)
	}
}

func TestAnswersThatClientsDoNotFetchHoldSoMuchMemoryAtMost(t *testing.T) {
	h := roomHandler(t, 1<<20, 2<<20)
	var clients []*slowClient
	ended := make(chan struct{}) // by each client's request
	for range 2 {
		c := &slowClient{ResponseRecorder: httptest.NewRecorder(), came: make(chan struct{}), allowed: make(chan struct{})}
		clients = append(clients, c)
		go func() {
			h.ServeHTTP(c, request("GetRecords", strings.NewReader("{}")))
			ended <- struct{}{}
		}()
		<-c.came
	}
	wantRoom(t, h, 2<<20)
	if r := call(h, "GetRecords", "{}"); r.StatusCode != 503 || headerOf(r, "x-amzn-ErrorType") != "ServiceUnavailable" {
		t.Errorf("a third answer: %d %s", r.StatusCode, text(t, r))
	}
	if r := call(h, "PutRecords", "{}"); r.StatusCode != 200 {
		t.Errorf("a small one: %d %s", r.StatusCode, text(t, r))
	}
	for _, c := range clients {
		close(c.allowed)
		<-ended
	}
	wantRoom(t, h, 0)
	if r := call(h, "GetRecords", "{}"); r.StatusCode != 200 {
		t.Errorf("when all was fetched: %d %s", r.StatusCode, text(t, r))
	}
}

func TestBodiesThatDoNotArriveHoldSoMuchMemoryAtMost(t *testing.T) {
	h := roomHandler(t, 1, 5<<20)
	come, body := io.Pipe()
	r := request("PutRecords", come)
	r.ContentLength = 16 << 20
	ended := make(chan struct{})
	go func() {
		h.ServeHTTP(httptest.NewRecorder(), r)
		close(ended)
	}()
	// It gets a megabyte when the first 64 KiB have come, and another byte is asked for.
	if _, err := body.Write(make([]byte, firstRead+1)); err != nil {
		t.Fatal(err)
	}
	wantRoom(t, h, growth*firstRead)
	// With what it grows from this one needs all there is.
	large := `{"x":"` + strings.Repeat("a", 3<<20) + `"}`
	if r := call(h, "PutRecords", large); r.StatusCode != 503 {
		t.Errorf("another: %d %s", r.StatusCode, text(t, r))
	}
	wantRoom(t, h, growth*firstRead)
	body.CloseWithError(io.ErrUnexpectedEOF)
	<-ended
	wantRoom(t, h, 0)
	if r := call(h, "PutRecords", large); r.StatusCode != 200 {
		t.Errorf("when there is room again: %d %s", r.StatusCode, text(t, r))
	}
	wantRoom(t, h, 0)
}

// HTTP/2 gives up a write when its stream is closed, and may have just begun to frame it.
func TestWhatCouldNotBeWrittenIsNotUsedAgain(t *testing.T) {
	const size = 11 << 20 // that no other test's buffers have
	h := roomHandler(t, size, 1<<30)
	reused := func(fail error) bool {
		for range 20 { // sync.Pool may lose buffers
			c := &slowClient{ResponseRecorder: httptest.NewRecorder(), fail: fail}
			h.ServeHTTP(c, request("GetRecords", strings.NewReader("{}")))
			next := buffer(size)
			if &next[:1][0] == &c.last[0] {
				return true
			}
		}
		return false
	}
	if reused(io.ErrClosedPipe) {
		t.Error("an answer's buffer is used again although the write failed")
	}
	if !reused(nil) {
		t.Error("buffers are not used again")
	}
	e := &Events{ctx: t.Context(), w: &slowClient{ResponseRecorder: httptest.NewRecorder(), fail: io.ErrClosedPipe}}
	e.ctl = http.NewResponseController(e.w)
	if err := e.Send("event", largeAnswer(1)); err == nil || e.buf != nil {
		t.Errorf("an event's buffer is kept although the write failed: %v", err)
	}
}

// deadlined notes the deadline by which it is to be written.
type deadlined struct {
	*httptest.ResponseRecorder
	at time.Time
}

func (d *deadlined) SetWriteDeadline(at time.Time) error { d.at = at; return nil }

func TestAStreamOfHTTP2WaitsForItsClientForSoLongAtMost(t *testing.T) {
	h := roomHandler(t, 1, 1<<20)
	for version, want := range map[int]bool{1: false, 2: true} { // 1: of the connection, whose other answers it would end
		w := &deadlined{ResponseRecorder: httptest.NewRecorder()}
		r := request("GetRecords", strings.NewReader("{}"))
		r.ProtoMajor = version
		h.ServeHTTP(w, r)
		if left := time.Until(w.at); w.Code != 200 || (left > 0) != want || left > sendTime {
			t.Errorf("HTTP/%d: %d, the answer has to be fetched within %v", version, w.Code, left)
		}
	}
}
