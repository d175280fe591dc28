package kv

import (
	"encoding/hex"
	"fmt"
	"strings"
)

// Keys are one subject token each. Letters, digits, - and _ stand for
// themselves; every other byte, = included, is = and two hexadecimal digits;
// the empty key is a single =. So different keys have different subjects.

func (b *Bucket[T]) subject(key string) (string, error) {
	if len(key) > MaxKey {
		return "", fmt.Errorf("%w: key of %d bytes, at most %d fit", ErrInvalid, len(key), MaxKey)
	}
	return b.prefix + encodeKey(key), nil
}

func encodeKey(key string) string {
	if key == "" {
		return "="
	}
	var s strings.Builder
	for _, c := range []byte(key) {
		if c < 0x80 && plain[c] {
			s.WriteByte(c)
		} else {
			fmt.Fprintf(&s, "=%02X", c)
		}
	}
	return s.String()
}

func decodeKey(token string) (string, error) {
	if token == "=" {
		return "", nil
	}
	head, rest, more := strings.Cut(token, "=")
	var s strings.Builder
	s.WriteString(head)
	for more {
		if head, rest, more = strings.Cut(rest, "="); len(head) < 2 {
			return "", fmt.Errorf("kv: %q is no key", token)
		}
		b, err := hex.DecodeString(head[:2])
		if err != nil {
			return "", fmt.Errorf("kv: %q is no key", token)
		}
		s.Write(b)
		s.WriteString(head[2:])
	}
	return s.String(), nil
}

var plain = func() (p [0x80]bool) {
	for _, c := range "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_" {
		p[c] = true
	}
	return p
}()
