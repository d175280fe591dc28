package main

import (
	"bytes"
	"os"
	"testing"
)

// TestTheFaultIsThatOfTheSample holds in a tree too in which somebody has
// followed the README and corrected the sample.
func TestTheFaultIsThatOfTheSample(t *testing.T) {
	read := func(name string) []byte {
		t.Helper()
		b, err := os.ReadFile("../quakes/" + name)
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	fixed, has := read("fixed/energy.go.txt"), read("energy.go")
	if bytes.Equal(faulty, fixed) {
		t.Error("there is no fault in energy.go.txt")
	}
	if !bytes.Equal(has, faulty) && !bytes.Equal(has, fixed) {
		t.Error("energy.go.txt is not what samples/quakes/energy.go was")
	}
}

func TestTheDemoHasItsFaultInACorrectedTreeToo(t *testing.T) {
	tree, to := t.TempDir(), t.TempDir()
	if err := os.CopyFS(tree, os.DirFS("../quakes")); err != nil {
		t.Fatal(err)
	}
	fixed, err := os.ReadFile("../quakes/fixed/energy.go.txt")
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(tree+"/energy.go", fixed, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := copyHandler(to, tree); err != nil {
		t.Fatal(err)
	}
	if got, err := os.ReadFile(to + "/energy.go"); err != nil || !bytes.Equal(got, faulty) {
		t.Errorf("%v: the handler begins as\n%s", err, got)
	}
}
