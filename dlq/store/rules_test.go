package store

import (
	"context"
	"testing"

	"github.com/wasmill/wasmill/dlq"
	"github.com/wasmill/wasmill/internal/ledger"
)

// MECHANISMS, Journal: the morgue has a subject m.<source> for each mapping,
// generation and shard.
func TestASourcesSubjectNamesMappingGenerationAndShard(t *testing.T) {
	s := fresh(t)
	if _, err := s.Append(context.Background(), src, Tail{}, dlq.Position{Sequence: 3}, &dlq.Letter{}); err != nil {
		t.Fatal(err)
	}
	gone := src
	gone.Target = "x1"
	if tail, err := s.Append(context.Background(), gone, Tail{}, dlq.Position{Sequence: 2}, &dlq.Letter{}); err != nil || tail.Position.Sequence != 2 {
		t.Fatalf("tail = %v, %v: outputs to a stream that is gone have a lane of their own", tail, err)
	}
	got, err := ledger.At(s.srv, "MORGUE").Subjects(context.Background(), ">")
	const want = "m.m.2.shardId-000000000003" // src, word by word
	if err != nil || len(got) != 2 || got[want] != 1 || got[want+".x1"] != 1 {
		t.Errorf("subjects %v, %v; want %s", got, err, want)
	}
	lanes, err := s.Lanes(context.Background())
	if err != nil || lanes[src] != 1 || lanes[gone] != 1 || src.Code() == gone.Code() {
		t.Errorf("lanes = %v, %v", lanes, err)
	}
}
