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
	got, err := ledger.At(s.srv, "MORGUE").Subjects(context.Background(), ">")
	const want = "m.m.2.shardId-000000000003" // src, word by word
	if err != nil || len(got) != 1 || got[want] != 1 {
		t.Errorf("subjects %v, %v; want %s", got, err, want)
	}
}
