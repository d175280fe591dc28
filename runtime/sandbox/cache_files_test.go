package sandbox

import (
	"bytes"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/wasmill/wasmill/functions"
)

// TestMACOfAFileIsOfAllOfIt changes a file of several pieces, the last not full, at
// their borders and as a whole.
func TestMACOfAFileIsOfAllOfIt(t *testing.T) {
	c, err := openCache(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	const piece = 256 << 10
	whole := make([]byte, 2*piece+100)
	for i := range whole {
		whole[i] = byte(i>>8 + i>>18)
	}
	path := filepath.Join(t.TempDir(), "file")
	signed := func(b, nonce []byte) cachedFile {
		t.Helper()
		f := cachedFile{Name: "file", Nonce: nonce}
		if err := os.WriteFile(path, b, 0o600); err != nil {
			t.Fatal(err)
		}
		if err := c.signFile(&f, path); err != nil {
			t.Fatal(err)
		}
		return f
	}
	nonce := []byte("12345678")
	good := signed(whole, nonce)
	if !signed(whole, nonce).is(good) || good.Size != int64(len(whole)) {
		t.Fatalf("the same file differs: %+v", good)
	}
	flipped := func(at int) []byte {
		b := bytes.Clone(whole)
		b[at] ^= 1
		return b
	}
	first, second, rest := whole[:piece], whole[piece:2*piece], whole[2*piece:]
	for name, b := range map[string][]byte{
		"first bit": flipped(0), "end of the first piece": flipped(piece - 1), "begin of the second": flipped(piece), "last byte": flipped(len(whole) - 1),
		"pieces exchanged": slices.Concat(second, first, rest), "piece twice": slices.Concat(first, first, rest), "piece missing": slices.Concat(first, rest),
		"cut at a piece": whole[:2*piece], "cut": whole[:len(whole)-1], "longer": append(bytes.Clone(whole), 0), "nothing": nil,
	} {
		got := signed(b, nonce)
		if got.is(good) {
			t.Errorf("%s: taken for the file", name)
		}
		if bytes.Equal(got.MAC, good.MAC) {
			t.Errorf("%s: the same MAC", name)
		}
	}
	if got := signed(whole, []byte("12345679")); bytes.Equal(got.MAC, good.MAC) {
		t.Error("the nonce has no part in the MAC")
	}
	other, err := openCache(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	if c = other; signed(whole, nonce).is(good) {
		t.Error("another key makes the same MAC")
	}
}

// TestNonceOfAFileIsUsedOnce: two files with the same nonce and key would tell how to
// forge a third.
func TestNonceOfAFileIsUsedOnce(t *testing.T) {
	c, err := openCache(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	seen := map[string]bool{}
	for range 3 {
		dir, err := c.begin([]byte("module"))
		if err == nil {
			err = os.WriteFile(filepath.Join(dir, "native"), []byte("code"), 0o600)
		}
		if err == nil {
			err = c.commit(dir, functions.Code{SHA256: "digest"})
		}
		if err != nil {
			t.Fatal(err)
		}
		m, err := c.manifest("digest")
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range m.Files {
			if len(f.Nonce) != 8 || seen[string(f.Nonce)] {
				t.Errorf("%s has the nonce %x", f.Name, f.Nonce)
			}
			seen[string(f.Nonce)] = true
		}
		if _, err := c.lookup("digest"); err != nil {
			t.Error(err)
		}
	}
	if len(seen) != 6 {
		t.Errorf("%d nonces for six files", len(seen))
	}
}
