package wire

import (
	"bytes"
	"encoding/hex"
	"math"
	"reflect"
	"testing"
	"time"
)

// Source: RFC 8949, appendix A.
func TestCBORIsReadAsTheRFCSays(t *testing.T) {
	tests := []struct {
		hex  string
		want item
	}{
		{"00", item{kind: itemNumber}},
		{"17", item{kind: itemNumber, whole: 23, num: 23}},
		{"1818", item{kind: itemNumber, whole: 24, num: 24}},
		{"1903e8", item{kind: itemNumber, whole: 1000, num: 1000}},
		{"1a000f4240", item{kind: itemNumber, whole: 1000000, num: 1000000}},
		{"1b000000e8d4a51000", item{kind: itemNumber, whole: 1000000000000, num: 1000000000000}},
		{"1bffffffffffffffff", item{kind: itemNumber, whole: math.MaxInt64, num: 18446744073709551615}},
		{"3bffffffffffffffff", item{kind: itemNumber, whole: math.MinInt64, num: -18446744073709551616}},
		{"20", item{kind: itemNumber, whole: -1, num: -1}},
		{"3903e7", item{kind: itemNumber, whole: -1000, num: -1000}},
		{"f93c00", item{kind: itemNumber, whole: 1, num: 1}},
		{"f93e00", item{kind: itemNumber, whole: 1, num: 1.5}},
		{"f97bff", item{kind: itemNumber, whole: 65504, num: 65504}},
		{"fa47c35000", item{kind: itemNumber, whole: 100000, num: 100000}},
		{"fb3ff199999999999a", item{kind: itemNumber, whole: 1, num: 1.1}},
		{"f90001", item{kind: itemNumber, num: 5.960464477539063e-8}},
		{"f90400", item{kind: itemNumber, num: 0.00006103515625}},
		{"f9c400", item{kind: itemNumber, whole: -4, num: -4}},
		{"f97c00", item{kind: itemNumber, whole: math.MaxInt64, num: math.Inf(1)}},
		{"f9fc00", item{kind: itemNumber, whole: math.MinInt64, num: math.Inf(-1)}},
		{"f4", item{kind: itemBool}},
		{"f5", item{kind: itemBool, num: 1}},
		{"f6", item{}},
		{"f7", item{}},
		{"c11a514b67b0", item{kind: itemNumber, whole: 1363896240, num: 1363896240}},
		{"40", item{kind: itemBytes, data: []byte{}}},
		{"4401020304", item{kind: itemBytes, data: []byte{1, 2, 3, 4}}},
		{"60", item{kind: itemText}},
		{"62c3bc", item{kind: itemText, text: "ü"}},
		{"64f0908591", item{kind: itemText, text: "𐅑"}},
		{"5f42010243030405ff", item{kind: itemBytes, data: []byte{1, 2, 3, 4, 5}}},
		{"7f657374726561646d696e67ff", item{kind: itemText, text: "streaming"}},
		{"80", item{kind: itemList}},
		{"a0", item{kind: itemMap}},
	}
	for _, tt := range tests {
		b := unhex(t, tt.hex)
		if end := cborEnd(b, 0, 0); end != len(b) {
			t.Errorf("%s: ends at %d", tt.hex, end)
			continue
		}
		if got := (&cborSource{body: b}).next(); !reflect.DeepEqual(got, tt.want) {
			t.Errorf("%s: %+v, want %+v", tt.hex, got, tt.want)
		}
	}
}

// Source: RFC 8949, appendix F, and what AWS' bodies have no use for.
func TestCBORThatIsNotWellFormedIsRefused(t *testing.T) {
	for _, h := range []string{
		"", "18", "19", "1a", "1b", "1901", "1a0102", "1b01020304050607", "38", "58", "78", "98", "9a01ff00", "b8", "d8", "f8", "f900", "fa0000", "fb000000",
		"41", "61", "5affffffff00", "5bffffffffffffffff010203", "7affffffff00", "7b7fffffffffffffff010203",
		"81", "818181818181818181", "8200", "a1", "a20102", "a100", "a2000000",
		"5f", "5f4100", "7f", "7f6100", "9f", "9f01", "bf", "bf01020102",
		"1c", "1d", "1e", "3c", "5c", "7c", "9c", "bc", "dc", "fc", "1f", "3f", "df", "ff",
		"f800", "f818", "5f00ff", "5f21ff", "5f6100ff", "5f5f4100ffff", "7f4100ff", "81ff", "9fff00"[:4] + "fe", "a100ff",
		"61ff",                      // text that is no UTF-8
		"a1" + "01" + "02",          // a map with keys that are no text
		"bf" + "6161" + "ff",        // a key without a value
		"9b7fffffffffffffff" + "00", // a list longer than the body
	} {
		b := unhex(t, h)
		if end := cborEnd(b, 0, 0); end == len(b) && len(b) > 0 {
			t.Errorf("%s was taken", h)
		}
	}
	deep := append(bytes.Repeat([]byte{0x81}, cborDepth+1), 0)
	if cborEnd(deep, 0, 0) >= 0 {
		t.Error("a list nested too deeply was taken")
	}
	if deep = deep[1:]; cborEnd(deep, 0, 0) != len(deep) {
		t.Error("a list nested as deeply as it may be was refused")
	}
}

func TestAnswersAreWrittenInCBORAsTheirTagsSay(t *testing.T) {
	type inner struct {
		Name string
	}
	type answer struct {
		Text     string
		None     string `json:"None,omitempty"`
		Zero     Time   `json:"Zero,omitzero"`
		Data     []byte
		List     []inner
		Pointer  *int64 `json:"Pointer,omitempty"`
		Null     *inner
		Map      map[string]int
		Yes      bool
		Negative int
		Float    float64
		At       Time
		Any      any
		inner
	}
	v := answer{Text: "ü", Data: []byte{1}, List: []inner{{"a"}}, Map: map[string]int{"b": 1, "a": 300}, Yes: true, Negative: -500, Float: 1.5, At: Time(time.UnixMilli(1363896240500)), Any: uint8(7)}
	common := "ab 6454657874 62c3bc 6444617461 4101 644c697374 81a1644e616d656161 644e756c6c f6 634d6170 a2616119012c616201 63596573 f5 684e65676174697665 3901f3 65466c6f6174 fb3ff8000000000000 624174 %s 63416e79 07 644e616d65 60"
	for f, at := range map[Format]string{
		CBOR11:    "c1 1b0000013d8e8d0974", // milliseconds: Java's clients read them so
		RPCv2CBOR: "c1 fb41d452d9ec200000", // RFC 8949: 1363896240.5
	} {
		got, err := appendAnswer(nil, f, v)
		if err != nil {
			t.Fatal(err)
		}
		if want := unhex(t, string(bytes.Replace([]byte(common), []byte("%s"), []byte(at), 1))); !bytes.Equal(got, want) {
			t.Errorf("format %d:\n%s, want\n%s", f, hex.EncodeToString(got), hex.EncodeToString(want))
		}
		if cborEnd(got, 0, 0) != len(got) {
			t.Errorf("format %d: not well-formed", f)
		}
	}
	if _, err := appendAnswer(nil, CBOR11, struct{ C chan int }{}); err == nil {
		t.Error("a channel was written")
	}
}

// Sources: Java prints doubles so; the answer of GetRecords in AWS' documentation has
// 1.441215410867E9.
func TestTimesAreWrittenAndReadInTheUnitOfTheFormat(t *testing.T) {
	for ms, want := range map[int64]string{1441215410867: "1.441215410867E9", 1500000000000: "1.5E9", 1000000000000: "1.0E9", 1500: "1.5", 0: "0"} {
		if b, err := Time(time.UnixMilli(ms)).MarshalJSON(); err != nil || string(b) != want {
			t.Errorf("%d: %s, %v; want %s", ms, b, err, want)
		}
	}
	s := Structure(Member{Name: "T", Shape: Timestamp(), Required: true})
	want := time.UnixMilli(1441215410867)
	for _, tt := range []struct {
		f    Format
		body []byte
	}{
		{JSON11, []byte(`{"T":1.441215410867E9}`)},
		{JSON11, []byte(`{"T":1441215410.867}`)},
		{CBOR11, unhex(t, "a16154 c1 1b 0000014f8f21f2b3")},
		{RPCv2CBOR, append(unhex(t, "a16154 c1 fb"), 0x41, 0xd5, 0x79, 0xcc, 0xec, 0xb7, 0x7c, 0xee)},
	} {
		in, err := read(tt.f, s, tt.body)
		if err != nil {
			t.Errorf("%d: %v", tt.f, err)
		} else if got := in.Time("T"); !got.Equal(want) {
			t.Errorf("%d %x: %v, want %v", tt.f, tt.body, got.UnixMilli(), want)
		}
	}
}
