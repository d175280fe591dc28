package server

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/wasmill/wasmill/api/admin"
)

func start(t *testing.T, c Config) *Server {
	t.Helper()
	c.Listen = "127.0.0.1:0"
	return startAt(t, c)
}

func startAt(t *testing.T, c Config) *Server {
	t.Helper()
	s, err := Start(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { closeIt(t, s) })
	return s
}

func closeIt(t *testing.T, s *Server) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	if err := s.Close(ctx); err != nil {
		t.Errorf("close: %v", err)
	}
}

// call returns status and body of an answer.
func call(t *testing.T, method, url, body string, header http.Header) (int, string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, url, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	for k, v := range header {
		req.Header[k] = v
	}
	if host := header.Get("Host"); host != "" {
		req.Host = host
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	b, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	return res.StatusCode, string(b)
}

// refused checks that an answer is an error of that code.
func refused(t *testing.T, what string, status int, body string, wantStatus int, code, says string) {
	t.Helper()
	var e admin.Error
	if err := json.Unmarshal([]byte(body), &e); err != nil || status != wantStatus || e.Code != code || !strings.Contains(e.Message, says) {
		t.Errorf("%s: %d %s, want %d %s %q", what, status, body, wantStatus, code, says)
	}
}

func TestRequestsAreTakenExactlyOrNotAtAll(t *testing.T) {
	s := start(t, Config{Memory: true})
	v1 := s.Endpoint() + admin.Prefix
	tests := []struct {
		what, method, path, body string
		status                   int
		code, says               string
	}{
		{"a misspelt field", "POST", "/streams", `{"name":"s","shard":4}`, 400, admin.CodeBadRequest, `unknown field "shard"; did you mean shards?`},
		{"a misspelt field within", "POST", "/streams/s/records", `{"records":[{"kye":"a"}]}`, 400, admin.CodeBadRequest, "did you mean key?"},
		{"no JSON", "POST", "/streams", `name=s`, 400, admin.CodeBadRequest, "cannot be read"},
		{"nothing", "POST", "/streams", ``, 400, admin.CodeBadRequest, "no body"},
		{"two objects", "POST", "/streams", `{"name":"s"}{"name":"t"}`, 400, admin.CodeBadRequest, "goes on"},
		{"a value of the wrong kind", "POST", "/streams", `{"name":7}`, 400, admin.CodeBadRequest, "name"},
		{"no duration", "POST", "/streams", `{"name":"s","retention":"long"}`, 400, admin.CodeBadRequest, "is no duration"},
		{"a body too large", "POST", "/streams", `{"name":"` + strings.Repeat("x", 2<<20) + `"}`, 413, admin.CodeTooLarge, "1048576"},
		{"a misspelt parameter", "GET", "/dead-letters?triger=x", ``, 400, admin.CodeBadRequest, "did you mean trigger?"},
		{"a parameter out of range", "GET", "/dead-letters?limit=-1", ``, 400, admin.CodeBadRequest, "limit"},
		{"a purge of everything by accident", "DELETE", "/dead-letters", ``, 400, admin.CodeBadRequest, "all=true"},
		{"a purge of only some", "DELETE", "/dead-letters?limit=1", ``, 400, admin.CodeBadRequest, "limit is for listing"},
		{"a purge of only some of all", "DELETE", "/dead-letters?all=true&limit=1", ``, 400, admin.CodeBadRequest, "limit is for listing"},
		{"a purge of only some of a trigger's", "DELETE", "/dead-letters?trigger=t&limit=0", ``, 400, admin.CodeBadRequest, "limit is for listing"},
		{"text and data", "POST", "/streams/s/records", `{"records":[{"key":"k","text":"a","data":"YQ=="}]}`, 400, admin.CodeBadRequest, "want one"},
		{"a trigger that moves", "PATCH", "/triggers/t", `{"stream":"other"}`, 400, admin.CodeTriggerInvalid, "cannot be changed"},
		{"no such path", "GET", "/nothing", ``, 404, admin.CodeNoSuchPath, "nothing is served"},
		{"no such method", "PUT", "/streams", ``, 404, admin.CodeNoSuchPath, "PUT"},
		{"no module", "POST", "/functions/f1", `text`, 422, admin.CodeCodeRefused, ""},
		{"too many records", "POST", "/streams/s/records", `{"records":[` + strings.Repeat(`{"key":"k"},`, 500) + `{"key":"k"}]}`, 400, admin.CodeStreamInvalid, "500"},
	}
	if status, body := call(t, "POST", v1+"/streams", `{"name":"s"}`, nil); status != 201 {
		t.Fatalf("create: %d %s", status, body)
	}
	for _, tt := range tests {
		status, body := call(t, tt.method, v1+tt.path, tt.body, nil)
		refused(t, tt.what, status, body, tt.status, tt.code, tt.says)
	}
}

func TestWebPagesAreKeptOut(t *testing.T) {
	s := start(t, Config{Memory: true, AllowReset: true, AllowHosts: []string{"wasmill"}})
	// A page that rebound its own name to this machine is of the same origin to
	// the browser. Over http to a name it sends no Sec-Fetch-Site, since that is
	// for trustworthy origins, and with a GET no Origin either.
	rebound := http.Header{"Host": {"evil.example"}, "Referer": {"http://evil.example/"}, "User-Agent": {"Mozilla/5.0"}}
	tests := []struct {
		what, method, path string
		header             http.Header
		status             int
		code               string
	}{
		{"a program", "POST", "/_wasmill/reset", nil, 200, ""},
		{"a page of another site", "POST", "/_wasmill/reset", http.Header{"Sec-Fetch-Site": {"cross-site"}, "Origin": {"https://evil.example"}}, 403, admin.CodeForeign},
		{"an older browser", "POST", "/_wasmill/reset", http.Header{"Origin": {"https://evil.example"}}, 403, admin.CodeForeign},
		{"a page that rebound its name", "POST", "/_wasmill/reset", http.Header{"Host": {"evil.example"}, "Origin": {"http://evil.example"}}, 403, admin.CodeForeignHost},
		{"a rebound page that reads", "GET", "/_wasmill/v1/streams", rebound, 403, admin.CodeForeignHost},
		{"a rebound page that reads records", "GET", "/_wasmill/v1/streams/s/records", rebound, 403, admin.CodeForeignHost},
		{"a rebound page that reads dead letters", "GET", "/_wasmill/v1/dead-letters", rebound, 403, admin.CodeForeignHost},
		{"a rebound page that reads metrics", "GET", "/_wasmill/metrics", rebound, 403, admin.CodeForeignHost},
		{"a rebound page at a path nobody serves", "GET", "/", rebound, 403, admin.CodeForeignHost},
		{"a watchdog by any name", "GET", "/_wasmill/health", rebound, 200, ""},
		{"our own page", "POST", "/_wasmill/reset", http.Header{"Sec-Fetch-Site": {"same-origin"}, "Origin": {s.Endpoint()}}, 200, ""},
		{"another container that was not announced", "POST", "/_wasmill/reset", http.Header{"Host": {"mill:4566"}}, 403, admin.CodeForeignHost},
		{"another container", "POST", "/_wasmill/reset", http.Header{"Host": {"wasmill:4566"}}, 200, ""},
		{"a LocalStack user", "GET", "/_wasmill/v1/streams", http.Header{"Host": {"localhost.localstack.cloud:4566"}}, 200, ""},
		{"a container on Docker Desktop", "GET", "/_wasmill/v1/streams", http.Header{"Host": {"host.docker.internal:4566"}}, 200, ""},
		{"metrics for a program", "GET", "/_wasmill/metrics", nil, 200, ""},
	}
	for _, tt := range tests {
		status, body := call(t, tt.method, s.Endpoint()+tt.path, "", tt.header)
		if tt.code != "" {
			refused(t, tt.what, status, body, tt.status, tt.code, "")
		} else if status != tt.status {
			t.Errorf("%s: %d %s, want %d", tt.what, status, body, tt.status)
		}
	}
}

func TestAServerOnANetworkIsCalledByAddressesButNotByForeignNames(t *testing.T) {
	s := startAt(t, Config{Memory: true, Listen: "0.0.0.0:0"})
	url := s.Endpoint() + "/_wasmill/v1/streams"
	for host, want := range map[string]int{"192.168.1.5:4566": 200, "[fe80::1]:4566": 200, "localhost": 200, "evil.example": 403, "wasmill": 403} {
		if status, body := call(t, "GET", url, "", http.Header{"Host": {host}}); status != want {
			t.Errorf("%s: %d %s, want %d", host, status, body, want)
		}
	}
}

func TestHealth(t *testing.T) {
	s := start(t, Config{Memory: true, Version: "1.2.3"})
	if status, body := call(t, "GET", s.Endpoint()+"/_wasmill/health", "", nil); status != 200 || !strings.Contains(body, `"status":"ok"`) || !strings.Contains(body, `"version":"1.2.3"`) {
		t.Errorf("health: %d %s", status, body)
	}
	var ls struct {
		Services map[string]string
		Version  string
	}
	status, body := call(t, "GET", s.Endpoint()+"/_localstack/health", "", nil)
	if err := json.Unmarshal([]byte(body), &ls); err != nil || status != 200 || ls.Services == nil || ls.Version == "" {
		t.Errorf("LocalStack's health: %d %s", status, body)
	}
	if status, body := call(t, "GET", s.Endpoint()+"/_wasmill/metrics", "", nil); status != 200 {
		t.Errorf("metrics: %d %s", status, body)
	}
	status, body = call(t, "POST", s.Endpoint()+"/_wasmill/reset", "", nil)
	refused(t, "reset without leave", status, body, 403, admin.CodeResetRefused, "--allow-reset")
}

// TestPutCountsInTheMetrics also shows that what AWS has a name for bears it.
func TestPutCountsInTheMetrics(t *testing.T) {
	s := start(t, Config{Memory: true})
	c := admin.NewClient(s.Endpoint())
	defer c.Close()
	if _, err := c.CreateStream(t.Context(), admin.StreamSpec{Name: "orders"}); err != nil {
		t.Fatal(err)
	}
	if _, err := c.Put(t.Context(), "orders", []admin.Entry{{Key: "a", Text: "1"}, {Key: "b", Data: []byte{0xff}}}); err != nil {
		t.Fatal(err)
	}
	_, body := call(t, "GET", s.Endpoint()+"/_wasmill/metrics", "", nil)
	if !strings.Contains(body, "IncomingRecords") || !strings.Contains(body, `StreamName="orders"`) {
		t.Errorf("metrics:\n%s", body)
	}
}

// TestTheTraceOfAPutReachesItsRecords: a record's own, else that of the request.
func TestTheTraceOfAPutReachesItsRecords(t *testing.T) {
	s := start(t, Config{Memory: true})
	c := admin.NewClient(s.Endpoint())
	defer c.Close()
	if _, err := c.CreateStream(t.Context(), admin.StreamSpec{Name: "orders"}); err != nil {
		t.Fatal(err)
	}
	const own, caller = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
	if status, body := call(t, "POST", s.Endpoint()+"/_wasmill/v1/streams/orders/records",
		`{"records":[{"key":"a","text":"1","traceParent":"`+own+`"},{"key":"a","text":"2"}]}`,
		http.Header{"Traceparent": {caller}, "Content-Type": {"application/json"}}); status != 200 {
		t.Fatal(status, body)
	}
	var got []string
	if err := c.Tail(t.Context(), "orders", admin.TailOptions{}, func(l admin.TailLine) error {
		if l.Record != nil {
			got = append(got, l.Record.TraceParent)
		}
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	if len(got) != 2 || got[0] != own || got[1] != caller {
		t.Errorf("traces of the records are %q, want their own and the request's", got)
	}
}

func TestWhatIsStoredOutlivesTheServer(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "data")
	s := start(t, Config{Data: dir})
	if _, err := Start(t.Context(), Config{Data: dir, Listen: "127.0.0.1:0"}); !errors.Is(err, ErrLocked) {
		t.Errorf("a second server on the directory: %v", err)
	}
	if _, err := Start(t.Context(), Config{Memory: true, Listen: s.Addr().String()}); !errors.Is(err, ErrListen) {
		t.Errorf("a second server on the address: %v", err)
	}
	c := admin.NewClient(s.Endpoint())
	if _, err := c.CreateStream(t.Context(), admin.StreamSpec{Name: "orders", Shards: 2}); err != nil {
		t.Fatal(err)
	}
	put, err := c.Put(t.Context(), "orders", []admin.Entry{{Key: "a", Text: "first"}})
	if err != nil || put.Failed != 0 {
		t.Fatal(put, err)
	}
	c.Close()
	closeIt(t, s)
	select {
	case <-s.Done():
	default:
		t.Error("a closed server is not done")
	}

	s = start(t, Config{Data: dir})
	c = admin.NewClient(s.Endpoint())
	defer c.Close()
	var got bytes.Buffer
	err = c.Tail(t.Context(), "orders", admin.TailOptions{}, func(l admin.TailLine) error {
		if l.Record != nil {
			got.Write(l.Record.Payload())
			if l.Record.Sequence != put.Results[0].Sequence {
				t.Errorf("sequence %s, was %s", l.Record.Sequence, put.Results[0].Sequence)
			}
		}
		return nil
	})
	if err != nil || got.String() != "first" {
		t.Errorf("after a restart: %q, %v", got.String(), err)
	}
}

func TestShutdownFromOutside(t *testing.T) {
	s := start(t, Config{Memory: true})
	c := admin.NewClient(s.Endpoint())
	defer c.Close()
	if err := c.Shutdown(t.Context()); err != nil {
		t.Fatal(err)
	}
	<-s.Done()
}
