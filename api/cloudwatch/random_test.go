package cloudwatch

import (
	"encoding/json"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/wasmill/wasmill/api/wire"
	"github.com/wasmill/wasmill/telemetry"
)

// value is a random one for a shape: mostly of its type, now and then anything.
func value(r *rand.Rand, s *wire.Shape) any {
	if r.IntN(40) == 0 {
		return []any{nil, 1, -1, "x", true, 1.5, []any{}, map[string]any{}}[r.IntN(8)]
	}
	switch s.Kind {
	case wire.KindString:
		if s.Enum != nil && r.IntN(10) > 0 {
			return s.Enum[r.IntN(len(s.Enum))]
		}
		return texts[r.IntN(len(texts))]
	case wire.KindBoolean:
		return r.IntN(2) == 0
	case wire.KindTimestamp, wire.KindDouble:
		return []any{0, 1e9, 1.7e9, 1e300, -1e300, 1e18, 1735689600.123, 5e-324}[r.IntN(8)]
	case wire.KindList:
		list := make([]any, r.IntN(3))
		for i := range list {
			list[i] = value(r, s.Elem)
		}
		return list
	case wire.KindMap:
		m := make(map[string]any)
		for range r.IntN(3) {
			m[texts[r.IntN(len(texts))]] = value(r, s.Elem)
		}
		return m
	case wire.KindStructure:
		m := make(map[string]any)
		for _, member := range s.Members {
			if member.Required && r.IntN(20) > 0 || r.IntN(3) == 0 {
				m[member.Name] = value(r, member.Shape)
			}
		}
		return m
	}
	return []any{0, 1, 7, 14, 50, 60, 300, 86400, 10000, 1 << 31, 1 << 62, -1, -1 << 63}[r.IntN(13)]
}

// No input makes an internal error, whatever is in it.
func TestNoInputIsAnInternalError(t *testing.T) {
	svc, prepare := randomly(t)
	h, err := wire.New(wire.Options{Services: []*wire.Service{svc}})
	if err != nil {
		t.Fatal(err)
	}
	seed := rand.Uint64()
	r := rand.New(rand.NewPCG(seed, 0))
	answered, refused := 0, 0
	for _, op := range svc.Ops {
		input := op.Input
		if input == nil {
			input = wire.Structure()
		}
		for range 150 {
			prepare()
			body, err := json.Marshal(value(r, input))
			if err != nil {
				t.Fatal(err)
			}
			req := httptest.NewRequest(http.MethodPost, "/", strings.NewReader(string(body)))
			req.Header.Set("Content-Type", contentType)
			req.Header.Set("X-Amz-Target", svc.Target+"."+op.Name)
			req.Header.Set("Authorization", "AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/20261122/us-east-1/"+svc.Signing+"/aws4_request, SignedHeaders=host, Signature=x")
			req.Header.Set("X-Amz-Date", "20261122T000000Z")
			w := httptest.NewRecorder()
			h.ServeHTTP(w, req)
			switch {
			case w.Code == http.StatusOK:
				answered++
			case w.Code == http.StatusBadRequest && strings.Contains(w.Body.String(), `"__type":"`):
				refused++
			default:
				t.Errorf("seed %d: %s %s = %d %s", seed, op.Name, body, w.Code, w.Body)
			}
		}
	}
	if answered < 100 || refused < 1000 {
		t.Errorf("%d calls did something, %d were refused (seed %d)", answered, refused, seed)
	}
}

const contentType = "application/x-amz-json-1.0"

// texts are values that mean something to one member or another.
var texts = []string{"", "app", "n", "q", "a1", "Sum", "Average", "p99", "p", "p100.0000000001", "tm90", "AWS/Lambda", ":x", "é", strings.Repeat("a", 256), "eyJRdWVyeSI6MCwiU2tpcCI6NX0", "eyJRdWVyeSI6LTEsIlNraXAiOjV9", "m1+m2", "PT3H"}

func randomly(t *testing.T) (*wire.Service, func()) {
	series, err := telemetry.OpenSeries(telemetry.SeriesOptions{})
	if err != nil {
		t.Fatal(err)
	}
	return New(Deps{Series: series}), func() {}
}
