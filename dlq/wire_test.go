package dlq

import (
	"bytes"
	"cmp"
	"math/rand/v2"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"
)

func TestIDsSortByNumberWithinASource(t *testing.T) {
	numbers := []uint64{0, 1, 31, 32, 33, 1023, 1024, 1 << 35, 1<<48 - 1, 1 << 63, ^uint64(0)}
	for range 200 {
		numbers = append(numbers, rand.Uint64()>>rand.IntN(64))
	}
	for _, a := range numbers {
		for _, b := range numbers {
			x, y := LetterID("m", 1, "s", a, 1), LetterID("m", 1, "s", b, 1)
			if strings.Compare(x, y) != cmp.Compare(a, b) {
				t.Fatalf("%d -> %s, %d -> %s: order differs", a, x, b, y)
			}
		}
	}
}

func TestIDsDifferBySourceNumberAndBurial(t *testing.T) {
	seen := map[string]bool{}
	for _, m := range []string{"a", "b"} {
		for g := range 3 {
			for _, s := range []string{"shardId-000000000000", "shardId-000000000001"} {
				for n := range uint64(40) {
					for b := 1; b <= 3; b++ {
						id := LetterID(m, g, s, n, b)
						if seen[id] {
							t.Fatalf("%s twice", id)
						}
						seen[id] = true
						if source, ok := SourceOf(id); !ok || source != SourceCode(m, g, s) {
							t.Errorf("SourceOf(%s) = %s, %v", id, source, ok)
						}
					}
				}
			}
		}
	}
	if LetterID("m", 1, "s", 7, 0) != LetterID("m", 1, "s", 7, 1) {
		t.Error("burial 0 and 1 differ: both are the first")
	}
}

func TestSourceOfRefusesWhatIsNoID(t *testing.T) {
	for _, id := range []string{"", "-", "abc-1", "0123456789", "0123456789-", "0123456789-I", "0123456789-1 "} {
		if _, ok := SourceOf(id); ok {
			t.Errorf("SourceOf(%q) took it", id)
		}
	}
}

func letter(data []byte) Letter {
	l := Letter{
		ID: "0123456789-11", Trigger: "quakes", Mapping: "m", Generation: 2, Stream: "arn", StreamID: "s", Shard: "shardId-000000000000",
		Sequence: "49", Number: 1, PartitionKey: "ci", ExplicitHashKey: "7", Arrival: time.UnixMilli(1700000000123).UTC(), TraceParent: "00-1",
		Data: data, Reason: RetryAttemptsExhausted, ErrorType: "errorString", ErrorMessage: "no \"logarithm\"\n", Attempts: 3,
		FirstFailure: time.UnixMilli(1700000001000).UTC(), Buried: time.UnixMilli(1700000002000).UTC(), Burial: 1, Function: "f", Version: "$LATEST", Digest: "ab",
	}
	l.Batch.Invocation, l.Batch.Position, l.Batch.Size = "r", 4, 100
	return l
}

func TestWireKeepsEveryFieldAndThePayloadAsItIs(t *testing.T) {
	a, b := letter([]byte("\x00\xff{}")), letter([]byte{})
	buf, err := AppendWire(nil, &a)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Contains(buf, a.Data) {
		t.Error("payload is not stored as it is")
	}
	if buf, err = AppendWire(buf, &b); err != nil {
		t.Fatal(err)
	}
	got, rest, err := ReadWire(buf)
	if err != nil || !reflect.DeepEqual(got, a) {
		t.Fatalf("read = %+v, %v; want %+v", got, err, a)
	}
	got, rest, err = ReadWire(rest)
	if err != nil || !reflect.DeepEqual(got, b) || len(rest) != 0 {
		t.Fatalf("read second = %+v, %d left, %v; want %+v", got, len(rest), err, b)
	}
}

func FuzzReadWire(f *testing.F) {
	l := letter([]byte("x"))
	seed, _ := AppendWire(nil, &l)
	f.Add(seed)
	f.Add([]byte{0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01})
	f.Fuzz(func(t *testing.T, b []byte) {
		l, rest, err := ReadWire(b)
		if err != nil {
			return
		}
		if len(l.Data)+len(rest) > len(b) {
			t.Errorf("%d bytes became %d", len(b), len(l.Data)+len(rest))
		}
	})
}

func TestIDsOfOutputsSortByPositionAndAreNoOthers(t *testing.T) {
	var all []string
	for _, at := range []Position{{1, 0}, {1, 9}, {1, 40}, {2, 0}, {2, 1}, {40, 0}, {40, 33}, {4000, 7}} {
		all = append(all, OutputLetterID("m", 1, "s", "x", at))
	}
	if !slices.IsSorted(all) || len(slices.Compact(slices.Clone(all))) != len(all) {
		t.Errorf("ids = %s", all)
	}
	for _, id := range all {
		if code, ok := SourceOf(id); !ok || code != OutputCode("m", 1, "s", "x") || Reburied(id) {
			t.Errorf("source of %s = %s, %v", id, code, ok)
		}
	}
	if OutputCode("m", 1, "s", "x") == OutputCode("m", 1, "s", "y") || OutputCode("m", 1, "s", "") == SourceCode("m", 1, "s") {
		t.Error("two lanes have one code")
	}
}

func TestEarlierBurials(t *testing.T) {
	l := Letter{Mapping: "m", Generation: 1, Shard: "s", Number: 7, Burial: 3}
	if got := l.Earlier(); len(got) != 2 || got[0] != LetterID("m", 1, "s", 7, 1) || got[1] != LetterID("m", 1, "s", 7, 2) || Reburied(got[0]) || !Reburied(got[1]) {
		t.Errorf("earlier = %s", got)
	}
}
