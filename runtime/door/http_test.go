package door

import (
	"context"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/wasmill/wasmill/functions"
	"github.com/wasmill/wasmill/runtime"
)

func site(t *testing.T, h http.HandlerFunc) *httptest.Server {
	t.Helper()
	s := httptest.NewServer(h)
	t.Cleanup(s.Close)
	return s
}

// browsing has an environment whose function may dial these servers.
func browsing(t *testing.T, roots []byte, servers ...*httptest.Server) *Sockets {
	t.Helper()
	var allow []string
	for _, s := range servers {
		allow = append(allow, s.Listener.Addr().String())
	}
	s := NewSockets(New(Options{Roots: roots, Resolver: named(nil)}), function(allow...))
	t.Cleanup(s.Reset)
	return s
}

func TestExchangesOverHTTP(t *testing.T) {
	server := site(t, func(w http.ResponseWriter, r *http.Request) {
		b, _ := io.ReadAll(r.Body)
		w.Header().Set("X-Answer", r.Header.Get("X-Question"))
		w.WriteHeader(http.StatusCreated)
		fmt.Fprintf(w, "%s %s %s %d %v\n\n%s", r.Method, r.URL, r.Host, r.ContentLength, r.Header.Values("X-Twice"), b)
	})
	s := browsing(t, nil, server)
	got, e := s.HTTP(t.Context(), []byte("POST "+server.URL+"/a?b=c\nX-Question: why\nX-Twice: 1\nx-twice: 2\nHost: virtual\nContent-Length: 9999\n\nline\n\nline"))
	if e != OK {
		t.Fatalf("%v: %q", e, got)
	}
	head, body, _ := strings.Cut(string(got), "\n\n")
	if !strings.HasPrefix(head, "201\n") || !strings.Contains(head+"\n", "\nX-Answer: why\n") {
		t.Errorf("head %q", head)
	}
	if want := "POST /a?b=c virtual 10 [1 2]\n\nline\n\nline"; body != want {
		t.Errorf("body %q", body)
	}
}

func TestExchangesOverHTTPSTrustTheRoots(t *testing.T) {
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { io.WriteString(w, r.Proto) }))
	server.EnableHTTP2 = true
	server.Config.ErrorLog = log.New(io.Discard, "", 0)
	server.StartTLS()
	t.Cleanup(server.Close)
	roots := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw})
	got, e := browsing(t, roots, server).HTTP(t.Context(), []byte("GET "+server.URL+"\n\n"))
	if e != OK || !strings.HasSuffix(string(got), "\n\nHTTP/2.0") {
		t.Errorf("%v: %q", e, got)
	}
	got, e = browsing(t, []byte{}, server).HTTP(t.Context(), []byte("GET "+server.URL+"\n\n"))
	if e != EIO || !strings.Contains(string(got), "certificate signed by unknown authority") {
		t.Errorf("%v: %q", e, got)
	}
}

func TestExchangesGoThroughTheDoor(t *testing.T) {
	hidden := site(t, func(w http.ResponseWriter, r *http.Request) { t.Error("reached") })
	open := site(t, func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, hidden.URL, http.StatusFound) })
	s := browsing(t, nil, open)
	at := hidden.Listener.Addr().String()
	want := "\x01dial " + at + " refused: not in the function's allow list; fn update --allow " + at
	for _, url := range []string{hidden.URL, open.URL} {
		if got, e := s.HTTP(t.Context(), []byte("GET "+url+"\n\n")); e != ENOTCAPABLE || string(got) != want {
			t.Errorf("%v: %q", e, got)
		}
	}
}

func TestRedirectsAreBoundedAndStaySecret(t *testing.T) {
	var hops int
	var plain *httptest.Server
	plain = site(t, func(w http.ResponseWriter, r *http.Request) {
		hops++
		http.Redirect(w, r, fmt.Sprint(plain.URL, "/", hops), http.StatusFound)
	})
	secret := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, plain.URL, http.StatusFound) }))
	t.Cleanup(secret.Close)
	roots := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: secret.Certificate().Raw})
	s := browsing(t, roots, plain, secret)
	if got, e := s.HTTP(t.Context(), []byte("GET "+plain.URL+"\n\n")); e != EIO || !strings.HasSuffix(string(got), "stopped after 3 redirects") || hops != 4 {
		t.Errorf("%v: %q after %d", e, got, hops)
	}
	if got, e := s.HTTP(t.Context(), []byte("GET "+secret.URL+"\n\n")); e != EIO || !strings.HasSuffix(string(got), "redirected from https to http") || hops != 4 {
		t.Errorf("%v: %q", e, got)
	}
}

func TestExchangesAreBounded(t *testing.T) {
	server := site(t, func(w http.ResponseWriter, r *http.Request) {
		n, _ := io.Copy(io.Discard, r.Body)
		w.Write(make([]byte, MaxBody+n))
	})
	s := browsing(t, nil, server)
	got, e := s.HTTP(t.Context(), []byte("GET "+server.URL+"\n\n"))
	if e != OK || len(got) < MaxBody {
		t.Errorf("%v: %d bytes", e, len(got))
	}
	if got, e := s.HTTP(t.Context(), []byte("POST "+server.URL+"\n\n1")); e != EIO || !strings.Contains(string(got), "a response of more than 6291456 bytes") {
		t.Errorf("%v: %.100q", e, got)
	}
	if got, e := s.HTTP(t.Context(), append([]byte("POST "+server.URL+"\n\n"), make([]byte, MaxBody+1)...)); e != EINVAL || !strings.Contains(string(got), "at most 6291456") {
		t.Errorf("%v: %.100q", e, got)
	}
}

func TestRequestsOverHTTPThatAreNone(t *testing.T) {
	s := browsing(t, nil)
	for _, request := range []string{
		"", "GET", "GET http://a", "GET http://a\n", "\n\n", "GET\n\n", "GET a\n\n", "GET /a\n\n", "GET file:///etc/passwd\n\n", "GET ftp://a\n\n", "GET http://\n\n",
		"GE T http://a\n\n", "GET http://a b\n\n", "G\x00T http://a\n\n", "GET http://a\nno header\n\n", "GET http://a\n: x\n\n", "GET http://a\nA\x00: x\n\n",
		"GET http://a\nA: " + strings.Repeat("x", maxHeaders) + "\n\n", "GET http://a:b\n\n", "GET http://[::1\n\n", "GET http://:\n\n", "GET http://:80\n\n", " http://a\n\n",
	} {
		got, e := s.HTTP(t.Context(), []byte(request))
		if e != EINVAL || len(got) < 2 || got[0] != byte(runtime.DialFailed) {
			t.Errorf("%.60q: %v, %q", request, e, got)
		}
	}
}

func TestExchangesEndWithTheInvocation(t *testing.T) {
	silent := listen(t)
	s := NewSockets(New(Options{}), function("127.0.0.1:*"))
	t.Cleanup(s.Reset)
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	got, e := s.HTTP(ctx, []byte("GET http://"+silent.Addr().String()+"\n\n"))
	if e != ETIMEDOUT || got[0] != byte(runtime.DialTimeout) {
		t.Errorf("%v: %q", e, got)
	}
}

func TestResetClosesConnectionsOfExchanges(t *testing.T) {
	closed := make(chan struct{}, 10)
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { io.WriteString(w, "x") }))
	server.Config.ConnState = func(_ net.Conn, state http.ConnState) {
		if state == http.StateClosed {
			closed <- struct{}{}
		}
	}
	server.Start()
	t.Cleanup(server.Close)
	s := browsing(t, nil, server)
	for range 3 { // one connection for all
		if got, e := s.HTTP(t.Context(), []byte("GET "+server.URL+"\n\n")); e != OK {
			t.Fatalf("%v: %q", e, got)
		}
	}
	if n := len(s.http.conns); n != 1 {
		t.Errorf("%d connections", n)
	}
	s.Reset()
	<-closed
	if got, e := s.HTTP(t.Context(), []byte("GET "+server.URL+"\n\n")); e != OK { // it works on
		t.Errorf("%v: %q", e, got)
	}
}

func FuzzHTTPRequest(f *testing.F) {
	f.Add([]byte("POST http://a/b\nHost: c\nX: y\n\nbody"))
	f.Add([]byte("GET https://[::1]:8\n\n"))
	f.Add([]byte(" http://:\n\n"))
	f.Fuzz(func(t *testing.T, b []byte) {
		req, err := parseRequest(b)
		if err != nil {
			return
		}
		if req.URL.Host == "" || req.URL.Scheme != "http" && req.URL.Scheme != "https" {
			t.Errorf("%q: %v", b, req.URL)
		}
		if req.ContentLength > MaxBody {
			t.Errorf("%d bytes", req.ContentLength)
		}
	})
}

// A dial of an exchange that was given up is not kept for whoever comes after a reset.
func TestResetClosesWhatExchangesStillDial(t *testing.T) {
	d := &slow{begun: make(chan struct{}), on: make(chan struct{}), done: make(chan net.Conn, 1)}
	s := NewSockets(d, function())
	ctx, cancel := context.WithCancel(t.Context())
	go func() {
		<-d.begun
		cancel()
	}()
	if _, e := s.HTTP(ctx, []byte("GET http://a/\n\n")); e == OK {
		t.Fatal("there was an answer")
	}
	s.Reset()
	close(d.on)
	peer := <-d.done
	peer.SetReadDeadline(time.Now().Add(10 * time.Second))
	if n, err := peer.Read(make([]byte, 1)); err != io.EOF {
		t.Errorf("the connection stands: %d, %v", n, err)
	}
	if len(s.http.conns) != 0 {
		t.Errorf("%d connections are kept", len(s.http.conns))
	}
}

// slow dials when it may go on, whatever the context says.
type slow struct {
	begun, on chan struct{}
	done      chan net.Conn
}

func (d *slow) Dial(context.Context, functions.Version, string) (net.Conn, error) {
	close(d.begun)
	<-d.on
	ours, theirs := net.Pipe()
	d.done <- theirs
	return ours, nil
}

func (d *slow) Resolve(context.Context, functions.Version, string) ([]netip.Addr, error) {
	return nil, errors.ErrUnsupported
}

func (d *slow) Roots() []byte { return nil }

// A redirect leads to where a dial may, and nowhere that is not dialled.
func TestRedirectsLeadNowhereElse(t *testing.T) {
	secret := filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(secret, []byte("secret"), 0o600); err != nil {
		t.Fatal(err)
	}
	var to string
	open := site(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Location", to)
		w.WriteHeader(http.StatusFound)
	})
	s := browsing(t, nil, open)
	for url, want := range map[string]Errno{
		"file://" + secret:                                              EIO,
		"unix:///var/run/docker.sock":                                   EIO,
		"gopher://127.0.0.1/":                                           EIO,
		"http://169.254.169.254/latest":                                 ENOTCAPABLE,
		"http://[::ffff:169.254.169.254]/latest":                        ENOTCAPABLE,
		"http://[64:ff9b::7f00:1]:4222/":                                ENOTCAPABLE,
		"http://2130706433:4222/":                                       ENOTCAPABLE,
		"http://0x7f000001:4222/":                                       ENOTCAPABLE,
		"http://127.0.0.1:4222/":                                        ENOTCAPABLE,
		"http://" + open.Listener.Addr().String() + "@169.254.169.254/": ENOTCAPABLE,
	} {
		to = url
		if got, e := s.HTTP(t.Context(), []byte("GET "+open.URL+"\n\n")); e != want || strings.Contains(string(got), "secret\n") {
			t.Errorf("%s: %v %q, want %v", url, e, got, want)
		}
	}
}

// What a guest writes into its headers stays one header, and the request goes where
// it was dialled.
func TestHeadersOfAGuestAddNoRequest(t *testing.T) {
	var seen []string
	server := site(t, func(w http.ResponseWriter, r *http.Request) {
		seen = append(seen, fmt.Sprint(r.Method, " ", r.URL.Path, " ", r.Header.Get("X-Evil"), r.TransferEncoding, r.ContentLength))
	})
	s := browsing(t, nil, server)
	for _, request := range []string{
		"GET " + server.URL + "/a\nX: 1\r\n\rGET /evil HTTP/1.1\n\n",
		"GET " + server.URL + "/a\nX: 1\rX-Evil: 1\n\n",
		"GET " + server.URL + "/a\nX: 1\x00\n\n",
		"GET " + server.URL + "/a\nX\rX-Evil: 1\n\n",
		"GET " + server.URL + "/a\nHost: b\r\nX-Evil: 1\n\n",
		"POST " + server.URL + "/a\nContent-Length: 100\nTransfer-Encoding: chunked\n\nx",
		"GET /evil " + server.URL + "/a\n\n",
		"GET\r\nX-Evil:1 " + server.URL + "/a\n\n",
		"GET " + server.URL + "/a HTTP/1.1\r\nX-Evil: 1\n\n",
		"GET " + server.URL + "/%0d%0aX-Evil:1\n\n",
		"CONNECT " + server.URL + "/a\n\n",
	} {
		s.HTTP(t.Context(), []byte(request)) // refused or not, see what arrives
	}
	for _, got := range seen {
		// An honest second header is the guest's to send; that of the Host line is one.
		if strings.Contains(got, "/evil") || strings.Contains(got, "chunked") || strings.HasSuffix(got, "100") {
			t.Errorf("there arrived %s", got)
		}
	}
	if len(seen) == 0 {
		t.Error("nothing arrived: nothing is shown")
	}
}
