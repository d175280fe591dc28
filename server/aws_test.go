package server

import (
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/wasmill/wasmill/api/admin"
)

func TestWebPagesReachAWSsFaceFromThisMachineOnly(t *testing.T) {
	aws := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { w.WriteHeader(http.StatusTeapot) })
	h := front(http.NotFoundHandler(), aws, admin.Hosts{})
	const signed = "/?Action=DeleteQueue&X-Amz-Credential=x/20260101/us-east-1/sqs/aws4_request"
	for _, tt := range []struct {
		what, method, target, host string
		head                       map[string]string
		want                       int
	}{
		{"a program", "POST", "/", "localhost:4566", nil, 418},
		{"a program that reads", "GET", signed, "localhost:4566", nil, 418},
		{"curl that reads functions", "GET", "/2015-03-31/functions", "localhost:4566", nil, 418},
		{"somebody who looks for a page of ours", "GET", "/functions", "localhost:4566", nil, 404},
		{"a page of another site that reads functions", "GET", "/2015-03-31/functions", "localhost:4566", map[string]string{"Sec-Fetch-Site": "cross-site"}, 403},
		{"a page of this machine", "POST", "/", "localhost:4566", map[string]string{"Origin": "http://localhost:3000", "Sec-Fetch-Site": "same-site"}, 418},
		{"one that calls by address", "POST", "/", "127.0.0.1:4566", map[string]string{"Origin": "http://localhost:3000", "Sec-Fetch-Site": "cross-site"}, 418},
		{"an image of a page of this machine", "GET", signed, "localhost:4566", map[string]string{"Sec-Fetch-Site": "same-site"}, 418},
		{"somebody who types the address", "GET", signed, "localhost:4566", map[string]string{"Sec-Fetch-Site": "none"}, 418},
		{"a page of another site", "POST", "/", "localhost:4566", map[string]string{"Origin": "https://evil.example"}, 403},
		{"a page without an origin to show", "POST", "/", "localhost:4566", map[string]string{"Origin": "null"}, 403},
		{"an image of another site's page", "GET", signed, "localhost:4566", map[string]string{"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Dest": "image"}, 403},
		{"a page that rebound its name", "POST", "/", "evil.example", map[string]string{"Origin": "http://evil.example"}, 403},
		{"one that reads", "GET", signed, "evil.example", nil, 403},
	} {
		r := httptest.NewRequest(tt.method, tt.target, nil)
		r.Host = tt.host
		for name, value := range tt.head {
			r.Header.Set(name, value)
		}
		w := httptest.NewRecorder()
		if h.ServeHTTP(w, r); w.Code != tt.want {
			t.Errorf("%s: %d, want %d", tt.what, w.Code, tt.want)
		}
	}
}

// The server reads a body before it answers, even if nobody wants it.
func TestWhoIsDeniedDoesNotKeepTheConnection(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ours, theirs := net.Pipe()
		defer theirs.Close()
		ln := &pipeListener{conn: ours, closed: make(chan struct{})}
		server := &http.Server{Handler: front(http.NotFoundHandler(), http.NotFoundHandler(), admin.Hosts{})}
		done := make(chan struct{}) // closed when Serve has returned
		go func() {
			defer close(done)
			_ = server.Serve(ln)
		}()
		began := time.Now()
		go io.WriteString(theirs, "POST / HTTP/1.1\r\nHost: evil.example\r\nContent-Length: 200\r\n\r\n{}")
		answer, err := io.ReadAll(theirs)
		if err != nil || !strings.HasPrefix(string(answer), "HTTP/1.1 403 ") {
			t.Errorf("%q, %v", answer, err)
		}
		if took := time.Since(began); took > restTime+5*time.Second {
			t.Errorf("after %v", took)
		}
		_ = server.Close()
		<-done
	})
}

// pipeListener listens until it has given its connection.
type pipeListener struct {
	conn   net.Conn
	closed chan struct{}
}

func (l *pipeListener) Accept() (net.Conn, error) {
	if conn := l.conn; conn != nil {
		l.conn = nil
		return conn, nil
	}
	<-l.closed
	return nil, net.ErrClosed
}
func (l *pipeListener) Close() error   { close(l.closed); return nil }
func (l *pipeListener) Addr() net.Addr { return &net.TCPAddr{} }
