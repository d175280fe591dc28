package wire

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

const (
	dynamoKey = "AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/20150830/us-east-1/dynamodb/aws4_request, SignedHeaders=host, Signature=00"
	s3Key     = "AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/20150830/us-east-1/s3/aws4_request, SignedHeaders=host, Signature=00"
)

func TestRequestsFindTheirServiceByTargetPathScopeAndHost(t *testing.T) {
	streams := &Service{Name: "dynamodbstreams", Target: "DynamoDBStreams_20120810", Signing: "dynamodb", Formats: []Format{JSON10}, Checksum: true}
	h := testHandler(t, Options{Services: []*Service{testService(), streams}})
	alone := testHandler(t, Options{})
	proxied := testHandler(t, Options{Upstream: "http://localhost:1"})
	const kinesis, dynamo, foreign = "kinesis", "dynamodbstreams", ""
	tests := []struct {
		name         string
		h            *Handler
		method, path string
		head         map[string]string
		want         string
	}{
		{"by target", h, "POST", "/", map[string]string{"X-Amz-Target": "Kinesis_20131202.PutRecord"}, kinesis},
		{"by target, though signed for another", h, "POST", "/", map[string]string{"X-Amz-Target": "Kinesis_20131202.PutRecord", "Authorization": dynamoKey}, kinesis},
		{"DynamoDB Streams, signed as dynamodb", h, "POST", "/", map[string]string{"X-Amz-Target": "DynamoDBStreams_20120810.GetRecords", "Authorization": dynamoKey}, dynamo},
		{"DynamoDB itself", h, "POST", "/", map[string]string{"X-Amz-Target": "DynamoDB_20120810.PutItem", "Authorization": dynamoKey}, foreign},
		{"a target that only begins like ours", h, "POST", "/", map[string]string{"X-Amz-Target": "Kinesis_20131202_V2.PutRecord"}, foreign},
		{"by the path of RPC v2", h, "POST", "/service/Kinesis_20131202/operation/PutRecord", map[string]string{"Smithy-Protocol": "rpc-v2-cbor"}, kinesis},
		{"by such a path behind a prefix", h, "POST", "/prefix/service/Kinesis_20131202/operation/PutRecord", map[string]string{"Smithy-Protocol": "rpc-v2-cbor"}, kinesis},
		{"the path of another service", h, "POST", "/service/GraniteServiceVersion20100801/operation/PutMetricData", map[string]string{"Smithy-Protocol": "rpc-v2-cbor"}, foreign},
		{"by scope", h, "POST", "/", map[string]string{"Authorization": testKey}, kinesis},
		{"the scope of another service", h, "GET", "/bucket/key", map[string]string{"Authorization": s3Key}, foreign},
		{"another scope in the query", h, "GET", "/bucket/key?X-Amz-Credential=AKID%2F20150830%2Fus-east-1%2Fs3%2Faws4_request", nil, foreign},
		{"by host", h, "POST", "/", map[string]string{"Host": "kinesis.eu-west-1.amazonaws.com"}, kinesis},
		{"by host of an account", h, "POST", "/", map[string]string{"Host": "123456789012.data-kinesis.eu-west-1.amazonaws.com:443"}, kinesis},
		{"the host of another service", h, "POST", "/", map[string]string{"Host": "sqs.us-east-1.localhost.localstack.cloud:4566"}, foreign},
		{"nothing says", h, "POST", "/", nil, kinesis},
		{"nothing says, on a path", alone, "GET", "/bucket", nil, kinesis},
		{"nothing says, on a path, and there is an upstream", proxied, "GET", "/bucket", nil, foreign},
		{"nothing says, with a form, and there is an upstream", proxied, "POST", "/", map[string]string{"Content-Type": "application/x-www-form-urlencoded; charset=utf-8"}, foreign},
		{"nothing says, at the root, and there is an upstream", proxied, "POST", "/", nil, kinesis},
	}
	for _, tt := range tests {
		r := httptest.NewRequest(tt.method, tt.path, nil)
		for name, value := range tt.head {
			r.Header.Set(name, value)
		}
		if host := tt.head["Host"]; host != "" {
			r.Host = host
		}
		got := tt.h.route(r, credentialsOf(r, queryOf(r)))
		name := foreign
		if got.service != nil {
			name = got.service.Name
		}
		if name != tt.want {
			t.Errorf("%s: %q, want %q", tt.name, name, tt.want)
		}
	}
}

func TestAnUnknownServiceIsNamedInTheClientsProtocol(t *testing.T) {
	h := testHandler(t, Options{})
	says := func(what string) string {
		return "wasmill has no service for " + what + ", only kinesis: start it with wasmill up --upstream URL to have another emulator answer"
	}
	tests := []struct {
		name, method, path string
		head               map[string]string
		body               string
		kind, want         string
	}{
		{"AWS JSON", "POST", "/", map[string]string{"Content-Type": "application/x-amz-json-1.0", "X-Amz-Target": "DynamoDB_20120810.ListTables", "Authorization": dynamoKey}, "{}",
			"application/x-amz-json-1.0", `{"__type":"UnknownOperationException","message":"` + says("DynamoDB_20120810.ListTables") + `"}`},
		{"the query protocol", "POST", "/", map[string]string{"Content-Type": "application/x-www-form-urlencoded", "Authorization": strings.Replace(s3Key, "s3", "sts", 1)}, "Action=GetCallerIdentity",
			"text/xml", "<ErrorResponse><Error><Type>Sender</Type><Code>UnknownOperationException</Code><Message>" + says("sts") + "</Message></Error><RequestId>"},
		{"S3", "GET", "/bucket", map[string]string{"Authorization": s3Key}, "",
			"application/xml", "<Error><Code>UnknownOperationException</Code><Message>" + says("s3") + "</Message><RequestId>"},
		{"REST", "GET", "/2015-03-31/functions", map[string]string{"Authorization": strings.Replace(s3Key, "s3", "lambda", 1)}, "",
			"application/json", `{"__type":"UnknownOperationException","message":"` + says("lambda") + `"}`},
		{"RPC v2", "POST", "/service/GraniteServiceVersion20100801/operation/PutMetricData", map[string]string{"Content-Type": "application/cbor", "Smithy-Protocol": "rpc-v2-cbor"}, "\xa0",
			"application/cbor", "\xa2f__typex\x19UnknownOperationExceptiongmessagex"},
	}
	for _, tt := range tests {
		r := ask(h, tt.method, tt.path, tt.head, tt.body)
		if got := text(t, r); r.StatusCode != 501 || r.Header.Get("Content-Type") != tt.kind || !strings.HasPrefix(got, tt.want) {
			t.Errorf("%s: %d %s\n%s, want\n%s", tt.name, r.StatusCode, r.Header.Get("Content-Type"), got, tt.want)
		}
	}
}

func TestAnUnknownOperationIsNamedInAHeader(t *testing.T) {
	head := jsonHead("Put\tRecords\u00e4")
	r := ask(testHandler(t, Options{}), "POST", "/", head, "{}")
	if got := headerOf(r, "x-amzn-ErrorMessage"); got != "kinesis has no operation Put?Records?" {
		t.Errorf("%q", got)
	}
}

func TestOtherServicesAreForwardedAsTheyCame(t *testing.T) {
	type seen struct {
		method, uri, host, body string
		head                    http.Header
	}
	got := make(chan seen, 1)
	upstream := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		b, _ := io.ReadAll(r.Body)
		got <- seen{r.Method, r.RequestURI, r.Host, string(b), r.Header}
		w.Header().Set("X-Amz-Request-Id", "theirs")
		w.Header().Set("Connection", "X-Hop")
		w.Header().Set("X-Hop", "1")
		w.WriteHeader(http.StatusTeapot)
		fmt.Fprint(w, "their answer")
	}))
	defer upstream.Close()
	server := testServer(t, testHandler(t, Options{Upstream: upstream.URL}))

	r := raw(t, server.Listener.Addr().String(), "PUT /bucket/a%2Fb?x;y&list-type=2&empty HTTP/1.1\r\nHost: bucket.s3.amazonaws.com\r\nAuthorization: "+s3Key+
		"\r\nX-Forwarded-For: 10.0.0.1\r\nConnection: X-Gone\r\nX-Gone: 1\r\nTransfer-Encoding: chunked\r\nContent-Encoding: aws-chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n")
	if body := text(t, r); r.StatusCode != http.StatusTeapot || body != "their answer" || r.Header.Get("X-Amz-Request-Id") != "theirs" || r.Header.Get("X-Hop") != "" {
		t.Errorf("%d %q %v", r.StatusCode, body, r.Header)
	}
	s := <-got
	if s.method != "PUT" || s.uri != "/bucket/a%2Fb?x;y&list-type=2&empty" || s.host != "bucket.s3.amazonaws.com" || s.body != "hello" {
		t.Errorf("the upstream saw %+v", s)
	}
	for name, want := range map[string]string{"Authorization": s3Key, "X-Forwarded-For": "10.0.0.1", "X-Gone": "", "Content-Encoding": "aws-chunked", "Accept-Encoding": "", "User-Agent": ""} {
		if got := s.head.Get(name); got != want {
			t.Errorf("the upstream saw %s: %q, want %q", name, got, want)
		}
	}

	// Ours stay here.
	if body := text(t, do(t, http.DefaultClient, server.URL, "ListStreams")); !strings.Contains(body, "HasMoreStreams") {
		t.Errorf("ListStreams: %s", body)
	}
}

func TestForwardedAnswersAreReadAsTheyCome(t *testing.T) {
	release := make(chan struct{})
	upstream := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprintln(w, "first")
		http.NewResponseController(w).Flush()
		<-release
		fmt.Fprintln(w, "second")
	}))
	defer upstream.Close()
	server := testServer(t, testHandler(t, Options{Upstream: upstream.URL}))
	r, err := http.Get(server.URL + "/stream")
	if err != nil {
		t.Fatal(err)
	}
	defer r.Body.Close()
	lines := bufio.NewReader(r.Body)
	if line, err := lines.ReadString('\n'); line != "first\n" {
		t.Fatalf("%q, %v", line, err)
	}
	close(release)
	if line, err := lines.ReadString('\n'); line != "second\n" {
		t.Fatalf("%q, %v", line, err)
	}
}

func TestAnUpstreamThatLeadsBackIsFoundOut(t *testing.T) {
	server := httptest.NewUnstartedServer(nil)
	h := testHandler(t, Options{Upstream: "http://" + server.Listener.Addr().String()})
	server.Config.Handler = h
	server.Start()
	defer server.Close()
	r, err := http.Get(server.URL + "/bucket")
	if err != nil {
		t.Fatal(err)
	}
	defer r.Body.Close()
	if got := text(t, r); r.StatusCode != 508 || !strings.Contains(got, "must not lead to wasmill itself") {
		t.Errorf("%d %s", r.StatusCode, got)
	}
	// Two that lead to each other.
	a, b := httptest.NewUnstartedServer(nil), httptest.NewUnstartedServer(nil)
	a.Config.Handler = testHandler(t, Options{Upstream: "http://" + b.Listener.Addr().String()})
	b.Config.Handler = testHandler(t, Options{Upstream: "http://" + a.Listener.Addr().String()})
	a.Start()
	defer a.Close()
	b.Start()
	defer b.Close()
	r, err = http.Get(a.URL + "/bucket")
	if err != nil {
		t.Fatal(err)
	}
	defer r.Body.Close()
	if r.StatusCode != 508 {
		t.Errorf("two: %d", r.StatusCode)
	}
}

func TestAnUpstreamThatDoesNotAnswerIsNamed(t *testing.T) {
	gone := httptest.NewServer(nil)
	gone.Close()
	var log bytes.Buffer
	h := testHandler(t, Options{Upstream: gone.URL, Logger: slog.New(slog.NewTextHandler(&log, nil))})
	r := ask(h, "POST", "/", map[string]string{"Content-Type": "application/x-amz-json-1.0", "X-Amz-Target": "DynamoDB_20120810.ListTables"}, "{}")
	if got := text(t, r); r.StatusCode != 502 || !strings.HasPrefix(got, `{"__type":"ServiceUnavailable","message":"the upstream `+gone.URL+` (up --upstream) did not answer: dial tcp`) {
		t.Errorf("%d %s", r.StatusCode, got)
	}
}

func TestAnUpstreamMustBeAURL(t *testing.T) {
	for _, u := range []string{"localhost:4567", "ftp://localhost", "http://", "://"} {
		if _, err := New(Options{Upstream: u}); err == nil || !strings.Contains(err.Error(), "http://localhost:4567") {
			t.Errorf("%q: %v", u, err)
		}
	}
}
