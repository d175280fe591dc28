package stream

import (
	"bytes"
	"crypto/md5"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"slices"
	"testing"
)

// pack makes an aggregate as the Kinesis Producer Library does.
func pack(users ...UserRecord) []byte {
	var keys, hashes []string
	index := func(table *[]string, s string) uint64 {
		if i := slices.Index(*table, s); i >= 0 {
			return uint64(i)
		}
		*table = append(*table, s)
		return uint64(len(*table) - 1)
	}
	text := func(b []byte, field byte, s string) []byte {
		b = append(b, field<<3|2)
		b = binary.AppendUvarint(b, uint64(len(s)))
		return append(b, s...)
	}
	var records []byte
	for _, u := range users {
		r := binary.AppendUvarint([]byte{1 << 3}, index(&keys, u.PartitionKey))
		if u.ExplicitHashKey != "" {
			r = binary.AppendUvarint(append(r, 2<<3), index(&hashes, u.ExplicitHashKey))
		}
		r = text(r, 3, string(u.Data))
		records = text(records, 3, string(r))
	}
	var body []byte
	for _, k := range keys {
		body = text(body, 1, k)
	}
	for _, h := range hashes {
		body = text(body, 2, h)
	}
	return seal(append(body, records...))
}

func seal(body []byte) []byte {
	sum := md5.Sum(body)
	return slices.Concat(aggregateMagic, body, sum[:])
}

func TestAggregatesAreUnpacked(t *testing.T) {
	var want []UserRecord
	for i := range 500 {
		u := UserRecord{PartitionKey: fmt.Sprintf("key-%d", i%7), Data: bytes.Repeat([]byte{byte(i)}, i)}
		if i%3 == 0 {
			u.ExplicitHashKey = fmt.Sprint(i)
		}
		want = append(want, u)
	}
	got := Deaggregate(pack(want...))
	if len(got) != len(want) {
		t.Fatalf("%d records, want %d", len(got), len(want))
	}
	for i := range want {
		if got[i].PartitionKey != want[i].PartitionKey || got[i].ExplicitHashKey != want[i].ExplicitHashKey || !bytes.Equal(got[i].Data, want[i].Data) {
			t.Fatalf("record %d is %+v, want %+v", i, got[i], want[i])
		}
	}
}

// Written out by hand after the format's description, so that pack and Deaggregate are not
// only each other's mirror: keys "a" and "b", record (b, "hi"), and one with a tag.
func TestAnAggregateByHand(t *testing.T) {
	body, err := hex.DecodeString("0a0161" + "0a0162" + "1a06" + "0801" + "1a026869" + "1a0b" + "0800" + "1a00" + "2205" + "0a016b1200")
	if err != nil {
		t.Fatal(err)
	}
	got := Deaggregate(seal(body))
	if len(got) != 2 || got[0].PartitionKey != "b" || string(got[0].Data) != "hi" || got[1].PartitionKey != "a" || len(got[1].Data) != 0 {
		t.Errorf("%+v", got)
	}
}

func TestWhatIsNoSoundAggregateStaysAsItIs(t *testing.T) {
	good := pack(UserRecord{PartitionKey: "k", Data: []byte("data")})
	changed := bytes.Clone(good)
	changed[7]++
	tests := map[string][]byte{
		"nothing":                    nil,
		"the magic alone":            aggregateMagic,
		"other data":                 []byte("some data that is long enough to be one"),
		"cut off":                    good[:len(good)-1],
		"with something behind it":   append(bytes.Clone(good), 0),
		"changed":                    changed,
		"no records":                 seal(nil),
		"keys but no records":        seal([]byte("\x0a\x01k")),
		"a key that is not there":    seal([]byte("\x0a\x01k\x1a\x05\x08\x01\x1a\x01x")),
		"a hash that is not there":   seal([]byte("\x0a\x01k\x1a\x07\x08\x00\x10\x00\x1a\x01x")),
		"a record without a key":     seal([]byte("\x0a\x01k\x1a\x03\x1a\x01x")),
		"a record without data":      seal([]byte("\x0a\x01k\x1a\x02\x08\x00")),
		"a length beyond the end":    seal([]byte("\x0a\x01k\x1a\x7f\x08\x00")),
		"a length beyond all bounds": seal([]byte("\x0a\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01")),
		"a number where a key is":    seal([]byte("\x08\x01\x1a\x05\x08\x00\x1a\x01x")),
		"a group":                    seal([]byte("\x0b\x0c")),
		"a varint without an end":    seal([]byte("\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01")),
	}
	for name, data := range tests {
		if got := Deaggregate(data); got != nil {
			t.Errorf("%s: %d records", name, len(got))
		}
	}
	if Deaggregate(good) == nil {
		t.Error("the sound one: none")
	}
}

func FuzzDeaggregate(f *testing.F) {
	f.Add([]byte("\x0a\x01k\x1a\x05\x08\x00\x1a\x01x"))
	f.Add(pack(UserRecord{PartitionKey: "k", ExplicitHashKey: "7", Data: []byte("x")})[4:])
	f.Fuzz(func(t *testing.T, body []byte) {
		Deaggregate(body)
		users := Deaggregate(seal(body))
		total := 0
		for _, u := range users {
			total += len(u.Data)
		}
		if total > len(body) || len(users) > len(body) {
			t.Fatalf("%d records of %d bytes out of %d", len(users), total, len(body))
		}
		if users == nil {
			return
		}
		// Packed again it says the same.
		again := Deaggregate(pack(users...))
		if len(again) != len(users) {
			t.Fatalf("%d records, then %d", len(users), len(again))
		}
		for i := range users {
			if again[i].PartitionKey != users[i].PartitionKey || again[i].ExplicitHashKey != users[i].ExplicitHashKey || !bytes.Equal(again[i].Data, users[i].Data) {
				t.Fatalf("record %d: %+v, then %+v", i, users[i], again[i])
			}
		}
	})
}
