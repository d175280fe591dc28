package wire

import (
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"testing/iotest"
	"testing/synctest"
	"time"
)

func zipped(t testing.TB, b []byte) string {
	t.Helper()
	var out bytes.Buffer
	z := gzip.NewWriter(&out)
	if _, err := z.Write(b); err != nil {
		t.Fatal(err)
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	return out.String()
}

func TestBodiesAreBoundedPackedAndUnpacked(t *testing.T) {
	h := testHandler(t, Options{MaxBody: 100 << 10})
	pad := func(n int) []byte { return []byte(`{"x":"` + strings.Repeat("a", n-len(`{"x":""}`)) + `"}`) }
	fits, over := pad(100<<10), pad(100<<10+1)
	tests := []struct {
		name, encoding, body string
		status               int
	}{
		{"fits", "", string(fits), 200},
		{"does not", "", string(over), 413},
		{"identity", "identity", string(fits), 200},
		{"packed", "gzip", zipped(t, fits), 200},
		{"packed again after a broken one", "gzip", "\x1f\x8b nonsense", 400},
		{"packed, large when unpacked", "gzip", zipped(t, over), 413},
		{"packed, huge when unpacked", "gzip", zipped(t, make([]byte, 64<<20)), 413},
		{"packed, cut off", "gzip", zipped(t, fits)[:60], 400},
		{"packed otherwise", "br", "x", 415},
	}
	for _, tt := range tests {
		head := jsonHead("ListStreams")
		if tt.encoding != "" {
			head["Content-Encoding"] = tt.encoding
		}
		if r := ask(h, "POST", "/", head, tt.body); r.StatusCode != tt.status {
			t.Errorf("%s: %d %s, want %d", tt.name, r.StatusCode, text(t, r), tt.status)
		} else if r.StatusCode == 413 && !strings.Contains(text(t, r), `"The request body is larger than 102400 bytes."`) {
			t.Errorf("%s: the error does not say how large a body may be", tt.name)
		}
	}
	// Without a length in advance.
	server := testServer(t, h)
	for body, want := range map[string]int{string(fits): 200, string(over): 413} {
		req, _ := http.NewRequest("POST", server.URL, iotest.HalfReader(strings.NewReader(body)))
		for name, value := range jsonHead("ListStreams") {
			req.Header.Set(name, value)
		}
		r, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		if r.Body.Close(); r.StatusCode != want {
			t.Errorf("chunked, %d bytes: %d, want %d", len(body), r.StatusCode, want)
		}
	}
}

func TestABodyIsReadWholeHoweverItComes(t *testing.T) {
	for _, n := range []int{0, 1, smallest - 1, smallest, smallest + 1, firstRead - 1, firstRead, firstRead + 1, 1 << 20, 1<<20 + 1} {
		want := bytes.Repeat([]byte("0123456789abcdef"), n/16+1)[:n]
		for _, expected := range []int64{-1, int64(n)} {
			for name, src := range map[string]io.Reader{
				"at once": bytes.NewReader(want), "end with data": iotest.DataErrReader(bytes.NewReader(want)), "halves": iotest.HalfReader(bytes.NewReader(want)),
			} {
				got, err := (&room{most: 1 << 30}).fill(src, expected, 2<<20)
				if err != nil || !bytes.Equal(got, want) {
					t.Errorf("%d bytes, %s, expecting %d: %d bytes, %v", n, name, expected, len(got), err)
				}
				recycle(got)
			}
		}
	}
	if _, err := (&room{most: 1 << 30}).fill(iotest.ErrReader(io.ErrUnexpectedEOF), 5, 10); !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Error(err)
	}
}

func TestABodyThatOnlyClaimsToBeLargeCostsLittle(t *testing.T) {
	b, err := (&room{most: 1 << 30}).fill(iotest.ErrReader(io.ErrUnexpectedEOF), 16<<20, 16<<20)
	if err == nil || cap(b) > 2*firstRead {
		t.Errorf("%d bytes, %v", cap(b), err)
	}
}

func TestABufferIsUsedAgainOnlyWhenNobodyCanStillReadIt(t *testing.T) {
	var body []byte
	var fail error
	s := &Service{Name: "kinesis", Target: "Kinesis_20131202", Signing: "kinesis", Ops: []*Operation{{
		Name:   "PutRecord",
		Decode: func(f Format, b []byte) (any, bool) { body = b; return nil, true },
		Do:     func(ctx context.Context, c *Call) (any, error) { return nil, fail },
	}}}
	h := testHandler(t, Options{Services: []*Service{s}, Logger: slog.New(slog.DiscardHandler)})
	// A size that no other test's buffers have.
	text := `{"x":"` + strings.Repeat("a", 9<<20) + `"}`
	reused := func(err error) bool {
		fail = err
		// sync.Pool may lose buffers, so often that is no wonder; it must happen once.
		for range 20 {
			call(h, "PutRecord", text)
			first := &body[0]
			call(h, "PutRecord", text)
			if first == &body[0] {
				return true
			}
		}
		return false
	}
	if !reused(nil) {
		t.Error("buffers are not used again")
	}
	if !reused(Errorf("ResourceNotFoundException", "no")) {
		t.Error("buffers are not used again after an error")
	}
	for _, err := range []error{context.DeadlineExceeded, &Error{Code: "InternalFailure", Cause: context.Canceled}} {
		fail = err
		call(h, "PutRecord", text) // it may still take one from before
		held := &body[0]
		for range 20 {
			if call(h, "PutRecord", text); held == &body[0] {
				t.Errorf("after %v a buffer was used again", err)
			}
		}
	}
}

// A client that stalls gets an answer, and the connection is closed.
func TestABodyMustArriveInTime(t *testing.T) {
	for name, tt := range map[string]struct{ request, want string }{
		"an operation":         {post(jsonType+listTarget+signed, "{}"), "HTTP/1.1 408 "},
		"an unknown service":   {post("X-Amz-Target: DynamoDB_20120810.ListTables\r\n", "{}"), "HTTP/1.1 501 "},
		"no method of Kinesis": {strings.Replace(post("", "{}"), "POST", "PUT", 1), "HTTP/1.1 403 "},
	} {
		synctest.Test(t, func(t *testing.T) {
			ours, theirs := net.Pipe()
			server := &http.Server{Handler: testHandler(t, Options{})}
			ln := &oneConn{conn: ours, closed: make(chan struct{})}
			done := make(chan struct{})
			go func() { server.Serve(ln); close(done) }()
			began := time.Now()
			go io.WriteString(theirs, strings.Replace(tt.request, "Content-Length: 2", "Content-Length: 200", 1))
			answer, err := io.ReadAll(theirs)
			if err != nil || !strings.HasPrefix(string(answer), tt.want) {
				t.Errorf("%s: %q, %v", name, answer, err)
			}
			if took := time.Since(began); took > bodyTime+5*time.Second {
				t.Errorf("%s: after %v, want about %v", name, took, bodyTime)
			}
			theirs.Close()
			server.Close()
			<-done
		})
	}
}

// oneConn listens until it has given its connection.
type oneConn struct {
	conn   net.Conn
	closed chan struct{}
}

func (l *oneConn) Accept() (net.Conn, error) {
	if conn := l.conn; conn != nil {
		l.conn = nil
		return conn, nil
	}
	<-l.closed
	return nil, net.ErrClosed
}
func (l *oneConn) Close() error   { close(l.closed); return nil }
func (l *oneConn) Addr() net.Addr { return &net.TCPAddr{} }

// counting is a body that knows how much of it was read.
type counting struct {
	io.Reader
	n atomic.Int64
}

func (c *counting) Read(b []byte) (int, error) {
	n, err := c.Reader.Read(b)
	c.n.Add(int64(n))
	return n, err
}

func TestABodyThatIsRefusedIsReadForItsSendersSake(t *testing.T) {
	server := testServer(t, testHandler(t, Options{MaxBody: 1 << 20}))
	for _, o := range over {
		for target, want := range map[string]int{"Kinesis_20131202.PutRecord": 413, "DynamoDB_20120810.PutItem": 501} {
			client := o.client()
			body := &counting{Reader: io.LimitReader(zeros{}, 20<<20)}
			req, err := http.NewRequestWithContext(t.Context(), "POST", server.URL, body)
			if err != nil {
				t.Fatal(err)
			}
			req.ContentLength = 20 << 20
			req.Header.Set("X-Amz-Target", target)
			req.Header.Set("Content-Type", "application/x-amz-json-1.1")
			r, err := client.Do(req)
			if err != nil {
				t.Fatalf("%s, %s: %v", o.name, target, err)
			}
			r.Body.Close()
			client.CloseIdleConnections()
			if r.StatusCode != want || body.n.Load() != 20<<20 || r.Close {
				t.Errorf("%s, %s: %d after %d bytes, want %d after all; connection closed: %t", o.name, target, r.StatusCode, body.n.Load(), want, r.Close)
			}
		}
	}
}

type zeros struct{}

func (zeros) Read(b []byte) (int, error) {
	clear(b)
	return len(b), nil
}
