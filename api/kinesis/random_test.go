package kinesis

import (
	"encoding/base64"
	"encoding/json"
	"math/rand/v2"
	"net/http"
	"regexp"
	"strings"
	"testing"

	"github.com/wasmill/wasmill/api/wire"
)

// texts are values that mean something to one member or another.
var texts = []string{
	"", "s", "od", "nope", "x", "a b", "é", strings.Repeat("a", 129), "0", "5", "01", half, last, "340282366920938463463374607431768211456", strings.Repeat("9", 129),
	"shardId-000000000000", "shardId-000000000001", "1", "99", "2147483647", "99999999999", "shardId-", "-", "c", "fan",
	arnOf + "s", arnOf + "od", arnOf + "s/consumer/fan:1", arnOf + "s/consumer/", arnOf, "arn:aws:kinesis:us-east-1:000000000000:stream/s:1", "arn:aws-cn:kinesis::000000000000:x:stream/s",
	"arn:aws:kinesis:eu-west-1:000000000000:stream/s", "arn:aws:kinesis:us-east-1:999999999999:stream/s", "aaaaaaaaaaaaaaaaaaaa-aaa", "alias/aws/kinesis",
	`{"Version":"2012-10-17","Statement":{"Effect":"Deny","Principal":"*","Action":"*","Resource":"*"}}`, `{"Version":1}`, "null", "[]",
	base64.StdEncoding.EncodeToString([]byte("\x00\x00\x00\x00\x00\x00\x00\x01{}")),
	base64.StdEncoding.EncodeToString([]byte("\x00\x00\x00\x00\x00\x00\x00\x01" + `{"op":"ListShards","issued":9999999999999,"stream":"","filter":[]}`)),
	base64.StdEncoding.EncodeToString([]byte("\x00\x00\x00\x00\x00\x00\x00\x01" + `{"op":"ListShards","issued":9999999999999,"stream":"x","after":"shardId-"}`)),
	base64.StdEncoding.EncodeToString([]byte("\x00\x00\x00\x00\x00\x00\x00\x01" + `{"op":"ListStreamConsumers","issued":-9999999999999999}`)),
	base64.StdEncoding.EncodeToString([]byte("\x00\x00\x00\x00\x00\x00\x00\x01" + `{"op":"ListStreams","issued":9999999999999,"after":"zz"}`)),
}

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
	case wire.KindBlob:
		return "AAAA"
	case wire.KindTimestamp:
		return []any{0, 1e9, 1.7e9, 1e300, -1e300, 1e18, 1735689600.123}[r.IntN(7)]
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
	return []any{0, 1, 2, 3, 24, 48, 1024, 10240, 10000, 100000, 1 << 31, 1 << 62, -1}[r.IntN(13)]
}

// huge are calls that make thousands of shards.
var huge = regexp.MustCompile(`"(ShardCount|WarmThroughputMiBps)":10`)

// No input makes an internal error, whatever is in it.
func TestNoInputIsAnInternalError(t *testing.T) {
	e := emulate(t, 0, nil)
	seed := rand.Uint64()
	r := rand.New(rand.NewPCG(seed, 0))
	answered := 0
	for _, op := range New(Deps{}).Ops {
		if op.Stream != nil {
			continue // lasts for minutes if it is in order
		}
		input := op.Input
		if input == nil {
			input = wire.Structure()
		}
		for range 60 {
			// What calls have deleted or filled is made anew.
			e.call("CreateStream", `{"StreamName":"s","ShardCount":3}`)
			e.call("CreateStream", `{"StreamName":"od"}`)
			body, err := json.Marshal(value(r, input))
			if err != nil {
				t.Fatal(err)
			}
			if huge.Match(body) {
				continue
			}
			status, answer := e.call(op.Name, string(body))
			if status != http.StatusOK && status != http.StatusBadRequest {
				t.Errorf("seed %d: %s %s = %d %s", seed, op.Name, body, status, answer)
			}
			if status == http.StatusOK {
				answered++
			}
		}
	}
	if answered < 100 {
		t.Errorf("only %d calls did anything (seed %d)", answered, seed)
	}
}
