package kinesis

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/wasmill/wasmill/api/wire"
	"github.com/wasmill/wasmill/stream"
)

func (s *service) consumerOps() []*wire.Operation {
	return []*wire.Operation{
		{Name: "RegisterStreamConsumer", Input: registerConsumerInput, Do: s.registerConsumer},
		{Name: "DescribeStreamConsumer", Input: consumerInput, Do: s.describeConsumer},
		{Name: "ListStreamConsumers", Input: listConsumersInput, Do: s.listConsumers},
		{Name: "DeregisterStreamConsumer", Input: consumerInput, Do: s.deregisterConsumer},
	}
}

// maxConsumers is how many consumers a stream may have, on AWS 50 with the on-demand
// advantage (an account that committed itself to a minimum) and 20 else.
const (
	maxConsumers          = 20
	maxConsumersCommitted = 50
)

// consumerID is what tells a consumer from others of its stream, also from earlier
// ones of its name: how its ARN ends.
func consumerID(c stream.Consumer) string { return fmt.Sprintf("%s:%d", c.Name, c.Created.Unix()) }

func consumerARN(ref stream.Ref, id string) string { return ref.ARN() + "/consumer/" + id }

func consumerIndex(list []stream.Consumer, id string) int {
	return slices.IndexFunc(list, func(c stream.Consumer) bool { return consumerID(c) == id })
}

func noConsumer(ref stream.Ref, what string) *wire.Error {
	return wire.Errorf(codeNotFound, "Consumer %s, account %s not found.", what, ref.Account)
}

// leaving remembers consumers that are gone but still shown as DELETING. It is lost
// with the process: then they are gone.
type leaving struct {
	mu   sync.Mutex
	list []departure
}

type departure struct {
	stream   string // incarnation
	consumer stream.Consumer
	until    time.Time
}

func (l *leaving) add(d departure) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.list = append(l.list, d)
}

// of are the consumers of a stream that are still shown.
func (l *leaving) of(streamID string) []stream.Consumer {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.list = slices.DeleteFunc(l.list, func(d departure) bool { return !time.Now().Before(d.until) })
	var list []stream.Consumer
	for _, d := range l.list {
		if d.stream == streamID {
			list = append(list, d.consumer)
		}
	}
	return list
}

type consumerInfo struct {
	ConsumerName              string
	ConsumerARN               string
	ConsumerStatus            stream.State
	ConsumerCreationTimestamp wire.Time
	StreamARN                 string `json:",omitempty"`
}

// status is CREATING for StateDelay, and ACTIVE then.
func (s *service) status(c stream.Consumer) stream.State {
	if time.Since(c.Created) < s.StateDelay {
		return stream.Creating
	}
	return stream.Active
}

// consumers are those of d as clients see them, by name and age.
func (s *service) consumers(d stream.Description) []consumerInfo {
	list := make([]consumerInfo, 0, len(d.Attributes.Consumers))
	add := func(c stream.Consumer, state stream.State) {
		list = append(list, consumerInfo{c.Name, consumerARN(d.Ref, consumerID(c)), state, wire.Time(c.Created), ""})
	}
	for _, c := range d.Attributes.Consumers {
		add(c, s.status(c))
	}
	for _, c := range s.leaving.of(d.ID) {
		add(c, stream.Deleting)
	}
	slices.SortFunc(list, func(a, b consumerInfo) int { return cmp.Compare(a.ConsumerARN, b.ConsumerARN) })
	return list
}

var registerConsumerInput = wire.Structure(
	must("StreamARN", streamARNShape),
	must("ConsumerName", nameShape),
	byID,
	may("Tags", tagsShape),
)

func (s *service) registerConsumer(ctx context.Context, c *wire.Call) (any, error) {
	d, err := s.find(ctx, c)
	if err != nil {
		return nil, err
	}
	name := c.In.String("ConsumerName")
	tags, err := mergeTags(d.Ref, nil, c.In.Map("Tags"))
	if err != nil {
		return nil, err
	}
	if d.State != stream.Active && d.State != stream.Updating {
		return nil, notActive(d)
	}
	most := maxConsumers
	if settings, err := s.account(ctx, c); err != nil {
		return nil, err
	} else if settings.Commitment && d.Mode == stream.OnDemand {
		most = maxConsumersCommitted
	}
	gone := s.leaving.of(d.ID)
	made := stream.Consumer{Name: name, Created: time.Now().UTC().Truncate(time.Second), Tags: tags}
	_, err = s.Streams.SetAttributes(ctx, d.Ref, func(a *stream.Attributes) error {
		taken := func(c stream.Consumer) bool { return c.Name == name }
		if slices.ContainsFunc(a.Consumers, taken) || slices.ContainsFunc(gone, taken) {
			return wire.Errorf(codeInUse, "Consumer %s under stream %s already exists for account %s.", name, d.Name, d.Account)
		}
		if len(a.Consumers) >= most {
			return wire.Errorf(codeLimit, "Stream %s under account %s cannot have more than %d registered consumers.", d.Name, d.Account, most)
		}
		a.Consumers = append(slices.Clip(a.Consumers), made)
		return nil
	})
	if err != nil {
		return nil, s.fault(ctx, d.Ref, err)
	}
	// AWS answers CREATING, however soon the consumer can be used.
	return struct{ Consumer consumerInfo }{consumerInfo{name, consumerARN(d.Ref, consumerID(made)), stream.Creating, wire.Time(made.Created), ""}}, nil
}

var consumerInput = wire.Structure(byARN, may("ConsumerName", nameShape), may("ConsumerARN", consumerARNShape), byID)

// consumer is the one that the call names by ConsumerARN, or by its stream and
// ConsumerName: by both if they agree.
func (s *service) consumer(ctx context.Context, c *wire.Call) (stream.Description, consumerInfo, error) {
	arn, name := c.In.String("ConsumerARN"), c.In.String("ConsumerName")
	var d stream.Description
	var err error
	switch byStream := c.In.Has("StreamARN") || c.In.Has("StreamId"); {
	case arn == "" && (!byStream || name == ""):
		return d, consumerInfo{}, invalid("Either ConsumerARN or both StreamARN and ConsumerName should be provided.")
	case byStream:
		d, err = s.find(ctx, c)
	default:
		ref, _, ok := parseARN(arn)
		if !ok {
			return d, consumerInfo{}, invalid("Invalid ConsumerARN: %s", arn)
		}
		if err = own(c, ref, arn); err == nil {
			d, err = s.describe(ctx, ref)
		}
	}
	if err != nil {
		return d, consumerInfo{}, err
	}
	if arn != "" {
		ref, id, _ := parseARN(arn)
		named, _, _ := strings.Cut(id, ":")
		if ref != d.Ref || name != "" && name != named {
			return d, consumerInfo{}, invalid("ConsumerARN %s is not that of the consumer that StreamARN and ConsumerName name.", arn)
		}
	}
	var found *consumerInfo
	for _, info := range s.consumers(d) {
		if arn == info.ConsumerARN || arn == "" && name == info.ConsumerName {
			found = &info
			if info.ConsumerStatus != stream.Deleting {
				break
			}
		}
	}
	if found == nil {
		return d, consumerInfo{}, noConsumer(d.Ref, cmp.Or(arn, name))
	}
	return d, *found, nil
}

func (s *service) describeConsumer(ctx context.Context, c *wire.Call) (any, error) {
	d, info, err := s.consumer(ctx, c)
	if err != nil {
		return nil, err
	}
	info.StreamARN = d.ARN()
	return struct{ ConsumerDescription consumerInfo }{info}, nil
}

func (s *service) deregisterConsumer(ctx context.Context, c *wire.Call) (any, error) {
	d, info, err := s.consumer(ctx, c)
	if err != nil {
		return nil, err
	}
	created := time.Time(info.ConsumerCreationTimestamp).Unix()
	inactive := wire.Errorf(codeInUse, "Consumer %s with creation timestamp %d under stream %s and account %s is not in ACTIVE status.", info.ConsumerName, created, d.Name, d.Account)
	if info.ConsumerStatus != stream.Active {
		return nil, inactive
	}
	var gone stream.Consumer
	_, err = s.Streams.SetAttributes(ctx, d.Ref, func(a *stream.Attributes) error {
		_, id, _ := strings.Cut(info.ConsumerARN, "/consumer/")
		i := consumerIndex(a.Consumers, id)
		if i < 0 {
			return noConsumer(d.Ref, info.ConsumerARN)
		}
		gone = a.Consumers[i]
		a.Consumers = slices.Delete(slices.Clone(a.Consumers), i, i+1)
		delete(a.Policies, info.ConsumerARN)
		return nil
	})
	if err != nil {
		return nil, s.fault(ctx, d.Ref, err)
	}
	s.subs.drop(d.Ref, info.ConsumerARN)
	if s.StateDelay > 0 {
		s.leaving.add(departure{d.ID, gone, time.Now().Add(s.StateDelay)})
	}
	return nil, nil
}

var listConsumersInput = wire.Structure(
	must("StreamARN", streamARNShape),
	may("NextToken", nextTokenShape),
	may("MaxResults", pageShape),
	may("StreamCreationTimestamp", wire.Timestamp()),
	byID,
)

// listConsumersPage is the most consumers in an answer, and the default.
const listConsumersPage = 100

// listConsumers takes a NextToken beside the StreamARN, which is required.
func (s *service) listConsumers(ctx context.Context, c *wire.Call) (any, error) {
	d, err := s.find(ctx, c)
	if err != nil {
		return nil, err
	}
	last := ""
	if c.In.Has("NextToken") {
		t, of, err := s.nextPage(ctx, c, "StreamCreationTimestamp")
		switch {
		case err != nil:
			return nil, err
		case of.ID != d.ID:
			return nil, badToken(c)
		}
		last = t.After
	} else if err := sameCreation(d, c); err != nil {
		return nil, err
	}
	list := slices.DeleteFunc(s.consumers(d), func(info consumerInfo) bool { return info.ConsumerARN <= last })
	page := limit(c.In.Int("MaxResults"), listConsumersPage)
	out := struct {
		Consumers []consumerInfo
		NextToken string `json:",omitempty"`
	}{Consumers: list[:min(page, len(list))]}
	if len(list) > page {
		out.NextToken = token{Stream: d.ID, After: list[page-1].ConsumerARN}.write(c)
	}
	return out, nil
}
