package lambda

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"maps"
	"math"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"testing"

	sdk "github.com/aws/aws-sdk-go-v2/service/lambda"

	"github.com/wasmill/wasmill/api/wire"
)

// samples are values that requests may have, by member; other members get one that their
// shape asks for.
var samples = map[string]any{
	"FunctionName": "f", "Role": role, "Runtime": "provided.al2023", "Handler": "h", "StatementId": "s", "Action": "lambda:InvokeFunction", "Principal": "*",
	"SourceArn": "arn:aws:s3:::b", "SourceAccount": "000000000000", "EventSourceToken": "t", "PrincipalOrgID": "o-1234567890", "Qualifier": "1", "Name": "live", "FunctionVersion": "1",
	"ZipFile": base64.StdEncoding.EncodeToString(returning("1")), "S3Bucket": "bucket", "S3Key": "k", "S3ObjectVersion": "v", "EventSourceArn": streamARN,
	"Resource": arnF, "UUID": "00000000-0000-0000-0000-000000000000", "Payload": "1", "StartingPosition": "LATEST", "Destination": "arn:aws:sqs:us-east-1:000000000000:q",
	"Arn":            "arn:aws:elasticfilesystem:us-east-1:000000000000:access-point/fsap-00000000000000000",
	"LocalMountPath": "/mnt/a", "TargetArn": "arn:aws:sqs:us-east-1:000000000000:q", "MasterRegion": "ALL", "CapacityProviderArn": "arn:aws:lambda:us-east-1:000000000000:capacity-provider:c",
	"CodeSigningConfigArn": "arn:aws:lambda:us-east-1:000000000000:code-signing-config:csc-00000000000000000", "DurableExecutionName": "d", "TenantId": "t", "Pattern": "{}",
	"ConsumerGroupId": "g", "URI": "u", "CollectionName": "c", "DatabaseName": "d", "PollerGroupName": "g", "SchemaRegistryURI": "u", "RevisionId": "r", "Marker": "m", "LogGroup": "/g",
}

func sample(name string, s *wire.Shape) any {
	if v, ok := samples[name]; ok {
		return v
	}
	switch s.Kind {
	case wire.KindStructure:
		out := map[string]any{}
		for _, m := range s.Members {
			out[m.Name] = sample(m.Name, m.Shape)
		}
		return out
	case wire.KindList:
		return []any{sample(name, s.Elem)}
	case wire.KindMap:
		return map[string]any{fmt.Sprint(sample("", s.Key)): sample("", s.Elem)}
	case wire.KindInteger, wire.KindLong:
		return max(s.Min, 1)
	case wire.KindDouble, wire.KindTimestamp:
		return 0.5
	case wire.KindBoolean:
		return false
	}
	if s.Enum != nil {
		return s.Enum[0]
	}
	return strings.Repeat("x", int(max(s.Min, 2)))
}

// breaches are values that break one rule of a shape each.
func breaches(s *wire.Shape) map[string]any {
	out := map[string]any{}
	add := func(rule string, v any) { out[rule] = v }
	switch s.Kind {
	case wire.KindInteger, wire.KindLong:
		if s.Min > math.MinInt64 {
			add("below", s.Min-1)
			add("far below", math.MinInt32)
		}
		if s.Max < math.MaxInt64 {
			add("above", s.Max+1)
			add("far above", math.MaxInt32)
		}
	case wire.KindString:
		if s.Enum != nil {
			add("not of the set", "Nothing")
			add("nothing of the set", "")
		}
		if s.Pattern != "" && !strings.HasSuffix(s.Pattern, "|()") && !strings.HasPrefix(s.Pattern, "$|") {
			add("not like the pattern", "\t!")
		}
		if s.Max < math.MaxInt64 {
			add("long", strings.Repeat("x", int(s.Max)+1))
		}
		if s.Min > 0 {
			add("short", strings.Repeat("x", int(s.Min)-1))
		}
	case wire.KindList:
		if s.Max < math.MaxInt64 {
			list := make([]any, s.Max+1)
			for i := range list {
				list[i] = sample("", s.Elem)
			}
			add("many", list)
		}
		if s.Min > 0 {
			add("few", []any{})
		}
	}
	return out
}

// misfits are values of types that a shape has not.
func misfits(s *wire.Shape) []any {
	all := []any{"text", 1.5, true, []any{"x"}, map[string]any{"x": "y"}, []any{nil}, -1e300, json.Number("1e999")}
	return slices.DeleteFunc(all, func(v any) bool {
		switch v.(type) {
		case string:
			return s.Kind == wire.KindString || s.Kind == wire.KindBlob
		case bool:
			return s.Kind == wire.KindBoolean
		case []any:
			return s.Kind == wire.KindList
		case map[string]any:
			return s.Kind == wire.KindStructure || s.Kind == wire.KindMap
		}
		return s.Kind == wire.KindDouble || s.Kind == wire.KindTimestamp
	})
}

// request is one that an operation might get: values by member.
type request struct {
	op *wire.Operation
	in map[string]any
}

func (r request) http() *http.Request {
	path, constants, _ := strings.Cut(r.op.Path, "?")
	q, _ := url.ParseQuery(constants)
	body, header := map[string]any{}, http.Header{}
	var payload []byte
	known := map[string]bool{}
	if r.op.Input != nil {
		for _, m := range r.op.Input.Members {
			known[m.Name] = true
			v, ok := r.in[m.Name]
			if !ok || v == nil && m.In != wire.InBody && m.In != wire.InPath {
				continue
			}
			key, text := m.Name, fmt.Sprint(v)
			if m.Key != "" {
				key = m.Key
			}
			switch m.In {
			case wire.InPath:
				for _, label := range []string{"{" + key + "}", "{" + key + "+}"} {
					path = strings.ReplaceAll(path, label, url.PathEscape(text))
				}
			case wire.InQuery:
				if list, ok := v.([]any); ok {
					for _, e := range list {
						q.Add(key, fmt.Sprint(e))
					}
				} else {
					q.Set(key, text)
				}
			case wire.InHeader:
				header.Set(key, strings.Map(func(r rune) rune { return max(r, ' ') }, text))
			case wire.InPayload:
				payload = []byte(text)
			default:
				body[key] = v
			}
		}
	}
	for name, v := range r.in {
		if !known[name] {
			body[name] = v
		}
	}
	if payload == nil && (len(body) > 0 || r.op.Method == "POST" || r.op.Method == "PUT") {
		payload, _ = json.Marshal(body)
	}
	out := httptest.NewRequest(r.op.Method, path+"?"+q.Encode(), strings.NewReader(string(payload)))
	maps.Copy(out.Header, header)
	out.Header.Set("X-Amz-Date", "20260101T000000Z")
	out.Header.Set("Authorization", "AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/20260101/us-east-1/lambda/aws4_request, SignedHeaders=host, Signature=00")
	return out
}

// with is r with another value at a path of members and indexes.
func (r request) with(path []any, v any) request {
	var set func(in any, path []any) any
	set = func(in any, path []any) any {
		if len(path) == 0 {
			return v
		}
		switch key := path[0].(type) {
		case string:
			out := map[string]any{}
			old, _ := in.(map[string]any)
			maps.Copy(out, old)
			out[key] = set(out[key], path[1:])
			return out
		default:
			list, _ := in.([]any)
			list = slices.Clone(list)
			if len(list) == 0 {
				list = []any{nil}
			}
			list[0] = set(list[0], path[1:])
			return list
		}
	}
	return request{r.op, set(r.in, path).(map[string]any)}
}

// spot is a place in an operation's input.
type spot struct {
	path     []any
	shape    *wire.Shape
	required bool
	in       wire.Place
}

func spots(path []any, in wire.Place, s *wire.Shape) (out []spot) {
	for _, m := range s.Members {
		at := in
		if len(path) == 0 {
			at = m.In
		}
		here := append(slices.Clip(path), m.Name)
		out = append(out, spot{here, m.Shape, m.Required, at})
		switch {
		case m.Shape.Kind == wire.KindStructure:
			out = append(out, spots(here, at, m.Shape)...)
		case m.Shape.Kind == wire.KindList && m.Shape.Elem.Kind == wire.KindStructure:
			out = append(out, spots(append(slices.Clip(here), 0), at, m.Shape.Elem)...)
		case m.Shape.Kind == wire.KindList && at == wire.InBody:
			out = append(out, spot{append(slices.Clip(here), 0), m.Shape.Elem, true, at})
		}
	}
	return out
}

// Whatever is wrong with a request, the answer is an error as AWS words it, and never that
// something is wrong with the server.
func TestWrongRequestsGetAWSsErrors(t *testing.T) {
	e := emulate(t, options{})
	e.stream("s")
	e.deploy("f", returning("1"), func(in *sdk.CreateFunctionInput) { in.Publish = true })
	e.call("POST", "/2015-03-31/functions/f/aliases", `{"Name":"live","FunctionVersion":"1"}`)
	h := e.handler
	wrong, seen := 0, map[string]int{}
	send := func(rule string, must bool, r request) {
		req := r.http()
		w := httptest.NewRecorder()
		h.ServeHTTP(w, req)
		code := ""
		for name, v := range w.Header() { // as it was spelled
			if strings.EqualFold(name, "x-amzn-ErrorType") {
				code = v[0]
			}
		}
		var body struct {
			Type, Message string // message too
		}
		switch {
		case w.Code < 300:
			if must {
				t.Errorf("%s, %s: %s %s = %d %s; want it refused", r.op.Name, rule, req.Method, req.URL, w.Code, w.Body)
			}
			return
		case w.Code >= 500 || w.Code < 400 || code == "":
			t.Errorf("%s, %s: %s %s = %d %s %.300s", r.op.Name, rule, req.Method, req.URL, w.Code, code, w.Body)
		case json.Unmarshal(w.Body.Bytes(), &body) != nil:
			t.Errorf("%s, %s: the error is no JSON: %.300s", r.op.Name, rule, w.Body)
		}
		seen[code]++
		wrong++
	}
	rng := rand.New(rand.NewPCG(6, 6))
	for _, op := range e.service.Ops {
		good := request{op, map[string]any{}}
		if op.Input == nil {
			send("unknown", false, good.with([]any{"Unknown"}, "x"))
			continue
		}
		all := spots(nil, wire.InBody, op.Input)
		full := good
		for _, m := range op.Input.Members {
			if strings.HasPrefix(op.Name, "Delete") && m.Name == "FunctionName" {
				full.in[m.Name] = "gone" // so that the others find theirs
				continue
			}
			full.in[m.Name] = sample(m.Name, m.Shape)
		}
		for _, at := range all {
			name := fmt.Sprint(at.path)
			broken := breaches(at.shape)
			for _, rule := range slices.Sorted(maps.Keys(broken)) {
				v := broken[rule]
				must := at.in == wire.InBody || v != "" // an empty one elsewhere is not there, or another path
				send(name+" "+rule, must, full.with(at.path, v))
			}
			if at.required && at.in != wire.InPath {
				send(name+" null", true, full.with(at.path, nil))
			}
			for _, v := range misfits(at.shape) {
				send(fmt.Sprintf("%s as %v", name, v), false, full.with(at.path, v))
			}
			send(name+" unknown", false, full.with(append(slices.Clip(at.path), "Unknown"), rng.Int()))
		}
		// Several things at once.
		for range 70 {
			r := full
			for range 1 + rng.IntN(4) {
				at := all[rng.IntN(len(all))]
				values, broken := misfits(at.shape), breaches(at.shape)
				for _, rule := range slices.Sorted(maps.Keys(broken)) {
					values = append(values, broken[rule])
				}
				values = append(values, nil, strings.Repeat("x", rng.IntN(300)), "\x00\xff", arnF+"unctions", rng.Int64())
				r = r.with(at.path, values[rng.IntN(len(values))])
			}
			send("several", false, r)
		}
		// What is no JSON, no object, or no such encoding.
		if op.Method == "POST" || op.Method == "PUT" {
			for _, body := range []string{`{`, `[]`, `null`, `"x"`, `{"a":}`, "\x00", `{"FunctionName":"f"}}`, strings.Repeat("[", 10_000), strings.Repeat(`{"a":`, 10_000)} {
				req := full.http()
				req = httptest.NewRequest(req.Method, req.URL.String(), strings.NewReader(body))
				w := httptest.NewRecorder()
				if h.ServeHTTP(w, req); w.Code >= 500 {
					t.Errorf("%s with the body %.20q: %d %s", op.Name, body, w.Code, w.Body)
				} else if w.Code >= 400 {
					wrong++
				}
			}
		}
	}
	t.Logf("%d wrong requests: %v", wrong, seen)
	if wrong < 5000 {
		t.Errorf("%d requests were wrong, want 5,000", wrong)
	}
	if out := e.call("POST", "/2015-03-31/functions/f/invocations", "1"); out.body != "1" {
		t.Errorf("after all that, the function answers %d %s", out.status, out.body)
	}
}
