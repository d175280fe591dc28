package kinesis

import (
	"context"
	"encoding/json"
	"slices"
	"time"

	"github.com/wasmill/wasmill/api/wire"
	"github.com/wasmill/wasmill/stream"
)

func (s *service) shardOps() []*wire.Operation {
	return []*wire.Operation{
		{Name: "ListShards", Input: listShardsInput, Do: s.listShards},
		{Name: "SplitShard", Input: splitShardInput, Do: s.splitShard},
		{Name: "MergeShards", Input: mergeShardsInput, Do: s.mergeShards},
		{Name: "UpdateShardCount", Input: updateShardCountInput, Do: s.updateShardCount},
	}
}

var listShardsInput = wire.Structure(
	may("ExclusiveStartShardId", nameShape),
	may("MaxResults", pageShape),
	may("NextToken", nextTokenShape),
	may("StreamCreationTimestamp", wire.Timestamp()),
	byName,
	may("ShardFilter", wire.Structure(
		must("Type", wire.Enum("AFTER_SHARD_ID", "AT_TRIM_HORIZON", "FROM_TRIM_HORIZON", "AT_LATEST", "AT_TIMESTAMP", "FROM_TIMESTAMP")),
		may("ShardId", nameShape),
		may("Timestamp", wire.Timestamp()),
	)),
	byARN, byID,
)

// listShardsPage is the most shards in an answer, and the default.
const listShardsPage = 1000

// shardFilter is a ShardFilter; a token carries it to the next page.
type shardFilter struct {
	Type  string    `json:"type"`
	Shard string    `json:"shard,omitempty"`
	Time  time.Time `json:"time,omitzero"`
}

func (s *service) listShards(ctx context.Context, c *wire.Call) (any, error) {
	d, last, filter, err := s.shardList(ctx, c)
	if err != nil {
		return nil, err
	}
	if d.State != stream.Active && d.State != stream.Updating {
		return nil, notActive(d)
	}
	list, err := filter.apply(d, time.Now())
	if err == nil {
		list, err = after(d, list, last)
	}
	if err != nil {
		return nil, err
	}
	page := limit(c.In.Int("MaxResults"), listShardsPage)
	out := struct {
		Shards    []shardInfo
		NextToken string `json:",omitempty"`
	}{Shards: []shardInfo{}}
	for _, sh := range list[:min(page, len(list))] {
		out.Shards = append(out.Shards, shardInfoOf(sh))
	}
	if len(list) > page {
		rule, err := json.Marshal(filter)
		if err != nil {
			return nil, err
		}
		out.NextToken = token{Stream: d.ID, After: list[page-1].ID, Filter: rule}.write(c)
	}
	return out, nil
}

// shardList is what a ListShards asks for: by a token, or else by its members.
func (s *service) shardList(ctx context.Context, c *wire.Call) (d stream.Description, last string, f shardFilter, err error) {
	if !c.In.Has("NextToken") {
		if !c.In.Has("StreamName") && !c.In.Has("StreamARN") && !c.In.Has("StreamId") {
			return d, "", f, invalid("Either NextToken or StreamName should be provided.")
		}
		if d, err = s.find(ctx, c); err == nil {
			err = sameCreation(d, c)
		}
		if err == nil {
			f, err = readFilter(c.In.Map("ShardFilter"))
		}
		return d, c.In.String("ExclusiveStartShardId"), f, err
	}
	t, d, err := s.nextPage(ctx, c, "StreamName", "StreamARN", "StreamId", "ExclusiveStartShardId", "StreamCreationTimestamp", "ShardFilter")
	if err == nil && json.Unmarshal(t.Filter, &f) != nil {
		err = badToken(c)
	}
	return d, t.After, f, err
}

// nextPage reads the NextToken of a listing of parts of a stream, which AWS takes
// without the members that chose the first page.
func (s *service) nextPage(ctx context.Context, c *wire.Call, without ...string) (token, stream.Description, error) {
	for _, name := range without {
		if c.In.Has(name) {
			return token{}, stream.Description{}, invalid("NextToken and %s cannot be provided together.", name)
		}
	}
	t, err := readToken(c, c.In.String("NextToken"))
	if err != nil {
		return token{}, stream.Description{}, err
	}
	ref, err := s.ref(ctx, c, "", "", t.Stream)
	if err != nil {
		return token{}, stream.Description{}, err
	}
	d, err := s.describe(ctx, ref)
	return t, d, err
}

// sameCreation checks a StreamCreationTimestamp, by which a client tells a stream
// from an earlier one of its name. It was shown in whole seconds.
func sameCreation(d stream.Description, c *wire.Call) error {
	if c.In.Has("StreamCreationTimestamp") && c.In.Time("StreamCreationTimestamp").Unix() != d.Created.Unix() {
		return noStream(d.Ref)
	}
	return nil
}

func readFilter(in wire.Values) (shardFilter, error) {
	f := shardFilter{Type: in.String("Type"), Shard: in.String("ShardId"), Time: in.Time("Timestamp")}
	timed := f.Type == "AT_TIMESTAMP" || f.Type == "FROM_TIMESTAMP"
	switch {
	case f.Type == "AFTER_SHARD_ID" && f.Shard == "":
		return f, invalid("ShardId must be provided when ShardFilter type is %s.", f.Type)
	case f.Type != "AFTER_SHARD_ID" && f.Shard != "":
		return f, invalid("ShardId must not be provided when ShardFilter type is %s.", f.Type)
	case timed && !in.Has("Timestamp"):
		return f, invalid("Timestamp must be provided when ShardFilter type is %s.", f.Type)
	case !timed && in.Has("Timestamp"):
		return f, invalid("Timestamp must not be provided when ShardFilter type is %s.", f.Type)
	}
	return f, nil
}

// apply picks from the shards of d. A time before what the stream keeps is taken for
// the trim horizon.
func (f shardFilter) apply(d stream.Description, now time.Time) ([]stream.Shard, error) {
	horizon := now.Add(-d.Retention)
	if horizon.Before(d.Created) {
		horizon = d.Created
	}
	spans := spansOf(d)
	var keep func(stream.Shard) bool
	switch {
	case f.Type == "AFTER_SHARD_ID":
		return after(d, shown(d), f.Shard)
	case f.Type == "AT_LATEST":
		keep = func(sh stream.Shard) bool { return isOpen(d, sh) }
	case f.Type == "AT_TRIM_HORIZON", f.Type == "AT_TIMESTAMP" && f.Time.Before(horizon):
		// Where each hash key's oldest records are.
		keep = func(sh stream.Shard) bool { return spans[sh.ID].first }
	case f.Type == "AT_TIMESTAMP":
		keep = func(sh stream.Shard) bool {
			return !spans[sh.ID].from.After(f.Time) && (sh.Closed.IsZero() || !sh.Closed.Before(f.Time)) && sh.State != stream.Creating
		}
	case f.Type == "FROM_TIMESTAMP" && !f.Time.Before(horizon):
		keep = func(sh stream.Shard) bool { return sh.Closed.IsZero() || !sh.Closed.Before(f.Time) }
	default: // FROM_TRIM_HORIZON
		return shown(d), nil
	}
	return slices.DeleteFunc(slices.Clone(shown(d)), func(sh stream.Shard) bool { return !keep(sh) }), nil
}

// span is a shard's place in its lineage.
type span struct {
	from  time.Time // when it began to take records
	first bool      // none of its parents is there any more
}

func spansOf(d stream.Description) map[string]span {
	closed := make(map[string]time.Time, len(d.Shards))
	for _, sh := range d.Shards {
		closed[sh.ID] = sh.Closed
	}
	spans := make(map[string]span, len(d.Shards))
	for _, sh := range d.Shards {
		sp := span{from: d.Created, first: true}
		if len(sh.Parents) > 0 {
			// An epoch may be ahead of the clock: parents that are there know better.
			sp.from = time.Unix(int64(sh.Epoch), 0)
		}
		for _, id := range sh.Parents {
			if end, ok := closed[id]; ok {
				sp.from, sp.first = end, false
			}
		}
		spans[sh.ID] = sp
	}
	return spans
}

var splitShardInput = wire.Structure(
	must("NewStartingHashKey", hashKeyShape),
	byName,
	must("ShardToSplit", nameShape),
	byARN, byID,
)

func (s *service) splitShard(ctx context.Context, c *wire.Call) (any, error) {
	d, shards, err := s.reshardable(ctx, c, "ShardToSplit")
	if err != nil {
		return nil, err
	}
	sh := shards[0]
	if err := s.room(ctx, c, d.Ref, d.Mode, int64(len(openShards(d))), 1); err != nil {
		return nil, err
	}
	text := c.In.String("NewStartingHashKey")
	at, err := stream.ParseHashKey(text) // what it refuses is larger than any key
	if err != nil || at.Compare(next(sh.From)) <= 0 || sh.From == stream.MaxHashKey || at.Compare(sh.To) >= 0 {
		return nil, invalid("NewStartingHashKey %s used in SplitShard() on shard %s in stream %s under account %s is not both greater than one plus the shard's StartingHashKey %s and less than the shard's EndingHashKey %s.",
			text, sh.ID, d.Name, d.Account, sh.From, sh.To)
	}
	if err := eligible(d, sh); err != nil {
		return nil, err
	}
	if _, err := s.Streams.Split(ctx, d.Ref, sh.ID, at); err != nil {
		return nil, s.fault(ctx, d.Ref, err)
	}
	return nil, nil
}

// next is the hash key after h, of which there is none for the last.
func next(h stream.HashKey) stream.HashKey {
	h.Lo++
	if h.Lo == 0 {
		h.Hi++
	}
	return h
}

// reshardable finds the stream of a call that changes its shards, and the shards
// that the members name. AWS reads the ids before it looks for the stream.
func (s *service) reshardable(ctx context.Context, c *wire.Call, members ...string) (stream.Description, []stream.Shard, error) {
	ref, err := s.ref(ctx, c, c.In.String("StreamName"), c.In.String("StreamARN"), c.In.String("StreamId"))
	if err != nil {
		return stream.Description{}, nil, err
	}
	for _, m := range members {
		if _, _, ok := shardID(c.In.String(m)); !ok {
			return stream.Description{}, nil, noShard(ref, c.In.String(m))
		}
	}
	d, err := s.describe(ctx, ref)
	if err != nil {
		return d, nil, err
	}
	if err := provisioned(d); err != nil {
		return d, nil, err
	}
	shards := make([]stream.Shard, len(members))
	for i, m := range members {
		if shards[i], err = shard(d, c.In.String(m)); err != nil {
			return d, nil, err
		}
	}
	return d, shards, nil
}

// provisioned refuses streams whose shards are not their owner's to change now.
func provisioned(d stream.Description) error {
	if d.Mode == stream.OnDemand {
		return wire.Errorf(codeValidation, "Request is invalid. Stream %s under account %s is in On-Demand mode.", d.Name, d.Account)
	}
	if d.State != stream.Active {
		return notActive(d)
	}
	return nil
}

func eligible(d stream.Description, sh stream.Shard) error {
	if sh.State != stream.Active {
		return invalid("Shard %s in stream %s under account %s has already been merged or split, and thus is not eligible for merging or splitting.", sh.ID, d.Name, d.Account)
	}
	return nil
}

var mergeShardsInput = wire.Structure(
	must("ShardToMerge", nameShape),
	must("AdjacentShardToMerge", nameShape),
	byName, byARN, byID,
)

func (s *service) mergeShards(ctx context.Context, c *wire.Call) (any, error) {
	d, shards, err := s.reshardable(ctx, c, "ShardToMerge", "AdjacentShardToMerge")
	if err != nil {
		return nil, err
	}
	a, b := shards[0], shards[1]
	if a.To == stream.MaxHashKey || next(a.To) != b.From {
		return nil, invalid("Shards %s and %s in stream %s under account %s are not an adjacent pair of shards eligible for merging", a.ID, b.ID, d.Name, d.Account)
	}
	for _, sh := range shards {
		if err := eligible(d, sh); err != nil {
			return nil, err
		}
	}
	if _, err := s.Streams.Merge(ctx, d.Ref, a.ID, b.ID); err != nil {
		return nil, s.fault(ctx, d.Ref, err)
	}
	return nil, nil
}

var updateShardCountInput = wire.Structure(
	byName,
	must("TargetShardCount", wire.Integer(1)),
	must("ScalingType", wire.Enum("UNIFORM_SCALING")),
	byARN, byID,
)

// scalesADay is how often AWS lets the number of a stream's shards be updated.
const scalesADay = 10

func (s *service) updateShardCount(ctx context.Context, c *wire.Call) (any, error) {
	d, _, err := s.reshardable(ctx, c)
	if err != nil {
		return nil, err
	}
	is, want := int64(len(openShards(d))), c.In.Int("TargetShardCount")
	switch {
	case want > 2*is:
		return nil, wire.Errorf(codeLimit, "UpdateShardCount cannot scale up over double your current open shard count. Current open shard count: %d Target shard count: %d", is, want)
	case 2*want < is:
		return nil, wire.Errorf(codeLimit, "UpdateShardCount cannot scale down below half your current open shard count. Current open shard count: %d Target shard count: %d", is, want)
	case want > stream.MaxShards:
		return nil, wire.Errorf(codeLimit, "Target shard count or number of open shards cannot be greater than %d. Current open shard count: %d, Target shard count: %d", stream.MaxShards, is, want)
	case want > is:
		if err := s.room(ctx, c, d.Ref, d.Mode, is, want-is); err != nil {
			return nil, err
		}
	}
	if !s.Limits.daily("UpdateShardCount", d.ID, scalesADay) {
		return nil, wire.Errorf(codeLimit, "Rate exceeded for stream %s under account %s: UpdateShardCount can be called %d times per rolling 24-hour period per stream.", d.Name, d.Account, scalesADay)
	}
	if want != is {
		if _, err := s.Streams.Scale(ctx, d.Ref, int(want)); err != nil {
			return nil, s.fault(ctx, d.Ref, err)
		}
	}
	return struct {
		StreamName                          string
		CurrentShardCount, TargetShardCount int64
		StreamARN                           string
	}{d.Name, is, want, d.ARN()}, nil
}
