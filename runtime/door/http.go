package door

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"net/textproto"
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/wasmill/wasmill/runtime"
)

const (
	// MaxBody is the size of what a guest sends or gets by HTTP in one exchange.
	MaxBody = 6 << 20
	// maxHeaders is the size of the headers, both ways.
	maxHeaders = 64 << 10
	// maxRedirects is how many are followed; each is dialled like any other place.
	maxRedirects = 3
)

// browser does HTTP for a guest that cannot itself.
type browser struct {
	s      *Sockets
	client *http.Client
	setup  sync.Once

	mu    sync.Mutex
	conns map[*counted]struct{}
	times int // how often it was closed
}

func newBrowser(s *Sockets) *browser { return &browser{s: s, conns: make(map[*counted]struct{})} }

// counted is a connection that a reset can find.
type counted struct {
	net.Conn
	b *browser
}

func (c *counted) Close() error {
	c.b.mu.Lock()
	delete(c.b.conns, c)
	c.b.mu.Unlock()
	return c.Conn.Close()
}

// start makes the client at the first request, since the roots take a moment.
func (b *browser) start() {
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(b.s.dialer.Roots())
	b.client = &http.Client{
		Transport: &http.Transport{
			DialContext:            b.dial,
			TLSClientConfig:        &tls.Config{RootCAs: pool},
			ForceAttemptHTTP2:      true,
			MaxIdleConns:           8,
			IdleConnTimeout:        30 * time.Second,
			TLSHandshakeTimeout:    10 * time.Second,
			MaxResponseHeaderBytes: maxHeaders,
		},
		CheckRedirect: func(req *http.Request, via []*http.Request) error {
			switch {
			case len(via) > maxRedirects:
				return fmt.Errorf("stopped after %d redirects", maxRedirects)
			case via[len(via)-1].URL.Scheme == "https" && req.URL.Scheme != "https":
				return errors.New("redirected from https to http")
			}
			return nil
		},
	}
}

// dial is called by the client, which goes on with it when nobody waits for the
// exchange any more, and would keep for later what comes of it.
func (b *browser) dial(ctx context.Context, _, address string) (net.Conn, error) {
	b.mu.Lock()
	times := b.times
	b.mu.Unlock()
	if err := b.s.turn(ctx); err != nil {
		return nil, err
	}
	conn, err := b.s.dialer.Dial(ctx, b.s.v, address)
	if err != nil {
		return nil, err
	}
	c := &counted{conn, b}
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.times != times {
		conn.Close()
		return nil, net.ErrClosed
	}
	b.conns[c] = struct{}{}
	return c, nil
}

// close ends all connections.
func (b *browser) close() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.times++
	for c := range b.conns {
		c.Conn.Close()
	}
	clear(b.conns)
}

// HTTP does one exchange and waits for it, until the end of ctx at most. The
// request is METHOD URL, headers and body:
//
//	POST https://example.com/in
//	Content-Type: text/plain
//
//	hello
//
// and the response likewise, with the status code in the first line. With an
// error number comes why, in the form of [Sockets.Error].
func (s *Sockets) HTTP(ctx context.Context, request []byte) ([]byte, Errno) {
	req, err := parseRequest(request)
	if err != nil {
		return []byte(tell(&runtime.DialError{Message: "http: " + err.Error()})), EINVAL
	}
	s.mu.Lock()
	life := s.ctx
	s.mu.Unlock()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(life, cancel)()
	s.http.setup.Do(s.http.start)
	response, err := s.http.do(req.WithContext(ctx))
	if err != nil {
		f := httpFault(ctx, req, err)
		return []byte(tell(f)), faultErrno(f)
	}
	return response, OK
}

func (b *browser) do(req *http.Request) ([]byte, error) {
	res, err := b.client.Do(req)
	if err != nil {
		return nil, err
	}
	defer res.Body.Close()
	var out bytes.Buffer
	fmt.Fprintf(&out, "%d\n", res.StatusCode)
	for _, name := range slices.Sorted(maps.Keys(res.Header)) {
		for _, v := range res.Header[name] {
			fmt.Fprintf(&out, "%s: %s\n", name, v)
		}
	}
	out.WriteByte('\n')
	n, err := out.ReadFrom(io.LimitReader(res.Body, MaxBody+1))
	if err != nil {
		return nil, err
	}
	if n > MaxBody {
		return nil, fmt.Errorf("a response of more than %d bytes", MaxBody)
	}
	return out.Bytes(), nil
}

// parseRequest reads what a guest asks for.
func parseRequest(request []byte) (*http.Request, error) {
	head, body, ok := bytes.Cut(request, []byte("\n\n"))
	switch {
	case !ok:
		return nil, errors.New("want METHOD URL, a line for each header, an empty line, and the body")
	case len(head) > maxHeaders:
		return nil, fmt.Errorf("headers of %d bytes; want at most %d", len(head), maxHeaders)
	case len(body) > MaxBody:
		return nil, fmt.Errorf("a request of %d bytes; want at most %d", len(body), MaxBody)
	}
	first, rest, _ := strings.Cut(string(head), "\n")
	method, address, _ := strings.Cut(first, " ")
	u, err := url.Parse(address)
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Hostname() == "" || method == "" {
		return nil, fmt.Errorf("%s is not METHOD URL with http:// or https://", printable(first))
	}
	// The body is the guest's memory: it must not be read once the call is over.
	req, err := http.NewRequest(method, u.String(), bytes.NewReader(bytes.Clone(body)))
	if err != nil {
		return nil, err
	}
	lines, err := textproto.NewReader(bufio.NewReader(strings.NewReader(rest + "\n\n"))).ReadMIMEHeader()
	if err != nil {
		return nil, fmt.Errorf("headers: %w", err)
	}
	for name, values := range lines {
		switch name {
		case "Host":
			req.Host = values[0]
		case "Content-Length", "Transfer-Encoding", "Connection", "Trailer", "Upgrade": // the exchange's own
		default:
			req.Header[name] = values
		}
	}
	return req, nil
}

// httpFault says what became of an exchange that failed.
func httpFault(ctx context.Context, req *http.Request, err error) *runtime.DialError {
	if e, ok := errors.AsType[*runtime.DialError](err); ok {
		return e
	}
	if e, ok := errors.AsType[*url.Error](err); ok {
		err = e.Err
	}
	f := &runtime.DialError{Message: fmt.Sprintf("http: %s %s: %s", req.Method, printable(req.URL.Redacted()), err)}
	if e, ok := errors.AsType[net.Error](err); ctx.Err() != nil || ok && e.Timeout() {
		f.Kind = runtime.DialTimeout
	}
	return f
}
