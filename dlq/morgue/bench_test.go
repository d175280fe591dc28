package morgue

import (
	"context"
	"fmt"
	"testing"

	"github.com/wasmill/wasmill/dlq"
	"github.com/wasmill/wasmill/internal/natsd/natsdtest"
	"github.com/wasmill/wasmill/triggers"
	"github.com/wasmill/wasmill/triggers/journal"
)

// BenchmarkManyMappings is what a command about one letter costs on a server with
// 1,000 mappings, of one shard each, that have nothing to do with it.
func BenchmarkManyMappings(b *testing.B) {
	h := open(b, natsdtest.Memory(b))
	for n := range 1000 {
		src := triggers.Source{Mapping: fmt.Sprintf("other-%04d", n), Generation: 1, Shard: shard0.Shard}
		h.check(h.journals.Create(context.Background(), src.Mapping))
		h.bury(src)
	}
	var letters []dlq.Letter
	for n := range uint64(1000) {
		letters = append(letters, letter(n))
	}
	h.bury(shard0, letters...)
	h.move(shard0, len(letters))
	h.confirm(shard0)
	ctx := context.Background()
	b.Run("Get", func(b *testing.B) {
		for b.Loop() {
			if _, err := h.Get(ctx, id(shard0, 999)); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("Remove", func(b *testing.B) {
		n := uint64(0)
		for b.Loop() {
			clear(h.where) // as if it had been seen long ago
			if _, err := h.Remove(ctx, []string{id(shard0, n)}); err != nil {
				b.Fatal(err)
			}
			if n++; n == 999 {
				b.Fatal("no letters are left")
			}
		}
	})
	b.Run("FirstUse", func(b *testing.B) {
		for b.Loop() {
			m, err := Open(ctx, h.srv, journal.Open(h.srv, journal.Options{}))
			h.check(err)
			if _, err := m.Get(ctx, id(shard0, 999)); err != nil {
				b.Fatal(err)
			}
		}
	})
}
