package build

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"log"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/wasmill/wasmill/functions"
	"github.com/wasmill/wasmill/runtime"
	"github.com/wasmill/wasmill/runtime/door"
	"github.com/wasmill/wasmill/runtime/wasm"
)

// hosts are the names that the tests' world has.
type hosts map[string]string

func (h hosts) LookupNetIP(_ context.Context, _, host string) ([]netip.Addr, error) {
	a, ok := h[host]
	if !ok {
		return nil, &net.DNSError{Err: "no such host", Name: host, IsNotFound: true}
	}
	return []netip.Addr{netip.MustParseAddr(a)}, nil
}

// outside is the world that the function of testdata/reach reaches out to, and the
// function itself, which is built once for all tests: it takes a while.
var outside struct {
	sync.Once
	err       error
	program   runtime.Program
	aws       *fakeKinesis
	authority *authority
}

// authority issues certificates that no machine trusts.
type authority struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
	pem  []byte
}

func newAuthority() (*authority, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	tmpl := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "private"}, IsCA: true, BasicConstraintsValid: true,
		KeyUsage: x509.KeyUsageCertSign, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, tmpl, key.Public(), key)
	if err != nil {
		return nil, err
	}
	cert, err := x509.ParseCertificate(der)
	return &authority{cert, key, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})}, err
}

// issue makes a certificate for a name.
func (a *authority) issue(t *testing.T, name string) tls.Certificate {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	tmpl := &x509.Certificate{SerialNumber: big.NewInt(2), DNSNames: []string{name}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, a.cert, key.Public(), a.key)
	if err != nil {
		t.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
}

// fakeKinesis takes PutRecord, and keeps what it was asked.
type fakeKinesis struct {
	*httptest.Server
	mu     sync.Mutex
	target string
	auth   string
	token  string
	body   map[string]any
}

func (f *fakeKinesis) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.target, f.auth, f.token, f.body = r.Header.Get("X-Amz-Target"), r.Header.Get("Authorization"), r.Header.Get("X-Amz-Security-Token"), nil
	if err := json.NewDecoder(r.Body).Decode(&f.body); err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	w.Header().Set("Content-Type", "application/x-amz-json-1.1")
	io.WriteString(w, `{"SequenceNumber":"49","ShardId":"shardId-000000000000"}`)
}

var names = hosts{"opensearch": "127.0.0.1", "private.example": "127.0.0.1", "metadata.example": "169.254.169.254",
	"inner.example.com": "10.1.2.3", "localhost": "127.0.0.1", "other": "127.0.0.1"}

// reach starts the function with an allow list.
func reach(t *testing.T, timeout time.Duration, allow ...string) (runtime.Environment, *lines) {
	t.Helper()
	outside.Do(func() {
		ctx := context.Background()
		dir, err := os.MkdirTemp("", "wasmill-reach-*")
		if err != nil {
			outside.err = err
			return
		}
		defer os.RemoveAll(dir)
		out := filepath.Join(dir, "reach.wasm")
		res, err := Go(ctx, Options{Dir: filepath.Join("testdata", "reach"), Out: out})
		if err != nil {
			outside.err = err
			return
		}
		code, err := os.ReadFile(out)
		if err != nil {
			outside.err = err
			return
		}
		outside.aws = new(fakeKinesis)
		outside.aws.Server = httptest.NewServer(outside.aws)
		if outside.authority, outside.err = newAuthority(); outside.err != nil {
			return
		}
		endpoint := outside.aws.Listener.Addr().String()
		d := door.New(door.Options{Endpoint: endpoint, Resolver: names, Roots: outside.authority.pem})
		e, err := wasm.NewEngine(ctx, wasm.Options{Dialer: d, Endpoint: "http://" + endpoint})
		if err != nil {
			outside.err = err
			return
		}
		began := time.Now()
		outside.program, _, outside.err = e.Load(ctx, code, nil)
		t.Logf("built %d bytes in %v, compiled in %v", res.Size, res.Took, time.Since(began))
	})
	if outside.err != nil {
		t.Fatal(outside.err)
	}
	logs := new(lines)
	v := functions.Version{Function: "reach", Version: "1", ID: t.Name(), Config: functions.Config{Timeout: timeout, Memory: 256, Allow: allow}}
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	e, err := outside.program.New(ctx, v, logs)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := e.Close(); err != nil {
			t.Error(err)
		}
	})
	return e, logs
}

// do has the function do something.
func do(t *testing.T, e runtime.Environment, timeout time.Duration, what, to, body string) runtime.Result {
	t.Helper()
	payload, err := json.Marshal(map[string]string{"Do": what, "To": to, "Body": body})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), timeout)
	defer cancel()
	return e.Invoke(ctx, &runtime.Invocation{ID: "1", Payload: payload})
}

// answer is what the function returns, which must be no error.
func answer(t *testing.T, e runtime.Environment, what, to, body string) string {
	t.Helper()
	res := do(t, e, 20*time.Second, what, to, body)
	var s string
	if err := json.Unmarshal(res.Response, &s); err != nil || res.Outcome != runtime.Done {
		t.Fatalf("%s %s: %v %s %s", what, to, res.Outcome, res.ErrorType, res.ErrorMessage)
	}
	return s
}

func listening(t *testing.T, h http.HandlerFunc) (port string) {
	s := httptest.NewServer(h)
	t.Cleanup(s.Close)
	_, port, _ = net.SplitHostPort(s.Listener.Addr().String())
	return port
}

func echo(w http.ResponseWriter, r *http.Request) { io.Copy(w, r.Body) }

func TestHandlersReachOverHTTP(t *testing.T) {
	var asked string
	port := listening(t, func(w http.ResponseWriter, r *http.Request) {
		b, _ := io.ReadAll(r.Body)
		asked = fmt.Sprintf("%s %s %d", r.Method, r.URL.Path, bytes.Count(b, []byte("\n")))
		io.WriteString(w, `{"errors":false}`)
	})
	e, _ := reach(t, 20*time.Second, "opensearch:"+port)
	if got := answer(t, e, "get", "http://opensearch:"+port+"/x", ""); got != `200 {"errors":false}` || asked != "GET /x 0" {
		t.Errorf("get: %s; asked %s", got, asked)
	}
	bulk := strings.Repeat(`{"index":{"_index":"i"}}`+"\n"+`{"word":"w"}`+"\n", 20_000)
	if got := answer(t, e, "bulk", "http://opensearch:"+port, bulk); got != `200 {"errors":false}` || asked != "POST /_bulk 40000" {
		t.Errorf("bulk: %s; asked %s", got, asked)
	}
}

func TestConnectionsOfAHandlerDoNotHoldEachOtherUp(t *testing.T) {
	port := listening(t, echo)
	e, _ := reach(t, 20*time.Second, "opensearch:"+port)
	for range 3 {
		if got := answer(t, e, "many", "http://opensearch:"+port, ""); got != "all" {
			t.Error(got)
		}
	}
}

func TestHandlersTrustTheAuthoritiesOfTheHost(t *testing.T) {
	e, _ := reach(t, 20*time.Second, "private.example:*", "127.0.0.1:*")
	s := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { io.WriteString(w, r.Proto) }))
	s.TLS = &tls.Config{Certificates: []tls.Certificate{outside.authority.issue(t, "private.example")}}
	s.EnableHTTP2 = true
	s.StartTLS()
	t.Cleanup(s.Close)
	_, port, _ := net.SplitHostPort(s.Listener.Addr().String())
	if got := answer(t, e, "get", "https://private.example:"+port, ""); got != "200 HTTP/2.0" {
		t.Error(got)
	}

	strange := httptest.NewUnstartedServer(http.HandlerFunc(echo))
	strange.Config.ErrorLog = log.New(io.Discard, "", 0)
	strange.StartTLS()
	t.Cleanup(strange.Close)
	res := do(t, e, 20*time.Second, "get", strange.URL, "")
	if res.Outcome != runtime.FunctionError || !strings.Contains(res.ErrorMessage, "certificate signed by unknown authority") {
		t.Errorf("%v %s", res.Outcome, res.ErrorMessage)
	}
}

func TestHandlersReachAWSHereWithoutBeingAllowedTo(t *testing.T) {
	e, _ := reach(t, 20*time.Second)
	if got := answer(t, e, "kinesis", "orders", "hello"); got != "49" {
		t.Error(got)
	}
	f := outside.aws
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.target != "Kinesis_20131202.PutRecord" || f.body["StreamName"] != "orders" || f.body["Data"] != "aGVsbG8=" {
		t.Errorf("asked %s %v", f.target, f.body)
	}
	if !strings.Contains(f.auth, "Credential=wasmill-reach/") || !strings.HasSuffix(f.token, ":function:reach:1") {
		t.Errorf("credentials %q, %q do not name the function", f.auth, f.token)
	}
}

func TestRefusalsSayWhatToDo(t *testing.T) {
	port := listening(t, echo)
	closed, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	_, nobody, _ := net.SplitHostPort(closed.Addr().String())
	closed.Close()
	e, _ := reach(t, 20*time.Second, "opensearch:"+port, "opensearch:"+nobody, "metadata.example:80", "*.example.com:443", "nowhere:1")
	tests := []struct {
		name, do, to string
		want         string
	}{
		{"a name not in the list", "dial", "other:9200", "dial other:9200 refused: not in the function's allow list; fn update --allow other:9200 (op false, timeout false)"},
		{"the same by HTTP", "get", "http://other:9200", `Get "http://other:9200": dial other:9200 refused: not in the function's allow list; fn update --allow other:9200`},
		{"another port", "dial", "opensearch:1", "dial opensearch:1 refused: not in the function's allow list; fn update --allow opensearch:1 (op false, timeout false)"},
		{"an address", "dial", "10.0.0.1:80", "dial 10.0.0.1:80 refused: not in the function's allow list; fn update --allow 10.0.0.1:80 (op false, timeout false)"},
		{"the address of an allowed name, not asked for", "dial", "127.0.0.1:" + port, "dial 127.0.0.1:" + port + " refused: not in the function's allow list; fn update --allow 127.0.0.1:" + port + " (op false, timeout false)"},
		{"a number that is an address to some", "dial", "2130706433:80", "dial 2130706433:80 refused: neither a name nor an address; addresses are written like 10.0.0.7 (op false, timeout false)"},
		{"metadata by a name", "dial", "metadata.example:80", "dial metadata.example:80 refused: it is at 169.254.169.254, a link-local, metadata or special address, which the function's allow list does not name; fn update --allow 169.254.169.254:80 (op false, timeout false)"},
		{"a private address by a set of names", "dial", "inner.example.com:443", "dial inner.example.com:443 refused: it is at 10.1.2.3, a private address, which the function's allow list does not name; fn update --allow inner.example.com:443 (op false, timeout false)"},
		{"nobody listens", "dial", "opensearch:" + nobody, "dial tcp opensearch:" + nobody + ": connect: Connection refused (op true, timeout false)"},
		{"no such host", "dial", "nowhere:1", "dial tcp: lookup nowhere: no such host (op true, timeout false)"},
		{"a lookup of what may not be dialled", "resolve", "other", "lookup other: resolve other refused: not in the function's allow list; fn update --allow other:PORT"},
		{"other records", "txt", "opensearch", "lookup opensearch: functions can look up addresses only, no TXT records"},
		{"other protocols", "udp", "10.0.0.1:53", "dial udp 10.0.0.1:53: dial udp 10.0.0.1:53 refused: functions reach out by TCP only"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			res := do(t, e, 20*time.Second, tt.do, tt.to, "")
			if res.Outcome != runtime.FunctionError || res.ErrorMessage != tt.want {
				t.Errorf("%v\n got %s\nwant %s", res.Outcome, res.ErrorMessage, tt.want)
			}
		})
	}
	if res := do(t, e, 20*time.Second, "dial plainly", "other:9200", ""); res.ErrorType != "DialError" {
		t.Errorf("a handler that returns a refusal fails with %s, want DialError", res.ErrorType)
	}
}

func TestAddressesStandForTheirNames(t *testing.T) {
	port := listening(t, echo)
	e, _ := reach(t, 20*time.Second, "opensearch:"+port)
	if got := answer(t, e, "address", "opensearch:"+port, ""); got != "127.0.0.1:"+port {
		t.Errorf("connected to %s", got)
	}
	if got := answer(t, e, "resolve", "opensearch", ""); got != "127.0.0.1" {
		t.Errorf("resolved to %s", got)
	}
}

func TestNetworkWithinAHandlerStaysWithin(t *testing.T) {
	e, _ := reach(t, 20*time.Second)
	if got := answer(t, e, "listen", "", ""); got != "from within" {
		t.Error(got)
	}
}

func TestSilentPeersHoldUpNobodyPastTheDeadline(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0") // its backlog takes connections; nobody answers
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	e, logs := reach(t, time.Second, "127.0.0.1:*")
	res := do(t, e, time.Second, "hang", l.Addr().String(), "")
	if res.Outcome != runtime.Timeout {
		t.Errorf("%v %s", res.Outcome, res.ErrorMessage)
	}
	if !strings.Contains(logs.String(), "the deadline was kept") {
		t.Errorf("its own deadline was not kept: %s", logs)
	}
	// The next invocation has nothing of it.
	port := listening(t, echo)
	if got := answer(t, e, "dial", "127.0.0.1:"+port, ""); got != "127.0.0.1:"+port {
		t.Error(got)
	}
}

func TestToolchainsThatDoNotFitAreRefused(t *testing.T) {
	for _, h := range distribution {
		for _, k := range h.hooks {
			if _, err := k.put([]byte("package changed")); err == nil || !strings.Contains(err.Error(), "0 times") {
				t.Errorf("%s %s: %v", h.path, k.file, err)
			}
			if k.many {
				continue
			}
			if _, err := k.put([]byte(k.at + k.at)); err == nil {
				t.Errorf("%s %s: a place that is there twice was taken", h.path, k.file)
			}
		}
	}
	p := &project{g: &toolchain{version: "go1.99"}, packages: map[string]*listed{"net": {Dir: t.TempDir()}}}
	err := p.addDoor(map[string]string{}, t.TempDir())
	if err == nil || !strings.Contains(err.Error(), "go1.99 does not fit: package net has no file dial.go") {
		t.Error(err)
	}
}

// The Go command downloads the version that a project asks for into the module
// cache, and lets no overlay replace files there.
func TestDownloadedToolchainsBuildToo(t *testing.T) {
	out, err := exec.CommandContext(t.Context(), "go", "env", "GOROOT").Output()
	if err != nil {
		t.Fatal(err)
	}
	t.Setenv("GOMODCACHE", filepath.Dir(strings.TrimSpace(string(out)))) // so that the toolchain lies in it
	dir := t.TempDir()
	write(t, filepath.Join(dir, "go.mod"), "module example.com/m\n\ngo 1.24\n")
	write(t, filepath.Join(dir, "main.go"), "package main\n\nimport \"net\"\n\nfunc main() { _, err := net.Dial(\"tcp\", \"a:1\"); println(err.Error()) }\n")
	if _, err := Go(t.Context(), Options{Dir: dir, Out: filepath.Join(dir, "out.wasm")}); err != nil {
		t.Error(err)
	}
}

func TestProjectsThatDoNotDialGetNothingOfTheDoor(t *testing.T) {
	p := &project{packages: map[string]*listed{}}
	if flags, err := p.doorFlags(t.TempDir()); err != nil || len(flags) != 0 {
		t.Errorf("%q, %v", flags, err)
	}
}
