package wire

import (
	"encoding/binary"
	"math"
	"strconv"
	"strings"
	"time"
)

// Time is a timestamp in an answer, of whole milliseconds: in JSON seconds since 1970 as
// Java prints them (1.441215410867E9), in AWS CBOR 1.1 milliseconds and in RPC v2
// seconds, both with tag 1.
type Time time.Time

// IsZero lets a Time be left out ("omitzero").
func (t Time) IsZero() bool { return time.Time(t).IsZero() }

// MarshalJSON writes a number.
func (t Time) MarshalJSON() ([]byte, error) {
	s := strconv.FormatFloat(float64(time.Time(t).UnixMilli())/1000, 'E', -1, 64)
	digits, exp, _ := strings.Cut(s, "E")
	n, _ := strconv.Atoi(exp)
	if n < 7 { // as Java's Double.toString does
		return strconv.AppendFloat(nil, float64(time.Time(t).UnixMilli())/1000, 'f', -1, 64), nil
	}
	if !strings.Contains(digits, ".") {
		digits += ".0"
	}
	return []byte(digits + "E" + strconv.Itoa(n)), nil
}

func (t Time) appendCBOR(b []byte, f Format) []byte {
	ms := time.Time(t).UnixMilli()
	b = appendCBORHead(b, cborTag, 1)
	if f == CBOR11 {
		return appendCBORInt(b, ms)
	}
	return binary.BigEndian.AppendUint64(append(b, cborSimple<<5|27), math.Float64bits(float64(ms)/1000))
}
