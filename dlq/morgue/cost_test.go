package morgue

import (
	"context"
	"errors"
	"fmt"
	"testing"

	"github.com/wasmill/wasmill/dlq"
	"github.com/wasmill/wasmill/dlq/store"
	"github.com/wasmill/wasmill/internal/ledger"
	"github.com/wasmill/wasmill/internal/natsd/natsdtest"
	"github.com/wasmill/wasmill/triggers"
	"github.com/wasmill/wasmill/triggers/journal"
)

// requests counts what f sends to the server.
func (h *house) requests(f func()) uint64 {
	before := h.srv.Conn().Stats().OutMsgs
	f()
	return h.srv.Conn().Stats().OutMsgs - before
}

func TestWhatALetterCostsDoesNotDependOnHowManyMappingsThereAre(t *testing.T) {
	h := open(t, natsdtest.Memory(t))
	h.bury(shard0, letter(0), letter(1), letter(2), letter(3))
	h.move(shard0, 9)
	h.confirm(shard0)
	cost := func(n uint64) (out [4]uint64) {
		get := func() {
			_, err := h.Get(context.Background(), id(shard0, 0))
			h.check(err)
		}
		get() // what is new is looked at once
		out[0] = h.requests(get)
		out[1] = h.requests(func() { h.list(Filter{}) })
		clear(h.where)
		out[2] = h.requests(func() {
			_, err := h.Remove(context.Background(), []string{id(shard0, n)})
			h.check(err)
		})
		out[3] = h.requests(func() { h.purge(Filter{IDs: []string{"none"}}) })
		return out
	}
	first := cost(1)
	for n := range 7 {
		src := triggers.Source{Mapping: fmt.Sprint("other-", n), Generation: 1, Shard: shard0.Shard}
		h.check(h.journals.Create(context.Background(), src.Mapping))
		for range 3 { // superseded generations
			h.bury(src)
			src.Generation++
		}
	}
	// What is delivered again is in memory too.
	h.redrive(shard1, journal.Cargo{}, id(shard0, 0))
	if second := cost(2); second != first {
		t.Errorf("get, list, remove and purge send %d requests with 8 mappings, %d with one", second, first)
	}
	if l, err := h.Get(context.Background(), id(shard0, 0)); err != nil || !l.Redriving {
		t.Errorf("get = %+v, %v", l, err)
	}
}

func TestALetterThatIsSettledIsNotShownAfterARestart(t *testing.T) {
	h := open(t, natsdtest.New(t))
	h.bury(shard0, letter(0), letter(1), letter(2))
	h.move(shard0, 9)
	h.confirm(shard0)
	h.redrive(shard1, journal.Cargo{Redriven: []string{id(shard0, 0)}}, id(shard0, 1))
	for _, first := range []string{"get", "list", "purge"} {
		other := open(t, h.srv)
		switch first {
		case "get":
			if _, err := other.Get(context.Background(), id(shard0, 0)); !errors.Is(err, dlq.ErrNotFound) {
				t.Errorf("get of what is settled: %v, want ErrNotFound", err)
			}
			if l, err := other.Get(context.Background(), id(shard0, 1)); err != nil || !l.Redriving {
				t.Errorf("get of what is delivered again: %+v, %v", l, err)
			}
		case "list":
			if got := other.list(Filter{}); got != "1 2" {
				t.Errorf("listed %s, want 1 2", got)
			}
		case "purge":
			if n := other.purge(Filter{}); n != 1 || other.list(Filter{}) != "1" {
				t.Errorf("purged %d, listed %s", n, other.list(Filter{}))
			}
		}
	}
}

func TestADamagedMessageKeepsNoOtherLetterFromBeingRemoved(t *testing.T) {
	calendarTest(t, func(t *testing.T, c *calendar) {
		c.bury(shard0, letter(0), letter(1))
		c.bury(shard1, letter(2), letter(3))
		for _, src := range []triggers.Source{shard0, shard1} {
			c.move(src, 9)
			c.confirm(src)
		}
		if _, err := ledger.At(c.srv, "MORGUE").Append(context.Background(), "m."+mapping+".1."+shard0.Shard, ledger.Unfenced, []byte("WD garbage....")); err != nil {
			t.Fatal(err)
		}
		numbers := func() (out string) {
			err := c.graves.Scan(context.Background(), nil, func(m store.Message) error {
				out += fmt.Sprint(m.Letter.Number)
				return nil
			})
			if err != nil && !damaged(err) {
				t.Fatal(err)
			}
			return out
		}
		for range 2 { // by a search, and by memory
			left, err := c.Remove(context.Background(), []string{id(shard0, 0), id(shard1, 2), id(shard0, 9)})
			if err != nil || len(left) != 0 || numbers() != "13" {
				t.Errorf("left %v, %v, stored %s; want 13", left, err, numbers())
			}
		}
		if n, err := c.Purge(context.Background(), Filter{IDs: []string{id(shard0, 1)}}); n != 1 || !damaged(err) || numbers() != "3" {
			t.Errorf("purged %d, %v, stored %s; want 3", n, err, numbers())
		}
		c.pass(dlq.Retention + 1)
		if err := c.Trim(context.Background()); err != nil || c.stored() != "" {
			t.Errorf("trim: %v, stored %s; want all that is expired gone", err, c.stored())
		}
	})
}
