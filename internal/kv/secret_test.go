package kv_test

import (
	"testing"

	"github.com/wasmill/wasmill/internal/kv"
	"github.com/wasmill/wasmill/internal/natsd/natsdtest"
)

func TestASecretIsMadeOnce(t *testing.T) {
	srv := natsdtest.Memory(t)
	first, err := kv.Secret(t.Context(), srv, "iterators")
	if err != nil {
		t.Fatal(err)
	}
	again, err := kv.Secret(t.Context(), srv, "iterators")
	if err != nil || again != first || first == ([32]byte{}) {
		t.Errorf("%x, then %x, %v", first, again, err)
	}
	if other, err := kv.Secret(t.Context(), srv, "others"); err != nil || other == first {
		t.Errorf("another name has the same secret, or %v", err)
	}
}
