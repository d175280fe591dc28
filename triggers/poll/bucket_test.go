package poll

import (
	"fmt"
	"strings"
	"testing"

	"github.com/wasmill/wasmill/stream"
)

func TestBucketsOfKeysSeenBeforeAreThoseOfTheirMD5(t *testing.T) {
	b := lately.New().(*buckets)
	for range 3 {
		for i := range 9_000 { // more keys than lines: they drive each other out
			key := fmt.Sprint("key-", i%5_900)
			if i%7 == 0 {
				key += strings.Repeat("x", i%60)
			}
			if got, want := b.of(key), stream.Bucket(key); got != want {
				t.Fatalf("bucket of %q = %d, want %d", key, got, want)
			}
		}
	}
	if got, want := b.of(""), stream.Bucket(""); got != want {
		t.Errorf("bucket of no key = %d, want %d", got, want)
	}
}

func BenchmarkBuckets(b *testing.B) {
	keys := make([]string, 500)
	for i := range keys {
		keys[i] = fmt.Sprint("key-", i)
	}
	b.Run("remembered", func(b *testing.B) {
		m := lately.New().(*buckets)
		for i := 0; b.Loop(); i++ {
			m.of(keys[i%len(keys)])
		}
	})
	b.Run("md5", func(b *testing.B) {
		for i := 0; b.Loop(); i++ {
			stream.Bucket(keys[i%len(keys)])
		}
	})
}
