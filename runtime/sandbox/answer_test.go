package sandbox

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/wasmill/wasmill/functions"
	"github.com/wasmill/wasmill/runtime"
)

// dialer lets every function dial one place, and remembers who asked.
type dialer struct {
	place string
	roots []byte
	asked chan functions.Version
}

func (d *dialer) Dial(ctx context.Context, v functions.Version, address string) (net.Conn, error) {
	d.asked <- v
	switch address {
	case d.place:
		return (&net.Dialer{}).DialContext(ctx, "tcp", address)
	case "hangs:1":
		<-ctx.Done()
		return nil, ctx.Err()
	}
	return nil, &runtime.DialError{Kind: runtime.DialNotAllowed, Message: "dial " + address + " refused"}
}

func (d *dialer) Resolve(context.Context, functions.Version, string) ([]netip.Addr, error) {
	return []netip.Addr{netip.MustParseAddr("10.0.0.7"), netip.MustParseAddr("fd00::7")}, nil
}

func (d *dialer) Roots() []byte { return d.roots }

// ways joins a child's dialer with a server's answers, in one process but over what
// they use between two.
func ways(t *testing.T, d runtime.Dialer, with func(*Options)) *farDialer {
	t.Helper()
	e := newEngine(t, with, func(o *Options) { o.Dialer = d })
	p := &process{engine: e, fleet: &fleet{}, version: version(), gone: make(chan struct{})}
	l := &childLink{}
	var there net.Conn
	if e.opts.Portable {
		l.socket = e.starter.listener.Addr().String()
		ticket, get := e.starter.expect()
		here, err := l.dial(ticket)
		if err != nil {
			t.Fatal(err)
		}
		l.control = newControl(here, false)
		if there, err = get(t.Context()); err != nil {
			t.Fatal(err)
		}
	} else {
		conn, file, err := socketPair()
		if err != nil {
			t.Fatal(err)
		}
		here, err := net.FileConn(file)
		if err != nil {
			t.Fatal(err)
		}
		file.Close()
		l.control, there = newControl(here, true), conn
	}
	p.ctl = newControl(there, false)
	t.Cleanup(func() { l.conn.Close(); there.Close(); close(p.gone) })
	far := newFarDialer(l)
	go func() { // the server
		for {
			kind, b, err := p.ctl.receive()
			if err != nil {
				return
			}
			var ask askOrder
			if kind != kindAsk || !decode(b, &ask) {
				t.Errorf("a frame of kind %q", kind)
			}
			go p.answer(ask)
		}
	}()
	go func() { // the child
		for {
			kind, b, err := l.receive()
			if err != nil {
				return
			}
			if kind != kindTold || far.told(b) != nil {
				t.Errorf("a frame of kind %q", kind)
			}
		}
	}()
	return far
}

func TestChildDialsThroughTheServer(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	go func() { // says back what it is told, and ends when the other side has
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() { io.Copy(c, c); c.Close() }()
		}
	}()
	for _, mode := range []struct {
		name string
		with func(*Options)
	}{{"handed over", func(*Options) {}}, {"portable", portable}} {
		t.Run(mode.name, func(t *testing.T) {
			d := &dialer{place: l.Addr().String(), roots: bytes.Repeat([]byte("certificate\n"), 30_000), asked: make(chan functions.Version, 100)}
			far := ways(t, d, mode.with)
			for i := range 5 {
				conn, err := far.Dial(t.Context(), functions.Version{Function: "a lie"}, l.Addr().String())
				if err != nil {
					t.Fatal(err)
				}
				if v := <-d.asked; v.Function != "f" {
					t.Errorf("the server believed that it was %s", v.Function)
				}
				said := fmt.Sprint("hello ", i, strings.Repeat(".", 100_000))
				go func() {
					io.WriteString(conn, said)
					conn.(interface{ CloseWrite() error }).CloseWrite()
				}()
				if b, err := io.ReadAll(conn); err != nil || string(b) != said {
					t.Errorf("%d bytes back, %v", len(b), err)
				}
				conn.Close()
			}
			_, err := far.Dial(t.Context(), functions.Version{}, "evil:1")
			if refused, ok := errors.AsType[*runtime.DialError](err); !ok || refused.Kind != runtime.DialNotAllowed || refused.Message != "dial evil:1 refused" {
				t.Errorf("%v", err)
			}
			ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
			defer cancel()
			if _, err := far.Dial(ctx, functions.Version{}, "hangs:1"); err == nil {
				t.Error("it got there")
			}
			if ips, err := far.Resolve(t.Context(), functions.Version{}, "host"); err != nil || fmt.Sprint(ips) != "[10.0.0.7 fd00::7]" {
				t.Errorf("%v %v", ips, err)
			}
			if got := far.Roots(); !bytes.Equal(got, d.roots) {
				t.Errorf("%d bytes of certificates, want %d", len(got), len(d.roots))
			}
		})
	}
}

func TestChildWithoutADoorIsTold(t *testing.T) {
	far := ways(t, nil, func(*Options) {})
	_, err := far.Dial(t.Context(), functions.Version{}, "a:1")
	if refused, ok := errors.AsType[*runtime.DialError](err); !ok || refused.Kind != runtime.DialNotAllowed {
		t.Errorf("%v", err)
	}
}
