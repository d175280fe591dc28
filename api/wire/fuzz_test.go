package wire

import (
	"bytes"
	"encoding/json"
	"math/rand/v2"
	"net"
	"net/http"
	"net/http/httptest"
	"reflect"
	"strings"
	"testing"
	"time"
)

var fuzzBodies = []string{
	`{}`, `[]`, `null`, ``, `{"StreamName":"s","ShardCount":1,"Since":1.5,"Big":1e400,"Enforce":true,"Unknown":[{"a":"\"]}"},1,null]}`,
	`{"StreamName":"s","Records":[{"Data":"AAAA","PartitionKey":"k"},null,{}]}`, `{"Tags":{"a":"b","ä\ud800":null}}`, `{"TagKeys":["",null]}`,
	"\xbf\x6aStreamName\x7f\x61s\x61t\xff\xff", "\xa1\x67Records\x81\xa2\x64Data\x41\x00\x6cPartitionKey\x61k", "\xa1\x65Since\xc1\xfb\x41\xd5\x79\xcc\xec\xb7\x7c\xee",
	"\xa1\x64Tags\xa1\x61a\x5f\x41\x00\xff", "\x9b\xff\xff\xff\xff\xff\xff\xff\xff", "\xbb\x00\x00\x00\x01\x00\x00\x00\x00",
}

// Reading never panics, and what was read is of the kinds that the shapes promise.
func FuzzReading(f *testing.F) {
	for _, body := range fuzzBodies {
		for format := range byte(4) {
			f.Add(format, []byte(body))
		}
	}
	service := testService()
	f.Fuzz(func(t *testing.T, format byte, body []byte) {
		x := exchange{format: Format(format % 4)}
		if len(body) == 0 || !x.wellFormed(body) {
			return
		}
		if x.format.JSON() && !json.Valid(body) {
			t.Fatal("not JSON, and taken")
		}
		for _, op := range service.Ops {
			in, err := read(x.format, op.Input, body)
			if err != nil {
				if err.Code != codeSerialization || err.Message == "" {
					t.Fatal(err)
				}
				continue
			}
			promised(t, op.Input, in)
			err = check(op.Input, in, false)
			if err == nil && op.Input != nil {
				for _, m := range op.Input.Members {
					if m.Required && !in.Has(m.Name) {
						t.Fatalf("%s has no %s, and was taken", op.Name, m.Name)
					}
				}
			}
			if err != nil && len(err.Message) > 20*maxPrinted {
				t.Fatalf("an error of %d bytes", len(err.Message))
			}
		}
	})
}

func promised(t *testing.T, s *Shape, v any) {
	if v == nil || reflect.ValueOf(v).IsZero() || s == nil {
		return
	}
	ok := true
	switch s.Kind {
	case KindString:
		_, ok = v.(string)
	case KindInteger, KindLong:
		_, ok = v.(int64)
	case KindBoolean:
		_, ok = v.(bool)
	case KindBlob:
		_, ok = v.([]byte)
	case KindTimestamp:
		_, ok = v.(time.Time)
	case KindList:
		var list []any
		list, ok = v.([]any)
		for _, e := range list {
			promised(t, s.Elem, e)
		}
	case KindMap:
		var all Values
		all, ok = v.(Values)
		for _, e := range all {
			promised(t, s.Elem, e)
		}
	case KindStructure:
		var all Values
		all, ok = v.(Values)
		for _, m := range s.Members {
			promised(t, m.Shape, all[m.Name])
		}
	}
	if !ok {
		t.Fatalf("kind %d is a %T", s.Kind, v)
	}
}

// Whatever is asked, the answer is whole, and no trouble of ours.
func FuzzRequests(f *testing.F) {
	for _, body := range fuzzBodies {
		for i, kind := range []string{"application/x-amz-json-1.1", "application/x-amz-cbor-1.1", "application/json", "application/cbor", "x/y; a"} {
			f.Add("POST", "/", "Kinesis_20131202.CreateStream", kind, testKey, testDate, "", []byte(body))
			f.Add("POST", "/service/Kinesis_20131202/operation/PutRecords?X-Amz-Algorithm=a&X-Amz-Date=%zz", "", kind, "", "", "gzip", []byte(body[:min(i, len(body))]))
		}
	}
	f.Add("GET", "/%2f/?;=&&", "Kinesis_20131202.", "", "AWS4-HMAC-SHA256 , =, Credential=////", "x", "", []byte(nil))
	h := testHandler(f, Options{})
	f.Fuzz(func(t *testing.T, method, uri, target, kind, auth, date, encoding string, body []byte) {
		if strings.HasSuffix(target, ".Fail") || strings.HasSuffix(target, ".Panic") {
			return
		}
		r, err := http.NewRequest(method, "http://localhost"+uri, bytes.NewReader(body))
		if err != nil {
			return
		}
		r.Header.Set("X-Amz-Target", target)
		r.Header.Set("Content-Type", kind)
		r.Header.Set("Authorization", auth)
		r.Header.Set("X-Amz-Date", date)
		r.Header.Set("Content-Encoding", encoding)
		if strings.Contains(uri, "operation") {
			r.Header.Del("X-Amz-Target")
			r.Header.Set("Smithy-Protocol", "rpc-v2-cbor")
		}
		w := httptest.NewRecorder()
		h.ServeHTTP(w, r)
		if w.Code >= 500 && w.Code != http.StatusNotImplemented {
			t.Fatalf("%d %s", w.Code, w.Body)
		}
		answer := w.Body.Bytes()
		if got := w.Header().Get("Content-Type"); strings.Contains(got, "json") && len(answer) > 0 && !json.Valid(answer) {
			t.Fatalf("%s: %q", got, answer)
		} else if strings.Contains(got, "cbor") && len(answer) > 0 && cborEnd(answer, 0, 0) != len(answer) {
			t.Fatalf("%s: %q", got, answer)
		}
	})
}

// Ten thousand requests that were sound before bytes of them were changed, removed or
// doubled: each is answered, and the server stays.
func TestMutatedRequestsAreAnswered(t *testing.T) {
	server := testServer(t, testHandler(t, Options{Services: append([]*Service{testService(), testREST()}, testQuery()...)}))
	form := strings.ReplaceAll("Content-Type: application/x-www-form-urlencoded\r\n"+signed, "/kinesis/", "/iam/")
	lambda := strings.ReplaceAll(signed, "/kinesis/", "/lambda/")
	seeds := []string{
		post(form, "Action=CreateRole&Version=2010-05-08&RoleName=r&Tags.member.1.Key=a&Tags.member.1.Value=b&Max=7&At=2026-11-22T10:00:00Z"),
		strings.Replace(post(lambda, `{"FunctionName":"f","Timeout":3,"Weight":0.25,"ZipFile":"AAAA"}`), "POST /", "POST /2015-03-31/functions", 1),
		strings.Replace(post(lambda, `{}`), "POST /", "GET /2015-03-31/functions/f/aliases/live?Qualifier=%24LATEST", 1),
		strings.Replace(post("X-Amz-Invocation-Type: Event\r\n"+lambda, `{}`), "POST /", "POST /2015-03-31/functions/f/invocations", 1),
		post(jsonType+signed+"X-Amz-Target: Kinesis_20131202.PutRecords\r\n", fuzzBodies[5]),
		post(jsonType+signed+"X-Amz-Target: Kinesis_20131202.CreateStream\r\n", fuzzBodies[4]),
		post(cborType+signed+"X-Amz-Target: Kinesis_20131202.PutRecords\r\n", fuzzBodies[9]),
		post(cborType+signed+"X-Amz-Target: Kinesis_20131202.CreateStream\r\n", fuzzBodies[8]),
		post(jsonType+signed+"Content-Encoding: gzip\r\nX-Amz-Target: Kinesis_20131202.CreateStream\r\n", zipped(t, []byte(fuzzBodies[4]))),
		post(jsonType+signed+"X-Amz-Target: Kinesis_20131202.SubscribeToShard\r\n", `{}`),
		strings.Replace(post("Content-Type: application/cbor\r\nSmithy-Protocol: rpc-v2-cbor\r\n"+signed, fuzzBodies[10]), "POST /", "POST /service/Kinesis_20131202/operation/CreateStream", 1),
	}
	rnd := rand.New(rand.NewPCG(5, 1))
	n := 10_000
	if testing.Short() {
		n = 1000
	}
	codes := map[int]int{}
	for i := range n {
		b := []byte(seeds[i%len(seeds)])
		head := bytes.Index(b, []byte("\r\n\r\n"))
		for range 1 + rnd.IntN(3) {
			at := rnd.IntN(len(b))
			if i%2 == 0 && head+4 < len(b) { // the body more often than it is long
				at = head + 4 + rnd.IntN(len(b)-head-4)
			}
			switch rnd.IntN(4) {
			case 0:
				b[at] = byte(rnd.IntN(256))
			case 1:
				b[at] ^= 1 << rnd.IntN(8)
			case 2:
				b = append(b[:at], b[min(at+1+rnd.IntN(4), len(b)):]...)
			case 3:
				b = append(b[:at:at], append(bytes.Repeat(b[at:min(at+4, len(b))], 1+rnd.IntN(3)), b[at:]...)...)
			}
			if head >= len(b) || len(b) == 0 {
				break
			}
		}
		codes[mutated(t, server, b)]++
	}
	t.Logf("statuses: %v", codes)
	for code, n := range codes {
		if code >= 500 && code != http.StatusNotImplemented && code != http.StatusHTTPVersionNotSupported {
			t.Errorf("%d answers of status %d", n, code)
		}
	}
	if codes[200] == 0 || codes[400] == 0 {
		t.Errorf("%v: want some to be sound and some not", codes)
	}
}

// mutated sends a request and nothing after it, and gives the status of the answer: 0 if
// the server took it for no request at all.
func mutated(t *testing.T, server *httptest.Server, request []byte) int {
	t.Helper()
	conn, err := net.Dial("tcp", server.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if _, err := conn.Write(request); err != nil {
		return 0 // refused while it was being sent
	}
	if err := conn.(*net.TCPConn).CloseWrite(); err != nil {
		return 0
	}
	conn.SetReadDeadline(time.Now().Add(30 * time.Second))
	var answer [12]byte // "HTTP/1.1 200"
	n, err := conn.Read(answer[:])
	if nerr, ok := err.(net.Error); ok && nerr.Timeout() {
		t.Fatalf("no answer to %q", request)
	}
	if n < len(answer) || answer[9] < '1' || answer[9] > '5' {
		return 0
	}
	return int(answer[9]-'0')*100 + int(answer[10]-'0')*10 + int(answer[11]-'0')
}
