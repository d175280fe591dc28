package log

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"hash/crc32"
	"math/rand/v2"
	"strings"
	"testing"
	"unsafe"
)

// encode makes the frame of records behind a log whose newest arrival is last.
func encode(h head, last int64, records ...Record) (*Frame, []byte) {
	body := 0
	for i := range records {
		body += maxEncoded(&records[i])
	}
	b := newBuilder(h, Mark{}, len(records), body, last)
	for i := range records {
		b.add(&records[i], 0)
	}
	return b.finish()
}

var goldenHead = head{
	epoch: 0x5FEE6600, seq: 7, first: 1000, before: 2000,
	attempt: attemptID{1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16},
}

var goldenRecords = []Record{
	{Key: "us", Arrival: 1_700_000_000_000, Data: []byte("hello")},
	{Key: "ak", HashKey: "42", Arrival: 1_700_000_000_300, Data: []byte{0}, Trace: "00-aa-bb-01"},
	{Key: "", Arrival: 1_700_000_000_300},
}

// The bytes are those of the first release: if they change, the version must.
const golden = "01000300" + "0066ee5f" + "0102030405060708090a0b0c0d0e0f10" + // version, kind, count; epoch; attempt
	"0700000000000000" + "e803000000000000" + "d007000000000000" + // sequence, first, bytes before
	"0068e5cf8b010000" + "2c69e5cf8b010000" + "0a00000000000000" + // arrivals, bytes
	"2a000000" + "00000000" + "BODYCRC." + "HEADCRC." +
	"00" + // extensions of the frame
	"027573" + "00" + "00" + "0568656c6c6f" + "00" +
	"02616b" + "023432" + "ac02" + "0100" + "0d" + "010b30302d61612d62622d3031" +
	"00" + "00" + "00" + "00" + "00"

func TestFrameGolden(t *testing.T) {
	want, err := hex.DecodeString(strings.NewReplacer("BODYCRC.", "00000000", "HEADCRC.", "00000000").Replace(golden))
	if err != nil {
		t.Fatal(err)
	}
	binary.LittleEndian.PutUint32(want[80:], crc32.Checksum(want[88:], crc32.MakeTable(crc32.Castagnoli)))
	binary.LittleEndian.PutUint32(want[84:], crc32.Checksum(want[:84], crc32.MakeTable(crc32.Castagnoli)))

	f, got := encode(goldenHead, 0, goldenRecords...)
	if !bytes.Equal(got, want) {
		t.Fatalf("frame is\n%x, want\n%x", got, want)
	}
	if cap(got) < len(got) || cap(got) != headBytes+1+maxEncoded(&goldenRecords[0])+maxEncoded(&goldenRecords[1])+maxEncoded(&goldenRecords[2]) {
		t.Errorf("the buffer grew: capacity %d", cap(got))
	}
	if f.Seq != 7 || f.First != 1000 || f.Next() != 1003 || f.Bytes != 2000 || f.Epoch != 0x5FEE6600 || f.LastArrival() != 1_700_000_000_300 {
		t.Errorf("frame = %+v", f)
	}
	d, bad := decode(want, 7)
	if bad != nil {
		t.Fatal(bad)
	}
	same(t, d, f)
	// Checksums of the release, so that the polynomial cannot change unnoticed.
	if sums := hex.EncodeToString(got[80:88]); sums != "c65f9e8fb7e777c0" {
		t.Errorf("checksums %s", sums)
	}
}

func same(t *testing.T, got, want *Frame) {
	t.Helper()
	if got.head != want.head || got.Seq != want.Seq || got.First != want.First || got.Bytes != want.Bytes || got.Epoch != want.Epoch || got.End != want.End || len(got.Records) != len(want.Records) {
		t.Fatalf("frame = %+v, want %+v", got, want)
	}
	for i := range want.Records {
		a, b := got.Records[i], want.Records[i]
		if a.Key != b.Key || a.HashKey != b.HashKey || a.Arrival != b.Arrival || !bytes.Equal(a.Data, b.Data) || a.Trace != b.Trace || a.ID != b.ID {
			t.Fatalf("record %d = %+v, want %+v", i, a, b)
		}
	}
}

func TestDecodedRecordsAliasTheBuffer(t *testing.T) {
	_, buf := encode(goldenHead, 0, goldenRecords...)
	f, bad := decode(buf, 7)
	if bad != nil {
		t.Fatal(bad)
	}
	inside := func(p *byte) bool {
		at := uintptr(unsafe.Pointer(p)) - uintptr(unsafe.Pointer(&buf[0]))
		return at < uintptr(len(buf))
	}
	r := f.Records[1]
	if !inside(unsafe.StringData(r.Key)) || !inside(unsafe.StringData(r.HashKey)) || !inside(&r.Data[0]) || !inside(unsafe.StringData(r.Trace)) {
		t.Error("a record was copied")
	}
	if allocs := testing.AllocsPerRun(100, func() { decode(buf, 7) }); allocs > 3 {
		t.Errorf("%v allocations to decode a frame, want the frame, its records and their head", allocs)
	}
}

func TestUnknownTagsAreSkipped(t *testing.T) {
	body := []byte{3, 9, 1, 'x'} // extension 9 of the frame
	body = append(body, 1, 'k', 0, 0, 1, 'd')
	body = append(body, 13, 77, 2, 'a', 'b', 1, 1, 'T', 200, 1, 0, 2, 1, 'I')
	h := head{seq: 1, count: 1, size: 2}
	buf := append(make([]byte, headBytes), body...)
	h.seal(buf)
	f, bad := decode(buf, 1)
	if bad != nil {
		t.Fatal(bad)
	}
	if r := f.Records[0]; r.Key != "k" || string(r.Data) != "d" || r.Trace != "T" || r.ID != "I" {
		t.Errorf("record = %+v", r)
	}
}

func TestArrivalsNeverFall(t *testing.T) {
	f, buf := encode(goldenHead, 500, Record{Arrival: 400}, Record{Arrival: 700}, Record{Arrival: 600}, Record{Arrival: -3})
	for i, want := range []int64{500, 700, 700, 700} {
		if f.Records[i].Arrival != want {
			t.Errorf("arrival %d = %d, want %d", i, f.Records[i].Arrival, want)
		}
	}
	d, bad := decode(buf, 7)
	if bad != nil {
		t.Fatal(bad)
	}
	same(t, d, f)
	end, buf := encode(goldenHead, 700)
	if !end.End || end.LastArrival() != 700 || end.Next() != 1000 {
		t.Errorf("END frame = %+v", end)
	}
	if d, bad := decode(buf, 7); bad != nil || !d.End {
		t.Errorf("decoded END = %+v, %v", d, bad)
	}
}

func TestEveryFlippedBitIsFound(t *testing.T) {
	_, buf := encode(goldenHead, 0, goldenRecords...)
	for i := range len(buf) * 8 {
		buf[i/8] ^= 1 << (i % 8)
		_, bad := decode(buf, 7)
		if bad == nil {
			t.Fatalf("bit %d flipped: not noticed", i)
		}
		// The place is known exactly when the damage is behind the head.
		if (bad.head != nil) != (i/8 >= headBytes) {
			t.Fatalf("bit %d flipped: %s, head known: %v", i, bad.reason, bad.head != nil)
		}
		buf[i/8] ^= 1 << (i % 8)
	}
	for n := range len(buf) {
		if _, bad := decode(buf[:n:n], 7); bad == nil {
			t.Fatalf("cut to %d bytes: not noticed", n)
		}
	}
	if _, bad := decode(append(buf[:len(buf):len(buf)], 0), 7); bad == nil {
		t.Error("a byte too many: not noticed")
	}
	if _, bad := decode(buf, 8); bad == nil || bad.head != nil {
		t.Errorf("frame of another sequence: %v", bad)
	}
}

func TestMaxEncodedIsEnough(t *testing.T) {
	for range 2000 {
		r := Record{
			Key:     strings.Repeat("k", rand.IntN(300)),
			HashKey: strings.Repeat("1", rand.IntN(40)),
			Arrival: rand.Int64(),
			Data:    make([]byte, rand.IntN(20_000)),
			Trace:   strings.Repeat("t", rand.IntN(200)),
			ID:      strings.Repeat("i", rand.IntN(40)),
		}
		_, buf := encode(goldenHead, 0, r)
		if most := headBytes + 1 + maxEncoded(&r); len(buf) > most || len(buf) < most-binary.MaxVarintLen64 {
			t.Fatalf("%d bytes, expected at most %d", len(buf), most)
		}
	}
}

// FuzzDecode feeds the decoder bodies with right checksums, so that it gets past
// them, and raw bytes.
func FuzzDecode(f *testing.F) {
	_, buf := encode(goldenHead, 0, goldenRecords...)
	f.Add(buf, uint16(3), true)
	f.Add(buf, uint16(3), false)
	_, buf = encode(goldenHead, 900)
	f.Add(buf, uint16(0), true)
	b := newBuilder(goldenHead, Mark{5, 6}, 1, 100, 0)
	b.add(&Record{Key: "k", Arrival: 9, ID: "0f"}, 0)
	_, buf = b.finish()
	f.Add(buf, uint16(1), true)
	f.Fuzz(func(t *testing.T, buf []byte, count uint16, reseal bool) {
		buf = bytes.Clone(buf)
		if reseal && len(buf) > headBytes {
			h, bad := decodeHead(buf, 7)
			if bad != nil {
				h = head{seq: 7, size: uint64(len(buf)), last: int64(len(buf))}
			}
			h.count = count
			if h.kind = kindData; count == 0 {
				h.kind = kindEnd
			}
			h.seal(buf)
		}
		frame, bad := decode(buf, 7)
		if bad != nil {
			if frame != nil || bad.reason == "" {
				t.Fatalf("damaged: %+v, %q", frame, bad.reason)
			}
			return
		}
		if len(frame.Records) > len(buf) || frame.Next() < frame.First {
			t.Fatalf("frame = %+v", frame)
		}
		// What was decoded encodes to something that decodes alike.
		if len(frame.Records) == 0 || frame.head.from <= 0 {
			return // an arrival of 0 means the time now to the encoder
		}
		h := frame.head
		h.size = 0
		again, buf := encode(h, h.from, frame.Records...)
		again.head.from = again.Records[0].Arrival
		d, bad := decode(buf, 7)
		if bad != nil {
			t.Fatalf("encoded again: %v", bad)
		}
		same(t, d, again)
	})
}
