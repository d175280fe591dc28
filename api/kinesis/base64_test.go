package kinesis

import (
	"bytes"
	"crypto/rand"
	"encoding/base64"
	"testing"
)

func FuzzBase64IsAsEncodingBase64HasIt(f *testing.F) {
	for _, s := range []string{"", "QQ==", "QUI=", "QUJD", "QR==", "QQ=", "QUJD\n", "QQ==QQ==", "QUJDREVGR0hJSktMTU5PUFFSU1RVVldYWVo=", "QUJDREVGR0hJSktMTU5PUFFS\x00TVVldYWVo=", "QUJDREVGR0hJSktMTU5PUFFSU1RVVldY\r\nWVo="} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		want, err := base64.StdEncoding.Strict().DecodeString(string(text))
		wantOK := err == nil && base64.StdEncoding.EncodedLen(len(want)) == len(text)
		buf := append(bytes.Clone(text), "behind"...)
		got, ok := decodeBase64(buf[:len(text)])
		if ok != wantOK || ok && !bytes.Equal(got, want) {
			t.Errorf("%q: %q, %v; want %q, %v", text, got, ok, want, wantOK)
		}
		if !ok && !bytes.Equal(buf[:len(text)], text) {
			t.Errorf("%q is %q after it was refused", text, buf[:len(text)])
		}
		if string(buf[len(text):]) != "behind" {
			t.Errorf("%q: written behind its end", text)
		}
		if got, want := string(appendBase64([]byte("x"), text)), "x"+base64.StdEncoding.EncodeToString(text); got != want {
			t.Errorf("base64 of %q: %q, want %q", text, got, want)
		}
	})
}

func BenchmarkBase64(b *testing.B) {
	raw := make([]byte, 1000)
	rand.Read(raw)
	text := base64.StdEncoding.EncodeToString(raw)
	buf := make([]byte, len(text))
	b.Run("decode", func(b *testing.B) {
		b.SetBytes(int64(len(text)))
		for b.Loop() {
			copy(buf, text)
			if _, ok := decodeBase64(buf); !ok {
				b.Fatal("refused")
			}
		}
	})
	b.Run("encode", func(b *testing.B) {
		b.SetBytes(int64(len(raw)))
		for b.Loop() {
			buf = appendBase64(buf[:0], raw)
		}
	})
}
