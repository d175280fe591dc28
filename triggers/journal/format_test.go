package journal

import (
	"encoding/hex"
	"errors"
	"math/rand/v2"
	"reflect"
	"strings"
	"testing"

	"github.com/wasmill/wasmill/triggers"
)

func TestFormatGolden(t *testing.T) {
	cp := triggers.Checkpoint{Next: 5, Finished: []triggers.Span{{Buckets: ^uint64(0), From: 7, To: 8}}}
	body, err := appendBody(nil, &cp, "me")
	if err != nil {
		t.Fatal(err)
	}
	got := message(3, attempt{1, 2, 3}, 9, 0, body)
	const want = "574a01" + "03" + "01020300000000000000000000000000" + "09" + "00" +
		"010a" + "7b226e657874223a357d" + // {"next":5}
		"0202" + "6d65" + // me
		"030b" + "00ffffffffffffffff" + "0701" +
		"00"
	if h := hex.EncodeToString(got); !strings.HasPrefix(h, want) || len(h) != len(want)+8 {
		t.Errorf("message = %s, want %s and a checksum", h, want)
	}
	c, err := decodeCommit(4, got)
	if err != nil || c.epoch != 3 || c.prev != 9 || c.owner != "me" || c.attempt != (attempt{1, 2, 3}) || !reflect.DeepEqual(c.checkpoint, cp) {
		t.Errorf("decoded %+v, %v", c, err)
	}
}

func TestReaderPassesEvenTagsAndRefusesOddOnesItDoesNotKnow(t *testing.T) {
	body, _ := appendBody(nil, &triggers.Checkpoint{Next: 1}, "")
	later := message(1, attempt{}, 0, 0, appendSection(append([]byte{}, body...), 40, []byte("for information")))
	if c, err := decodeCommit(1, later); err != nil || c.checkpoint.Next != 1 {
		t.Errorf("even tag: %+v, %v", c, err)
	}
	outputs := message(1, attempt{}, 0, 0, appendSection(append([]byte{}, body...), 41, []byte("outputs")))
	if _, err := decodeCommit(1, outputs); !errors.Is(err, ErrCorrupt) {
		t.Errorf("odd tag: %v, want ErrCorrupt", err)
	}
}

func TestSpansAreKeptWhateverTheyAre(t *testing.T) {
	for range 500 {
		var spans []triggers.Span
		mask := rand.Uint64()
		at := rand.Uint64() >> 20
		for range 1 + rand.IntN(20) {
			s := triggers.Span{Buckets: mask, From: at + rand.Uint64N(100), To: 0}
			s.To = s.From + rand.Uint64N(100)
			if rand.IntN(40) == 0 {
				s.Buckets = rand.Uint64()
			}
			if rand.IntN(40) == 0 {
				s.From, s.To = s.To, s.From
			}
			at = s.To
			spans = append(spans, s)
		}
		r := &reader{b: appendSpans(nil, spans)}
		if got := readSpans(r); r.err != nil || !reflect.DeepEqual(got, spans) {
			t.Fatalf("spans = %v, %v; want %v", got, r.err, spans)
		}
	}
}

func FuzzDecodeCommit(f *testing.F) {
	body, _ := appendBody(nil, &triggers.Checkpoint{Next: 1, Finished: []triggers.Span{{Buckets: 1, From: 2, To: 3}, {Buckets: 2, From: 4, To: 5}}}, "o")
	f.Add(body)
	f.Add(appendBlobs(nil, tagBlobs, blobs{size: 9, sum: 1, sequences: []uint64{4, 5}}))
	f.Add(appendSection(nil, tagNotices, []byte{1, 'd', 1, 15}))
	f.Add([]byte{3, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1})
	f.Fuzz(func(t *testing.T, sections []byte) {
		// The checksum would hide everything from the fuzzer, so it is right.
		c, err := decodeCommit(1, message(1, attempt{}, 0, 1, sections))
		if err == nil && len(c.checkpoint.Finished) > len(sections) {
			t.Errorf("%d bytes became %d spans", len(sections), len(c.checkpoint.Finished))
		}
		_, _ = decodeCommit(1, sections)
		_, _ = decodeMark(sections)
	})
}
