package store

import (
	"context"
	"encoding/hex"
	"errors"
	"reflect"
	"strings"
	"testing"

	"github.com/wasmill/wasmill/dlq"
	"github.com/wasmill/wasmill/internal/ledger"
	"github.com/wasmill/wasmill/internal/natsd/natsdtest"
	"github.com/wasmill/wasmill/triggers"
)

var src = Lane{Source: triggers.Source{Mapping: "m", Generation: 2, Shard: "shardId-000000000003"}}

func fresh(t *testing.T) *Store {
	t.Helper()
	s, err := Open(context.Background(), natsdtest.New(t))
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func contents(t *testing.T, s *Store) (out []Message) {
	t.Helper()
	if err := s.Scan(context.Background(), nil, func(m Message) error { out = append(out, m); return nil }); err != nil {
		t.Fatal(err)
	}
	return out
}

func TestAppendingAgainAddsNothing(t *testing.T) {
	s := fresh(t)
	ctx := context.Background()
	var tail Tail
	var err error
	for n := range uint32(5) {
		at := dlq.Position{Sequence: 7 + uint64(n)/2, Index: n % 2}
		l := dlq.Letter{Number: uint64(n), Data: []byte{1}}
		// The right tail, one that is long outdated, and none at all.
		for _, known := range []Tail{tail, tail, {}} {
			if tail, err = s.Append(ctx, src, known, at, &l); err != nil {
				t.Fatal(err)
			}
			if tail.Position != at {
				t.Fatalf("tail = %v, want %v", tail.Position, at)
			}
		}
	}
	// An older one is passed as well.
	if now, err := s.Append(ctx, src, Tail{}, dlq.Position{Sequence: 7}, &dlq.Letter{}); err != nil || now != tail {
		t.Errorf("append of an old position: %v, %v", now, err)
	}
	all := contents(t, s)
	if len(all) != 5 {
		t.Fatalf("%d messages, want 5", len(all))
	}
	for i, m := range all {
		if m.Letter.Number != uint64(i) || m.Lane != src {
			t.Errorf("message %d = %+v", i, m)
		}
	}
	if got, err := s.Tail(ctx, src); err != nil || got != tail {
		t.Errorf("tail = %v, %v; want %v", got, err, tail)
	}
}

func TestSourcesAreOrderedForThemselves(t *testing.T) {
	s := fresh(t)
	other := src
	other.Generation++
	for _, of := range []Lane{src, other} {
		if _, err := s.Append(context.Background(), of, Tail{}, dlq.Position{Sequence: 3}, &dlq.Letter{}); err != nil {
			t.Fatal(err)
		}
	}
	n, err := s.Lanes(context.Background())
	if err != nil || !reflect.DeepEqual(n, map[Lane]uint64{src: 1, other: 1}) {
		t.Errorf("sources = %v, %v", n, err)
	}
}

func TestHideKeepsThePositionWithoutTheLetter(t *testing.T) {
	s := fresh(t)
	ctx := context.Background()
	first, err := s.Append(ctx, src, Tail{}, dlq.Position{Sequence: 3}, &dlq.Letter{})
	if err != nil {
		t.Fatal(err)
	}
	second, err := s.Append(ctx, src, first, dlq.Position{Sequence: 4}, &dlq.Letter{})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.Hide(ctx, src, first); !errors.Is(err, ErrMoved) {
		t.Errorf("hide of what is not the newest: %v, want ErrMoved", err)
	}
	if _, err := s.Hide(ctx, src, second); err != nil {
		t.Fatal(err)
	}
	all := contents(t, s)
	if len(all) != 2 || all[0].Hidden || !all[1].Hidden || all[1].Position != second.Position {
		t.Fatalf("messages = %+v", all)
	}
	// A relay that knows nothing of it does not add the letter again, and goes on.
	if _, err := s.Append(ctx, src, second, dlq.Position{Sequence: 4, Index: 0}, &dlq.Letter{}); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Append(ctx, src, second, dlq.Position{Sequence: 5}, &dlq.Letter{}); err != nil {
		t.Fatal(err)
	}
	if all := contents(t, s); len(all) != 3 || all[2].Hidden {
		t.Errorf("messages = %+v", all)
	}
}

func TestFormatGolden(t *testing.T) {
	at := dlq.Position{Sequence: 300, Index: 2}
	b, err := encode(kindLetter, at, &dlq.Letter{ID: "x", Data: []byte{0, 255}})
	if err != nil {
		t.Fatal(err)
	}
	h := hex.EncodeToString(b)
	if !strings.HasPrefix(h, "57440101"+"ac02"+"02") || !strings.Contains(h, "0200ff") {
		t.Errorf("letter = %s", h)
	}
	m, err := decode(ledger.Entry{Subject: subject(src), Sequence: 9, Data: b})
	if err != nil || m.Position != at || m.Lane != src || m.Sequence != 9 || m.Letter.ID != "x" || len(m.Letter.Data) != 2 {
		t.Errorf("decoded %+v, %v", m, err)
	}
	for i := range b {
		b[i] ^= 1
		if _, err := decode(ledger.Entry{Subject: subject(src), Data: b}); !errors.Is(err, ErrCorrupt) {
			t.Errorf("byte %d changed: %v, want ErrCorrupt", i, err)
		}
		b[i] ^= 1
	}
	b, err = encode(kindHidden, at, nil)
	if err != nil || !strings.HasPrefix(hex.EncodeToString(b), "57440102"+"ac02"+"02") || len(b) != 11 {
		t.Errorf("hidden = %x, %v", b, err)
	}
}
