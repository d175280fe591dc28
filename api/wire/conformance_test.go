package wire

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// raw sends a request byte for byte, and reads the answer from the wire.
func raw(t *testing.T, addr, request string) *http.Response {
	t.Helper()
	conn, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	if _, err := io.WriteString(conn, request); err != nil {
		t.Fatal(err)
	}
	r, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// post is a request as bytes.
func post(head, body string) string {
	return fmt.Sprintf("POST / HTTP/1.1\r\nHost: localhost\r\n%sContent-Length: %d\r\n\r\n%s", head, len(body), body)
}

const (
	jsonType   = "Content-Type: application/x-amz-json-1.1\r\n"
	cborType   = "Content-Type: application/x-amz-cbor-1.1\r\n"
	oldType    = "Content-Type: application/json\r\n"
	listTarget = "X-Amz-Target: Kinesis_20131202.ListStreams\r\n"
	signed     = "Authorization: " + testKey + "\r\nX-Amz-Date: " + testDate + "\r\n"

	deniedXML = "<AccessDeniedException>\n  <Message>Unable to determine service/operation name to be authorized</Message>\n</AccessDeniedException>\n"
	needsAll  = "Authorization header requires 'Credential' parameter. Authorization header requires 'Signature' parameter. " +
		"Authorization header requires 'SignedHeaders' parameter. Authorization header requires existence of either a 'X-Amz-Date' or a 'Date' header. Authorization=X"
)

// What AWS answers before it looks at an operation. Sources: index = npm kinesalite
// 3.3.3, index.js; connection = its repository's test/connection.js; both were recorded
// on AWS.
func TestRequestsThatReachNoOperationAreAnsweredAsOnAWS(t *testing.T) {
	tests := []struct {
		name, source, request string
		status                int
		kind, body            string
	}{
		{"another method", "index: req.method", "GET / HTTP/1.1\r\nHost: localhost\r\n\r\n", 403, "", deniedXML},
		{"a method with a body", "index: req.method", "PUT / HTTP/1.1\r\nHost: localhost\r\n" + jsonType + "Content-Length: 2\r\n\r\n{}", 403, "", deniedXML},
		{"OPTIONS without Origin", "index: req.method", "OPTIONS / HTTP/1.1\r\nHost: localhost\r\n\r\n", 403, "", deniedXML},
		{"no body, content type or target", "index: !body", post("", ""), 400, "application/x-amz-cbor-1.1", "\xa1f__typex\x19UnknownOperationException"},
		{"no body, target", "index: !body", post(listTarget, ""), 400, "application/x-amz-cbor-1.1", "\xa1f__typevSerializationException"},
		{"no body, CBOR", "index: !body", post(cborType+listTarget+signed, ""), 400, "application/x-amz-cbor-1.1", "\xa1f__typevSerializationException"},
		{"no body, JSON", "connection: SerializationException if no body", post(jsonType+listTarget+signed, ""), 400, "application/x-amz-json-1.1", `{"__type":"SerializationException"}`},
		{"no body, JSON, no credentials", "connection: … and no auth", post(jsonType+listTarget, ""), 400, "application/x-amz-json-1.1", `{"__type":"SerializationException"}`},
		{"no body, JSON, no target", "connection: UnknownOperationException if no target", post(jsonType+signed, ""), 400, "application/x-amz-json-1.1", `{"__type":"UnknownOperationException"}`},
		{"body without content type", "connection: AccessDeniedException if body and no Content-Type", post(signed, "{}"), 403, "", deniedXML},
		{"another content type, target", "index: !contentValid", post("Content-Type: text/plain\r\n"+listTarget, "{}"), 404, "", "<UnknownOperationException/>\n"},
		{"JSON 1.0 is no type of Kinesis'", "index: !contentValid", post("Content-Type: application/x-amz-json-1.0\r\n"+listTarget, "{}"), 404, "", "<UnknownOperationException/>\n"},
		{"another content type, no operation", "index: !contentValid", post("Content-Type: text/plain\r\nX-Amz-Target: Kinesis_20131202\r\n", "{}"), 403, "", deniedXML},
		{"content type with parameters", "index: contentType", post("Content-Type: application/x-amz-json-1.1; charset=utf-8\r\n"+listTarget+signed, "{}"), 200, "application/x-amz-json-1.1", `{"HasMoreStreams":false,"StreamNames":["000000000000","us-east-1",""]}`},
		{"no JSON", "connection: SerializationException if non-JSON body", post(jsonType+listTarget, "hello"), 400, "application/x-amz-json-1.1", `{"__type":"SerializationException"}`},
		{"JSON that goes on", "index: JSON.parse", post(jsonType+listTarget, "{}{}"), 400, "application/x-amz-json-1.1", `{"__type":"SerializationException"}`},
		{"JSON null", "index: typeof data", post(jsonType+listTarget+signed, "null"), 400, "application/x-amz-json-1.1", `{"__type":"SerializationException"}`},
		{"a JSON string", "index: typeof data", post(jsonType+listTarget+signed, `"{}"`), 400, "application/x-amz-json-1.1", `{"__type":"SerializationException"}`},
		{"no CBOR", "index: cbor.Decoder", post(cborType+listTarget+signed, "\xbf\x61"), 400, "application/x-amz-cbor-1.1", "\xa1f__typevSerializationException"},
		{"application/json, valid", "index: application/json", post(oldType+listTarget+signed, "{}"), 404, "application/json", `{"Output":{"__type":"com.amazon.coral.service#UnknownOperationException"},"Version":"1.0"}`},
		{"application/json, no JSON", "index: application/json", post(oldType+listTarget, "hello"), 400, "application/json", `{"Output":{"__type":"com.amazon.coral.service#SerializationException"},"Version":"1.0"}`},
		{"no target", "index: !serviceValid", post(jsonType+signed, "{}"), 400, "application/x-amz-json-1.1", `{"__type":"UnknownOperationException"}`},
		{"unknown operation", "index: !operationValid", post(jsonType+signed+"X-Amz-Target: Kinesis_20131202.ListStream\r\n", "{}"), 400, "application/x-amz-json-1.1", `{"__type":"UnknownOperationException"}`},
		{"unknown operation, CBOR", "index: !operationValid", post(cborType+signed+"X-Amz-Target: Kinesis_20131202.ListStream\r\n", "\xa0"), 400, "application/x-amz-cbor-1.1", "\xa1f__typex\x19UnknownOperationException"},

		{"no credentials", "connection: MissingAuthenticationTokenException if no auth", post(jsonType+listTarget, "{}"), 400, "application/x-amz-json-1.1", `{"__type":"MissingAuthenticationTokenException","message":"Missing Authentication Token"}`},
		{"no credentials, CBOR", "index: sendError", post(cborType+listTarget, "\xa0"), 400, "application/x-amz-cbor-1.1", "\xa2f__typex#MissingAuthenticationTokenExceptiongmessagex\x1cMissing Authentication Token"},
		{"nothing in the header", "connection: invalid auth", post(jsonType+listTarget+"Authorization: X\r\n", "{}"), 400, "application/x-amz-json-1.1", `{"__type":"IncompleteSignatureException","message":"` + needsAll + `"}`},
		{"another parameter in the query", "connection: incomplete auth header and query", strings.Replace(post(jsonType+listTarget+"Authorization: X\r\n", "{}"), "POST /", "POST /?X-Amz-Algorith", 1), 400, "application/x-amz-json-1.1", `{"__type":"IncompleteSignatureException","message":"` + needsAll + `"}`},
		{"query without algorithm", "connection: all query params except X-Amz-Algorithm", strings.Replace(post(jsonType+listTarget, "{}"), "POST /", "POST /?X-Amz-Credential=a&X-Amz-Signature=b&X-Amz-SignedHeaders=c&X-Amz-Date=d", 1), 400, "application/x-amz-json-1.1", `{"__type":"MissingAuthenticationTokenException","message":"Missing Authentication Token"}`},
		{"both header and query", "connection: both auth header and query", strings.Replace(post(jsonType+listTarget+"Authorization: X\r\n", "{}"), "POST /", "POST /?X-Amz-Algorithm", 1), 400, "application/x-amz-json-1.1", `{"__type":"InvalidSignatureException","message":"Found both 'X-Amz-Algorithm' as a query-string param and 'Authorization' as HTTP header."}`},
		{"parameters after spaces", "connection: AWS4- Signature=b Credential=a", post(jsonType+listTarget+"Authorization: AWS4- Signature=b Credential=a\r\nDate: a\r\n", "{}"), 400, "application/x-amz-json-1.1", `{"__type":"IncompleteSignatureException","message":"Authorization header requires 'SignedHeaders' parameter. Authorization=AWS4- Signature=b Credential=a"}`},
		{"parameters after commas", "connection: AWS4- Signature=b,Credential=a", post(jsonType+listTarget+"Authorization: AWS4- Signature=b,Credential=a\r\nDate: a\r\n", "{}"), 400, "application/x-amz-json-1.1", `{"__type":"IncompleteSignatureException","message":"Authorization header requires 'SignedHeaders' parameter. Authorization=AWS4- Signature=b,Credential=a"}`},
		{"parameters after both", "connection: AWS4- Signature=b, Credential=a", post(jsonType+listTarget+"Authorization: AWS4- Signature=b, Credential=a\r\nDate: a\r\n", "{}"), 400, "application/x-amz-json-1.1", `{"__type":"IncompleteSignatureException","message":"Authorization header requires 'SignedHeaders' parameter. Authorization=AWS4- Signature=b, Credential=a"}`},
		{"empty algorithm in the query", "connection: empty X-Amz-Algorithm query", strings.Replace(post(jsonType+listTarget, "{}"), "POST /", "POST /?X-Amz-Algorithm", 1), 400, "application/x-amz-json-1.1", `{"__type":"IncompleteSignatureException","message":"AWS query-string parameters must include 'X-Amz-Algorithm'. AWS query-string parameters must include 'X-Amz-Credential'. AWS query-string parameters must include 'X-Amz-Signature'. AWS query-string parameters must include 'X-Amz-SignedHeaders'. AWS query-string parameters must include 'X-Amz-Date'. Re-examine the query-string parameters."}`},
		{"query without signed headers", "connection: missing X-Amz-SignedHeaders query", strings.Replace(post(jsonType+listTarget, "{}"), "POST /", "POST /?X-Amz-Algorithm=a&X-Amz-Credential=b&X-Amz-Signature=c&X-Amz-Date=d", 1), 400, "application/x-amz-json-1.1", `{"__type":"IncompleteSignatureException","message":"AWS query-string parameters must include 'X-Amz-SignedHeaders'. Re-examine the query-string parameters."}`},
		{"credential without scope", "AWS documentation, troubleshooting SigV4", post(jsonType+listTarget+"Authorization: AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE, SignedHeaders=host, Signature=00\r\nX-Amz-Date: "+testDate+"\r\n", "{}"), 400, "application/x-amz-json-1.1", `{"__type":"IncompleteSignatureException","message":"Credential must have exactly 5 slash-delimited elements, e.g. keyid/date/region/service/term, got 'AKIDEXAMPLE'"}`},
		{"a date of another form", "npm dynalite, index.js (comment)", post(jsonType+listTarget+"Authorization: "+testKey+"\r\nX-Amz-Date: 201\r\n", "{}"), 400, "application/x-amz-json-1.1", `{"__type":"IncompleteSignatureException","message":"Date must be in ISO-8601 'basic format'. Got '201'. See http://en.wikipedia.org/wiki/ISO_8601"}`},
		{"another of RFC 1123", "AWS documentation, Date header", post(jsonType+listTarget+"Authorization: "+testKey+"\r\nDate: Sun, 30 Aug 2015 12:36:00 GMT\r\n", "{}"), 200, "application/x-amz-json-1.1", `{"HasMoreStreams":false,"StreamNames":["000000000000","us-east-1",""]}`},

		{"an operation that answers nothing", "index: sendJson", post(jsonType+signed+"X-Amz-Target: Kinesis_20131202.DeleteStream\r\n", `{"StreamName":"s"}`), 200, "application/x-amz-json-1.1", ""},
		{"an operation's own error", "helpers.assertNotFound", post(jsonType+signed+"X-Amz-Target: Kinesis_20131202.NotFound\r\n", `{}`), 400, "application/x-amz-json-1.1", `{"__type":"ResourceNotFoundException","message":"Stream <x> not found.","Stream":"x"}`},
	}
	server := testServer(t, testHandler(t, Options{}))
	requestID := regexp.MustCompile(`^[a-f0-9]{8}-[a-f0-9]{4}-[a-f0-9]{4}-[a-f0-9]{4}-[a-f0-9]{12}$`)
	amzID := regexp.MustCompile(`^[A-Za-z0-9+/]{96,107}={0,2}$`) // 72 to 80 bytes
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			r := raw(t, server.Listener.Addr().String(), tt.request)
			if got := text(t, r); r.StatusCode != tt.status || got != tt.body {
				t.Errorf("%d %q,\nwant %d %q (%s)", r.StatusCode, got, tt.status, tt.body, tt.source)
			}
			if got := r.Header.Get("Content-Type"); got != tt.kind {
				t.Errorf("content type %q, want %q", got, tt.kind)
			}
			if r.ContentLength != int64(len(tt.body)) {
				t.Errorf("content length %d, want %d", r.ContentLength, len(tt.body))
			}
			if id := r.Header.Get("X-Amzn-Requestid"); !requestID.MatchString(id) {
				t.Errorf("x-amzn-RequestId %q", id)
			}
			if id := r.Header.Get("X-Amz-Id-2"); !amzID.MatchString(id) {
				t.Errorf("x-amz-id-2 %q", id)
			}
		})
	}
}

// Source: npm kinesalite 3.3.3, index.js.
func TestBrowsersMayCall(t *testing.T) {
	h := testHandler(t, Options{})
	r := ask(h, "OPTIONS", "/", map[string]string{"Origin": "https://example.org", "Access-Control-Request-Headers": "a, b, c", "Access-Control-Request-Method": "POST"}, "")
	for name, want := range map[string]string{
		"Access-Control-Allow-Origin":  "*",
		"Access-Control-Allow-Headers": "a, b, c",
		"Access-Control-Allow-Methods": "POST",
		"Access-Control-Max-Age":       "172800",
		"Content-Length":               "0",
		"X-Amz-Id-2":                   "",
	} {
		if got := r.Header.Get(name); got != want {
			t.Errorf("%s: %q, want %q", name, got, want)
		}
	}
	if got := text(t, r); r.StatusCode != 200 || got != "" || headerOf(r, "x-amzn-RequestId") == "" {
		t.Errorf("%d %q %v", r.StatusCode, got, r.Header)
	}
	head := jsonHead("ListStreams")
	head["Origin"] = "https://example.org"
	r = ask(h, "POST", "/", head, "{}")
	if r.StatusCode != 200 || r.Header.Get("Access-Control-Allow-Origin") != "*" ||
		r.Header.Get("Access-Control-Expose-Headers") != "x-amzn-RequestId,x-amzn-ErrorType,x-amz-request-id,x-amz-id-2,x-amzn-ErrorMessage,Date" {
		t.Errorf("%d %v", r.StatusCode, r.Header)
	}
}

// Source of the texts: npm kinesalite's repository, test/helpers.js, assertType; those of
// timestamps validations/index.js.
func TestValuesOfOtherTypesAreRefusedInAWSWords(t *testing.T) {
	const (
		list   = "Start of list found where not expected"
		object = "Start of structure or map found where not expected."
		big    = "class com.amazon.coral.value.json.numbers.TruncatingBigNumber can not be converted to "
		truth  = "class java.lang.Boolean can not be converted to "
		str    = "class java.lang.String can not be converted to "
	)
	tests := []struct{ op, member, value, want string }{
		{"CreateStream", `"Enforce":%s`, `"23"`, "'23' can not be converted to an Boolean"},
		{"CreateStream", `"Enforce":%s`, `"nope"`, "'NOPE' can not be converted to an Boolean"},
		{"CreateStream", `"Enforce":%s`, `23`, big + "an Boolean"},
		{"CreateStream", `"Enforce":%s`, `-2147483648`, big + "an Boolean"},
		{"CreateStream", `"Enforce":%s`, `[]`, list},
		{"CreateStream", `"Enforce":%s`, `{}`, object},
		{"CreateStream", `"StreamName":%s`, `true`, truth + "an String"},
		{"CreateStream", `"StreamName":%s`, `23`, big + "an String"},
		{"CreateStream", `"StreamName":%s`, `34.56`, big + "an String"},
		{"CreateStream", `"StreamName":%s`, `[]`, list},
		{"CreateStream", `"StreamName":%s`, `{}`, object},
		{"CreateStream", `"ShardCount":%s`, `"23"`, str + "an Integer"},
		{"CreateStream", `"ShardCount":%s`, `true`, truth + "an Integer"},
		{"CreateStream", `"ShardCount":%s`, `[]`, list},
		{"CreateStream", `"ShardCount":%s`, `{}`, object},
		{"CreateStream", `"Big":%s`, `"23"`, str + "an Long"},
		{"CreateStream", `"Big":%s`, `false`, truth + "an Long"},
		{"CreateStream", `"Since":%s`, `"2015"`, str + "milliseconds since epoch"},
		{"CreateStream", `"Since":%s`, `true`, truth + "milliseconds since epoch"},
		{"CreateStream", `"Since":%s`, `[]`, list},
		{"CreateStream", `"Since":%s`, `{}`, object},
		{"PutRecords", `"Records":[{"Data":%s}]`, `true`, truth + "a Blob"},
		{"PutRecords", `"Records":[{"Data":%s}]`, `23`, big + "a Blob"},
		{"PutRecords", `"Records":[{"Data":%s}]`, `[]`, list},
		{"PutRecords", `"Records":[{"Data":%s}]`, `{}`, object},
		{"PutRecords", `"Records":[{"Data":%s}]`, `"23456"`, "'23456' can not be converted to a Blob: Base64 encoded length is expected a multiple of 4 bytes but found: 5"},
		{"PutRecords", `"Records":[{"Data":%s}]`, `"=+/="`, "'=+/=' can not be converted to a Blob: Invalid Base64 character: '='"},
		{"PutRecords", `"Records":[{"Data":%s}]`, `"+/+="`, "'+/+=' can not be converted to a Blob: Invalid last non-pad Base64 character dectected"},
		{"PutRecords", `"Records":[{"Data":%s}]`, `"AA\nA"`, "'AA\nA' can not be converted to a Blob: Invalid Base64 character: '\n'"},
		{"PutRecords", `"Records":[{"PartitionKey":%s}]`, `1`, big + "an String"},
		{"PutRecords", `"Records":%s`, `"23"`, "Expected list or null"},
		{"PutRecords", `"Records":%s`, `true`, "Expected list or null"},
		{"PutRecords", `"Records":%s`, `34.56`, "Expected list or null"},
		{"PutRecords", `"Records":%s`, `{}`, object},
		{"PutRecords", `"Records":[%s]`, `"23"`, "Expected null"},
		{"PutRecords", `"Records":[%s]`, `true`, "Expected null"},
		{"PutRecords", `"Records":[%s]`, `34.56`, "Expected null"},
		{"PutRecords", `"Records":[%s]`, `[]`, list},
		{"AddTagsToStream", `"Tags":%s`, `"23"`, "Expected map or null"},
		{"AddTagsToStream", `"Tags":%s`, `23`, "Expected map or null"},
		{"AddTagsToStream", `"Tags":%s`, `[]`, list},
		{"AddTagsToStream", `"Tags":{"a":%s}`, `true`, truth + "an String"},
		{"AddTagsToStream", `"Tags":{"a":%s}`, `{}`, object},
		{"RemoveTagsFromStream", `"TagKeys":["a",%s]`, `[]`, list},
	}
	h := testHandler(t, Options{})
	for _, tt := range tests {
		body := "{" + fmt.Sprintf(tt.member, tt.value) + "}"
		want, _ := appendAnswer(nil, JSON11, struct {
			Type string `json:"__type"`
			Text string `json:"Message"`
		}{codeSerialization, tt.want})
		if r := call(h, tt.op, body); r.StatusCode != 400 {
			t.Errorf("%s %s: %d", tt.op, body, r.StatusCode)
		} else if got := text(t, r); got != string(want) {
			t.Errorf("%s %s:\n%s, want\n%s", tt.op, body, got, want)
		}
	}
	if got, want := text(t, call(h, "ListStreams", "[]")), `{"__type":"SerializationException","Message":"Start of list found where not expected"}`; got != want {
		t.Errorf("a list: %s, want %s", got, want)
	}
}

// Source: npm kinesalite, validations/index.js.
func TestValuesThatFitAreConverted(t *testing.T) {
	h := testHandler(t, Options{})
	for _, tt := range []struct{ body, want string }{
		{`{"ShardCount":34.56,"StreamName":"s"}`, `{"ShardCount":34,"StreamName":"s"}`},
		{`{"ShardCount":1,"StreamName":"s","Big":1e300}`, `{"Big":9223372036854775807,"ShardCount":1,"StreamName":"s"}`},
		{`{"ShardCount":1,"StreamName":"s","Big":-9223372036854775808}`, `{"Big":-9223372036854775808,"ShardCount":1,"StreamName":"s"}`},
		{`{"ShardCount":1,"StreamName":"s","Enforce":"yes"}`, `{"Enforce":true,"ShardCount":1,"StreamName":"s"}`},
		{`{"ShardCount":1,"StreamName":"\u0073\u002d"}`, `{"ShardCount":1,"StreamName":"s-"}`},
		{`{"StreamName":"x","ShardCount":2,"StreamName":"s","ShardCount":1}`, `{"ShardCount":1,"StreamName":"s"}`},
	} {
		if got := text(t, call(h, "CreateStream", tt.body)); got != tt.want {
			t.Errorf("%s: %s, want %s", tt.body, got, tt.want)
		}
	}
	want := `{"__type":"ValidationException","message":"1 validation error detected: Value '2147483647' at 'shardCount' failed to satisfy constraint: Member must have value less than or equal to 100000"}`
	if got := text(t, call(h, "CreateStream", `{"ShardCount":2147483648,"StreamName":"s"}`)); got != want {
		t.Errorf("more than an Integer holds: %s, want %s", got, want)
	}
}

// Sources: npm kinesalite, validations/*.js and its repository's tests of the same names;
// the rules of a list's elements as AWS words them for many services.
func TestConstraintsAreToldInAWSWords(t *testing.T) {
	long := strings.Repeat("a", 257)
	bigBlob := strings.Repeat("A", 1398104) // 1048578 bytes
	printed := strings.TrimSuffix(strings.Repeat("com.amazonaws.kinesis.v20131202.PutRecordsRequestEntry@c965e310, ", 501), ", ")
	noKey := func(i int) string {
		return fmt.Sprintf("Value '' at 'records.%d.member.partitionKey' failed to satisfy constraint: Member must have length greater than or equal to 1", i)
	}
	tests := []struct {
		op, body string
		want     []string
	}{
		{"CreateStream", `{}`, []string{"Value null at 'shardCount' failed to satisfy constraint: Member must not be null", "Value null at 'streamName' failed to satisfy constraint: Member must not be null"}},
		{"CreateStream", `{"StreamName":null,"ShardCount":1}`, []string{"Value null at 'streamName' failed to satisfy constraint: Member must not be null"}},
		{"CreateStream", `{"StreamName":"","ShardCount":0}`, []string{
			"Value '0' at 'shardCount' failed to satisfy constraint: Member must have value greater than or equal to 1",
			"Value '' at 'streamName' failed to satisfy constraint: Member must satisfy regular expression pattern: [a-zA-Z0-9_.-]+",
			"Value '' at 'streamName' failed to satisfy constraint: Member must have length greater than or equal to 1"}},
		{"CreateStream", `{"StreamName":"a\nb","ShardCount":1}`, []string{"Value 'a\nb' at 'streamName' failed to satisfy constraint: Member must satisfy regular expression pattern: [a-zA-Z0-9_.-]+"}},
		{"CreateStream", `{"StreamName":"` + long + `","ShardCount":1}`, []string{"Value '" + long + "' at 'streamName' failed to satisfy constraint: Member must have length less than or equal to 128"}},
		{"PutRecords", `{"StreamName":"s","Records":[]}`, []string{"Value '[]' at 'records' failed to satisfy constraint: Member must have length greater than or equal to 1"}},
		{"PutRecords", `{"StreamName":"s","Records":[{"PartitionKey":"` + long + `","ExplicitHashKey":"","Data":"` + bigBlob + `"}]}`, []string{
			"Value '" + long + "' at 'records.1.member.partitionKey' failed to satisfy constraint: Member must have length less than or equal to 256",
			`Value '' at 'records.1.member.explicitHashKey' failed to satisfy constraint: Member must satisfy regular expression pattern: 0|([1-9]\d{0,38})`,
			"Value 'java.nio.HeapByteBuffer[pos=0 lim=1048578 cap=1048578]' at 'records.1.member.data' failed to satisfy constraint: Member must have length less than or equal to 1048576"}},
		{"PutRecords", `{"StreamName":"s","Records":[{},null]}`, []string{
			"Value null at 'records.1.member.partitionKey' failed to satisfy constraint: Member must not be null",
			"Value null at 'records.1.member.data' failed to satisfy constraint: Member must not be null",
			"Value null at 'records.2.member' failed to satisfy constraint: Member must not be null"}},
		{"PutRecords", `{"StreamName":"","Records":[` + strings.TrimSuffix(strings.Repeat(`{"PartitionKey":"","Data":""},`, 501), ",") + `]}`, []string{
			"Value '[" + printed + "]' at 'records' failed to satisfy constraint: Member must have length less than or equal to 500",
			noKey(1), noKey(2), noKey(3), noKey(4), noKey(5), noKey(6), noKey(7), noKey(8), noKey(9)}}, // AWS lists ten
		{"AddTagsToStream", `{}`, []string{"Value null at 'tags' failed to satisfy constraint: Member must not be null", "Value null at 'streamName' failed to satisfy constraint: Member must not be null"}},
		{"AddTagsToStream", `{"StreamName":"s","Tags":{}}`, []string{"Value '{}' at 'tags' failed to satisfy constraint: Member must have length greater than or equal to 1"}},
		{"AddTagsToStream", `{"StreamName":"s","Tags":{"b":"x","":"` + long + `"}}`, []string{
			"Value '{=" + long + ", b=x}' at 'tags' failed to satisfy constraint: Map keys must satisfy constraint: [Member must have length less than or equal to 128, Member must have length greater than or equal to 1]",
			"Value '{=" + long + ", b=x}' at 'tags' failed to satisfy constraint: Map value must satisfy constraint: [Member must have length less than or equal to 256, Member must have length greater than or equal to 0]"}},
		{"AddTagsToStream", `{"StreamName":"s","Tags":{"b":null}}`, []string{
			"Value '{b=null}' at 'tags' failed to satisfy constraint: Map value must satisfy constraint: [Member must have length less than or equal to 256, Member must have length greater than or equal to 0]"}},
		{"RemoveTagsFromStream", `{"StreamName":"s","TagKeys":["a",""]}`, []string{"Value '[a, ]' at 'tagKeys' failed to satisfy constraint: Member must satisfy constraint: [Member must have length less than or equal to 128, Member must have length greater than or equal to 1]"}},
		{"RemoveTagsFromStream", `{"StreamName":"s","TagKeys":["1","2","3","4","5","6","7","8","9","10","11"]}`, []string{"Value '[1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11]' at 'tagKeys' failed to satisfy constraint: Member must have length less than or equal to 10"}},
		{"GetShardIterator", `{"ShardIteratorType":"latest"}`, []string{"Value 'latest' at 'shardIteratorType' failed to satisfy constraint: Member must satisfy enum value set: [AFTER_SEQUENCE_NUMBER, LATEST, AT_TIMESTAMP, AT_SEQUENCE_NUMBER, TRIM_HORIZON]"}},
		{"GetShardIterator", `{"ShardIteratorType":"LATEST","Metrics":["ALL","Some"]}`, []string{"Value '[ALL, Some]' at 'metrics' failed to satisfy constraint: Member must satisfy constraint: [Member must satisfy enum value set: [IncomingBytes, ALL]]"}},
	}
	h := testHandler(t, Options{})
	for _, tt := range tests {
		noun := "errors"
		if len(tt.want) == 1 {
			noun = "error"
		}
		want, _ := appendAnswer(nil, JSON11, struct {
			Type string `json:"__type"`
			Text string `json:"message"`
		}{codeValidation, fmt.Sprintf("%d validation %s detected: %s", len(tt.want), noun, strings.Join(tt.want, "; "))})
		if r := call(h, tt.op, tt.body); r.StatusCode != 400 {
			t.Errorf("%s %.100s: %d", tt.op, tt.body, r.StatusCode)
		} else if got := text(t, r); got != string(want) {
			t.Errorf("%s %.100s:\n%.2000s, want\n%.2000s", tt.op, tt.body, got, want)
		}
	}
}

func TestLengthsAreCountedInUTF16(t *testing.T) {
	h := testHandler(t, Options{})
	if r := call(h, "RemoveTagsFromStream", `{"StreamName":"s","TagKeys":["`+strings.Repeat("ä", 128)+`","`+strings.Repeat("😀", 64)+`"]}`); r.StatusCode != 200 {
		t.Errorf("128 units: %d %s", r.StatusCode, text(t, r))
	}
	if r := call(h, "RemoveTagsFromStream", `{"StreamName":"s","TagKeys":["`+strings.Repeat("😀", 65)+`"]}`); r.StatusCode != 400 {
		t.Errorf("130 units: %d %s", r.StatusCode, text(t, r))
	}
}

func TestEscapesInStringsAreReadOnce(t *testing.T) {
	for _, s := range []string{`""`, `"a"`, `"\""`, `"\\"`, `"\\\""`, `"a\"b\"c"`, `"\"\"\"" `, `"ä\u00e4\n"`} {
		j := jsonSource{body: []byte(s + `,"next"`)}
		var want string
		if err := json.Unmarshal([]byte(s), &want); err != nil {
			t.Fatal(err)
		}
		if got := j.text(); got != want {
			t.Errorf("%s: %q, want %q", s, got, want)
		}
		if j.more(); j.text() != "next" {
			t.Errorf("%s: the reader stopped elsewhere", s)
		}
	}
	// In time that grows with the length: the square of this would take minutes.
	j := jsonSource{body: []byte(`"` + strings.Repeat(`\n`, 4<<20) + `"`)}
	if raw, _ := j.raw(); len(raw) != len(j.body) {
		t.Errorf("%d bytes of %d", len(raw), len(j.body))
	}
}

// Source: how Java prints a HashMap; what AWS repeats of a map is one.
func TestMapsArePrintedInJavasOrder(t *testing.T) {
	for _, tt := range []struct{ keys, want []string }{
		{[]string{"apple", "banana", "cherry"}, []string{"banana", "apple", "cherry"}},
		{[]string{"one", "two", "three"}, []string{"one", "three", "two"}}, // of one bucket: by name
		{[]string{"b", "a", "c"}, []string{"a", "b", "c"}},
	} {
		in := Values{}
		for _, key := range tt.keys {
			in[key] = ""
		}
		if got := javaOrder(in); !slices.Equal(got, tt.want) {
			t.Errorf("%v: %v, want %v", tt.keys, got, tt.want)
		}
	}
}
