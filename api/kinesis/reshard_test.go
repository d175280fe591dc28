package kinesis

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	sdk "github.com/aws/aws-sdk-go-v2/service/kinesis"
	"github.com/aws/aws-sdk-go-v2/service/kinesis/types"

	"github.com/wasmill/wasmill/stream"
)

const (
	half    = "170141183460469231731687303715884105728"
	quarter = "85070591730234615865843651857942052864"
	last    = "340282366920938463463374607431768211455"
)

// shards are those that a ListShards gives: number, parents, range, and * if open.
func (e *emulator) shards(in *sdk.ListShardsInput) string {
	e.t.Helper()
	out, err := e.ListShards(e.t.Context(), in)
	e.check(err)
	var list []string
	for _, sh := range out.Shards {
		list = append(list, lineage(sh))
	}
	return strings.Join(list, " ")
}

func lineage(sh types.Shard) string {
	number := func(id *string) string { return strings.TrimLeft(strings.TrimPrefix(*id, "shardId-"), "0") }
	text := number(sh.ShardId)
	if text == "" {
		text = "0"
	}
	if sh.ParentShardId != nil {
		text += "<" + max(number(sh.ParentShardId), "0")
	}
	if sh.AdjacentParentShardId != nil {
		text += "+" + max(number(sh.AdjacentParentShardId), "0")
	}
	if sh.SequenceNumberRange.EndingSequenceNumber == nil {
		text += "*"
	}
	return text
}

func TestClientReshards(t *testing.T) {
	e, ctx := emulate(t, 0, nil), t.Context()
	d := e.create("s", 2)
	arn := aws.String(d.ARN())
	for _, in := range []*sdk.SplitShardInput{
		{StreamName: &d.Name, ShardToSplit: aws.String("shardId-000000000000"), NewStartingHashKey: aws.String(quarter)},
		{StreamARN: arn, ShardToSplit: aws.String("shardId-000000000002"), NewStartingHashKey: aws.String("1000")},
		{StreamId: &d.ID, ShardToSplit: aws.String("shardId-000000000001"), NewStartingHashKey: aws.String("300000000000000000000000000000000000000")},
	} {
		_, err := e.SplitShard(ctx, in)
		e.check(err)
	}
	all := &sdk.ListShardsInput{StreamName: &d.Name}
	if got, want := e.shards(all), "0 1 2<0 3<0* 4<2* 5<2* 6<1* 7<1*"; got != want {
		t.Fatalf("shards after three splits: %s\nwant %s", got, want)
	}
	out, err := e.ListShards(ctx, all)
	e.check(err)
	for i, want := range map[int][2]string{3: {quarter, "170141183460469231731687303715884105727"}, 4: {"0", "999"}, 5: {"1000", "85070591730234615865843651857942052863"}, 7: {"300000000000000000000000000000000000000", last}} {
		if r := out.Shards[i].HashKeyRange; *r.StartingHashKey != want[0] || *r.EndingHashKey != want[1] {
			t.Errorf("shard %d holds %s to %s, want %v", i, *r.StartingHashKey, *r.EndingHashKey, want)
		}
	}
	// Sequence numbers: those of a child are larger than those of its parent.
	if parent, child := out.Shards[0].SequenceNumberRange, out.Shards[2].SequenceNumberRange; *parent.StartingSequenceNumber >= *parent.EndingSequenceNumber || *parent.EndingSequenceNumber >= *child.StartingSequenceNumber {
		t.Errorf("parent %s to %s, child from %s", *parent.StartingSequenceNumber, *parent.EndingSequenceNumber, *child.StartingSequenceNumber)
	}

	for _, in := range []*sdk.MergeShardsInput{
		{StreamName: &d.Name, ShardToMerge: aws.String("shardId-000000000004"), AdjacentShardToMerge: aws.String("shardId-000000000005")},
		{StreamARN: arn, ShardToMerge: aws.String("shardId-000000000008"), AdjacentShardToMerge: aws.String("shardId-000000000003")},
		{StreamId: &d.ID, ShardToMerge: aws.String("shardId-000000000006"), AdjacentShardToMerge: aws.String("shardId-000000000007")},
	} {
		_, err := e.MergeShards(ctx, in)
		e.check(err)
	}
	if got, want := e.shards(&sdk.ListShardsInput{StreamARN: arn, ExclusiveStartShardId: aws.String("shardId-000000000007")}), "8<4+5 9<8+3* 10<6+7*"; got != want {
		t.Errorf("shards made by three merges: %s\nwant %s", got, want)
	}

	for i, in := range []*sdk.UpdateShardCountInput{{StreamName: &d.Name}, {StreamARN: arn}, {StreamId: &d.ID}} {
		in.TargetShardCount, in.ScalingType = aws.Int32([]int32{4, 2, 3}[i]), types.ScalingTypeUniformScaling
		out, err := e.UpdateShardCount(ctx, in)
		e.check(err)
		if was := []int32{2, 4, 2}[i]; *out.CurrentShardCount != was || *out.TargetShardCount != *in.TargetShardCount || *out.StreamName != d.Name || *out.StreamARN != d.ARN() {
			t.Errorf("answer = %+v, want %d to %d", out, was, *in.TargetShardCount)
		}
		open, err := e.ListShards(ctx, &sdk.ListShardsInput{StreamId: &d.ID, ShardFilter: &types.ShardFilter{Type: types.ShardFilterTypeAtLatest}})
		e.check(err)
		if len(open.Shards) != int(*in.TargetShardCount) {
			t.Errorf("%d open shards, want %d", len(open.Shards), *in.TargetShardCount)
		}
	}
}

func TestClientListsShardsPageByPage(t *testing.T) {
	e, ctx := emulate(t, 0, nil), t.Context()
	d := e.create("s", 7)
	if _, err := e.store.Merge(ctx, d.Ref, stream.ShardID(0), stream.ShardID(1)); err != nil {
		t.Fatal(err)
	}
	for name, test := range map[string]struct {
		in   *sdk.ListShardsInput
		want string
	}{
		"all":        {&sdk.ListShardsInput{StreamName: &d.Name}, "0 1 2* 3* 4* 5* 6* 7<0+1*"},
		"of its age": {&sdk.ListShardsInput{StreamName: &d.Name, StreamCreationTimestamp: aws.Time(d.Created.Truncate(time.Second))}, "0 1 2* 3* 4* 5* 6* 7<0+1*"},
		"open":       {&sdk.ListShardsInput{StreamARN: aws.String(d.ARN()), ShardFilter: &types.ShardFilter{Type: types.ShardFilterTypeAtLatest}}, "2* 3* 4* 5* 6* 7<0+1*"},
		"behind one": {&sdk.ListShardsInput{StreamName: &d.Name, ExclusiveStartShardId: aws.String("shardId-000000000002")}, "3* 4* 5* 6* 7<0+1*"},
		"behind one, filtered": {&sdk.ListShardsInput{StreamName: &d.Name, ShardFilter: &types.ShardFilter{
			Type: types.ShardFilterTypeAfterShardId, ShardId: aws.String("shardId-000000000004")}}, "5* 6* 7<0+1*"},
	} {
		test.in.MaxResults = aws.Int32(2)
		var got []string
		for in := test.in; in != nil; {
			out, err := e.ListShards(ctx, in)
			e.check(err)
			if len(out.Shards) > 2 {
				t.Errorf("%s: a page of %d", name, len(out.Shards))
			}
			for _, sh := range out.Shards {
				got = append(got, lineage(sh))
			}
			in = nil
			if out.NextToken != nil {
				in = &sdk.ListShardsInput{NextToken: out.NextToken, MaxResults: aws.Int32(2)}
			}
		}
		if strings.Join(got, " ") != test.want {
			t.Errorf("%s: %v, want %s", name, got, test.want)
		}
	}
}

// family is a stream whose shard 0 was split at minute 10 into 1 and 2, which were
// merged at minute 20 into 3; 4 and 5 are being made of that.
func family(created time.Time) stream.Description {
	at := func(minute int) time.Time { return created.Add(time.Duration(minute) * time.Minute) }
	mk := func(i int, from, closed int, parents ...int) stream.Shard {
		sh := stream.Shard{ID: stream.ShardID(i), Index: i, Epoch: uint32(at(from).Unix()), State: stream.Active}
		if closed > 0 {
			sh.State, sh.Closed = stream.Closed, at(closed)
		}
		for _, p := range parents {
			sh.Parents = append(sh.Parents, stream.ShardID(p))
		}
		return sh
	}
	d := stream.Description{State: stream.Updating, Created: created, Config: stream.Config{Retention: 24 * time.Hour},
		Shards: []stream.Shard{mk(0, 0, 10), mk(1, 10, 20, 0), mk(2, 10, 20, 0), mk(3, 20, 0, 1, 2), mk(4, 30, 0, 3), mk(5, 30, 0, 3)}}
	d.Shards[3].State, d.Shards[4].State, d.Shards[5].State = stream.Closing, stream.Creating, stream.Creating
	return d
}

func TestShardFilterPicksByTimeAndLineage(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		created := time.Now()
		d := family(created)
		expired := family(created)
		expired.Shards = expired.Shards[1:]
		late := created.Add(24*time.Hour + 15*time.Minute)
		for _, test := range []struct {
			kind   string
			minute int
			d      stream.Description
			now    time.Time
			want   string
		}{
			{"", 0, d, created.Add(time.Hour), "0 1 2 3 4 5"},
			{"FROM_TRIM_HORIZON", 0, d, created.Add(time.Hour), "0 1 2 3 4 5"},
			{"AT_TRIM_HORIZON", 0, d, created.Add(time.Hour), "0"},
			{"AT_TRIM_HORIZON", 0, expired, late, "1 2"},
			{"AT_LATEST", 0, d, created.Add(time.Hour), "3"},
			{"AT_TIMESTAMP", 5, d, created.Add(time.Hour), "0"},
			{"AT_TIMESTAMP", 15, d, created.Add(time.Hour), "1 2"},
			{"AT_TIMESTAMP", 25, d, created.Add(time.Hour), "3"},
			{"AT_TIMESTAMP", 10, d, created.Add(time.Hour), "0 1 2"}, // a shard's last second is its children's first
			{"AT_TIMESTAMP", -5, d, created.Add(time.Hour), "0"},     // before the stream
			{"AT_TIMESTAMP", 5, expired, late, "1 2"},                // before what is kept
			{"FROM_TIMESTAMP", 15, d, created.Add(time.Hour), "1 2 3 4 5"},
			{"FROM_TIMESTAMP", 25, d, created.Add(time.Hour), "3 4 5"},
			{"FROM_TIMESTAMP", -5, d, created.Add(time.Hour), "0 1 2 3 4 5"},
			{"FROM_TIMESTAMP", 5, expired, late, "1 2 3 4 5"},
		} {
			f := shardFilter{Type: test.kind}
			if strings.HasSuffix(test.kind, "TIMESTAMP") {
				f.Time = created.Add(time.Duration(test.minute) * time.Minute)
			}
			list, err := f.apply(test.d, test.now)
			if err != nil {
				t.Fatal(err)
			}
			var got []string
			for _, sh := range list {
				got = append(got, fmt.Sprint(sh.Index))
			}
			if strings.Join(got, " ") != test.want {
				t.Errorf("%s at minute %d: %v, want %s", test.kind, test.minute, got, test.want)
			}
		}
	})
}

func TestClientFiltersShardsByTime(t *testing.T) {
	e := emulate(t, 0, nil)
	d := e.create("s", 1)
	for _, kind := range []types.ShardFilterType{types.ShardFilterTypeAtTimestamp, types.ShardFilterTypeFromTimestamp} {
		if got := e.shards(&sdk.ListShardsInput{StreamName: &d.Name, ShardFilter: &types.ShardFilter{Type: kind, Timestamp: aws.Time(time.Now())}}); got != "0*" {
			t.Errorf("%s: %s", kind, got)
		}
	}
}

func TestShardIsNamedByItsNumber(t *testing.T) {
	for text, want := range map[string]int{"shardId-000000000000": 0, "shardId-7": 7, "7": 7, "anything-12": 12, "shardId-2147483647": 1<<31 - 1} {
		if id, index, ok := shardID(text); !ok || index != want || id != stream.ShardID(want) {
			t.Errorf("%s is %s, %d, %t; want %d", text, id, index, ok, want)
		}
	}
	for _, text := range []string{"", "-", "shardId-", "shardId-x", "x", "5-", "shardId-2147483648", "shardId-99999999999999999999", "shardId--1"} {
		if id, _, ok := shardID(text); ok {
			t.Errorf("%q is %s", text, id)
		}
	}
}

func TestTokenExpiresAfterFiveMinutes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := opCall("ListStreams")
		text := token{After: "s"}.write(c)
		time.Sleep(300 * time.Second)
		if got, err := readToken(c, text); err != nil || got.After != "s" {
			t.Errorf("after 300 s: %+v, %v", got, err)
		}
		time.Sleep(time.Millisecond)
		if _, err := readToken(c, text); !fails(err, "ExpiredNextTokenException", "") {
			t.Errorf("after more: %v", err)
		}
	})
}

func TestTokenIsForItsOperation(t *testing.T) {
	text := token{After: "s"}.write(opCall("ListStreams"))
	for _, bad := range []string{text, "AAAAAAAAAAE=", "x", strings.Replace(text, "AAAAAAAAAAF", "AAAAAAAAAAB", 1)} {
		if _, err := readToken(opCall("ListShards"), bad); !fails(err, "InvalidArgumentException", "Invalid NextToken") {
			t.Errorf("%s: %v", bad, err)
		}
	}
}

func TestScalesAreCountedOverADay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var l Limits
		calls := func() (n int) {
			for range 20 {
				if l.daily("op", "id", 3) {
					n++
				}
			}
			return n
		}
		var got []int
		for range 3 {
			got = append(got, calls())
			time.Sleep(12 * time.Hour)
		}
		if !slices.Equal(got, []int{3, 0, 3}) {
			t.Errorf("calls let through every 12 h: %v, want [3 0 3]", got)
		}
		if !l.daily("op", "other", 3) || !(*Limits)(nil).daily("op", "id", 0) {
			t.Error("another stream, or no limits: refused")
		}
	})
}
