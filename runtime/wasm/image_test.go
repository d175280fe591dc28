package wasm

import (
	"bytes"
	"math/rand/v2"
	"slices"
	"testing"
)

// mutable is a memory of an image with some zeros in it.
func mutable(t testing.TB, copying bool) (*memory, *image) {
	i := capture(holed(), nil, copying)
	t.Cleanup(i.close)
	m := newMemory(128*page, i)
	m.heap = copying
	m.Allocate(16*page, 1<<32)
	t.Cleanup(m.release)
	m.Reallocate(16 * page)
	if !bytes.Equal(m.buf, holed()) {
		t.Fatal("memory does not begin as its image")
	}
	return m, i
}

// holed is 64 pages of which 7 have something in them.
func holed() []byte {
	whole := make([]byte, 64*page)
	for _, p := range []int{0, 1, 5, 6, 7, 20, 63} {
		for i := range page {
			whole[p*page+i] = byte(p + i*7)
		}
	}
	return whole
}

// Whatever is written where, and whatever the memory has learned by then.
func TestResetMemoryIsItsImage(t *testing.T) {
	for _, copying := range []bool{false, true} {
		m, i := mutable(t, copying)
		whole := slices.Clone(m.buf)
		r := rand.New(rand.NewPCG(1, 2))
		usual := r.Perm(64)[:20]
		for round := range 300 {
			m.hot.enter()
			for _, p := range append(usual[:r.IntN(20)], r.Perm(64)[:r.IntN(4)]...) {
				m.buf[p*page+r.IntN(page)] ^= 0xff
			}
			m.hot.leave()
			if !m.reset(round%50 != 49) || !bytes.Equal(m.buf, whole) {
				t.Fatalf("copying %v: not as the image after round %d", copying, round)
			}
		}
		other := newMemory(128*page, i)
		other.Allocate(16*page, 1<<32)
		other.Reallocate(16 * page)
		if !bytes.Equal(other.buf, whole) {
			t.Errorf("copying %v: the image has changed", copying)
		}
		other.release()
	}
}

func TestMemoryThatHasGrownIsNotReset(t *testing.T) {
	for _, copying := range []bool{false, true} {
		m, _ := mutable(t, copying)
		before := slices.Clone(m.buf)
		b := m.Reallocate(80 * page)
		if len(b) != 80*page || !bytes.Equal(b[:64*page], before) || !zero(b[64*page:]) {
			t.Fatalf("copying %v: growing changed what was there", copying)
		}
		if m.reset(false) {
			t.Errorf("copying %v: it was reset", copying)
		}
		if m.Reallocate(129*page) != nil || !m.refused.Load() {
			t.Errorf("copying %v: it grows beyond its limit", copying)
		}
	}
}
