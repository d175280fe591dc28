package logs

import (
	"cmp"
	"context"
	"math"
	"time"

	"github.com/wasmill/wasmill/api/wire"
	"github.com/wasmill/wasmill/functions/logs"
)

func (s *service) eventOps() []*wire.Operation {
	return []*wire.Operation{
		{Name: "PutLogEvents", Input: putEventsInput, Do: s.putEvents},
		{Name: "GetLogEvents", Input: getEventsInput, Do: s.getEvents},
		{Name: "FilterLogEvents", Input: filterEventsInput, Do: s.filterEvents},
	}
}

var putEventsInput = wire.Structure(
	must("logGroupName", groupShape),
	must("logStreamName", streamShape),
	must("logEvents", wire.List(wire.Structure(
		must("timestamp", timeShape),
		must("message", wire.String(1, 0, "")),
	).Printed("com.amazonaws.logs.InputLogEvent"), 1, 10_000)),
	may("sequenceToken", tokenShape), // ignored, as on AWS since 2023
)

// AWS's bounds of what is put.
const (
	maxBatch  = 1 << 20 // bytes, 26 for each event included
	eventCost = 26
	maxSpan   = 24 * time.Hour
	tooOld    = 14 * 24 * time.Hour
	tooNew    = 2 * time.Hour
)

type rejected struct {
	TooNew  *int `json:"tooNewLogEventStartIndex,omitempty"`
	TooOld  *int `json:"tooOldLogEventEndIndex,omitempty"`
	Expired *int `json:"expiredLogEventEndIndex,omitempty"`
}

func (s *service) putEvents(_ context.Context, c *wire.Call) (any, error) {
	name, stream, list := c.In.String("logGroupName"), c.In.String("logStreamName"), c.In.List("logEvents")
	now := time.Now()
	size, last := 0, time.Time{}
	events := make([]logs.Input, len(list))
	for i, e := range list {
		v, _ := e.(wire.Values)
		events[i] = logs.Input{Time: time.UnixMilli(v.Int("timestamp")), Ingested: now, Text: v.String("message")}
		cost := len(events[i].Text) + eventCost
		if cost > maxBatch {
			return nil, invalid("Log event too large: %d bytes exceeds limit of %d", cost, maxBatch)
		}
		if events[i].Time.Before(last) {
			return nil, invalid("Log events in a single PutLogEvents request must be in chronological order.")
		}
		last = events[i].Time
		size += cost
	}
	switch {
	case size > maxBatch:
		return nil, invalid("Upload too large: %d bytes exceeds limit of %d", size, maxBatch)
	case last.Sub(events[0].Time) > maxSpan:
		return nil, invalid("The batch of log events in a single PutLogEvents request cannot span more than 24 hours.")
	}
	g, err := s.Store.Group(name)
	if err != nil {
		return nil, fault(err)
	}
	// The events are in order: what is refused is at either end.
	var no *rejected
	from, to := 0, len(events)
	refuse := func(at func(*rejected) **int, i int) {
		if no == nil {
			no = &rejected{}
		}
		*at(no) = &i
	}
	for from < to && g.Retention > 0 && events[from].Time.Before(now.AddDate(0, 0, -g.Retention)) {
		from++
	}
	if from > 0 {
		refuse(func(r *rejected) **int { return &r.Expired }, from)
	}
	old := from
	for old < to && events[old].Time.Before(now.Add(-tooOld)) {
		old++
	}
	if old > from {
		from = old
		refuse(func(r *rejected) **int { return &r.TooOld }, old)
	}
	for to > from && events[to-1].Time.After(now.Add(tooNew)) {
		to--
	}
	if to < len(events) {
		refuse(func(r *rejected) **int { return &r.TooNew }, to)
	}
	if err := s.Store.Put(name, stream, events[from:to]); err != nil {
		return nil, fault(err)
	}
	return struct {
		NextSequenceToken     string    `json:"nextSequenceToken"`
		RejectedLogEventsInfo *rejected `json:"rejectedLogEventsInfo,omitempty"`
	}{uploadToken, no}, nil
}

var getEventsInput = wire.Structure(
	byGroup, byID,
	must("logStreamName", streamShape),
	may("startTime", timeShape),
	may("endTime", timeShape),
	may("nextToken", tokenShape),
	may("limit", eventsShape),
	may("startFromHead", wire.Boolean()),
	may("unmask", wire.Boolean()),
)

// mostEvents is the most events in an answer, and the default; answers have 1 MB at most.
const (
	mostEvents = 10_000
	mostBytes  = 1 << 20
)

type eventView struct {
	Timestamp     int64  `json:"timestamp"`
	Message       string `json:"message"`
	IngestionTime int64  `json:"ingestionTime"`
}

// getEvents reads a stream. The tokens of an answer lead on from its ends, for ever: at the
// end of a stream the token is the one that was given, and that is how clients know it.
func (s *service) getEvents(ctx context.Context, c *wire.Call) (any, error) {
	name, err := group(c)
	if err != nil {
		return nil, err
	}
	stream := c.In.String("logStreamName")
	q := logs.Query{Group: name, Streams: []string{stream}, From: c.In.Int("startTime"), Last: !c.In.Bool("startFromHead"),
		Limit: int(cmp.Or(c.In.Int("limit"), mostEvents)), Bytes: mostBytes}
	if c.In.Has("endTime") {
		q.Before = new(c.In.Int("endTime"))
	}
	at := logs.Position{} // where an answer without events is
	if c.In.Has("nextToken") {
		p, back, err := readPlace(c.In.String("nextToken"))
		if err != nil {
			return nil, err
		}
		at = p
		if q.Last = back; back {
			q.Until = &p
		} else {
			q.After = &p
		}
	}
	if err := s.known(name, stream); err != nil {
		return nil, err
	}
	events, _, err := s.Store.Find(q)
	if err != nil {
		return nil, fault(err)
	}
	out := struct {
		Events            []eventView `json:"events"`
		NextForwardToken  string      `json:"nextForwardToken"`
		NextBackwardToken string      `json:"nextBackwardToken"`
	}{Events: []eventView{}, NextForwardToken: forward(at), NextBackwardToken: backward(at)}
	for _, e := range events {
		out.Events = append(out.Events, eventView{e.Millis, e.Text, e.Ingested})
	}
	if n := len(events); n > 0 {
		out.NextForwardToken, out.NextBackwardToken = forward(events[n-1].Position), backward(events[0].Position)
	}
	return out, ctx.Err()
}

// known says that a stream is there.
func (s *service) known(group, stream string) error {
	ok, err := s.Store.Has(group, stream)
	if err == nil && !ok {
		err = logs.ErrNoStream
	}
	return fault(err)
}

var filterEventsInput = wire.Structure(
	byGroup, byID,
	may("logStreamNames", wire.List(streamShape, 1, 100)),
	may("logStreamNamePrefix", streamShape),
	may("startTime", timeShape),
	may("endTime", timeShape),
	may("filterPattern", patternShape),
	may("nextToken", tokenShape),
	may("limit", eventsShape),
	may("interleaved", wire.Boolean()), // always so, as on AWS since 2019
	may("unmask", wire.Boolean()),
)

type filteredView struct {
	LogStreamName string `json:"logStreamName"`
	Timestamp     int64  `json:"timestamp"`
	Message       string `json:"message"`
	IngestionTime int64  `json:"ingestionTime"`
	EventID       string `json:"eventId"`
}

func (s *service) filterEvents(ctx context.Context, c *wire.Call) (any, error) {
	name, err := group(c)
	if err != nil {
		return nil, err
	}
	q := logs.Query{Group: name, Prefix: c.In.String("logStreamNamePrefix"), From: c.In.Int("startTime"),
		Limit: int(cmp.Or(c.In.Int("limit"), mostEvents)), Bytes: mostBytes}
	if c.In.Has("logStreamNames") {
		q.Streams = c.In.Strings("logStreamNames")
	}
	if q.Streams != nil && q.Prefix != "" {
		return nil, invalid("logStreamNames and logStreamNamePrefix are mutually exclusive parameters.")
	}
	if c.In.Has("endTime") {
		q.Before = new(min(c.In.Int("endTime"), math.MaxInt64-1) + 1) // here the end is in it
		if q.From > c.In.Int("endTime") {
			return nil, invalid("End time should not be before start time.")
		}
	}
	if q.Match, err = compile(c.In.String("filterPattern")); err != nil {
		return nil, err
	}
	if c.In.Has("nextToken") {
		p, err := readFilter(c.In.String("nextToken"))
		if err != nil {
			return nil, err
		}
		q.After = &p
	}
	for _, stream := range q.Streams {
		if err := s.known(name, stream); err != nil {
			return nil, err
		}
	}
	events, more, err := s.Store.Find(q)
	if err != nil {
		return nil, fault(err)
	}
	out := struct {
		Events             []filteredView `json:"events"`
		SearchedLogStreams []struct{}     `json:"searchedLogStreams"` // empty on AWS too, since 2020
		NextToken          string         `json:"nextToken,omitempty"`
	}{Events: []filteredView{}, SearchedLogStreams: []struct{}{}}
	for _, e := range events {
		out.Events = append(out.Events, filteredView{e.Stream, e.Millis, e.Text, e.Ingested, eventID(e.Position)})
	}
	if more {
		out.NextToken = filterToken(events[len(events)-1].Position)
	}
	return out, ctx.Err()
}
