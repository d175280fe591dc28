package wire

import (
	"context"
	"encoding/json"
	"encoding/xml"
	"errors"
	"log/slog"
	"maps"
	"math"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"
)

// testQuery are two services of the Query protocol, the second of which speaks RPC v2 too.
func testQuery() []*Service {
	tags := List(Structure(Member{Name: "Key", Shape: String(1, 128, ""), Required: true}, Member{Name: "Value", Shape: String(0, 256, ""), Required: true}), 0, 50)
	echo := func(ctx context.Context, c *Call) (any, error) {
		if len(c.In) == 0 {
			return nil, nil
		}
		got, err := json.Marshal(c.In)
		return struct{ Got string }{string(got)}, err
	}
	return []*Service{
		{Name: "iam", Signing: "iam", Query: "2010-05-08", XML: "https://iam.amazonaws.com/doc/2010-05-08/", MaxBody: 1 << 20, Ops: []*Operation{
			{Name: "Nothing", Do: echo},
			{Name: "CreateRole", Do: echo, Input: Structure(
				Member{Name: "RoleName", Shape: String(1, 64, `[\w+=,.@-]+`), Required: true}, Member{Name: "Tags", Shape: tags},
				Member{Name: "Max", Shape: Integer(1, 1000)}, Member{Name: "Long", Shape: Long()}, Member{Name: "Flag", Shape: Boolean()}, Member{Name: "Weight", Shape: Double()},
				Member{Name: "At", Shape: Timestamp()}, Member{Name: "Blob", Shape: Blob(0, 0)}, Member{Name: "Names", Shape: List(String(1, 0, ""), 0, 3)},
				Member{Name: "ByName", Shape: Map(String(1, 0, ""), Integer(), 0, 3)}, Member{Name: "In", Shape: Structure(Member{Name: "Depth", Shape: Integer(0, 9), Required: true})})},
			{Name: "GetRole", Do: func(context.Context, *Call) (any, error) {
				type role struct {
					RoleName string    `json:"RoleName"`
					Empty    []string  `json:"Empty"`
					Left     []string  `json:"Left,omitempty"`
					Absent   *int      `json:"Absent"`
					Created  Time      `json:"Created"`
					Zero     Time      `json:"Zero,omitzero"`
					Weights  []float64 `json:"Weights"`
					Raw      []byte    `json:"Raw"`
					Count    int       `json:"Count"`
					On       bool      `json:"On"`
				}
				return struct {
					Role *role           `json:"Role"`
					Tags map[string]uint `json:"Tags"`
				}{&role{RoleName: "a<b>&\x00", Created: Time(time.UnixMilli(1441215410867)), Weights: []float64{0.5, math.Inf(1), math.NaN(), 1e21}, Raw: []byte("x"), Count: -7, On: true}, map[string]uint{"b": 2, "a": 1}}, nil
			}},
			{Name: "Fail", Do: func(context.Context, *Call) (any, error) { return nil, errors.New("disk on fire") }},
			{Name: "Gone", Do: func(context.Context, *Call) (any, error) {
				return nil, &Error{Code: "NoSuchEntity", Status: 404, Message: "The role with name <x> cannot be found."}
			}},
			{Name: "Odd", Do: func(context.Context, *Call) (any, error) { return struct{ C chan int }{make(chan int)}, nil }},
		}},
		{Name: "cloudwatch", Signing: "monitoring", Target: "GraniteServiceVersion20100801", Formats: []Format{JSON10, RPCv2CBOR}, Query: "2010-08-01", XML: "http://monitoring.amazonaws.com/doc/2010-08-01/", Ops: []*Operation{
			{Name: "PutMetricData", Do: func(ctx context.Context, c *Call) (any, error) {
				return struct{ Format Format }{c.Format}, nil
			}},
			{Name: "Refuse", Do: func(context.Context, *Call) (any, error) {
				return nil, &Error{Code: "InvalidParameterValueException", Query: "InvalidParameterValue", Message: "m"}
			}},
		}},
	}
}

func queryHandler(t testing.TB) *Handler {
	return testHandler(t, Options{Services: append([]*Service{testService()}, testQuery()...), Logger: slog.New(slog.DiscardHandler)})
}

func queryHead(service string) map[string]string {
	return map[string]string{"Content-Type": "application/x-www-form-urlencoded; charset=utf-8", "Authorization": strings.Replace(testKey, "/kinesis/", "/"+service+"/", 1), "X-Amz-Date": testDate}
}

const iamBegin, iamEnd = ` xmlns="https://iam.amazonaws.com/doc/2010-05-08/">`, "<ResponseMetadata><RequestId>ID</RequestId></ResponseMetadata>"

// stripID takes the request's id out of an answer.
func stripID(r *http.Response, body string) string {
	return strings.ReplaceAll(strings.TrimSuffix(body, "\n"), headerOf(r, "x-amzn-RequestId"), "ID")
}

func TestFormsAreReadByShape(t *testing.T) {
	h := queryHandler(t)
	for _, tt := range []struct{ name, form, want string }{
		{"strings", "RoleName=r%2Bx", `{"RoleName":"r+x"}`},
		{"lists of structures", "RoleName=r&Tags.member.2.Key=b&Tags.member.2.Value=&Tags.member.1.Key=a&Tags.member.1.Value=1", `{"RoleName":"r","Tags":[{"Key":"a","Value":"1"},{"Key":"b","Value":""}]}`},
		{"lists by number, not by name", "RoleName=r&Names.member.10=j&Names.member.9=i", `{"Names":["i","j"],"RoleName":"r"}`},
		{"flat lists", "RoleName=r&Names.1=a&Names.2=b", `{"Names":["a","b"],"RoleName":"r"}`},
		{"empty lists", "RoleName=r&Names=", `{"Names":[],"RoleName":"r"}`},
		{"maps", "RoleName=r&ByName.entry.1.key=k&ByName.entry.1.value=7", `{"ByName":{"k":7},"RoleName":"r"}`},
		{"numbers", "RoleName=r&Max=7&Long=-9000000000&Weight=2.5e-1", `{"Long":-9000000000,"Max":7,"RoleName":"r","Weight":0.25}`},
		{"true and false", "RoleName=r&Flag=true", `{"Flag":true,"RoleName":"r"}`},
		{"blobs", "RoleName=r&Blob=eA%3D%3D", `{"Blob":"eA==","RoleName":"r"}`},
		{"structures", "RoleName=r&In.Depth=3", `{"In":{"Depth":3},"RoleName":"r"}`},
		{"what nobody knows", "RoleName=r&Other.member.1=x&Tags.member.x.Key=1&Names.nothing.at.all=1&..=1&.=", `{"Names":[],"RoleName":"r","Tags":[]}`},
	} {
		body := "Action=CreateRole&Version=2010-05-08&" + tt.form
		want := "<CreateRoleResponse" + iamBegin + "<CreateRoleResult><Got>" + strings.ReplaceAll(tt.want, `"`, "&#34;") + "</Got></CreateRoleResult>" + iamEnd + "</CreateRoleResponse>"
		for how, r := range map[string]*http.Response{
			"a form":  ask(h, "POST", "/", queryHead("iam"), body),
			"a query": ask(h, "GET", "/?"+body, queryHead("iam"), ""),
		} {
			if got := stripID(r, text(t, r)); r.StatusCode != 200 || got != want || r.Header.Get("Content-Type") != "text/xml" {
				t.Errorf("%s in %s: %d %s\n%s, want\n%s", tt.name, how, r.StatusCode, r.Header.Get("Content-Type"), got, want)
			}
		}
	}
	for _, at := range []string{"2026-11-22T10:00:00Z", "2026-11-22T10:00:00.000%2B00:00", "2026-11-22T10:00:00", "1795341600", "1.7953416E9"} {
		v, err := readForm(testQuery()[0].Ops[1].Input, url.Values{"At": {strings.ReplaceAll(at, "%2B", "+")}})
		if want := time.Date(2026, 11, 22, 10, 0, 0, 0, time.UTC); err != nil || !v.Time("At").Equal(want) {
			t.Errorf("%s: %v, %v, want %v", at, v, err, want)
		}
	}
}

func TestAnswersAreWrittenAsXML(t *testing.T) {
	h := queryHandler(t)
	r := ask(h, "POST", "/", queryHead("iam"), "Action=GetRole")
	want := "<GetRoleResponse" + iamBegin + "<GetRoleResult><Role><RoleName>a&lt;b&gt;&amp;\uFFFD</RoleName><Empty></Empty><Created>2015-09-02T17:36:50.867Z</Created>" +
		"<Weights><member>0.5</member><member>Infinity</member><member>NaN</member><member>1e+21</member></Weights><Raw>eA==</Raw><Count>-7</Count><On>true</On></Role>" +
		"<Tags><entry><key>a</key><value>1</value></entry><entry><key>b</key><value>2</value></entry></Tags></GetRoleResult>" + iamEnd + "</GetRoleResponse>"
	if got := stripID(r, text(t, r)); got != want {
		t.Errorf("%s, want\n%s", got, want)
	}
	r = ask(h, "POST", "/", queryHead("iam"), "Action=Nothing")
	if got, want := stripID(r, text(t, r)), "<NothingResponse"+iamBegin+iamEnd+"</NothingResponse>"; got != want {
		t.Errorf("%s, want %s", got, want)
	}
}

func TestQueryErrors(t *testing.T) {
	h := queryHandler(t)
	for _, tt := range []struct {
		name, form string
		status     int
		code, want string
	}{
		{"of an operation", "Action=Gone", 404, "NoSuchEntity", "The role with name &lt;x&gt; cannot be found."},
		{"of ours", "Action=Fail", 500, "InternalFailure", ""},
		{"an answer that has no form", "Action=Odd", 500, "InternalFailure", ""},
		{"another action", "Action=CreateUser&Version=2010-05-08", 400, "InvalidAction", "Could not find operation CreateUser for version 2010-05-08: wasmill&#39;s iam does not serve it"},
		{"another version", "Action=CreateRole&Version=2011-06-15", 400, "InvalidAction", "Could not find operation CreateRole for version 2011-06-15: wasmill&#39;s iam does not serve it"},
		{"no action", "RoleName=x", 400, "MissingAction", "The request must contain the parameter Action."},
		{"no form", "Action=%zz", 404, "MalformedQueryString", "The query string contains a syntax error."},
		{"missing", "Action=CreateRole", 400, "ValidationError", "1 validation error detected: Value null at &#39;roleName&#39; failed to satisfy constraint: Member must not be null"},
		{"within a list", "Action=CreateRole&RoleName=r&Tags.member.1.Value=v", 400, "ValidationError", "1 validation error detected: Value null at &#39;tags.1.member.key&#39; failed to satisfy constraint: Member must not be null"},
		{"out of range", "Action=CreateRole&RoleName=r&Max=0", 400, "ValidationError", "1 validation error detected: Value &#39;0&#39; at &#39;max&#39; failed to satisfy constraint: Member must have value greater than or equal to 1"},
		{"no number", "Action=CreateRole&RoleName=r&Max=many", 400, "MalformedInput", "&#39;many&#39; can not be converted to an Integer"},
		{"no time", "Action=CreateRole&RoleName=r&At=noon", 400, "MalformedInput", "&#39;noon&#39; can not be converted to a timestamp: want one like 2006-01-02T15:04:05Z"},
		{"neither true nor false", "Action=CreateRole&RoleName=r&Flag=x", 400, "MalformedInput", "&#39;X&#39; can not be converted to an Boolean"},
		{"a structure for a string", "Action=CreateRole&RoleName.member.1=r", 400, "MalformedInput", "Start of structure or map found where not expected."},
		{"too large", "Action=CreateRole&RoleName=" + strings.Repeat("r", 1<<20), 413, "RequestEntityTooLargeException", "The request body is larger than 1 MiB."},
		{"too many", strings.Repeat("a=&", maxValues+2), 404, "MalformedQueryString", "The query string contains a syntax error."},
	} {
		r := ask(h, "POST", "/", queryHead("iam"), tt.form)
		kind := map[bool]string{false: "Sender", true: "Receiver"}[tt.status >= 500]
		want := "<ErrorResponse" + iamBegin + "<Error><Type>" + kind + "</Type><Code>" + tt.code + "</Code>"
		if tt.want != "" {
			want += "<Message>" + tt.want + "</Message>"
		}
		want += "</Error><RequestId>ID</RequestId></ErrorResponse>"
		if got := stripID(r, text(t, r)); r.StatusCode != tt.status || got != want || r.Header.Get("Content-Type") != "text/xml" {
			t.Errorf("%s: %d %s, want %d\n%s", tt.name, r.StatusCode, got, tt.status, want)
		}
	}
	head := queryHead("iam")
	delete(head, "Authorization")
	r := ask(h, "POST", "/", head, "Action=Nothing&Version=2010-05-08")
	if got := text(t, r); r.StatusCode != 403 || !strings.Contains(got, "<Code>MissingAuthenticationToken</Code><Message>Request is missing Authentication Token</Message>") {
		t.Errorf("unsigned: %d %s", r.StatusCode, got)
	}
}

// A service with several protocols answers in that of the request, and tells clients of the
// newer ones what an error is called in the Query protocol.
func TestAQueryServiceMaySpeakOthersToo(t *testing.T) {
	h := queryHandler(t)
	signed := queryHead("monitoring")
	with := func(more map[string]string) map[string]string {
		head := maps.Clone(signed)
		maps.Copy(head, more)
		return head
	}
	byJSON := with(map[string]string{"Content-Type": "application/x-amz-json-1.0", "X-Amz-Target": "GraniteServiceVersion20100801.Refuse"})
	rpc := with(map[string]string{"Content-Type": "application/cbor", "Smithy-Protocol": "rpc-v2-cbor"})
	if r := ask(h, "POST", "/", signed, "Action=PutMetricData&Version=2010-08-01"); !strings.Contains(text(t, r), "<Format>5</Format>") {
		t.Error("a form is not answered as one")
	}
	if r := ask(h, "POST", "/service/GraniteServiceVersion20100801/operation/PutMetricData", rpc, "\xa0"); text(t, r) != "\xa1\x66Format\x03" {
		t.Error("RPC v2 is not answered as such")
	}
	if r := ask(h, "POST", "/", signed, "Action=Refuse&Version=2010-08-01"); !strings.Contains(text(t, r), "<Code>InvalidParameterValue</Code>") {
		t.Error("the code of the Query protocol is not there")
	}
	for what, r := range map[string]*http.Response{"JSON": ask(h, "POST", "/", byJSON, "{}"), "RPC v2": ask(h, "POST", "/service/GraniteServiceVersion20100801/operation/Refuse", rpc, "\xa0")} {
		if got := text(t, r); headerOf(r, "x-amzn-query-error") != "InvalidParameterValue;Sender" || !strings.Contains(got, "InvalidParameterValueException") {
			t.Errorf("%s: %v %q", what, r.Header, got)
		}
	}
}

// Who signs for nobody is told apart by the version that the form names.
func TestUnsignedFormsFindTheirService(t *testing.T) {
	h := queryHandler(t)
	for form, want := range map[string]string{
		"Action=Nothing&Version=2010-05-08":       "iam.amazonaws.com",
		"Action=PutMetricData&Version=2010-08-01": "monitoring.amazonaws.com",
		"Action=PutRecord&Version=2013-12-02":     "AccessDeniedException", // the first service's
		"RoleName=x":                              "AccessDeniedException",
	} {
		head := map[string]string{"Content-Type": "application/x-www-form-urlencoded"}
		if got := text(t, ask(h, "POST", "/", head, form)); !strings.Contains(got, want) {
			t.Errorf("%s: %s, want %s", form, got, want)
		}
		if got := text(t, ask(h, "GET", "/?"+form, nil, "")); !strings.Contains(got, want) {
			t.Errorf("GET %s: %s, want %s", form, got, want)
		}
	}
}

// FuzzForms: whatever a form says, the answer is XML, and no trouble of ours.
func FuzzForms(f *testing.F) {
	for _, seed := range []string{
		"Action=CreateRole&RoleName=r&Tags.member.1.Key=a&Tags.member.1.Value=b&Max=7&Flag=true&Weight=1e3&At=2026-11-22T10:00:00Z&Blob=eA==",
		"Action=CreateRole&RoleName=r&Names.member.18446744073709551616=x&ByName.entry.1.key=&ByName.entry.1.value=9&In=&In.Depth.x=1",
		"Action=%00&Version=<&=&&;", "Action=GetRole", "....=1&Names.=&Tags.member=&Tags..Key=",
	} {
		f.Add(seed)
	}
	h := queryHandler(f)
	f.Fuzz(func(t *testing.T, body string) {
		r := ask(h, "POST", "/", queryHead("iam"), body)
		answer := text(t, r)
		if r.StatusCode >= 500 && !strings.Contains(body, "Action=Fail") && !strings.Contains(body, "Odd") && !strings.Contains(body, "Fail") {
			t.Fatalf("%d %s", r.StatusCode, answer)
		}
		if err := xml.Unmarshal([]byte(answer), new(struct{ XMLName xml.Name })); err != nil {
			t.Fatalf("%v: %q", err, answer)
		}
	})
}

// FuzzPaths: whatever path, query and header a REST service is asked with, the answer is
// JSON, and no trouble of ours.
func FuzzPaths(f *testing.F) {
	for _, seed := range []string{"/2015-03-31/functions", "/2015-03-31/functions/a%2Fb/aliases/%00?Qualifier=%ff&Qualifier=", "/2017-03-31/tags/a/b//c?tagKeys=&tagKeys=%zz", "/fail?How=gone", "//", "/%2e%2e/2015-03-31/functions/"} {
		for _, method := range []string{"GET", "POST", "DELETE"} {
			f.Add(method, seed, "Event", []byte(`{"FunctionName":"f"}`))
		}
	}
	h := lambdaHandler(f)
	f.Fuzz(func(t *testing.T, method, uri, kind string, body []byte) {
		r, err := http.NewRequest(method, "http://localhost"+uri, strings.NewReader(string(body)))
		if err != nil || strings.Contains(uri, "How") {
			return
		}
		head := maps.Clone(lambdaHead)
		head["X-Amz-Invocation-Type"] = kind
		got := askRequest(h, r, head)
		answer := text(t, got)
		if got.StatusCode >= 500 && !strings.Contains(uri, "How") {
			t.Fatalf("%d %s", got.StatusCode, answer)
		}
		if kind != "Raw" && answer != "" && !json.Valid([]byte(answer)) {
			t.Fatalf("%q", answer)
		}
	})
}

// What a service does not speak reaches none of its operations by a target without a name.
func TestATargetWithoutANameIsNoService(t *testing.T) {
	h := queryHandler(t)
	for name, head := range map[string]map[string]string{
		"JSON":   {"Content-Type": "application/x-amz-json-1.1", "X-Amz-Target": ".Nothing"},
		"CBOR":   {"Content-Type": "application/x-amz-cbor-1.1", "X-Amz-Target": ".Nothing"},
		"RPC v2": {"Content-Type": "application/cbor", "Smithy-Protocol": "rpc-v2-cbor"},
	} {
		head["Authorization"], head["X-Amz-Date"] = strings.Replace(testKey, "/kinesis/", "/iam/", 1), testDate
		path, body := "/", "{}"
		if name == "RPC v2" {
			path = "/service//operation/Nothing"
		}
		if name != "JSON" {
			body = "\xa0"
		}
		if r := ask(h, "POST", path, head, body); r.StatusCode != http.StatusNotImplemented {
			t.Errorf("%s: %d %s", name, r.StatusCode, text(t, r))
		}
	}
}
