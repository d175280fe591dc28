package door

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/wasmill/wasmill/functions"
	"github.com/wasmill/wasmill/runtime"
)

// resolver knows names, and counts who asks. An answer may be another each time.
type resolver struct {
	mu    sync.Mutex
	names map[string][]string // each address a list of, separated by blanks; the last answers ever after
	asked int
	wait  time.Duration
}

func (r *resolver) LookupNetIP(ctx context.Context, network, host string) ([]netip.Addr, error) {
	select {
	case <-time.After(r.wait):
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.asked++
	answers := r.names[host]
	if network != "ip" || len(answers) == 0 {
		return nil, &net.DNSError{Err: "no such host", Name: host, IsNotFound: true}
	}
	if len(answers) > 1 {
		r.names[host] = answers[1:]
	}
	var addrs []netip.Addr
	for a := range strings.FieldsSeq(answers[0]) {
		addrs = append(addrs, netip.MustParseAddr(a))
	}
	return addrs, nil
}

func named(names map[string][]string) *resolver { return &resolver{names: names} }

func function(allow ...string) functions.Version {
	return functions.Version{Function: "f", Version: "1", ID: "f1", Config: functions.Config{Allow: allow}}
}

// echoing listens, sends back what it gets, and returns its port.
func echoing(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			wg.Go(func() {
				defer context.AfterFunc(ctx, func() { c.Close() })()
				defer c.Close()
				io.Copy(c, c)
			})
		}
	})
	t.Cleanup(func() { l.Close(); stop(); wg.Wait() })
	_, port, _ := net.SplitHostPort(l.Addr().String())
	return port
}

func dialed(t *testing.T, d *Door, v functions.Version, address string) net.Conn {
	t.Helper()
	c, err := d.Dial(t.Context(), v, address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

// kind is that of a DialError, which the error must be.
func kind(t *testing.T, err error) runtime.DialFault {
	t.Helper()
	e, ok := errors.AsType[*runtime.DialError](err)
	if !ok {
		t.Fatalf("%v (%T) is not for the function", err, err)
	}
	return e.Kind
}

func TestWhatIsAllowedIsDialled(t *testing.T) {
	port := echoing(t)
	d := New(Options{Resolver: named(map[string][]string{"opensearch": {"127.0.0.1"}})})
	c := dialed(t, d, function("opensearch:"+port), "OpenSearch.:"+port)
	if _, err := io.WriteString(c, "hello"); err != nil {
		t.Fatal(err)
	}
	b := make([]byte, 5)
	if _, err := io.ReadFull(c, b); err != nil || string(b) != "hello" {
		t.Errorf("%q, %v", b, err)
	}
	for _, allow := range [][]string{nil, {"opensearch:1"}, {"other:" + port}, {"*:" + port}} {
		_, err := d.Dial(t.Context(), function(allow...), "opensearch:"+port)
		if kind(t, err) != runtime.DialNotAllowed {
			t.Errorf("%v: %v", allow, err)
		}
	}
}

// A resolver that answers otherwise the second time finds no second time: what was
// checked is dialled.
func TestNamesAreResolvedOnce(t *testing.T) {
	port := echoing(t)
	r := named(map[string][]string{"a": {"127.0.0.1", "169.254.169.254"}})
	d := New(Options{Resolver: r})
	v := function("a:" + port)
	for range 3 {
		if c := dialed(t, d, v, "a:"+port); c.RemoteAddr().String() != "127.0.0.1:"+port {
			t.Errorf("dialled %s", c.RemoteAddr())
		}
	}
	if r.asked != 1 {
		t.Errorf("asked %d times", r.asked)
	}
}

func TestAnswersOfTheResolverAreKeptShortly(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := named(map[string][]string{"a": {"10.0.0.1", "169.254.169.254"}})
		r.wait = time.Second
		d := New(Options{Resolver: r})
		v := function("a:80")
		var wg sync.WaitGroup
		for range 5 { // together they ask once
			wg.Go(func() {
				if got, err := d.Resolve(t.Context(), v, "a"); err != nil || fmt.Sprint(got) != "[10.0.0.1]" {
					t.Errorf("%v, %v", got, err)
				}
			})
		}
		wg.Wait()
		time.Sleep(nameTTL - time.Millisecond)
		if _, err := d.Resolve(t.Context(), v, "a"); err != nil || r.asked != 1 {
			t.Errorf("%v, asked %d times", err, r.asked)
		}
		time.Sleep(time.Millisecond)
		if _, err := d.Resolve(t.Context(), v, "a"); kind(t, err) != runtime.DialNotAllowed || r.asked != 2 {
			t.Errorf("the new answer is not judged: %v, asked %d times", err, r.asked)
		}
		for range 2 { // what failed is asked again
			if _, err := d.Resolve(t.Context(), function("b:80"), "b"); kind(t, err) != runtime.DialNoSuchHost {
				t.Error(err)
			}
		}
		if r.asked != 4 {
			t.Errorf("asked %d times", r.asked)
		}
	})
}

func TestWhoGivesUpDoesNotTakeTheAnswerFromOthers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := named(map[string][]string{"a": {"10.0.0.1"}})
		r.wait = time.Second
		d := New(Options{Resolver: r})
		v := function("a:80")
		short, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
		defer cancel()
		var wg sync.WaitGroup
		wg.Go(func() {
			if _, err := d.Resolve(short, v, "a"); kind(t, err) != runtime.DialTimeout {
				t.Error(err)
			}
		})
		synctest.Wait()
		if got, err := d.Resolve(t.Context(), v, "a"); err != nil || len(got) != 1 {
			t.Errorf("%v, %v", got, err)
		}
		wg.Wait()
	})
}

func TestAddressesStandForTheNamesTheyWereGivenOutFor(t *testing.T) {
	port := echoing(t)
	d := New(Options{Resolver: named(map[string][]string{"a": {"127.0.0.1"}})})
	v := function("a:" + port)
	at := "127.0.0.1:" + port
	if _, err := d.Dial(t.Context(), v, at); kind(t, err) != runtime.DialNotAllowed {
		t.Errorf("before it was given out: %v", err)
	}
	if _, err := d.Resolve(t.Context(), v, "a"); err != nil {
		t.Fatal(err)
	}
	dialed(t, d, v, at)

	other := v
	other.ID = "f2"
	if _, err := d.Dial(t.Context(), other, at); kind(t, err) != runtime.DialNotAllowed {
		t.Errorf("another function: %v", err)
	}
	forbidden := v
	forbidden.Config.Allow = nil
	if _, err := d.Dial(t.Context(), forbidden, at); kind(t, err) != runtime.DialNotAllowed {
		t.Errorf("the name is not allowed any more: %v", err)
	}
	if _, err := d.Dial(t.Context(), v, "127.0.0.1:1"); kind(t, err) != runtime.DialNotAllowed {
		t.Errorf("another port: %v", err)
	}
}

func TestGivenAddressesExpireAndAreBounded(t *testing.T) {
	g := given{functions: make(map[string]*gifts)}
	now := time.Unix(1000, 0)
	addr := func(i int) netip.Addr { return netip.AddrFrom4([4]byte{10, byte(i >> 16), byte(i >> 8), byte(i)}) }
	g.add("f", "a", []netip.Addr{addr(1)}, now)
	if got := g.names("f", addr(1), now.Add(giftTTL-1)); len(got) != 1 || got[0] != "a" {
		t.Errorf("%v", got)
	}
	if got := g.names("f", addr(1), now.Add(giftTTL)); len(got) != 0 {
		t.Errorf("stands for %v for ever", got)
	}
	for i := range 3 * maxGifts {
		now = now.Add(time.Second)
		g.add("f", "a", []netip.Addr{addr(i)}, now)
	}
	if n := len(g.functions["f"].addrs); n > maxGifts {
		t.Errorf("%d addresses of one function", n)
	}
	if got := g.names("f", addr(3*maxGifts-1), now); len(got) != 1 {
		t.Error("the newest is gone")
	}
	for i := range 3 * maxGiftNames {
		g.add("f", fmt.Sprint(i), []netip.Addr{addr(7)}, now)
	}
	if got := g.names("f", addr(7), now); len(got) != maxGiftNames || got[0] != fmt.Sprint(3*maxGiftNames-1) {
		t.Errorf("stands for %v", got)
	}
	for i := range maxGifted + 100 {
		now = now.Add(time.Millisecond)
		g.add(fmt.Sprint("f", i), "a", []netip.Addr{addr(1)}, now)
	}
	if len(g.functions) > maxGifted || g.functions["f"] != nil {
		t.Errorf("%d functions", len(g.functions))
	}
}

func TestKeptNamesAreBounded(t *testing.T) {
	r := named(nil)
	n := names{resolver: r, known: make(map[string]*lookup)}
	for i := range 2 * maxNames {
		r.names = map[string][]string{fmt.Sprint(i): {"10.0.0.1"}}
		if _, err := n.lookup(t.Context(), fmt.Sprint(i), forNothing); err != nil {
			t.Fatal(err)
		}
	}
	if len(n.known) > maxNames {
		t.Errorf("%d names", len(n.known))
	}
}

func TestConnectionsAreBounded(t *testing.T) {
	port := echoing(t)
	d := New(Options{Connections: 3, ConnectionsPerVersion: 2, Resolver: named(map[string][]string{"localhost": {"127.0.0.1"}})})
	v, w := function("localhost:"+port), function("localhost:"+port)
	w.Version = "2"
	first := dialed(t, d, v, "localhost:"+port)
	dialed(t, d, v, "localhost:"+port)
	if _, err := d.Dial(t.Context(), v, "localhost:"+port); kind(t, err) != runtime.DialTooMany || !strings.Contains(err.Error(), "version 1 of the function has 2 connections open") {
		t.Error(err)
	}
	dialed(t, d, w, "localhost:"+port)
	if _, err := d.Dial(t.Context(), w, "localhost:"+port); kind(t, err) != runtime.DialTooMany || !strings.Contains(err.Error(), "all functions together") {
		t.Error(err)
	}
	first.Close()
	first.Close() // counts once
	dialed(t, d, v, "localhost:"+port)
	if _, err := d.Dial(t.Context(), v, "localhost:"+port); kind(t, err) != runtime.DialTooMany {
		t.Error(err)
	}
	// What fails is not counted.
	for range 5 {
		if _, err := d.Dial(t.Context(), w, "other:1"); err == nil {
			t.Fatal("dialled")
		}
	}
	if d.open != 3 {
		t.Errorf("%d open", d.open)
	}
}

func TestAddressesOfANameAreTriedInTurn(t *testing.T) {
	port := echoing(t) // on 127.0.0.1 only
	d := New(Options{Resolver: named(map[string][]string{"a": {"127.0.0.2 127.0.0.3 127.0.0.1"}, "b": {"127.0.0.2 127.0.0.3"}})})
	v := function("a:"+port, "b:"+port)
	if c := dialed(t, d, v, "a:"+port); c.RemoteAddr().String() != "127.0.0.1:"+port {
		t.Errorf("dialled %s", c.RemoteAddr())
	}
	if _, err := d.Dial(t.Context(), v, "b:"+port); kind(t, err) != runtime.DialRefused {
		t.Error(err)
	}
}

func TestHungDialsEndWithTheInvocation(t *testing.T) {
	// A listener whose queue is full takes no more connections, and says nothing.
	d := New(Options{Resolver: &resolver{wait: time.Hour}})
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	_, err := d.Dial(ctx, function("a:80"), "a:80")
	if kind(t, err) != runtime.DialTimeout || err.Error() != "dial a:80: nobody answered in time" {
		t.Error(err)
	}
	if d.open != 1 { // the question, which goes on
		t.Errorf("%d open", d.open)
	}
}

func TestOwnEndpointIsDialledWithoutLeave(t *testing.T) {
	port := echoing(t)
	d := New(Options{Endpoint: "127.0.0.1:" + port, Resolver: named(nil)})
	dialed(t, d, function(), "127.0.0.1:"+port)
	dialed(t, d, function(), "localhost:"+port)
	got, err := d.Resolve(t.Context(), function(), "localhost")
	if err != nil || fmt.Sprint(got) != "[127.0.0.1]" {
		t.Errorf("%v, %v", got, err)
	}
	if _, err := d.Dial(t.Context(), function(), "127.0.0.1:1"); kind(t, err) != runtime.DialNotAllowed {
		t.Errorf("beside the endpoint: %v", err)
	}

	behind := New(Options{Endpoint: "127.0.0.1:1", Behind: netip.MustParseAddrPort("127.0.0.1:" + port), Resolver: named(nil)})
	dialed(t, behind, function("127.0.0.1:1"), "127.0.0.1:1") // whatever the list says
	dialed(t, behind, function(), "localhost:1")
	if _, err := behind.Dial(t.Context(), function(), "127.0.0.1:"+port); kind(t, err) != runtime.DialNotAllowed {
		t.Errorf("behind the endpoint: %v", err)
	}

	byName := New(Options{Endpoint: "mill:" + port, Resolver: named(map[string][]string{"mill": {"127.0.0.1"}})})
	dialed(t, byName, function(), "mill:"+port)
	if _, err := byName.Dial(t.Context(), function(), "127.0.0.1:"+port); kind(t, err) != runtime.DialNotAllowed {
		t.Errorf("its address, not asked for: %v", err)
	}
	if _, err := byName.Resolve(t.Context(), function(), "mill"); err != nil {
		t.Fatal(err)
	}
	dialed(t, byName, function(), "127.0.0.1:"+port)
	if _, err := byName.Dial(t.Context(), function(), "127.0.0.1:1"); kind(t, err) != runtime.DialNotAllowed {
		t.Errorf("beside the endpoint: %v", err)
	}
}

// A function may say what it likes in its requests: who it is tells its connection.
func TestAConnectionToTheServerIsKnownByItsFunction(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	behind := ln.Addr().(*net.TCPAddr).AddrPort()
	d := New(Options{Endpoint: "127.0.0.1:1", Behind: behind, Resolver: named(nil)})
	accepted := func() string {
		t.Helper()
		c, err := ln.Accept()
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { c.Close() })
		return c.RemoteAddr().String()
	}
	for _, name := range []string{"f", "g"} {
		v := function(behind.String())
		v.Function = name
		for _, address := range []string{"127.0.0.1:1", behind.String()} {
			c, err := d.Dial(t.Context(), v, address)
			if err != nil {
				t.Fatal(err)
			}
			defer c.Close() // the ports must not be given out again
			if got := d.Caller(accepted()); got != name {
				t.Errorf("%s by %s: the caller is %q", name, address, got)
			}
		}
	}
	c, err := net.Dial("tcp", behind.String())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if got := d.Caller(accepted()); got != "" {
		t.Errorf("somebody else is %q", got)
	}
}

func TestRootsAreTheMachines(t *testing.T) {
	dir := t.TempDir()
	one, two := filepath.Join(dir, "one.pem"), filepath.Join(dir, "more", "two.pem")
	if err := os.Mkdir(filepath.Dir(two), 0o755); err != nil {
		t.Fatal(err)
	}
	for _, f := range []string{one, two} {
		if err := os.WriteFile(f, []byte("-----BEGIN CERTIFICATE-----\n"+filepath.Base(f)+"\n-----END CERTIFICATE-----\n"), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	t.Setenv("SSL_CERT_FILE", one)
	if got := New(Options{}).Roots(); !bytes.Contains(got, []byte("one.pem")) || bytes.Contains(got, []byte("two.pem")) {
		t.Errorf("%s", got)
	}
	t.Setenv("SSL_CERT_DIR", filepath.Dir(two))
	if got := New(Options{}).Roots(); !bytes.Contains(got, []byte("one.pem")) || !bytes.Contains(got, []byte("two.pem")) {
		t.Errorf("%s", got)
	}
	if got := New(Options{Roots: []byte("mine")}).Roots(); string(got) != "mine" {
		t.Errorf("%s", got)
	}
}

// Who asks and gives up leaves a question behind that goes on: these are bounded too.
func TestQuestionsToTheResolverAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := named(nil)
		r.wait = time.Hour // nobody answers
		d := New(Options{Resolver: r, ConnectionsPerVersion: 4})
		v := function("*.example.com:80")
		refused := 0
		for i := range 100 {
			ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
			if _, err := d.Resolve(ctx, v, fmt.Sprintf("n%d.example.com", i)); kind(t, err) == runtime.DialTooMany {
				refused++
			}
			cancel()
		}
		if refused != 96 || len(d.names.known) != 4 {
			t.Errorf("%d of 100 refused, %d questions are open; want 96 and 4", refused, len(d.names.known))
		}
		time.Sleep(DialTimeout)
		synctest.Wait()
		if d.open != 0 || len(d.version) != 0 {
			t.Errorf("%d places are taken in the end", d.open)
		}
	})
}

func TestNameWithoutAddressesIsNotWaitedFor(t *testing.T) {
	_, err := connect(t.Context(), place{host: "a", port: 1}, nil)
	if kind(t, err) != runtime.DialNoSuchHost {
		t.Error(err)
	}
}
