package stream

import (
	"crypto/md5"
	"errors"
	"math/big"
	"testing"

	"pgregory.net/rapid"
)

var space = new(big.Int).Lsh(big.NewInt(1), 128)

func hashKeys() *rapid.Generator[HashKey] {
	return rapid.Custom(func(t *rapid.T) HashKey {
		word := rapid.OneOf(rapid.Uint64(), rapid.SampledFrom([]uint64{0, 1, ^uint64(0)}))
		return HashKey{word.Draw(t, "hi"), word.Draw(t, "lo")}
	})
}

func TestHashKeyComparesAsTheInteger(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		a, b := hashKeys().Draw(t, "a"), hashKeys().Draw(t, "b")
		an, _ := new(big.Int).SetString(a.String(), 10)
		bn, _ := new(big.Int).SetString(b.String(), 10)
		if got, want := a.Compare(b), an.Cmp(bn); got != want {
			t.Fatalf("Compare(%s, %s) = %d, want %d", a, b, got, want)
		}
		back, err := ParseHashKey(a.String())
		if err != nil || back != a {
			t.Fatalf("%s reads as %s, %v", a, back, err)
		}
	})
}

func TestParseHashKeyRefuses(t *testing.T) {
	for _, text := range []string{"", "-1", "+1", "01", "1e3", "0x10", " 1", "1_000", "340282366920938463463374607431768211456"} {
		if h, err := ParseHashKey(text); !errors.Is(err, ErrInvalid) {
			t.Errorf("ParseHashKey(%q) = %s, %v; want ErrInvalid", text, h, err)
		}
	}
	for _, text := range []string{"0", "340282366920938463463374607431768211455"} {
		if h, err := ParseHashKey(text); err != nil || h.String() != text {
			t.Errorf("ParseHashKey(%q) = %s, %v", text, h, err)
		}
	}
}

func TestEvenRangesCoverTheSpace(t *testing.T) {
	one := big.NewInt(1)
	for n := 1; n <= 1000; n++ {
		ranges := EvenRanges(n)
		if len(ranges) != n {
			t.Fatalf("%d ranges, want %d", len(ranges), n)
		}
		next := new(big.Int)
		small, large := new(big.Int).Set(space), new(big.Int)
		for i, r := range ranges {
			if r[0].big().Cmp(next) != 0 {
				t.Fatalf("%d shards: range %d begins at %s, want %s", n, i, r[0], next)
			}
			next = r[1].big()
			next.Add(next, one)
			size := new(big.Int).Sub(next, r[0].big())
			if size.Cmp(small) < 0 {
				small = size
			}
			if size.Cmp(large) > 0 {
				large = size
			}
		}
		if next.Cmp(space) != 0 {
			t.Fatalf("%d shards: end at %s, want %s", n, next, space)
		}
		if large.Sub(large, small).Cmp(one) > 0 {
			t.Fatalf("%d shards: sizes differ by %s, want at most 1", n, large)
		}
	}
}

func TestEvenRangesAreThoseOfAWS(t *testing.T) {
	const top = "340282366920938463463374607431768211455"
	for n, want := range map[int][][2]string{
		1: {{"0", top}},
		2: {
			{"0", "170141183460469231731687303715884105727"},
			{"170141183460469231731687303715884105728", top},
		},
		4: {
			{"0", "85070591730234615865843651857942052863"},
			{"85070591730234615865843651857942052864", "170141183460469231731687303715884105727"},
			{"170141183460469231731687303715884105728", "255211775190703847597530955573826158591"},
			{"255211775190703847597530955573826158592", top},
		},
	} {
		for i, r := range EvenRanges(n) {
			if got := [2]string{r[0].String(), r[1].String()}; got != want[i] {
				t.Errorf("%d shards: range %d = %v, want %v", n, i, got, want[i])
			}
		}
	}
}

func TestHashOfIsTheMD5(t *testing.T) {
	// RFC 1321, the test suite: MD5("a") = 0cc175b9c0f1b6a831c399e269772661.
	want, _ := new(big.Int).SetString("0cc175b9c0f1b6a831c399e269772661", 16)
	if got := HashOf("a").String(); got != want.String() {
		t.Errorf("HashOf(a) = %s, want %s", got, want)
	}
}

func TestBucketIsTheLowSixBitsOfTheMD5(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		key := rapid.String().Draw(t, "key")
		sum := md5.Sum([]byte(key))
		if got, want := Bucket(key), sum[15]&63; got != want {
			t.Fatalf("Bucket(%q) = %d, want %d", key, got, want)
		}
	})
}

// The bucket orders records of a key, and an explicit hash key is no key: two
// records of one key stay in one bucket wherever they are put.
func TestExplicitHashKeyMovesTheRecordButNotTheBucket(t *testing.T) {
	e := Entry{PartitionKey: "a", ExplicitHashKey: "7"}
	h, err := e.HashKey()
	if err != nil || h != (HashKey{0, 7}) {
		t.Errorf("hash key = %s, %v; want 7", h, err)
	}
	if got := Bucket(e.PartitionKey); got != 0x61&63 {
		t.Errorf("bucket = %d, want %d", got, 0x61&63)
	}
	e.ExplicitHashKey = ""
	if h, _ := e.HashKey(); h != HashOf("a") {
		t.Errorf("hash key = %s, want the MD5 %s", h, HashOf("a"))
	}
}
