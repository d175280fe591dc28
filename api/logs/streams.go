package logs

import (
	"cmp"
	"context"
	"errors"
	"slices"
	"strconv"
	"strings"

	"github.com/wasmill/wasmill/api/wire"
	"github.com/wasmill/wasmill/functions/logs"
)

func (s *service) streamOps() []*wire.Operation {
	named := wire.Structure(must("logGroupName", groupShape), must("logStreamName", streamShape))
	return []*wire.Operation{
		{Name: "CreateLogStream", Input: named, Do: s.createStream},
		{Name: "DeleteLogStream", Input: named, Do: s.deleteStream},
		{Name: "DescribeLogStreams", Input: describeStreamsInput, Do: s.describeStreams},
	}
}

func (s *service) createStream(_ context.Context, c *wire.Call) (any, error) {
	err := s.Store.CreateStream(c.In.String("logGroupName"), c.In.String("logStreamName"))
	if errors.Is(err, logs.ErrExists) {
		return nil, wire.Errorf(codeExists, "The specified log stream already exists")
	}
	return nil, fault(err)
}

func (s *service) deleteStream(_ context.Context, c *wire.Call) (any, error) {
	return nil, fault(s.Store.DeleteStream(c.In.String("logGroupName"), c.In.String("logStreamName")))
}

var describeStreamsInput = wire.Structure(
	byGroup, byID,
	may("logStreamNamePrefix", streamShape),
	may("orderBy", wire.Enum("LogStreamName", "LastEventTime")),
	may("descending", wire.Boolean()),
	may("nextToken", tokenShape),
	may("limit", pageShape),
)

type streamView struct {
	LogStreamName       string `json:"logStreamName"`
	CreationTime        int64  `json:"creationTime"`
	FirstEventTimestamp int64  `json:"firstEventTimestamp,omitempty"`
	LastEventTimestamp  int64  `json:"lastEventTimestamp,omitempty"`
	LastIngestionTime   int64  `json:"lastIngestionTime,omitempty"`
	UploadSequenceToken string `json:"uploadSequenceToken,omitempty"`
	ARN                 string `json:"arn"`
	StoredBytes         int64  `json:"storedBytes"` // always 0 on AWS, since 2019
}

// uploadToken is what sequence tokens are since AWS ignores them.
const uploadToken = "49039859610171429148236310393884169379210102106417823746"

func (s *service) describeStreams(_ context.Context, c *wire.Call) (any, error) {
	name, err := group(c)
	if err != nil {
		return nil, err
	}
	prefix, byTime := c.In.String("logStreamNamePrefix"), c.In.String("orderBy") == "LastEventTime"
	if prefix != "" && byTime {
		return nil, invalid("Cannot order by LastEventTime with a logStreamNamePrefix.")
	}
	after, err := readName(c)
	if err != nil {
		return nil, err
	}
	streams, err := s.Store.Streams(name)
	if err != nil {
		return nil, fault(err)
	}
	// Of two that are alike the name decides, so that a page can begin behind one.
	type keyed struct {
		logs.Stream
		last int64
	}
	var all []keyed
	for _, st := range streams {
		if strings.HasPrefix(st.Name, prefix) {
			k := keyed{Stream: st}
			if byTime && !st.Last.IsZero() {
				k.last = st.Last.UnixMilli()
			}
			all = append(all, k)
		}
	}
	order := func(a, b keyed) int {
		n := cmp.Or(cmp.Compare(a.last, b.last), strings.Compare(a.Name, b.Name))
		if c.In.Bool("descending") {
			return -n
		}
		return n
	}
	slices.SortFunc(all, order)
	if after != "" {
		digits, name, _ := strings.Cut(after, "/")
		last, err := strconv.ParseInt(digits, 10, 64)
		if err != nil {
			return nil, badToken()
		}
		from := keyed{logs.Stream{Name: name}, last}
		all = slices.DeleteFunc(all, func(k keyed) bool { return order(k, from) <= 0 })
	}
	out := struct {
		LogStreams []streamView `json:"logStreams"`
		NextToken  string       `json:"nextToken,omitempty"`
	}{LogStreams: []streamView{}}
	limit := int(cmp.Or(c.In.Int("limit"), page))
	for _, k := range all[:min(limit, len(all))] {
		v := streamView{LogStreamName: k.Name, CreationTime: k.Created.UnixMilli(), ARN: groupARN(c, name) + ":log-stream:" + k.Name, UploadSequenceToken: uploadToken}
		if !k.Last.IsZero() {
			v.FirstEventTimestamp, v.LastEventTimestamp, v.LastIngestionTime = k.First.UnixMilli(), k.Last.UnixMilli(), k.Ingested.UnixMilli()
		}
		out.LogStreams = append(out.LogStreams, v)
	}
	if len(all) > limit {
		k := all[limit-1]
		out.NextToken = nameToken(c, strconv.FormatInt(k.last, 10)+"/"+k.Name)
	}
	return out, nil
}
