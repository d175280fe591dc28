package wire

import (
	"errors"
	"math"
	"strconv"
	"strings"
	"time"
)

// Values that travel as text: in paths, queries, headers and forms.

// fromTexts reads a member that was given once, or as often as a list has elements.
func fromTexts(s *Shape, texts []string) (any, *Error) {
	if s.Kind != KindList {
		return fromText(s, texts[0])
	}
	if len(texts) > maxValues {
		return nil, serialization("The request has more than %d values", maxValues)
	}
	out := make([]any, 0, len(texts))
	for _, text := range texts {
		v, err := fromText(s.Elem, text)
		if err != nil {
			return nil, err
		}
		out = append(out, v)
	}
	return out, nil
}

// fromText reads a value that holds no others.
func fromText(s *Shape, text string) (any, *Error) {
	switch s.Kind {
	case KindString:
		return strings.ToValidUTF8(text, "\uFFFD"), nil
	case KindBlob:
		return blob(item{kind: itemText, text: text})
	case KindBoolean:
		return boolean(item{kind: itemText, text: text})
	case KindInteger, KindLong:
		return whole(s, text)
	case KindDouble:
		f, err := strconv.ParseFloat(text, 64)
		if err != nil {
			return nil, serialization("'%s' can not be converted to a Double", bounded(text))
		}
		return f, nil
	case KindTimestamp:
		return moment(text)
	}
	return nil, serialization("'%s' stands where more than one value is wanted", bounded(text))
}

// whole reads an integer. One that is too large for its kind counts as the nearest that is
// not, as in JSON.
func whole(s *Shape, text string) (any, *Error) {
	n, err := strconv.ParseInt(text, 10, 64)
	if err != nil && !errors.Is(err, strconv.ErrRange) {
		what := "an Integer"
		if s.Kind == KindLong {
			what = "a Long"
		}
		return nil, serialization("'%s' can not be converted to %s", bounded(text), what)
	}
	if s.Kind == KindInteger {
		n = min(max(n, math.MinInt32), math.MaxInt32)
	}
	return n, nil
}

// moment reads a time: ISO 8601, or seconds since 1970.
func moment(text string) (any, *Error) {
	for _, layout := range []string{time.RFC3339Nano, "2006-01-02T15:04:05", "2006-01-02T15:04Z07:00", "2006-01-02", "20060102T150405Z", time.RFC1123} {
		if t, err := time.Parse(layout, text); err == nil {
			return t.UTC().Truncate(time.Millisecond), nil
		}
	}
	if f, err := strconv.ParseFloat(text, 64); err == nil && !math.IsNaN(f) {
		return time.UnixMilli(int64(math.Round(min(max(f*1000, -1<<53), 1<<53)))).UTC(), nil
	}
	return nil, serialization("'%s' can not be converted to a timestamp: want one like 2006-01-02T15:04:05Z", bounded(text))
}
